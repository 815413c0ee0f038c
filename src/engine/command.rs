//! What HTTP asks of the engine, and what it answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::administration::{RoomCommand, RoomDetail, RoomSummary};
use super::counters::Counters;
use super::event::{SlotLayers, Snapshot};
use super::ids::{ParticipantId, RoomId, SessionId, TrackId};
use super::inspect::{RoomOverview, SessionReport};
use super::message::{Json, Say};
use super::tape::Recording;

/// One request to the engine that owns the room or session in question.
#[derive(Debug)]
pub enum Command {
    /// `POST` on one of the four doors: a new session. Answered by [`Reply::Joined`].
    Join(Box<Join>),
    /// `PATCH` with a trickle fragment that names candidates (RFC 9725 §4.3.1).
    /// Answered by [`Reply::Done`].
    Trickle {
        /// Whose.
        session: SessionId,
        /// The `If-Match` precondition on the ICE session; `None` where none was asked.
        if_match: Option<String>,
        /// The body, `application/trickle-ice-sdpfrag` (RFC 8840 §9).
        fragment: String,
    },
    /// `PATCH` with a whole description: a new offer (more slots, another track, an ICE restart),
    /// answered by [`Reply::Reoffered`]; or the answer to ours, answered by [`Reply::Answered`].
    Describe {
        /// Whose.
        session: SessionId,
        /// The `If-Match` precondition on the description; `None` where none was asked.
        if_match: Option<String>,
        /// The offer or answer, `application/sdp`.
        description: String,
    },
    /// `PUT subscriptions`: the whole wish. Answered by [`Reply::Subscribed`].
    Subscribe {
        /// Whose.
        session: SessionId,
        /// The `If-Match` precondition on the subscriptions; `None` where none was asked.
        if_match: Option<String>,
        /// What each slot should show.
        wish: Wish,
    },
    /// What a slot is to show at most, whatever its track is, until the next such word.
    /// Answered by [`Reply::Done`].
    LimitLayer {
        /// Whose.
        session: SessionId,
        /// The slot, by its m-line's MID.
        mid: String,
        /// No limit, where nothing is named.
        limit: LayerLimit,
    },
    /// The layers of what a player's slots show; from then on it hears of changes
    /// ([`Change::Layers`](super::event::Change::Layers)). Answered by [`Reply::Layers`].
    Layers {
        /// Whose.
        session: SessionId,
    },
    /// `PUT tracks`: which of its own tracks the client has muted. Answered by [`Reply::Done`].
    Mute {
        /// Whose.
        session: SessionId,
        /// m-line to muted; m-lines that are not named stay as they are.
        muted: BTreeMap<String, bool>,
    },
    /// `PUT attributes`: what an application notes of a participant.
    /// Answered by [`Reply::Done`].
    SetAttributes {
        /// Whose.
        session: SessionId,
        /// All of them; `None` takes them away.
        attributes: Option<Json>,
    },
    /// `POST messages`. Answered by [`Reply::Said`].
    Say(Box<Say>),
    /// What hosts ask of rooms (`/api`).
    Administer(RoomCommand),
    /// A participant's sessions are recorded; without a name, whoever comes to the room next.
    /// Answered by [`Reply::Done`].
    Record {
        /// Where.
        room: RoomId,
        /// Who.
        participant: Option<ParticipantId>,
        /// For how long.
        length: Duration,
    },
    /// The end of that. Answered by [`Reply::Recorded`].
    Recorded {
        /// Where.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// `GET events` without a usable `Last-Event-ID`. Answered by [`Reply::Snapshot`].
    Snapshot {
        /// Whose.
        session: SessionId,
    },
    /// `DELETE` of the session. Answered by [`Reply::Done`].
    Leave {
        /// Whose.
        session: SessionId,
    },
    /// The session is ended although its client would stay: its permission is over.
    /// Answered by [`Reply::Done`].
    Expel {
        /// Whose.
        session: SessionId,
    },
    /// How much of its time the engine's thread has left, once a second. Answered by
    /// [`Reply::VideoShare`].
    Headroom(Headroom),
    /// The server is going away: no more sessions are taken, and those that there are, are told
    /// to reconnect elsewhere. They go on until they leave. Answered by [`Reply::Done`].
    Drain,
    /// Every session is told and ended; the engine is done once nothing is left to send.
    /// Answered by [`Reply::Done`].
    Shutdown,
    /// The counters and gauges as they stand. Answered by [`Reply::Counters`].
    Counters,
    /// Every room with its sessions. Answered by [`Reply::Overview`].
    Overview,
    /// Every session of a participant, in full. Answered by [`Reply::Inspected`].
    Inspect {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
}

/// What a thread has left of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headroom {
    /// It does not keep up.
    None,
    /// It keeps up, and should have no more to do.
    Little,
    /// It could do more.
    Enough,
}

/// Which of the four doors a session came through; one mechanism behind all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// `POST /whip/{room}[/{participant}]`: sends, has no slots (RFC 9725).
    Publish {
        /// The name asked for in the path.
        participant: Option<ParticipantId>,
    },
    /// `POST /whep/{room}[/{participant}]`: one video and one audio slot.
    Watch {
        /// Whom to show; `None` follows the active speaker.
        participant: Option<ParticipantId>,
    },
    /// `POST /rooms/{room}/sessions`: sends any, any number of slots.
    Meet,
}

impl Door {
    /// What operators read: `publish`, `watch` or `meet`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Watch { .. } => "watch",
            Self::Meet => "meet",
        }
    }
}

/// A new session.
#[derive(Clone, Debug)]
pub struct Join {
    /// The room from the path.
    pub room: RoomId,
    /// The door it came through.
    pub door: Door,
    /// What the others see: free text of at most [`MAX_DISPLAY_NAME_CHARS`] characters.
    pub name: Option<String>,
    /// Whether they may administer the room, as their token says.
    pub is_host: bool,
    /// Whether the others are not to see them, as their token says.
    pub is_hidden: bool,
    /// Whether a publisher of the same name makes way at once; else only one who is silent.
    pub takes_over: bool,
    /// Whether a player is refused while what it wants to see is not published.
    pub needs_publisher: bool,
    /// The session that this one continues, with its participant id.
    pub resume: Option<SessionId>,
    /// The offer, `application/sdp`; `None` for a player to whom the server is to offer.
    pub offer: Option<String>,
    /// The shard that the room lives on, where that one said [`Reply::Elsewhere`].
    pub home: Option<u16>,
    /// Shards that have no room for one more session, as their load was measured. A player goes
    /// to none of them, not even at home.
    pub busy: Vec<u16>,
}

impl Join {
    /// Somebody of whom nothing more is known.
    pub fn new(room: RoomId, door: Door, offer: Option<String>) -> Self {
        Self {
            room,
            door,
            name: None,
            is_host: false,
            is_hidden: false,
            takes_over: false,
            needs_publisher: false,
            resume: None,
            offer,
            home: None,
            busy: Vec::new(),
        }
    }
}

/// How long a player may take to answer an offer of ours: what draft-ietf-wish-whep-03, "counter-offer" gives
/// where nothing is said.
pub const OFFER_PATIENCE: Duration = Duration::from_secs(30);

/// Longest display name, in characters: a tile shows no more.
pub const MAX_DISPLAY_NAME_CHARS: usize = 64;

/// What every slot of a session should show (`PUT subscriptions`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Slots by their m-line's MID.
    pub slots: BTreeMap<String, SlotWish>,
    /// Whether slots that are not named choose for themselves; otherwise they show nothing.
    pub rest_auto: bool,
}

/// What one slot should show.
#[derive(Clone, Debug, PartialEq)]
pub enum SlotWish {
    /// The server chooses: the loudest in audio slots; pinned, speaking, recent in video slots.
    Auto,
    /// Nothing.
    Nothing,
    /// This track, as soon as it exists.
    Track {
        /// Which.
        track: TrackId,
        /// The size that it is shown at, in pixels.
        size: Option<(u32, u32)>,
        /// The highest frame rate worth having, in frames per second.
        frame_rate: Option<u32>,
        /// Who goes first when not all fit: higher first, 128 unless told.
        priority: u8,
        /// Keep the slot, send nothing.
        paused: bool,
    },
}

/// What a client allows a slot at most: a choice of its own, whatever size the tile has.
///
/// Less may flow: what the path does not carry, and what its publisher does not send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerLimit {
    /// This encoding, or a cheaper one.
    pub rid: Option<String>,
    /// This spatial layer, and those that it builds on.
    pub spatial: Option<u8>,
    /// This temporal layer, and those that it builds on.
    pub temporal: Option<u8>,
    /// Spatial layers up to this one, whether it is there or not.
    pub max_spatial: Option<u8>,
    /// Temporal layers up to this one, whether it is there or not.
    pub max_temporal: Option<u8>,
    /// At most so wide, in pixels, where the layer's width is known.
    pub max_width: Option<u32>,
    /// At most so high, in pixels, where the layer's height is known.
    pub max_height: Option<u32>,
    /// At most so much, in bits per second; the cheapest layer in any case.
    pub max_bitrate_bps: Option<u64>,
}

impl LayerLimit {
    /// The highest spatial layer that it allows.
    pub(crate) fn most_spatial(&self) -> Option<u8> {
        self.spatial.into_iter().chain(self.max_spatial).min()
    }

    /// The highest temporal layer that it allows.
    pub(crate) fn most_temporal(&self) -> Option<u8> {
        self.temporal.into_iter().chain(self.max_temporal).min()
    }

    /// Whether it names a layer, which then has to be there.
    pub(crate) fn names_layer(&self) -> bool {
        self.rid.is_some() || self.spatial.is_some() || self.temporal.is_some()
    }
}

/// What a command gives back.
#[derive(Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// How much of the video that its receivers would get the engine forwards.
    VideoShare {
        /// In percent; 100 unless the machine does not keep up.
        percent: u8,
    },
    /// The session exists.
    Joined(Joined),
    /// The room has outgrown this shard, or the shard is busy: ask that one, with [`Join::home`]
    /// set to this.
    Elsewhere {
        /// Which.
        shard: u16,
        /// What was asked, unchanged.
        join: Box<Join>,
    },
    /// The ICE session was restarted by a fragment (RFC 9725 §4.3.3).
    IceRestarted {
        /// The body, `application/trickle-ice-sdpfrag`.
        fragment: String,
        /// The new ICE entity tag.
        ice_tag: String,
    },
    /// The new description stands.
    Reoffered {
        /// The answer, `application/sdp`.
        answer: String,
        /// The entity tag of the ICE session, new if the offer restarted it.
        ice_tag: String,
        /// The new entity tag of the description.
        sdp_tag: String,
    },
    /// The client's answer to our offer is taken.
    Answered {
        /// The entity tag of the ICE session.
        ice_tag: String,
    },
    /// The wish is noted.
    Subscribed {
        /// What the slots show now.
        bindings: Vec<Binding>,
        /// The event version that includes it.
        version: u64,
        /// The new entity tag of the subscriptions.
        subscriptions_tag: String,
    },
    /// What the slots show, by layers.
    Layers(Vec<SlotLayers>),
    /// It was said.
    Said {
        /// The message's id.
        id: String,
    },
    /// The room as this session sees it.
    Snapshot(Box<Snapshot>),
    /// The rooms of this engine.
    Rooms(Vec<RoomSummary>),
    /// One room.
    Room(Box<RoomDetail>),
    /// What was counted.
    Counters(Box<Counters>),
    /// The rooms of this engine.
    Overview(Vec<RoomOverview>),
    /// The participant's sessions in this engine.
    Inspected(Vec<SessionReport>),
    /// What was recorded of them.
    Recorded(Vec<Recording>),
}

/// A new session and its answer.
#[derive(Debug)]
pub struct Joined {
    /// Its capability.
    pub session: SessionId,
    /// Who it is in the room.
    pub participant: ParticipantId,
    /// The answer, `application/sdp`; our offer, where we were to make one.
    pub answer: String,
    /// Entity tag of the ICE session, without quotes.
    pub ice_tag: String,
    /// Entity tag of the description, without quotes.
    pub sdp_tag: String,
    /// Entity tag of the subscriptions, without quotes.
    pub subscriptions_tag: String,
}

/// What one slot shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// The slot, by its m-line's MID.
    pub mid: String,
    /// The track in it, if any.
    pub track: Option<TrackId>,
    /// Who publishes that track.
    pub participant: Option<ParticipantId>,
}

/// Why a command was refused. HTTP maps each to a status in one place.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// The body is not what its content type says.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Well formed, but not something this door takes.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Well formed, but with more m-lines than a session may have.
    #[error("a session has at most {limit} m-lines")]
    TooManyMediaLines {
        /// Its limit.
        limit: usize,
    },
    /// Well formed, but without a codec that is known here.
    #[error("unsupported: {0}")]
    NoCommonCodec(String),
    /// Our offer was answered before.
    #[error("the offer is answered already")]
    AnsweredAlready,
    /// No session has this capability (any more).
    #[error("no such session")]
    NoSuchSession,
    /// What was asked for is not in this room (any more).
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A precondition (`If-Match`) does not hold.
    #[error("the entity tag does not match")]
    Stale,
    /// Somebody of this name publishes already.
    #[error("{0} is publishing in this room already")]
    ParticipantExists(ParticipantId),
    /// A player came for what nobody publishes, and is not to wait.
    #[error("nobody publishes here now")]
    NobodyPublishes,
    /// The room takes no newcomers.
    #[error("room {0} is locked")]
    RoomLocked(RoomId),
    /// The room has as many participants as it may have.
    #[error("room {room} is full: {limit} participants")]
    RoomFull {
        /// The room.
        room: RoomId,
        /// Its limit.
        limit: usize,
    },
    /// The shard has as many rooms as it may have.
    #[error("there are as many rooms as there may be")]
    TooManyRooms,
    /// The server has as many sessions as it may have, or is shutting down.
    #[error("the server takes no more sessions now")]
    Overloaded,
}

/// An address that clients may send media to.
pub type AdvertisedAddress = SocketAddr;
