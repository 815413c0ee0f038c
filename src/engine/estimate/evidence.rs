//! How sure it is that a path is overloaded.
//!
//! A delay alone is weak evidence: a receiver whose processor is wanted by others reads late, a
//! sender that was kept waiting sends late, radio has its fits, and all of them look like a queue
//! for some tenths of a second. What an overloaded path does, and a busy machine does not: its
//! queue stays, what arrives is less than what is sent, and what does not fit is lost.

use super::throughput::Throughput;

/// A queue that stays so long is more than a machine that was busy for a moment. Shorter, and
/// pictures go down for nothing; longer, and a slow overload is heard as delay.
const SUSTAINED_US: i64 = 800_000;

/// A queue that stays so long while less arrives than is sent proves, even without a loss, that not
/// everything fits: no machine is busy for so long, and few queues are deeper.
const DEEP_US: i64 = 3_000_000;

/// A pause between two queues that is no end of the first: two feedbacks of a slow receiver.
const GAP_US: i64 = 250_000;

/// Loss beyond the path's own from which on a queue overflows, and the packets that tell so.
const OVERFLOW: f64 = 0.05;
const OVERFLOW_PACKETS: u32 = 20;

/// A path that delivers less than this of what it was given for a second has no room for it.
/// Sources and frames make both sides differ by a few percent.
const DELIVERS: f64 = 0.85;

/// What loses so much is of no use as a picture, whatever the cause.
const UNUSABLE: f64 = 0.15;

/// How long a proof is believed after the last of it: about what a pause takes to be felt, and a
/// queue to drain.
const BELIEVED_US: i64 = 2_000_000;

/// What points at an overload.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Since when a queue stands, and when it was seen last.
    queued: Option<(i64, i64)>,
    arrived: u32,
    lost: u32,
    /// When it was last sure that not everything fits.
    proven_us: Option<i64>,
}

/// What is known at a feedback.
pub(super) struct Signs<'a> {
    pub(super) now_us: i64,
    pub(super) is_queued: bool,
    pub(super) arrivals: &'a Throughput,
    pub(super) sendings: &'a Throughput,
    pub(super) own_loss: f64,
    /// The share that is lost while it is being found out whose fault that is.
    pub(super) suspicious_loss: f64,
}

impl Evidence {
    /// Takes in the fate of a packet.
    pub(super) fn judge(&mut self, has_arrived: bool) {
        if self.queued.is_some() {
            self.arrived += u32::from(has_arrived);
            self.lost += u32::from(!has_arrived);
        }
    }

    /// Takes in what a feedback tells.
    pub(super) fn weigh(&mut self, signs: &Signs<'_>) {
        let now_us = signs.now_us;
        if signs.is_queued {
            let since = self.queued.map_or(now_us, |(since, _)| since);
            self.queued = Some((since, now_us));
        } else if self.queued.is_some_and(|(_, last)| now_us - last > GAP_US) {
            self.dismiss();
        }
        let starves = self.has_stood_for(DEEP_US) && is_undelivered(signs);
        if self.overflows(signs.own_loss) || starves || signs.suspicious_loss >= UNUSABLE {
            self.proven_us = Some(now_us);
        }
    }

    /// Whether a queue has stood for longer than a busy machine explains.
    pub(super) fn is_sustained(&self) -> bool {
        self.has_stood_for(SUSTAINED_US)
    }

    /// Whether it is sure that not everything fits that is sent, or was so until lately.
    pub(super) fn is_proven(&self, now_us: i64) -> bool {
        self.proven_us.is_some_and(|at| now_us - at < BELIEVED_US)
    }

    /// Whatever was seen has another explanation.
    pub(super) fn dismiss(&mut self) {
        self.queued = None;
        self.arrived = 0;
        self.lost = 0;
    }

    fn has_stood_for(&self, us: i64) -> bool {
        self.queued.is_some_and(|(since, last)| last - since >= us)
    }

    fn overflows(&self, own_loss: f64) -> bool {
        let packets = self.arrived + self.lost;
        packets >= OVERFLOW_PACKETS
            && f64::from(self.lost) > (own_loss + OVERFLOW) * f64::from(packets)
    }
}

fn is_undelivered(signs: &Signs<'_>) -> bool {
    let arrives = signs.arrivals.bps(1_000_000, 600_000);
    let sent = signs.sendings.bps(1_000_000, 600_000);
    arrives
        .zip(sent)
        .is_some_and(|(arrives, sent)| arrives < DELIVERS * (1.0 - signs.own_loss) * sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feedback every 100 ms, with a queue or without, and so much of ten packets arriving.
    fn weigh(evidence: &mut Evidence, from_ms: i64, to_ms: i64, is_queued: bool, arrive: u32) {
        let (mut arrivals, mut sendings) = (Throughput::default(), Throughput::default());
        for ms in from_ms..to_ms {
            sendings.add(ms * 1_000, 125);
            arrivals.add(ms * 1_000, 12 * arrive + arrive / 2);
            if ms % 100 == 99 {
                (0..10).for_each(|n| evidence.judge(n < arrive));
                evidence.weigh(&Signs {
                    now_us: ms * 1_000,
                    is_queued,
                    arrivals: &arrivals,
                    sendings: &sendings,
                    own_loss: 0.0,
                    suspicious_loss: 0.0,
                });
            }
        }
    }

    #[test]
    fn a_queue_of_half_a_second_proves_nothing() {
        let mut evidence = Evidence::default();
        weigh(&mut evidence, 0, 500, true, 10);
        weigh(&mut evidence, 500, 1_000, false, 10);
        weigh(&mut evidence, 1_000, 1_500, true, 10);
        assert!(!evidence.is_sustained());
        assert!(!evidence.is_proven(1_500_000));
    }

    #[test]
    fn a_queue_that_stays_is_an_overload_but_no_reason_to_pause_anybody() {
        let mut evidence = Evidence::default();
        weigh(&mut evidence, 0, 3_000, true, 10);
        assert!(evidence.is_sustained());
        assert!(!evidence.is_proven(3_000_000));
    }

    #[test]
    fn a_queue_that_overflows_proves_that_not_everything_fits() {
        let mut evidence = Evidence::default();
        weigh(&mut evidence, 0, 500, true, 8);
        assert!(evidence.is_proven(500_000));
        assert!(!evidence.is_proven(3_000_000), "and not for ever");
    }

    #[test]
    fn a_queue_too_deep_to_overflow_is_found_out_as_well() {
        let mut evidence = Evidence::default();
        let (mut arrivals, mut sendings) = (Throughput::default(), Throughput::default());
        for ms in 0..4_000 {
            sendings.add(ms * 1_000, 250);
            arrivals.add(ms * 1_000, 125);
            evidence.weigh(&Signs {
                now_us: ms * 1_000,
                is_queued: true,
                arrivals: &arrivals,
                sendings: &sendings,
                own_loss: 0.0,
                suspicious_loss: 0.0,
            });
            assert!(ms > 2_000 || !evidence.is_proven(ms * 1_000), "at {ms} ms");
        }
        assert!(evidence.is_proven(4_000_000));
    }

    #[test]
    fn losses_without_a_queue_are_not_judged_here() {
        let mut evidence = Evidence::default();
        weigh(&mut evidence, 0, 3_000, false, 9);
        assert!(!evidence.is_proven(3_000_000));
    }
}
