//! What is said in a room (`POST messages`), and what is noted of those in it (`PUT attributes`).

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::App;
use super::body::json_text;
use super::doors::name;
use super::owned::Owned;
use super::problem::{Problem, unexpected_reply};
use super::wish::parse;
use crate::engine::command::{Command, Reply};
use crate::engine::ids::{ParticipantId, RoomId, SessionId};
use crate::engine::message::{EventName, Json, Say};

/// Largest body of `PUT attributes`, in bytes: they travel in every event about their participant.
const MAX_ATTRIBUTES_BYTES: usize = 1024;

/// Most attributes of a participant.
const MAX_ATTRIBUTES: usize = 16;

/// The body of `POST messages`.
#[derive(Deserialize)]
struct MessageBody {
    /// The sender's session.
    session: Option<String>,
    to: Option<String>,
    event: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    keep: bool,
}

/// What `POST messages` answers.
#[derive(Serialize)]
struct Said {
    id: String,
}

/// `POST messages`: from a session to its room, or from the server.
pub(super) async fn say(
    State(app): State<Arc<App>>,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let room: RoomId = name("room", &room)?;
    // Whoever has no token at all is not read.
    let pass = app.pass(&headers)?;
    let most = app.settings.message_bytes as usize;
    let limit = app.body_limit().at_most(most);
    let text = json_text(&headers, body, limit).await?;
    let body: MessageBody = parse(&text)?;
    let (from, shard) = match &body.session {
        Some(id) => {
            let (session, shard) = app.find_for(id, &headers)?;
            pass.map_or(Ok(()), |pass| pass.allows_messages())?;
            app.limits.take_message(session).inspect_err(|_| {
                app.metrics.count_refusal("messages");
            })?;
            (Some(session), shard)
        }
        None => {
            app.check_admin(&room, &headers)?;
            (None, app.engines.home(&room))
        }
    };
    let say = body.into_say(room, from)?;
    let Reply::Said { id } = app.command(shard, Command::Say(Box::new(say))).await? else {
        return Err(unexpected_reply());
    };
    Ok((StatusCode::ACCEPTED, JsonBody(Said { id })).into_response())
}

impl MessageBody {
    fn into_say(self, room: RoomId, from: Option<SessionId>) -> Result<Say, Problem> {
        // Who could not exist is not there.
        let to = self.to.map(|to| to.parse::<ParticipantId>()).transpose();
        let to = to.map_err(|_| Problem::not_found("There is no such participant."))?;
        let event: EventName = self.event.parse().map_err(|_| {
            Problem::unprocessable("event has 1 to 64 letters, digits, '_', '.', ':' or '-'.")
        })?;
        if self.keep && to.is_some() {
            return Err(Problem::unprocessable(
                "Only messages to everybody are kept.",
            ));
        }
        Ok(Say {
            room,
            from,
            to,
            event,
            data: Json::from(&self.data),
            keep: self.keep,
        })
    }
}

/// `PUT attributes`: what an application notes of a participant, all of it at once.
pub(super) async fn set_attributes(owned: Owned, body: Body) -> Result<StatusCode, Problem> {
    let limit = owned.app.body_limit().at_most(MAX_ATTRIBUTES_BYTES);
    let text = json_text(&owned.headers, body, limit).await?;
    let command = Command::SetAttributes {
        session: owned.session,
        attributes: attributes(parse(&text)?)?,
    };
    owned.command(command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An object of plain values; an empty one is none.
fn attributes(object: Map<String, Value>) -> Result<Option<Json>, Problem> {
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    if object.len() > MAX_ATTRIBUTES || !object.values().all(is_plain) {
        let detail = format!("Attributes are at most {MAX_ATTRIBUTES} plain values.");
        return Err(Problem::unprocessable(detail));
    }
    Ok((!object.is_empty()).then(|| Json::from(&Value::Object(object))))
}
