//! What an operator can set about threads.

use std::num::NonZeroU16;
use std::thread;

use clap::Args;

use crate::engine::Limits;

/// How the work is spread.
#[derive(Args, Clone, Debug)]
#[group(id = "shard")]
pub struct Settings {
    /// Threads that forward media, each for some of the rooms [default: one for each processor].
    #[arg(long, env = "PLENUM_SHARDS", value_name = "THREADS")]
    pub shards: Option<NonZeroU16>,

    /// Sessions of one room on one thread from which on its WHEP viewers go to other threads.
    #[arg(
        long,
        env = "PLENUM_VIEWERS_PER_SHARD",
        value_name = "SESSIONS",
        default_value_t = Limits::default().viewers_per_shard
    )]
    pub viewers_per_shard: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: None,
            viewers_per_shard: Limits::default().viewers_per_shard,
        }
    }
}

impl Settings {
    /// How many shards there are to be.
    pub fn count(&self) -> NonZeroU16 {
        let processors = || {
            thread::available_parallelism()
                .ok()
                .and_then(|n| n.try_into().ok())
        };
        self.shards.or_else(processors).unwrap_or(NonZeroU16::MIN)
    }
}
