//! Who is in a room, for whoever looks at it from outside.

use super::{Owner, Room};
use crate::engine::event::ParticipantInfo;
use crate::engine::ids::{ParticipantId, TrackId};

impl Room {
    /// Its sessions, by their place in the engine's table.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = usize> {
        self.members.keys().copied()
    }

    /// Who a session is.
    pub(crate) fn info(&self, session: usize) -> Option<&ParticipantInfo> {
        self.members.get(&session).map(|member| &member.info)
    }

    /// Who publishes a track.
    pub(crate) fn publisher_of(&self, id: TrackId) -> Option<ParticipantId> {
        let track = self.tracks.iter().find(|track| track.info.id == id)?;
        match &track.owner {
            Owner::Here(session) => self.info(*session).map(|info| info.id.clone()),
            Owner::Afar(participant) => Some(participant.clone()),
        }
    }
}
