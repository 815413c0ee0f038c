use proptest::prelude::*;

use super::*;

/// Writes bits as a sender does.
#[derive(Default)]
struct Writer {
    bits: Vec<bool>,
}

impl Writer {
    fn put(&mut self, count: u32, value: u32) -> &mut Self {
        self.bits
            .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let bytes = self.bits.chunks(8);
        let byte = |bits: &[bool]| {
            bits.iter()
                .enumerate()
                .fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
        };
        bytes.map(byte).collect()
    }
}

/// Two spatial layers of two temporal ones each, upper pictures predicted from lower ones in
/// keyframes only (L2T2_KEY), as libwebrtc describes them, without its chains.
fn keyframe() -> Vec<u8> {
    let mut bits = Writer::default();
    bits.put(2, 0b11).put(6, 10).put(16, 500);
    bits.put(5, 0b10000);
    // Offset 10; four decode targets.
    bits.put(6, 10).put(5, 3);
    // Templates: S0T0 key, S0T0, S0T1, S1T0 key, S1T0, S1T1.
    for next in [0, 1, 2, 0, 1, 3] {
        bits.put(2, next);
    }
    // For S0T0, S0T1, S1T0 and S1T1: `-` 0, `D` 1, `S` 2, `R` 3.
    for indications in ["SSSS", "SS--", "-D--", "--SS", "--SS", "---D"] {
        for indication in indications.chars() {
            let value = "-DSR".find(indication).expect("one of them");
            bits.put(2, value as u32);
        }
    }
    // References: none, one, one, one (of the same picture), one, one.
    for references in [0, 1, 1, 1, 1, 1] {
        for _ in 0..references {
            bits.put(1, 1).put(4, 0);
        }
        bits.put(1, 0);
    }
    // No chains (ns(5): three bits at most, 0 in two), sizes.
    bits.put(2, 0).put(1, 1);
    for (width, height) in [(320, 180), (640, 360)] {
        bits.put(16, width - 1).put(16, height - 1);
    }
    bits.bytes()
}

fn read(bytes: &[u8], seq: u64, known: &mut Option<Known>) -> (Descriptor, PayloadInfo) {
    Descriptor::parse(bytes, seq, known, &PayloadInfo::OPAQUE).expect("a descriptor")
}

fn known() -> Option<Known> {
    let mut known = None;
    read(&keyframe(), 100, &mut known);
    known
}

fn written(descriptor: &Descriptor, offsets: CodecOffsets) -> Vec<u8> {
    let mut out = SmallVec::new();
    descriptor.write(offsets, &mut out);
    out.to_vec()
}

#[test]
fn a_keyframe_brings_its_structure() {
    let mut known = None;
    let (key, info) = read(&keyframe(), 100, &mut known);
    assert!(info.keyframe_start && info.independent && info.needed_above);
    assert_eq!(key.sizes(), [(320, 180), (640, 360)]);
    let structure = known.expect("kept").structure;
    assert_eq!(structure.templates.len(), 6);
    assert_eq!(structure.targets[..], [(0, 0), (0, 1), (1, 0), (1, 1)]);
}

#[test]
fn later_frames_are_known_by_their_template() {
    let info = |template: u8| {
        let bytes = [0xc0 | (10 + template), 1, 245];
        read(&bytes, 101, &mut known()).1
    };
    let base = info(1);
    assert_eq!((base.spatial, base.temporal, base.takes_up), (0, 0, 1));
    assert!(base.frame_start && base.frame_end && !base.keyframe_start);
    assert!(!base.needed_above, "upper pictures do without it");
    let middle = info(2);
    assert_eq!(
        (middle.spatial, middle.temporal, middle.takes_up),
        (0, 1, 0)
    );
    assert!(middle.discardable);
    let upper = info(4);
    assert_eq!((upper.spatial, upper.temporal, upper.takes_up), (1, 0, 1));
    assert!(!upper.keyframe_start);
}

#[test]
fn what_refers_to_nothing_that_came_is_told_from_what_is_malformed() {
    let parse = |bytes: &[u8], known: &mut Option<Known>| {
        let result = Descriptor::parse(bytes, 101, known, &PayloadInfo::OPAQUE);
        result.map(|_| ()).expect_err("unreadable")
    };
    assert_eq!(parse(&[0xcb, 1, 245], &mut None), Unreadable::NoStructure);
    let mut known = known();
    assert_eq!(
        parse(&[0xc0 | 30, 1, 245], &mut known),
        Unreadable::NoStructure
    );
    for length in [0, 1, 2, 4, 12, 20] {
        let cut = &keyframe()[..length];
        assert_eq!(parse(cut, &mut known), Unreadable::Malformed, "{length}");
    }
}

#[test]
fn frames_may_differ_from_their_template() {
    let mut bits = Writer::default();
    // Template S0T1 with indications and references of its own, and active targets.
    bits.put(2, 0b11).put(6, 12).put(16, 501).put(5, 0b01110);
    bits.put(4, 0b0011).put(8, 0b00_10_00_00);
    bits.put(2, 1).put(4, 3).put(2, 2).put(8, 200).put(2, 0);
    let mut known = known();
    let (_, info) = read(&bits.bytes(), 101, &mut known);
    assert!(info.takes_up == 1 && !info.discardable);
    assert_eq!((info.spatial, info.temporal), (0, 1));
    assert_eq!(known.expect("kept").active, 0b0011);
}

#[test]
fn an_older_structure_that_comes_late_does_not_hold() {
    let mut late = keyframe();
    // Its templates begin elsewhere.
    move_id(&mut late, 2, 20);
    move_id(&mut late, EXTENDED_AT, 20);
    let mut known = known();
    read(&late, 90, &mut known);
    read(&[0xc0 | 11, 1, 245], 101, &mut known);
    read(&late, 110, &mut known);
    read(&[0xc0 | 31, 1, 245], 111, &mut known);
}

#[test]
fn what_leaves_as_it_came_is_moved_and_nothing_else() {
    let mut known = known();
    let offsets = CodecOffsets {
        frame_number: 65_500,
        template_id: 60,
        ..CodecOffsets::default()
    };
    let (delta, _) = read(&[0xc0 | 11, 1, 245], 101, &mut known);
    assert_eq!(written(&delta, CodecOffsets::default()), [0xcb, 1, 245]);
    assert_eq!(written(&delta, offsets), [0xc7, 1, 209]);
    let (key, _) = read(&keyframe(), 102, &mut known);
    let moved = written(&key, offsets);
    let (_, info) = read(&moved, 103, &mut known);
    assert_eq!(info.numbers.frame.map(|frame| frame.first_id), Some(6));
    assert_eq!(moved[5..], keyframe()[5..]);
}

#[test]
fn what_is_left_out_is_not_active() {
    let mut known = known();
    let low = CodecOffsets {
        spatial_layers: 1,
        temporal_layers: 255,
        ..CodecOffsets::default()
    };
    let slow = CodecOffsets {
        temporal_layers: 1,
        ..CodecOffsets::default()
    };
    for (bytes, offsets, active) in [
        (keyframe(), low, 0b0011),
        (keyframe(), slow, 0b0101),
        (vec![0xcb, 1, 245], low, 0b0011),
        (vec![0xcb, 1, 245], slow, 0b0101),
    ] {
        let (descriptor, info) = read(&bytes, 101, &mut known);
        let out = written(&descriptor, offsets);
        let mut theirs = known.clone();
        let (again, after) = read(&out, 101, &mut theirs);
        assert_eq!((again.active, after), (active, info));
        // What has the targets already has others in their place.
        let both = CodecOffsets {
            spatial_layers: 1,
            temporal_layers: 1,
            ..CodecOffsets::default()
        };
        let less = written(&again, both);
        assert_eq!(less.len(), out.len());
        assert_eq!(read(&less, 101, &mut theirs).0.active, 0b0001);
    }
    // Packets that do not begin a frame are left as they are.
    let (inside, _) = read(&[0x0b, 1, 245], 104, &mut known);
    assert_eq!(written(&inside, low), [0x0b, 1, 245]);
}

proptest! {
    #[test]
    fn nothing_that_is_sent_does_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..256),
        frame_number: u16,
        template_id: u8,
        spatial_layers in 0u8..4,
        temporal_layers in 0u8..4,
    ) {
        let offsets = CodecOffsets {
            frame_number,
            template_id,
            spatial_layers,
            temporal_layers,
            ..CodecOffsets::default()
        };
        for mut known in [None, known()] {
            let result = Descriptor::parse(&bytes, 101, &mut known, &PayloadInfo::OPAQUE);
            if let Ok((descriptor, info)) = result {
                prop_assert!(descriptor.structure.templates.len() <= MAX_TEMPLATES);
                let out = written(&descriptor, offsets);
                prop_assert!(out.len() <= MAX_BYTES && out.len() >= MANDATORY_BYTES);
                prop_assert!(info.spatial <= MAX_SPATIAL && info.temporal <= MAX_TEMPORAL);
            }
        }
    }
}
