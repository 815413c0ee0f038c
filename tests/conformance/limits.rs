//! Limits: each can be set, is counted, and is told from the others. Those of rates, sizes and
//! times are with their rows (W28, W36), that of an identity with tokens.

use plenum::engine::Limits;

use crate::offers::CHROMIUM_MEETS;
use crate::server::{JSON, SDP, World};

const DOOR: &str = "/rooms/demo/sessions";

#[tokio::test]
async fn a_room_takes_as_many_as_it_may_have() {
    let limits = Limits {
        participants_per_room: 1,
        ..Limits::default()
    };
    let world = World::with_limits(|_| {}, limits).await;
    world.join(DOOR, CHROMIUM_MEETS).await;
    let full = world.post(DOOR, CHROMIUM_MEETS).await;
    full.is(503, "room-full");
    assert!(full.has("retry-after"));
    assert_eq!(world.refusals("participants").await, 1);
    world.join("/rooms/other/sessions", CHROMIUM_MEETS).await;
}

#[tokio::test]
async fn there_are_as_many_rooms_as_there_may_be_whoever_makes_them() {
    let limits = Limits {
        rooms: 1,
        ..Limits::default()
    };
    let world = World::with_limits(|_| {}, limits).await;
    world.join(DOOR, CHROMIUM_MEETS).await;
    let refused = world.post("/rooms/other/sessions", CHROMIUM_MEETS).await;
    refused.is(503, "too-many-rooms");
    assert!(refused.has("retry-after"));
    let made = world.send("PUT", "/api/rooms/third", &[JSON], "{}").await;
    made.is(503, "too-many-rooms");
    assert_eq!(world.refusals("rooms").await, 2);
    world.join(DOOR, CHROMIUM_MEETS).await;
}

#[tokio::test]
async fn a_thread_takes_as_many_sessions_as_it_may_have() {
    let limits = Limits {
        sessions: 1,
        ..Limits::default()
    };
    let world = World::with_limits(|_| {}, limits).await;
    world.join(DOOR, CHROMIUM_MEETS).await;
    world.post(DOOR, CHROMIUM_MEETS).await.is(503, "overloaded");
    assert_eq!(world.refusals("shard").await, 1);
}

#[tokio::test]
async fn an_address_has_as_many_sessions_as_it_may_have() {
    let world = World::with(|settings| {
        settings.sessions_per_address = 1;
        settings.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    })
    .await;
    let from = |address: &'static str| [SDP, ("x-forwarded-for", address)];
    let (one, other) = (from("192.0.2.1"), from("192.0.2.2"));
    let first = world.send("POST", DOOR, &one, CHROMIUM_MEETS).await;
    assert_eq!(first.status, 201);
    let second = world.send("POST", DOOR, &one, CHROMIUM_MEETS).await;
    second.is(429, "too-many-sessions");
    assert_eq!(world.refusals("sessions").await, 1);
    let another = world.send("POST", DOOR, &other, CHROMIUM_MEETS).await;
    assert_eq!(another.status, 201);
}

#[tokio::test]
async fn answers_are_kept_for_as_many_keys_as_are_allowed() {
    let world = World::with(|settings| settings.idempotency_keys = 1).await;
    for (key, kept) in [("a", true), ("b", false), ("a", true)] {
        let headers = [SDP, ("idempotency-key", key)];
        let first = world.send("POST", DOOR, &headers, CHROMIUM_MEETS).await;
        let again = world.send("POST", DOOR, &headers, CHROMIUM_MEETS).await;
        assert_eq!((first.status, again.status), (201, 201));
        assert_eq!(first.session() == again.session(), kept, "{key}");
    }
    assert_eq!(world.refusals("idempotency_keys").await, 2);
}
