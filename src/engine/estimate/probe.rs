//! Probes: short bursts above the estimate, to learn whether the path carries more.

use std::time::Duration;

use super::super::bitrate::Bitrate;

/// Shortest burst: at 250 µs of resolution its length is known to a few percent.
const MIN_LENGTH: Duration = Duration::from_millis(20);

/// Longest burst, on paths whose jitter would drown a shorter one.
const MAX_LENGTH: Duration = Duration::from_millis(80);

/// Fewest packets of a burst, of whatever size.
pub(super) const MIN_PACKETS: u32 = 5;

/// Smallest size of packets by which a burst is planned: what padding alone can make.
const PADDING_BYTES: u32 = 250;

/// A burst that arrives this much slower than it was sent has met the path's limit.
const SLOWED: f64 = 0.9;

/// Part of the packets that must have arrived for a burst to count.
const ENOUGH: f64 = 0.8;

/// A burst that is to be sent: the packets that are due anyway come first, padding fills it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeCluster {
    /// How fast to send.
    pub rate: Bitrate,
    /// How many bytes to send at that rate, in at least [`Self::packets`] packets.
    pub bytes: u32,
    /// The fewest packets.
    pub packets: u32,
}

impl ProbeCluster {
    pub(super) fn new(bps: f64, noise_us: i64) -> Self {
        let jitter = Duration::from_micros(noise_us.max(0).cast_unsigned() * 4);
        let length = jitter.clamp(MIN_LENGTH, MAX_LENGTH);
        let rate = Bitrate::from_f64(bps);
        let bytes = rate.bytes_in(length) as u32;
        Self {
            rate,
            bytes: bytes.max(MIN_PACKETS * PADDING_BYTES),
            packets: MIN_PACKETS,
        }
    }
}

/// What a burst has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    /// The rate that was seen to pass.
    pub(super) bps: f64,
    /// Whether the path slowed it down: then this is the path's limit.
    pub(super) is_limit: bool,
}

/// A burst on its way, or being judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    cluster: ProbeCluster,
    first: u64,
    sent_bytes: u32,
    sent_packets: u32,
    /// The number of its last packet, once that was sent.
    last: Option<u64>,
    pub(super) began_us: i64,
    arrived_packets: u32,
    arrived_bytes: u32,
    first_sent_us: i64,
    last_sent_us: i64,
    first_arrived_us: i64,
    last_arrived_us: i64,
}

impl Burst {
    pub(super) fn new(cluster: ProbeCluster, next: u64, now_us: i64) -> Self {
        Self {
            cluster,
            first: next,
            sent_bytes: 0,
            sent_packets: 0,
            last: None,
            began_us: now_us,
            arrived_packets: 0,
            arrived_bytes: 0,
            first_sent_us: 0,
            last_sent_us: 0,
            first_arrived_us: 0,
            last_arrived_us: 0,
        }
    }

    /// Whether packets that are sent now belong to it.
    pub(super) fn is_being_sent(&self) -> bool {
        self.last.is_none()
    }

    /// A packet was sent.
    pub(super) fn sent(&mut self, seq: u64, bytes: u32) {
        if self.last.is_some() {
            return;
        }
        self.sent_bytes += bytes;
        self.sent_packets += 1;
        if self.sent_bytes >= self.cluster.bytes && self.sent_packets >= self.cluster.packets {
            self.last = Some(seq);
        }
    }

    /// A packet arrived, whether it belongs to the burst or not.
    pub(super) fn arrived(&mut self, seq: u64, bytes: u32, sent_us: i64, arrived_us: i64) {
        if seq < self.first || self.last.is_some_and(|last| seq > last) {
            return;
        }
        if self.arrived_packets == 0 {
            self.first_sent_us = sent_us;
            self.first_arrived_us = arrived_us;
        }
        if arrived_us >= self.last_arrived_us {
            self.last_arrived_us = arrived_us;
            self.last_sent_us = sent_us;
        }
        self.arrived_packets += 1;
        self.arrived_bytes += bytes;
    }

    /// Whether everything is known that will be, feedback having come up to `newest`.
    pub(super) fn is_over(&self, newest: u64) -> bool {
        self.last.is_some_and(|last| newest >= last)
    }

    /// What it has shown; nothing if too little of it arrived, even for a path that loses this
    /// share by its own nature.
    pub(super) fn outcome(&self, own_loss: f64) -> Option<Outcome> {
        let arrived = f64::from(self.arrived_packets);
        let expected = f64::from(self.sent_packets) * (1.0 - own_loss);
        if self.arrived_packets < 3 || arrived < ENOUGH * expected {
            return None;
        }
        // Between the ends lies one packet less than there are. Which one would be left out matters
        // where sizes differ: sound and pictures mix here, so it is one of middling size.
        let bytes = f64::from(self.arrived_bytes) * (1.0 - 1.0 / arrived);
        let rate = |us: i64| bytes * 8e6 / us.max(1) as f64;
        let sent = rate(self.last_sent_us - self.first_sent_us);
        let arrived = rate(self.last_arrived_us - self.first_arrived_us);
        // Sent in one go it says what the receiver's own clock can tell, and that is all.
        let sent = sent.min(self.cluster.rate.as_f64());
        Some(Outcome {
            bps: arrived.min(sent),
            is_limit: arrived < SLOWED * sent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(arrival_spacing_us: i64) -> Burst {
        let cluster = ProbeCluster::new(2_000_000.0, 0);
        let mut burst = Burst::new(cluster, 100, 0);
        let mut seq = 100;
        while burst.is_being_sent() {
            burst.sent(seq, 500);
            seq += 1;
        }
        for (n, seq) in (100..seq).enumerate() {
            let n = n as i64;
            burst.arrived(seq, 500, n * 2_000, 9_000_000 + n * arrival_spacing_us);
        }
        assert!(burst.is_over(seq - 1));
        burst
    }

    #[test]
    fn a_burst_is_long_enough_to_be_timed() {
        let cluster = ProbeCluster::new(2_000_000.0, 0);
        assert_eq!(cluster.bytes, 5_000);
        let jittery = ProbeCluster::new(2_000_000.0, 10_000);
        assert_eq!(jittery.bytes, 10_000);
        let slow = ProbeCluster::new(100_000.0, 0);
        assert_eq!((slow.bytes, slow.packets), (1_250, 5));
    }

    #[test]
    fn a_burst_that_keeps_its_pace_passes() {
        let outcome = burst(2_000).outcome(0.0).expect("arrived");
        assert!(!outcome.is_limit);
        assert!((outcome.bps - 2e6).abs() < 1e5, "{outcome:?}");
    }

    #[test]
    fn a_burst_that_is_slowed_down_shows_the_limit() {
        let outcome = burst(4_000).outcome(0.0).expect("arrived");
        assert!(outcome.is_limit);
        assert!((outcome.bps - 1e6).abs() < 1e5, "{outcome:?}");
    }

    #[test]
    fn a_burst_that_is_mostly_lost_shows_nothing() {
        let cluster = ProbeCluster::new(2_000_000.0, 0);
        let mut burst = Burst::new(cluster, 0, 0);
        for seq in 0..10 {
            burst.sent(seq, 500);
        }
        for seq in 0..5 {
            burst.arrived(seq, 500, seq as i64 * 2_000, seq as i64 * 2_000);
        }
        assert_eq!(burst.outcome(0.0), None);
    }
}
