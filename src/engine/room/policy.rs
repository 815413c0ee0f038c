//! What a room is told by those who administer it, and what they are told of it.

use std::time::{Duration, Instant};

use super::{Door, Member, Room};
use crate::engine::administration::{
    ParticipantDetail, RoomDetail, RoomSettings, RoomSummary, Via,
};
use crate::engine::event::{Change, RoomState};
use crate::engine::message::Json;

/// How a room is to be.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) state: RoomState,
    max_participants: Option<usize>,
    /// How long it is there without anybody in it.
    empty_timeout: Duration,
    /// When it ends, while nobody is in it.
    pub(super) expires_at: Option<Instant>,
}

impl Default for Policy {
    /// As rooms are that somebody came to before anybody made them: gone with the last one.
    fn default() -> Self {
        Self {
            state: RoomState {
                locked: false,
                metadata: Json::empty_object(),
            },
            max_participants: None,
            empty_timeout: Duration::ZERO,
            expires_at: None,
        }
    }
}

impl Room {
    /// Changes how the room is to be, and tells everybody in it.
    pub(crate) fn configure(&mut self, settings: RoomSettings, now: Instant) {
        let policy = &mut self.policy;
        if let Some(most) = settings.max_participants {
            policy.max_participants = Some(most).filter(|most| *most > 0);
        }
        if let Some(timeout) = settings.empty_timeout {
            policy.empty_timeout = timeout;
        }
        let before = policy.state.clone();
        policy.state.locked = settings.locked.unwrap_or(before.locked);
        if let Some(metadata) = settings.metadata {
            policy.state.metadata = metadata;
        }
        if policy.state != before {
            let change = Change::Room(policy.state.clone());
            self.tell_all(&change);
        }
        if self.is_empty() {
            self.emptied(now);
        }
    }

    /// Whether newcomers are turned away.
    pub(crate) fn is_locked(&self) -> bool {
        self.policy.state.locked
    }

    /// Most participants, where the server takes `most`.
    pub(crate) fn limit(&self, most: usize) -> usize {
        self.policy
            .max_participants
            .map_or(most, |own| own.min(most))
    }

    /// Nobody is in it: its time begins to run.
    pub(crate) fn emptied(&mut self, now: Instant) {
        self.policy.expires_at = Some(now + self.policy.empty_timeout);
    }

    /// Whether it has been empty for as long as it may.
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.policy.expires_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn summary(&self) -> RoomSummary {
        RoomSummary {
            name: self.id.clone(),
            participants: self.population(),
            tracks: self.tracks.len(),
            state: self.policy.state.clone(),
            created_ms: self.created_ms,
        }
    }

    pub(crate) fn detail(&self) -> RoomDetail {
        let members = self.members.iter();
        RoomDetail {
            name: self.id.clone(),
            participants: members
                .map(|(session, member)| self.participant(*session, member))
                .collect(),
            state: self.policy.state.clone(),
            created_ms: self.created_ms,
            max_participants: self.policy.max_participants,
            empty_timeout_s: self.policy.empty_timeout.as_secs(),
        }
    }

    fn participant(&self, session: usize, member: &Member) -> ParticipantDetail {
        ParticipantDetail {
            info: member.info.clone(),
            via: match member.door {
                Door::Publish { .. } => Via::Whip,
                Door::Watch { .. } => Via::Whep,
                Door::Meet => Via::Room,
            },
            joined_ms: member.joined_ms,
            tracks: self
                .tracks_of(session)
                .map(|track| track.info.clone())
                .collect(),
        }
    }
}
