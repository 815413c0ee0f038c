//! The server's process stands still for a while, and goes on.

use std::time::Duration;

use plenum::engine::counters::DropReason;

use crate::guest::Guest;
use crate::world::{Person, World};
use crate::{millis, secs};

/// What may leave at once, as time of the call: shorter bursts are those of the network itself.
const AT_ONCE: Duration = Duration::from_millis(20);

/// Two packets of a picture leave whatever the pace is, the one that does not fit any more, and sound.
const FEW_BYTES: u64 = 3 * 1_200;

/// Half a second is not too old to be sent; its receiver waits for half a second for what came before it.
const OLDEST: Duration = Duration::from_millis(1_100);

/// A camera, a microphone, and who watches, on two shards.
fn call(seed: u64) -> (World, Person, Vec<Person>) {
    let mut world = World::with_shards(seed, 2);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewers = (0..5)
        .map(|_| world.enter("lobby", Guest::watching()))
        .collect();
    world.run_for(secs(4));
    (world, ada, viewers)
}

fn bytes_to(world: &World, person: Person) -> u64 {
    world.wire.bytes_to(world.client(person).public)
}

/// How many bytes go to somebody in so much time, usually.
fn usually(world: &mut World, person: Person, time: Duration) -> u64 {
    let before = bytes_to(world, person);
    world.run_for(secs(2));
    (bytes_to(world, person) - before) * time.as_millis() as u64 / 2_000
}

/// The server stands still for so long; what each viewer is sent in the moment in which it goes on.
fn burst(world: &mut World, viewers: &[Person], duration: Duration) -> Vec<u64> {
    let before: Vec<_> = viewers.iter().map(|it| bytes_to(world, *it)).collect();
    world.stand_still(duration);
    let after = viewers.iter().map(|it| bytes_to(world, *it));
    after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[test]
fn after_five_seconds_nobody_is_sent_what_is_old_and_pictures_are_back_at_once() {
    let (mut world, ada, viewers) = call(171);
    let usual = usually(&mut world, viewers[0], AT_ONCE);
    let asked_before = world.keyframe_requests(ada);
    let reports = |world: &World, it: Person| world.video(it, 0).sender_reports;
    let reported_before: Vec<_> = viewers.iter().map(|it| reports(&world, *it)).collect();
    let bursts = burst(&mut world, &viewers, secs(5));
    let went_on = world.now();
    world.run_for(secs(5));

    for (viewer, burst) in viewers.iter().zip(bursts) {
        assert!(burst <= usual + FEW_BYTES, "{burst} bytes, {usual} usually");
        let (video, audio) = (world.video(*viewer, 0), world.audio(*viewer, 0));
        for slot in [video, audio] {
            for shown in slot.since(went_on) {
                let age = shown.at - world.began() - shown.captured;
                assert!(age <= OLDEST, "{:?} is {age:?} old", slot.kind);
            }
        }
        let flaws = (
            video.lost,
            video.torn,
            video.undecodable,
            video.number_jumps,
        );
        assert_eq!(flaws, (0, 0, 0, 0), "lost, torn, undecodable, jumps");
        let first = video.since(went_on).first().expect("a picture").at - went_on;
        assert!(first <= millis(200), "a picture after {first:?}");
    }
    // One in a second and one for the keyframe, whatever was due meanwhile.
    for (viewer, before) in viewers.iter().zip(reported_before) {
        let reported = reports(&world, *viewer) - before;
        assert!((4..=7).contains(&reported), "{reported} sender reports");
    }
    assert_eq!(world.keyframe_requests(ada) - asked_before, 1);
    assert!(world.counters().drops[&DropReason::Stale] > 0);
}

#[test]
fn after_a_tenth_of_a_second_nothing_is_missing_and_it_comes_in_its_time() {
    let (mut world, ada, viewers) = call(172);
    let usual = usually(&mut world, viewers[0], AT_ONCE);
    let asked_before = world.keyframe_requests(ada);
    for _ in 0..10 {
        for burst in burst(&mut world, &viewers, millis(100)) {
            assert!(burst <= usual + FEW_BYTES, "{burst} bytes, {usual} usually");
        }
        world.run_for(millis(500));
    }
    for viewer in &viewers {
        world.video(*viewer, 0).assert_flawless();
        world.audio(*viewer, 0).assert_flawless();
    }
    assert_eq!(world.keyframe_requests(ada), asked_before);
    assert!(!world.counters().drops.contains_key(&DropReason::Stale));
}
