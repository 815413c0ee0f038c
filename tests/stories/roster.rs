//! What a client knows of its session and of the room, from answers and events alone.

use std::collections::{BTreeMap, BTreeSet};

use plenum::engine::command::Binding;
use plenum::engine::event::{Change, ParticipantInfo, RoomState, Snapshot, TrackInfo};
use plenum::engine::ids::{ParticipantId, SessionId, TrackId};

/// A client's session with the server, once it was let in.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) session: SessionId,
    pub(crate) participant: ParticipantId,
    pub(crate) ice_tag: String,
    pub(crate) sdp_tag: String,
    pub(crate) subscriptions_tag: String,
}

/// The room as a client knows it from its events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Roster {
    pub(crate) version: u64,
    pub(crate) participants: BTreeMap<ParticipantId, ParticipantInfo>,
    pub(crate) tracks: BTreeMap<TrackId, TrackInfo>,
    /// Of slots that show something.
    pub(crate) bindings: BTreeMap<String, Binding>,
    /// MIDs of slots for which there is no room.
    pub(crate) paused: BTreeSet<String>,
    pub(crate) speaker: Option<ParticipantId>,
    pub(crate) state: Option<RoomState>,
}

impl From<&Snapshot> for Roster {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            version: snapshot.version,
            participants: snapshot
                .participants
                .iter()
                .map(|p| (p.id.clone(), p.clone()))
                .collect(),
            tracks: snapshot
                .tracks
                .iter()
                .map(|track| (track.id, track.clone()))
                .collect(),
            bindings: snapshot
                .bindings
                .iter()
                .filter(|binding| binding.track.is_some())
                .map(|binding| (binding.mid.clone(), binding.clone()))
                .collect(),
            paused: snapshot.paused.iter().cloned().collect(),
            speaker: snapshot.speaker.clone(),
            state: Some(snapshot.state.clone()),
        }
    }
}

impl Roster {
    /// Follows a change, as every client must be able to.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Participant(info) => {
                self.participants.insert(info.id.clone(), info.clone());
            }
            Change::ParticipantLeft { id } => {
                self.participants.remove(id);
            }
            Change::Track(info) => {
                self.tracks.insert(info.id, info.clone());
            }
            Change::TrackEnded { id } => {
                self.tracks.remove(id);
            }
            Change::Binding(binding) if binding.track.is_none() => {
                self.bindings.remove(&binding.mid);
            }
            Change::Binding(binding) => {
                self.bindings.insert(binding.mid.clone(), binding.clone());
            }
            Change::Speaker { participant } => self.speaker = participant.clone(),
            Change::Room(state) => self.state = Some(state.clone()),
            Change::Quality { mid, paused: true } => {
                self.paused.insert(mid.clone());
            }
            Change::Quality { mid, .. } => {
                self.paused.remove(mid);
            }
            Change::Message(_)
            | Change::Moved { .. }
            | Change::LayersWanted(_)
            | Change::Layers(_)
            | Change::Reconnect { .. }
            | Change::Closed { .. } => {}
        }
    }
}
