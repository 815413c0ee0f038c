//! What the path to a receiver carries, from what was sent and what the receiver says of it.
//!
//! An [`Estimator`] is told of every packet that is sent ([`Estimator::sent`]) and of every
//! feedback that comes back ([`Estimator::feedback`]); it waits for nothing and looks at no clock.
//! It gives out an *estimate*, by which layers are chosen, and a *target*, which is lower for the
//! moments in which a queue is emptied. How it decides is told in `docs/estimation.md`.

mod control;
mod delay;
mod evidence;
mod loss;
mod probe;
mod records;
mod report;
mod throughput;

use std::time::{Duration, Instant};

use control::{Control, Seen, Step, USED_SHARE};
use delay::{Delay, Passage};
use evidence::{Evidence, Signs};
use loss::{DEVASTATING, Loss, SUSPICIOUS, Verdict};
pub use probe::ProbeCluster;
use probe::{Burst, Outcome};
use records::{Fate, Record};
pub use records::{Purpose, SendRecords};
pub use report::{PathReport, PathState};
use throughput::Throughput;

use super::bitrate::Bitrate;
use super::cache;
use super::rtcp::TransportFeedback;

/// The estimate of a path that nothing is known of: one small picture and sound. Browsers begin
/// with the same.
const START: Bitrate = Bitrate::kbps(300);

/// The first two probes, as multiples of the start. Two steps, so that a path that carries the
/// first and not the second is still known better than by one.
const START_PROBES: [f64; 2] = [3.0, 6.0];

/// Each further probe, as a multiple of the estimate.
const PROBE_STEP: f64 = 2.0;

/// How far beyond what is wanted a probe goes: what the estimate keeps in reserve.
const PROBE_MARGIN: f64 = 1.25;

/// A probe that would not raise the estimate by at least this much buys nothing.
const PROBE_GAIN: f64 = 1.1;

/// What flows is measured over half a second; this much more lets it vary.
const FLOWING_MARGIN: f64 = 1.25;

/// Over how long what arrives is measured: a machine that stood still has caught up meanwhile.
const ARRIVING_WINDOW_US: i64 = 800_000;

/// What is measured of layers and what arrives of them differ by so much at the most: headers,
/// retransmissions and the grain of both measurements.
const ARRIVING_MARGIN: f64 = 1.15;

/// A probe that raised the estimate by this much is followed by another at once.
const PROBE_WIN: f64 = 1.2;

/// Time between two probes that came to nothing; doubled each time, up to the second. A receiver
/// whose path has widened waits no longer than that for its next layer.
const PROBE_INTERVAL_US: i64 = 1_500_000;
const MAX_PROBE_INTERVAL_US: i64 = 3_000_000;

/// A burst that the sender does not finish, or that nothing is heard of, is given up after this.
const PROBE_PATIENCE_US: i64 = 1_000_000;

/// How long nothing may be heard of packets that are on their way, before the estimate fades.
const SILENCE: Duration = Duration::from_secs(1);

/// How the estimate fades then: this share every [`FADE_INTERVAL`], down to [`MOST_FADED`].
const FADE: f64 = 0.8;
const FADE_INTERVAL: Duration = Duration::from_secs(1);
const MOST_FADED: f64 = 0.25;

/// After a silence longer than this, the path may be another: half of the estimate comes back at
/// once, and the rest when a probe has passed.
const LONG_SILENCE_US: i64 = 5_000_000;

/// A packet that has not arrived when others are there that were sent so much later is lost, and
/// not merely overtaken.
const REORDERING_US: i64 = 80_000;

/// What one packet contributes to the loss that is reported: about a hundred are remembered.
const LOST_GAIN: f64 = 0.01;

/// The period of the receiver's clock in transport feedback: 24 bits of 64 ms.
const REFERENCE_PERIOD_US: i64 = (1 << 24) * 64_000;

/// What one receiver's path carries.
#[derive(Debug)]
pub struct Estimator {
    began: Instant,
    records: SendRecords,
    control: Control,
    delay: Delay,
    loss: Loss,
    evidence: Evidence,
    arrivals: Throughput,
    sendings: Throughput,
    /// The estimate before it was cut to see whether losses obey.
    before_experiment: Option<f64>,
    bursts: Vec<Burst>,
    /// Rates that are to be probed next, the first one last.
    probe_wishes: Vec<f64>,
    next_probe_us: i64,
    probe_interval_us: i64,
    /// The queue that our own packets would build on a path of just the estimate.
    own_queue_us: f64,
    last_sent_us: i64,
    /// From sending until feedback.
    response_us: i64,
    last_feedback_us: Option<i64>,
    /// The number after the last one that feedback spoke of.
    reported: Option<u64>,
    /// The number of the next packet whose fate is to be judged.
    judged: u64,
    reference_us: Option<(i64, i64)>,
    silence: Option<Silence>,
    /// Of the packets judged lately, the part that was lost.
    lost_share: f64,
    overloads: u64,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    before: f64,
    next_fade: Instant,
}

impl Estimator {
    /// The estimator of a path that nothing is known of.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let start = START.as_f64();
        Self {
            began: now,
            records: SendRecords::default(),
            control: Control::new(start),
            delay: Delay::default(),
            loss: Loss::default(),
            evidence: Evidence::default(),
            arrivals: Throughput::default(),
            sendings: Throughput::default(),
            before_experiment: None,
            bursts: Vec::new(),
            probe_wishes: START_PROBES.iter().rev().map(|step| step * start).collect(),
            next_probe_us: 0,
            probe_interval_us: PROBE_INTERVAL_US,
            own_queue_us: 0.0,
            last_sent_us: 0,
            response_us: 200_000,
            last_feedback_us: None,
            reported: None,
            judged: 0,
            reference_us: None,
            silence: None,
            lost_share: 0.0,
            overloads: 0,
        }
    }

    /// The estimator of a path whose limit another session has met lately. It is looked for there
    /// first, and soon above: the client may have come back by a better path.
    #[must_use]
    pub fn expecting(limit: Bitrate, now: Instant) -> Self {
        let limit = limit.as_f64();
        let mut estimator = Self::new(now);
        estimator.control.set_capacity(limit);
        estimator.control.set_estimate(limit);
        estimator.probe_wishes = vec![limit * PROBE_STEP];
        estimator
    }

    /// What the path is believed to carry, where a limit was ever met; not less for a silence.
    #[must_use]
    pub fn limit(&self) -> Option<Bitrate> {
        let before = self.silence.map(|silence| silence.before);
        let limit = before.unwrap_or_else(|| self.control.estimate());
        let was_met = self.is_limited() || self.overloads > 0;
        was_met.then(|| Bitrate::from_f64(limit))
    }

    /// What the path is believed to carry.
    #[must_use]
    pub fn estimate(&self) -> Bitrate {
        Bitrate::from_f64(self.control.estimate())
    }

    /// What may be shared among slots: the estimate, or what flows, where nothing speaks against
    /// that for sure.
    ///
    /// While no limit was ever met the estimate is only what was proven, and a picture that
    /// arrives without a queue needs no further proof. Later, what arrives is room enough for
    /// what is sent until a queue has stayed for longer than a busy machine explains.
    #[must_use]
    pub fn budget(&self) -> Bitrate {
        let is_untroubled =
            !self.control.is_draining() && self.silence.is_none() && !self.loss.is_experimenting();
        let flows = if is_untroubled && self.control.is_free() {
            self.sent_bps() * FLOWING_MARGIN
        } else {
            self.unrefuted_bps()
        };
        Bitrate::from_f64(self.control.estimate().max(flows))
    }

    /// Whether pictures may be stopped altogether: only where it is sure that there is no room.
    #[must_use]
    pub fn may_pause(&self) -> bool {
        let now_us = self.last_feedback_us.unwrap_or(0);
        self.silence.is_none() && self.evidence.is_proven(now_us)
    }

    /// What arrives, as long as that may still be all that is sent.
    fn unrefuted_bps(&self) -> f64 {
        let is_refuted = self.evidence.is_sustained()
            || self.control.is_broken_down()
            || self.loss.is_experimenting()
            || self.silence.is_some()
            || self.may_pause();
        if is_refuted {
            return 0.0;
        }
        let arrives = self
            .arrivals
            .bps(ARRIVING_WINDOW_US, ARRIVING_WINDOW_US / 2);
        arrives.unwrap_or(0.0) * ARRIVING_MARGIN
    }

    /// What may be sent now: the estimate, or less while a queue drains.
    #[must_use]
    pub fn target(&self) -> Bitrate {
        Bitrate::from_f64(self.control.target())
    }

    /// Bytes of memory behind it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.records.memory_bytes()
    }

    /// Fetches what [`Self::sent`] will need, and [`Self::poll_timeout`].
    pub(crate) fn warm(&self) {
        cache::fetch(&self.began);
        cache::fetch(&self.control);
        cache::fetch(&self.records);
        cache::fetch(&self.bursts);
        cache::fetch(&self.own_queue_us);
        cache::fetch(&self.silence);
        self.sendings.warm();
    }

    /// Fetches where the next packet will be noted.
    pub(crate) fn warm_records(&self) {
        self.records.warm();
    }

    /// A packet was sent with this transport-wide sequence number; its size is that of the RTP
    /// packet.
    pub fn sent(&mut self, seq: u16, bytes: usize, purpose: Purpose, now: Instant) {
        let now_us = self.us(now);
        let passed_us = (now_us - self.last_sent_us) as f64;
        let takes_us = bytes as f64 * 8e6 / self.control.estimate();
        let waits_us = (self.own_queue_us - passed_us).max(0.0);
        self.own_queue_us = waits_us + takes_us;
        self.last_sent_us = now_us;
        let seq = self
            .records
            .push(seq, bytes, purpose, waits_us as u32, now_us);
        self.sendings.add(now_us, bytes as u32);
        for burst in &mut self.bursts {
            burst.sent(seq, bytes as u32);
        }
    }

    /// The receiver tells what arrived.
    pub fn feedback(&mut self, feedback: &TransportFeedback<'_>, now: Instant) {
        let now_us = self.us(now);
        self.end_silence(now_us);
        let Some(first) = self.records.extend(feedback.base_sequence) else {
            return;
        };
        let Some(newest) = self.read(feedback, first, now_us) else {
            return;
        };
        let last_us = self.last_feedback_us.replace(now_us).unwrap_or(now_us);
        let dt_secs = ((now_us - last_us) as f64 / 1e6).min(0.3);
        self.response_us += (now_us - newest.sent_us - self.response_us) / 4;
        self.delay
            .feedback_ended(newest.arrived_us, dt_secs, self.control.is_draining());

        self.judge_losses(newest.sent_us, now_us);
        self.weigh_evidence(now_us);
        self.judge_probes(now_us);
        let seen = Seen {
            now_us,
            dt_secs,
            response_us: self.response_us,
            rising: self.delay.take_rising(),
            arrivals: &self.arrivals,
            sent_bps: self.sent_bps(),
            own_loss: self.loss.own().min(0.5),
            is_overflowing: self.evidence.is_proven(now_us),
            hold: self.loss.is_experimenting() || !self.bursts.is_empty(),
        };
        match self.control.step(&seen, &mut self.delay) {
            Step::On => {}
            Step::Overload => self.overloaded(now_us),
            Step::Beyond => {
                self.probe_interval_us = PROBE_INTERVAL_US;
                if self.probe_wishes.is_empty() {
                    self.probe_wishes.push(self.control.estimate() * PROBE_STEP);
                }
            }
        }
    }

    /// Asks for a burst, if sending more than the estimate would buy something: `demand` is the
    /// bitrate at which the next better layer could flow. Packets that are sent from now on count
    /// towards the burst until it is complete.
    pub fn probe_wanted(&mut self, demand: Bitrate, now: Instant) -> Option<ProbeCluster> {
        let now_us = self.us(now);
        let estimate = self.control.estimate();
        let is_busy = self.bursts.iter().any(Burst::is_being_sent) || self.bursts.len() == 2;
        let is_bad_moment = self.control.is_draining()
            || self.loss.is_experimenting()
            || self.silence.is_some()
            || self.delay.is_holding();
        let most = demand.as_f64() * PROBE_MARGIN;
        if is_busy || is_bad_moment || most < estimate * PROBE_GAIN {
            return None;
        }
        let rate = match self.probe_wishes.pop() {
            Some(rate) => rate,
            None if now_us < self.next_probe_us || !self.bursts.is_empty() => return None,
            // What is sent anyway finds the limit just as well, where it is near.
            None if !self.control.is_free() && !self.is_limited_by_source() => return None,
            None => estimate * PROBE_STEP,
        };
        let rate = rate.min(most);
        if rate < estimate * PROBE_GAIN {
            return None;
        }
        let cluster = ProbeCluster::new(rate, self.delay.noise_us());
        self.bursts
            .push(Burst::new(cluster, self.records.next(), now_us));
        self.next_probe_us = now_us + self.probe_interval_us;
        Some(cluster)
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.silence {
            Some(silence) if self.control.estimate() > silence.before * MOST_FADED => {
                Some(silence.next_fade)
            }
            Some(_) => None,
            None => self.silent_at(),
        }
    }

    /// Time has passed: feedback may have failed to come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now_us = self.us(now);
        self.bursts
            .retain(|burst| now_us - burst.began_us < PROBE_PATIENCE_US);
        if let Some(mut silence) = self.silence {
            if now >= silence.next_fade {
                silence.next_fade = now + FADE_INTERVAL;
                let least = silence.before * MOST_FADED;
                let faded = (self.control.estimate() * FADE).max(least);
                self.control.set_estimate(faded);
                self.silence = Some(silence);
            }
        } else if self.silent_at().is_some_and(|at| now >= at) {
            self.silence = Some(Silence {
                before: self.control.estimate(),
                next_fade: now + FADE_INTERVAL,
            });
            self.control.interrupt();
        }
    }

    /// The receiver is reached by another path from now on (ICE, RFC 8445 §8.1.1): what was
    /// learned of the old one is a hint at best.
    pub fn path_changed(&mut self) {
        let estimate = self.control.estimate();
        let before = self.silence.map_or(estimate, |silence| silence.before);
        let estimate = (before / 2.0).max(START.as_f64());
        self.control = Control::new(estimate);
        self.delay.forget();
        self.loss = Loss::default();
        self.evidence = Evidence::default();
        self.before_experiment = None;
        self.silence = None;
        self.bursts.clear();
        self.probe_wishes = vec![before.max(estimate * PROBE_STEP)];
        self.judged = self.records.next();
    }

    fn us(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.began).as_micros() as i64
    }

    fn sent_bps(&self) -> f64 {
        self.sendings.bps(500_000, 100_000).unwrap_or(0.0)
    }

    fn is_limited_by_source(&self) -> bool {
        self.sent_bps() < 0.75 * self.control.target()
    }

    /// Takes in what a feedback says of each packet; the newest packet that it says arrived.
    fn read(
        &mut self,
        feedback: &TransportFeedback<'_>,
        first: u64,
        now_us: i64,
    ) -> Option<Passage> {
        let shift_us = self.reference_shift(feedback.reference_time_us);
        let is_gap = self.reported.is_some_and(|reported| first > reported);
        let mut newest: Option<Passage> = None;
        for (status, seq) in feedback.statuses().zip(first..) {
            let Some(record) = self.records.report(seq, status.arrival_us.is_some()) else {
                continue;
            };
            let Some(arrival_us) = status.arrival_us else {
                continue;
            };
            let packet = self.passage(record, arrival_us + shift_us, now_us);
            if is_gap && newest.is_none() {
                self.arrivals.skip(packet.arrived_us);
            }
            self.arrivals.add(packet.arrived_us, packet.bytes);
            self.delay.passed(packet);
            for burst in &mut self.bursts {
                burst.arrived(seq, packet.bytes, packet.sent_us, packet.arrived_us);
            }
            if newest.is_none_or(|newest| packet.sent_us >= newest.sent_us) {
                newest = Some(packet);
            }
        }
        let end = first + u64::from(feedback.status_count);
        self.reported = Some(self.reported.map_or(end, |reported| reported.max(end)));
        newest
    }

    fn passage(&self, record: Record, arrived_us: i64, now_us: i64) -> Passage {
        Passage {
            sent_us: record.at_us(now_us),
            arrived_us,
            bytes: record.bytes(),
            own_queue_us: record.own_queue_us(),
            takes_us: (f64::from(record.bytes()) * 8e6 / self.control.estimate()) as i64,
        }
    }

    /// How far the receiver's clock has turned over since the first feedback.
    fn reference_shift(&mut self, reference_us: i64) -> i64 {
        let (last, mut shift) = self.reference_us.unwrap_or((reference_us, 0));
        if last - reference_us > REFERENCE_PERIOD_US / 2 {
            shift += REFERENCE_PERIOD_US;
        } else if reference_us - last > REFERENCE_PERIOD_US / 2 {
            shift -= REFERENCE_PERIOD_US;
        }
        self.reference_us = Some((reference_us, shift));
        shift
    }

    /// Judges the packets that were sent long enough before the newest that arrived.
    fn judge_losses(&mut self, newest_sent_us: i64, now_us: i64) {
        self.judged = self.judged.max(self.records.first());
        while let Some(record) = self.records.get(self.judged) {
            let sent_us = record.at_us(now_us);
            if sent_us > newest_sent_us - REORDERING_US {
                break;
            }
            let fate = record.fate();
            if fate != Fate::Unknown {
                self.loss.judge(fate == Fate::Arrived, sent_us);
                self.evidence.judge(fate == Fate::Arrived);
                let lost = f64::from(fate != Fate::Arrived);
                self.lost_share += LOST_GAIN * (lost - self.lost_share);
            }
            self.judged += 1;
        }
        let is_queued = self.control.is_draining() || self.delay.is_standing();
        if is_queued {
            self.loss.restart();
            return;
        }
        let suspicious = match (self.bursts.is_empty(), self.is_limited_by_source()) {
            (false, _) => None,
            (true, false) => Some(SUSPICIOUS),
            // Less than the path is believed to carry: losses are hardly ours, or it has changed.
            (true, true) => Some(DEVASTATING),
        };
        // A cut is felt by packets sent from now on.
        let judged_us = newest_sent_us - REORDERING_US;
        match self.loss.verdict(judged_us, suspicious, now_us + 50_000) {
            Some(Verdict::Cut(share)) => {
                let before = self.control.estimate();
                self.before_experiment = Some(before);
                let now = if self.is_limited_by_source() {
                    self.sent_bps()
                } else {
                    before
                };
                self.control.set_estimate(now * share);
            }
            Some(Verdict::Congestion) => {
                self.before_experiment = None;
                self.control.set_capacity(self.control.estimate());
            }
            Some(Verdict::OwnNature) => {
                if let Some(before) = self.before_experiment.take() {
                    self.control.set_estimate(before);
                }
            }
            None => {}
        }
    }

    fn weigh_evidence(&mut self, now_us: i64) {
        self.evidence.weigh(&Signs {
            now_us,
            is_queued: self.control.is_draining() || self.delay.is_standing(),
            arrivals: &self.arrivals,
            sendings: &self.sendings,
            own_loss: self.loss.own(),
            suspicious_loss: self.loss.suspicious(),
        });
    }

    fn overloaded(&mut self, now_us: i64) {
        self.overloads += 1;
        self.loss.abort();
        self.before_experiment = None;
        self.probe_wishes.clear();
        self.bursts.clear();
        self.probe_interval_us = PROBE_INTERVAL_US;
        self.next_probe_us = now_us + PROBE_INTERVAL_US;
    }

    fn judge_probes(&mut self, now_us: i64) {
        let newest = self.reported.unwrap_or(0).saturating_sub(1);
        let Some(place) = self.bursts.iter().position(|burst| burst.is_over(newest)) else {
            self.bursts
                .retain(|burst| now_us - burst.began_us < PROBE_PATIENCE_US);
            return;
        };
        let outcome = self.bursts.remove(place).outcome(self.loss.own());
        let before = self.control.estimate();
        match outcome {
            // One burst in jitter is easily misjudged: what has won much may try again.
            Some(Outcome { bps, is_limit })
                if !is_limit && bps > before || bps > before * PROBE_WIN =>
            {
                self.control
                    .proved(if is_limit { bps * USED_SHARE } else { bps }, false);
                self.probe_interval_us = PROBE_INTERVAL_US;
                if self.bursts.is_empty() && self.probe_wishes.is_empty() {
                    self.probe_wishes.push(bps * PROBE_STEP);
                }
            }
            outcome => {
                if let Some(outcome) = outcome
                    && outcome.bps > before
                {
                    self.control.proved(outcome.bps, true);
                }
                self.probe_wishes.clear();
                // One that was sent too slowly to tell anything is no failure.
                if outcome.is_none_or(|outcome| outcome.is_limit) {
                    self.probe_interval_us =
                        (self.probe_interval_us * 2).min(MAX_PROBE_INTERVAL_US);
                }
                self.next_probe_us = now_us + self.probe_interval_us;
            }
        }
    }

    /// When feedback will be overdue: something was sent since the last one.
    fn silent_at(&self) -> Option<Instant> {
        let last_us = self.last_feedback_us?;
        (self.last_sent_us >= last_us).then(|| {
            let since = Duration::from_micros(last_us.cast_unsigned());
            self.began + since + SILENCE
        })
    }

    /// Feedback is back: the estimate before the silence is worth more than the faded one.
    fn end_silence(&mut self, now_us: i64) {
        let Some(silence) = self.silence.take() else {
            return;
        };
        let lasted_us = now_us - self.last_feedback_us.unwrap_or(now_us);
        self.delay.interrupt();
        self.arrivals = Throughput::default();
        self.loss.abort();
        self.evidence = Evidence::default();
        self.before_experiment = None;
        self.bursts.clear();
        if lasted_us < LONG_SILENCE_US {
            self.control.set_estimate(silence.before);
        } else {
            let half = (silence.before / 2.0).max(self.control.estimate());
            self.control.set_estimate(half);
            self.probe_wishes = vec![silence.before];
        }
        // What was sent into the silence was lost to whatever caused it.
        self.judged = self.records.next();
    }
}

#[cfg(test)]
mod tests;
