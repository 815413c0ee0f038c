//! What delays tell of queues.
//!
//! Clocks of sender and receiver differ, so only differences mean something: how much longer a
//! packet was on its way than the quickest one lately. That surplus is the *queue*. Two things
//! are looked for in it.
//!
//! * A *standing* queue: for a quarter of a second not one packet found the path free. Bursts
//!   and jitter do not do that, as something always slips through between them.
//! * A *rising* queue: packet after packet waits longer than the one before, by more than our own
//!   burst explains. So does a path that lost its capacity, and a few packets are enough to see.
//!   A machine that stood still also makes packets wait, but lets go of them in bunches; what
//!   comes out of a narrow path comes one by one.

/// Over how long the quickest packet is remembered: two clocks that differ by 50 parts in a
/// million drift apart by less than 2 ms meanwhile.
const BASE_BUCKET_US: i64 = 6_000_000;
const BASE_BUCKETS: usize = 6;

/// How long a queue has to stand to be one. Two feedbacks at least, and longer than most jitter.
const STANDING_US: i64 = 250_000;

/// The smallest queue that is acted upon: several times the resolution of arrival times, and a
/// tenth of what a listener notices.
const MIN_THRESHOLD_US: i64 = 25_000;

/// The highest threshold: what never falls below this is another's queue for good.
const MAX_THRESHOLD_US: i64 = 400_000;

/// What of a raised threshold is left after a second in which it was not needed.
const THRESHOLD_DECAY: f64 = 0.92;

/// Packets in a row that must each have waited longer than the one before.
const RISING_PACKETS: u32 = 4;

/// How much the last of them must have waited, beyond what explains itself.
const RISING_US: i64 = 40_000;

/// A rise of so many times the usual difference between two packets is no chance.
const RISING_SPREADS: i64 = 4;

/// By how much a packet may have waited less than the one before without ending the rise.
const RISING_TOLERANCE_US: i64 = 1_000;

/// A path that delivers this share of what is sent, or less, is overloaded.
const RISING_DELIVERY: f64 = 0.85;

/// A packet that takes less than this share of the time that it would take on the path as it is
/// believed to be did not come out of one that has become narrower.
const BUNCHED: f64 = 0.5;

/// The most of a rise that may have arrived in bunches, in percent of its bytes.
const MOST_BUNCHED_PERCENT: u32 = 40;

/// The most of a rise that one single packet may have brought about: a share of one in so many.
const STEEPEST: i64 = 2;

/// Packets that must have waited at least a third of that, so that one straggler is no rise.
const RISING_WITNESSES: u32 = 3;

/// What of the packets' own differences one more of them contributes.
const SPREAD_SHIFT: u32 = 5;

/// The same of the differences between feedbacks; what one can contribute at most; and how many
/// times the usual difference a queue must exceed the threshold. A queue of ours changes by a few
/// milliseconds from feedback to feedback, jitter by any amount.
const NOISE_FEEDBACKS: i64 = 16;
const MOST_NOISE_US: i64 = 60_000;
const NOISE_MARGIN: i64 = 3;
const FIRST_NOISE_US: i64 = 3_000;

/// Differences above this are jitter, and not the grain of frames and feedback.
const NOISY_US: i64 = 14_000;

/// A queue below this is none: about what frames and the resolution of feedback make up.
const EMPTY_US: i64 = 10_000;

/// A packet's way, in microseconds of two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub(super) sent_us: i64,
    pub(super) arrived_us: i64,
    pub(super) bytes: u32,
    /// What it waited behind our own burst, as far as is known.
    pub(super) own_queue_us: i64,
    /// How long it takes by itself on a path of just the estimate.
    pub(super) takes_us: i64,
}

/// A path that has lost its capacity, as seen from a few packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rising {
    /// What it delivered while the queue grew.
    pub(super) bps: f64,
    /// When the queue began to grow, by the receiver's clock.
    pub(super) since_us: i64,
}

/// The delays of one receiver.
#[derive(Debug)]
pub(super) struct Delay {
    base: [i64; BASE_BUCKETS],
    base_bucket: i64,
    /// The shortest queue of each of the newest feedbacks, with when it ended.
    lows: [(i64, i64); LOWS],
    low: Option<i64>,
    run: Option<Run>,
    rising: Option<Rising>,
    spread_us: i64,
    /// By how much the shortest queues of two feedbacks differ as a rule.
    noise_us: i64,
    /// Feedbacks that this was learned from, up to [`NOISE_FEEDBACKS`].
    heard: i64,
    threshold_us: i64,
}

/// Feedbacks that may lie within [`STANDING_US`], at one every 25 ms.
const LOWS: usize = 10;

const NOTHING: i64 = i64::MAX;

#[derive(Clone, Copy, Debug)]
struct Run {
    first: Passage,
    last: Passage,
    last_queue_us: i64,
    packets: u32,
    witnesses: u32,
    /// The queue that it began with.
    first_queue_us: i64,
    /// The most by which one packet raised the queue.
    steepest_us: i64,
    bytes: u32,
    /// Of these, what arrived closer together than a narrow path lets it.
    bunched_bytes: u32,
    /// When each of the newest packets arrived and how large it was, the newest first.
    newest: [(i64, u32); RISING_PACKETS as usize],
}

impl Default for Delay {
    fn default() -> Self {
        Self {
            base: [NOTHING; BASE_BUCKETS],
            base_bucket: 0,
            lows: [(i64::MIN, 0); LOWS],
            low: None,
            run: None,
            rising: None,
            spread_us: 0,
            noise_us: FIRST_NOISE_US,
            heard: 0,
            threshold_us: MIN_THRESHOLD_US,
        }
    }
}

impl Delay {
    /// Takes in a packet that arrived, in the order of sending.
    pub(super) fn passed(&mut self, packet: Passage) {
        let way = packet.arrived_us - packet.sent_us;
        self.note_base(way, packet.sent_us);
        let queue = way - self.base_us();
        self.low = Some(self.low.map_or(queue, |low| low.min(queue)));

        let Some(run) = self.run.as_mut() else {
            self.run = Some(Run::new(packet, queue));
            return;
        };
        let own_change = packet.own_queue_us - run.last.own_queue_us;
        let surprise = (queue - run.last_queue_us - own_change).abs();
        let is_still_rising =
            queue >= run.last_queue_us - RISING_TOLERANCE_US && queue > self.spread_us / 2;
        if is_still_rising && packet.sent_us >= run.last.sent_us {
            let limit = (RISING_US + NOISE_MARGIN * self.noise_us)
                .max(self.spread_us * RISING_SPREADS)
                .max(self.threshold_us);
            let unexplained = queue - packet.own_queue_us;
            run.extend(packet, queue, unexplained > limit / 3);
            if unexplained > limit
                && let Some(rising) = run.overload()
            {
                self.rising = Some(rising);
            }
        } else {
            // Packets that overtake others rise and fall within one feedback.
            *run = Run::new(packet, queue);
            self.rising = None;
        }
        self.spread_us += (surprise.min(RISING_US * 2) - self.spread_us) >> SPREAD_SHIFT;
    }

    /// A feedback has been read; `dt_secs` since the last one.
    pub(super) fn feedback_ended(&mut self, arrived_us: i64, dt_secs: f64, is_draining: bool) {
        if let Some(low) = self.low.take() {
            // A queue that drains changes quickly, by our doing.
            if self.lows[0].0 != i64::MIN && !is_draining {
                let change = (low - self.lows[0].1).abs().min(MOST_NOISE_US);
                // The first few count more: a path should be known before it is judged.
                self.heard = (self.heard + 1).min(NOISE_FEEDBACKS);
                self.noise_us += (change - self.noise_us) / self.heard.max(NOISE_FEEDBACKS / 4);
            }
            self.lows.rotate_right(1);
            self.lows[0] = (arrived_us, low);
        }
        let calm = self
            .standing_us()
            .is_none_or(|low| low * 2 < self.threshold_us);
        if calm {
            let kept = THRESHOLD_DECAY.powf(dt_secs);
            let surplus = (self.threshold_us - MIN_THRESHOLD_US) as f64 * kept;
            self.threshold_us = MIN_THRESHOLD_US + surplus as i64;
        }
    }

    /// The shortest queue of the newest feedback.
    pub(super) fn queue_us(&self) -> i64 {
        match self.lows[0] {
            (i64::MIN, _) => 0,
            (_, low) => low,
        }
    }

    /// The queue that did not go away for [`STANDING_US`]; `None` before so much is known.
    pub(super) fn standing_us(&self) -> Option<i64> {
        let (newest, _) = self.lows[0];
        let within = |at: i64| at != i64::MIN && newest - at <= STANDING_US;
        let oldest = self.lows.iter().rfind(|(at, _)| within(*at))?;
        // Two feedbacks a tenth of a second apart, at the least.
        if newest - oldest.0 < STANDING_US * 2 / 5 {
            return None;
        }
        let lows = self.lows.iter().filter(|(at, _)| within(*at));
        lows.map(|(_, low)| *low).min()
    }

    /// Whether a queue stands that is more than jitter.
    pub(super) fn is_standing(&self) -> bool {
        self.standing_us()
            .is_some_and(|us| us > self.threshold_us())
    }

    /// The overload that was seen since this was last asked.
    pub(super) fn take_rising(&mut self) -> Option<Rising> {
        self.run = self.run.filter(|_| self.rising.is_none());
        self.rising.take()
    }

    /// The queue above which a path counts as overloaded.
    pub(super) fn threshold_us(&self) -> i64 {
        self.threshold_us
            .max(MIN_THRESHOLD_US + NOISE_MARGIN * (self.noise_us - FIRST_NOISE_US))
    }

    /// Whether growth pauses, to see whether a queue goes away. In noise a little one says
    /// nothing, and waiting for silence would be waiting for ever.
    pub(super) fn is_holding(&self) -> bool {
        let limit = if self.noise_us > NOISY_US {
            self.threshold_us()
        } else {
            self.empty_us()
        };
        let (at, before) = self.lows[1];
        self.queue_us() > limit && (at == i64::MIN || before > limit)
    }

    /// The queue below which there is none.
    pub(super) fn empty_us(&self) -> i64 {
        EMPTY_US.max(self.threshold_us() * 2 / 5)
    }

    /// By how much the queues of two feedbacks differ as a rule.
    pub(super) fn noise_us(&self) -> i64 {
        self.noise_us
    }

    /// A queue of this size was not ours: it does not obey, or went by itself.
    pub(super) fn tolerate(&mut self, queue_us: i64) {
        self.threshold_us = self.threshold_us.max(queue_us.min(MAX_THRESHOLD_US));
    }

    /// The path is another one: its delays are to be learned anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What passed before says nothing of what comes (feedback had stopped), but for the base.
    pub(super) fn interrupt(&mut self) {
        self.lows = [(i64::MIN, 0); LOWS];
        self.low = None;
        self.run = None;
        self.rising = None;
    }

    fn base_us(&self) -> i64 {
        self.base.iter().copied().min().unwrap_or(0)
    }

    fn note_base(&mut self, way_us: i64, sent_us: i64) {
        let bucket = sent_us.div_euclid(BASE_BUCKET_US);
        if bucket > self.base_bucket {
            let gone = (bucket - self.base_bucket).min(BASE_BUCKETS as i64);
            for n in 1..=gone {
                self.base[(bucket - gone + n).rem_euclid(BASE_BUCKETS as i64) as usize] = NOTHING;
            }
            self.base_bucket = bucket;
        }
        let low = &mut self.base[bucket.rem_euclid(BASE_BUCKETS as i64) as usize];
        *low = way_us.min(*low);
    }
}

impl Run {
    fn new(first: Passage, queue_us: i64) -> Self {
        Self {
            first,
            last: first,
            last_queue_us: queue_us,
            packets: 1,
            witnesses: 0,
            first_queue_us: queue_us,
            steepest_us: 0,
            bytes: 0,
            bunched_bytes: 0,
            newest: [(first.arrived_us, first.bytes); RISING_PACKETS as usize],
        }
    }

    fn extend(&mut self, packet: Passage, queue_us: i64, is_witness: bool) {
        let gap_us = packet.arrived_us - self.last.arrived_us;
        if (gap_us as f64) < BUNCHED * packet.takes_us as f64 {
            self.bunched_bytes += packet.bytes;
        }
        self.bytes += packet.bytes;
        self.steepest_us = self.steepest_us.max(queue_us - self.last_queue_us);
        self.last = packet;
        self.last_queue_us = queue_us.max(self.last_queue_us);
        self.packets += 1;
        self.witnesses += u32::from(is_witness);
        self.newest.rotate_right(1);
        self.newest[0] = (packet.arrived_us, packet.bytes);
    }

    /// What the path delivered, if that was clearly less than it was given.
    fn overload(&self) -> Option<Rising> {
        let sent_for = self.last.sent_us - self.first.sent_us;
        let arrived_for = self.last.arrived_us - self.first.arrived_us;
        if self.packets < RISING_PACKETS || self.witnesses < RISING_WITNESSES || arrived_for <= 0 {
            return None;
        }
        let is_stall = self.bunched_bytes * 100 > self.bytes * MOST_BUNCHED_PERCENT
            || self.steepest_us * STEEPEST > self.last_queue_us - self.first_queue_us;
        let is_overloaded = (sent_for as f64) < RISING_DELIVERY * arrived_for as f64 && !is_stall;
        // The rise may have begun gently: what the path is worth now, the newest packets tell.
        let (before, newest) = (self.newest[self.newest.len() - 1].0, self.newest[0].0);
        let bytes: u32 = self.newest[..self.newest.len() - 1]
            .iter()
            .map(|(_, bytes)| bytes)
            .sum();
        is_overloaded.then(|| Rising {
            bps: f64::from(bytes) * 8e6 / (newest - before).max(1) as f64,
            since_us: before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet of 1200 bytes every 5 ms over a path, with a feedback every 50 ms.
    fn pass(delay: &mut Delay, packets: i64, from_us: i64, queue_us: impl Fn(i64) -> i64) {
        for n in 0..packets {
            let sent_us = from_us + n * 5_000;
            let arrived_us = sent_us - 7_000_000 + queue_us(n);
            delay.passed(Passage {
                sent_us,
                arrived_us,
                bytes: 1_200,
                own_queue_us: 0,
                takes_us: 4_000,
            });
            if n % 10 == 9 {
                delay.feedback_ended(arrived_us, 0.05, false);
            }
        }
    }

    #[test]
    fn a_free_path_has_no_queue_whatever_its_clocks_say() {
        let mut delay = Delay::default();
        pass(&mut delay, 200, 0, |_| 0);
        assert_eq!(delay.standing_us(), Some(0));
        assert!(!delay.is_standing());
        assert_eq!(delay.take_rising(), None);
    }

    #[test]
    fn bursts_that_go_away_are_no_standing_queue() {
        let mut delay = Delay::default();
        pass(&mut delay, 400, 0, |n| (n % 7) * 10_000);
        assert!(!delay.is_standing());
    }

    #[test]
    fn a_queue_that_stays_is_noticed_within_a_third_of_a_second() {
        let mut delay = Delay::default();
        pass(&mut delay, 200, 0, |_| 0);
        pass(&mut delay, 40, 1_000_000, |_| 30_000);
        assert!(!delay.is_standing());
        pass(&mut delay, 30, 1_200_000, |_| 30_000);
        assert!(delay.is_standing());
    }

    #[test]
    fn a_path_that_breaks_down_is_noticed_by_its_first_packets() {
        let mut delay = Delay::default();
        pass(&mut delay, 200, 0, |_| 0);
        // One packet in 25 ms is all it still carries: 384 kbit/s.
        pass(&mut delay, 5, 1_000_000, |n| n * 20_000);
        let rising = delay.take_rising().expect("noticed");
        assert!((rising.bps - 384_000.0).abs() < 20_000.0, "{rising:?}");
        assert_eq!(delay.take_rising(), None, "told once");
    }

    #[test]
    fn a_stall_after_which_everything_arrives_at_once_is_no_overload() {
        let mut delay = Delay::default();
        pass(&mut delay, 200, 0, |_| 0);
        pass(&mut delay, 40, 1_000_000, |n| (150_000 - n * 5_000).max(0));
        assert_eq!(delay.take_rising(), None);
        assert!(!delay.is_standing());
    }

    #[test]
    fn frames_that_a_busy_machine_lets_go_of_later_and_later_are_no_overload() {
        let mut delay = Delay::default();
        pass(&mut delay, 200, 0, |_| 0);
        for frame in 0..5 {
            for n in 0..5 {
                let sent_us = 1_000_000 + frame * 40_000;
                delay.passed(Passage {
                    sent_us,
                    arrived_us: sent_us - 7_000_000 + (frame + 1) * 15_000 + n * 100,
                    bytes: 1_200,
                    own_queue_us: n * 4_000,
                    takes_us: 4_000,
                });
            }
        }
        assert_eq!(delay.take_rising(), None);
    }

    #[test]
    fn a_delay_that_is_not_ours_raises_the_threshold_for_a_while() {
        let mut delay = Delay::default();
        pass(&mut delay, 200, 0, |_| 0);
        delay.tolerate(100_000);
        pass(&mut delay, 100, 1_000_000, |_| 60_000);
        assert!(!delay.is_standing());
        pass(&mut delay, 8_000, 1_500_000, |_| 0);
        assert!(delay.threshold_us() < 30_000, "{}", delay.threshold_us());
    }
}
