//! Clients that move, restart, or vanish.

use plenum::engine::counters::DropReason;
use plenum::engine::event::{Change, CloseReason, Kind};

use crate::guest::Guest;
use crate::wire::Class;
use crate::world::World;
use crate::{millis, secs};

#[test]
fn media_follows_a_viewer_whose_nat_gave_it_another_port() {
    let mut world = World::new(61);
    world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(5));
    for _ in 0..3 {
        world.rebind(viewer);
        let moved_at = world.now();
        let public = world.client(viewer).public;
        // The server cannot know before the client's next check, which is the client's to send.
        let checked = world.run_until(secs(5), |world| world.wire.consent_of(public).is_some());
        let checked_at = world.now();
        assert!(checked.is_some());
        world.run_for(secs(20));
        for slot in [world.video(viewer, 0), world.audio(viewer, 0)] {
            let first = slot
                .since(moved_at + millis(100))
                .first()
                .expect("media again")
                .at;
            assert!(
                first - checked_at <= millis(1_000),
                "took {:?}",
                first - checked_at
            );
            let freeze = slot.longest_freeze(checked_at, world.now());
            assert!(freeze <= millis(2_000), "froze for {freeze:?}");
        }
    }
}

#[test]
fn media_follows_who_checks_rarely_at_the_first_check_and_nobody_before() {
    let mut world = World::new(181);
    world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(5));
    world.client_mut(viewer).checks_every = secs(6);
    world.run_for(secs(6));
    world.rebind(viewer);
    let moved_at = world.now();
    let public = world.client(viewer).public;
    let checked = world.run_until(secs(7), |world| world.wire.consent_of(public).is_some());
    let checked_at = world.now();
    assert!(
        checked.is_some_and(|waited| waited >= secs(1)),
        "{checked:?}"
    );
    world.run_for(secs(30));
    for slot in [world.video(viewer, 0), world.audio(viewer, 0)] {
        let first = slot
            .since(moved_at + millis(100))
            .first()
            .expect("media again")
            .at;
        assert!(
            first >= checked_at - millis(100),
            "nothing went there unasked"
        );
        assert!(
            first - checked_at <= millis(1_000),
            "took {:?}",
            first - checked_at
        );
    }
    assert_eq!(world.client(viewer).closed_because, None);
}

#[test]
fn a_publisher_whose_nat_gave_it_another_port_is_seen_again() {
    let mut world = World::new(62);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(5));
    let moved_at = world.now();
    world.rebind(ada);
    world.run_for(secs(20));
    // Media counts from the new address once a check came from there: that is the client's pace.
    let freeze = world.video(viewer, 0).longest_freeze(moved_at, world.now());
    assert!(freeze <= millis(4_000), "froze for {freeze:?}");
    assert_eq!(world.client(ada).closed_because, None);
}

#[test]
fn an_ice_restart_by_fragment_is_not_seen() {
    let mut world = World::new(63);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    let from = world.now();
    for person in [viewer, ada] {
        world.restart_ice_by_fragment(person);
        world.run_for(secs(5));
    }
    // Long enough for consent on the old credentials to have run out.
    world.run_for(secs(40));
    for slot in [world.video(viewer, 0), world.audio(viewer, 0)] {
        slot.assert_flawless();
        let freeze = slot.longest_freeze(from, world.now());
        assert!(freeze <= millis(300), "froze for {freeze:?}");
    }
}

#[test]
fn ten_ice_restarts_in_a_minute_are_not_seen() {
    let mut world = World::new(178);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(4));
    let began = world.now();
    for turn in 0..10 {
        if turn % 2 == 0 {
            world.restart_ice_by_fragment(ben);
        } else {
            world.restart_ice_by_offer(ben);
        }
        world.run_for(secs(6));
    }
    for (viewer, kind) in [(ada, "what others see"), (ben, "what is seen")] {
        let slot = world.video(viewer, 0);
        slot.assert_flawless();
        let freeze = slot.longest_freeze(began, world.now());
        assert!(freeze <= millis(300), "{kind} froze for {freeze:?}");
        assert_eq!(world.client(viewer).closed_because, None);
    }
}

#[test]
fn a_restart_that_comes_to_nothing_costs_nothing() {
    let mut world = World::new(179);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    let from = world.now();
    for person in [viewer, ada] {
        world.restart_ice_unheard(person);
        world.run_for(secs(2));
        world.restart_ice_unheard(person);
    }
    // Long enough for consent to run out on both sides, if the old checks went unanswered.
    world.run_for(secs(60));
    for slot in [world.video(viewer, 0), world.audio(viewer, 0)] {
        slot.assert_flawless();
        let freeze = slot.longest_freeze(from, world.now());
        assert!(freeze <= millis(300), "froze for {freeze:?}");
    }
    for person in [viewer, ada] {
        assert!(!world.client(person).is_disconnected);
        assert_eq!(world.client(person).closed_because, None);
    }
    assert!(
        !world
            .counters()
            .drops
            .contains_key(&DropReason::StunIntegrity)
    );

    // They may as well restart once more, and then those of before are over.
    let former = world.last_sent(viewer, |class| class == Class::Stun);
    world.restart_ice_by_fragment(viewer);
    world.run_for(secs(20));
    let public = world.client(viewer).public;
    world.inject(viewer, public, &former);
    assert_eq!(world.counters().drops[&DropReason::StunIntegrity], 1);
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn who_vanishes_in_the_middle_of_a_restart_is_gone_as_soon() {
    let mut world = World::new(180);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    for person in [ada, viewer] {
        world.restart_ice_unheard(person);
        world.vanish(person);
    }
    world.run_for(secs(31));
    for person in [ada, viewer] {
        let because = world.client(person).closed_because;
        assert_eq!(because, Some(CloseReason::Vanished));
    }
    world.assert_empty();
}

#[test]
fn an_ice_restart_by_offer_from_another_network_goes_on_where_it_was() {
    let mut world = World::new(64);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    let from = world.now();
    world.rebind(ada);
    world.restart_ice_by_offer(ada);
    world.run_for(secs(40));
    for person in [ada, ben] {
        let freeze = world.video(person, 0).longest_freeze(from, world.now());
        assert!(freeze <= millis(1_000), "froze for {freeze:?}");
        assert_eq!(world.client(person).closed_because, None);
    }
}

#[test]
fn w30_who_vanishes_is_gone_when_consent_has_run_out() {
    let mut world = World::new(65);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    let bens = world.participant(ben);
    world.vanish(ben);
    let vanished_at = world.now();
    let left = Change::ParticipantLeft { id: bens };
    let waited = world.run_until(secs(60), |world| {
        world.heard(ada, vanished_at, |change| *change == left)
    });
    assert!(
        waited.is_some_and(|waited| waited <= secs(30)),
        "waited {waited:?}"
    );
    assert_eq!(
        world.client(ben).closed_because,
        Some(CloseReason::Vanished)
    );

    world.vanish(ada);
    world.run_for(secs(31));
    world.assert_empty();
}

#[test]
fn an_encoder_that_sends_media_and_no_checks_stays_and_so_do_its_viewers() {
    let mut world = World::new(71);
    let camera = world.enter("lobby", Guest::publishing("camera"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    // As GStreamer 1.22 behaves: libnice checks until it is connected, and then no more.
    for person in [camera, viewer] {
        world.client_mut(person).is_without_checks = true;
    }
    world.run_for(secs(120));
    for person in [camera, viewer] {
        assert_eq!(world.client(person).closed_because, None);
    }
    world.video(viewer, 0).assert_flawless();

    world.vanish(camera);
    world.vanish(viewer);
    world.run_for(secs(13));
    for person in [camera, viewer] {
        let because = world.client(person).closed_because;
        assert_eq!(because, Some(CloseReason::Vanished));
    }
    world.assert_empty();
}

#[test]
fn an_outage_of_ten_seconds_is_survived() {
    let mut world = World::new(66);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    world.cut(viewer, true);
    world.run_for(secs(10));
    world.cut(viewer, false);
    let mended_at = world.now();
    world.run_for(secs(5));
    let source = world.source_of(ada, Kind::Video);
    let first = world
        .video(viewer, 0)
        .first_of(source, mended_at)
        .expect("a picture again");
    assert!(
        first - mended_at <= millis(1_000),
        "took {:?}",
        first - mended_at
    );
}

#[test]
fn who_comes_back_in_time_never_left() {
    let mut world = World::new(67);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    let (bens, session) = (world.participant(ben), world.session(ben));
    world.vanish(ben);
    world.run_for(secs(2));
    let back_at = world.now();
    let ben_again = world.enter("lobby", Guest::meeting().resuming(session));
    world.run_for(secs(3));

    assert_eq!(world.participant(ben_again), bens);
    assert_eq!(world.client(ben).closed_because, Some(CloseReason::Resumed));
    assert!(!world.heard(ada, back_at, |change| matches!(
        change,
        Change::Participant(_) | Change::ParticipantLeft { .. }
    )));
    let source = world.source_of(ben_again, Kind::Video);
    let first = world
        .video(ada, 0)
        .first_of(source, back_at)
        .expect("a picture again");
    assert!(first - back_at <= millis(700), "took {:?}", first - back_at);
    world.video(ada, 0).assert_flawless();
}

#[test]
fn who_comes_back_and_fails_to_connect_is_gone_for_everybody() {
    let mut world = World::new(70);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    let (bens, session) = (world.participant(ben), world.session(ben));
    let again = world.enter("lobby", Guest::meeting().resuming(session));
    world.vanish(again);
    world.run_for(millis(100));
    assert!(
        world.client(ada).roster.participants.contains_key(&bens),
        "not gone yet"
    );
    world.run_for(secs(16));
    assert!(
        !world.client(ada).roster.participants.contains_key(&bens),
        "gone"
    );
}

#[test]
fn a_session_is_continued_once() {
    let mut world = World::new(77);
    let ada = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));
    let session = world.session(ada);
    let first = world.enter("lobby", Guest::meeting().resuming(session));
    world.run_for(secs(1));
    let second = world.enter("lobby", Guest::meeting().resuming(session));
    world.run_for(secs(1));
    assert_ne!(
        world.participant(first),
        world.participant(second),
        "two cannot be one"
    );
}

#[test]
fn who_comes_back_after_the_session_ended_is_still_the_same() {
    let mut world = World::new(68);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    let (bens, session) = (world.participant(ben), world.session(ben));
    world.leave(ben);
    world.run_for(secs(5));
    let again = world.enter("lobby", Guest::meeting().resuming(session));
    assert_eq!(world.participant(again), bens);
    let elsewhere = world.enter("attic", Guest::meeting().resuming(session));
    assert_ne!(
        world.participant(elsewhere),
        bens,
        "in another room they are somebody else"
    );
    world.run_for(secs(2));
    world.video(ada, 0).assert_flawless();
}

#[test]
fn w39_who_never_connects_is_let_go() {
    let mut world = World::new(69);
    let ghost = world.enter("lobby", Guest::meeting());
    world.vanish(ghost);
    world.run_for(secs(16));
    assert_eq!(
        world.client(ghost).closed_because,
        Some(CloseReason::NeverConnected)
    );
    world.assert_empty();
}

#[test]
fn w39_of_a_thousand_who_never_connect_nothing_is_left() {
    let mut world = World::new(70);
    let guest = Guest::publishing("ada");
    let offer = world.offer_of(&guest);
    for n in 0..1000 {
        let somebody = Guest::publishing(&format!("p{n}"));
        let joined = world.post_offer("lobby", &somebody, &offer);
        assert!(joined.is_ok(), "{joined:?}");
    }
    assert_eq!(world.counters().sessions, 1000);
    world.run_for(secs(20));
    world.assert_empty();
}
