//! What an operator can set about threads.

use std::num::NonZeroU16;
use std::thread;

use clap::Args;

use crate::engine::sdp::MAX_MEDIA_LINES;
use crate::engine::{ChannelLimits, Limits, MAX_DATA_MESSAGE_BYTES};

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

    /// M-lines in one session: tiles, sounds, and what it sends.
    #[arg(
        long,
        env = "PLENUM_MEDIA_LINES",
        value_name = "LINES",
        default_value_t = Self::default().media_lines,
        value_parser = clap::value_parser!(u32).range(1..=MAX_MEDIA_LINES as i64)
    )]
    pub media_lines: u32,

    /// ICE candidates of one trickle fragment that are read; further ones are left out.
    #[arg(
        long,
        env = "PLENUM_CANDIDATES",
        value_name = "CANDIDATES",
        default_value_t = Limits::default().candidates
    )]
    pub candidates: usize,

    /// Data channels that a session may have open.
    #[arg(
        long,
        env = "PLENUM_DATA_CHANNELS",
        value_name = "CHANNELS",
        default_value_t = ChannelLimits::default().channels
    )]
    pub data_channels: u32,

    /// Messages that a session may send on its data channels in a second.
    #[arg(
        long,
        env = "PLENUM_DATA_RATE",
        value_name = "PER_SECOND",
        default_value_t = ChannelLimits::default().messages_per_second
    )]
    pub data_rate: u32,

    /// Bytes that a session may send on its data channels in a second.
    #[arg(
        long,
        env = "PLENUM_DATA_BYTES",
        value_name = "PER_SECOND",
        default_value_t = ChannelLimits::default().bytes_per_second
    )]
    pub data_bytes: u32,

    /// Bytes of one message on a data channel.
    #[arg(
        long,
        env = "PLENUM_DATA_MESSAGE_BYTES",
        value_name = "BYTES",
        default_value_t = ChannelLimits::default().message_bytes,
        value_parser = clap::value_parser!(u32).range(MIN_MESSAGE_BYTES..=MAX_DATA_MESSAGE_BYTES as i64)
    )]
    pub data_message_bytes: u32,
}

/// Positions of a pointer are smaller, and SCTP carries as much in one packet.
const MIN_MESSAGE_BYTES: i64 = 1024;

impl Default for Settings {
    fn default() -> Self {
        let Limits {
            sessions,
            rooms,
            participants_per_room,
            viewers_per_shard,
            media_lines,
            candidates,
            channels,
        } = Limits::default();
        Self {
            shards: None,
            sessions_per_shard: sessions,
            rooms_per_shard: rooms,
            participants_per_room,
            viewers_per_shard,
            media_lines: media_lines as u32,
            candidates,
            data_channels: channels.channels,
            data_rate: channels.messages_per_second,
            data_bytes: channels.bytes_per_second,
            data_message_bytes: channels.message_bytes,
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
            media_lines: self.media_lines as usize,
            candidates: self.candidates,
            channels: ChannelLimits {
                channels: self.data_channels,
                messages_per_second: self.data_rate,
                bytes_per_second: self.data_bytes,
                message_bytes: self.data_message_bytes,
            },
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
