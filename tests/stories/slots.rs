//! Slots: what they show changes, what they are does not.

use std::collections::BTreeMap;

use plenum::engine::command::{Command, CommandError, SlotWish, Wish};
use plenum::engine::event::{Kind, Source};

use crate::guest::Guest;
use crate::media::Device;
use crate::world::World;
use crate::{millis, secs};

#[test]
fn a_screen_is_shared_and_taken_away_within_the_same_session() {
    let mut world = World::new(41);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting().slots(2, 1));
    world.run_for(secs(3));
    let shared_at = world.now();

    // The answer's SSRCs are compared with those of the first one.
    world.reoffer(ada, &[Device::screen()], 1, 0);
    let screen = world.client(ada).sources.len() - 1;
    let screen_source = world.client(ada).sources[screen].id;
    world.run_for(secs(2));

    let roster = &world.client(ben).roster;
    let track = roster
        .tracks
        .values()
        .find(|track| track.source == Source::Screen);
    let track = track.expect("ben heard of a screen").id;
    let slot = world
        .client(ben)
        .slots(Kind::Video)
        .position(|slot| slot.source() == Some(screen_source));
    let slot = slot.expect("the screen is shown");
    let took = world
        .video(ben, slot)
        .first_of(screen_source, shared_at)
        .expect("shown")
        - shared_at;
    assert!(took <= millis(500), "took {took:?}");

    let stopped_at = world.now();
    world.stop_source(ada, screen);
    world.run_for(secs(2));
    assert!(
        !world.client(ben).roster.tracks.contains_key(&track),
        "the screen is gone"
    );
    let mid = world.video(ben, slot).mid.clone();
    let binding = world.client(ben).roster.bindings.get(&mid);
    assert!(binding.is_none_or(|binding| binding.track != Some(track)));
    assert!(world.client(ben).slots(Kind::Video).any(|slot| {
        slot.source() == Some(world.source_of(ada, Kind::Video))
            && slot.longest_freeze(stopped_at, world.now()) < millis(400)
    }));
    for slot in world.client(ben).slots(Kind::Video) {
        slot.assert_flawless();
    }
}

#[test]
fn more_slots_can_be_had_at_any_time() {
    let mut world = World::new(42);
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 0));
    for _ in 0..3 {
        world.enter(
            "lobby",
            Guest::meeting().with([Device::camera()]).slots(0, 0),
        );
    }
    world.run_for(secs(2));
    world.video(viewer, 0).assert_flawless();

    world.reoffer(viewer, &[], 2, 0);
    world.run_for(secs(2));
    let mut sources: Vec<_> = world
        .client(viewer)
        .slots(Kind::Video)
        .map(|slot| slot.source())
        .collect();
    sources.sort();
    sources.dedup();
    assert_eq!(
        sources.len(),
        3,
        "three slots show three people: {sources:?}"
    );
    for slot in world.client(viewer).slots(Kind::Video) {
        slot.assert_flawless();
    }
}

#[test]
fn a_player_of_somebody_who_is_not_there_yet_gets_them_when_they_come() {
    let mut world = World::new(43);
    let viewer = world.enter("lobby", Guest::watching_only("ada"));
    let ben = world.enter("lobby", Guest::publishing("ben"));
    world.run_for(secs(5));
    assert!(
        world.video(viewer, 0).shown.is_empty(),
        "nobody else will do"
    );

    for round in 0..2 {
        let came_at = world.now();
        let ada = world.enter("lobby", Guest::publishing("ada"));
        world.run_for(secs(3));
        let source = world.source_of(ada, Kind::Video);
        let first = world.video(viewer, 0).first_of(source, came_at);
        let took = first.unwrap_or_else(|| panic!("a picture in round {round}")) - came_at;
        assert!(took <= millis(1_000), "took {took:?} in round {round}");
        assert_eq!(
            world.audio(viewer, 0).source(),
            Some(world.source_of(ada, Kind::Audio))
        );
        world.leave(ada);
        world.run_for(secs(2));
    }
    world.video(viewer, 0).assert_flawless();
    world.audio(viewer, 0).assert_flawless();
    let bens = world.source_of(ben, Kind::Video);
    assert!(
        world
            .video(viewer, 0)
            .shown
            .iter()
            .all(|shown| shown.source != bens)
    );
}

#[test]
fn a_slot_shows_what_is_pinned_to_it_and_rests_while_it_is_paused() {
    let mut world = World::new(44);
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 0));
    let ada = world.enter(
        "lobby",
        Guest::meeting().with([Device::camera()]).slots(0, 0),
    );
    let ben = world.enter(
        "lobby",
        Guest::meeting().with([Device::camera()]).slots(0, 0),
    );
    world.run_for(secs(2));
    let source = world.source_of(ben, Kind::Video);
    let track = world.track_of(ben, Kind::Video);
    world.pin(viewer, 0, track, None);
    world.run_for(secs(1));
    assert_eq!(world.video(viewer, 0).source(), Some(source));

    let mid = world.video(viewer, 0).mid.clone();
    let wish = |paused| SlotWish::Track {
        track,
        size: None,
        frame_rate: None,
        priority: 128,
        paused,
    };
    let hold = |paused| Wish {
        slots: BTreeMap::from([(mid.clone(), wish(paused))]),
        rest_auto: true,
    };
    world.wish(viewer, hold(true));
    world.run_for(millis(100));
    let paused_at = world.now();
    world.run_for(secs(2));
    assert!(
        world.video(viewer, 0).since(paused_at).is_empty(),
        "a paused slot is silent"
    );

    let resumed_at = world.now();
    world.wish(viewer, hold(false));
    world.run_for(secs(2));
    let first = world
        .video(viewer, 0)
        .first_of(source, resumed_at)
        .expect("it goes on");
    assert!(
        first - resumed_at <= millis(600),
        "took {:?}",
        first - resumed_at
    );
    world.video(viewer, 0).assert_flawless();
    assert!(!world.video(viewer, 0).shown.iter().any(|shown| {
        shown.source == world.source_of(ada, Kind::Video) && shown.at > paused_at
    }));
}

#[test]
fn a_camera_in_h264_is_seen_like_any_other() {
    let mut world = World::new(45);
    let camera = world.enter(
        "lobby",
        Guest::publishing("ada").with([Device::h264_camera()]),
    );
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(2));
    let late = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    for viewer in [viewer, late] {
        world.video(viewer, 0).assert_flawless();
        assert_eq!(
            world.video(viewer, 0).source(),
            Some(world.source_of(camera, Kind::Video))
        );
    }
}

#[test]
fn who_changes_something_that_changed_meanwhile_is_told() {
    let mut world = World::new(46);
    let ada = world.enter("lobby", Guest::meeting());
    world.run_for(secs(1));
    let session = world.session(ada);
    let old_tag = world
        .client(ada)
        .seat
        .as_ref()
        .map(|seat| seat.subscriptions_tag.clone());
    world.wish(
        ada,
        Wish {
            rest_auto: false,
            ..Wish::default()
        },
    );

    let late = Command::Subscribe {
        session,
        if_match: old_tag,
        wish: Wish::default(),
    };
    assert_eq!(world.command_of(ada, late).err(), Some(CommandError::Stale));
    let stale = Some("nonsense".to_owned());
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n".to_owned();
    let trickle = Command::Trickle {
        session,
        if_match: stale,
        fragment,
    };
    assert_eq!(
        world.command_of(ada, trickle).err(),
        Some(CommandError::Stale)
    );
    world.run_for(secs(20));
    assert_eq!(
        world.client(ada).closed_because,
        None,
        "the old ICE session is in force"
    );
}
