//! How much a receiver may have sent again.
//!
//! Retransmissions answer reports of loss (RFC 4585 §6.2.1), which anybody may send who is in a
//! session. They are bounded twice: one packet is sent again at most once per round trip, and
//! all of them together cost at most half of what was sent anyway.

use std::time::{Duration, Instant};

/// How many recent retransmissions are remembered. More at once than this are a burst that the
/// byte limit cuts off.
const REMEMBERED: usize = 64;

/// Shortest time between two retransmissions of one packet, until a round trip is known.
const DEFAULT_INTERVAL: Duration = Duration::from_millis(50);

/// One part in this many of the media sent may be sent again.
const BUDGET_SHARE: u64 = 2;

/// Bytes that may be sent again at once: a keyframe of some 100 packets.
const BUDGET_BURST_BYTES: u64 = 128 * 1024;

/// The memory behind the two limits.
#[derive(Debug)]
pub struct RtxLimit {
    recent: Vec<(u64, Instant)>,
    next: usize,
    budget_bytes: u64,
}

impl Default for RtxLimit {
    fn default() -> Self {
        Self {
            recent: Vec::new(),
            next: 0,
            budget_bytes: BUDGET_BURST_BYTES,
        }
    }
}

impl RtxLimit {
    /// Media was sent: that much more may be sent again.
    pub fn sent(&mut self, bytes: usize) {
        self.budget_bytes =
            (self.budget_bytes + bytes as u64 / BUDGET_SHARE).min(BUDGET_BURST_BYTES);
    }

    /// Whether this packet may be sent again now; if so, it is taken as sent.
    pub fn allow(&mut self, seq: u64, bytes: usize, rtt: Option<Duration>, now: Instant) -> bool {
        let interval = rtt.unwrap_or(DEFAULT_INTERVAL);
        let again = self
            .recent
            .iter()
            .any(|&(sent, at)| sent == seq && now.saturating_duration_since(at) < interval);
        if again || self.budget_bytes < bytes as u64 {
            return false;
        }
        self.budget_bytes -= bytes as u64;
        if self.recent.len() < REMEMBERED {
            self.recent.push((seq, now));
        } else {
            self.recent[self.next] = (seq, now);
            self.next = (self.next + 1) % REMEMBERED;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_packet_is_sent_again_once_per_round_trip() {
        let t0 = some_moment();
        let mut limit = RtxLimit::default();
        let rtt = Some(Duration::from_millis(100));
        assert!(limit.allow(7, 1200, rtt, t0));
        assert!(!limit.allow(7, 1200, rtt, t0 + Duration::from_millis(99)));
        assert!(limit.allow(7, 1200, rtt, t0 + Duration::from_millis(100)));
    }

    #[test]
    fn whoever_reports_everything_lost_gets_half_as_much_again_at_most() {
        let t0 = some_moment();
        let mut limit = RtxLimit::default();
        let mut allowed = 0;
        for seq in 0..100_000_u64 {
            limit.sent(1200);
            if limit.allow(seq, 1200, None, t0 + Duration::from_millis(seq)) {
                allowed += 1;
            }
        }
        assert!(allowed < 50_200, "{allowed} of 100000");
        assert!(allowed > 49_000, "{allowed} of 100000");
    }
}
