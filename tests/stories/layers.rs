//! Simulcast: everybody gets the layer that suits them.

use plenum::engine::event::Kind;

use crate::guest::Guest;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

/// A camera with three layers, and somebody who wants it at a height.
fn watch_at(seed: u64, height: Option<u32>) -> (World, Person, Person) {
    let mut world = World::new(seed);
    let camera = world.enter(
        "lobby",
        Guest::meeting()
            .with([Device::simulcast_camera()])
            .slots(0, 0),
    );
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 0));
    world.run_for(secs(2));
    let track = world.track_of(camera, Kind::Video);
    world.pin(viewer, 0, track, height);
    world.run_for(secs(3));
    (world, camera, viewer)
}

fn layer(world: &World, viewer: Person) -> u8 {
    world
        .video(viewer, 0)
        .shown
        .last()
        .expect("a picture")
        .layer
}

#[test]
fn the_wanted_size_decides_the_layer() {
    for (height, expected) in [(Some(180), 0), (Some(360), 1), (Some(1_080), 2), (None, 2)] {
        let (world, _, viewer) = watch_at(51, height);
        assert_eq!(layer(&world, viewer), expected, "at {height:?}");
        world.video(viewer, 0).assert_flawless();
    }
}

#[test]
fn a_tile_that_grows_gets_its_better_picture_without_a_break() {
    let (mut world, camera, viewer) = watch_at(52, Some(180));
    let track = world.track_of(camera, Kind::Video);
    for (height, expected) in [(720, 2), (180, 0), (360, 1)] {
        let wished_at = world.now();
        world.pin(viewer, 0, track, Some(height));
        let took = world.run_until(secs(3), |world| layer(world, viewer) == expected);
        let took = took.unwrap_or_else(|| panic!("layer {expected}"));
        assert!(took <= millis(1_000), "took {took:?}");
        world.run_for(secs(1));
        assert_eq!(layer(&world, viewer), expected);
        let freeze = world
            .video(viewer, 0)
            .longest_freeze(wished_at, world.now());
        assert!(freeze <= millis(150), "froze for {freeze:?}");
    }
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn a_layer_that_falls_silent_is_replaced() {
    let (mut world, camera, viewer) = watch_at(53, Some(1_080));
    let silent_at = world.now();
    world.client_mut(camera).sources[0].encodings[2].is_active = false;
    world.run_for(secs(4));
    assert_eq!(layer(&world, viewer), 1);
    let freeze = world
        .video(viewer, 0)
        .longest_freeze(silent_at, world.now());
    assert!(freeze <= millis(2_000), "froze for {freeze:?}");

    world.client_mut(camera).sources[0].encodings[2].is_active = true;
    world.run_for(secs(3));
    assert_eq!(layer(&world, viewer), 2, "it is back");
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn viewers_of_different_layers_do_not_disturb_each_other() {
    let mut world = World::new(54);
    let camera = world.enter(
        "lobby",
        Guest::meeting()
            .with([Device::simulcast_camera()])
            .slots(0, 0),
    );
    let viewers: Vec<Person> = (0..3)
        .map(|_| world.enter("lobby", Guest::meeting().with([]).slots(1, 0)))
        .collect();
    world.run_for(secs(2));
    let track = world.track_of(camera, Kind::Video);
    for (viewer, height) in viewers.iter().zip([180, 360, 1_080]) {
        world.pin(*viewer, 0, track, Some(height));
    }
    world.run_for(secs(5));
    for (viewer, expected) in viewers.iter().zip(0..) {
        assert_eq!(layer(&world, *viewer), expected);
        world.video(*viewer, 0).assert_flawless();
    }
    assert!(
        world.keyframe_requests(camera) <= 6,
        "{}",
        world.keyframe_requests(camera)
    );
}
