//! The wall clock, which all processes of one machine share.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970: what stamps carry and what the kernel notes on arrival.
pub(crate) fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
