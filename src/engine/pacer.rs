//! How fast what is queued for a receiver may leave.
//!
//! A frame arrives here as a burst, and a keyframe is a large one. Sent on in one piece it would
//! fill the queue of a narrow path, with sound waiting in it. So video leaves at two and a half
//! times the target at most; sound never waits. On a path that is wide compared to what it
//! carries, everything passes at once, and no timer is ever set.

use std::time::{Duration, Instant};

use super::bitrate::Bitrate;

/// Video leaves this much faster than the path is believed to carry: fast enough that a keyframe
/// of four times the usual size is gone within two frame intervals, and slow enough that the queue
/// it builds at the bottleneck is gone before the next one.
const PACE: f64 = 2.5;

/// What may leave at once after a pause.
const BURST: Duration = Duration::from_millis(5);

/// At least two packets may, however narrow the path: half a packet cannot be sent.
const MIN_BURST_BYTES: i64 = 2 * 1_200;

/// The shortest time that is waited: timers are not finer, and waking up costs more than a packet.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// The most that may wait, as time at the pace. What is older is of no use to a conversation.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// A budget of bytes that fills with time.
#[derive(Debug, Default)]
pub struct Pacer {
    /// What video may leave with; nothing is paced before the first estimate.
    pace: Option<Bitrate>,
    /// Negative after what did not wait.
    budget_bytes: i64,
    filled_at: Option<Instant>,
}

impl Pacer {
    /// The path is believed to carry this much now; `None` if nothing is known of it.
    pub fn set_target(&mut self, target: Option<Bitrate>) {
        self.pace = target.map(|target| Bitrate::from_f64(target.as_f64() * PACE));
    }

    /// How many bytes of video may leave now. A packet may go while this is not zero, even if it
    /// is larger.
    pub fn allowance(&mut self, now: Instant) -> u64 {
        let Some(pace) = self.pace else {
            return u64::MAX;
        };
        let filled_at = *self.filled_at.get_or_insert(now);
        let most = burst_bytes(pace);
        let gained = pace.bytes_in(now.saturating_duration_since(filled_at));
        // Time that is worth less than a byte is kept for later.
        if gained > 0 || self.budget_bytes > most {
            let gained = i64::try_from(gained).unwrap_or(i64::MAX);
            self.budget_bytes = self.budget_bytes.saturating_add(gained).min(most);
            self.filled_at = Some(now);
        }
        u64::try_from(self.budget_bytes).unwrap_or(0)
    }

    /// This many bytes have left: paced or not, they take up the path.
    pub fn spend(&mut self, bytes: usize) {
        if self.pace.is_some() {
            self.budget_bytes -= bytes as i64;
        }
    }

    /// When video that waits may go on; `None` if nothing has to wait.
    #[must_use]
    pub fn resumes_at(&self, now: Instant) -> Option<Instant> {
        let missing = u64::try_from(1 - self.budget_bytes)
            .ok()
            .filter(|m| *m > 0)?;
        let wait = self.pace?.time_for(missing).max(MIN_WAIT);
        Some(now + wait)
    }

    /// How much of what waits is too much: so many bytes have to be dropped, in whole frames.
    #[must_use]
    pub fn excess(&self, waiting_bytes: u64) -> u64 {
        self.pace.map_or(0, |pace| {
            waiting_bytes.saturating_sub(pace.bytes_in(MAX_WAIT))
        })
    }
}

fn burst_bytes(pace: Bitrate) -> i64 {
    let bytes = i64::try_from(pace.bytes_in(BURST)).unwrap_or(i64::MAX);
    bytes.max(MIN_BURST_BYTES)
}

/// A frame, or what is left of it, that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingFrame {
    /// The slot that it is for.
    pub slot: u16,
    /// What of it still waits.
    pub bytes: u64,
    /// Whether no other frame refers to it: the decoder does not miss it.
    pub is_disposable: bool,
    /// How much it matters, by its slot; the least goes first.
    pub priority: u8,
    /// Whether some of it was sent already: then the rest goes too, or what went was wasted.
    pub has_begun: bool,
}

/// Which frames to drop, so that at least `excess` bytes go; the least missed first.
///
/// Disposable frames go one by one. Of others the slot's whole queue goes, as what follows a gap
/// cannot be decoded: such slots are returned, and need a keyframe.
pub fn drop_frames(frames: &mut Vec<WaitingFrame>, excess: u64) -> Vec<u16> {
    let mut dropped_bytes = 0;
    let mut place = frames.len();
    // The newest first: the oldest is next to be sent.
    while place > 0 && dropped_bytes < excess {
        place -= 1;
        let frame = frames[place];
        if frame.is_disposable && !frame.has_begun {
            dropped_bytes += frame.bytes;
            frames.remove(place);
        }
    }
    let mut broken = Vec::new();
    while dropped_bytes < excess {
        let least = frames
            .iter()
            .filter(|frame| !frame.has_begun)
            .min_by_key(|frame| (frame.priority, std::cmp::Reverse(frame.slot)));
        let Some(slot) = least.map(|frame| frame.slot) else {
            break;
        };
        frames.retain(|frame| {
            let goes = frame.slot == slot && !frame.has_begun;
            dropped_bytes += if goes { frame.bytes } else { 0 };
            !goes
        });
        broken.push(slot);
    }
    broken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::tests::some_moment;

    /// How long a burst of packets of 1200 bytes takes to leave, and how often it had to wait.
    fn leave(target: Bitrate, packets: usize) -> (Duration, usize) {
        let t0 = some_moment();
        let mut now = t0;
        let mut pacer = Pacer::default();
        pacer.set_target(Some(target));
        pacer.allowance(now);
        now += Duration::from_secs(1);
        let start = now;
        let mut waits = 0;
        for _ in 0..packets {
            while pacer.allowance(now) == 0 {
                now = pacer.resumes_at(now).expect("waits for something");
                waits += 1;
            }
            pacer.spend(1_200);
        }
        (now - start, waits)
    }

    #[test]
    fn an_ordinary_frame_on_a_wide_path_never_waits() {
        assert_eq!(leave(Bitrate::kbps(5_000), 5), (Duration::ZERO, 0));
    }

    #[test]
    fn a_keyframe_on_a_narrow_path_is_spread_out() {
        // 30 kB at 2.5 times 1 Mbit/s take 96 ms, less the first burst.
        let (took, _) = leave(Bitrate::kbps(1_000), 25);
        assert!((80..=100).contains(&took.as_millis()), "{took:?}");
    }

    #[test]
    fn nothing_is_paced_while_nothing_is_known() {
        let now = some_moment();
        let mut pacer = Pacer::default();
        pacer.spend(1_000_000);
        assert_eq!(pacer.allowance(now), u64::MAX);
        assert_eq!(pacer.resumes_at(now), None);
        assert_eq!(pacer.excess(u64::MAX), 0);
    }

    #[test]
    fn sound_leaves_at_once_and_video_makes_room_for_it() {
        let now = some_moment();
        let mut pacer = Pacer::default();
        pacer.set_target(Some(Bitrate::kbps(100)));
        pacer.allowance(now);
        pacer.allowance(now + Duration::from_secs(1));
        pacer.spend(2_500);
        let at = pacer.resumes_at(now).expect("waits");
        // Sound is not asked; it only counts.
        pacer.spend(250);
        let later = pacer.resumes_at(now).expect("waits");
        assert_eq!(later - at, Duration::from_millis(8));
    }

    #[test]
    fn a_quarter_of_a_second_may_wait_and_no_more() {
        let mut pacer = Pacer::default();
        pacer.set_target(Some(Bitrate::kbps(320)));
        // 800 kbit/s for 250 ms.
        assert_eq!(pacer.excess(25_000), 0);
        assert_eq!(pacer.excess(30_000), 5_000);
    }

    fn frame(slot: u16, priority: u8, is_disposable: bool) -> WaitingFrame {
        WaitingFrame {
            slot,
            bytes: 1_000,
            is_disposable,
            priority,
            has_begun: false,
        }
    }

    #[test]
    fn frames_that_nobody_misses_go_first_and_the_newest_of_them() {
        let mut frames = vec![frame(0, 1, true), frame(0, 1, false), frame(0, 1, true)];
        assert_eq!(drop_frames(&mut frames, 1_000), Vec::<u16>::new());
        assert_eq!(frames, [frame(0, 1, true), frame(0, 1, false)]);
    }

    #[test]
    fn then_the_least_important_picture_goes_as_a_whole() {
        let mut frames = vec![
            frame(0, 9, false),
            frame(1, 1, false),
            frame(1, 1, false),
            frame(0, 9, false),
        ];
        assert_eq!(drop_frames(&mut frames, 500), [1]);
        assert_eq!(frames, [frame(0, 9, false), frame(0, 9, false)]);
    }

    proptest! {
        #[test]
        fn enough_is_dropped_and_no_frame_is_torn(
            slots in prop::collection::vec((0_u16..4, 0_u8..3, any::<bool>(), 1_u64..5_000), 0..40),
            excess in 0_u64..100_000,
        ) {
            let mut frames: Vec<_> = slots
                .iter()
                .enumerate()
                .map(|(place, &(slot, priority, is_disposable, bytes))| WaitingFrame {
                    slot, bytes, is_disposable, priority, has_begun: place == 0,
                })
                .collect();
            let before = frames.clone();
            let broken = drop_frames(&mut frames, excess);
            let bytes = |frames: &[WaitingFrame]| frames.iter().map(|f| f.bytes).sum::<u64>();
            let dropped = bytes(&before) - bytes(&frames);
            let could = bytes(&before) - before.first().map_or(0, |first| first.bytes);
            prop_assert!(dropped >= excess.min(could));
            prop_assert_eq!(frames.first(), before.first(), "what has begun is finished");
            for slot in broken {
                prop_assert!(frames.iter().all(|f| f.slot != slot || f.has_begun));
            }
        }

        #[test]
        fn no_second_carries_more_than_the_pace(kbps in 50_u64..20_000, packets in 1_usize..300) {
            let target = Bitrate::kbps(kbps);
            let (took, _) = leave(target, packets);
            let pace = target.as_f64() * PACE / 8.0;
            let most = pace * (took + BURST).as_secs_f64() + (MIN_BURST_BYTES + 1_200) as f64;
            prop_assert!((packets * 1_200) as f64 <= most + 1.0);
        }
    }
}
