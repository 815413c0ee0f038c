//! From what was measured to what may be sent.

use super::delay::{Delay, Rising};
use super::throughput::Throughput;

/// The lowest estimate: sound in a narrow band still fits.
pub(super) const MIN_BPS: f64 = 30_000.0;

/// The highest: beyond this nothing that we forward is limited by its receiver's path.
pub(super) const MAX_BPS: f64 = 200_000_000.0;

/// The part of a measured capacity that is used: the rest empties queues that form anyway.
pub(super) const USED_SHARE: f64 = 0.96;

/// A capacity that was exceeded by so much without a queue was none.
const DISPROVED: f64 = 1.08;

/// Below this share of a capacity that was measured, the way back up is quick.
const QUICK_BELOW: f64 = 0.9;
const QUICK_GROWTH: f64 = 0.5;

/// Growth near the known capacity, per second. The part in proportion finds a limit of any size
/// in the same time; the constant part makes flows that share a path equal in the end.
const CAREFUL_GROWTH: f64 = 0.015;
const CAREFUL_GROWTH_BPS: f64 = 9_000.0;

/// So long without a queue means that the path is wider than the last measurement said: growth
/// from [`USED_SHARE`] would have met the limit by then.
const UNHINDERED_SECS: f64 = 3.0;

/// Growth per second where no limit is known, at first and at most; it gains by [`FREE_GAIN`] a
/// second. A path that has become wide again is found out by this even where nothing may probe.
const FREE_GROWTH: f64 = 0.08;
const MOST_FREE_GROWTH: f64 = 0.5;
const FREE_GAIN: f64 = 1.6;

/// The estimate grows to so many times what arrives, and no further without a probe: what was
/// never sent was never seen to pass.
const UNPROVED: f64 = 1.5;

/// A queue drains as if it were to be gone after this time, which is about one round trip of
/// control: quicker would swing.
const DRAIN_TIME_US: f64 = 200_000.0;

/// The least and the most of the capacity that is left free to drain a queue.
const LEAST_SLACK: f64 = 0.08;
const MOST_SLACK: f64 = 0.7;

/// How long a queue may take to obey, beyond the time until the cut is felt.
const OBEDIENCE_US: i64 = 800_000;

/// The same where nothing was cut, because what flows is believed to fit or cannot be less. A
/// queue that stays for so long while everything arrives is another's.
const UNCUT_OBEDIENCE_US: i64 = 3_000_000;

/// A queue that has shrunk to this share obeys, even if it is not gone.
const OBEYS: f64 = 0.6;

/// A path that loses more than this by its own nature is not tried out any further.
const TOO_LOSSY: f64 = 0.1;

/// A queue that goes while at least this share of what was sent before goes on being sent did not
/// go for our sake.
const UNCUT: f64 = 0.95;

/// A path that delivers less than this of what it is given is overloaded.
const DELIVERS: f64 = 0.9;

/// What a measurement of capacity that agrees with the last contributes, and what agrees.
const CAPACITY_GAIN: f64 = 0.4;
const CAPACITY_AGREES: f64 = 0.15;

/// What is known at a feedback.
pub(super) struct Seen<'a> {
    pub(super) now_us: i64,
    /// Since the last one, in seconds.
    pub(super) dt_secs: f64,
    /// From sending until feedback, in microseconds.
    pub(super) response_us: i64,
    pub(super) rising: Option<Rising>,
    pub(super) arrivals: &'a Throughput,
    /// What was sent in the last half second, in bits per second.
    pub(super) sent_bps: f64,
    /// What the path loses by its own nature.
    pub(super) own_loss: f64,
    /// Whether it is sure that not everything fits.
    pub(super) is_overflowing: bool,
    /// Whether somebody looks into something else: no growth meanwhile.
    pub(super) hold: bool,
}

/// What a feedback has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All is as it was, or grew a little.
    On,
    /// The path is overloaded.
    Overload,
    /// More passes than was known to: a good moment to probe.
    Beyond,
}

/// The estimate, and what is done to keep queues short.
#[derive(Debug)]
pub(super) struct Control {
    estimate: f64,
    /// What was measured when the path was last full.
    capacity: Option<f64>,
    drain: Option<Drain>,
    growth: f64,
    /// For how long growth has met no queue, in seconds.
    unhindered_secs: f64,
}

/// A queue is being emptied.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// The estimate before, should the queue turn out not to be ours.
    before: f64,
    capacity: f64,
    queue_us: i64,
    began_us: i64,
    /// Since when the path is full, by the receiver's clock.
    busy_since_us: i64,
    /// The newest queue, by which the rate is chosen.
    now_queue_us: i64,
    /// The path broke down, rather than was filled slowly.
    is_breakdown: bool,
    /// What was sent when it began, in bits per second.
    sent_bps: f64,
}

impl Control {
    pub(super) fn new(estimate: f64) -> Self {
        Self {
            estimate,
            capacity: None,
            drain: None,
            growth: FREE_GROWTH,
            unhindered_secs: 0.0,
        }
    }

    /// What the path is believed to carry.
    pub(super) fn estimate(&self) -> f64 {
        self.estimate
    }

    /// What may be sent now: less than the estimate while a queue drains.
    pub(super) fn target(&self) -> f64 {
        match &self.drain {
            Some(drain) => (drain.capacity * (1.0 - drain.slack())).clamp(MIN_BPS, self.estimate),
            None => self.estimate,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether a queue is being emptied that came of a breakdown.
    pub(super) fn is_broken_down(&self) -> bool {
        self.drain.is_some_and(|drain| drain.is_breakdown)
    }

    /// Whether the estimate has outgrown every limit that was ever measured.
    pub(super) fn is_free(&self) -> bool {
        self.capacity.is_none()
    }

    pub(super) fn set_estimate(&mut self, bps: f64) {
        self.estimate = bps.clamp(MIN_BPS, MAX_BPS);
    }

    /// The path was measured full at this rate.
    pub(super) fn set_capacity(&mut self, bps: f64) {
        self.capacity = Some(match self.capacity {
            Some(old) if (bps - old).abs() < CAPACITY_AGREES * old => {
                old + CAPACITY_GAIN * (bps - old)
            }
            _ => bps,
        });
        self.growth = FREE_GROWTH;
    }

    /// A probe passed at this rate; `is_limit` if it was slowed down to it.
    pub(super) fn proved(&mut self, bps: f64, is_limit: bool) {
        if is_limit {
            self.capacity = Some(bps);
            self.set_estimate(bps * USED_SHARE);
        } else {
            if self
                .capacity
                .is_some_and(|capacity| bps > capacity * DISPROVED)
            {
                self.capacity = None;
            }
            self.set_estimate(bps);
        }
    }

    /// Feedback begins anew: whatever was being drained is gone.
    pub(super) fn interrupt(&mut self) {
        self.drain = None;
    }

    /// Decides.
    pub(super) fn step(&mut self, seen: &Seen<'_>, delay: &mut Delay) -> Step {
        if let Some(rising) = seen.rising {
            let bps = rising.bps / (1.0 - seen.own_loss);
            return self.breaks_down(bps, rising.since_us, seen, delay);
        }
        if self.drain.is_some() {
            self.keep_draining(seen, delay);
            return Step::On;
        }
        if let Some(bps) = seen.arrivals.bps(500_000, 250_000)
            && delay.is_standing()
        {
            let bps = bps / (1.0 - seen.own_loss);
            let queue_us = delay.standing_us().unwrap_or(0);
            self.begin_drain(bps, queue_us, false, i64::MIN, seen);
            return Step::Overload;
        }
        self.grow(seen, delay)
    }

    fn breaks_down(&mut self, bps: f64, since_us: i64, seen: &Seen<'_>, delay: &Delay) -> Step {
        let queue_us = delay.queue_us().max(delay.threshold_us());
        match self.drain.as_mut() {
            Some(drain) if bps > drain.capacity * DELIVERS => {
                drain.now_queue_us = queue_us;
                Step::On
            }
            _ => {
                self.begin_drain(bps, queue_us, true, since_us, seen);
                Step::Overload
            }
        }
    }

    fn begin_drain(
        &mut self,
        capacity: f64,
        queue_us: i64,
        is_breakdown: bool,
        busy_since_us: i64,
        seen: &Seen<'_>,
    ) {
        // Where no limit was ever met, more may flow than was proven.
        let flows = if self.is_free() { seen.sent_bps } else { 0.0 };
        let most = self.estimate.max(flows);
        let capacity = capacity.min(most);
        let before = self.drain.map_or(most, |drain| drain.before);
        let sent_bps = self.drain.map_or(seen.sent_bps, |drain| drain.sent_bps);
        self.unhindered_secs = 0.0;
        self.drain = Some(Drain {
            before,
            capacity,
            queue_us,
            began_us: seen.now_us,
            busy_since_us,
            now_queue_us: queue_us,
            is_breakdown,
            sent_bps,
        });
        self.set_estimate((capacity * USED_SHARE).min(most));
    }

    fn keep_draining(&mut self, seen: &Seen<'_>, delay: &mut Delay) {
        let Some(mut drain) = self.drain else {
            return;
        };
        let queue_us = delay.queue_us();
        drain.now_queue_us = queue_us;
        let since_us = seen.now_us - drain.began_us;
        let is_felt = since_us > seen.response_us;
        // What a full path delivers is its capacity: measured until the cut is felt, and as long
        // as a deep queue says that the path is full.
        if queue_us > delay.empty_us() && (!is_felt || drain.is_breakdown) {
            drain.remeasure(seen);
            self.set_estimate(drain.capacity * USED_SHARE);
        }
        self.drain = Some(drain);
        if queue_us <= delay.empty_us() {
            self.drain = None;
            let is_unfelt = !drain.is_breakdown && since_us * 5 < seen.response_us * 4;
            let went_by_itself = drain.is_uncut(seen) && drain.capacity < UNCUT * seen.sent_bps;
            if !seen.is_overflowing && (is_unfelt || went_by_itself) {
                // Gone before our cut could be felt, or without one: it was not ours.
                if !drain.is_breakdown {
                    delay.tolerate(drain.queue_us * 11 / 10);
                }
                self.set_estimate(drain.before);
                return;
            }
            self.set_capacity(drain.capacity);
            self.set_estimate(drain.capacity * USED_SHARE);
        } else if since_us > seen.response_us + drain.patience_us(seen) {
            self.judge_obedience(drain, queue_us, seen, delay);
        }
    }

    /// The queue had time to go and is still there.
    fn judge_obedience(&mut self, drain: Drain, queue_us: i64, seen: &Seen<'_>, delay: &mut Delay) {
        let arrives = seen
            .arrivals
            .bps(400_000, 200_000)
            .map(|bps| bps / (1.0 - seen.own_loss));
        let arrives = arrives.unwrap_or(drain.capacity);
        let obeys = (queue_us as f64) < OBEYS * drain.queue_us as f64;
        if obeys || seen.is_overflowing || arrives < DELIVERS * seen.sent_bps {
            self.drain = Some(Drain {
                capacity: arrives.min(drain.capacity),
                queue_us,
                began_us: seen.now_us,
                ..drain
            });
            self.set_estimate(arrives.min(drain.capacity) * USED_SHARE);
            return;
        }
        // Everything arrives, as fast as it is sent, and the queue does not care.
        delay.tolerate(queue_us * 13 / 10);
        self.drain = None;
        self.set_estimate(drain.before);
    }

    fn grow(&mut self, seen: &Seen<'_>, delay: &Delay) -> Step {
        let is_limited_by_source = seen.sent_bps < 0.75 * self.estimate;
        if delay.is_holding() {
            self.unhindered_secs = (self.unhindered_secs - seen.dt_secs).max(0.0);
            return Step::On;
        }
        if seen.hold || is_limited_by_source {
            return Step::On;
        }
        let Some(arrives) = seen.arrivals.bps(500_000, 150_000) else {
            return Step::On;
        };
        let estimate = self.estimate;
        let per_second = match self.capacity {
            Some(capacity) if estimate < QUICK_BELOW * capacity => QUICK_GROWTH * estimate,
            _ if seen.own_loss > TOO_LOSSY => return Step::On,
            Some(_) => CAREFUL_GROWTH * estimate + CAREFUL_GROWTH_BPS,
            None => {
                let gain = FREE_GAIN.powf(seen.dt_secs);
                self.growth = (self.growth * gain).min(MOST_FREE_GROWTH);
                self.growth * estimate
            }
        };
        let limit = estimate.max(UNPROVED * arrives / (1.0 - seen.own_loss));
        self.set_estimate((estimate + per_second * seen.dt_secs).min(limit));
        self.unhindered_secs += seen.dt_secs;
        let is_disproved = |capacity| self.estimate > capacity * DISPROVED;
        if self.capacity.is_some_and(is_disproved) {
            self.capacity = None;
            return Step::Beyond;
        }
        if self.capacity.is_some() && self.unhindered_secs > UNHINDERED_SECS {
            self.unhindered_secs = 0.0;
            return Step::Beyond;
        }
        Step::On
    }
}

impl Drain {
    /// Whether as much is sent as when the queue was found, as layers come in steps.
    fn is_uncut(&self, seen: &Seen<'_>) -> bool {
        seen.sent_bps > UNCUT * self.sent_bps
    }

    fn patience_us(&self, seen: &Seen<'_>) -> i64 {
        if self.is_uncut(seen) {
            UNCUT_OBEDIENCE_US
        } else {
            OBEDIENCE_US
        }
    }

    fn slack(&self) -> f64 {
        (self.now_queue_us as f64 / DRAIN_TIME_US).clamp(LEAST_SLACK, MOST_SLACK)
    }

    fn remeasure(&mut self, seen: &Seen<'_>) {
        let measured = match self.busy_since_us {
            i64::MIN => seen.arrivals.bps(500_000, 250_000),
            since => seen.arrivals.bps_between(since, 100_000),
        };
        if let Some(bps) = measured {
            self.capacity = (bps / (1.0 - seen.own_loss)).min(self.before);
        }
    }
}
