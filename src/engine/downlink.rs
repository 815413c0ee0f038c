//! The way to one receiver: what it carries, and when to look again at what is sent on it.
//!
//! Stands between the egress, which tells of every packet, and the engine, which chooses layers.

use std::time::{Duration, Instant};

use super::bitrate::Bitrate;
use super::estimate::{Estimator, Moved, PathReport, PathState, ProbeCluster, Purpose};
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

/// What is known of the way to one receiver. Empty, and free, for those who only publish.
#[derive(Debug, Default)]
pub(crate) struct Downlink {
    /// From the first packet on that carries a transport-wide sequence number.
    estimator: Option<Box<Estimator>>,
    /// What all that was chosen costs.
    allocated: Bitrate,
    /// What the next better layer would take.
    demand: Bitrate,
    review_at: Option<Instant>,
    informed_at: Option<Instant>,
    probe: Option<Probe>,
    sent_bytes: u64,
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
    /// Reads what [`Self::sent`] will need.
    pub(crate) fn warm(&self) {
        if let Some(estimator) = &self.estimator {
            estimator.warm();
        }
    }

    /// A packet left with this transport-wide sequence number.
    pub(crate) fn sent(&mut self, twcc: u16, bytes: usize, purpose: Purpose, now: Instant) {
        let estimator = self
            .estimator
            .get_or_insert_with(|| Box::new(Estimator::new(now)));
        estimator.sent(twcc, bytes, purpose, now);
        self.sent_bytes += bytes as u64;
        self.review_at.get_or_insert(now + REVIEW_INTERVAL);
        if let Some(probe) = &mut self.probe {
            probe.packets += 1;
        }
    }

    /// The receiver tells what arrived.
    pub(crate) fn feedback(&mut self, feedback: &TransportFeedback<'_>, now: Instant) {
        let Some(estimator) = &mut self.estimator else {
            return;
        };
        if self.informed_at.is_none() {
            self.informed_at = Some(now);
            self.review_at = Some(now);
        }
        if estimator.feedback(feedback, now) == Moved::Down {
            self.review_at = Some(now);
            // Whatever the grace was for, this path has shown that it needs a choice.
            self.informed_at = now.checked_sub(GRACE).or(self.informed_at);
        }
        self.poll_probe(now);
    }

    /// The receiver is reached another way.
    pub(crate) fn path_changed(&mut self, now: Instant) {
        if let Some(tape) = &mut self.tape {
            tape.note(now, Event::PathChanged);
        }
        self.probe = None;
        if let Some(estimator) = &mut self.estimator {
            estimator.path_changed();
        }
    }

    /// What may be shared among slots; `None` while nothing limits them.
    pub(crate) fn estimate(&self, now: Instant) -> Option<Bitrate> {
        let informed_at = self.informed_at?;
        let is_over = now.saturating_duration_since(informed_at) >= GRACE;
        let estimator = self.estimator.as_ref().filter(|_| is_over)?;
        Some(estimator.budget())
    }

    /// Whether it is sure that there is no room for everything, so that pictures may be stopped.
    pub(crate) fn may_pause(&self) -> bool {
        self.estimator
            .as_ref()
            .is_some_and(|estimator| estimator.may_pause())
    }

    /// What is sent now costs `total`; the next better step would take `next`.
    pub(crate) fn shared(&mut self, total: Bitrate, next: Option<Bitrate>) {
        self.allocated = total;
        let headroom = Bitrate::bps(total.as_bps() * HEADROOM_PERCENT / 100);
        self.demand = next.unwrap_or(headroom);
    }

    /// What is known, in numbers; `None` where nothing is sent that is reported upon.
    pub(crate) fn report(&self) -> Option<PathReport> {
        self.estimator.as_ref().map(|estimator| estimator.report())
    }

    /// What all that was chosen costs.
    pub(crate) fn allocated(&self) -> Bitrate {
        self.allocated
    }

    /// The state, if it is another one than when this was last asked; and how many overloads there
    /// were since.
    pub(crate) fn news(&mut self) -> (Option<PathState>, u64) {
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
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let fades_at = self.estimator.as_ref()?.poll_timeout();
        let probes_at = self.probe.map(|probe| probe.next_at);
        [self.review_at, probes_at, fades_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed; whether layers are to be chosen anew.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
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

    /// How many bytes the probe lacks now; zero if there is none, or it is on time.
    pub(crate) fn probe_bytes(&mut self, now: Instant) -> u64 {
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
        probe.cluster.rate.bytes_in(elapsed).saturating_sub(sent)
    }

    /// There is nothing that a probe could be made of.
    pub(crate) fn give_up_probe(&mut self) {
        self.probe = None;
    }

    /// Begins a probe, if one is due.
    pub(crate) fn poll_probe(&mut self, now: Instant) {
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
