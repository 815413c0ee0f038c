//! Media as a browser would send it: the structure is real, the pictures are not.
//!
//! Each packet ends with a [`Stamp`] that says who made it, when, and what of; so whoever
//! receives it can tell whether it should be there and whether a decoder could use it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plenum::engine::event::{Kind, LayerWanted};
use str0m::media::{Mid, Rid};

use super::payload::{Head, packetize};
use super::recording::Recording;

/// How a source is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Opus,
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl Format {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Format::Opus => Kind::Audio,
            _ => Kind::Video,
        }
    }

    pub(crate) fn clock_rate_hz(self) -> u64 {
        match self {
            Format::Opus => 48_000,
            _ => 90_000,
        }
    }
}

/// What every packet says about itself in its last bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The room that it was published in, by its place in the world.
    pub(crate) room: u32,
    /// The source that made it.
    pub(crate) source: u32,
    pub(crate) layer: u8,
    /// Counts the frames of a layer.
    pub(crate) frame: u32,
    /// Which packet of its frame it is.
    pub(crate) index: u8,
    /// How many packets its frame has.
    pub(crate) count: u8,
    pub(crate) keyframe: bool,
    /// How many frames back the one is that it is predicted from.
    pub(crate) back: u8,
    /// Whether that one is of the lowest temporal layer.
    pub(crate) syncs: bool,
    /// When it was captured, since the world began.
    pub(crate) captured: Duration,
}

const MAGIC: [u8; 4] = *b"PLNM";
const STAMP_BYTES: usize = 29;

impl Stamp {
    fn write(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&MAGIC);
        payload.extend_from_slice(&self.room.to_be_bytes());
        payload.extend_from_slice(&self.source.to_be_bytes());
        payload.extend_from_slice(&self.frame.to_be_bytes());
        payload.extend_from_slice(&[self.layer, self.index, self.count, u8::from(self.keyframe)]);
        payload.extend_from_slice(&(self.captured.as_micros() as u64).to_be_bytes());
        payload.push(self.back | u8::from(self.syncs) << 7);
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let stamp = payload.last_chunk::<STAMP_BYTES>()?;
        let word = |at: usize| stamp[at..at + 4].try_into().map(u32::from_be_bytes).ok();
        let captured = stamp[20..28].try_into().map(u64::from_be_bytes).ok()?;
        (stamp[..4] == MAGIC).then_some(())?;
        Some(Self {
            room: word(4)?,
            source: word(8)?,
            frame: word(12)?,
            layer: stamp[16],
            index: stamp[17],
            count: stamp[18],
            keyframe: stamp[19] != 0,
            back: stamp[28] & 0x7f,
            syncs: stamp[28] & 0x80 != 0,
            captured: Duration::from_micros(captured),
        })
    }
}

/// One encoding of a source.
#[derive(Debug)]
pub(crate) struct Encoding {
    pub(crate) rid: Option<Rid>,
    pub(crate) seq: u64,
    /// RTP timestamp of the world's beginning.
    pub(crate) first_timestamp: u32,
    /// Sizes of an ordinary frame's and of a keyframe's packets, in bytes.
    frame: Vec<usize>,
    keyframe: Vec<usize>,
    frames: u32,
    /// Frames since its keyframe, where it has temporal layers.
    position: Option<u32>,
    /// What it sent last, where it sends everything twice.
    before: Option<Vec<u8>>,
    /// What it really shows, and which frame of it is next.
    recording: Option<(Arc<Recording>, usize)>,
    picture_id: u16,
    tl0_pic_idx: u8,
    pub(crate) wants_keyframe: bool,
    /// Whether it sends at all.
    pub(crate) is_active: bool,
    /// Keyframe requests that it was sent.
    pub(crate) keyframe_requests: usize,
}

/// A camera, a screen or a microphone.
#[derive(Debug)]
pub(crate) struct Source {
    /// Unlike that of any other source in the world.
    pub(crate) id: u32,
    pub(crate) mid: Mid,
    pub(crate) format: Format,
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) interval: Duration,
    /// Loudness of a microphone, in dBov.
    pub(crate) level: i8,
    /// When it is due for its next frame.
    pub(crate) next_at: Instant,
}

/// A packet, ready to be sent.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) rid: Option<Rid>,
    pub(crate) seq: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) level: Option<i8>,
    /// The packet before it is in it once more.
    pub(crate) is_redundant: bool,
}

/// What a guest brings along to show; becomes a [`Source`] with the session.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) format: Format,
    pub(crate) slides: bool,
    pub(crate) rids: &'static [&'static str],
    /// Whether each encoding has three temporal layers.
    pub(crate) is_temporal: bool,
    /// Whether it sends each packet of sound once more beside the next (RFC 2198).
    pub(crate) is_redundant: bool,
    /// What each encoding really shows, where a decoder is to look at it.
    pub(crate) recordings: Vec<Arc<Recording>>,
    pub(crate) interval: Duration,
    /// The first sequence number of every encoding; as browsers do, in the lower half.
    pub(crate) first_seq: u16,
    /// The RTP timestamp at the world's beginning.
    pub(crate) first_timestamp: u32,
}

impl Device {
    /// 25 VP8 pictures a second at half a megabit, or so.
    pub(crate) fn camera() -> Self {
        Self {
            format: Format::Vp8,
            slides: false,
            rids: &[],
            is_temporal: false,
            is_redundant: false,
            recordings: Vec::new(),
            interval: Duration::from_millis(40),
            first_seq: 1_000,
            first_timestamp: 500_000,
        }
    }

    /// The same in H.264.
    pub(crate) fn h264_camera() -> Self {
        Self {
            format: Format::H264,
            ..Self::camera()
        }
    }

    /// Three sizes at once, as browsers name them.
    pub(crate) fn simulcast_camera() -> Self {
        Self {
            rids: &["q", "h", "f"],
            ..Self::camera()
        }
    }

    /// The same with three temporal layers in each, as Chromium has them in VP8.
    pub(crate) fn temporal_camera() -> Self {
        Self {
            is_temporal: true,
            ..Self::simulcast_camera()
        }
    }

    /// Three sizes at once, of real pictures.
    pub(crate) fn recorded(format: Format, recordings: &[Arc<Recording>; 3]) -> Self {
        Self {
            format,
            recordings: recordings.to_vec(),
            ..Self::simulcast_camera()
        }
    }

    /// A screen of few pictures.
    pub(crate) fn screen() -> Self {
        Self {
            slides: true,
            interval: Duration::from_millis(100),
            ..Self::camera()
        }
    }

    /// The same, and each packet once more beside the next.
    pub(crate) fn redundant_microphone() -> Self {
        Self {
            is_redundant: true,
            ..Self::microphone()
        }
    }

    /// Opus in packets of 20 ms.
    pub(crate) fn microphone() -> Self {
        Self {
            format: Format::Opus,
            slides: false,
            rids: &[],
            is_temporal: false,
            is_redundant: false,
            recordings: Vec::new(),
            interval: Duration::from_millis(20),
            first_seq: 2_000,
            first_timestamp: 900_000,
        }
    }
}

/// A packet of 20 ms with the one before it (RFC 2198 §3); all stories' Opus is payload type 111.
fn redundant(before: &[u8], now: &[u8]) -> Vec<u8> {
    const OPUS: u8 = 111;
    let head = match before.len() {
        0 => vec![OPUS],
        length => {
            let ticks: u16 = 960;
            let [high, low] = (ticks << 2 | length as u16 >> 8).to_be_bytes();
            vec![0x80 | OPUS, high, low, length as u8, OPUS]
        }
    };
    [&head, before, now].concat()
}

/// Loudness of somebody who listens, and of somebody who speaks at their loudest.
pub(crate) const SILENT: i8 = -127;
pub(crate) const SPEAKING: i8 = -20;

/// A voice rises and falls, and pauses: eight tenths of a second of speech, two of breath. A tone
/// that never changes is taken for the noise of a fan.
fn voice(level: i8, frame: u32) -> i8 {
    match frame % 50 {
        _ if level == SILENT => SILENT,
        0..40 => level - (frame % 7) as i8 * 3,
        _ => -75,
    }
}

impl Encoding {
    /// The next frame of a recording; the next keyframe of it, where one is wanted.
    fn play(&mut self, format: Format, ticks: u32) -> Vec<Made> {
        let Some((recording, place)) = &mut self.recording else {
            return Vec::new();
        };
        let wants_keyframe = std::mem::take(&mut self.wants_keyframe);
        let frames = recording.frames.iter().enumerate().cycle();
        let mut coming = frames.skip(*place).take(recording.frames.len());
        let next = coming.find(|(_, frame)| frame.keyframe || !wants_keyframe);
        let (at, frame) = next.expect("a recording with keyframes");
        *place = (at + 1) % recording.frames.len();
        let (temporal, syncs) = frame.temporal;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(u8::from(temporal == 0));
        let head = Head {
            keyframe: frame.keyframe,
            picture_id: self.picture_id,
            tl0_pic_idx: self.tl0_pic_idx,
            temporal,
            syncs,
        };
        let is_first = std::mem::replace(&mut self.frames, 1) == 0;
        let preface = if is_first {
            &recording.preface[..]
        } else {
            &[]
        };
        let payloads = packetize(format, &[preface, &frame.contents].concat(), head);
        let last = payloads.len() - 1;
        let packets = payloads.into_iter().enumerate().map(|(index, payload)| {
            self.seq += 1;
            Made {
                rid: self.rid,
                seq: self.seq - 1,
                timestamp: self.first_timestamp.wrapping_add(ticks),
                marker: index == last,
                payload,
                level: None,
                is_redundant: false,
            }
        });
        packets.collect()
    }

    /// The temporal layer of the next frame, how far back its reference is, and whether that is of
    /// the lowest layer.
    ///
    /// Of four frames the first belongs to the lowest layer, the third to the middle one; the second
    /// hangs on the first, and the fourth on the third.
    fn prediction(&mut self, keyframe: bool) -> (u8, u8, bool) {
        let Some(position) = &mut self.position else {
            return (0, 1, true);
        };
        *position = if keyframe { 0 } else { *position + 1 };
        match *position % 4 {
            0 => (0, 4, true),
            1 => (2, 1, true),
            2 => (1, 2, true),
            _ => (2, 1, false),
        }
    }
}

impl Source {
    /// Sends what is wanted, as its server says; of several encodings always the smallest.
    pub(crate) fn obey(&mut self, layers: &[LayerWanted]) {
        let smallest = self.encodings[0].rid;
        let is_one = self.encodings.len() == 1;
        for encoding in &mut self.encodings {
            let name = encoding.rid.map(|rid| rid.to_string());
            let Some(layer) = layers.iter().find(|layer| layer.rid == name) else {
                continue;
            };
            let sends = layer.wanted || encoding.rid == smallest && !is_one;
            encoding.wants_keyframe |= sends && !encoding.is_active;
            encoding.is_active = sends;
        }
    }

    pub(crate) fn new(id: u32, mid: Mid, device: &Device, now: Instant) -> Self {
        let rids: Vec<Option<Rid>> = if device.rids.is_empty() {
            vec![None]
        } else {
            device
                .rids
                .iter()
                .map(|rid| Some(Rid::from(*rid)))
                .collect()
        };
        let encodings = rids.iter().enumerate().map(|(place, rid)| {
            let (frame, keyframe) = sizes(device.format, place, rids.len());
            Encoding {
                rid: *rid,
                seq: u64::from(device.first_seq),
                first_timestamp: device
                    .first_timestamp
                    .wrapping_add(place as u32 * 1_000_000),
                frame,
                keyframe,
                frames: 0,
                position: device.is_temporal.then_some(0),
                before: device.is_redundant.then(Vec::new),
                recording: device.recordings.get(place).map(|it| (it.clone(), 0)),
                // Near its end, so that every story sees it wrap.
                picture_id: 0x7ff0,
                tl0_pic_idx: 250,
                wants_keyframe: true,
                is_active: true,
                keyframe_requests: 0,
            }
        });
        Self {
            id,
            mid,
            format: device.format,
            encodings: encodings.collect(),
            interval: device.interval,
            level: SILENT,
            next_at: now,
        }
    }

    /// The next frame of every encoding, if it is due.
    pub(crate) fn poll(&mut self, now: Instant, began: Instant, room: u32) -> Vec<Made> {
        let mut made = Vec::new();
        if now < self.next_at {
            return made;
        }
        self.next_at += self.interval;
        let captured = now - began;
        let ticks = captured.as_nanos() * u128::from(self.format.clock_rate_hz()) / 1_000_000_000;
        for (layer, encoding) in self.encodings.iter_mut().enumerate() {
            if !encoding.is_active {
                continue;
            }
            if encoding.recording.is_some() {
                made.extend(encoding.play(self.format, ticks as u32));
                continue;
            }
            let keyframe = self.format.kind() == Kind::Video && encoding.wants_keyframe;
            let (temporal, back, syncs) = encoding.prediction(keyframe);
            if temporal == 0 {
                encoding.tl0_pic_idx = encoding.tl0_pic_idx.wrapping_add(1);
            }
            let sizes = if keyframe {
                &encoding.keyframe
            } else {
                &encoding.frame
            };
            let count = sizes.len() as u8;
            for (index, size) in sizes.iter().enumerate() {
                let stamp = Stamp {
                    room,
                    source: self.id,
                    layer: layer as u8,
                    frame: encoding.frames,
                    index: index as u8,
                    count,
                    keyframe,
                    back,
                    syncs,
                    captured,
                };
                let head = match self.format {
                    Format::Opus => vec![0x78],
                    Format::Vp8 => {
                        let numbers = (encoding.picture_id, encoding.tl0_pic_idx);
                        vp8_head(&stamp, numbers, temporal)
                    }
                    Format::H264 => h264_head(&stamp),
                    Format::Vp9 | Format::Av1 => unreachable!("these are recorded only"),
                };
                let mut payload = fill(head, *size, &stamp);
                if let Some(before) = &mut encoding.before {
                    let last = std::mem::replace(before, payload.clone());
                    payload = redundant(&last, &payload);
                }
                made.push(Made {
                    rid: encoding.rid,
                    seq: encoding.seq,
                    timestamp: encoding.first_timestamp.wrapping_add(ticks as u32),
                    marker: self.format.kind() == Kind::Video && index as u8 + 1 == count,
                    payload,
                    is_redundant: encoding.before.is_some(),
                    level: (self.format == Format::Opus)
                        .then_some(voice(self.level, encoding.frames)),
                });
                encoding.seq += 1;
            }
            encoding.frames += 1;
            encoding.picture_id = (encoding.picture_id + 1) & 0x7fff;
            encoding.wants_keyframe = false;
        }
        made
    }

    /// All keyframe requests that reached it.
    pub(crate) fn keyframe_requests(&self) -> usize {
        self.encodings
            .iter()
            .map(|encoding| encoding.keyframe_requests)
            .sum()
    }
}

/// Packets of an ordinary frame and of a keyframe. Of three encodings, each costs a multiple of
/// the one before.
fn sizes(format: Format, place: usize, encodings: usize) -> (Vec<usize>, Vec<usize>) {
    match (format, encodings, place) {
        (Format::Opus, ..) => (vec![80], vec![80]),
        (_, 3, 0) => (vec![300], vec![700; 2]),
        (_, 3, 1) => (vec![1_000], vec![1_000; 4]),
        (_, 3, _) => (vec![1_100; 4], vec![1_100; 8]),
        _ => (vec![1_000; 2], vec![1_100; 6]),
    }
}

/// Descriptor with a long picture id and TL0PICIDX (RFC 7741 §4.2), and a frame's first bytes.
fn vp8_head(stamp: &Stamp, (picture_id, tl0_pic_idx): (u16, u8), temporal: u8) -> Vec<u8> {
    let start = if stamp.index == 0 { 0x10 } else { 0 };
    let id = picture_id.to_be_bytes();
    // Y: the middle layer hangs on the lowest one alone, and so does every other frame of the
    // highest; that of the others is left out, as encoders may.
    let layer = temporal << 6 | u8::from(temporal > 0 && stamp.syncs) << 5;
    let mut head = vec![0x80 | start, 0xe0, 0x80 | id[0], id[1], tl0_pic_idx, layer];
    if stamp.index == 0 {
        // P=0 is a keyframe (RFC 6386 §9.1), which begins with a start code.
        if stamp.keyframe {
            // 180 lines of the smallest layer, and twice as many of each that is larger.
            let (width, height) = (320_u16 << stamp.layer, 180_u16 << stamp.layer);
            head.extend_from_slice(&[0x10, 0, 0, 0x9d, 0x01, 0x2a]);
            head.extend_from_slice(&width.to_le_bytes());
            head.extend_from_slice(&height.to_le_bytes());
        } else {
            head.extend_from_slice(&[0x11, 0, 0]);
        }
    }
    head
}

/// Parameter sets in packets of their own before an IDR; slices as FU-A (RFC 6184 §5.8).
fn h264_head(stamp: &Stamp) -> Vec<u8> {
    let first_slice = if stamp.keyframe { 2 } else { 0 };
    let nal = if stamp.keyframe { 5 } else { 1 };
    match (stamp.keyframe, stamp.index) {
        (true, 0) => vec![0x67, 0x42, 0xe0, 0x1f],
        (true, 1) => vec![0x68, 0xce],
        _ => {
            let start = if stamp.index == first_slice { 0x80 } else { 0 };
            let end = if stamp.index + 1 == stamp.count {
                0x40
            } else {
                0
            };
            vec![0x60 | 28, start | end | nal, 0x88]
        }
    }
}

fn fill(mut head: Vec<u8>, size: usize, stamp: &Stamp) -> Vec<u8> {
    head.resize(size.max(head.len() + STAMP_BYTES) - STAMP_BYTES, 0xaa);
    stamp.write(&mut head);
    head
}

/// Picture id, TL0PICIDX and temporal layer of a packet that [`vp8_head`] began.
pub(crate) fn vp8_numbers(payload: &[u8]) -> Option<(u16, u8, u8)> {
    match payload {
        [first, 0xe0, high, low, tl0, layer, ..] if first & 0x80 != 0 && high & 0x80 != 0 => {
            Some((u16::from_be_bytes([high & 0x7f, *low]), *tl0, layer >> 6))
        }
        _ => None,
    }
}
