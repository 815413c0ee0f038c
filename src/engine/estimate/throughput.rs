//! How much arrives: bytes by the time of their arrival, or of their sending.

use std::ops::Range;

use crate::engine::cache;

/// How many buckets are kept.
const BUCKETS: usize = 40;

/// The span of one bucket: a second is remembered in all.
const BUCKET_US: i64 = 25_000;

/// Bytes of the last second, by time.
///
/// Time is of whichever clock the caller uses throughout. A stretch of which nothing is known
/// (its feedback was lost) is left out of the reckoning, or lost feedback would look like lost
/// capacity.
#[derive(Debug)]
pub(super) struct Throughput {
    bytes: [u32; BUCKETS],
    /// How much of each bucket is known, in microseconds.
    known_us: [u16; BUCKETS],
    /// The number of the newest bucket.
    newest: i64,
    /// Up to when time was accounted for.
    until_us: Option<i64>,
}

impl Default for Throughput {
    fn default() -> Self {
        Self {
            bytes: [0; BUCKETS],
            known_us: [0; BUCKETS],
            newest: 0,
            until_us: None,
        }
    }
}

impl Throughput {
    /// Fetches what [`Self::add`] will need.
    pub(super) fn warm(&self) {
        cache::fetch(&self.bytes);
        cache::fetch(&self.known_us);
        cache::fetch(&self.newest);
    }

    /// Takes in bytes; the time since the newest ones before is known from now on.
    pub(super) fn add(&mut self, at_us: i64, bytes: u32) {
        self.advance(at_us, true);
        let bucket = at_us.div_euclid(BUCKET_US);
        if self.newest - bucket < BUCKETS as i64 {
            self.bytes[place(bucket)] += bytes;
        }
    }

    /// Nothing is known of the time up to this moment.
    pub(super) fn skip(&mut self, at_us: i64) {
        self.advance(at_us, false);
    }

    fn advance(&mut self, at_us: i64, is_known: bool) {
        let bucket = at_us.div_euclid(BUCKET_US);
        let Some(until) = self.until_us else {
            self.newest = bucket;
            self.until_us = Some(at_us);
            return;
        };
        if at_us <= until {
            return;
        }
        let from = self.newest.max(bucket - BUCKETS as i64) + 1;
        for cleared in from..=bucket {
            self.bytes[place(cleared)] = 0;
            self.known_us[place(cleared)] = 0;
        }
        if is_known {
            let oldest = (bucket - BUCKETS as i64 + 1) * BUCKET_US;
            let mut from = until.max(oldest);
            while from < at_us {
                let bucket = from.div_euclid(BUCKET_US);
                let to = ((bucket + 1) * BUCKET_US).min(at_us);
                self.known_us[place(bucket)] += (to - from) as u16;
                from = to;
            }
        }
        self.newest = bucket;
        self.until_us = Some(at_us);
    }

    /// Bits per second over the newest stretch of this length, if at least `least_us` of it is
    /// known. The newest bucket is left out where possible: it is not full yet.
    pub(super) fn bps(&self, window_us: i64, least_us: i64) -> Option<f64> {
        let until = self.until_us?;
        self.bps_between(until - window_us, least_us)
    }

    /// Bits per second since a moment (a second ago at most), if at least `least_us` are known.
    pub(super) fn bps_between(&self, from_us: i64, least_us: i64) -> Option<f64> {
        let oldest = self.newest - BUCKETS as i64 + 1;
        let first = (from_us.div_euclid(BUCKET_US) + 1).max(oldest);
        let count = usize::try_from(self.newest - first + 1).unwrap_or(0);
        let (older, newer) = stretch(first, count);
        let bytes = sum(&self.bytes[older.clone()]) + sum(&self.bytes[newer.clone()]);
        let known = sum(&self.known_us[older]) + sum(&self.known_us[newer]);
        (known as i64 >= least_us.max(1)).then(|| bytes as f64 * 8e6 / known as f64)
    }
}

/// Where so many buckets from `first` on stand: two stretches, as they go around.
fn stretch(first: i64, count: usize) -> (Range<usize>, Range<usize>) {
    let start = place(first);
    let end = start + count.min(BUCKETS);
    (start..end.min(BUCKETS), 0..end.saturating_sub(BUCKETS))
}

fn sum<T: Copy + Into<u64>>(values: &[T]) -> u64 {
    values.iter().map(|value| (*value).into()).sum()
}

fn place(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate() {
        let mut meter = Throughput::default();
        for n in 0..300 {
            meter.add(n * 10_000, 1_250);
        }
        let bps = meter.bps(500_000, 400_000).expect("known");
        assert!((bps - 1e6).abs() < 3e4, "{bps}");
    }

    #[test]
    fn what_is_not_known_does_not_count_as_silence() {
        let mut meter = Throughput::default();
        for n in 0..100 {
            meter.add(n * 10_000, 1_250);
        }
        meter.skip(1_300_000);
        for n in 0..20 {
            meter.add(1_300_000 + n * 10_000, 1_250);
        }
        let bps = meter.bps(900_000, 300_000).expect("known");
        assert!((bps - 1e6).abs() < 6e4, "{bps}");
        let silent = {
            meter.add(1_900_000, 1_250);
            meter.bps(400_000, 300_000).expect("known")
        };
        assert!(silent < 1e5, "{silent}");
    }

    #[test]
    fn too_little_says_nothing() {
        let mut meter = Throughput::default();
        meter.add(0, 1_250);
        meter.add(50_000, 1_250);
        assert_eq!(meter.bps(500_000, 100_000), None);
    }
}
