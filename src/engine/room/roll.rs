//! Who is in a room, for whoever looks at it from outside.

use super::{Owner, Room};
use crate::engine::ids::{ParticipantId, TrackId};

impl Room {
    /// Who publishes a track.
    pub(crate) fn publisher_of(&self, id: TrackId) -> Option<ParticipantId> {
        let track = self.tracks.iter().find(|track| track.info.id == id)?;
        match &track.owner {
            Owner::Here(session) => self.info_of(*session).map(|info| info.id.clone()),
            Owner::Afar(participant) => Some(participant.clone()),
        }
    }
}
