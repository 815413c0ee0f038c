//! What a room tells its sessions.
//!
//! Each session sees its own numbered stream of changes; a [`Snapshot`] is the sum of all
//! changes up to its version. The JSON form of these types is the wire form (`docs/http.md`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::Binding;
use super::ids::{ParticipantId, RoomId, SessionId, TrackId};
use super::message::{Json, Message};

/// A change that one session is to hear of.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionEvent {
    /// Who hears it.
    pub session: SessionId,
    /// Its number in that session's stream: one more than the one before.
    pub version: u64,
    /// What changed.
    pub change: Change,
}

/// What changed in a room. The name of an event on the wire is [`Change::name`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Change {
    /// Somebody came, or changed their name or attributes.
    Participant(ParticipantInfo),
    /// Somebody went.
    ParticipantLeft {
        /// Who.
        id: ParticipantId,
    },
    /// A track was published, or its muted state changed.
    Track(TrackInfo),
    /// A track is no more.
    TrackEnded {
        /// Which.
        id: TrackId,
    },
    /// A slot shows something else from now on.
    Binding(Binding),
    /// The path has no room even for the lowest layer of a slot, or has room again.
    Quality {
        /// The slot, by its m-line's MID.
        mid: String,
        /// Whether nothing is sent in it.
        paused: bool,
    },
    /// Which layers of its own track anybody wants has changed.
    LayersWanted(LayersWanted),
    /// The layers of what a slot shows have changed; for those who asked.
    Layers(SlotLayers),
    /// Somebody else is the active speaker.
    Speaker {
        /// Who; nobody after a long silence.
        participant: Option<ParticipantId>,
    },
    /// Somebody, or the server, said something.
    Message(Arc<Message>),
    /// The room itself changed.
    Room(RoomState),
    /// A host sends this session to another room: join there.
    Moved {
        /// That room's door.
        url: String,
    },
    /// The server is going away: join again, elsewhere if it says so.
    Reconnect {
        /// Where, if not here.
        url: Option<String>,
    },
    /// The session is over; no event follows.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

impl Change {
    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Participant(_) => "participant",
            Change::ParticipantLeft { .. } => "participant-left",
            Change::Track(_) => "track",
            Change::TrackEnded { .. } => "track-ended",
            Change::Binding(_) => "binding",
            Change::Quality { .. } => "quality",
            Change::LayersWanted(_) => "layers-wanted",
            Change::Layers(_) => "layers",
            Change::Speaker { .. } => "speaker",
            Change::Message(_) => "message",
            Change::Room(_) => "room",
            Change::Moved { .. } => "moved",
            Change::Reconnect { .. } => "reconnect",
            Change::Closed { .. } => "closed",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The client left (`DELETE`).
    Left,
    /// The client closed DTLS.
    ClosedByPeer,
    /// No consent any more: the client vanished (RFC 7675).
    Vanished,
    /// ICE and DTLS did not complete in time.
    NeverConnected,
    /// Another session continues this one.
    Resumed,
    /// The token that it was opened with has expired or was withdrawn.
    Expired,
    /// A host removed the participant.
    Removed,
    /// A host ended the room.
    RoomEnded,
    /// A host sent the participant to another room.
    Moved,
    /// The server shut down.
    Shutdown,
    /// The engine failed in this session; others are not affected.
    Failed,
}

impl CloseReason {
    /// Every reason there is, so that each is exported from the start.
    pub const ALL: [Self; 11] = [
        Self::Left,
        Self::ClosedByPeer,
        Self::Vanished,
        Self::NeverConnected,
        Self::Resumed,
        Self::Expired,
        Self::Removed,
        Self::RoomEnded,
        Self::Moved,
        Self::Shutdown,
        Self::Failed,
    ];

    /// The label that metrics carry, and the word in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Vanished => "vanished",
            Self::NeverConnected => "never_connected",
            Self::Resumed => "resumed",
            Self::Expired => "expired",
            Self::Removed => "removed",
            Self::RoomEnded => "room_ended",
            Self::Moved => "moved",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
        }
    }
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParticipantInfo {
    /// Who.
    pub id: ParticipantId,
    /// What the others see.
    pub name: Option<String>,
    /// What an application has noted of them (`{"hand":true}`): an object of plain values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Json>,
    /// What they are beside a participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

impl ParticipantInfo {
    /// Somebody of whom nothing else is known.
    pub fn new(id: ParticipantId) -> Self {
        Self {
            id,
            name: None,
            attributes: None,
            role: None,
        }
    }
}

/// What somebody is beside a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May administer the room, as their token says.
    Host,
}

/// What concerns a room as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomState {
    /// Whether newcomers are turned away.
    pub locked: bool,
    /// What an application has noted of it: an object.
    pub metadata: Json,
}

/// A published track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackInfo {
    /// Which.
    pub id: TrackId,
    /// Who publishes it.
    pub participant: ParticipantId,
    /// Audio or video.
    pub kind: Kind,
    /// What it shows.
    pub source: Source,
    /// Whether its publisher has muted it (microphone) or switched it off (camera).
    pub muted: bool,
    /// Who muted it, where it was not its publisher: nothing of it is forwarded.
    #[serde(rename = "mutedBy", skip_serializing_if = "Option::is_none")]
    pub muted_by: Option<Role>,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl Kind {
    /// The rate of its RTP clock: Opus' (RFC 7587 §4.1), and every video codec's.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            Kind::Audio => 48_000,
            Kind::Video => 90_000,
        }
    }
}

/// Where a track comes from, by the offer's `a=content` (RFC 4796) and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Audio, unless told otherwise.
    Microphone,
    /// Video, unless told otherwise.
    Camera,
    /// Video with `a=content:slides`.
    Screen,
    /// Audio with `a=content:slides`.
    ScreenAudio,
}

impl Source {
    /// What an m-line shows; `slides` is whether it says so (RFC 4796).
    pub fn of(kind: Kind, slides: bool) -> Self {
        match (kind, slides) {
            (Kind::Audio, false) => Source::Microphone,
            (Kind::Video, false) => Source::Camera,
            (Kind::Video, true) => Source::Screen,
            (Kind::Audio, true) => Source::ScreenAudio,
        }
    }
}

/// Which layers of a track anybody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayersWanted {
    /// The publisher's m-line.
    pub mid: String,
    /// The track.
    pub track: TrackId,
    /// Those that are known, the cheapest first.
    pub layers: Vec<LayerWanted>,
}

/// Whether anybody wants a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerWanted {
    /// The encoding's RID, if it has one.
    pub rid: Option<String>,
    /// Whether somebody does.
    pub wanted: bool,
}

/// The layers of what a slot shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotLayers {
    /// The slot, by its m-line's MID.
    pub mid: String,
    /// The track in it.
    pub track: TrackId,
    /// Its layers, the cheapest first.
    pub layers: Vec<LayerInfo>,
}

/// A layer of a track, as a receiver may choose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// The encoding's RID, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// The spatial layer, where an encoding has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spatial: Option<u8>,
    /// The temporal layer, where an encoding has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporal: Option<u8>,
    /// Width in pixels, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Height in pixels, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// What it costs with all that it hangs on, in bits per second; 0 while nothing comes.
    pub bitrate: u64,
    /// Whether it comes at all.
    pub active: bool,
}

/// A room as one session sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// The version that it stands for; the next event has one more.
    #[serde(rename = "v")]
    pub version: u64,
    /// The room.
    pub room: RoomId,
    /// Who this session is.
    pub me: ParticipantId,
    /// Everybody in the room, this session included.
    pub participants: Vec<ParticipantInfo>,
    /// Every track in the room, its own included.
    pub tracks: Vec<TrackInfo>,
    /// What its slots show.
    pub bindings: Vec<Binding>,
    /// MIDs of those of its slots for which its path has no room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<String>,
    /// The active speaker.
    pub speaker: Option<ParticipantId>,
    /// What concerns the room as a whole.
    #[serde(flatten)]
    pub state: RoomState,
    /// What was said and kept, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// Of its own tracks, which layers anybody wants, where it was ever told.
    #[serde(rename = "layersWanted", skip_serializing_if = "Vec::is_empty")]
    pub layers_wanted: Vec<LayersWanted>,
}
