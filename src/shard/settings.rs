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

    /// Sessions on one thread.
    #[arg(
        long,
        env = "PLENUM_SESSIONS_PER_SHARD",
        value_name = "SESSIONS",
        default_value_t = Limits::default().sessions
    )]
    pub sessions_per_shard: usize,

    /// Rooms on one thread.
    #[arg(
        long,
        env = "PLENUM_ROOMS_PER_SHARD",
        value_name = "ROOMS",
        default_value_t = Limits::default().rooms
    )]
    pub rooms_per_shard: usize,

    /// Sessions in one room, players included.
    #[arg(
        long,
        env = "PLENUM_PARTICIPANTS_PER_ROOM",
        value_name = "SESSIONS",
        default_value_t = Limits::default().participants_per_room
    )]
    pub participants_per_room: usize,

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
        let Limits {
            sessions,
            rooms,
            participants_per_room,
            viewers_per_shard,
        } = Limits::default();
        Self {
            shards: None,
            sessions_per_shard: sessions,
            rooms_per_shard: rooms,
            participants_per_room,
            viewers_per_shard,
        }
    }
}

impl Settings {
    /// How much each of them takes on.
    pub fn limits(&self) -> Limits {
        Limits {
            sessions: self.sessions_per_shard,
            rooms: self.rooms_per_shard,
            participants_per_room: self.participants_per_room,
            viewers_per_shard: self.viewers_per_shard,
        }
    }

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
