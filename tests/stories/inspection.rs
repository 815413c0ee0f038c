//! Why somebody's call is bad: what an operator is told.

use plenum::engine::command::{Command, Headroom, Reply, SlotWish, Wish};
use plenum::engine::event::{Change, Kind, Source};
use plenum::engine::ids::ParticipantId;
use plenum::engine::inspect::{SessionReport, SlotReport};

use str0m_netem::{Bitrate, DataSize};

use crate::guest::Guest;
use crate::media::Device;
use crate::secs;
use crate::world::{Person, World};

/// What an operator is told of somebody in the lobby.
fn report(world: &mut World, person: Person) -> SessionReport {
    let participant: ParticipantId = world.participant(person);
    let room = world.room(person).parse().expect("a room's name");
    let command = Command::Inspect { room, participant };
    match world.command_of(person, command) {
        Ok(Reply::Inspected(mut sessions)) => sessions.remove(0),
        other => panic!("answered by {other:?}"),
    }
}

fn video(report: &SessionReport) -> &SlotReport {
    let mut slots = report.slots.iter();
    slots
        .find(|slot| slot.kind == Kind::Video)
        .expect("a video slot")
}

#[test]
fn a_slot_says_what_flows_and_since_when_and_what_was_lost() {
    let mut world = World::new(501);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(5));

    let seen = report(&mut world, ben);
    let slot = video(&seen);
    assert_eq!(slot.state, "it flows");
    assert_eq!(slot.publisher, Some(world.participant(ada)));
    assert_eq!(slot.source, Some(Source::Camera));
    assert_eq!(slot.track, Some(world.track_of(ada, Kind::Video)));
    assert!(
        slot.flows
            .as_ref()
            .is_some_and(|layer| layer.active && layer.bits_per_second > 0)
    );
    assert!(slot.sent_packets > 0 && slot.waiting_seconds.is_none());
    assert_eq!(slot.loss_ratio, Some(0.0));
    assert!(seen.overview.round_trip_seconds.is_some());
    let said: Vec<&str> = seen.recent.iter().map(|note| note.what.as_str()).collect();
    assert!(said.contains(&"connected"), "{said:?}");
    assert!(
        said.iter().any(|what| what.contains("started after")),
        "{said:?}"
    );

    let shows = format!("shows the camera of {}", world.participant(ada));
    assert!(said.iter().any(|what| what.ends_with(&shows)), "{said:?}");

    let path = seen.path.as_ref().expect("it reports what arrives");
    assert_eq!(path.state, "free");
    assert!(path.allocated_bits_per_second > 0);
    assert!(path.estimate_bits_per_second > path.allocated_bits_per_second);
    assert!(path.loss_ratio < 0.01 && path.standing_queue_seconds < 0.02);
    assert!(
        said.iter().any(|what| what.starts_with("the path: free")),
        "{said:?}"
    );

    let sent = report(&mut world, ada);
    let camera = sent
        .tracks
        .iter()
        .find(|track| track.kind == Kind::Video)
        .expect("a camera");
    assert_eq!(camera.receivers, 1);
    assert!(camera.layers.iter().any(|layer| layer.active));
}

#[test]
fn a_slot_that_shows_nothing_says_why() {
    let mut world = World::new(502);
    let ada = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    assert_eq!(
        video(&report(&mut world, ada)).state,
        "nobody publishes what it is to show"
    );

    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    let track = world.track_of(ben, Kind::Video);
    let mid = video(&report(&mut world, ada)).mid.clone();
    let wish = |paused| Wish {
        slots: [(
            mid.clone(),
            SlotWish::Track {
                track,
                size: Some((320, 180)),
                frame_rate: None,
                priority: 128,
                paused,
            },
        )]
        .into(),
        rest_auto: true,
    };
    let session = world.session(ada);
    let subscribe = |wish| Command::Subscribe {
        session,
        if_match: None,
        wish,
    };
    world
        .command_of(ada, subscribe(wish(true)))
        .expect("a wish that can be had");
    let paused = report(&mut world, ada);
    assert_eq!(video(&paused).state, "its client has paused it");
    assert_eq!(video(&paused).wished_height, Some(180));
    world
        .command_of(ada, subscribe(wish(false)))
        .expect("a wish that can be had");
    world.run_for(secs(2));
    let resumed = report(&mut world, ada);
    assert_eq!(video(&resumed).state, "it flows");
    let said: Vec<&str> = resumed
        .recent
        .iter()
        .map(|note| note.what.as_str())
        .collect();
    assert!(
        said.iter()
            .any(|what| what.ends_with("paused by its client")),
        "{said:?}"
    );
    assert!(
        said.iter().any(|what| what.ends_with("goes on")),
        "{said:?}"
    );
}

#[test]
fn what_is_left_out_says_whether_path_or_server_has_no_room() {
    let mut world = World::new(504);
    let camera = [Device::simulcast_camera()];
    world.enter("lobby", Guest::meeting().with(camera));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 1));
    world.run_for(secs(5));
    assert_eq!(video(&report(&mut world, viewer)).state, "it flows");

    let small = |seen: &SessionReport, why: &str| {
        let state = video(seen).state;
        state.starts_with("it flows, smaller than wished") && state.contains(why)
    };
    for _ in 0..4 {
        world.measure(Headroom::None);
        world.run_for(secs(1));
    }
    let seen = report(&mut world, viewer);
    assert!(small(&seen, "the server"), "{:?}", video(&seen));
    assert!((seen.video_share_ratio - 0.5).abs() < 1e-9);
    for _ in 0..10 {
        world.measure(Headroom::None);
        world.run_for(secs(1));
    }
    let seen = report(&mut world, viewer);
    assert!(
        video(&seen)
            .state
            .starts_with("the server does not keep up")
    );
    for _ in 0..45 {
        world.measure(Headroom::Enough);
        world.run_for(secs(1));
    }
    let seen = report(&mut world, viewer);
    assert_eq!(video(&seen).state, "it flows");
    let said: Vec<&str> = seen.recent.iter().map(|note| note.what.as_str()).collect();
    for what in [
        "the server keeps up again",
        "the server does not keep up: 0 %",
    ] {
        assert!(said.iter().any(|said| said.starts_with(what)), "{said:?}");
    }

    let queue = DataSize::bytes(450 * 300 / 8);
    world
        .down(viewer)
        .change(|config| config.link(Bitrate::kbps(450), queue));
    world.run_for(secs(8));
    let seen = report(&mut world, viewer);
    assert!(small(&seen, "its path"), "{:?}", video(&seen));
}

#[test]
fn a_draining_server_takes_nobody_and_tells_everybody_once() {
    let mut world = World::new(503);
    let ada = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));
    let reconnect = |change: &Change| matches!(change, Change::Reconnect { .. });
    let first = world.now();
    world.command_of(ada, Command::Drain).expect("it drains");
    world.run_for(secs(1));
    assert!(world.heard(ada, first, reconnect));
    let second = world.now();
    world
        .command_of(ada, Command::Drain)
        .expect("it drains still");
    assert!(
        world.join("lobby", &Guest::meeting()).is_err(),
        "nobody is let in any more"
    );
    world.run_for(secs(5));
    assert!(!world.heard(ada, second, reconnect), "once is enough");
    assert!(!world.client(ada).is_closed, "the call goes on");
    assert!(!world.is_drained(), "somebody is still there");
}
