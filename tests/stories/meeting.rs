//! People meet: they come, see and hear each other, and leave.

use plenum::engine::event::{Change, CloseReason, Kind};

use crate::guest::Guest;
use crate::world::World;
use crate::{millis, secs};

#[test]
fn two_people_meet_and_see_and_hear_each_other() {
    let mut world = World::new(1);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(5));

    for (one, other) in [(ada, ben), (ben, ada)] {
        let (video, audio) = (world.video(one, 0), world.audio(one, 0));
        video.assert_flawless();
        audio.assert_flawless();
        assert_eq!(video.source(), Some(world.source_of(other, Kind::Video)));
        assert_eq!(audio.source(), Some(world.source_of(other, Kind::Audio)));
        let from = world.now() - secs(3);
        assert!(video.longest_freeze(from, world.now()) < millis(100));
        assert!(
            world.video(one, 1).shown.is_empty(),
            "one guest fills one slot"
        );
    }
}

#[test]
fn a_viewer_who_joins_late_soon_sees_a_picture() {
    let mut world = World::new(2);
    let ada = world.enter("lobby", Guest::publishing("ada").at_distance(millis(40)));
    world.run_for(secs(5));
    let asked_before = world.keyframe_requests(ada);

    let viewer = world.enter("lobby", Guest::watching().at_distance(millis(40)));
    let waited = world.run_until(secs(5), |world| !world.video(viewer, 0).shown.is_empty());
    let waited = waited.expect("a picture");

    assert!(waited < millis(700), "waited {waited:?}");
    assert_eq!(world.keyframe_requests(ada) - asked_before, 1);
    world.run_for(secs(3));
    world.video(viewer, 0).assert_flawless();
    world.audio(viewer, 0).assert_flawless();
}

#[test]
fn everybody_is_told_when_somebody_leaves() {
    let mut world = World::new(3);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));
    let bens = world.participant(ben);
    let track = world.track_of(ben, Kind::Video);
    let slot = world.video(ada, 0).mid.clone();

    let left_at = world.now();
    world.leave(ben);
    world.run_for(millis(10));

    assert!(world.heard(ada, left_at, |change| *change
        == Change::ParticipantLeft { id: bens.clone() }));
    assert!(world.heard(ada, left_at, |change| *change
        == Change::TrackEnded { id: track }));
    let bindings = &world.client(ada).roster.bindings;
    assert!(!bindings.contains_key(&slot), "the slot is free");
    assert_eq!(world.client(ben).closed_because, Some(CloseReason::Left));
    world.run_for(secs(1));
    assert!(world.client(ben).is_closed, "DTLS said goodbye");

    world.leave(ada);
    world.run_for(millis(10));
    world.assert_empty();
}
