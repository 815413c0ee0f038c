//! Rooms administered: made, locked and ended; their participants muted, moved and removed.

use std::time::{Duration, Instant};

use super::Engine;
use super::administration::{RoomCommand, RoomSettings};
use super::command::{CommandError, Door, Reply};
use super::event::{Change, CloseReason};
use super::ids::{ParticipantId, RoomId, TrackId};
use super::notice::News;
use super::room::Room;
use super::track::Origin;

/// How long a room that was made is there before anybody comes, unless it was said: long enough
/// to send out the link.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(300);

impl Engine {
    pub(super) fn administer(
        &mut self,
        command: RoomCommand,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        match command {
            RoomCommand::List => {
                let at_home = |room: &&Room| room.home().is_none();
                let rooms = self.rooms.iter().map(|(_, room)| room);
                let rooms = rooms.filter(at_home).map(Room::summary);
                return Ok(Reply::Rooms(rooms.collect()));
            }
            RoomCommand::Show { room } => {
                let place = self.room_named(&room)?;
                return Ok(Reply::Room(Box::new(self.rooms[place].detail())));
            }
            RoomCommand::Configure { room, settings } => {
                return self.configure_room(&room, settings, now);
            }
            RoomCommand::Close { room } => self.close_room(&room, now)?,
            RoomCommand::Remove { room, participant } => {
                for session in self.sessions_named(&room, &participant)? {
                    self.end_session(session, CloseReason::Removed, now);
                }
            }
            RoomCommand::Mute {
                room,
                participant,
                track,
            } => self.hold(&room, &participant, track, now)?,
            RoomCommand::Move {
                room,
                participant,
                url,
            } => self.move_away(&room, &participant, &url, now)?,
        }
        Ok(Reply::Done)
    }

    fn configure_room(
        &mut self,
        room: &RoomId,
        settings: RoomSettings,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let place = match self.room_ids.get(room) {
            Some(place) => *place,
            None => {
                if self.is_shutting_down {
                    return Err(CommandError::Overloaded);
                }
                self.check_rooms()?;
                let place = self.new_room(room, now);
                self.announce(place, News::RoomStarted, now);
                let until_told = RoomSettings {
                    empty_timeout: Some(EMPTY_TIMEOUT),
                    ..RoomSettings::default()
                };
                self.rooms[place].configure(until_told, now);
                place
            }
        };
        self.rooms[place].configure(settings, now);
        self.carry_out(place, now);
        self.rearm_room(place);
        Ok(Reply::Room(Box::new(self.rooms[place].detail())))
    }

    /// Whether there may be one more room.
    pub(super) fn check_rooms(&self) -> Result<(), CommandError> {
        if self.rooms.len() >= self.config.limits.rooms {
            return Err(CommandError::TooManyRooms);
        }
        Ok(())
    }

    /// A room that is not there yet.
    pub(super) fn new_room(&mut self, id: &RoomId, now: Instant) -> usize {
        let created_ms = self.wall_clock_ms(now);
        let place = self.rooms.insert(Room::new(id.clone(), created_ms));
        self.room_ids.insert(id.clone(), place);
        place
    }

    fn close_room(&mut self, room: &RoomId, now: Instant) -> Result<(), CommandError> {
        let place = self.room_named(room)?;
        let at_once = RoomSettings {
            empty_timeout: Some(Duration::ZERO),
            ..RoomSettings::default()
        };
        self.rooms[place].configure(at_once, now);
        if self.rooms[place].is_empty() {
            self.remove_room(place, now);
            return Ok(());
        }
        // The last one takes the room along.
        for session in self.rooms[place].sessions() {
            self.end_session(session, CloseReason::RoomEnded, now);
        }
        Ok(())
    }

    /// The sessions of somebody in a room; at least one.
    fn sessions_named(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
    ) -> Result<Vec<usize>, CommandError> {
        let place = self.room_named(room)?;
        let sessions: Vec<usize> = self.rooms[place].sessions_of(participant).collect();
        if sessions.is_empty() {
            return Err(CommandError::NotFound("participant"));
        }
        Ok(sessions)
    }

    /// Mutes a track over its publisher's head.
    fn hold(
        &mut self,
        room: &RoomId,
        participant: &ParticipantId,
        id: TrackId,
        now: Instant,
    ) -> Result<(), CommandError> {
        let sessions = self.sessions_named(room, participant)?;
        let not_found = CommandError::NotFound("track");
        let place = *self.track_ids.get(&id).ok_or(not_found)?;
        let Origin::Session { publisher, .. } = self.tracks[place].origin else {
            return Err(CommandError::NotFound("track"));
        };
        if !sessions.contains(&publisher) {
            return Err(CommandError::NotFound("track"));
        }
        self.tracks[place].is_held = true;
        let session = &mut self.sessions[publisher];
        let mut lines = session.lines.iter_mut();
        if let Some(line) = lines.find(|line| line.track == Some(place)) {
            line.muted = true;
            line.is_held = true;
        }
        let room = session.room;
        self.show_mutes(publisher, now);
        self.carry_out(room, now);
        Ok(())
    }

    /// The publisher unmuted a track that was held: who receives it starts anew.
    pub(super) fn release(&mut self, track: usize, now: Instant) {
        self.tracks[track].is_held = false;
        for subscriber in self.tracks[track].subscribers.clone() {
            self.subscribe(subscriber, track, now);
        }
    }

    /// Sends somebody to another room, where only a room client can go by itself.
    fn move_away(
        &mut self,
        room: &RoomId,
        participant: &ParticipantId,
        url: &str,
        now: Instant,
    ) -> Result<(), CommandError> {
        let sessions = self.sessions_named(room, participant)?;
        let can_go = |session: &usize| self.sessions[*session].door == Door::Meet;
        if !sessions.iter().all(can_go) {
            let why = "encoders and players cannot be moved";
            return Err(CommandError::Unsupported(why.into()));
        }
        for session in sessions {
            let url = url.to_owned();
            self.tell(session, Change::Moved { url });
            self.end_session(session, CloseReason::Moved, now);
        }
        Ok(())
    }
}
