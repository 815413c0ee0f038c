//! What losses tell, and what they do not.
//!
//! A path loses packets because it is overloaded, or because it is a bad path. The first kind
//! goes away when less is sent, the second does not, and there is one way to tell: send less for
//! a moment and look. What stays is the path's own loss, and costs no bitrate from then on.

/// Packets that a verdict needs.
const WINDOW_PACKETS: u32 = 60;

/// Packets that suffice after [`LONG_WINDOW_US`], for receivers of little.
const FEW_PACKETS: u32 = 20;

/// The time of sending that a verdict covers at the least: long enough for several bursts.
const WINDOW_US: i64 = 300_000;
const LONG_WINDOW_US: i64 = 1_000_000;

/// Loss beyond the path's own that raises suspicion, whatever chance may do.
pub(super) const SUSPICIOUS: f64 = 0.025;

/// The same where less is sent than the path is believed to carry: a cut costs layers there, and
/// loses more than small losses do.
pub(super) const DEVASTATING: f64 = 0.15;

/// So many standard deviations of a fair coin are taken for chance.
const DEVIATIONS: f64 = 2.5;

/// The most that is cut to find out.
const MOST_CUT: f64 = 0.3;

/// How long the path's own loss is believed after a verdict, before another is asked for.
const PATIENCE_US: i64 = 2_000_000;

/// What one window contributes to the path's own loss: quickly where it got better; slowly where
/// it got worse, which growing would otherwise do to it little by little.
const OWN_LOSS_FALLS: f64 = 0.2;
const OWN_LOSS_RISES: f64 = 0.02;

/// What became of the packets, and how much of it is the path's own nature.
#[derive(Debug, Default)]
pub(super) struct Loss {
    arrived: u32,
    lost: u32,
    window_from_us: Option<i64>,
    own: f64,
    experiment: Option<Experiment>,
    patient_until_us: i64,
}

#[derive(Clone, Copy, Debug)]
struct Experiment {
    loss: f64,
    /// Packets sent before this do not count: they were sent at the old rate.
    from_us: i64,
}

/// What is to be done about losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Send this share of what is sent now, to find out.
    Cut(f64),
    /// Losses went away with the cut: that was the path's limit.
    Congestion,
    /// They did not: go back to where it was.
    OwnNature,
}

impl Loss {
    /// Takes in the fate of a packet.
    pub(super) fn judge(&mut self, has_arrived: bool, sent_us: i64) {
        if self
            .experiment
            .is_some_and(|experiment| sent_us < experiment.from_us)
        {
            return;
        }
        self.window_from_us.get_or_insert(sent_us);
        if has_arrived {
            self.arrived += 1;
        } else {
            self.lost += 1;
        }
    }

    /// Decides, once enough is known of packets sent until then.
    ///
    /// `suspicious` is the loss beyond the path's own that is looked into; none where something else
    /// explains it. `settled_us` is when packets will be sent that know of a cut made now.
    pub(super) fn verdict(
        &mut self,
        sent_us: i64,
        suspicious: Option<f64>,
        settled_us: i64,
    ) -> Option<Verdict> {
        let span_us = sent_us - self.window_from_us?;
        let packets = self.arrived + self.lost;
        let enough = if span_us >= LONG_WINDOW_US {
            FEW_PACKETS
        } else {
            WINDOW_PACKETS
        };
        if span_us < WINDOW_US || packets < enough {
            return None;
        }
        let loss = f64::from(self.lost) / f64::from(packets);
        self.restart();
        if let Some(experiment) = self.experiment.take() {
            self.patient_until_us = sent_us + PATIENCE_US;
            let halfway = self.own + (experiment.loss - self.own) / 2.0;
            if loss < halfway {
                return Some(Verdict::Congestion);
            }
            self.own = loss.min(experiment.loss);
            return Some(Verdict::OwnNature);
        }
        let chance = (loss * (1.0 - loss) / f64::from(packets)).sqrt();
        let deviations = DEVIATIONS * chance;
        let limit = self.own + SUSPICIOUS.max(deviations);
        let is_looked_into =
            suspicious.is_some_and(|suspicious| loss > self.own + suspicious.max(deviations));
        if is_looked_into && sent_us >= self.patient_until_us {
            self.experiment = Some(Experiment {
                loss,
                from_us: settled_us,
            });
            return Some(Verdict::Cut(1.0 - loss.min(MOST_CUT)));
        }
        if loss <= limit {
            let gain = if loss < self.own {
                OWN_LOSS_FALLS
            } else {
                OWN_LOSS_RISES
            };
            self.own += gain * (loss - self.own);
        }
        None
    }

    /// Whether less is being sent to find out whether losses obey.
    pub(super) fn is_experimenting(&self) -> bool {
        self.experiment.is_some()
    }

    /// The share that was lost when it began to be found out whose fault that is; zero otherwise.
    pub(super) fn suspicious(&self) -> f64 {
        self.experiment.map_or(0.0, |experiment| experiment.loss)
    }

    /// What the path loses however little is sent.
    pub(super) fn own(&self) -> f64 {
        self.own
    }

    /// What was counted so far has another explanation.
    pub(super) fn restart(&mut self) {
        self.arrived = 0;
        self.lost = 0;
        self.window_from_us = None;
    }

    /// The experiment is off: a queue explained it.
    pub(super) fn abort(&mut self) {
        self.experiment = None;
        self.restart();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet every 5 ms and loses one in `every`; stops at the first verdict.
    fn run(loss: &mut Loss, from_us: i64, every: i64, until_us: i64) -> Option<Verdict> {
        let mut at = from_us;
        while at < until_us {
            loss.judge((at / 5_000) % every != 0, at);
            if let Some(verdict) = loss.verdict(at, Some(SUSPICIOUS), at + 200_000) {
                return Some(verdict);
            }
            at += 5_000;
        }
        None
    }

    #[test]
    fn loss_that_stays_when_less_is_sent_is_the_paths_own() {
        let mut loss = Loss::default();
        let verdict = run(&mut loss, 0, 5, 2_000_000);
        assert!(matches!(verdict, Some(Verdict::Cut(share)) if (0.75..0.85).contains(&share)));
        assert!(loss.is_experimenting());
        let verdict = run(&mut loss, 500_000, 5, 2_000_000);
        assert_eq!(verdict, Some(Verdict::OwnNature));
        assert!((loss.own() - 0.2).abs() < 0.02);
        assert_eq!(run(&mut loss, 3_000_000, 5, 20_000_000), None, "settled");
    }

    #[test]
    fn loss_that_goes_when_less_is_sent_was_ours() {
        let mut loss = Loss::default();
        assert!(matches!(
            run(&mut loss, 0, 5, 2_000_000),
            Some(Verdict::Cut(_))
        ));
        let verdict = run(&mut loss, 500_000, i64::MAX, 2_000_000);
        assert_eq!(verdict, Some(Verdict::Congestion));
        assert!(loss.own() < 0.02);
    }

    #[test]
    fn a_loss_now_and_then_is_chance() {
        let mut loss = Loss::default();
        assert_eq!(run(&mut loss, 0, 50, 20_000_000), None);
        assert!(loss.own() < 0.021);
    }
}
