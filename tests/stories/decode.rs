//! Real pictures, switched by force, and what a real decoder makes of them.
//!
//! Each encoding of a camera is a recording of FFmpeg's encoders; what a viewer receives is put
//! together again and decoded. Every picture must be one of the recordings', to the last bit: a
//! decoder conceals what it lacks, so that it does not complain is not enough.
//!
//! Sixty switches for each codec in every run where there is an FFmpeg; a thousand with
//! `PLENUM_LONG=1`.

use std::collections::HashMap;
use std::sync::Arc;

use plenum::engine::command::LayerLimit;

use crate::guest::Guest;
use crate::link::loss;
use crate::media::{Device, Format};
use crate::millis;
use crate::payload::join;
use crate::recording::{Recording, Studio};
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

/// Whether a payload begins a frame, where that can be seen: VP8's S bit (RFC 7741 §4.2).
fn begins(format: Format, payload: &[u8]) -> bool {
    format != Format::Vp8 || payload[0] & 0x10 != 0
}

/// Whether a frame needs no other (RFC 6386 §9.1).
fn is_vp8_keyframe(format: Format, contents: &[u8]) -> bool {
    format == Format::Vp8 && contents[0] & 1 == 0
}

/// A camera of three layers, as its encoder gives them.
type Camera = [Arc<Recording>; 3];

fn camera(studio: &Studio, format: Format, is_temporal: bool) -> Camera {
    ENCODINGS.map(|(size, kbps)| studio.record(format, size, kbps, is_temporal))
}

/// Switches between a camera's layers, and has everything decoded that came of it. Says how often
/// the picture changed to another recording.
fn switch(
    studio: &Studio,
    seed: u64,
    (format, recordings): (Format, &Camera),
    is_temporal: bool,
    lost: f32,
) -> usize {
    let mut known = HashMap::new();
    for (layer, recording) in recordings.iter().enumerate() {
        for (place, picture) in recording.pictures.iter().enumerate() {
            let before = known.insert(picture.clone(), (layer, place));
            assert_eq!(before, None, "every picture differs from all others");
        }
    }
    let mut world = World::new(seed);
    let camera = Device::recorded(format, recordings);
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
    let (mut spoilt, mut is_spoilt) = (0, false);
    for frame in packets.chunk_by(|a, b| a.timestamp == b.timestamp) {
        let payloads: Vec<&[u8]> = frame.iter().map(|packet| &packet.payload[..]).collect();
        let has_gap = frame.windows(2).any(|pair| pair[1].seq != pair[0].seq + 1);
        let ends = frame.last().is_some_and(|packet| packet.marker);
        let contents = join(format, &payloads);
        let is_whole = !has_gap && ends && begins(format, payloads[0]);
        is_spoilt = !is_whole || is_spoilt && !is_vp8_keyframe(format, &contents);
        if is_spoilt {
            spoilt += 1;
        } else {
            frames.push(contents);
        }
    }
    let gaps = packets
        .windows(2)
        .filter(|pair| pair[1].seq != pair[0].seq + 1);
    if lost == 0.0 {
        assert_eq!((gaps.count(), spoilt), (0, 0), "everything came");
    } else {
        // What is lost just before a switch is not sent again, as nobody needs it after: some of the last frames
        // of a layer cannot be shown, until the keyframe of the next.
        assert!(spoilt <= switches(), "{spoilt} frames cannot be shown");
    }

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
    let recordings = camera(&studio, format, is_temporal);
    let seen = switch(&studio, seed, (format, &recordings), is_temporal, lost);
    assert_seen(seen);
}

fn assert_seen(seen: usize) {
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
fn an_encoder_that_tells_its_parameters_once_can_be_decoded_from_every_keyframe_on() {
    let Some(studio) = studio() else { return };
    let once = camera(&studio, Format::H264, false).map(|recording| recording.told_once());
    assert_seen(switch(&studio, 157, (Format::H264, &once), false, 0.0));
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
