//! Bits per second, as a type.

use std::fmt;
use std::time::Duration;

/// A bitrate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

impl Bitrate {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);

    /// So many bits per second.
    #[must_use]
    pub const fn bps(bps: u64) -> Self {
        Self(bps)
    }

    /// So many thousand bits per second.
    #[must_use]
    pub const fn kbps(kbps: u64) -> Self {
        Self(kbps * 1_000)
    }

    /// As bits per second.
    #[must_use]
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// How many bytes pass in this time.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bits = u128::from(self.0) * time.as_micros() / 1_000_000;
        u64::try_from(bits / 8).unwrap_or(u64::MAX)
    }

    pub(crate) fn from_f64(bps: f64) -> Self {
        // Saturates, and makes zero of what is not a number.
        Self(bps as u64)
    }

    pub(crate) fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s", self.0 / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_carries_so_much_in_a_time() {
        let rate = Bitrate::kbps(2_500);
        assert_eq!(rate.bytes_in(Duration::from_millis(100)), 31_250);
        assert_eq!(rate.to_string(), "2500 kbit/s");
    }

    #[test]
    fn no_rate_at_all_carries_nothing() {
        assert_eq!(Bitrate::ZERO.bytes_in(Duration::from_secs(1)), 0);
    }
}
