//! What a token says: who somebody is, where, and what they may do there.

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::engine::event::Source;
use crate::engine::ids::{ParticipantId, RoomId};

/// The claims of a token, as far as we know them. Others are ignored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Claims {
    /// When it ends, in seconds since the Unix epoch (RFC 7519 §4.1.4).
    pub(super) exp: f64,
    /// When it begins (RFC 7519 §4.1.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) aud: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) iss: Option<serde_json::Value>,
    #[serde(flatten)]
    pub(super) pass: PassText,
}

/// Who, where and what, as tokens of either kind spell it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct PassText {
    /// A room's name, or `*`.
    pub(super) room: String,
    /// A participant's name.
    pub(super) identity: String,
    /// A display name that the client cannot choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) grants: Grants,
}

/// What somebody may do. What is not said is not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Grants {
    /// Which sources they may publish.
    pub publish: Publish,
    /// Whether they may receive others.
    pub subscribe: bool,
    /// Whether they may send messages and open data channels.
    pub data: bool,
    /// Whether they may administer the room, use any name, and change and end sessions of others.
    pub admin: bool,
    /// Whether the others are not to see them. Who is hidden publishes and says nothing.
    pub hidden: bool,
}

/// Which sources somebody may publish: all, none, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Publish {
    /// All of them, or none.
    All(bool),
    /// These.
    Only(BTreeSet<Publishable>),
}

impl Default for Publish {
    fn default() -> Self {
        Self::All(false)
    }
}

impl Publish {
    /// Whether this source may be published.
    pub(in crate::http) fn allows(&self, source: Publishable) -> bool {
        match self {
            Self::All(all) => *all,
            Self::Only(sources) => sources.contains(&source),
        }
    }
}

/// A source as grants name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Publishable {
    /// A video track without more.
    Camera,
    /// An audio track without more.
    Microphone,
    /// Slides, and their sound.
    Screen,
}

impl Publishable {
    /// Every source there is.
    pub(in crate::http) const ALL: [Self; 3] = [Self::Camera, Self::Microphone, Self::Screen];
}

impl From<Source> for Publishable {
    fn from(source: Source) -> Self {
        match source {
            Source::Camera => Self::Camera,
            Source::Microphone => Self::Microphone,
            Source::Screen | Source::ScreenAudio => Self::Screen,
        }
    }
}

/// What a token allows, checked and ready.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http) struct Pass {
    /// Only here; `None` is everywhere.
    pub(super) room: Option<RoomId>,
    pub(in crate::http) identity: ParticipantId,
    pub(in crate::http) name: Option<String>,
    pub(in crate::http) grants: Grants,
    /// When it ends, in seconds since the Unix epoch; tokens for encoders do not.
    pub(in crate::http) expires_at: Option<u64>,
    /// What it was signed with.
    pub(in crate::http) key: KeyPrint,
}

/// The hash of a key or a fixed token: tells whether it is still in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct KeyPrint(pub(super) [u8; 32]);

/// Why what a token says cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PassError {
    #[error("room is neither a room's name nor *")]
    Room,
    #[error("identity is not a participant's name")]
    Identity,
    #[error("name is longer than 64 characters or not printable")]
    Name,
    /// What they publish or say would show them.
    #[error("who is hidden can neither publish nor send data")]
    Hidden,
}

impl PassText {
    pub(super) fn check(self, expires_at: Option<u64>, key: KeyPrint) -> Result<Pass, PassError> {
        let room = match self.room.as_str() {
            "*" => None,
            name => Some(name.parse().map_err(|_| PassError::Room)?),
        };
        let is_bad = |name: &String| !crate::http::doors::is_display_name(name);
        if self.name.as_ref().is_some_and(is_bad) {
            return Err(PassError::Name);
        }
        let publishes = |source: &Publishable| self.grants.publish.allows(*source);
        let shows = self.grants.data || Publishable::ALL.iter().any(publishes);
        if self.grants.hidden && shows {
            return Err(PassError::Hidden);
        }
        Ok(Pass {
            room,
            identity: self.identity.parse().map_err(|_| PassError::Identity)?,
            name: self.name.filter(|name| !name.is_empty()),
            grants: self.grants,
            expires_at,
            key,
        })
    }
}
