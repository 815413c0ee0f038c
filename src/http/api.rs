//! The server API: rooms and those in them, administered by hosts and by servers of applications.
//!
//! Every request needs the grant `admin` for its room, where tokens are required at all.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonBody;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body::json_text;
use super::doors::name;
use super::drain::DrainQuery;
use super::problem::{Problem, unexpected_reply};
use super::wish::parse;
use super::{App, origin, percent_encoded};
use crate::engine::administration::{RoomCommand, RoomDetail, RoomSettings, RoomSummary};
use crate::engine::command::{Command, Reply};
use crate::engine::ids::{ParticipantId, RoomId, TrackId};
use crate::engine::inspect::SessionReport;
use crate::engine::message::Json;

/// Largest body of `PUT /api/rooms/{room}`, in bytes: its metadata are in every snapshot.
const MAX_ROOM_BYTES: usize = 4 * 1024;

/// Longest that a room may be told to be there without anybody in it: a week.
const MAX_EMPTY_TIMEOUT_S: u64 = 7 * 86_400;

/// What `GET /api/rooms` answers.
#[derive(Serialize)]
pub(super) struct Rooms {
    rooms: Vec<RoomSummary>,
}

/// `GET /api/rooms`: all that the token reaches.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<JsonBody<Rooms>, Problem> {
    let pass = app.pass(&headers)?;
    match &pass {
        Some(pass) => pass.allows_some_administration()?,
        None => origin::check(&app.settings, &headers)?,
    }
    let shards = 0..app.engines.count();
    let asked = shards.map(|shard| app.command(shard, Command::Administer(RoomCommand::List)));
    let mut rooms = Vec::new();
    for reply in try_join_all(asked).await? {
        let Reply::Rooms(some) = reply else {
            return Err(unexpected_reply());
        };
        rooms.extend(some);
    }
    if let Some(pass) = &pass {
        rooms.retain(|room| pass.allows_room(&room.name).is_ok());
    }
    rooms.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(JsonBody(Rooms { rooms }))
}

/// `GET /api/rooms/{room}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<JsonBody<RoomDetail>, Problem> {
    let room = app.administered(&room, &headers)?;
    let command = RoomCommand::Show { room: room.clone() };
    let JsonBody(mut detail) = detail(app.administer(&room, command).await?)?;
    // A large audience is on several shards.
    for shard in app.shards_beside(&room) {
        let command = RoomCommand::Show { room: room.clone() };
        match app.command(shard, Command::Administer(command)).await {
            Ok(Reply::Room(more)) => detail.participants.extend(more.participants),
            Ok(_) => return Err(unexpected_reply()),
            Err(problem) if problem.is_gone() => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(JsonBody(detail))
}

/// The body of `PUT /api/rooms/{room}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoomBody {
    max_participants: Option<u32>,
    locked: Option<bool>,
    metadata: Option<Map<String, Value>>,
    empty_timeout: Option<u64>,
}

/// `PUT /api/rooms/{room}`: makes it, or changes what is named.
pub(super) async fn configure(
    State(app): State<Arc<App>>,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<JsonBody<RoomDetail>, Problem> {
    let room = app.administered(&room, &headers)?;
    let text = json_text(&headers, body, app.body_limit().at_most(MAX_ROOM_BYTES)).await?;
    let body: RoomBody = parse(&text)?;
    if body.empty_timeout.is_some_and(|s| s > MAX_EMPTY_TIMEOUT_S) {
        let detail = format!("emptyTimeout is at most {MAX_EMPTY_TIMEOUT_S} s.");
        return Err(Problem::unprocessable(detail));
    }
    let settings = RoomSettings {
        max_participants: body.max_participants.map(|most| most as usize),
        locked: body.locked,
        metadata: body.metadata.map(|it| Json::from(&Value::Object(it))),
        empty_timeout: body.empty_timeout.map(Duration::from_secs),
    };
    let command = RoomCommand::Configure {
        room: room.clone(),
        settings,
    };
    detail(app.administer(&room, command).await?)
}

/// `DELETE /api/rooms/{room}`: ends it for all.
pub(super) async fn close(
    State(app): State<Arc<App>>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let room = app.administered(&room, &headers)?;
    let command = RoomCommand::Close { room: room.clone() };
    let ended = done(&app.administer(&room, command).await?)?;
    for shard in app.shards_beside(&room) {
        let command = RoomCommand::Close { room: room.clone() };
        match app.command(shard, Command::Administer(command)).await {
            Err(problem) if !problem.is_gone() => return Err(problem),
            _ => {}
        }
    }
    Ok(ended)
}

/// `DELETE /api/rooms/{room}/participants/{participant}`: removes somebody.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path((room, participant)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let room = app.administered(&room, &headers)?;
    let participant: ParticipantId = name("participant", &participant)?;
    let command = || RoomCommand::Remove {
        room: room.clone(),
        participant: participant.clone(),
    };
    let mut removed = app.administer(&room, command()).await;
    let mut beside = app.shards_beside(&room);
    while let (Err(problem), Some(shard)) = (&removed, beside.next())
        && problem.is_gone()
    {
        removed = app.command(shard, Command::Administer(command())).await;
    }
    done(&removed?)
}

/// `GET /api/rooms/{room}/participants/{participant}/stats`: why somebody's call is as it is.
pub(super) async fn stats(
    State(app): State<Arc<App>>,
    Path((room, participant)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<JsonBody<Vec<SessionReport>>, Problem> {
    let room = app.administered(&room, &headers)?;
    let participant: ParticipantId = name("participant", &participant)?;
    Ok(JsonBody(app.reports(&room, &participant).await?))
}

/// `POST /api/drain`: the server goes away, for whoever may administer all of it.
pub(super) async fn drain(
    State(app): State<Arc<App>>,
    query: Result<Query<DrainQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let Some(pass) = app.pass(&headers)? else {
        let detail = "Without keys anybody could ask this: POST /drain to the operator's listener.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    };
    pass.allows_all_administration()?;
    let Ok(Query(query)) = query else {
        return Err(Problem::bad_request("The deadline is a number of seconds."));
    };
    app.drain_as_asked(&query).await
}

/// The body of `PUT …/tracks/{track}`.
#[derive(Deserialize)]
struct TrackBody {
    muted: bool,
}

/// `PUT /api/rooms/{room}/participants/{participant}/tracks/{track}`: mutes it.
pub(super) async fn mute(
    State(app): State<Arc<App>>,
    Path((room, participant, track)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let room = app.administered(&room, &headers)?;
    let participant: ParticipantId = name("participant", &participant)?;
    let text = json_text(&headers, body, app.body_limit()).await?;
    if !parse::<TrackBody>(&text)?.muted {
        let detail = "Only its publisher can unmute a track.";
        return Err(Problem::unprocessable(detail));
    }
    let track: Result<TrackId, _> = track.parse();
    let command = RoomCommand::Mute {
        room: room.clone(),
        participant,
        track: track.map_err(|_| Problem::not_found("There is no such track."))?,
    };
    done(&app.administer(&room, command).await?)
}

/// The body of `POST …/move`.
#[derive(Deserialize)]
struct MoveBody {
    room: String,
}

/// `POST /api/rooms/{room}/participants/{participant}/move`: sends somebody to another room.
pub(super) async fn move_away(
    State(app): State<Arc<App>>,
    Path((room, participant)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let room = app.administered(&room, &headers)?;
    let participant: ParticipantId = name("participant", &participant)?;
    let text = json_text(&headers, body, app.body_limit()).await?;
    let other: RoomId = name("room", &parse::<MoveBody>(&text)?.room)?;
    // Who comes to the other room needs a token for it, and so does who sends them there.
    app.check_admin(&other, &headers)?;
    let path = format!("/rooms/{}/sessions", percent_encoded(other.as_str()));
    let command = RoomCommand::Move {
        room: room.clone(),
        participant,
        url: app.url(&path),
    };
    done(&app.administer(&room, command).await?)
}

impl App {
    /// A room's name from the path, for whoever may administer that room.
    fn administered(&self, room: &str, headers: &HeaderMap) -> Result<RoomId, Problem> {
        let room: RoomId = name("room", room)?;
        self.check_admin(&room, headers)?;
        Ok(room)
    }

    /// The shards that a room does not live on: they may have players of it.
    fn shards_beside(&self, room: &RoomId) -> impl Iterator<Item = usize> + use<> {
        let home = self.engines.home(room);
        (0..self.engines.count()).filter(move |shard| *shard != home)
    }

    async fn administer(&self, room: &RoomId, command: RoomCommand) -> Result<Reply, Problem> {
        let shard = self.engines.home(room);
        self.command(shard, Command::Administer(command)).await
    }
}

fn detail(reply: Reply) -> Result<JsonBody<RoomDetail>, Problem> {
    match reply {
        Reply::Room(detail) => Ok(JsonBody(*detail)),
        _ => Err(unexpected_reply()),
    }
}

fn done(reply: &Reply) -> Result<StatusCode, Problem> {
    match reply {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        _ => Err(unexpected_reply()),
    }
}
