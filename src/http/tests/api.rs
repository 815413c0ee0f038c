//! The server API, before it reaches an engine.

use std::time::Duration;

use serde_json::json;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn put(world: &World, path: &str, body: &Value) -> Answer {
    let text = body.to_string();
    world.send(request(Method::PUT, path, &[JSON], &text)).await
}

async fn post_json(world: &World, path: &str, body: &Value) -> Answer {
    let text = body.to_string();
    world
        .send(request(Method::POST, path, &[JSON], &text))
        .await
}

fn administered(world: &World) -> RoomCommand {
    match world.heard() {
        (_, Command::Administer(command)) => command,
        other => panic!("not about rooms: {other:?}"),
    }
}

#[tokio::test]
async fn rooms_of_all_engines_are_one_list() {
    let world = World::new();
    let room = |text: &str| RoomSummary {
        name: name(text),
        participants: 2,
        tracks: 3,
        state: RoomState {
            locked: true,
            metadata: Json::from(&json!({"topic": "x"})),
        },
        created_ms: 1_790_000_000_000,
    };
    world.script(Ok(Reply::Rooms(vec![room("b"), room("c")])));
    world.script(Ok(Reply::Rooms(vec![room("a")])));
    let answer = world.ask(Method::GET, "/api/rooms").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list: Value = serde_json::from_str(&answer.body).expect("JSON");
    let names: Vec<&str> = list["rooms"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|room| room["name"].as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    let first = json!({"name": "a", "participants": 2, "tracks": 3, "locked": true,
                       "metadata": {"topic": "x"}, "created": 1_790_000_000_000_u64});
    assert_eq!(list["rooms"][0], first);
}

#[tokio::test]
async fn what_is_not_named_of_a_room_stays_as_it_was() {
    let world = World::new();
    let answer = put(&world, "/api/rooms/demo", &json!({"locked": true})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let RoomCommand::Configure { room, settings } = administered(&world) else {
        panic!("a change")
    };
    assert_eq!(room, name("demo"));
    let expected = RoomSettings {
        locked: Some(true),
        ..RoomSettings::default()
    };
    assert_eq!(settings, expected);

    let all =
        json!({"maxParticipants": 50, "locked": false, "metadata": {"a": [1]}, "emptyTimeout": 60});
    assert_eq!(put(&world, "/api/rooms/demo", &all).await.status, 200);
    let RoomCommand::Configure { settings, .. } = administered(&world) else {
        panic!("a change")
    };
    let expected = RoomSettings {
        max_participants: Some(50),
        locked: Some(false),
        metadata: Some(Json::from(&json!({"a": [1]}))),
        empty_timeout: Some(Duration::from_secs(60)),
    };
    assert_eq!(settings, expected);
}

#[tokio::test]
async fn what_is_asked_of_somebody_reaches_the_engine_of_their_room() {
    let world = World::new();
    let ada = "/api/rooms/demo/participants/ada";
    assert_eq!(world.ask(Method::DELETE, ada).await.status, 204);
    let RoomCommand::Remove { room, participant } = administered(&world) else {
        panic!("a removal")
    };
    assert_eq!((room, participant), (name("demo"), name("ada")));

    let track = format!("{ada}/tracks/k3jq5xw2m4za");
    assert_eq!(
        put(&world, &track, &json!({"muted": true})).await.status,
        204
    );
    let RoomCommand::Mute { track, .. } = administered(&world) else {
        panic!("a mute")
    };
    assert_eq!(track.to_string(), "k3jq5xw2m4za");

    let other = json!({"room": "Büro"});
    let answer = post_json(&world, &format!("{ada}/move"), &other).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let RoomCommand::Move { url, .. } = administered(&world) else {
        panic!("a move")
    };
    assert_eq!(url, "/rooms/B%C3%BCro/sessions");

    assert_eq!(
        world.ask(Method::DELETE, "/api/rooms/demo").await.status,
        204
    );
    assert!(matches!(administered(&world), RoomCommand::Close { .. }));
}

#[tokio::test]
async fn what_cannot_be_asked_of_a_room_is_refused() {
    let world = World::new();
    let ada = "/api/rooms/demo/participants/ada";
    let track = format!("{ada}/tracks/k3jq5xw2m4za");
    let no_track = format!("{ada}/tracks/short");
    let move_away = format!("{ada}/move");
    for (method, path, body, status) in [
        (
            Method::PUT,
            "/api/rooms/demo",
            json!({"locked": "yes"}),
            422,
        ),
        (Method::PUT, "/api/rooms/demo", json!({"metadata": []}), 422),
        (
            Method::PUT,
            "/api/rooms/demo",
            json!({"maxParticipants": -1}),
            422,
        ),
        (
            Method::PUT,
            "/api/rooms/demo",
            json!({"emptyTimeout": 604_801}),
            422,
        ),
        (
            Method::PUT,
            "/api/rooms/demo",
            json!({"metadata": {"a": "x".repeat(4_096)}}),
            413,
        ),
        (Method::PUT, "/api/rooms/a%2Fb", json!({}), 400),
        (Method::PUT, &track, json!({"muted": false}), 422),
        (Method::PUT, &track, json!({}), 422),
        (Method::PUT, &no_track, json!({"muted": true}), 404),
        (Method::POST, &move_away, json!({}), 422),
        (Method::POST, &move_away, json!({"room": "a/b"}), 400),
    ] {
        let text = body.to_string();
        let answer = world.send(request(method, path, &[JSON], &text)).await;
        assert_eq!(answer.status, status, "{path} {text:.60}");
        answer.problem();
    }
    assert!(world.heard_nothing());
    let answer = world.ask(Method::POST, "/api/rooms").await;
    assert_eq!(answer.status, 405);
    world.script(Err(CommandError::NotFound("room")));
    let answer = world.ask(Method::GET, "/api/rooms/nowhere").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (404, "not-found")
    );
    world.script(Err(CommandError::RoomLocked(name("demo"))));
    let answer = world.send(post("/rooms/demo/sessions")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (403, "room-locked")
    );
}
