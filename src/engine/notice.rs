//! What the world outside a room's sessions is told: that rooms begin and end, and who comes,
//! goes and publishes. Its JSON form is what webhooks carry (`docs/http.md`).

use std::time::Instant;

use serde::Serialize;

use super::Engine;
use super::event::{ParticipantInfo, TrackInfo};
use super::ids::RoomId;

/// Something happened in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What.
    #[serde(flatten)]
    pub news: News,
    /// Where.
    pub room: RoomId,
    /// When, in milliseconds since the Unix epoch.
    #[serde(rename = "at")]
    pub at_ms: u64,
}

/// What happened. Players are nobody to the others, and so they are here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum News {
    /// The room is there from now on.
    RoomStarted,
    /// The room is no more.
    RoomEnded,
    /// Somebody came, and is connected.
    ParticipantJoined {
        /// Who.
        participant: ParticipantInfo,
    },
    /// Somebody who had joined went.
    ParticipantLeft {
        /// Who.
        participant: ParticipantInfo,
    },
    /// A track is there from now on.
    TrackPublished {
        /// Which.
        track: TrackInfo,
    },
    /// A track is no more.
    TrackUnpublished {
        /// Which.
        track: TrackInfo,
    },
}

impl Engine {
    /// The next thing that the world outside is to hear of.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Says what happened in a room, unless it is a mirror: its home says it.
    pub(super) fn announce(&mut self, room: usize, news: News, now: Instant) {
        let at_ms = self.wall_clock_ms(now);
        let room = &self.rooms[room];
        if room.home().is_none() {
            let room = room.id().clone();
            self.notices.push_back(Notice { news, room, at_ms });
        }
    }
}
