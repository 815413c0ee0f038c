//! What an operator can set about threads.

use std::num::NonZeroU16;
use std::thread;

use clap::Args;

/// How the work is spread.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "shard")]
pub struct Settings {
    /// Threads that forward media, each for some of the rooms [default: one for each processor].
    #[arg(long, env = "PLENUM_SHARDS", value_name = "THREADS")]
    pub shards: Option<NonZeroU16>,
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
