//! A session's own URL: trickle, restart, re-offer, wishes, leaving.

use super::*;
use crate::engine::command::SlotWish;
use crate::engine::event::{Change, CloseReason, SessionEvent};

const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
const SDP: (&str, &str) = ("content-type", "application/sdp");
const JSON: (&str, &str) = ("content-type", "application/json");

fn patch(path: &str, headers: &[(&str, &str)]) -> Request {
    request(Method::PATCH, path, headers, "a=ice-ufrag:x\r\n")
}

#[tokio::test]
async fn candidates_are_taken_without_body_and_tag() {
    let world = World::new();
    let session = world.joined().await;
    let answer = world
        .send(patch(&session, &[FRAGMENT, ("if-match", "\"i1\"")]))
        .await;
    assert_eq!(answer.status, 204);
    assert!(answer.body.is_empty() && !answer.headers.contains_key("etag"));
    let (
        _,
        Command::Trickle {
            if_match, fragment, ..
        },
    ) = world.heard()
    else {
        panic!("a trickle")
    };
    assert_eq!(
        (if_match.as_deref(), fragment.as_str()),
        (Some("i1"), "a=ice-ufrag:x\r\n")
    );
}

#[tokio::test]
async fn a_restart_is_answered_with_new_credentials_and_a_new_tag() {
    for any in ["*", "\"*\""] {
        let world = World::new();
        let session = world.joined().await;
        let restarted = Reply::IceRestarted {
            fragment: "a=ice-lite\r\n".to_owned(),
            ice_tag: "i2".to_owned(),
        };
        world.script(Ok(restarted));
        let answer = world
            .send(patch(&session, &[FRAGMENT, ("if-match", any)]))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (200, "a=ice-lite\r\n")
        );
        assert_eq!(
            answer.header("content-type"),
            "application/trickle-ice-sdpfrag"
        );
        assert_eq!(answer.header("etag"), "\"i2\"");
        let (_, Command::Trickle { if_match: None, .. }) = world.heard() else {
            panic!("any version")
        };
    }
}

#[tokio::test]
async fn tags_are_compared_strongly_and_may_be_missing_unless_told_otherwise() {
    let world = World::new();
    let session = world.joined().await;
    assert_eq!(
        world.send(patch(&session, &[FRAGMENT])).await.status,
        204,
        "old clients send none"
    );
    let weak = world
        .send(patch(&session, &[FRAGMENT, ("if-match", "W/\"i1\"")]))
        .await;
    assert_eq!(
        (weak.status.as_u16(), weak.problem().as_str()),
        (412, "stale")
    );
    for malformed in ["i1", "\"i1", "\"a\", \"b\""] {
        let answer = world
            .send(patch(&session, &[FRAGMENT, ("if-match", malformed)]))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "malformed"),
            "{malformed}"
        );
    }

    let strict = World::with(Settings {
        strict_if_match: true,
        ..Settings::default()
    });
    let session = strict.joined().await;
    let answer = strict.send(patch(&session, &[FRAGMENT])).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (428, "if-match")
    );
    assert_eq!(
        strict
            .send(patch(&session, &[FRAGMENT, ("if-match", "\"i1\"")]))
            .await
            .status,
        204
    );
    assert_eq!(
        strict.send(patch(&session, &[SDP])).await.status,
        200,
        "a new offer needs none"
    );
}

#[tokio::test]
async fn a_new_offer_is_answered_with_the_new_tags() {
    let world = World::new();
    let session = world.joined().await;
    let answer = world
        .send(patch(&session, &[SDP, ("if-match", "\"d1\"")]))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (200, ANSWER)
    );
    assert_eq!(answer.header("content-type"), "application/sdp");
    assert_eq!(answer.header("etag"), "\"i1\"");
    assert_eq!(answer.header("x-description-tag"), "\"d2\"");
    let (_, Command::Describe { if_match, .. }) = world.heard() else {
        panic!("a new offer")
    };
    assert_eq!(if_match.as_deref(), Some("d1"));
}

#[tokio::test]
async fn a_patch_of_another_type_hears_which_there_are() {
    let world = World::new();
    let session = world.joined().await;
    for headers in [&[][..], &[JSON]] {
        let answer = world.send(patch(&session, headers)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (415, "content-type")
        );
        assert_eq!(
            answer.header("accept-patch"),
            "application/trickle-ice-sdpfrag, application/sdp"
        );
    }
    let compressed = world
        .send(patch(&session, &[FRAGMENT, ("content-encoding", "br")]))
        .await;
    assert_eq!(compressed.status, 415);
}

#[tokio::test]
async fn a_wish_is_noted_and_its_version_told() {
    let world = World::new();
    let session = world.joined().await;
    let put = |headers: &[(&str, &str)], body: &str| {
        request(
            Method::PUT,
            &format!("{session}/subscriptions"),
            headers,
            body,
        )
    };
    let answer = world
        .send(put(
            &[JSON, ("if-match", "\"s1\"")],
            r#"{"slots":{"2":null}}"#,
        ))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("etag")),
        (200, "\"s2\"")
    );
    assert_eq!(answer.body, r#"{"v":12,"bindings":[]}"#);
    let (_, Command::Subscribe { if_match, wish, .. }) = world.heard() else {
        panic!("a wish")
    };
    assert_eq!(
        (if_match.as_deref(), &wish.slots["2"]),
        (Some("s1"), &SlotWish::Nothing)
    );

    assert_eq!(world.send(put(&[JSON], "{")).await.problem(), "malformed");
    assert_eq!(
        world
            .send(put(&[JSON], r#"{"slots":{"2":7}}"#))
            .await
            .problem(),
        "unsupported"
    );
    assert_eq!(world.send(put(&[SDP], "{}")).await.status, 415);
    world.script(Err(CommandError::Stale));
    assert_eq!(world.send(put(&[JSON], "{}")).await.status, 412);
}

#[tokio::test]
async fn muting_is_done_by_mid() {
    let world = World::new();
    let session = world.joined().await;
    let path = format!("{session}/tracks");
    let answer = world
        .send(request(
            Method::PUT,
            &path,
            &[JSON],
            r#"{"muted":{"0":true}}"#,
        ))
        .await;
    assert_eq!(answer.status, 204);
    let (_, Command::Mute { muted, .. }) = world.heard() else {
        panic!("a muting")
    };
    assert!(muted["0"]);
}

#[tokio::test]
async fn leaving_ignores_tags_and_works_once() {
    let world = World::new();
    let session = world.joined().await;
    let leave = request(Method::DELETE, &session, &[("if-match", "\"x\"")], "");
    assert_eq!(world.send(leave).await.status, 200);
    let (_, Command::Leave { session: left }) = world.heard() else {
        panic!("a leaving")
    };
    let change = Change::Closed {
        reason: CloseReason::Left,
    };
    world.hub.publish(SessionEvent {
        session: left,
        version: 1,
        change,
    });

    for method in [Method::DELETE, Method::GET, Method::PATCH] {
        let answer = world.ask(method, &session).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "no-such-session")
        );
    }
}

#[tokio::test]
async fn a_session_that_never_was_looks_like_one_that_is_gone() {
    let world = World::new();
    let mut bodies = Vec::new();
    for id in [
        "aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "short",
        "7777777777777777777777777z",
        "%00",
    ] {
        let answer = world.ask(Method::GET, &format!("/sessions/{id}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "no-such-session")
        );
        bodies.push(answer.body);
        assert_eq!(
            world
                .ask(Method::GET, &format!("/sessions/{id}/events"))
                .await
                .status,
            404
        );
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert!(world.heard_nothing());
}

#[tokio::test]
async fn a_session_can_be_looked_at_and_says_what_it_takes() {
    let world = World::new();
    let session = world.joined().await;
    for method in [Method::GET, Method::HEAD] {
        let answer = world.ask(method, &session).await;
        assert!(answer.status == 204 && answer.body.is_empty(), "{answer:?}");
    }
    let answer = world.ask(Method::POST, &session).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (405, "method")
    );
    assert_eq!(answer.header("allow"), "GET,HEAD,PATCH,DELETE,OPTIONS");
    let answer = world.ask(Method::OPTIONS, &session).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("accept-patch").is_empty()
        ),
        (200, false)
    );
    for below in ["events", "state", "subscriptions", "tracks"] {
        let answer = world
            .ask(Method::OPTIONS, &format!("{session}/{below}"))
            .await;
        assert_eq!(
            (
                answer.status.as_u16(),
                answer.header("access-control-allow-origin")
            ),
            (200, "*")
        );
    }
}

#[tokio::test]
async fn commands_go_to_the_shard_that_owns_the_session() {
    let world = World::new();
    for room in ["a", "ab"] {
        let answer = world.send(post(&format!("/whip/{room}"))).await;
        let (home, _) = world.heard();
        world
            .send(patch(answer.header("location"), &[FRAGMENT]))
            .await;
        assert_eq!(world.heard().0, home, "{room}");
    }
}

/// Engines of which every one does the same with a command.
struct All(fn() -> CommandFuture<'static>);

impl Engines for All {
    fn count(&self) -> usize {
        1
    }

    fn home(&self, _: &RoomId) -> usize {
        0
    }

    fn awake(&self, _: usize) -> Duration {
        Duration::ZERO
    }

    fn command(&self, _: usize, _: Command) -> CommandFuture<'_> {
        (self.0)()
    }
}

fn world_of(engines: All) -> World {
    let mut world = World::new();
    let hub = Arc::clone(&world.hub);
    let app = App::new(
        Settings::default(),
        Arc::new(engines),
        hub,
        Arc::default(),
        None,
    );
    world.app = Arc::new(app.expect("there are no keys"));
    world
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_not_waited_for() {
    let world = world_of(All(|| Box::pin(std::future::pending())));
    let answer = world.send(post("/whip/demo")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "busy")
    );
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_engine_whose_thread_is_gone_sends_clients_elsewhere() {
    let world = world_of(All(|| Box::pin(async { Err(Refusal::Gone) })));
    let answer = world.send(post("/whip/demo")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "going-away")
    );
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_mistake_of_ours_is_a_problem_that_tells_nothing() {
    for engines in [
        All(|| panic!("with a secret")),
        All(|| Box::pin(async { Ok(Reply::Done) })),
    ] {
        let answer = world_of(engines).send(post("/whip/demo")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (500, "internal")
        );
        assert!(!answer.body.contains("secret"));
    }
}
