//! The event stream: its framing, its end, and its limits.

use std::time::Duration;

use http_body_util::BodyExt;

use super::*;
use crate::engine::event::{Change, CloseReason, SessionEvent};

fn id_of(path: &str) -> SessionId {
    path.trim_start_matches("/sessions/")
        .parse()
        .expect("a session's id")
}

fn publish(world: &World, session: &str, version: u64, change: Change) {
    world.hub.publish(SessionEvent {
        session: id_of(session),
        version,
        change,
    });
}

const SILENCE: Change = Change::Speaker { participant: None };
const CLOSED: Change = Change::Closed {
    reason: CloseReason::Vanished,
};

async fn events(world: &World, session: &str, last: Option<u64>) -> Response {
    let last = last.map(|version| version.to_string());
    let headers: Vec<_> = last
        .iter()
        .map(|last| ("last-event-id", last.as_str()))
        .collect();
    world
        .open(request(
            Method::GET,
            &format!("{session}/events"),
            &headers,
            "",
        ))
        .await
}

async fn frame(response: &mut Response) -> Option<String> {
    let frame = response
        .body_mut()
        .frame()
        .await?
        .expect("bodies do not fail");
    Some(String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text"))
}

#[tokio::test]
async fn a_stream_starts_with_a_snapshot_and_ends_with_the_session() {
    let world = World::new();
    let session = world.joined().await;
    let mut response = events(&world, &session, None).await;
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    let snapshot = frame(&mut response).await.expect("a snapshot");
    assert!(
        snapshot.starts_with("id: 0\nevent: snapshot\ndata: {\"v\":0,\"room\":\"demo\""),
        "{snapshot}"
    );
    assert!(snapshot.ends_with("}\n\n"));
    assert_eq!(world.app.metrics.event_streams().get(), 1);

    publish(&world, &session, 1, SILENCE);
    let event = frame(&mut response).await.expect("an event");
    assert_eq!(
        event,
        "id: 1\nevent: speaker\ndata: {\"participant\":null}\n\n"
    );

    publish(&world, &session, 2, CLOSED);
    let event = frame(&mut response).await.expect("the last event");
    assert_eq!(
        event,
        "id: 2\nevent: closed\ndata: {\"reason\":\"vanished\"}\n\n"
    );
    assert_eq!(frame(&mut response).await, None);
    drop(response);
    assert_eq!(world.app.metrics.event_streams().get(), 0);
}

#[tokio::test]
async fn who_comes_back_after_the_end_hears_why_and_then_to_stay_away() {
    let world = World::new();
    let session = world.joined().await;
    publish(&world, &session, 1, CLOSED);
    let mut late = events(&world, &session, None).await;
    assert!(
        frame(&mut late)
            .await
            .expect("the last event")
            .contains("event: closed")
    );
    assert_eq!(frame(&mut late).await, None);
    assert_eq!(events(&world, &session, Some(1)).await.status(), 204);
}

#[tokio::test]
async fn a_version_that_was_never_told_gets_a_snapshot() {
    let world = World::new();
    let session = world.joined().await;
    let mut response = events(&world, &session, Some(9_000)).await;
    assert!(
        frame(&mut response)
            .await
            .expect("a snapshot")
            .contains("event: snapshot")
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_open_by_comments() {
    let world = World::new();
    let session = world.joined().await;
    let mut response = events(&world, &session, None).await;
    frame(&mut response).await.expect("a snapshot");
    let before = virtual_now();
    assert_eq!(frame(&mut response).await.as_deref(), Some(": ping\n\n"));
    assert_eq!(before.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn the_third_stream_of_a_session_ends_the_first() {
    let world = World::new();
    let session = world.joined().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = events(&world, &session, None).await;
        if streams.len() < 2 {
            frame(&mut stream).await.expect("a snapshot");
        }
        streams.push(stream);
    }
    assert_eq!(frame(&mut streams[0]).await, None);
    publish(&world, &session, 1, SILENCE);
    assert!(frame(&mut streams[1]).await.is_some());
}

#[tokio::test]
async fn a_server_that_stops_lets_readers_go() {
    let world = World::new();
    let session = world.joined().await;
    let mut response = events(&world, &session, None).await;
    frame(&mut response).await.expect("a snapshot");
    publish(&world, &session, 1, Change::Reconnect { url: None });
    world.hub.end_readers();
    assert!(
        frame(&mut response)
            .await
            .expect("what there is")
            .contains("event: reconnect")
    );
    assert_eq!(frame(&mut response).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_between_two_looks_ends_its_stream() {
    let world = World::new();
    let session = world.joined().await;
    world.script(Err(CommandError::NoSuchSession));
    let mut response = events(&world, &session, None).await;
    let (last, ()) = tokio::join!(frame(&mut response), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        publish(&world, &session, 1, CLOSED);
    });
    assert!(last.expect("the last event").contains("event: closed"));
}

#[tokio::test(start_paused = true)]
async fn a_poll_tells_the_same_as_a_stream() {
    let world = World::new();
    let session = world.joined().await;
    let poll = async |query: &str| {
        let answer = world
            .ask(Method::GET, &format!("{session}/state{query}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str::<Value>(&answer.body).expect("JSON")["events"].clone()
    };
    let first = poll("").await;
    assert_eq!(
        (&first[0]["event"], &first[0]["data"]["room"]),
        (&"snapshot".into(), &"demo".into())
    );
    publish(&world, &session, 1, SILENCE);
    let second = poll("?since=0&wait=25").await;
    assert_eq!(
        (&second[0]["id"], &second[0]["event"]),
        (&1.into(), &"speaker".into())
    );

    let before = virtual_now();
    assert_eq!(poll("?since=1").await, Value::Array(Vec::new()));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(poll("?since=1&wait=9999").await, Value::Array(Vec::new()));
    assert_eq!(before.elapsed().as_secs(), 25);
    let bad = world
        .ask(Method::GET, &format!("{session}/state?since=x"))
        .await;
    assert_eq!(bad.problem(), "malformed");
}
