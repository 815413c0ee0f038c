//! WHEP's extensions: events and the choice of a layer, E11 to E20.

use crate::offers::{AIORTC_PLAYS, CHROMIUM, CHROMIUM_PLAYS};
use crate::peer::Peer;
use crate::server::{JSON, Stream, World};

const EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";

/// A player's session.
async fn player(world: &World) -> String {
    let joined = world.join("/whep/demo", CHROMIUM_PLAYS).await;
    joined.session().to_owned()
}

/// A stream of that session, with these types of events.
async fn stream(world: &World, session: &str, types: &str) -> String {
    let path = format!("{session}/sse");
    let made = world.send("POST", &path, &[JSON], types.to_owned()).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.header("location").to_owned()
}

#[tokio::test]
async fn e11_players_are_offered_events_and_nobody_else_is() {
    let world = World::start().await;
    let links = |answer: &crate::server::Answer| {
        let links = answer.headers.get_all("link").iter();
        let links: Vec<String> = links
            .map(|link| link.to_str().expect("ASCII").to_owned())
            .collect();
        links
    };
    let joined = world.join("/whep/demo", CHROMIUM_PLAYS).await;
    let session = joined.session();
    let offered = format!(
        "<{session}/sse>; rel=\"{EVENTS}\"; events=\"active,inactive,layers,viewercount,reconnect\""
    );
    assert!(links(&joined).contains(&offered), "{joined:?}");
    let offered = format!("<{session}/layer>; rel=\"{LAYER}\"");
    assert!(links(&joined).contains(&offered), "{joined:?}");

    let publisher = world.join("/whip/demo", CHROMIUM).await;
    assert!(!links(&publisher).iter().any(|link| link.contains("whep")));
    for path in ["sse", "layer"] {
        let path = format!("{}/{path}", publisher.session());
        let answer = world.send("POST", &path, &[JSON], "[]").await;
        answer.is(404, "not-found");
    }
}

#[tokio::test]
async fn e12_a_stream_is_made_of_the_types_that_were_offered() {
    let world = World::start().await;
    let session = player(&world).await;
    let path = format!("{session}/sse");
    for types in ["[\"active\"]", "[]", "[\"layers\",\"viewercount\"]", ""] {
        let headers = [JSON];
        let headers = &headers[..usize::from(!types.is_empty())];
        let made = world.send("POST", &path, headers, types).await;
        assert_eq!((made.status, made.body.as_str()), (201, ""), "{types}");
        assert!(made.header("location").starts_with(&path), "{made:?}");
    }
    for bad in ["[\"x\"]", "[\"active\",\"scte35\"]", "{}", "[1]", "active"] {
        let answer = world.send("POST", &path, &[JSON], bad).await;
        answer.is(400, "malformed");
    }
    let text = [("content-type", "text/plain")];
    let answer = world.send("POST", &path, &text, "[]").await;
    answer.is(415, "content-type");
}

#[tokio::test]
async fn e12_a_third_stream_takes_the_place_of_the_first() {
    let world = World::start().await;
    let session = player(&world).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(stream(&world, &session, "[\"active\"]").await);
    }
    world.ask("GET", &made[0]).await.is(404, "not-found");
    Stream::open(&world, &made[1]).await;
    Stream::open(&world, &made[2]).await;
}

#[tokio::test]
async fn e13_a_stream_tells_what_it_was_asked_for_in_one_line_each() {
    let world = World::start().await;
    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let session = player(&world).await;
    let all = stream(&world, &session, "[\"active\",\"viewercount\"]").await;
    let mut all = Stream::open(&world, &all).await;
    let is_told = |text: &str| text.contains("viewercount") && text.contains("active");
    let text = all.until(is_told).await;
    let mut frames: Vec<&str> = text.trim_end().split("\n\n").collect();
    frames.sort_unstable();
    assert_eq!(
        frames,
        [
            "event: active\ndata: {}",
            "event: viewercount\ndata: {\"viewercount\":1}"
        ]
    );
    // Who asked for one type hears of no other.
    let one = stream(&world, &session, "[\"viewercount\"]").await;
    let mut one = Stream::open(&world, &one).await;
    let text = one.until(|text| text.contains("\n\n")).await;
    assert!(!text.contains("active"), "{text}");
}

#[tokio::test]
async fn e14_a_stream_that_is_deleted_ends_and_is_gone() {
    let world = World::start().await;
    let session = player(&world).await;
    let path = stream(&world, &session, "[\"viewercount\"]").await;
    let mut reading = Stream::open(&world, &path).await;
    reading.until(|text| text.contains("viewercount")).await;
    let deleted = world.ask("DELETE", &path).await;
    assert_eq!((deleted.status, deleted.body.as_str()), (200, ""));
    reading.remainder().await;
    for method in ["GET", "DELETE"] {
        world.ask(method, &path).await.is(404, "not-found");
    }
    let path = stream(&world, &session, "").await;
    world.ask("DELETE", &session).await;
    assert_eq!(world.ask("GET", &path).await.status, 404);
}

#[tokio::test]
async fn e15_a_stream_never_begins_with_inactive_and_tells_each_change_once() {
    let world = World::start().await;
    let session = player(&world).await;
    let path = stream(&world, &session, "[\"active\",\"inactive\"]").await;
    let mut reading = Stream::open(&world, &path).await;

    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let text = reading.until(|text| text.contains("\n\n")).await;
    assert_eq!(text, "event: active\ndata: {}\n\n");

    world.ask("DELETE", joined.session()).await;
    reading.until(|text| text.contains("inactive")).await;
    world.ask("DELETE", &session).await;
    assert_eq!(
        reading.remainder().await,
        "event: active\ndata: {}\n\nevent: inactive\ndata: {}\n\n"
    );
}

#[tokio::test]
async fn e15_who_comes_back_hears_what_they_missed() {
    let world = World::start().await;
    let session = player(&world).await;
    let path = stream(&world, &session, "[\"active\",\"inactive\"]").await;
    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let mut reading = Stream::open(&world, &path).await;
    reading.until(|text| text.contains("active")).await;
    drop(reading);
    world.ask("DELETE", joined.session()).await;
    let mut reading = Stream::open(&world, &path).await;
    let text = reading.until(|text| text.contains("\n\n")).await;
    assert_eq!(text, "event: inactive\ndata: {}\n\n");
}

#[tokio::test]
async fn e16_the_layers_of_what_is_shown_are_told_by_m_line() {
    let world = World::start().await;
    let mut peer = Peer::camera().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let session = player(&world).await;
    let path = stream(&world, &session, "[\"layers\"]").await;
    let mut reading = Stream::open(&world, &path).await;
    let text = tokio::select! {
        () = peer.film() => unreachable!("it never ends"),
        text = reading.until(|text| text.contains("\"width\"")) => text,
    };
    let last = text.lines().rfind(|line| line.contains("width"));
    let data = last
        .and_then(|line| line.strip_prefix("data: "))
        .expect("one line");
    let layers: serde_json::Value = serde_json::from_str(data).expect("JSON");
    let mut lines = CHROMIUM_PLAYS.lines().filter(|line| line.starts_with("m="));
    let index = lines.position(|line| line.starts_with("m=video"));
    let index = index.expect("it plays video").to_string();
    assert_eq!(layers.as_object().expect("an object").len(), 1, "{layers}");
    let layer = &layers[&index][0];
    assert_eq!(
        (&layer["spatialLayerId"], &layer["width"], &layer["height"]),
        (&0.into(), &320.into(), &180.into()),
        "{layers}"
    );
    assert!(layer["bitrate"].is_u64(), "{layers}");
}

#[tokio::test]
async fn e17_a_stream_says_that_the_server_goes() {
    let world = World::start().await;
    let session = player(&world).await;
    let path = stream(&world, &session, "[\"reconnect\"]").await;
    let reading = Stream::open(&world, &path).await;
    world.shut_engines_down();
    let text = reading.remainder().await;
    assert_eq!(text, "event: reconnect\ndata: {}\n\n");
}

#[tokio::test]
async fn e18_viewers_of_the_same_are_counted() {
    let world = World::start().await;
    let session = player(&world).await;
    let path = stream(&world, &session, "[\"viewercount\"]").await;
    let mut reading = Stream::open(&world, &path).await;
    reading
        .until(|text| text.contains("{\"viewercount\":1}"))
        .await;
    let other = player(&world).await;
    world.join("/whep/demo/ada", CHROMIUM_PLAYS).await;
    reading
        .until(|text| text.contains("{\"viewercount\":2}"))
        .await;
    world.ask("DELETE", &other).await;
    let one = "{\"viewercount\":1}";
    reading.until(|text| text.matches(one).count() == 2).await;
}

#[tokio::test]
async fn e19_a_layer_is_chosen_for_an_m_line_and_given_back() {
    let world = World::start().await;
    // Its MIDs are not the places of its m-lines.
    let offer = AIORTC_PLAYS
        .replace("a=mid:1", "a=mid:video")
        .replace("a=mid:0", "a=mid:audio")
        .replace("BUNDLE 0 1", "BUNDLE audio video");
    let joined = world.join("/whep/demo", offer).await;
    let path = format!("{}/layer", joined.session());
    let choose = async |body: &str| world.send("POST", &path, &[JSON], body.to_owned()).await;
    let taken = async |body: &str| {
        let answer = choose(body).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{body}");
    };
    let q = "{\"mediaId\":\"1\",\"rid\":\"q\"}";
    // Where nothing is shown there is nothing to switch to, but there may be limits.
    choose(q).await.is(404, "not-found");
    taken("{\"mediaId\":\"1\",\"maxSpatialLayerId\":7,\"maxWidth\":320}").await;

    let made = stream(&world, joined.session(), "[\"layers\"]").await;
    let mut layers = Stream::open(&world, &made).await;
    let mut peer = Peer::simulcast_camera(&["q", "f"]).await;
    let published = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&published.body).await;
    let is_told = |text: &str, f_flows: bool| {
        let last = text.lines().rfind(|line| line.starts_with("data: "));
        let f = last.and_then(|line| line.split('{').find(|it| it.contains("\"rid\":\"f\"")));
        f.is_some_and(|f| f.contains("\"bitrate\":0") != f_flows)
    };
    tokio::select! {
        () = peer.film_encodings(&["q", "f"]) => unreachable!("it never ends"),
        _ = layers.until(|text| is_told(text, true)) => {}
    }
    taken(q).await;
    tokio::select! {
        () = peer.film_encodings(&["q"]) => unreachable!("it never ends"),
        _ = layers.until(|text| is_told(text, false)) => {}
    }
    // It was told of, and may come back.
    taken("{\"mediaId\":\"1\",\"rid\":\"f\"}").await;
    for body in [
        "{\"mediaId\":1,\"encodingId\":\"q\"}",
        "{\"rid\":\"q\",\"maxWidth\":320}",
        "{\"mediaId\":\"1\",\"spatialLayerId\":0,\"maxTemporalLayerId\":1}",
        "{\"mediaId\":\"1\",\"maxSpatialLayerId\":7,\"maxTemporalLayerId\":7}",
        "{\"mediaId\":\"1\"}",
        "{}",
    ] {
        taken(body).await;
    }
    for (body, status, problem) in [
        ("{\"mediaId\":\"1\",\"rid\":\"x\"}", 404, "not-found"),
        ("{\"encodingId\":\"x\"}", 404, "not-found"),
        ("{\"spatialLayerId\":7}", 404, "not-found"),
        ("{\"temporalLayerId\":7}", 404, "not-found"),
        ("{\"mediaId\":\"7\"}", 404, "not-found"),
        ("{\"mediaId\":\"x\"}", 404, "not-found"),
        ("{\"rid\":7}", 422, "unsupported"),
        ("{", 400, "malformed"),
    ] {
        let answer = world.send("POST", &path, &[JSON], body).await;
        answer.is(status, problem);
    }
}

#[tokio::test]
async fn e20_events_are_read_by_their_url_alone() {
    let world = World::start().await;
    let session = player(&world).await;
    let mut reading = Stream::open(&world, &format!("{session}/events")).await;
    let is_snapshot = |text: &str| text.contains("event: snapshot\ndata: {");
    reading.until(is_snapshot).await;

    let path = stream(&world, &session, "").await;
    let other = player(&world).await;
    let of_other = path.replace(&session, &other);
    world.ask("GET", &of_other).await.is(404, "not-found");
    let none = path.replace(&session, &format!("/sessions/{}", "a".repeat(26)));
    world.ask("GET", &none).await.is(404, "no-such-session");
}
