//! Real pictures, switched by force, and what a real decoder makes of them.
//!
//! Each encoding of a camera is a recording of FFmpeg's encoders; what a viewer receives is put
//! together again and decoded. Every picture must be one of the recordings', to the last bit: a
//! decoder conceals what it lacks, so that it does not complain is not enough.
//!
//! Sixty switches for each codec in every run where there is an FFmpeg; a thousand with
//! `PLENUM_LONG=1`.

use std::collections::HashMap;

use plenum::engine::command::LayerLimit;

use crate::guest::Guest;
use crate::link::loss;
use crate::media::{Device, Format};
use crate::millis;
use crate::payload::join;
use crate::recording::Studio;
use crate::world::World;

/// Sizes and rates of the three encodings, small for speed; keyframes have several packets.
const ENCODINGS: [((u32, u32), u32); 3] = [((128, 80), 150), ((192, 112), 250), ((320, 192), 500)];

fn switches() -> usize {
    match std::env::var("PLENUM_LONG") {
        Ok(_) => 1_000,
        Err(_) => 60,
    }
}

/// A studio; says so where there is none.
#[expect(clippy::print_stderr, reason = "a test that looks at nothing says so")]
fn studio() -> Option<Studio> {
    let studio = Studio::open();
    if studio.is_none() {
        eprintln!("no FFMPEG: nothing is decoded");
    }
    studio
}

/// Switches between a camera's layers, and has everything decoded that came of it. Says how often
/// the picture changed to another recording.
fn switch(studio: &Studio, seed: u64, format: Format, is_temporal: bool, lost: f32) -> usize {
    let recordings = ENCODINGS.map(|(size, kbps)| studio.record(format, size, kbps, is_temporal));
    let mut known = HashMap::new();
    for (layer, recording) in recordings.iter().enumerate() {
        for (place, picture) in recording.pictures.iter().enumerate() {
            let before = known.insert(picture.clone(), (layer, place));
            assert_eq!(before, None, "every picture differs from all others");
        }
    }
    let mut world = World::new(seed);
    let camera = Device::recorded(format, &recordings);
    world.enter("lobby", Guest::meeting().with([camera]).slots(0, 0));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 0));
    world.client_mut(viewer).records();
    world.run_for(millis(1_500));
    world.down(viewer).change(|config| config.loss(loss(lost)));
    for turn in 0..switches() {
        let rid = ["q", "h", "f"][turn % 3];
        // With temporal layers now all, now half, now a quarter of the frames, and other ones while
        // the same encoding flows.
        for temporal in [2 - turn / 3 % 3, (turn + turn / 3) % 3] {
            let wish = LayerLimit {
                rid: Some(rid.to_owned()),
                temporal: is_temporal.then_some(temporal as u8),
                ..LayerLimit::default()
            };
            world.limit_layer(viewer, wish);
            // At any time between two frames.
            let moment = world.rng.u64(0..40);
            world.run_for(millis(200 + moment));
        }
    }
    world.down(viewer).change(|config| config.loss(loss(0.0)));
    world.run_for(millis(1_000));

    let packets = world.client_mut(viewer).recorded();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for frame in packets.chunk_by(|a, b| a.timestamp == b.timestamp) {
        let numbers = frame.windows(2).map(|pair| pair[1].seq - pair[0].seq);
        assert!(
            numbers.into_iter().all(|step| step == 1),
            "a gap within a frame"
        );
        assert!(frame.last().is_some_and(|packet| packet.marker));
        let payloads: Vec<&[u8]> = frame.iter().map(|packet| &packet.payload[..]).collect();
        frames.push(join(format, &payloads));
    }
    let gaps = packets
        .windows(2)
        .filter(|pair| pair[1].seq != pair[0].seq + 1);
    assert_eq!(gaps.count(), 0, "everything came in the end");

    let pictures = studio.decode(format, &frames);
    assert_eq!(pictures.len(), frames.len(), "as many pictures as frames");
    let shown: Vec<(usize, usize)> = pictures
        .iter()
        .enumerate()
        .map(|(place, picture)| {
            let known = known.get(picture).copied();
            known.unwrap_or_else(|| panic!("picture {place} of {} is damaged", pictures.len()))
        })
        .collect();
    shown
        .windows(2)
        .filter(|pair| pair[0].0 != pair[1].0)
        .count()
}

fn assert_switches(seed: u64, format: Format, is_temporal: bool, lost: f32) {
    let Some(studio) = studio() else { return };
    let seen = switch(&studio, seed, format, is_temporal, lost);
    let wished = switches();
    assert!(seen >= wished - 2, "{seen} of {wished} switches were seen");
}

#[test]
fn vp8_switched_by_force_decodes_without_an_error() {
    assert_switches(151, Format::Vp8, false, 0.0);
}

#[test]
fn vp8_with_frames_left_out_decodes_without_an_error() {
    assert_switches(152, Format::Vp8, true, 0.0);
}

#[test]
fn h264_switched_by_force_decodes_without_an_error() {
    assert_switches(153, Format::H264, false, 0.0);
}

#[test]
fn vp9_switched_by_force_decodes_without_an_error() {
    assert_switches(154, Format::Vp9, false, 0.0);
}

#[test]
fn av1_switched_by_force_decodes_without_an_error() {
    assert_switches(155, Format::Av1, false, 0.0);
}

#[test]
fn a_path_that_loses_packets_spoils_no_switch() {
    assert_switches(156, Format::Vp8, true, 0.02);
}
