//! What somebody sees in one slot: packets put in order, frames put together, and the marks of
//! everything that a viewer would notice.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use plenum::engine::event::Kind;
use str0m::rtp::RtpPacket;

use super::media::{Stamp, vp8_numbers};

/// How long a missing packet is waited for before its frame is given up: a jitter buffer that
/// has grown to a bad path's needs.
const PATIENCE: Duration = Duration::from_millis(500);

/// As many frames as a decoder keeps: the farthest reference is four back.
const MAX_REFERENCES: usize = 4;

/// Shortest time between two keyframe requests, as browsers keep.
const KEYFRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(300);

/// A frame that could be decoded; or, of audio, a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) at: Instant,
    pub(crate) source: u32,
    pub(crate) layer: u8,
    pub(crate) frame: u32,
    /// When it was captured, since the world began.
    pub(crate) captured: Duration,
    /// How long after its capture its sender report says it is to be played, in milliseconds;
    /// the absolute value is arbitrary, the difference between two slots is how far lips are off.
    pub(crate) playout_ms: Option<f64>,
}

#[derive(Debug)]
struct Waiting {
    at: Instant,
    stamp: Stamp,
    timestamp: u32,
    marker: bool,
    numbers: Option<(u16, u8, u8)>,
}

#[derive(Debug)]
struct Partial {
    stamp: Stamp,
    got: u8,
    timestamp: u32,
    numbers: Option<(u16, u8, u8)>,
}

/// One slot as its viewer sees it.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) mid: String,
    pub(crate) kind: Kind,
    pub(crate) packets: u64,
    /// Packets that say that they hold a voice (RFC 6464).
    pub(crate) voices: u64,
    /// Packets that hold another one beside their own (RFC 2198).
    pub(crate) redundant: u64,
    /// Packets that never came.
    pub(crate) lost: u64,
    /// Frames of which a packet is missing.
    pub(crate) torn: u64,
    /// Whole frames whose reference is missing.
    pub(crate) undecodable: u64,
    /// Frames whose picture numbers do not go on from the frame before.
    pub(crate) number_jumps: u64,
    pub(crate) shown: Vec<Shown>,
    pub(crate) sender_reports: u64,
    waiting: BTreeMap<u64, Waiting>,
    next: Option<u64>,
    partial: Option<Partial>,
    /// The last frames that were decoded, while others may refer to them.
    references: VecDeque<Stamp>,
    last_timestamp: Option<u32>,
    last_numbers: Option<(u16, u8, u8)>,
    report: Option<(i128, u32)>,
    wants_keyframe: bool,
    /// It asks for keyframes all the time, whatever it shows.
    pub(crate) is_impatient: bool,
    asked_at: Option<Instant>,
}

impl Receiver {
    pub(crate) fn new(mid: String, kind: Kind) -> Self {
        Self {
            mid,
            kind,
            packets: 0,
            voices: 0,
            redundant: 0,
            lost: 0,
            torn: 0,
            undecodable: 0,
            number_jumps: 0,
            shown: Vec::new(),
            sender_reports: 0,
            waiting: BTreeMap::new(),
            next: None,
            partial: None,
            references: VecDeque::new(),
            last_timestamp: None,
            last_numbers: None,
            report: None,
            wants_keyframe: false,
            is_impatient: false,
            asked_at: None,
        }
    }

    /// A sender report says which wall clock time (in nanoseconds) an RTP timestamp stands for.
    pub(crate) fn reported(&mut self, ntp_ns: i128, rtp: u32) {
        self.sender_reports += 1;
        self.report = Some((ntp_ns, rtp));
    }

    pub(crate) fn receive(&mut self, packet: &RtpPacket, stamp: Stamp, now: Instant) {
        self.packets += 1;
        self.redundant += u64::from(self.kind == Kind::Audio && packet.payload[0] & 0x80 != 0);
        self.voices += u64::from(packet.header.ext_vals.voice_activity == Some(true));
        let seq = *packet.seq_no;
        let next = match self.next {
            Some(next) => next,
            // Video begins with a keyframe; what came before its first packet is of no use.
            None if self.kind == Kind::Audio || stamp.keyframe && stamp.index == 0 => seq,
            None => return,
        };
        self.next = Some(next);
        if seq < next {
            return;
        }
        let waiting = Waiting {
            at: now,
            stamp,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            numbers: vp8_numbers(&packet.payload),
        };
        let before = self.waiting.insert(seq, waiting);
        assert!(
            before.is_none(),
            "slot {}: sequence number {seq} came twice",
            self.mid
        );
        self.advance(now);
    }

    /// Takes everything that is in order, and gives up on what is overdue.
    fn advance(&mut self, now: Instant) {
        while let (Some(next), Some((&seq, first))) = (self.next, self.waiting.first_key_value()) {
            if seq > next {
                let seq = match self.whole_keyframe() {
                    Some(keyframe) => keyframe,
                    None if now - first.at < PATIENCE => return,
                    None => seq,
                };
                self.lost += (next..seq)
                    .filter(|seq| !self.waiting.contains_key(seq))
                    .count() as u64;
                self.waiting = self.waiting.split_off(&seq);
                if let Some(partial) = self.partial.take() {
                    self.torn += u64::from(partial.stamp.count > 0);
                }
                self.references.clear();
                self.last_numbers = None;
            }
            let (seq, waiting) = self.waiting.pop_first().expect("it was just looked at");
            self.next = Some(seq + 1);
            match self.kind {
                Kind::Audio => self.heard(&waiting, now),
                Kind::Video => self.saw(&waiting, now),
            }
        }
    }

    /// Where the newest keyframe begins that is complete: with it, what lacks before is superfluous.
    fn whole_keyframe(&self) -> Option<u64> {
        let is_start =
            |(_, packet): &(&u64, &Waiting)| packet.stamp.keyframe && packet.stamp.index == 0;
        let starts = self.waiting.iter().rev().filter(is_start);
        starts
            .map(|(start, packet)| (*start, *start + u64::from(packet.stamp.count)))
            .find(|(start, end)| (*start..*end).all(|seq| self.waiting.contains_key(&seq)))
            .map(|(start, _)| start)
    }

    fn heard(&mut self, packet: &Waiting, now: Instant) {
        self.keep_time(packet.timestamp);
        self.show(packet.stamp, packet.timestamp, now);
    }

    fn saw(&mut self, packet: &Waiting, now: Instant) {
        let stamp = packet.stamp;
        let goes_on = self.partial.as_ref().is_some_and(|partial| {
            let was = partial.stamp;
            (was.source, was.layer, was.frame, partial.got)
                == (stamp.source, stamp.layer, stamp.frame, stamp.index)
        });
        if goes_on {
            if let Some(partial) = &mut self.partial {
                assert_eq!(
                    partial.timestamp, packet.timestamp,
                    "a frame has one timestamp"
                );
                assert_eq!(
                    partial.numbers, packet.numbers,
                    "a frame has one picture id"
                );
                partial.got += 1;
            }
        } else {
            if self.partial.take().is_some() {
                self.torn += 1;
                self.references.clear();
            }
            if stamp.index != 0 {
                self.torn += 1;
                self.references.clear();
                return;
            }
            self.keep_time(packet.timestamp);
            self.partial = Some(Partial {
                stamp,
                got: 1,
                timestamp: packet.timestamp,
                numbers: packet.numbers,
            });
        }
        let is_complete = self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.got == stamp.count);
        assert_eq!(is_complete, packet.marker, "the marker ends a frame");
        if is_complete && let Some(partial) = self.partial.take() {
            self.complete(&partial, now);
        }
    }

    fn complete(&mut self, frame: &Partial, now: Instant) {
        let stamp = frame.stamp;
        let follows = self.references.iter().any(|was| {
            let next = was.frame + u32::from(stamp.back);
            (was.source, was.layer, next) == (stamp.source, stamp.layer, stamp.frame)
        });
        if !stamp.keyframe && !follows {
            self.undecodable += 1;
            self.references.clear();
            self.wants_keyframe = true;
            return;
        }
        if let (Some(was), Some(is)) = (self.last_numbers, frame.numbers) {
            let base = u8::from(is.2 == 0);
            let expected = ((was.0 + 1) & 0x7fff, was.1.wrapping_add(base));
            self.number_jumps += u64::from((is.0, is.1) != expected);
        }
        self.last_numbers = frame.numbers;
        self.wants_keyframe = false;
        if stamp.keyframe {
            self.references.clear();
        }
        if self.references.len() == MAX_REFERENCES {
            self.references.pop_front();
        }
        self.references.push_back(stamp);
        self.show(stamp, frame.timestamp, now);
    }

    /// A stream's time never stands still or runs backwards, whatever it shows.
    fn keep_time(&mut self, timestamp: u32) {
        if let Some(last) = self.last_timestamp.replace(timestamp) {
            let step = timestamp.wrapping_sub(last) as i32;
            assert!(
                step > 0,
                "slot {}: the timestamp went by {step} to {timestamp}",
                self.mid
            );
        }
    }

    fn show(&mut self, stamp: Stamp, timestamp: u32, now: Instant) {
        let rate = match self.kind {
            Kind::Audio => 48_000.0,
            Kind::Video => 90_000.0,
        };
        let playout_ms = self.report.map(|(ntp_ns, rtp)| {
            let ahead = f64::from(timestamp.wrapping_sub(rtp) as i32) / rate * 1_000.0;
            let since = ntp_ns - stamp.captured.as_nanos() as i128;
            since as f64 / 1e6 + ahead
        });
        self.shown.push(Shown {
            at: now,
            source: stamp.source,
            layer: stamp.layer,
            frame: stamp.frame,
            captured: stamp.captured,
            playout_ms,
        });
    }

    /// Whether it should ask for a keyframe now.
    pub(crate) fn asks_for_keyframe(&mut self, now: Instant) -> bool {
        let is_time = self
            .asked_at
            .is_none_or(|at| now - at >= KEYFRAME_REQUEST_INTERVAL);
        let asks = self.wants_keyframe && is_time;
        if asks {
            self.asked_at = Some(now);
        }
        asks
    }

    /// What was shown from a moment on.
    pub(crate) fn since(&self, at: Instant) -> &[Shown] {
        &self.shown[self.shown.partition_point(|shown| shown.at < at)..]
    }

    /// The source on show, if anything came lately.
    pub(crate) fn source(&self) -> Option<u32> {
        self.shown.last().map(|shown| shown.source)
    }

    /// When a source was first shown from a moment on.
    pub(crate) fn first_of(&self, source: u32, from: Instant) -> Option<Instant> {
        self.since(from)
            .iter()
            .find(|shown| shown.source == source)
            .map(|shown| shown.at)
    }

    /// The longest time between two frames from a moment on, until `now`.
    pub(crate) fn longest_freeze(&self, from: Instant, now: Instant) -> Duration {
        let shown = self.since(from);
        let starts = std::iter::once(from).chain(shown.iter().map(|shown| shown.at));
        let ends = shown
            .iter()
            .map(|shown| shown.at)
            .chain(std::iter::once(now));
        starts
            .zip(ends)
            .map(|(start, end)| end - start)
            .max()
            .unwrap_or_default()
    }

    /// Whether a viewer noticed nothing at all: no loss, no torn or undecodable frame, no seam.
    pub(crate) fn assert_flawless(&self) {
        let flaws = (self.lost, self.torn, self.undecodable, self.number_jumps);
        assert_eq!(
            flaws,
            (0, 0, 0, 0),
            "slot {}: lost, torn, undecodable, jumps",
            self.mid
        );
        assert!(!self.shown.is_empty(), "slot {} showed nothing", self.mid);
    }
}
