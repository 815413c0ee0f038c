//! What hosts, and servers of applications, ask of rooms (`/api`), and what they are told.

use std::time::Duration;

use serde::Serialize;

use super::event::{ParticipantInfo, RoomState, TrackInfo};
use super::ids::{ParticipantId, RoomId, TrackId};
use super::message::Json;

/// One request about rooms.
#[derive(Debug)]
pub enum RoomCommand {
    /// All rooms of this engine. Answered by [`super::command::Reply::Rooms`].
    List,
    /// One room. Answered by [`super::command::Reply::Room`], as is the next.
    Show {
        /// Which.
        room: RoomId,
    },
    /// A room is made, or changed.
    Configure {
        /// Which.
        room: RoomId,
        /// What is to be different.
        settings: RoomSettings,
    },
    /// A room ends for all. Answered by [`super::command::Reply::Done`], as are the next.
    Close {
        /// Which.
        room: RoomId,
    },
    /// Somebody has to go.
    Remove {
        /// Where.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// Nothing of a track is forwarded until its publisher unmutes it.
    Mute {
        /// Where.
        room: RoomId,
        /// Whose.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
    },
    /// Somebody is sent to another room.
    Move {
        /// From where.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// The door of the other room.
        url: String,
    },
}

/// What is to be different about a room; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomSettings {
    /// Most participants; 0 for no limit but the server's.
    pub max_participants: Option<usize>,
    /// Whether newcomers are turned away.
    pub locked: Option<bool>,
    /// What an application notes of it: an object.
    pub metadata: Option<Json>,
    /// How long it is there without anybody in it.
    pub empty_timeout: Option<Duration>,
}

/// A room in a list of rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomSummary {
    /// Which.
    pub name: RoomId,
    /// How many are in it, those who only publish or watch included.
    pub participants: usize,
    /// How many tracks are published.
    pub tracks: usize,
    /// What concerns it as a whole.
    #[serde(flatten)]
    pub state: RoomState,
    /// Since when it is there, in milliseconds since the Unix epoch.
    #[serde(rename = "created")]
    pub created_ms: u64,
}

/// A room and all who are in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomDetail {
    /// Which.
    pub name: RoomId,
    /// Who is in it, those who only publish or watch included.
    pub participants: Vec<ParticipantDetail>,
    /// What concerns it as a whole.
    #[serde(flatten)]
    pub state: RoomState,
    /// Since when it is there, in milliseconds since the Unix epoch.
    #[serde(rename = "created")]
    pub created_ms: u64,
    /// Most participants, where it has a limit of its own.
    pub max_participants: Option<usize>,
    /// How long it is there without anybody in it, in seconds.
    #[serde(rename = "emptyTimeout")]
    pub empty_timeout_s: u64,
}

/// Somebody in a room, as its hosts see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParticipantDetail {
    /// Who.
    #[serde(flatten)]
    pub info: ParticipantInfo,
    /// How they came.
    pub via: Via,
    /// Since when they are there, in milliseconds since the Unix epoch.
    #[serde(rename = "joined")]
    pub joined_ms: u64,
    /// What they publish.
    pub tracks: Vec<TrackInfo>,
}

/// The door that somebody came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// An encoder's (RFC 9725).
    Whip,
    /// A player's.
    Whep,
    /// A room client's.
    Room,
}
