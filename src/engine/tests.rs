use std::sync::Arc;

use super::command::{Door, Join, Joined, OFFER_PATIENCE};
use super::track::MediaPacket;
use super::*;

#[test]
fn a_session_whose_work_panics_ends_alone() {
    let now = some_moment();
    let mut engine = engine();
    let offer = include_str!("../../tests/fixtures/sdp/chromium-meet.sdp");
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let joined = join(&mut engine, Door::Meet, Some(offer.to_owned()), now);
        sessions.push(joined.session);
    }
    let place = engine.session_ids[&sessions[0]];
    engine.guarded(place, now, |_| panic!("as if str0m had a mistake"));
    assert_eq!(engine.counters.panics, 1);
    assert_eq!(ended(&mut engine), [(sessions[0], CloseReason::Failed)]);
    let others = Command::Snapshot {
        session: sessions[1],
    };
    assert!(matches!(
        engine.handle_command(others, now),
        Ok(Reply::Snapshot(_))
    ));
}

#[test]
fn an_offer_of_ours_that_nobody_answers_is_forgotten_after_half_a_minute() {
    let now = some_moment();
    let mut engine = engine();
    let door = Door::Watch { participant: None };
    let session = join(&mut engine, door, None, now).session;
    engine.handle_timeout(now + Duration::from_secs(29));
    assert_eq!(ended(&mut engine), []);
    let late = now + OFFER_PATIENCE + Duration::from_secs(1);
    engine.handle_timeout(late);
    assert_eq!(ended(&mut engine), [(session, CloseReason::NeverConnected)]);
    let answer = Command::Describe {
        session,
        if_match: None,
        description: "v=0".to_owned(),
    };
    let refused = engine.handle_command(answer, late);
    assert!(matches!(refused, Err(CommandError::NoSuchSession)));
}

#[test]
fn a_descriptor_that_cannot_be_read_is_counted_and_its_packet_goes_without() {
    let mut engine = engine();
    let layer = engine.layers.insert(Layer::new(1, 0, None, 1, Kind::Video));
    let mut packet = some_packet();
    for (bytes, reason) in [
        // Cut short; and a template of a structure that never came.
        (&[0xc1, 0][..], codec::Unreadable::Malformed),
        (&[0xc1, 0, 1][..], codec::Unreadable::NoStructure),
    ] {
        engine.read_descriptor(layer, &mut packet, bytes);
        assert_eq!(engine.counters.unread_descriptors[&reason], 1);
        assert!(packet.descriptor.is_none());
    }
}

/// A packet of which nothing is known.
pub(super) fn some_packet() -> MediaPacket {
    let now = some_moment();
    MediaPacket {
        seq: 7,
        timestamp: 0,
        marker: true,
        codec: 0,
        info: codec::PayloadInfo::OPAQUE,
        descriptor: None,
        head: None,
        audio_level: None,
        orientation: None,
        primary_at: 0,
        payload: Arc::new([1]),
        received_at: now,
        captured_at: now,
    }
}

fn engine() -> Engine {
    let config = EngineConfig {
        shard: 0,
        shards: 1,
        advertised: vec![SocketAddr::from(([127, 0, 0, 1], 3478))],
        advertised_tcp: Vec::new(),
        limits: Limits::default(),
        wall_clock: Duration::ZERO,
    };
    Engine::new(config, Certificate::generate(), [45; 32])
}

fn join(engine: &mut Engine, door: Door, offer: Option<String>, now: Instant) -> Joined {
    let join = Join::new("lobby".parse().unwrap(), door, offer);
    match engine.handle_command(Command::Join(Box::new(join)), now) {
        Ok(Reply::Joined(joined)) => joined,
        other => panic!("a session is opened, not {other:?}"),
    }
}

/// The sessions that have ended since this was asked last, and why.
fn ended(engine: &mut Engine) -> Vec<(SessionId, CloseReason)> {
    let mut ended = Vec::new();
    while let Some(event) = engine.poll_event() {
        if let Change::Closed { reason } = event.change {
            ended.push((event.session, reason));
        }
    }
    ended
}

/// A moment for tests to count from.
#[expect(clippy::disallowed_methods, reason = "tests have to start somewhere")]
pub(super) fn some_moment() -> Instant {
    Instant::now()
}
