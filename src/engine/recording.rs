//! Operators have a session recorded ([`super::tape`]): from now on, or from its first packet.

use std::time::{Duration, Instant};

use super::Engine;
use super::command::CommandError;
use super::ids::{ParticipantId, RoomId};
use super::tape::{MAX_RECORDINGS, MAX_SECONDS, Recording, Tape};

/// Somebody who is to be recorded when they come.
#[derive(Debug)]
pub(super) struct Expected {
    room: RoomId,
    length: Duration,
    until: Instant,
}

impl Engine {
    /// Records a participant's sessions from now on; without a name, whoever comes to the room
    /// next. What was recorded before of the same sessions is forgotten.
    pub(super) fn record(
        &mut self,
        room: RoomId,
        participant: Option<&ParticipantId>,
        length: Duration,
        now: Instant,
    ) -> Result<(), CommandError> {
        let length = length.min(Duration::from_secs(MAX_SECONDS));
        let Some(participant) = participant else {
            self.expected = Some(Expected {
                room,
                length,
                until: now + length,
            });
            return Ok(());
        };
        let places = self.places_of(&room, participant);
        if places.is_empty() {
            return Err(CommandError::NotFound("participant"));
        }
        places
            .into_iter()
            .try_for_each(|place| self.record_session(place, length, now))
    }

    /// Ends the recordings of a participant's sessions, and gives them out.
    pub(super) fn recorded(
        &mut self,
        room: &RoomId,
        participant: &ParticipantId,
    ) -> Vec<Recording> {
        let places = self.places_of(room, participant);
        let tapes = places.into_iter().filter_map(|place| {
            let downlink = &mut self.sessions.get_mut(place)?.egress.downlink;
            Some(downlink.tape.take()?.into_recording())
        });
        tapes.collect()
    }

    /// Somebody came: are they to be recorded?
    pub(super) fn record_newcomer(&mut self, place: usize, room: &RoomId, now: Instant) {
        let Some(expected) = self.expected.take_if(|expected| expected.room == *room) else {
            return;
        };
        // Too many recordings: whoever asked finds none, and ends one.
        if now < expected.until {
            let _ = self.record_session(place, expected.length, now);
        }
    }

    fn record_session(
        &mut self,
        place: usize,
        length: Duration,
        now: Instant,
    ) -> Result<(), CommandError> {
        let tapes = self.sessions.iter();
        let tapes = tapes.filter(|(_, session)| session.egress.downlink.tape.is_some());
        if tapes.count() >= MAX_RECORDINGS {
            return Err(CommandError::Overloaded);
        }
        let session = &mut self.sessions[place];
        let age = now.saturating_duration_since(session.joined_at);
        session.egress.downlink.tape = Some(Box::new(Tape::new(age, length, now)));
        Ok(())
    }

    /// The sessions of a participant.
    pub(super) fn places_of(&self, room: &RoomId, participant: &ParticipantId) -> Vec<usize> {
        let Some(room) = self.room_ids.get(room).map(|place| &self.rooms[*place]) else {
            return Vec::new();
        };
        let mut places = room.sessions();
        places.retain(|place| {
            let info = room.info_of(*place);
            info.is_some_and(|info| info.id == *participant)
        });
        places
    }
}
