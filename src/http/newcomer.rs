//! Who asks to come in at a door, as far as path, query, headers and token tell.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::App;
use super::auth::Pass;
use super::doors::{is_display_name, resumed};
use super::hub::Owner;
use super::problem::Problem;
use crate::engine::command::{Door, Join, MAX_DISPLAY_NAME_CHARS};
use crate::engine::ids::{RoomId, SessionId};

/// The query of a door.
#[derive(Deserialize)]
pub(super) struct DoorQuery {
    /// The display name.
    name: Option<String>,
    /// Whether a publisher of the same name makes way: `1` or `true`.
    takeover: Option<String>,
    /// `offer`, where a player wants the server to offer.
    mode: Option<String>,
}

/// Somebody before a door; what they offer is not read yet.
pub(super) struct Newcomer {
    /// What their token says; `None` where nobody needs one.
    pub(super) pass: Option<Pass>,
    /// The door as they go through it: publishers go by the name in their token.
    pub(super) door: Door,
    /// Whether the server is to offer.
    pub(super) wants_offer: bool,
    display_name: Option<String>,
    takes_over: bool,
    resume: Option<SessionId>,
}

impl Newcomer {
    /// Holds what somebody asks for against what their token allows.
    pub(super) fn check(
        app: &App,
        pass: Option<Pass>,
        room: &RoomId,
        door: Door,
        query: DoorQuery,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let is_player = matches!(door, Door::Watch { .. });
        let mut newcomer = Self {
            display_name: query.name.map(display_name).transpose()?.flatten(),
            takes_over: query.takeover.is_some_and(|it| it == "1" || it == "true"),
            wants_offer: is_player && query.mode.is_some_and(|it| it == "offer"),
            resume: match door {
                Door::Meet => resumed(headers)?,
                Door::Publish { .. } | Door::Watch { .. } => None,
            },
            pass: None,
            door,
        };
        if let Some(pass) = pass {
            pass.allows_room(room)?;
            newcomer.door = pass.through(newcomer.door)?;
            newcomer.display_name = pass.display_name(newcomer.display_name);
            // A session that is not known (any more) is continued by nobody.
            let former = newcomer.resume.and_then(|session| app.hub.owner(session));
            former.map_or(Ok(()), |owner| {
                pass.allows_session(&owner.room, &owner.identity)
            })?;
            newcomer.pass = Some(pass);
        }
        Ok(newcomer)
    }

    /// Whether they only receive.
    pub(super) fn is_player(&self) -> bool {
        matches!(self.door, Door::Watch { .. })
    }

    /// Whose their session is going to be, where that is known.
    pub(super) fn owner(&self, room: &RoomId) -> Option<Owner> {
        let pass = self.pass.clone()?;
        Some(Owner::new(room.clone(), self.door.clone(), pass))
    }

    /// What their room's engine is asked. Without keys all are equal: nobody is marked as a host, and a
    /// locked room is locked for all.
    pub(super) fn into_join(self, room: RoomId, offer: String) -> Join {
        let pass = self.pass.as_ref();
        Join {
            is_host: pass.is_some_and(Pass::is_admin),
            is_hidden: pass.is_some_and(Pass::is_hidden),
            name: self.display_name,
            takes_over: self.takes_over,
            resume: self.resume,
            // Who is to be offered to has nothing to say.
            ..Join::new(room, self.door, (!self.wants_offer).then_some(offer))
        }
    }
}

/// A display name that fits a tile; an empty one is none.
fn display_name(text: String) -> Result<Option<String>, Problem> {
    if !is_display_name(&text) {
        let detail = format!("A name has at most {MAX_DISPLAY_NAME_CHARS} printable characters.");
        return Err(Problem::bad_request(detail));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}
