use super::command::{Door, Join};
use super::*;

#[test]
fn a_session_whose_work_panics_ends_alone() {
    let now = some_moment();
    let config = EngineConfig {
        shard: 0,
        shards: 1,
        advertised: vec![SocketAddr::from(([127, 0, 0, 1], 3478))],
        advertised_tcp: Vec::new(),
        limits: Limits::default(),
        wall_clock: Duration::ZERO,
    };
    let mut engine = Engine::new(config, Certificate::generate(), [45; 32]);
    let offer = include_str!("../../tests/fixtures/sdp/chromium-meet.sdp");
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let join = Join {
            room: "lobby".parse().unwrap(),
            door: Door::Meet,
            name: None,
            is_host: false,
            is_hidden: false,
            takes_over: false,
            needs_publisher: false,
            resume: None,
            offer: offer.to_owned(),
            home: None,
            busy: Vec::new(),
        };
        match engine.handle_command(Command::Join(Box::new(join)), now) {
            Ok(Reply::Joined(joined)) => sessions.push(joined.session),
            other => panic!("a session is opened, not {other:?}"),
        }
    }
    let place = engine.session_ids[&sessions[0]];
    engine.guarded(place, now, |_| panic!("as if str0m had a mistake"));
    assert_eq!(engine.counters.panics, 1);
    let mut ended = Vec::new();
    while let Some(event) = engine.poll_event() {
        if let Change::Closed { reason } = event.change {
            ended.push((event.session, reason));
        }
    }
    assert_eq!(ended, [(sessions[0], CloseReason::Failed)]);
    let others = Command::Snapshot {
        session: sessions[1],
    };
    assert!(matches!(
        engine.handle_command(others, now),
        Ok(Reply::Snapshot(_))
    ));
}

/// A moment for tests to count from.
#[expect(clippy::disallowed_methods, reason = "tests have to start somewhere")]
pub(super) fn some_moment() -> Instant {
    Instant::now()
}
