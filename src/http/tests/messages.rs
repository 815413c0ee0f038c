//! What is said in a room, and what is noted of those in it: before it reaches an engine.

use serde_json::json;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

fn id_of(session: &str) -> &str {
    session.trim_start_matches("/sessions/")
}

async fn say(world: &World, body: &Value) -> Answer {
    let request = request(
        Method::POST,
        "/rooms/demo/messages",
        &[JSON],
        &body.to_string(),
    );
    world.send(request).await
}

async fn note(world: &World, session: &str, attributes: &Value) -> Answer {
    let path = format!("{session}/attributes");
    let text = attributes.to_string();
    world
        .send(request(Method::PUT, &path, &[JSON], &text))
        .await
}

#[tokio::test]
async fn a_message_reaches_the_engine_of_its_room_as_it_was_said() {
    let world = World::new();
    let session = world.joined().await;
    let body = json!({"session": id_of(&session), "to": "p8", "event": "offer",
                      "data": {"sdp": "v=0\r\n"}, "unknown": 1});
    let answer = say(&world, &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body, r#"{"id":"m1"}"#);
    let (0, Command::Say(said)) = world.heard() else {
        panic!("a message for the room's engine")
    };
    assert_eq!(said.room, name("demo"));
    assert_eq!(
        said.from.map(|from| from.to_string()).as_deref(),
        Some(id_of(&session))
    );
    assert_eq!(said.to, Some(name("p8")));
    assert_eq!((said.event.as_str(), said.keep), ("offer", false));
    assert_eq!(said.data.as_str(), r#"{"sdp":"v=0\r\n"}"#);

    let answer = say(&world, &json!({"event": "chat", "to": null, "keep": true})).await;
    assert_eq!(
        answer.status, 202,
        "without keys anybody may speak for the server"
    );
    let (_, Command::Say(said)) = world.heard() else {
        panic!("a message")
    };
    assert_eq!((said.from, said.to, said.keep), (None, None, true));
    assert_eq!(said.data.as_str(), "null");
}

#[tokio::test]
async fn a_message_that_cannot_be_is_refused() {
    let world = World::new();
    let session = world.joined().await;
    world.heard();
    let id = id_of(&session);
    let stranger = "a".repeat(26);
    for (body, status, problem) in [
        (
            json!({"session": stranger, "event": "chat"}),
            404,
            "no-such-session",
        ),
        (
            json!({"session": "x", "event": "chat"}),
            404,
            "no-such-session",
        ),
        (
            json!({"session": id, "event": "chat", "to": "a/b"}),
            404,
            "not-found",
        ),
        (json!({"session": id}), 422, "unsupported"),
        (
            json!({"session": id, "event": "two words"}),
            422,
            "unsupported",
        ),
        (
            json!({"session": id, "event": "e", "to": "p8", "keep": true}),
            422,
            "unsupported",
        ),
        (json!([id, null, "chat"]), 422, "unsupported"),
        (
            json!({"session": id, "event": "e", "data": "x".repeat(16_384)}),
            413,
            "too-large",
        ),
    ] {
        let answer = say(&world, &body).await;
        assert_eq!(answer.status, status, "{body:.80}");
        assert_eq!(answer.problem(), problem, "{body:.80}");
    }
    let deep = format!(r#"{{"event":"e","data":{}"#, "[".repeat(5_000));
    let answer = world
        .send(request(
            Method::POST,
            "/rooms/demo/messages",
            &[JSON],
            &deep,
        ))
        .await;
    assert_eq!(answer.problem(), "malformed");
    assert!(world.heard_nothing());

    world.script(Err(CommandError::NotFound("participant")));
    let answer = say(&world, &json!({"session": id, "event": "chat", "to": "p9"})).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (404, "not-found")
    );
}

#[tokio::test]
async fn a_session_that_talks_too_fast_is_asked_to_wait_and_others_are_not() {
    let world = World::with(Settings {
        message_rate: 1,
        ..Settings::default()
    });
    let (fast, other) = (world.joined().await, world.joined().await);
    let chat = |session: &str| json!({"session": id_of(session), "event": "chat"});
    for _ in 0..5 {
        assert_eq!(say(&world, &chat(&fast)).await.status, 202);
    }
    let refused = say(&world, &chat(&fast)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (429, "too-fast")
    );
    assert!(
        refused
            .header("retry-after")
            .parse::<u64>()
            .expect("seconds")
            >= 1
    );
    assert_eq!(say(&world, &chat(&other)).await.status, 202);
}

#[tokio::test]
async fn attributes_are_a_few_plain_values() {
    let world = World::new();
    let session = world.joined().await;
    let good = json!({"hand": true, "mood": "fine", "n": 1.5, "none": null});
    assert_eq!(note(&world, &session, &good).await.status, 204);
    let (_, Command::SetAttributes { attributes, .. }) = world.heard() else {
        panic!("attributes")
    };
    let text = attributes.expect("there are some").as_str().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), good);
    assert_eq!(note(&world, &session, &json!({})).await.status, 204);
    let (
        _,
        Command::SetAttributes {
            attributes: None, ..
        },
    ) = world.heard()
    else {
        panic!("none any more")
    };

    let many: Value = (0..17).map(|n| (n.to_string(), Value::from(n))).collect();
    for (bad, status) in [
        (many, 422),
        (json!({"a": {}}), 422),
        (json!({"a": []}), 422),
        (json!(["hand"]), 422),
        (json!({"a": "x".repeat(1_024)}), 413),
    ] {
        assert_eq!(
            note(&world, &session, &bad).await.status,
            status,
            "{bad:.40}"
        );
    }
    let gone = note(&world, &format!("/sessions/{}", "a".repeat(26)), &good).await;
    assert_eq!(gone.problem(), "no-such-session");
}
