//! One received stream: what came, what is missing, and what its receiver asks for.

use std::time::{Duration, Instant};

use crate::{
    delay::Delays,
    frames::Frames,
    payload::{Codec, Seen},
    rtcp::ReportBlock,
    rtp,
};

/// Packets back from the highest that are told apart from duplicates; 1.5 s of a 5 Mbit/s stream.
const WINDOW: u64 = 1024;

/// Packets that wait to come again; a longer gap is a new start rather than a loss.
const MAX_MISSING: usize = 256;

/// Packets may overtake each other by so much before one counts as missing.
const REORDER_DELAY: Duration = Duration::from_millis(10);

/// Between two requests for one packet, and how many there are: libwebrtc asks ten times, a round trip apart.
const NACK_INTERVAL: Duration = Duration::from_millis(60);
const NACK_TRIES: u8 = 10;

/// A player without a picture asks for a keyframe so often (libwebrtc's `max_wait_for_keyframe`).
const KEYFRAME_WAIT: Duration = Duration::from_millis(200);

/// One stream that the server sends us.
pub(crate) struct Inbound {
    /// Which m-line it came by.
    pub(crate) media: usize,
    pub(crate) codec: Codec,
    pub(crate) ssrc: u32,
    highest: u64,
    first: Option<u64>,
    window: [u64; (WINDOW / 64) as usize],
    missing: Vec<Missing>,
    /// Video only.
    pub(crate) frames: Option<Box<Frames>>,
    pub(crate) delays: Delays,
    pub(crate) counts: InboundCounts,
    pub(crate) first_at: Option<Instant>,
    pub(crate) last_at: Option<Instant>,
    last_pli: Option<Instant>,
    transit: Option<i64>,
    jitter: f64,
    reported: (u64, u64),
    last_sr: Option<(u32, Instant)>,
}

/// Counts over the life of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InboundCounts {
    /// Packets that came for the first time, sent again or not.
    pub(crate) packets: u64,
    /// Bytes of these on the wire, from the RTP header on.
    pub(crate) bytes: u64,
    /// Of these, packets that came by retransmission.
    pub(crate) recovered: u64,
    pub(crate) duplicates: u64,
    /// Packets that came after a later one, not by retransmission.
    pub(crate) reordered: u64,
    /// Packets that came too late to be told from duplicates.
    pub(crate) too_late: u64,
    /// Packets that a depacketizer would refuse.
    pub(crate) malformed: u64,
    pub(crate) nacked: u64,
    pub(crate) keyframe_requests: u64,
}

struct Missing {
    sequence: u64,
    since: Instant,
    asked: Option<Instant>,
    tries: u8,
}

impl Inbound {
    pub(crate) fn new(media: usize, codec: Codec, ssrc: u32) -> Self {
        Self {
            media,
            codec,
            ssrc,
            highest: 0,
            first: None,
            window: [0; (WINDOW / 64) as usize],
            missing: Vec::new(),
            frames: (codec != Codec::Opus).then(Box::default),
            delays: Delays::default(),
            counts: InboundCounts::default(),
            first_at: None,
            last_at: None,
            last_pli: None,
            transit: None,
            jitter: 0.0,
            reported: (0, 0),
            last_sr: None,
        }
    }

    /// The full number of a packet, as SRTP counts it.
    pub(crate) fn index_of(&self, sequence: u16) -> u64 {
        if self.first.is_none() {
            u64::from(sequence)
        } else {
            rtp::extend(sequence, self.highest)
        }
    }

    /// Whether it is video of which no keyframe was seen yet.
    pub(crate) fn awaits_first_keyframe(&self) -> bool {
        let frames = self.frames.as_ref();
        frames.is_some_and(|frames| frames.first_keyframe_at.is_none())
    }

    /// Takes in an authentic packet; gives false for one that came before.
    pub(crate) fn insert(&mut self, packet: &Arrived) -> bool {
        let index = packet.index;
        if self.first.is_none() {
            self.first = Some(index);
            self.highest = index;
            self.first_at = Some(packet.at);
        } else if index > self.highest {
            self.note_gap(index, packet.at);
            for passed in self.highest + 1..=index.min(self.highest + WINDOW) {
                self.clear_bit(passed);
            }
            self.highest = index;
        } else if index + WINDOW <= self.highest {
            self.counts.too_late += 1;
            return false;
        } else if self.bit(index) {
            self.counts.duplicates += 1;
            return false;
        } else {
            self.missing.retain(|missing| missing.sequence != index);
            if !packet.recovered {
                self.counts.reordered += 1;
            }
            self.first = self.first.map(|first| first.min(index));
        }
        self.window[(index / 64 % (WINDOW / 64)) as usize] |= 1 << (index % 64);
        self.last_at = Some(packet.at);
        self.counts.packets += 1;
        self.counts.bytes += packet.bytes as u64;
        self.counts.recovered += u64::from(packet.recovered);
        if let Some(frames) = &mut self.frames {
            frames.insert(
                index,
                packet.timestamp,
                packet.marker,
                packet.seen,
                packet.at,
            );
        }
        true
    }

    fn bit(&self, index: u64) -> bool {
        self.window[(index / 64 % (WINDOW / 64)) as usize] & 1 << (index % 64) != 0
    }

    fn clear_bit(&mut self, index: u64) {
        self.window[(index / 64 % (WINDOW / 64)) as usize] &= !(1 << (index % 64));
    }

    fn note_gap(&mut self, index: u64, now: Instant) {
        if self.codec == Codec::Opus {
            return;
        }
        for sequence in self.highest + 1..index {
            if self.missing.len() == MAX_MISSING {
                return;
            }
            self.missing.push(Missing {
                sequence,
                since: now,
                asked: None,
                tries: 0,
            });
        }
    }

    /// Interarrival jitter (RFC 3550 §6.4.1), in units of the RTP clock.
    pub(crate) fn note_transit(&mut self, timestamp: u32, arrival_ns: u64) {
        let rate = if self.codec == Codec::Opus {
            48_000
        } else {
            90_000
        };
        let arrival = (u128::from(arrival_ns) * rate / 1_000_000_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit.replace(transit) {
            let step = f64::from((transit - before) as i32).abs();
            self.jitter += (step - self.jitter) / 16.0;
        }
    }

    pub(crate) fn note_sender_report(&mut self, middle_ntp: u32, now: Instant) {
        self.last_sr = Some((middle_ntp, now));
    }

    /// Packets that should have come, from the first to the highest.
    pub(crate) fn expected(&self) -> u64 {
        self.first.map_or(0, |first| self.highest - first + 1)
    }

    /// Packets that have not come in the end.
    pub(crate) fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.counts.packets)
    }

    /// Numbers to be asked for now.
    pub(crate) fn due_nacks(&mut self, now: Instant, due: &mut Vec<u16>) {
        due.clear();
        let oldest = self.highest.saturating_sub(WINDOW - 1);
        self.missing
            .retain(|missing| missing.tries < NACK_TRIES && missing.sequence >= oldest);
        for missing in &mut self.missing {
            let ready = match missing.asked {
                None => now >= missing.since + REORDER_DELAY,
                Some(asked) => now >= asked + NACK_INTERVAL,
            };
            if ready {
                missing.asked = Some(now);
                missing.tries += 1;
                due.push(missing.sequence as u16);
            }
        }
        self.counts.nacked += due.len() as u64;
    }

    /// Whether a keyframe is to be asked for now: at once when a stream begins with another frame, and again
    /// and again while the picture stands still.
    pub(crate) fn due_keyframe_request(&mut self, now: Instant) -> bool {
        let Some(since) = self.frames.as_ref().and_then(|frames| frames.broken_since) else {
            return false;
        };
        let due = match self.last_pli {
            Some(last) => now >= last.max(since) + KEYFRAME_WAIT,
            None => self.begins_without_keyframe() || now >= since + KEYFRAME_WAIT,
        };
        if due {
            self.last_pli = Some(now);
            self.counts.keyframe_requests += 1;
        }
        due
    }

    fn begins_without_keyframe(&self) -> bool {
        let frames = self.frames.as_ref();
        self.last_pli.is_none() && frames.is_some_and(|frames| frames.counts.before_keyframe > 0)
    }

    /// Whether it has something to ask for sooner than with its next report.
    pub(crate) fn is_urgent(&self) -> bool {
        !self.missing.is_empty() || self.begins_without_keyframe()
    }

    /// What a receiver report says of it; `None` before the first packet.
    pub(crate) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        self.first?;
        let (expected, received) = (self.expected(), self.counts.packets);
        let (new_expected, new_received) = (
            expected - self.reported.0.min(expected),
            received - self.reported.1,
        );
        self.reported = (expected, received);
        let fraction = (new_expected.saturating_sub(new_received) << 8)
            .checked_div(new_expected)
            .unwrap_or(0);
        let (last_sr, delay) = self.last_sr.map_or((0, 0), |(ntp, at)| {
            (
                ntp,
                (now.saturating_duration_since(at).as_secs_f64() * 65_536.0) as u32,
            )
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: (expected as i64 - received as i64) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter as u32,
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}

/// One packet that came, as far as a stream wants to know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) bytes: usize,
    pub(crate) recovered: bool,
    /// What is in it, when it was decrypted.
    pub(crate) seen: Option<Seen>,
    pub(crate) at: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(index: u64, at: Instant) -> Arrived {
        Arrived {
            index,
            timestamp: 0,
            marker: false,
            bytes: 100,
            recovered: false,
            seen: None,
            at,
        }
    }

    #[test]
    fn a_lost_packet_is_asked_for_until_it_comes() {
        let start = Instant::now();
        let mut inbound = Inbound::new(0, Codec::Vp8, 1);
        for index in [65_530, 65_531, 65_535] {
            assert!(inbound.insert(&arrived(index, start)));
        }
        assert_eq!(inbound.index_of(3), 65_539, "after the wrap");
        let mut due = Vec::new();
        inbound.due_nacks(start, &mut due);
        assert!(due.is_empty(), "it may only be late");
        inbound.due_nacks(start + REORDER_DELAY, &mut due);
        assert_eq!(due, [65_532, 65_533, 65_534]);
        inbound.due_nacks(start + REORDER_DELAY, &mut due);
        assert!(due.is_empty(), "not twice at once");

        assert!(inbound.insert(&Arrived {
            recovered: true,
            ..arrived(65_533, start)
        }));
        assert!(inbound.insert(&arrived(65_534, start)));
        assert!(!inbound.insert(&arrived(65_534, start)), "a duplicate");
        inbound.due_nacks(start + Duration::from_secs(1), &mut due);
        assert_eq!(due, [65_532]);
        let counts = inbound.counts;
        assert_eq!(
            (
                counts.packets,
                counts.recovered,
                counts.reordered,
                counts.duplicates
            ),
            (5, 1, 1, 1)
        );
        assert_eq!((inbound.expected(), inbound.lost()), (6, 1));
        let block = inbound.report(start).expect("packets came");
        assert_eq!((block.cumulative_lost, block.fraction_lost), (1, 42));
    }

    #[test]
    fn a_long_gap_does_not_hide_duplicates_or_ask_without_end() {
        let start = Instant::now();
        let mut inbound = Inbound::new(0, Codec::Vp8, 1);
        inbound.insert(&arrived(5, start));
        inbound.insert(&arrived(6 + 3 * WINDOW, start));
        assert!(
            !inbound.bit(5 + 3 * WINDOW),
            "it has the place of the first, but never came"
        );
        assert!(inbound.missing.len() <= MAX_MISSING);
        assert!(!inbound.insert(&arrived(6, start)), "too old to tell");
        assert_eq!(inbound.counts.too_late, 1);
    }
}
