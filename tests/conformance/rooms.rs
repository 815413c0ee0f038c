//! Rooms to the letter: R4 to R7 of `docs/http.md`.

use serde_json::Value;

use crate::offers::{CHROMIUM_MEETS, without};
use crate::server::{Answer, JSON, SDP, World};

const DOOR: &str = "/rooms/demo/sessions";

/// With one more m-line on which to receive.
fn grown(offer: &str) -> String {
    let section = offer
        .rsplit("m=")
        .find(|section| section.starts_with("video"));
    let section = section.expect("it has slots");
    let mids = offer.lines().filter(|line| line.starts_with("a=mid:"));
    let mid = section.lines().find(|line| line.starts_with("a=mid:"));
    let mid = mid.expect("m-lines have names");
    let number = mids.count();
    let more = section.replace(mid, &format!("a=mid:{number}"));
    let group = offer
        .lines()
        .find(|line| line.starts_with("a=group:BUNDLE"));
    let group = group.expect("it is bundled");
    offer.replace(group, &format!("{group} {number}")) + "m=" + &without(&more, "a=ssrc")
}

/// The SSRC lines of an answer: what a slot is.
fn sources(answer: &Answer) -> Vec<String> {
    let lines = answer.lines("a=ssrc:").into_iter();
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn r4_of_two_who_change_a_session_at_once_one_is_told_that_it_is_late() {
    let world = World::start().await;
    let joined = world.join(DOOR, CHROMIUM_MEETS).await;
    let tag = joined.header("x-description-tag");
    let headers = [SDP, ("if-match", tag)];
    let offer = grown(CHROMIUM_MEETS);
    let patch = || world.send("PATCH", joined.session(), &headers, offer.clone());
    let (one, other) = tokio::join!(patch(), patch());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{one:?} {other:?}");

    let tag = joined.header("x-subscriptions-tag");
    let headers = [JSON, ("if-match", tag)];
    let path = format!("{}/subscriptions", joined.session());
    let put = || world.send("PUT", &path, &headers, "{}");
    let (one, other) = tokio::join!(put(), put());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{one:?} {other:?}");
}

#[tokio::test]
async fn r5_who_lost_an_answer_asks_again_and_finds_the_same() {
    let world = World::start().await;
    let joined = world.join(DOOR, CHROMIUM_MEETS).await;
    let offer = grown(CHROMIUM_MEETS);
    let patch = || world.send("PATCH", joined.session(), &[SDP], offer.clone());
    let (first, again) = (patch().await, patch().await);
    assert_eq!((first.status, again.status), (200, 200), "{again:?}");
    assert_eq!(sources(&first), sources(&again));
    let kept = sources(&joined).len();
    assert_eq!(sources(&joined)[..], sources(&first)[..kept]);

    let path = format!("{}/subscriptions", joined.session());
    let wish = r#"{"slots":{},"rest":null}"#;
    let put = || world.send("PUT", &path, &[JSON], wish);
    let (first, again) = (put().await, put().await);
    assert_eq!((first.status, again.status), (200, 200));
    let bindings = |answer: &Answer| -> Value {
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        body["bindings"].clone()
    };
    assert_eq!(bindings(&first), bindings(&again));
    assert_ne!(first.header("etag"), again.header("etag"));
}

#[tokio::test]
async fn r6_a_server_that_begins_anew_takes_back_who_was_there() {
    let world = World::start().await;
    let former = world.join(DOOR, CHROMIUM_MEETS).await.session().to_owned();
    drop(world);
    let world = World::start().await;
    let gone = world.send("PATCH", &former, &[SDP], CHROMIUM_MEETS).await;
    gone.is(404, "no-such-session");
    let id = former.trim_start_matches("/sessions/");
    let headers = [SDP, ("x-resume", id)];
    let again = world.send("POST", DOOR, &headers, CHROMIUM_MEETS).await;
    assert_eq!(again.status, 201, "{again:?}");
    assert_ne!(again.session(), former);
}

#[tokio::test]
async fn r7_a_program_that_speaks_only_http_takes_part() {
    let world = World::start().await;
    let joined = world
        .join(&format!("{DOOR}?name=Bot"), CHROMIUM_MEETS)
        .await;
    let session = joined.session();
    let state = world.ask("GET", &format!("{session}/state")).await;
    let state: Value = serde_json::from_str(&state.body).expect("JSON");
    let snapshot = &state["events"][0]["data"];
    assert_eq!(snapshot["me"], joined.header("x-participant"));
    // Who is not connected is not there for the others.
    assert_eq!(snapshot["participants"].as_array().map(Vec::len), Some(1));
    let slots = snapshot["bindings"].as_array().expect("a list");
    let mid = slots[0]["mid"].as_str().expect("a name");
    let wish = format!(r#"{{"slots":{{"{mid}":{{"track":"aaaaaaaaaaaa"}}}}}}"#);
    let path = format!("{session}/subscriptions");
    let wished = world.send("PUT", &path, &[JSON], wish).await;
    assert_eq!(wished.status, 200, "{wished:?}");
    let id = session.trim_start_matches("/sessions/");
    let message = format!(r#"{{"session":"{id}","event":"chat","data":"hello","keep":true}}"#);
    let said = world
        .send("POST", "/rooms/demo/messages", &[JSON], message)
        .await;
    assert_eq!(said.status, 202, "{said:?}");
    // Who comes later sees what was kept.
    let later = world.join(DOOR, CHROMIUM_MEETS).await;
    let state = world
        .ask("GET", &format!("{}/state", later.session()))
        .await;
    assert!(state.body.contains("\"data\":\"hello\""));
    assert_eq!(world.ask("DELETE", session).await.status, 200);
}
