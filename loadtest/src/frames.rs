//! What a player would make of a video stream: which frames it could decode, and where the picture stood still.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::payload::Seen;

/// Frames that wait for packets or for the frames before them; one second at 30 frames per second.
const MAX_WAITING: usize = 32;

/// A player gives up on a frame after so long, and shows nothing until the next keyframe.
const GIVE_UP: Duration = Duration::from_secs(1);

/// A whole keyframe is shown over a gap after so long, in which what is missing may still come.
const SKIP_TO_KEYFRAME: Duration = Duration::from_millis(200);

/// Frames before the average interval is trusted to tell a freeze.
const WARM_UP_FRAMES: u64 = 5;

/// A gap is a freeze when it is so much longer than the average interval, or three times as long: the
/// definition of `freezeCount` in webrtc-stats.
const FREEZE_MARGIN: Duration = Duration::from_millis(150);

/// Counts over the life of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCounts {
    /// Frames that could be decoded.
    pub(crate) decoded: u64,
    pub(crate) keyframes: u64,
    /// Frames that were incomplete for good, or refer to one that was not decoded.
    pub(crate) undecodable: u64,
    /// Frames that came before the first keyframe: of no use, but no damage either.
    pub(crate) before_keyframe: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen: Duration,
    pub(crate) longest_gap: Duration,
    /// Decoded frames whose PictureID does not follow from the one before.
    pub(crate) picture_id_jumps: u64,
}

/// Puts packets together into frames, and follows which can be decoded.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    waiting: VecDeque<Frame>,
    /// The sequence number that the next frame in order starts with.
    next_sequence: Option<u64>,
    /// Whether the decoder holds what the next frame refers to.
    intact: bool,
    /// The last frames decoded, as (publisher, layer, frame): temporal layers refer further back than one.
    decoded: VecDeque<(u32, u8, u32)>,
    picture_id: Option<u16>,
    last_shown: Option<Instant>,
    average_gap: Duration,
    /// Since when the stream shows nothing for want of a keyframe.
    pub(crate) broken_since: Option<Instant>,
    pub(crate) first_keyframe_at: Option<Instant>,
    pub(crate) counts: FrameCounts,
}

#[derive(Debug)]
struct Frame {
    timestamp: u32,
    first: u64,
    last: u64,
    packets: u64,
    marker: bool,
    starts: bool,
    mixed: bool,
    seen: Seen,
    since: Instant,
}

impl Frame {
    fn is_whole(&self) -> bool {
        self.marker && self.packets == self.last - self.first + 1
    }
}

impl Frames {
    /// Takes in one packet, of which `seen` is known when it was decrypted.
    pub(crate) fn insert(
        &mut self,
        sequence: u64,
        timestamp: u32,
        marker: bool,
        seen: Option<Seen>,
        now: Instant,
    ) {
        if self.next_sequence.is_some_and(|next| sequence < next) {
            return;
        }
        if self.first_keyframe_at.is_none() {
            self.broken_since.get_or_insert(now);
        }
        let found = self
            .waiting
            .iter_mut()
            .rev()
            .find(|frame| frame.timestamp == timestamp);
        if let Some(frame) = found {
            frame.first = frame.first.min(sequence);
            frame.last = frame.last.max(sequence);
            frame.packets += 1;
            frame.marker |= marker;
            if let Some(seen) = seen {
                frame.merge(seen);
            }
        } else {
            let place = self
                .waiting
                .iter()
                .position(|frame| frame.first > sequence)
                .unwrap_or(self.waiting.len());
            let mut frame = Frame {
                timestamp,
                first: sequence,
                last: sequence,
                packets: 1,
                marker,
                starts: false,
                mixed: false,
                seen: Seen::default(),
                since: now,
            };
            if let Some(seen) = seen {
                frame.merge(seen);
            }
            self.waiting.insert(place, frame);
        }
        self.advance(now);
    }

    /// Gives up on what is overdue, and shows what follows.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(front) = self.waiting.front() {
            let in_order = self
                .next_sequence
                .map_or(front.starts, |next| next == front.first);
            let age = now.saturating_duration_since(front.since);
            if front.is_whole() && in_order {
                self.resolve(now);
            } else if let Some(place) = self.keyframe_to_skip_to(age) {
                for _ in 0..place {
                    self.give_up(now);
                }
                self.resolve(now);
            } else if age > GIVE_UP || self.waiting.len() > MAX_WAITING {
                self.give_up(now);
            } else {
                return;
            }
        }
    }

    /// The place of a whole keyframe, when there is no use in waiting for what is before it.
    fn keyframe_to_skip_to(&self, waited: Duration) -> Option<usize> {
        if self.first_keyframe_at.is_some() && waited <= SKIP_TO_KEYFRAME {
            return None;
        }
        self.waiting
            .iter()
            .position(|frame| frame.is_whole() && frame.starts && frame.seen.keyframe)
    }

    fn resolve(&mut self, now: Instant) {
        let Some(frame) = self.waiting.pop_front() else {
            return;
        };
        self.next_sequence = Some(frame.last + 1);
        let refers_to_decoded = frame.seen.stamp.is_none_or(|stamp| {
            // Nothing is known of a frame before it that was not opened.
            self.decoded.is_empty()
                || stamp.is_keyframe()
                || self
                    .decoded
                    .contains(&(stamp.publisher, stamp.layer, stamp.refers_to))
        });
        let decodable = !frame.mixed && (frame.seen.keyframe || (self.intact && refers_to_decoded));
        if !decodable {
            self.count_undecodable(now);
            return;
        }
        if frame.seen.keyframe {
            self.counts.keyframes += 1;
            self.first_keyframe_at.get_or_insert(now);
        }
        self.check_picture_id(&frame.seen);
        if let Some(stamp) = frame.seen.stamp {
            self.decoded
                .push_back((stamp.publisher, stamp.layer, stamp.frame));
            if self.decoded.len() > 8 {
                self.decoded.pop_front();
            }
        } else {
            self.decoded.clear();
        }
        self.intact = true;
        self.broken_since = None;
        self.counts.decoded += 1;
        self.show(now);
    }

    fn give_up(&mut self, now: Instant) {
        if let Some(frame) = self.waiting.pop_front() {
            self.next_sequence = Some(frame.last + 1);
            self.count_undecodable(now);
        }
    }

    fn count_undecodable(&mut self, now: Instant) {
        if self.first_keyframe_at.is_none() {
            self.counts.before_keyframe += 1;
        } else {
            self.counts.undecodable += 1;
        }
        self.intact = false;
        self.broken_since.get_or_insert(now);
    }

    fn check_picture_id(&mut self, seen: &Seen) {
        if let (Some(before), Some(id), false) = (self.picture_id, seen.picture_id, seen.keyframe) {
            // 7 or 15 bits wide: a step of one, also over the wrap of either.
            let step = id.wrapping_sub(before) & 0x7f;
            self.counts.picture_id_jumps += u64::from(step != 1);
        }
        self.picture_id = seen.picture_id;
    }

    fn show(&mut self, now: Instant) {
        let Some(last) = self.last_shown.replace(now) else {
            return;
        };
        let gap = now.saturating_duration_since(last);
        self.counts.longest_gap = self.counts.longest_gap.max(gap);
        if self.counts.decoded > WARM_UP_FRAMES {
            let limit = (3 * self.average_gap).max(self.average_gap + FREEZE_MARGIN);
            if gap > limit {
                self.counts.freezes += 1;
                self.counts.frozen += gap;
                return;
            }
        }
        // Over about the last 30 intervals, as the definition asks.
        self.average_gap = if self.average_gap.is_zero() {
            gap
        } else {
            (29 * self.average_gap + gap) / 30
        };
    }
}

impl Frame {
    fn merge(&mut self, seen: Seen) {
        self.starts |= seen.starts_frame.unwrap_or(seen.keyframe);
        self.seen.keyframe |= seen.keyframe;
        self.seen.picture_id = self.seen.picture_id.or(seen.picture_id);
        match (self.seen.stamp, seen.stamp) {
            (Some(before), Some(now)) => {
                self.mixed |= (before.publisher, before.layer, before.frame)
                    != (now.publisher, now.layer, now.frame);
            }
            (None, stamp) => self.seen.stamp = stamp,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Stamp;

    const FRAME: Duration = Duration::from_millis(40);

    /// Frame `frame`, packet 0 or 1 of 2, as a server that rewrites nothing would pass it on.
    fn packet(frames: &mut Frames, start: Instant, frame: u32, packet: u16, refers_to: u32) {
        let stamp = Stamp {
            sent_ns: 0,
            publisher: 1,
            layer: 0,
            frame,
            refers_to,
            packet,
            packets: 2,
        };
        let seen = Seen {
            starts_frame: Some(packet == 0),
            keyframe: packet == 0 && refers_to == frame,
            picture_id: Some(frame as u16 & 0x7fff),
            stamp: Some(stamp),
        };
        let sequence = 100 + 2 * u64::from(frame) + u64::from(packet);
        frames.insert(
            sequence,
            frame * 3600,
            packet == 1,
            Some(seen),
            start + FRAME * frame,
        );
    }

    fn whole(frames: &mut Frames, start: Instant, frame: u32, refers_to: u32) {
        packet(frames, start, frame, 0, refers_to);
        packet(frames, start, frame, 1, refers_to);
    }

    #[test]
    fn a_sound_stream_plays_from_its_first_keyframe() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        for frame in 0..3 {
            whole(&mut frames, start, frame, frame.wrapping_sub(1));
        }
        whole(&mut frames, start, 3, 3);
        for frame in 4..20 {
            whole(&mut frames, start, frame, frame - 1);
        }
        assert_eq!(
            (
                frames.counts.before_keyframe,
                frames.counts.decoded,
                frames.counts.undecodable
            ),
            (3, 17, 0)
        );
        assert_eq!(
            (frames.counts.freezes, frames.counts.picture_id_jumps),
            (0, 0)
        );
        assert_eq!(frames.first_keyframe_at, Some(start + FRAME * 3));
    }

    #[test]
    fn who_joins_in_the_middle_of_a_frame_waits_for_the_keyframe_only() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        packet(&mut frames, start, 7, 1, 6);
        whole(&mut frames, start, 8, 8);
        assert_eq!(frames.first_keyframe_at, Some(start + FRAME * 8));
        whole(&mut frames, start, 9, 8);
        assert_eq!((frames.counts.decoded, frames.counts.undecodable), (2, 0));
    }

    #[test]
    fn packets_out_of_order_cost_nothing() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        whole(&mut frames, start, 0, 0);
        packet(&mut frames, start, 1, 1, 0);
        whole(&mut frames, start, 2, 1);
        packet(&mut frames, start, 1, 0, 0);
        assert_eq!((frames.counts.decoded, frames.counts.undecodable), (3, 0));
    }

    #[test]
    fn a_lost_packet_stops_the_picture_until_a_keyframe() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        whole(&mut frames, start, 0, 0);
        for frame in 1..10 {
            whole(&mut frames, start, frame, frame - 1);
        }
        packet(&mut frames, start, 10, 0, 9);
        for frame in 11..50 {
            whole(&mut frames, start, frame, frame - 1);
        }
        assert!(frames.broken_since.is_some(), "a keyframe is wanted");
        whole(&mut frames, start, 50, 50);
        assert_eq!((frames.counts.decoded, frames.counts.undecodable), (11, 40));
        assert_eq!(frames.counts.freezes, 1);
        assert_eq!(frames.counts.longest_gap, FRAME * 41);
        assert!(frames.broken_since.is_none());
    }

    #[test]
    fn frames_that_were_not_opened_are_followed_by_their_headers() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        whole(&mut frames, start, 0, 0);
        for frame in 1..10_u32 {
            if frame == 5 {
                whole(&mut frames, start, frame, 4);
            } else {
                let at = start + FRAME * frame;
                let first = 100 + 2 * u64::from(frame);
                frames.insert(first, frame * 3600, false, None, at);
                frames.insert(first + 1, frame * 3600, true, None, at);
            }
        }
        assert_eq!((frames.counts.decoded, frames.counts.undecodable), (10, 0));
    }

    #[test]
    fn a_frame_that_the_server_left_out_without_a_gap_is_noticed() {
        let (mut frames, start) = (Frames::default(), Instant::now());
        whole(&mut frames, start, 0, 0);
        // Numbers go on, but what frame 1 refers to was never sent.
        packet(&mut frames, start, 1, 0, 7);
        packet(&mut frames, start, 1, 1, 7);
        assert_eq!((frames.counts.decoded, frames.counts.undecodable), (1, 1));
    }
}
