//! Delays of one stream in a few hundred bytes, so that thousands of receivers can each have their own.

use std::time::Duration;

/// Four buckets to an octave: 19 % between neighbours, which is finer than the noise of any machine.
const PER_OCTAVE: u32 = 4;

/// The first bucket ends here, in microseconds; nothing on a network is faster to tell apart.
const FIRST_US: f64 = 16.0;

/// From 16 us over twenty octaves to 16 s.
const BUCKETS: usize = 80;

/// How often each delay was seen.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    buckets: [u32; BUCKETS],
    count: u64,
    longest: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            count: 0,
            longest: Duration::ZERO,
        }
    }
}

impl Delays {
    pub(crate) fn record(&mut self, delay: Duration) {
        let octaves = (delay.as_secs_f64() * 1e6 / FIRST_US).max(1.0).log2();
        let bucket = (octaves * f64::from(PER_OCTAVE)) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.longest = self.longest.max(delay);
    }

    /// The delay that `share` of all packets stayed below; `None` without packets.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let rank = (share * self.count as f64).ceil() as u64;
        let mut below = 0;
        let bucket = self.buckets.iter().position(|&count| {
            below += u64::from(count);
            below >= rank
        })?;
        let us = FIRST_US * f64::exp2((bucket as f64 + 1.0) / f64::from(PER_OCTAVE));
        Some(Duration::from_secs_f64(us / 1e6).min(self.longest))
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_bucket() {
        let mut delays = Delays::default();
        assert_eq!(delays.quantile(0.5), None);
        for ms in 1..=1000 {
            delays.record(Duration::from_millis(ms));
        }
        for (share, ms) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let found = delays
                .quantile(share)
                .expect("there are packets")
                .as_secs_f64()
                * 1e3;
            assert!((ms..ms * 1.2).contains(&found), "{share}: {found}");
        }
        assert_eq!(delays.longest(), Duration::from_secs(1));
    }
}
