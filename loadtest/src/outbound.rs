//! One published track: frames at a steady rate in one or three layers, keyframes and lost packets on request.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{
    loss::Loss,
    payload::{Codec, MAX_PAYLOAD, PayloadSpec, STAMP_LEN, Stamp},
    rtp::{ExtensionIds, HeaderSpec},
    sdp::{AnswerMedia, MediaSpec, RIDS},
    srtp::Srtp,
    sys::SendBatch,
};

/// Packets that can be sent again; two seconds of a 3 Mbit/s layer.
const HISTORY: usize = 512;

/// An encoder makes no more keyframes than this (libwebrtc: one per 300 ms).
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);

/// A keyframe is so many times as long as another frame.
const KEYFRAME_FACTOR: u32 = 4;

/// Opus frames last so long.
const AUDIO_FRAME: Duration = Duration::from_millis(20);

/// Bytes of one Opus payload: 32 kbit/s, as browsers send a voice.
const AUDIO_PAYLOAD: u16 = 80;

/// Bytes that header, extensions and tag add to a payload.
const OVERHEAD: u32 = 50;

/// Bytes of one packet on the wire, to which frames are cut.
const PACKET_BYTES: u32 = 1200;

/// How heavy the media is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaRate {
    /// Of the highest video layer, on the wire.
    pub(crate) video_kbps: u32,
    pub(crate) frames_per_second: u32,
}

/// Where packets of one connection go, and what they share.
pub(crate) struct Way<'a> {
    pub(crate) srtp: &'a Srtp,
    pub(crate) batch: &'a mut SendBatch,
    pub(crate) to: SocketAddr,
    pub(crate) source: Option<Ipv4Addr>,
    /// The connection's next transport-wide number.
    pub(crate) transport_number: &'a mut u16,
    /// What gets lost before it leaves.
    pub(crate) loss: &'a mut Loss,
    /// Wall clock, nanoseconds.
    pub(crate) wall_ns: u64,
}

/// A track and what it needs to go on.
pub(crate) struct Outbound {
    spec: MediaSpec,
    publisher: u32,
    mid: String,
    payload_type: u8,
    rtx_payload_type: u8,
    extensions: ExtensionIds,
    layers: Vec<Layer>,
    started: Instant,
    interval: Duration,
    pub(crate) next_at: Instant,
    /// Speaks in turns with others: its place among them, and how many there are.
    turn: (u32, u32),
    /// The second that is being counted, and its keyframe requests.
    request_second: (u64, u64),
    pub(crate) counts: OutboundCounts,
}

/// Counts over the life of a track.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutboundCounts {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) keyframes: u64,
    /// Keyframes that were asked for, by PLI or FIR.
    pub(crate) keyframe_requests: u64,
    /// Of these, the most in one second.
    pub(crate) busiest_keyframe_requests: u64,
    pub(crate) nacked: u64,
    pub(crate) resent: u64,
}

struct Layer {
    ssrc: u32,
    rtx_ssrc: u32,
    rid: Option<&'static str>,
    number: u8,
    frame_bytes: u32,
    size: (u16, u16),
    sequence: u64,
    rtx_sequence: u64,
    frame: u32,
    timestamp_offset: u32,
    timestamp: u32,
    keyframe_wanted: bool,
    last_keyframe: Option<Instant>,
    packets: u32,
    octets: u32,
    history: Vec<Option<Sent>>,
}

/// What a frame will be.
struct FramePlan {
    number: u32,
    keyframe: bool,
    packets: u16,
    /// Bytes of each packet's payload.
    payload_len: u16,
}

/// A packet as it was sent, from which it can be written again.
#[derive(Clone, Copy)]
struct Sent {
    sequence: u64,
    timestamp: u32,
    marker: bool,
    payload: PayloadSpec,
}

impl Outbound {
    pub(crate) fn new(
        spec: MediaSpec,
        answer: &AnswerMedia,
        publisher: u32,
        rate: MediaRate,
        turn: (u32, u32),
        now: Instant,
    ) -> Self {
        let interval = if spec.codec == Codec::Opus {
            AUDIO_FRAME
        } else {
            Duration::from_secs(1) / rate.frames_per_second.max(1)
        };
        let layers = (0..spec.layers())
            .filter(|&number| {
                !spec.simulcast || answer.rids.iter().any(|rid| rid == RIDS[number as usize])
            })
            .map(|number| Layer::new(&spec, number, rate))
            .collect();
        // Publishers that start together must not send their frames together.
        let phase =
            interval.mul_f64(f64::from(publisher.wrapping_mul(2_654_435_761) >> 16 & 0xff) / 256.0);
        Self {
            spec,
            publisher,
            mid: answer.mid.clone(),
            payload_type: answer.payload_type,
            rtx_payload_type: answer.rtx_payload_type,
            extensions: answer.extensions,
            layers,
            started: now,
            interval,
            next_at: now + phase,
            turn,
            request_second: (0, 0),
            counts: OutboundCounts::default(),
        }
    }

    /// Sends the frame that is due, in every layer; gives how late it is.
    pub(crate) fn send_due(&mut self, way: &mut Way<'_>, now: Instant) -> Duration {
        let late = now.saturating_duration_since(self.next_at);
        let elapsed = self.next_at.saturating_duration_since(self.started);
        self.next_at += self.interval;
        if self.next_at + 5 * self.interval < now {
            // After a standstill an encoder goes on; it does not make up for what it missed.
            self.next_at = now + self.interval;
        }
        let clock_rate = if self.spec.codec == Codec::Opus {
            48_000.0
        } else {
            90_000.0
        };
        let elapsed_units = (elapsed.as_secs_f64() * clock_rate) as u64 as u32;
        for index in 0..self.layers.len() {
            self.send_frame(index, elapsed_units, way, now);
        }
        self.counts.frames += 1;
        late
    }

    fn send_frame(&mut self, index: usize, elapsed_units: u32, way: &mut Way<'_>, now: Instant) {
        let codec = self.spec.codec;
        let layer = &mut self.layers[index];
        layer.timestamp = layer.timestamp_offset.wrapping_add(elapsed_units);
        let frame = layer.next_frame(codec, now);
        self.counts.keyframes += u64::from(frame.keyframe && codec != Codec::Opus);
        let audio_level = self.audio_level(now);
        for packet in 0..frame.packets {
            let layer = &mut self.layers[index];
            let stamp = Stamp {
                sent_ns: way.wall_ns,
                publisher: self.publisher,
                layer: layer.number,
                frame: frame.number,
                refers_to: if frame.keyframe {
                    frame.number
                } else {
                    frame.number.wrapping_sub(1)
                },
                packet,
                packets: frame.packets,
            };
            let picture_id = frame.number as u16 & 0x7fff;
            let sent = Sent {
                sequence: layer.sequence,
                timestamp: layer.timestamp,
                marker: codec != Codec::Opus && packet + 1 == frame.packets,
                payload: PayloadSpec {
                    codec,
                    stamp,
                    len: frame.payload_len,
                    picture_id,
                    size: layer.size,
                },
            };
            layer.sequence += 1;
            layer.remember(sent);
            self.write(index, &sent, None, audio_level, way);
        }
    }

    /// The voice-activity bit and level of RFC 6464: publishers speak in turns of four seconds.
    fn audio_level(&self, now: Instant) -> u8 {
        const TURN_SECONDS: u64 = 4;
        let (place, of) = self.turn;
        let round = now.saturating_duration_since(self.started).as_secs() / TURN_SECONDS;
        let speaks = round % u64::from(of.max(1)) == u64::from(place);
        if speaks { 0x80 | 25 } else { 90 }
    }

    /// Seals one packet into the batch; again, when `rtx` gives the number to send it again under.
    fn write(
        &mut self,
        index: usize,
        sent: &Sent,
        rtx: Option<u64>,
        audio_level: u8,
        way: &mut Way<'_>,
    ) {
        let layer = &mut self.layers[index];
        let ids = self.extensions;
        let transport_number = way.transport_number.to_be_bytes();
        let rid = layer.rid.unwrap_or_default().as_bytes();
        let no_rid = |id| if rid.is_empty() { 0 } else { id };
        let audio_level = [audio_level];
        let extensions: [(u8, &[u8]); 4] = [
            (ids.transport_cc, &transport_number),
            (ids.mid, self.mid.as_bytes()),
            (
                no_rid(if rtx.is_some() {
                    ids.repaired_rid
                } else {
                    ids.rid
                }),
                rid,
            ),
            (
                if self.spec.codec == Codec::Opus {
                    ids.audio_level
                } else {
                    0
                },
                &audio_level,
            ),
        ];
        if ids.transport_cc != 0 {
            *way.transport_number = way.transport_number.wrapping_add(1);
        }
        let sequence = rtx.unwrap_or(sent.sequence);
        let spec = HeaderSpec {
            marker: sent.marker,
            payload_type: if rtx.is_some() {
                self.rtx_payload_type
            } else {
                self.payload_type
            },
            sequence: sequence as u16,
            timestamp: sent.timestamp,
            ssrc: if rtx.is_some() {
                layer.rtx_ssrc
            } else {
                layer.ssrc
            },
            extensions: &extensions,
        };
        // A lost packet is sealed like the others, but nothing of it is left behind: it counts as sent.
        let lost = way.loss.takes_next();
        let mut bytes = 0;
        way.batch.push(way.to, way.source, |out| {
            let start = out.len();
            let header_len = spec.write(out);
            if rtx.is_some() {
                out.extend_from_slice(&(sent.sequence as u16).to_be_bytes());
            }
            sent.payload.write(out);
            way.srtp.seal_rtp(out, start, header_len, sequence);
            bytes = out.len() - start;
            if lost {
                out.truncate(start);
            }
        });
        if rtx.is_none() {
            layer.packets += 1;
            layer.octets = layer.octets.wrapping_add(u32::from(sent.payload.len));
        }
        self.counts.packets += 1;
        self.counts.bytes += bytes as u64;
    }

    fn layer_of(&self, ssrc: u32) -> Option<usize> {
        self.layers.iter().position(|layer| layer.ssrc == ssrc)
    }

    /// Makes the next frame a keyframe; gives false when `ssrc` is none of its layers.
    pub(crate) fn handle_keyframe_request(&mut self, ssrc: u32, now: Instant) -> bool {
        let Some(index) = self.layer_of(ssrc) else {
            return false;
        };
        self.layers[index].keyframe_wanted = true;
        self.counts.keyframe_requests += 1;
        let second = now.saturating_duration_since(self.started).as_secs();
        let before = if self.request_second.0 == second {
            self.request_second.1
        } else {
            0
        };
        self.request_second = (second, before + 1);
        self.counts.busiest_keyframe_requests =
            self.counts.busiest_keyframe_requests.max(before + 1);
        true
    }

    /// Sends again what is asked for and still remembered; gives false when `ssrc` is none of its layers.
    pub(crate) fn handle_nack(
        &mut self,
        ssrc: u32,
        first: u16,
        following: u16,
        way: &mut Way<'_>,
    ) -> bool {
        let Some(index) = self.layer_of(ssrc) else {
            return false;
        };
        for ahead in (0..=16).filter(|&ahead| ahead == 0 || following & 1 << (ahead - 1) != 0) {
            self.counts.nacked += 1;
            let wanted = first.wrapping_add(ahead);
            let layer = &mut self.layers[index];
            let remembered = layer
                .history
                .get(usize::from(wanted) % HISTORY)
                .copied()
                .flatten();
            let Some(sent) = remembered.filter(|sent| sent.sequence as u16 == wanted) else {
                continue;
            };
            if self.rtx_payload_type == 0 {
                continue;
            }
            let rtx = layer.rtx_sequence;
            layer.rtx_sequence += 1;
            self.counts.resent += 1;
            self.write(index, &sent, Some(rtx), 90, way);
        }
        true
    }

    /// Calls `each` with what a sender report of each layer says: SSRC, RTP time now, packets, octets.
    pub(crate) fn sender_reports(&self, now: Instant, mut each: impl FnMut(u32, u32, u32, u32)) {
        let clock_rate = if self.spec.codec == Codec::Opus {
            48_000.0
        } else {
            90_000.0
        };
        let elapsed =
            (now.saturating_duration_since(self.started).as_secs_f64() * clock_rate) as u64 as u32;
        for layer in self.layers.iter().filter(|layer| layer.packets > 0) {
            each(
                layer.ssrc,
                layer.timestamp_offset.wrapping_add(elapsed),
                layer.packets,
                layer.octets,
            );
        }
    }
}

impl Layer {
    fn new(spec: &MediaSpec, number: u32, rate: MediaRate) -> Self {
        // As browsers share a camera over three layers: a third of the rate for half the width.
        let steps_down = spec.layers() - 1 - number;
        let kbps = (rate.video_kbps / 3_u32.pow(steps_down)).max(50);
        let ssrc = spec.ssrc + number;
        Self {
            ssrc,
            rtx_ssrc: spec.ssrc + spec.layers() + number,
            rid: spec.simulcast.then(|| RIDS[number as usize]),
            number: number as u8,
            frame_bytes: kbps * 1000 / 8 / rate.frames_per_second.max(1),
            size: (1280 >> steps_down, 720 >> steps_down),
            // Low enough that losing the first packets leaves no doubt about the roll-over counter.
            sequence: u64::from(ssrc & 0x3fff) + 1,
            rtx_sequence: 1,
            frame: 0,
            timestamp_offset: ssrc.wrapping_mul(2_654_435_761),
            timestamp: 0,
            keyframe_wanted: true,
            last_keyframe: None,
            packets: 0,
            octets: 0,
            history: vec![
                None;
                if spec.codec == Codec::Opus {
                    0
                } else {
                    HISTORY
                }
            ],
        }
    }

    /// Decides on the kind and the lengths of the next frame.
    fn next_frame(&mut self, codec: Codec, now: Instant) -> FramePlan {
        let number = self.frame;
        self.frame = number.wrapping_add(1);
        if codec == Codec::Opus {
            return FramePlan {
                number,
                keyframe: true,
                packets: 1,
                payload_len: AUDIO_PAYLOAD,
            };
        }
        let keyframe = self.take_keyframe(now);
        let bytes = self.frame_bytes * if keyframe { KEYFRAME_FACTOR } else { 1 };
        // At least two for a keyframe: H.264 puts its parameter sets into one of their own.
        let at_least = if keyframe { 2 } else { 1 };
        let packets = ((bytes + PACKET_BYTES / 2) / PACKET_BYTES).max(at_least);
        let payload = (bytes / packets)
            .saturating_sub(OVERHEAD)
            .clamp(STAMP_LEN as u32 + 60, MAX_PAYLOAD as u32);
        FramePlan {
            number,
            keyframe,
            packets: packets as u16,
            payload_len: payload as u16,
        }
    }

    fn take_keyframe(&mut self, now: Instant) -> bool {
        let allowed = self
            .last_keyframe
            .is_none_or(|last| now >= last + KEYFRAME_INTERVAL);
        let keyframe = self.keyframe_wanted && allowed;
        if keyframe {
            self.keyframe_wanted = false;
            self.last_keyframe = Some(now);
        }
        keyframe
    }

    fn remember(&mut self, sent: Sent) {
        if !self.history.is_empty() {
            self.history[usize::from(sent.sequence as u16) % HISTORY] = Some(sent);
        }
    }
}
