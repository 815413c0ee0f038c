//! Limits: each can be set, is counted, and is told from the others. What they are unless set is
//! with their rows (W28, W36), that of an identity with tokens.

use std::time::Duration;

use plenum::engine::{ChannelLimits, Limits};
use plenum::net::StreamLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::offers::{CHROMIUM_MEETS, CHROMIUM_PLAYS};
use crate::server::{FRAGMENT, JSON, SDP, Stream, World};

const DOOR: &str = "/rooms/demo/sessions";

/// Far longer than anything takes on loopback.
const PATIENCE: Duration = Duration::from_secs(5);

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
async fn a_session_has_as_many_m_lines_as_it_may_have() {
    let limits = |media_lines| Limits {
        media_lines,
        ..Limits::default()
    };
    let lines = CHROMIUM_MEETS.matches("\nm=").count();
    let world = World::with_limits(|_| {}, limits(lines - 1)).await;
    let refused = world.post(DOOR, CHROMIUM_MEETS).await;
    refused.is(422, "too-many-media-lines");
    assert_eq!(world.refusals("media_lines").await, 1);
    assert_eq!(world.sessions().await, 0);
    let world = World::with_limits(|_| {}, limits(lines)).await;
    world.join(DOOR, CHROMIUM_MEETS).await;
}

#[tokio::test]
async fn a_fragment_has_as_many_candidates_as_are_read() {
    let limits = Limits {
        candidates: 2,
        ..Limits::default()
    };
    let world = World::with_limits(|_| {}, limits).await;
    let joined = world.join(DOOR, CHROMIUM_MEETS).await;
    let candidate = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
    for (count, over) in [(2, 0), (5, 3)] {
        let fragment = format!("a=mid:0\r\n{}", candidate.repeat(count));
        let taken = world.send("PATCH", joined.session(), &[FRAGMENT], fragment);
        assert_eq!(taken.await.status, 204);
        assert_eq!(world.drops("candidate_limit").await, over);
    }
}

#[tokio::test]
async fn a_client_is_told_how_large_a_message_on_a_data_channel_may_be() {
    let channels = ChannelLimits {
        message_bytes: 2048,
        ..ChannelLimits::default()
    };
    let limits = Limits {
        channels,
        ..Limits::default()
    };
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
        a=setup:actpass\r\na=ice-ufrag:7Gk2\r\na=ice-pwd:wq0QvNc3c1kZ2yG6bqfJ8l\r\na=sctp-port:5000\r\n";
    let session = CHROMIUM_MEETS.split("m=").next().expect("a session");
    let lines = session.lines().filter(|line| !line.starts_with("a=group:"));
    let session: String = lines.map(|line| format!("{line}\r\n")).collect();
    let fingerprint = CHROMIUM_MEETS
        .lines()
        .find(|line| line.starts_with("a=fingerprint:"));
    let fingerprint = fingerprint.expect("it has a certificate");
    let offer = format!("{session}a=group:BUNDLE 0\r\n{data}{fingerprint}\r\n");
    for (limits, told) in [(Limits::default(), 65536), (limits, 2048)] {
        let world = World::with_limits(|_| {}, limits).await;
        let joined = world.join(DOOR, offer.clone()).await;
        let line = format!("a=max-message-size:{told}");
        assert_eq!(joined.lines("a=max-message-size:"), [line]);
    }
}

#[tokio::test]
async fn there_are_as_many_connections_with_media_as_there_may_be() {
    let limits = |connections, per_address| StreamLimits {
        connections,
        per_address,
    };
    for (limits, reason) in [
        (limits(1, 9), "too_many"),
        (limits(9, 1), "too_many_of_address"),
    ] {
        let world = World::with_tcp(limits).await;
        let address = world.tcp_address();
        let mut first = TcpStream::connect(address).await.expect("it listens");
        world.tcp_connections(1).await;
        let mut second = TcpStream::connect(address).await.expect("it listens");
        let ended = tokio::time::timeout(PATIENCE, second.read(&mut [0])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
        let name = format!("plenum_tcp_closed_total{{reason=\"{reason}\"}}");
        assert_eq!(world.metric(&name).await, 1);
        first.shutdown().await.expect("it is open");
        world.tcp_connections(0).await;
        let _third = TcpStream::connect(address).await.expect("it listens");
        world.tcp_connections(1).await;
    }
}

#[tokio::test]
async fn messages_and_tokens_are_as_large_as_they_may_be() {
    let world = World::with(|settings| settings.message_bytes = 1024).await;
    let joined = world.join(DOOR, CHROMIUM_MEETS).await;
    let id = joined.session().trim_start_matches("/sessions/");
    let message = |text: &str| format!(r#"{{"session":"{id}","event":"chat","data":"{text}"}}"#);
    let room = 1024 - message("").len();
    for (bytes, status) in [(room, 202), (room + 1, 413)] {
        let text = message(&"x".repeat(bytes));
        let said = world.send("POST", "/rooms/demo/messages", &[JSON], text);
        assert_eq!(said.await.status, status);
    }
    assert_eq!(world.refusals("body").await, 1);

    let secret = "0123456789abcdef0123456789abcdef";
    let world = World::with(|settings| {
        settings.auth.key = secret.parse().ok();
        settings.auth.token_bytes = 1024;
    })
    .await;
    for (bytes, reason) in [(1024, "malformed"), (1025, "too_large")] {
        let bearer = format!("Bearer {}", "x".repeat(bytes));
        let headers = [SDP, ("authorization", bearer.as_str())];
        let refused = world.send("POST", DOOR, &headers, CHROMIUM_MEETS).await;
        refused.is(401, "unauthorized");
        let name = format!("plenum_auth_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(world.metric(&name).await, 1, "{bytes}");
    }
}

#[tokio::test]
async fn heads_bodies_and_offers_are_as_large_as_they_may_be_and_come_in_time() {
    let world = World::with(|settings| {
        settings.head_bytes = 8 * 1024;
        settings.body_bytes = 1024;
        settings.offer_bytes = 20 * 1024;
        settings.request_timeout = 1;
    })
    .await;
    let long = "x".repeat(9 * 1024);
    let headers = [("x", long.as_str())];
    assert_eq!(world.send("GET", DOOR, &headers, "").await.status, 431);
    world.refused("head", 1).await;
    world.join(DOOR, CHROMIUM_MEETS).await;
    let offer = "x".repeat(21 * 1024);
    world.post(DOOR, offer).await.is(413, "too-large");
    let door = "/whip/demo";
    world.post(door, CHROMIUM_MEETS).await.is(413, "too-large");
    assert_eq!(world.refusals("body").await, 2);

    let mut stream = TcpStream::connect(world.address()).await.expect("it runs");
    let head = "POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n\
        content-length: 100\r\n\r\nv=0\r\n";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer));
    read.await.expect("within a second").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(world.refusals("time").await, 1);
}

#[tokio::test]
async fn a_session_has_as_many_event_streams_as_it_may_have() {
    let world = World::with(|settings| settings.streams_per_session = 1).await;
    let joined = world.join(DOOR, CHROMIUM_MEETS).await;
    let events = format!("{}/events", joined.session());
    let mut first = Stream::open(&world, &events).await;
    first.until(|text| text.contains("event: snapshot")).await;
    let _second = Stream::open(&world, &events).await;
    // It ends, instead of waiting for what comes.
    first.remainder().await;
    assert_eq!(world.refusals("streams").await, 1);

    let player = world.join("/whep/demo", CHROMIUM_PLAYS).await;
    let made = format!("{}/sse", player.session());
    for _ in 0..2 {
        assert_eq!(world.send("POST", &made, &[JSON], "").await.status, 201);
    }
    assert_eq!(world.refusals("streams").await, 2);
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
