//! A limit for publishers that do not understand transport-wide feedback.
//!
//! Most publishers find their own rate from the arrival times that str0m reports to them. Those
//! that only know REMB (draft-alvestrand-rmcat-remb-03) would stay at their first guess, or run
//! into a full queue; they are told a rate that follows from loss, as in section 6 of
//! draft-ietf-rmcat-gcc-02: up by a twentieth while there is hardly any, down with it when there
//! is much.

/// Where a publisher may begin: one camera at 720p.
const INITIAL_BPS: u64 = 2_500_000;

/// The least that a publisher is asked to get along with: a thumbnail.
const MIN_BPS: u64 = 100_000;

/// The most: a screen at 1080p, with room.
const MAX_BPS: u64 = 8_000_000;

/// Up to this share of packets may be lost by chance, in percent.
const LITTLE_LOSS_PERCENT: u64 = 2;

/// From this share on a queue overflows, in percent.
const MUCH_LOSS_PERCENT: u64 = 10;

/// What a layer's arrivals say about the path that it comes by.
#[derive(Debug)]
pub(crate) struct ReceiveLimit {
    limit_bps: u64,
    /// One beyond the highest sequence number that arrived.
    end: Option<u64>,
    /// Where the window began, as a sequence number.
    start: u64,
    received: u64,
}

impl Default for ReceiveLimit {
    fn default() -> Self {
        Self {
            limit_bps: INITIAL_BPS,
            end: None,
            start: 0,
            received: 0,
        }
    }
}

impl ReceiveLimit {
    /// A packet arrived.
    pub(crate) fn received(&mut self, seq: u64) {
        self.received += 1;
        if self.end.is_none() {
            self.start = seq;
        }
        self.end = self.end.max(Some(seq + 1));
    }

    /// The rate to ask for, in bits per second, after another window of arrivals; `None` if there
    /// were none to judge by.
    pub(crate) fn judge(&mut self, measured_bps: u64) -> Option<u64> {
        let end = self.end?;
        let expected = end.saturating_sub(self.start);
        let lost = expected.saturating_sub(self.received);
        self.start = end;
        self.received = 0;
        if expected == 0 {
            return None;
        }
        let loss_percent = lost * 100 / expected;
        self.limit_bps = if loss_percent > MUCH_LOSS_PERCENT {
            // Half of what is lost comes off.
            measured_bps * (200 - loss_percent) / 200
        } else if loss_percent <= LITTLE_LOSS_PERCENT {
            // Not beyond what was tried: a rate that nobody uses tells nothing.
            (self.limit_bps * 21 / 20)
                .min(measured_bps * 2)
                .max(self.limit_bps)
        } else {
            self.limit_bps
        }
        .clamp(MIN_BPS, MAX_BPS);
        Some(self.limit_bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of 100 packets of which every `nth` is lost.
    fn second(limit: &mut ReceiveLimit, from: u64, nth: u64, measured_bps: u64) -> u64 {
        (from..from + 100)
            .filter(|seq| nth == 0 || seq % nth != 0)
            .for_each(|seq| limit.received(seq));
        limit.judge(measured_bps).expect("packets came")
    }

    #[test]
    fn a_publisher_on_a_good_path_is_let_go_up() {
        let mut limit = ReceiveLimit::default();
        let asked: Vec<u64> = (0..20)
            .map(|n| second(&mut limit, n * 100, 0, 4_000_000))
            .collect();
        assert!(
            asked.is_sorted() && asked[19] > 2 * INITIAL_BPS,
            "{asked:?}"
        );
    }

    #[test]
    fn a_publisher_whose_packets_are_lost_is_told_to_send_less() {
        let mut limit = ReceiveLimit::default();
        second(&mut limit, 0, 0, 2_500_000);
        let asked = second(&mut limit, 100, 5, 2_000_000);
        assert_eq!(asked, 1_800_000);
    }

    #[test]
    fn a_few_losses_change_nothing() {
        let mut limit = ReceiveLimit::default();
        second(&mut limit, 0, 0, 2_500_000);
        let before = limit.limit_bps;
        assert_eq!(second(&mut limit, 100, 20, 2_400_000), before);
    }
}
