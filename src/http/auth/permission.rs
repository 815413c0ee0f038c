//! A pass held against what a client wants to do.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use serde::Serialize;
use str0m::media::Direction;

use super::claims::{Grants, Pass, Publishable};
use crate::engine::command::Door;
use crate::engine::event::Source;
use crate::engine::ids::{ParticipantId, RoomId};
use crate::engine::sdp::{LineKind, OfferLine, OfferSummary};
use crate::http::problem::Problem;

impl Pass {
    /// Whether its bearer may come in here.
    pub(in crate::http) fn allows_room(&self, room: &RoomId) -> Result<(), Problem> {
        if self.room.as_ref().is_none_or(|own| own == room) {
            Ok(())
        } else {
            Err(forbidden("The token is for another room."))
        }
    }

    /// The door as its bearer goes through it: publishers have their own name.
    pub(in crate::http) fn through(&self, door: Door) -> Result<Door, Problem> {
        match door {
            Door::Publish { participant: None } => Ok(Door::Publish {
                participant: Some(self.identity.clone()),
            }),
            Door::Publish {
                participant: Some(name),
            } if !self.may_be(&name) => Err(forbidden("The token is for another participant.")),
            door => Ok(door),
        }
    }

    /// What the others see: what the token says, else what the client says, else who it is.
    pub(in crate::http) fn display_name(&self, asked: Option<String>) -> Option<String> {
        let fixed = self.name.clone().or(asked);
        fixed.or_else(|| Some(self.identity.to_string()))
    }

    /// Whether its bearer may do what an offer wants to. What cannot be read is refused elsewhere.
    pub(in crate::http) fn allows_offer(&self, door: &Door, offer: &str) -> Result<(), Problem> {
        let is_player = matches!(door, Door::Watch { .. });
        if is_player && !self.grants.subscribe {
            return Err(forbidden("The token does not allow to subscribe."));
        }
        let Ok(summary) = OfferSummary::parse(offer) else {
            return Ok(());
        };
        for line in summary.lines.iter().filter(|line| !line.rejected) {
            // A player's m-lines may be sendrecv: nothing is taken from them all the same.
            let sends = line.direction.is_sending() && !is_player;
            self.grants.allow_line(line, sends)?;
        }
        Ok(())
    }

    /// Whether its bearer may change and end the session of somebody.
    pub(in crate::http) fn allows_session(
        &self,
        room: &RoomId,
        identity: &ParticipantId,
    ) -> Result<(), Problem> {
        self.allows_room(room)?;
        if self.may_be(identity) {
            Ok(())
        } else {
            Err(forbidden("The session is another participant's."))
        }
    }

    /// Whether its bearer may send to others what is not media.
    pub(in crate::http) fn allows_messages(&self) -> Result<(), Problem> {
        if self.grants.may_send_data() {
            Ok(())
        } else {
            Err(forbidden("The token does not allow to send data."))
        }
    }

    /// Whether its bearer may administer this room.
    pub(in crate::http) fn allows_administration(&self, room: &RoomId) -> Result<(), Problem> {
        self.allows_room(room)?;
        self.allows_some_administration()
    }

    /// Whether its bearer may administer any room.
    pub(in crate::http) fn allows_some_administration(&self) -> Result<(), Problem> {
        if self.grants.admin {
            Ok(())
        } else {
            Err(forbidden("The token does not allow to administer rooms."))
        }
    }

    /// Whether its bearer may administer every room, and so the server.
    pub(in crate::http) fn allows_all_administration(&self) -> Result<(), Problem> {
        if self.room.is_some() {
            return Err(forbidden("The token is for one room, not for the server."));
        }
        self.allows_some_administration()
    }

    /// Whether its bearer may administer rooms.
    pub(in crate::http) fn is_admin(&self) -> bool {
        self.grants.admin
    }

    /// Whether the others are not to see its bearer.
    pub(in crate::http) fn is_hidden(&self) -> bool {
        self.grants.hidden
    }

    fn may_be(&self, identity: &ParticipantId) -> bool {
        self.grants.admin || self.identity == *identity
    }
}

impl Grants {
    /// What is sent says whose it is, and so does the channel that it comes on.
    fn may_send_data(&self) -> bool {
        (self.data || self.admin) && !self.hidden
    }

    fn allow_line(&self, line: &OfferLine, sends: bool) -> Result<(), Problem> {
        let index = line.index;
        let source = match (line.kind, line.content_slides) {
            (LineKind::Audio, false) => Source::Microphone,
            (LineKind::Audio, true) => Source::ScreenAudio,
            (LineKind::Video, false) => Source::Camera,
            (LineKind::Video, true) => Source::Screen,
            (LineKind::Application, _) if self.may_send_data() => return Ok(()),
            (LineKind::Application, _) => {
                return Err(forbidden("The token does not allow data channels."));
            }
            // The door refuses it.
            (LineKind::Other, _) => return Ok(()),
        };
        if sends && !self.publish.allows(source.into()) {
            return Err(forbidden(format!(
                "m-line {index}: the token does not allow to publish this source."
            )));
        }
        if line.direction == Direction::RecvOnly && !self.subscribe {
            return Err(forbidden(format!(
                "m-line {index}: the token does not allow to subscribe."
            )));
        }
        Ok(())
    }
}

/// What a session may do, as its client is told.
#[derive(Serialize)]
pub(in crate::http) struct Permissions {
    /// The sources that it may publish.
    publish: Vec<Publishable>,
    subscribe: bool,
    data: bool,
    admin: bool,
}

impl Permissions {
    /// Without keys everybody may do everything.
    pub(in crate::http) fn all() -> Self {
        Self {
            publish: Publishable::ALL.to_vec(),
            subscribe: true,
            data: true,
            admin: true,
        }
    }
}

impl From<&Grants> for Permissions {
    fn from(grants: &Grants) -> Self {
        let mut publish = Publishable::ALL.to_vec();
        publish.retain(|source| grants.publish.allows(*source));
        Self {
            publish,
            subscribe: grants.subscribe,
            data: grants.may_send_data(),
            admin: grants.admin,
        }
    }
}

/// A good token that does not reach so far (RFC 6750 §3.1).
fn forbidden(detail: impl Into<String>) -> Problem {
    let challenge = "Bearer realm=\"plenum\", error=\"insufficient_scope\"";
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
