//! The way to one receiver: what it carries, and when to look again at what is sent on it.
//!
//! Stands between the egress, which tells of every packet, and the engine, which chooses layers.

use std::time::{Duration, Instant};

use super::bitrate::Bitrate;
use super::cache;
use super::estimate::{Estimator, PathReport, PathState, ProbeCluster, Purpose};
use super::pacer::Way;
use super::rtcp::TransportFeedback;
use super::tape::{Event, Tape};

/// How often layers are chosen anew, where nothing urges.
const REVIEW_INTERVAL: Duration = Duration::from_millis(500);

/// How long a receiver is given what it wants before the first choice, unless its path is seen to
/// be overloaded: a good path proves itself meanwhile, and nobody on one starts small.
const GRACE: Duration = Duration::from_secs(3);

/// Time between two packets of a probe, at the least: what timers are good for.
const PROBE_TICK: Duration = Duration::from_millis(2);

/// A path is probed up to what all layers cost together and half of that again: publishers
/// become better without notice.
const HEADROOM_PERCENT: u64 = 150;

/// An estimate that has fallen to so much of what was last shared, at once or in small steps, is
/// shared anew at once: a smaller change moves no layer.
const FALLEN_PERCENT: u64 = 95;

/// What may be sent again, as a part of the target of a path whose limit is known: enough for a path
/// that loses a third by its own nature.
const MOST_REPEATED: f64 = 0.33;

/// What is known of the way to one receiver. Empty, and free, for those who only publish.
#[derive(Debug, Default)]
pub struct Downlink {
    /// From the first packet on that carries a transport-wide sequence number.
    estimator: Option<Box<Estimator>>,
    /// What all that was chosen costs.
    allocated: Bitrate,
    /// The estimate when it was last shared among slots.
    shared_at: Option<Bitrate>,
    /// What the next better layer would take.
    demand: Bitrate,
    review_at: Option<Instant>,
    informed_at: Option<Instant>,
    /// Its limit is known from another session: there is nothing to wait for.
    is_expected: bool,
    probe: Option<Probe>,
    sent_bytes: u64,
    /// What is sent again.
    repeated: Recently,
    /// What may be sent again and was not yet, when something last was.
    repeating_bytes: usize,
    /// What was last told of it.
    told: Told,
    /// What happens on it, while an operator has it recorded.
    pub(crate) tape: Option<Box<Tape>>,
}

/// What the engine has been told of a path already.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    state: Option<PathState>,
    overloads: u64,
}

/// A rate over about a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recently {
    bps: f64,
    at: Option<Instant>,
}

impl Recently {
    pub(super) fn add(&mut self, bytes: usize, now: Instant) {
        self.bps = self.bps(now) + bytes as f64 * 8.0;
        self.at = Some(now);
    }

    fn bps(&self, now: Instant) -> f64 {
        let since = self.at.map(|at| now.saturating_duration_since(at));
        since.map_or(0.0, |since| self.bps * (-since.as_secs_f64()).exp())
    }

    /// What remains of a path beside it: at least half.
    pub(super) fn remainder(&self, bitrate: Bitrate, now: Instant) -> Bitrate {
        let taken = self.bps(now) as u64;
        Bitrate::bps(bitrate.as_bps() - taken.min(bitrate.as_bps() / 2))
    }
}

/// A burst that is being sent.
#[derive(Clone, Copy, Debug)]
struct Probe {
    cluster: ProbeCluster,
    began: Instant,
    began_bytes: u64,
    packets: u32,
    next_at: Instant,
}

impl Downlink {
    /// Fetches what [`Self::sent`] will need.
    pub(crate) fn warm(&self) {
        if let Some(estimator) = &self.estimator {
            estimator.warm();
        }
    }

    /// Fetches what [`Self::feedback`] will need: almost all of it.
    pub(crate) fn warm_feedback(&self) {
        if let Some(estimator) = &self.estimator {
            cache::fetch(&**estimator);
        }
    }

    /// Fetches where it will be noted.
    pub(crate) fn warm_records(&self) {
        if let Some(estimator) = &self.estimator {
            estimator.warm_records();
        }
    }

    /// A packet left with this transport-wide sequence number.
    pub fn sent(&mut self, twcc: u16, bytes: usize, purpose: Purpose, now: Instant) {
        let estimator = self
            .estimator
            .get_or_insert_with(|| Box::new(Estimator::new(now)));
        estimator.sent(twcc, bytes, purpose, now);
        if purpose == Purpose::Retransmission {
            self.repeated.add(bytes, now);
            self.repeating_bytes = 0;
        }
        self.sent_bytes += bytes as u64;
        self.review_at.get_or_insert(now + REVIEW_INTERVAL);
        if let Some(probe) = &mut self.probe {
            probe.packets += 1;
        }
    }

    /// The limit that was met on the path, if one was.
    pub fn limit(&self) -> Option<Bitrate> {
        self.estimator.as_ref()?.limit()
    }

    /// A session that this one continues met this limit.
    pub fn expect(&mut self, limit: Bitrate, now: Instant) {
        if let Some(tape) = &mut self.tape {
            let limit_bps = limit.as_bps();
            tape.note(now, Event::Expected { limit_bps });
        }
        self.estimator = Some(Box::new(Estimator::expecting(limit, now)));
        self.is_expected = true;
    }

    /// The receiver tells what arrived.
    pub fn feedback(&mut self, feedback: &TransportFeedback<'_>, now: Instant) {
        let Some(estimator) = &mut self.estimator else {
            return;
        };
        if self.informed_at.is_none() {
            self.informed_at = Some(now);
            self.review_at = Some(now);
        }
        let overloads = estimator.overloads();
        estimator.feedback(feedback, now);
        let has_fallen = self.shared_at.is_some_and(|then| {
            estimator.estimate().as_bps() * 100 < then.as_bps() * FALLEN_PERCENT
        });
        if has_fallen || estimator.overloads() > overloads {
            self.review_at = Some(now);
            // Whatever the grace was for, this path has shown that it needs a choice.
            self.informed_at = now.checked_sub(GRACE).or(self.informed_at);
        }
        self.poll_probe(now);
    }

    /// The receiver is reached another way.
    pub fn path_changed(&mut self, now: Instant) {
        if let Some(tape) = &mut self.tape {
            tape.note(now, Event::PathChanged);
        }
        self.probe = None;
        if let Some(estimator) = &mut self.estimator {
            estimator.path_changed();
        }
    }

    /// What may be shared among slots; `None` while nothing limits them.
    pub fn estimate(&self, now: Instant) -> Option<Bitrate> {
        let has_passed = |at| now.saturating_duration_since(at) >= GRACE;
        let is_over = self.is_expected || self.informed_at.is_some_and(has_passed);
        let estimator = self.estimator.as_ref().filter(|_| is_over)?;
        Some(self.repeated.remainder(estimator.budget(), now))
    }

    /// What new media may be sent now: less than the estimate while a queue is emptied.
    #[must_use]
    pub fn target(&self, now: Instant) -> Option<Bitrate> {
        let estimator = self.estimator.as_ref()?;
        Some(self.repeated.remainder(estimator.target(), now))
    }

    /// Whether it is sure that there is no room for everything, so that pictures may be stopped.
    pub fn may_pause(&self) -> bool {
        self.estimator
            .as_ref()
            .is_some_and(|estimator| estimator.may_pause())
    }

    /// Whether the path has just broken down, and the queue of that is being emptied.
    pub fn is_broken_down(&self) -> bool {
        self.estimator
            .as_ref()
            .is_some_and(|estimator| estimator.is_broken_down())
    }

    /// What is sent now costs `total`; the next better step would take `next`.
    pub fn shared(&mut self, total: Bitrate, next: Option<Bitrate>) {
        self.shared_at = self
            .estimator
            .as_ref()
            .map(|estimator| estimator.estimate());
        self.allocated = total;
        let headroom = Bitrate::bps(total.as_bps() * HEADROOM_PERCENT / 100);
        self.demand = next.unwrap_or(headroom);
    }

    /// What is known, in numbers; `None` where nothing is sent that is reported upon.
    pub fn report(&self) -> Option<PathReport> {
        self.estimator.as_ref().map(|estimator| estimator.report())
    }

    /// What all that was chosen costs.
    pub fn allocated(&self) -> Bitrate {
        self.allocated
    }

    /// The state, if it is another one than when this was last asked; and how many overloads there
    /// were since.
    pub fn news(&mut self) -> (Option<PathState>, u64) {
        let Some(estimator) = &self.estimator else {
            return (None, 0);
        };
        let (state, overloads) = (estimator.state(), estimator.overloads());
        let before = std::mem::replace(
            &mut self.told,
            Told {
                state: Some(state),
                overloads,
            },
        );
        let is_new = before.state != Some(state);
        (
            is_new.then_some(state),
            overloads.saturating_sub(before.overloads),
        )
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let fades_at = self.estimator.as_ref()?.poll_timeout();
        let probes_at = self.probe.map(|probe| probe.next_at);
        [self.review_at, probes_at, fades_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed; whether layers are to be chosen anew.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(estimator) = &mut self.estimator else {
            return false;
        };
        if let Some(tape) = &mut self.tape {
            tape.note(now, Event::Timeout);
        }
        estimator.handle_timeout(now);
        let is_due = self.review_at.is_some_and(|at| at <= now);
        if is_due {
            self.review_at = None;
        }
        is_due
    }

    /// What the pacer is to know.
    #[must_use]
    pub fn way(&self) -> Way {
        // Asked at every flush, and mostly answered here.
        let estimator = self.estimator.as_deref();
        let Some(estimator) = estimator.filter(|estimator| estimator.is_limited()) else {
            return Way::Open;
        };
        let target = estimator.target();
        match estimator.state() {
            PathState::Draining => Way::Draining { target },
            _ => Way::Limited {
                target,
                probe: self.probe.map(|probe| probe.cluster.rate),
            },
        }
    }

    /// Whether so much may be sent again; if so, it is taken as sent. Not while a path has broken
    /// down: what was lost belongs to a picture that is too large for it, and would take the room of
    /// the smaller one; unless it is of that (`has_given_way`).
    ///
    /// Nor beyond a part of what a narrow path carries, or a receiver that asks for everything it
    /// lacks would keep its own path full.
    #[must_use]
    pub fn may_repeat(&mut self, bytes: usize, has_given_way: bool, now: Instant) -> bool {
        let Some(estimator) = &self.estimator else {
            return true;
        };
        let most = estimator.target().as_f64() * MOST_REPEATED;
        let repeats = self.repeated.bps(now) + self.repeating_bytes as f64 * 8.0;
        let is_too_much = estimator.is_limited() && repeats > most;
        let may = (has_given_way || !estimator.is_broken_down()) && !is_too_much;
        if may {
            self.repeating_bytes += bytes;
        }
        may
    }

    /// How many bytes the probe lacks now, beyond `waiting` ones that will leave at its rate; zero if
    /// there is none, or it is on time.
    pub fn probe_bytes(&mut self, waiting: u64, now: Instant) -> u64 {
        let Some(probe) = &mut self.probe else {
            return 0;
        };
        let sent = self.sent_bytes - probe.began_bytes;
        if sent >= u64::from(probe.cluster.bytes) && probe.packets >= probe.cluster.packets {
            self.probe = None;
            return 0;
        }
        if probe.next_at > now {
            return 0;
        }
        probe.next_at = now + PROBE_TICK;
        let elapsed = now.saturating_duration_since(probe.began) + PROBE_TICK;
        probe
            .cluster
            .rate
            .bytes_in(elapsed)
            .saturating_sub(sent + waiting)
    }

    /// There is nothing that a probe could be made of.
    pub fn give_up_probe(&mut self) {
        self.probe = None;
    }

    /// Begins a probe, if one is due.
    pub fn poll_probe(&mut self, now: Instant) {
        let Some(estimator) = self.estimator.as_mut().filter(|_| self.probe.is_none()) else {
            return;
        };
        if let Some(tape) = &mut self.tape {
            let demand_bps = self.demand.as_bps();
            tape.note(now, Event::ProbeWanted { demand_bps });
        }
        self.probe = estimator
            .probe_wanted(self.demand, now)
            .map(|cluster| Probe {
                cluster,
                began: now,
                began_bytes: self.sent_bytes,
                packets: 0,
                next_at: now,
            });
    }
}
