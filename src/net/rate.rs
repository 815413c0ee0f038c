//! How often a source may ask for something that costs an answer.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Sources that are told apart: 32 KiB. Two that share a place share its rate, and who they
/// are changes with every start.
const PLACES: usize = 4096;

/// Lets each source do something so many times a second, in constant time and memory whoever
/// asks, since strangers choose their addresses.
///
/// Each place keeps the time at which it would be idle again (GCRA, as in ATM's traffic contract):
/// every event moves it by the interval, and it may lead the clock by as much as the burst is worth.
#[derive(Debug)]
pub struct SourceRate {
    epoch: Instant,
    hash: RandomState,
    interval: Duration,
    lead: Duration,
    /// Since the epoch.
    idle_at: Box<[Duration]>,
}

impl SourceRate {
    /// `per_second` events from each source, of which `burst` may come at once.
    pub fn new(per_second: u32, burst: u32, epoch: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            epoch,
            hash: RandomState::new(),
            interval,
            lead: interval * burst.saturating_sub(1),
            idle_at: vec![Duration::ZERO; PLACES].into(),
        }
    }

    /// Whether this source may do it once more now; if so, that is counted.
    pub fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.epoch);
        let place = self.hash.hash_one(network(source)) as usize % PLACES;
        let idle_at = self.idle_at[place].max(now);
        if idle_at > now + self.lead {
            return false;
        }
        self.idle_at[place] = idle_at + self.interval;
        true
    }
}

/// One customer: an IPv4 address, or an IPv6 /64, of which each has 2^64 addresses.
pub(super) fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::some_moment;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_asks_too_often_waits_and_others_do_not() {
        let start = some_moment();
        let mut rate = SourceRate::new(10, 5, start);
        let (flood, guest) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let mut admitted = |source, ms| {
            let now = start + Duration::from_millis(ms);
            (0..100).filter(|_| rate.admits(source, now)).count()
        };
        assert_eq!(admitted(flood, 0), 5, "the burst");
        assert_eq!(admitted(flood, 99), 0);
        assert_eq!(admitted(flood, 100), 1, "ten a second");
        assert_eq!(admitted(flood, 10_000), 5, "a pause does not save up more");
        assert_eq!(admitted(guest, 10_000), 5);
    }

    #[test]
    fn a_customer_with_many_addresses_is_one_source() {
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:2")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), network(ip("192.0.2.1")));
    }
}
