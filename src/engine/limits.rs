//! How much an engine takes on, of everything that its clients choose the number of.

use super::channels::MAX_MESSAGE_BYTES;
use super::sdp::MAX_MEDIA_LINES;

/// How much an engine takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions on this shard.
    pub sessions: usize,
    /// Rooms on this shard, those of others that it serves viewers of included.
    pub rooms: usize,
    /// Participants in one room.
    pub participants_per_room: usize,
    /// Sessions of one room on its home shard from which on viewers go to other shards.
    pub viewers_per_shard: usize,
    /// M-lines in one session, [`MAX_MEDIA_LINES`] at most.
    pub media_lines: usize,
    /// Candidates of one fragment that are read; further ones are left out.
    pub candidates: usize,
    /// Data channels of one session.
    pub channels: ChannelLimits,
}

/// How much one session may do with data channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Channels that are open; further ones are closed at once.
    pub channels: u32,
    /// Messages that its client may send in a second.
    pub messages_per_second: u32,
    /// Bytes that its client may send in a second.
    pub bytes_per_second: u32,
    /// Bytes of one message, [`MAX_MESSAGE_BYTES`] at most.
    pub message_bytes: u32,
}

impl Default for Limits {
    /// What one core carries in ordinary conferences, with room to spare.
    fn default() -> Self {
        Self {
            sessions: 10_000,
            // Who makes them all in a loop ends here. Without anybody in it, one takes about a kilobyte.
            rooms: 20_000,
            participants_per_room: 5_000,
            // A few percent of a core. Below that, waking a second thread for every packet
            // costs more than it takes off the first.
            viewers_per_shard: 200,
            media_lines: MAX_MEDIA_LINES,
            // A laptop with two interfaces, VPN and relays has a dozen; as we are ICE-lite, none of
            // them is needed to reach us.
            candidates: 32,
            channels: ChannelLimits::default(),
        }
    }
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self {
            channels: 16,
            // Three pointers that move with the screen. Each becomes one for everybody in the room.
            messages_per_second: 200,
            // A small file, not media.
            bytes_per_second: 1024 * 1024,
            message_bytes: MAX_MESSAGE_BYTES,
        }
    }
}
