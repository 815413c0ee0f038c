//! Who is in a room, for whoever looks at it from outside.

use super::{Owner, Room};
use crate::engine::event::Source;
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

    /// What a track shows.
    pub(crate) fn source_of(&self, id: TrackId) -> Option<Source> {
        let track = self.tracks.iter().find(|track| track.info.id == id)?;
        Some(track.info.source)
    }

    /// A track as people speak of it, while it is there: what it shows, and whose it is.
    pub(crate) fn title_of(&self, id: TrackId) -> Option<String> {
        let track = self.tracks.iter().find(|track| track.info.id == id)?;
        let name = match &track.owner {
            Owner::Here(session) => self.info_of(*session).and_then(|info| info.name.as_deref()),
            Owner::Afar(_) => None,
        };
        let who = name.unwrap_or(track.info.participant.as_str());
        let what = match track.info.source {
            Source::Microphone => "microphone",
            Source::Camera => "camera",
            Source::Screen => "screen",
            Source::ScreenAudio => "sound of the screen",
        };
        Some(format!("the {what} of {who}"))
    }
}
