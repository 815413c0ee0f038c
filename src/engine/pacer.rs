//! How fast what is queued for a receiver may leave.
//!
//! A frame comes as a burst, and a keyframe is a large one. Sent on in one piece it would fill the
//! queue of a narrow path, with sound waiting in it. So pictures leave at two and a half times the
//! target there, and sound never waits. Where no limit is known there is no pace: everything leaves
//! at once, whole frames in one piece, and no timer is ever set. Where a limit is known and wide
//! compared to what is sent, a frame fits into what may leave at once, and nothing waits either.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::bitrate::Bitrate;

/// Pictures leave this much faster than the path is believed to carry, in percent: fast enough that
/// a keyframe of four times the usual size is gone within two frame intervals, and slow enough that
/// the queue it builds at the bottleneck is gone before the next one.
const PACE_PERCENT: u64 = 250;

/// What may leave at once, as time at the pace.
const BURST: Duration = Duration::from_millis(5);

/// At least two packets may, however narrow the path: half a packet cannot be sent.
const MIN_BURST_BYTES: i64 = 2 * 1_200;

/// The most that may wait, as time at the pace. What is older is of no use to a conversation.
const MOST_WAITING: Duration = Duration::from_millis(250);

/// The most packets that may wait, whatever their size: three seconds of 10 Mbit/s. A picture is cut off
/// where its frame ends, and who never ends one must not fill the memory.
const MOST_PACKETS: usize = 4_096;

/// So much may wait where a picture began lately: its keyframe has to pass in one piece.
const MOST_WAITING_AFTER_START: Duration = Duration::from_secs(1);

/// What counts as lately: as long as a path that broke down takes to be drained, twice if need be.
const AFTER_START: Duration = Duration::from_secs(2);

/// Where a queue stands that has to go, pictures leave hardly faster than the target: whatever is sent
/// beyond it, old layers and retransmissions included, would keep the queue there.
const DRAINING_PERCENT: u64 = 110;

/// What is known of the way that packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// No limit was ever met.
    Open,
    /// Its limit is known; where a burst is being sent to learn more, what waits is as good for it as
    /// anything.
    Limited {
        /// What may be sent on it.
        target: Bitrate,
        /// The rate of that burst.
        probe: Option<Bitrate>,
    },
    /// A queue stands on it and is emptied.
    Draining {
        /// What may be sent on it.
        target: Bitrate,
    },
}

/// Which of two packets that wait leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A retransmission: what it is for has left long ago.
    Again,
    /// A picture.
    Picture,
}

/// Packets that wait, and a budget of bytes that fills with time.
#[derive(Debug)]
pub struct Pacer<T> {
    /// `None` while no limit of the path is known.
    pace: Option<Bitrate>,
    /// Negative after what did not wait.
    budget_bytes: i64,
    filled_at: Option<Instant>,
    again: VecDeque<(T, u32)>,
    pictures: VecDeque<(T, u32)>,
    waiting_bytes: u64,
    next_at: Option<Instant>,
    started_at: Option<Instant>,
}

impl<T> Default for Pacer<T> {
    fn default() -> Self {
        Self {
            pace: None,
            budget_bytes: 0,
            filled_at: None,
            again: VecDeque::new(),
            pictures: VecDeque::new(),
            waiting_bytes: 0,
            next_at: None,
            started_at: None,
        }
    }
}

impl<T> Pacer<T> {
    /// What may be sent on the path now.
    pub fn set_way(&mut self, way: Way) {
        self.pace = match way {
            Way::Open => None,
            Way::Limited { target, probe } => {
                let pace = percent_of(target, PACE_PERCENT);
                Some(probe.map_or(pace, |probe| pace.max(probe)))
            }
            Way::Draining { target } => Some(percent_of(target, DRAINING_PERCENT)),
        };
    }

    /// Whether pictures have to ask before they leave.
    pub fn is_idle(&self) -> bool {
        self.pace.is_none() && self.is_empty()
    }

    /// Whether nothing more may wait.
    pub fn is_full(&self) -> bool {
        self.again.len() + self.pictures.len() >= MOST_PACKETS
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.again.is_empty() && self.pictures.is_empty()
    }

    /// Takes in a packet; gives it back if it may leave at once.
    pub fn admit(&mut self, packet: T, bytes: usize, urgency: Urgency, now: Instant) -> Option<T> {
        if self.is_empty() && self.has_budget(now) {
            return Some(packet);
        }
        self.waiting_bytes += bytes as u64;
        match urgency {
            Urgency::Again => self.again.push_back((packet, bytes as u32)),
            Urgency::Picture => self.pictures.push_back((packet, bytes as u32)),
        }
        if self.next_at.is_none() {
            self.next_at = Some(now + self.wait());
        }
        None
    }

    /// The next packet that has waited for long enough. The caller says by [`Self::spend`] that it
    /// has left.
    pub fn release(&mut self, now: Instant) -> Option<T> {
        if self.is_empty() {
            self.next_at = None;
            return None;
        }
        if !self.has_budget(now) {
            self.next_at = Some(now + self.wait());
            return None;
        }
        let next = self.again.pop_front().or_else(|| self.pictures.pop_front());
        let (packet, bytes) = next?;
        self.waiting_bytes -= u64::from(bytes);
        Some(packet)
    }

    /// This many bytes have left: paced or not, they take up the path.
    pub fn spend(&mut self, bytes: usize) {
        if self.pace.is_some() {
            self.budget_bytes -= bytes as i64;
        }
    }

    /// When [`Self::release`] has something.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_at
    }

    /// Whether it is time for [`Self::release`]; said once.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.next_at.take_if(|at| *at <= now).is_some()
    }

    /// What waits.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Whether so much waits that the picture whose frame has just ended has to be cut off, and to begin
    /// anew with a keyframe: leaving out frames in between would break it all the same.
    pub fn is_overfull(&self, now: Instant) -> bool {
        let Some(pace) = self.pace else {
            return false;
        };
        let since = |at: Instant| now.saturating_duration_since(at);
        let most = match self.started_at {
            Some(at) if since(at) < AFTER_START => MOST_WAITING_AFTER_START,
            _ => MOST_WAITING,
        };
        self.waiting_bytes > pace.bytes_in(most)
    }

    /// The keyframe of a picture that begins has been taken in.
    pub fn note_start(&mut self, now: Instant) {
        self.started_at = Some(now);
    }

    /// Whether a picture waits that is such.
    pub fn holds(&self, is_such: impl Fn(&T) -> bool) -> bool {
        self.pictures.iter().any(|(packet, _)| is_such(packet))
    }

    /// Pictures that are such are not sent any more; how many packets that were.
    pub fn withdraw(&mut self, is_such: impl Fn(&T) -> bool) -> usize {
        let before = self.pictures.len();
        let waiting_bytes = &mut self.waiting_bytes;
        self.pictures.retain(|(packet, bytes)| {
            let stays = !is_such(packet);
            if !stays {
                *waiting_bytes -= u64::from(*bytes);
            }
            stays
        });
        before - self.pictures.len()
    }

    /// Nothing that waits can be sent any more.
    pub fn clear(&mut self) {
        self.again.clear();
        self.pictures.clear();
        self.waiting_bytes = 0;
        self.next_at = None;
    }

    fn has_budget(&mut self, now: Instant) -> bool {
        let Some(pace) = self.pace else {
            return true;
        };
        let filled_at = *self.filled_at.get_or_insert(now);
        let gained = pace.bytes_in(now.saturating_duration_since(filled_at));
        // Time that is worth less than a byte is kept for later.
        if gained > 0 {
            let most = i64::try_from(pace.bytes_in(BURST)).unwrap_or(i64::MAX);
            let gained = i64::try_from(gained).unwrap_or(i64::MAX);
            self.budget_bytes = self.budget_bytes.saturating_add(gained);
            self.budget_bytes = self.budget_bytes.min(most.max(MIN_BURST_BYTES));
            self.filled_at = Some(now);
        }
        self.budget_bytes > 0
    }

    /// How long until there is a budget again. Several packets are let go together: waking up costs
    /// more than sending one.
    fn wait(&self) -> Duration {
        let missing = u64::try_from(1 - self.budget_bytes).unwrap_or(0);
        let us = self.pace.map_or(0, |pace| {
            missing.saturating_mul(8_000_000) / pace.as_bps().max(1) + 1
        });
        Duration::from_micros(us).max(BURST)
    }
}

fn percent_of(rate: Bitrate, percent: u64) -> Bitrate {
    Bitrate::bps(rate.as_bps().saturating_mul(percent) / 100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::tests::some_moment;

    fn limited(target: Bitrate) -> Way {
        Way::Limited {
            target,
            probe: None,
        }
    }

    /// How long a burst of packets of 1200 bytes takes to leave, and how often there was a wait.
    fn leave(target: Bitrate, packets: usize) -> (Duration, usize) {
        let t0 = some_moment();
        let mut pacer = Pacer::default();
        pacer.set_way(limited(target));
        let at_once = pacer.admit((), 1_200, Urgency::Picture, t0);
        assert!(at_once.is_none(), "nothing is saved up before the first");
        pacer.clear();
        let start = t0 + Duration::from_secs(1);
        let mut now = start;
        for _ in 0..packets {
            if pacer.admit((), 1_200, Urgency::Picture, now).is_some() {
                pacer.spend(1_200);
            }
        }
        let mut waits = 0;
        while let Some(at) = pacer.deadline() {
            waits += 1;
            now = at;
            while pacer.release(now).is_some() {
                pacer.spend(1_200);
            }
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
        let (took, waits) = leave(Bitrate::kbps(1_000), 25);
        assert!((75..=100).contains(&took.as_millis()), "{took:?}");
        assert!(waits <= 20, "{waits} wake-ups");
    }

    #[test]
    fn nothing_is_paced_while_no_limit_is_known() {
        let now = some_moment();
        let mut pacer = Pacer::default();
        pacer.spend(1_000_000);
        assert!(pacer.admit((), 1_200, Urgency::Picture, now).is_some());
        assert!(pacer.is_idle());
        assert_eq!(pacer.deadline(), None);
        assert!(!pacer.is_overfull(now));
    }

    #[test]
    fn what_waits_leaves_at_once_when_the_limit_is_gone() {
        let now = some_moment();
        let mut pacer = Pacer::default();
        pacer.set_way(limited(Bitrate::kbps(100)));
        for n in 0..10 {
            assert_eq!(pacer.admit(n, 1_200, Urgency::Picture, now), None);
        }
        pacer.set_way(Way::Open);
        let left: Vec<i32> = std::iter::from_fn(|| pacer.release(now)).collect();
        assert_eq!(left, (0..10).collect::<Vec<_>>(), "in their order");
        assert_eq!(pacer.deadline(), None);
    }

    #[test]
    fn what_is_sent_again_overtakes_what_waits() {
        let now = some_moment();
        let mut pacer = Pacer::default();
        pacer.set_way(limited(Bitrate::kbps(100)));
        pacer.admit("picture", 1_200, Urgency::Picture, now);
        pacer.admit("again", 1_200, Urgency::Again, now);
        assert_eq!(pacer.release(now + Duration::from_secs(1)), Some("again"));
    }

    #[test]
    fn a_quarter_of_a_second_may_wait_and_a_second_while_a_keyframe_passes() {
        let now = some_moment();
        let mut pacer = Pacer::default();
        // A pace of 800 kbit/s: 25 kB in a quarter of a second.
        pacer.set_way(limited(Bitrate::kbps(320)));
        let admit = |pacer: &mut Pacer<()>, packets: usize| {
            for _ in 0..packets {
                pacer.admit((), 1_000, Urgency::Picture, now);
            }
            pacer.is_overfull(now)
        };
        assert!(!admit(&mut pacer, 25));
        assert!(admit(&mut pacer, 1));
        pacer.note_start(now);
        assert!(!admit(&mut pacer, 70));
        assert!(admit(&mut pacer, 5));
        pacer.withdraw(|()| true);
        assert_eq!((pacer.waiting_bytes(), pacer.is_overfull(now)), (0, false));
    }

    #[test]
    fn packets_without_contents_leave_and_are_counted_as_well() {
        let now = some_moment();
        let mut pacer = Pacer::default();
        pacer.set_way(limited(Bitrate::kbps(100)));
        while !pacer.is_full() {
            assert_eq!(pacer.admit((), 0, Urgency::Picture, now), None);
        }
        pacer.set_way(Way::Open);
        let left = std::iter::from_fn(|| pacer.release(now)).count();
        assert_eq!(left, MOST_PACKETS);
        assert!(pacer.is_idle());
    }

    proptest! {
        #[test]
        fn no_second_carries_more_than_the_pace(kbps in 50_u64..20_000, packets in 1_usize..300) {
            let target = Bitrate::kbps(kbps);
            let (took, _) = leave(target, packets);
            let pace = target.as_f64() * 2.5 / 8.0;
            let most = pace * (took + BURST).as_secs_f64() + (MIN_BURST_BYTES + 1_200) as f64;
            prop_assert!((packets * 1_200) as f64 <= most + 1.0);
        }
    }
}
