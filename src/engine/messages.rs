//! What is said in rooms: messages carried out, attributes noted.

use std::time::Instant;

use rand::RngExt;

use super::Engine;
use super::command::{CommandError, Reply};
use super::ids::{RoomId, SessionId, base32};
use super::message::{Json, Message, Say};

/// Characters of a message's id: 60 random bits, so that no two in a room are alike.
const MESSAGE_ID_CHARS: u32 = 12;

impl Engine {
    /// Hands a message to those whom it is for.
    pub(super) fn say(&mut self, say: Say, now: Instant) -> Result<Reply, CommandError> {
        let (room, from) = match say.from {
            Some(session) => {
                let place = self.session_place(session)?;
                let room = self.sessions[place].room;
                if *self.rooms[room].id() != say.room {
                    return Err(CommandError::NoSuchSession);
                }
                (room, Some(place))
            }
            None => (self.room_named(&say.room)?, None),
        };
        let id = base32(self.rng.random(), MESSAGE_ID_CHARS);
        let at_ms = self.wall_clock_ms(now);
        let message = Message {
            id: id.clone(),
            from: from
                .and_then(|place| self.rooms[room].info_of(place))
                .map(|info| info.id.clone()),
            to: say.to,
            event: say.event,
            data: say.data,
            at_ms,
        };
        if !self.rooms[room].say(from, message, say.keep) {
            return Err(CommandError::NotFound("participant"));
        }
        self.carry_out(room, now);
        Ok(Reply::Said { id })
    }

    /// Notes what an application says of a participant.
    pub(super) fn set_attributes(
        &mut self,
        session: SessionId,
        attributes: Option<Json>,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let place = self.session_place(session)?;
        let room = self.sessions[place].room;
        self.rooms[room].set_attributes(place, attributes);
        self.carry_out(room, now);
        Ok(Reply::Done)
    }

    /// A room's place in the table.
    pub(super) fn room_named(&self, room: &RoomId) -> Result<usize, CommandError> {
        let place = self.room_ids.get(room).copied();
        place.ok_or(CommandError::NotFound("room"))
    }
}
