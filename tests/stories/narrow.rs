//! Narrow paths: whoever has less room sees less, hears everything, and is told.

use plenum::engine::command::Headroom;
use plenum::engine::event::{Change, Kind};
use str0m_netem::{Bitrate, DataSize};

use crate::guest::Guest;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

/// Somebody with a microphone and three layers of camera, and somebody who watches.
fn watch(seed: u64) -> (World, Person) {
    let mut world = World::new(seed);
    let devices = [Device::simulcast_camera(), Device::microphone()];
    world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 1));
    world.run_for(secs(3));
    (world, viewer)
}

/// The path to somebody carries no more than this, with a queue of 300 ms.
fn narrow(world: &mut World, person: Person, kbps: u32) {
    let queue = DataSize::bytes(i64::from(kbps) * 300 / 8);
    world
        .down(person)
        .change(|config| config.link(Bitrate::kbps(u64::from(kbps)), queue));
}

fn layer(world: &World, viewer: Person) -> Option<u8> {
    world.video(viewer, 0).shown.last().map(|shown| shown.layer)
}

#[test]
fn a_path_that_narrows_gets_a_smaller_picture_and_the_large_one_when_it_widens() {
    let (mut world, viewer) = watch(91);
    assert_eq!(layer(&world, viewer), Some(2));

    narrow(&mut world, viewer, 450);
    let narrowed_at = world.now();
    world.run_for(secs(10));
    let lower = layer(&world, viewer).expect("a picture");
    assert!(lower < 2, "layer {lower} flows");
    let calm = narrowed_at + secs(4);
    let freeze = world.video(viewer, 0).longest_freeze(calm, world.now());
    assert!(freeze <= millis(500), "froze for {freeze:?}");
    let heard = world.audio(viewer, 0).since(calm).len();
    assert!(heard >= 290, "{heard} of 300 packets of sound");

    narrow(&mut world, viewer, 20_000);
    let took = world.run_until(secs(10), |world| layer(world, viewer) == Some(2));
    let took = took.expect("the large picture");
    // Mostly two or three seconds; six where the first probe fails.
    assert!(took <= secs(8), "took {took:?}");
}

#[test]
fn a_path_that_breaks_down_shows_a_smaller_picture_within_half_a_second() {
    for seed in 960..970 {
        let (mut world, viewer) = watch(seed);
        narrow(&mut world, viewer, 2_500);
        world.run_for(secs(5));
        narrow(&mut world, viewer, 300);
        let narrowed_at = world.now();
        world.run_for(secs(8));
        let video = world.video(viewer, 0);
        let freeze = video.longest_freeze(narrowed_at, world.now());
        // Three tenths of it are the queue that was full before anybody could know.
        assert!(freeze <= millis(450), "seed {seed}: froze for {freeze:?}");
        assert!(layer(&world, viewer) < Some(2), "the large one has gone");
    }
}

#[test]
fn a_picture_that_is_too_large_for_its_path_begins_anew_and_is_never_old() {
    let mut world = World::new(970);
    let devices = [Device::camera(), Device::microphone()];
    world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 1));
    world.run_for(secs(3));
    narrow(&mut world, viewer, 300);
    let narrowed_at = world.now();
    world.run_for(secs(10));
    assert!(world.counters().cut_slots > 0, "nothing smaller can be had");
    let shown = world.video(viewer, 0).since(narrowed_at);
    assert!(shown.len() >= 20, "{} pictures", shown.len());
    // A frame's age beyond that of the youngest.
    let began = shown
        .iter()
        .filter_map(|shown| shown.at.checked_sub(shown.captured));
    let (first, last) = (began.clone().min(), began.max());
    let oldest = first.zip(last).map(|(first, last)| last - first);
    let oldest = oldest.expect("pictures");
    assert!(oldest <= secs(1), "a picture was {oldest:?} old");
    let heard = world.audio(viewer, 0).since(narrowed_at + secs(2)).len();
    assert!(heard >= 390, "{heard} of 400 packets of sound");
}

#[test]
fn who_comes_back_by_a_narrow_path_is_not_sent_too_much_again() {
    for has_ended in [false, true] {
        let (mut world, viewer) = watch(971);
        narrow(&mut world, viewer, 400);
        world.run_for(secs(10));
        assert!(layer(&world, viewer) < Some(2), "it has adapted");
        let session = world.session(viewer);
        if has_ended {
            world.leave(viewer);
            world.run_for(secs(1));
        }
        let again = Guest::meeting().with([]).slots(1, 1).resuming(session);
        let again = world.enter("lobby", again);
        narrow(&mut world, again, 400);
        world.run_for(secs(3));
        let video = world.video(again, 0);
        assert!(
            video.shown.iter().all(|shown| shown.layer < 2),
            "a large one"
        );
        assert_eq!(video.lost, 0);
        let first = video.shown.first().expect("a picture").at;
        let freeze = video.longest_freeze(first, world.now());
        assert!(freeze <= millis(100), "froze for {freeze:?}");

        // What was known is no limit for ever.
        narrow(&mut world, again, 20_000);
        let took = world.run_until(secs(10), |world| layer(world, again) == Some(2));
        let took = took.expect("the large picture");
        assert!(took <= secs(4), "took {took:?}");
    }
}

#[test]
fn a_path_that_carries_only_sound_pauses_the_picture_and_says_so() {
    let (mut world, viewer) = watch(92);
    narrow(&mut world, viewer, 80);
    let narrowed_at = world.now();
    world.run_for(secs(12));

    let pauses = |change: &Change| matches!(change, Change::Quality { paused: true, .. });
    assert!(world.heard(viewer, narrowed_at, pauses), "it is told");
    let since = narrowed_at + secs(6);
    let seen = world.video(viewer, 0).since(since).len();
    assert_eq!(seen, 0, "pictures");
    let mid = world.video(viewer, 0).mid.clone();
    assert_eq!(world.snapshot(viewer).paused, [mid], "who begins to read");
    let heard = world.audio(viewer, 0).since(since).len();
    assert!(heard >= 290, "{heard} of 300 packets of sound");

    narrow(&mut world, viewer, 20_000);
    let widened_at = world.now();
    let is_back = |world: &World| {
        world.audio(viewer, 0).kind == Kind::Audio
            && !world.video(viewer, 0).since(widened_at).is_empty()
    };
    let took = world.run_until(secs(15), is_back).expect("a picture again");
    assert!(took <= secs(8), "took {took:?}");
    let goes_on = |change: &Change| matches!(change, Change::Quality { paused: false, .. });
    assert!(world.heard(viewer, widened_at, goes_on), "it is told");
}

#[test]
fn a_machine_that_does_not_keep_up_leaves_out_video_and_no_sound() {
    let (mut world, viewer) = watch(94);
    let overloaded_at = world.now();
    for _ in 0..14 {
        world.measure(Headroom::None);
        world.run_for(secs(1));
    }
    let pauses = |change: &Change| matches!(change, Change::Quality { paused: true, .. });
    assert!(world.heard(viewer, overloaded_at, pauses), "it is told");
    let video = world.video(viewer, 0);
    let layers: Vec<u8> = video
        .since(overloaded_at)
        .iter()
        .map(|shown| shown.layer)
        .collect();
    assert!(
        layers.contains(&1) && layers.contains(&0),
        "smaller pictures first"
    );
    let seen = video.since(world.now() - secs(1)).len();
    assert_eq!(seen, 0, "pictures at last");

    let calm_at = world.now();
    for _ in 0..45 {
        world.measure(Headroom::Enough);
        world.run_for(secs(1));
    }
    let goes_on = |change: &Change| matches!(change, Change::Quality { paused: false, .. });
    assert!(world.heard(viewer, calm_at, goes_on), "it is told");
    assert_eq!(layer(&world, viewer), Some(2), "all of it is back");
    world.audio(viewer, 0).assert_flawless();
    let heard = world.audio(viewer, 0).since(overloaded_at).len();
    assert!(heard >= 2_940, "{heard} of 2950 packets of sound");
}

#[test]
fn a_wide_path_is_never_made_to_wait() {
    let (mut world, viewer) = watch(93);
    // The publisher's layers are known, and measured, after three seconds.
    let settled_at = world.now();
    world.run_for(secs(20));
    let video = world.video(viewer, 0);
    video.assert_flawless();
    let lower = video
        .since(settled_at)
        .iter()
        .filter(|shown| shown.layer < 2);
    assert_eq!(lower.count(), 0, "pictures of lower layers");
    let probes = world.counters().probe_packets_out;
    assert!(probes < 200, "{probes} packets of probes in 23 s");
}
