//! Many at once, and for a long time.

use std::time::Duration;

use plenum::engine::event::{Change, CloseReason, Kind};

use crate::guest::Guest;
use crate::link::loss;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

/// A hundred viewers come within a second, one by one. None waits longer than a second for a picture,
/// and no encoding makes more than three keyframes for them. Says how long they waited.
fn storm(seed: u64, camera: Device, one_way_delay: Duration) -> Vec<Duration> {
    let mut world = World::new(seed);
    let publisher = Guest {
        one_way_delay,
        ..Guest::publishing("ada").with([camera])
    };
    let camera = world.enter("lobby", publisher);
    world.run_for(secs(3));
    let asked = |world: &World| -> Vec<usize> {
        let encodings = &world.client(camera).sources[0].encodings;
        encodings.iter().map(|it| it.keyframe_requests).collect()
    };
    let asked_before = asked(&world);
    let mut viewers: Vec<(Person, _)> = Vec::new();
    for _ in 0..100 {
        viewers.push((
            world.enter("lobby", Guest::watching().slots(1, 0)),
            world.now(),
        ));
        world.run_for(millis(10));
    }
    world.run_for(secs(1));

    for (before, after) in asked_before.iter().zip(asked(&world)) {
        assert!(after - before <= 3, "asked {} times", after - before);
    }
    let mut waits = Vec::new();
    for (viewer, came_at) in viewers {
        let video = world.video(viewer, 0);
        let waited = video.shown.first().expect("a picture").at - came_at;
        assert!(waited <= millis(1_000), "waited {waited:?}");
        video.assert_flawless();
        waits.push(waited);
    }
    waits.sort();
    waits
}

#[test]
fn a_hundred_viewers_in_one_second_share_three_keyframes() {
    storm(71, Device::camera(), millis(20));
}

#[test]
fn a_hundred_viewers_of_three_layers_share_three_keyframes_of_each() {
    for (seed, one_way_delay) in [(74, millis(20)), (75, millis(100))] {
        let waits = storm(seed, Device::simulcast_camera(), one_way_delay);
        // Half of them have waited for a round trip to the camera and for the others.
        let median = waits[waits.len() / 2];
        assert!(median <= millis(500), "half waited longer than {median:?}");
    }
}

#[test]
fn everybody_is_told_when_the_server_goes_away() {
    let mut world = World::new(72);
    let people: Vec<Person> = (0..4)
        .map(|_| world.enter("lobby", Guest::meeting()))
        .collect();
    let stranger = world.enter("attic", Guest::watching());
    world.run_for(secs(2));
    let asked_at = world.now();
    world.shut_down();
    assert!(world.is_drained());
    assert!(
        world.join("lobby", &Guest::meeting()).is_err(),
        "nobody is let in any more"
    );
    world.run_for(secs(1));
    for person in people.into_iter().chain([stranger]) {
        assert!(world.heard(person, asked_at, |change| matches!(
            change,
            Change::Reconnect { .. }
        )));
        assert_eq!(
            world.client(person).closed_because,
            Some(CloseReason::Shutdown)
        );
        assert!(world.client(person).is_closed, "DTLS said goodbye");
    }
    world.assert_empty();
}

#[test]
fn a_stream_whose_numbers_start_over_goes_on() {
    let mut world = World::new(73);
    // Two packets every two milliseconds: more than once through all sequence numbers. The
    // publisher's roll over after five seconds, and its timestamps after ten.
    let camera = Device {
        interval: millis(2),
        first_seq: 60_000,
        first_timestamp: u32::MAX - 900_000,
        ..Device::camera()
    };
    let ada = world.enter("lobby", Guest::publishing("ada").with([camera]));
    let viewer = world.enter("lobby", Guest::watching().slots(1, 0));
    world.run_for(secs(68));
    let slot = world.video(viewer, 0);
    slot.assert_flawless();
    let ssrc = world.ssrcs(viewer, &slot.mid).0;
    assert!(world.wire.packets(viewer, ssrc) > 66_000);

    // And what is lost then is found again.
    world.down(viewer).change(|link| link.loss(loss(0.02)));
    world.up(ada).change(|link| link.loss(loss(0.02)));
    world.run_for(secs(3));
    world.down(viewer).change(|link| link.loss(loss(0.0)));
    world.up(ada).change(|link| link.loss(loss(0.0)));
    world.run_for(secs(1));
    // Some need longer than a jitter buffer waits: they were lost on both links.
    let lost = world.video(viewer, 0).lost;
    assert!(lost <= 20, "{lost} of 3000 packets stayed lost");
    assert_eq!(
        world.video(viewer, 0).source(),
        Some(world.source_of(ada, Kind::Video))
    );
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let tell = |seed| {
        let mut world = World::new(seed);
        world.wire.log = Some(Vec::new());
        let people: Vec<Person> = (0..3)
            .map(|_| world.enter("lobby", Guest::meeting()))
            .collect();
        // The server's DTLS draws the waits between repeated flights from the system: let it end.
        world.run_for(secs(1));
        for person in &people {
            world
                .up(*person)
                .change(|link| link.loss(loss(0.03)).jitter(millis(5)));
            world
                .down(*person)
                .change(|link| link.loss(loss(0.03)).jitter(millis(5)));
        }
        world.run_for(secs(5));
        world.leave(people[1]);
        world.run_for(secs(5));
        world.wire.log.take().unwrap_or_default()
    };
    let (first, second) = (tell(74), tell(74));
    assert!(first.len() > 3_000, "{} datagrams", first.len());
    for (place, (one, other)) in first.iter().zip(&second).enumerate() {
        assert_eq!(one, other, "line {place}");
    }
    assert_eq!(first.len(), second.len());
}
