//! What is said in rooms: messages carried out, attributes noted.

use std::sync::Arc;
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
        self.pass_on(room, Arc::new(message), say.keep, now)?;
        Ok(Reply::Said { id })
    }

    /// Passes a message on where it is decided who hears it: at home, unless it is for somebody here.
    fn pass_on(
        &mut self,
        place: usize,
        message: Arc<Message>,
        keep: bool,
        now: Instant,
    ) -> Result<(), CommandError> {
        let room = &mut self.rooms[place];
        let is_here = message.to.as_ref().is_some_and(|to| room.is_here(to));
        match room.home().filter(|_| !is_here) {
            Some(home) => {
                if message.to.as_ref().is_some_and(|to| !room.is_afar(to)) {
                    return Err(CommandError::NotFound("participant"));
                }
                let id = room.id().clone();
                self.relays.say(home, id, message, keep);
            }
            None => {
                if message.to.is_some() && !is_here {
                    return Err(CommandError::NotFound("participant"));
                }
                room.say(message, keep);
                self.carry_out(place, now);
            }
        }
        Ok(())
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
