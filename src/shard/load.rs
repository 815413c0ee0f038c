//! How busy a shard's thread is.

use std::time::Duration;

use crate::engine::counters::Histogram;

/// What a shard's loop has counted about itself.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Times that it woke up.
    pub wake_ups: u64,
    /// Time that it spent awake.
    pub busy: Duration,
    /// How late timers were served: the loop's lag.
    pub timer_lag: Histogram,
    /// From the kernel's receive time of a datagram until everything that it caused in the
    /// engine was handed to the kernel.
    pub turnaround: Histogram,
}
