//! Temporal layers: half the frames before another picture, and back without a keyframe.

use plenum::engine::command::{Command, LayerLimit, Reply, SlotWish, Wish};
use plenum::engine::event::{Change, Kind, LayerInfo, SlotLayers};
use str0m_netem::{Bitrate, DataSize};

use crate::guest::Guest;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

fn watch(seed: u64) -> (World, Person, Person) {
    let mut world = World::new(seed);
    let devices = [Device::temporal_camera()];
    let camera = world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 0));
    world.run_for(secs(3));
    (world, camera, viewer)
}

/// Pictures in the last second, and the layer that they are of.
fn rate(world: &World, viewer: Person) -> (usize, Option<u8>) {
    let seen = world.video(viewer, 0).since(world.now() - secs(1));
    (seen.len(), seen.last().map(|shown| shown.layer))
}

#[test]
fn frames_that_are_not_wanted_are_left_out_and_nobody_misses_them() {
    let (mut world, camera, viewer) = watch(141);
    let before = world.keyframe_requests(camera);
    for (temporal, frames) in [(1, 12..=13), (0, 6..=7), (2, 25..=26), (0, 6..=7)] {
        let wish = LayerLimit {
            temporal: Some(temporal),
            ..LayerLimit::default()
        };
        world.limit_layer(viewer, wish);
        world.run_for(secs(2));
        let (seen, layer) = rate(&world, viewer);
        assert!(
            frames.contains(&seen),
            "{seen} pictures up to layer {temporal}"
        );
        assert_eq!(layer, Some(2));
    }
    assert_eq!(
        world.keyframe_requests(camera),
        before,
        "it costs no keyframe"
    );
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn a_wished_frame_rate_is_kept_to() {
    let (mut world, camera, viewer) = watch(142);
    let track = world.track_of(camera, Kind::Video);
    for (frame_rate, frames) in [(Some(10), 12..=13), (Some(5), 6..=7), (None, 25..=26)] {
        let mid = world.video(viewer, 0).mid.clone();
        let wish = SlotWish::Track {
            track,
            size: None,
            frame_rate,
            priority: 128,
            paused: false,
        };
        world.wish(
            viewer,
            Wish {
                slots: [(mid, wish)].into(),
                rest_auto: true,
            },
        );
        world.run_for(secs(2));
        let (seen, _) = rate(&world, viewer);
        assert!(frames.contains(&seen), "{seen} pictures for {frame_rate:?}");
    }
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn a_path_that_is_a_little_too_narrow_gets_fewer_frames_of_the_same_picture() {
    let (mut world, camera, viewer) = watch(143);
    let asked = world.keyframe_requests(camera);
    // The whole takes some 900 kbit/s, three quarters of its frames well below that.
    let queue = DataSize::bytes(700_000 / 8 * 3 / 10);
    world
        .down(viewer)
        .change(|config| config.link(Bitrate::kbps(700), queue));
    let narrowed_at = world.now();
    world.run_for(secs(12));
    let (seen, layer) = rate(&world, viewer);
    assert_eq!(layer, Some(2), "the same picture");
    assert!((12..=13).contains(&seen), "{seen} pictures a second");
    let video = world.video(viewer, 0);
    let calm = narrowed_at + secs(5);
    let freeze = video.longest_freeze(calm, world.now());
    assert!(freeze <= millis(200), "froze for {freeze:?}");
    let asked = world.keyframe_requests(camera) - asked;
    assert!(asked <= 4, "{asked} keyframes asked for");
}

#[test]
fn layers_can_be_looked_up_chosen_and_followed() {
    let mut world = World::new(144);
    let devices = [Device::temporal_camera()];
    let camera = world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    let session = world.session(viewer);
    let layers = match world.command_of(viewer, Command::Layers { session }) {
        Ok(Reply::Layers(layers)) => layers,
        other => panic!("{other:?}"),
    };
    let [SlotLayers { track, layers, .. }] = &layers[..] else {
        panic!("{layers:?}");
    };
    assert_eq!(*track, world.track_of(camera, Kind::Video));
    let names: Vec<_> = layers
        .iter()
        .map(|layer| (layer.rid.as_deref(), layer.temporal, layer.height))
        .collect();
    let named = [("q", 180), ("h", 360), ("f", 720)].into_iter();
    let expected: Vec<_> = named
        .flat_map(|(rid, height)| [0, 1, 2].map(|t| (Some(rid), Some(t), Some(height))))
        .collect();
    assert_eq!(names, expected);
    assert!(
        layers
            .iter()
            .all(|layer| layer.active && layer.spatial.is_none())
    );
    let rates: Vec<u64> = layers.iter().map(|layer| layer.bitrate).collect();
    assert!(rates.chunks(3).all(|rates| rates.is_sorted()), "{rates:?}");

    for (rid, expected) in [("q", 0), ("h", 1), ("f", 2)] {
        let wish = LayerLimit {
            rid: Some(rid.into()),
            ..LayerLimit::default()
        };
        world.limit_layer(viewer, wish);
        world.run_for(secs(2));
        assert_eq!(rate(&world, viewer).1, Some(expected), "{rid}");
    }
    let unknown = Command::LimitLayer {
        session,
        mid: world.video(viewer, 0).mid.clone(),
        limit: LayerLimit {
            rid: Some("x".into()),
            ..LayerLimit::default()
        },
    };
    let refused = world.command_of(viewer, unknown);
    assert!(refused.is_err(), "{refused:?}");

    let stopped_at = world.now();
    world.client_mut(camera).sources[0].encodings[2].is_active = false;
    world.run_for(secs(2));
    let is_off = |layer: &LayerInfo| layer.rid.as_deref() == Some("f") && layer.bitrate == 0;
    let is_told = |change: &Change| match change {
        Change::Layers(told) => told
            .layers
            .iter()
            .any(|layer| is_off(layer) && !layer.active),
        _ => false,
    };
    assert!(world.heard(viewer, stopped_at, is_told), "it is told");
    assert_eq!(rate(&world, viewer).1, Some(1), "the next best flows");
    world.video(viewer, 0).assert_flawless();
}
