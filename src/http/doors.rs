//! The four doors: `POST` of an offer makes a session.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{FromRequest, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::auth::Pass;
use super::body::{SDP, check_type, text};
use super::engines::Refusal;
use super::hub::{Opened, Owner};
use super::idempotency::Turn;
use super::limits::Client;
use super::problem::{ACCEPT_PATCH, ACCEPT_POST, Problem, unexpected_reply};
use super::relays::Relays;
use super::session::PATCHABLE;
use super::{App, clock, percent_encoded, whep};
use crate::engine::command::{
    Command, Door, Join, Joined, MAX_DISPLAY_NAME_CHARS, OFFER_PATIENCE, Reply,
};
use crate::engine::ids::{NameError, ParticipantId, RoomId, SessionId};

/// `POST /whip/{room}`.
pub(super) async fn publish(Path(room): Path<String>, offer: Offer) -> Result<Response, Problem> {
    offer.join(&room, Door::Publish { participant: None }).await
}

/// `POST /whip/{room}/{participant}`.
pub(super) async fn publish_as(
    Path((room, participant)): Path<(String, String)>,
    offer: Offer,
) -> Result<Response, Problem> {
    let participant: ParticipantId = name("participant", &participant)?;
    offer
        .join(
            &room,
            Door::Publish {
                participant: Some(participant),
            },
        )
        .await
}

/// `POST /whep/{room}`.
pub(super) async fn watch(Path(room): Path<String>, offer: Offer) -> Result<Response, Problem> {
    offer.join(&room, Door::Watch { participant: None }).await
}

/// `POST /whep/{room}/{participant}`.
pub(super) async fn watch_one(
    Path((room, participant)): Path<(String, String)>,
    offer: Offer,
) -> Result<Response, Problem> {
    let participant: ParticipantId = name("participant", &participant)?;
    offer
        .join(
            &room,
            Door::Watch {
                participant: Some(participant),
            },
        )
        .await
}

/// `POST /rooms/{room}/sessions`.
pub(super) async fn meet(Path(room): Path<String>, offer: Offer) -> Result<Response, Problem> {
    offer.join(&room, Door::Meet).await
}

/// `GET` of a door for publishers and room clients: it is there, and that is all (RFC 9725 §4.2).
pub(super) async fn show(Path(names): Path<DoorNames>) -> Result<StatusCode, Problem> {
    names.check()?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET` of a door for viewers: 200 and the type of what a `POST` takes
/// (draft-ietf-wish-whep-03 §4).
pub(super) async fn show_watch(Path(names): Path<DoorNames>) -> Result<impl IntoResponse, Problem> {
    names.check()?;
    Ok((
        StatusCode::OK,
        [(CONTENT_TYPE, HeaderValue::from_static(SDP))],
    ))
}

/// The names in a door's path. There is no door of a name that is not allowed.
#[derive(Deserialize)]
pub(super) struct DoorNames {
    room: String,
    participant: Option<String>,
}

impl DoorNames {
    fn check(&self) -> Result<(), Problem> {
        name::<RoomId>("room", &self.room)?;
        let participant = self.participant.as_deref();
        participant.map_or(Ok(()), |it| {
            name::<ParticipantId>("participant", it).map(|_| ())
        })
    }
}

/// `OPTIONS` of a door, as a preflight or to see what it takes.
pub(super) async fn options() -> impl IntoResponse {
    (
        StatusCode::OK,
        [(ACCEPT_POST, HeaderValue::from_static(SDP))],
    )
}

/// The query of a door.
#[derive(Deserialize)]
struct DoorQuery {
    /// The display name.
    name: Option<String>,
    /// Whether a publisher of the same name makes way: `1` or `true`.
    takeover: Option<String>,
    /// `offer`, where a player wants the server to offer.
    mode: Option<String>,
}

/// A request at a door; its body is not read yet.
pub(super) struct Offer {
    app: Arc<App>,
    client: Client,
    path: String,
    query: Option<DoorQuery>,
    headers: HeaderMap,
    body: Body,
    arrived: Instant,
}

impl FromRequest<Arc<App>> for Offer {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let client = parts.extensions.get::<Client>().copied();
        Ok(Self {
            app: Arc::clone(app),
            client: client.expect("a layer of the router names the client"),
            path: parts.uri.path().to_owned(),
            query: Query::try_from_uri(&parts.uri)
                .ok()
                .map(|Query(query)| query),
            headers: parts.headers,
            body,
            arrived: clock::now(),
        })
    }
}

impl Offer {
    /// Checks everything that can be checked without an engine, then opens the session.
    async fn join(self, room: &str, door: Door) -> Result<Response, Problem> {
        let room: RoomId = name("room", room)?;
        let pass = self.app.pass(&self.headers)?;
        if self.app.is_draining() {
            self.app.metrics.count_refusal("draining");
            return Err(Refusal::Gone.into());
        }
        let query = self
            .query
            .ok_or_else(|| Problem::bad_request("The query could not be read."))?;
        let mut display_name = query.name.map(display_name).transpose()?.flatten();
        let resume = match door {
            Door::Meet => resumed(&self.headers)?,
            Door::Publish { .. } | Door::Watch { .. } => None,
        };
        let mut door = door;
        // Without keys all are equal: nobody is marked, and a locked room is locked for all.
        let is_host = pass.as_ref().is_some_and(Pass::is_admin);
        let is_hidden = pass.as_ref().is_some_and(Pass::is_hidden);
        let takes_over = query.takeover.is_some_and(|it| it == "1" || it == "true");
        if let Some(pass) = &pass {
            pass.allows_room(&room)?;
            door = pass.through(door)?;
            display_name = pass.display_name(display_name);
            check_resumed(&self.app, resume, pass)?;
        }
        let slot = self.app.limits.take_session(self.client).inspect_err(|_| {
            self.app.metrics.count_refusal("sessions");
        })?;
        let identity = pass.as_ref().map(|pass| &pass.identity);
        let own_slot = identity.map(|identity| self.app.limits.take_identity(&room, identity));
        let own_slot = own_slot.transpose().inspect_err(|_| {
            self.app.metrics.count_refusal("identity");
        })?;
        let is_player = matches!(door, Door::Watch { .. });
        let wants_offer = is_player && query.mode.is_some_and(|it| it == "offer");
        if !wants_offer {
            check_type(&self.headers, ACCEPT_POST, SDP)?;
        }
        let home = self.app.engines.home(&room);
        let busy = self
            .app
            .admit(home, is_player)
            .inspect_err(|shortage| self.app.metrics.count_refusal(shortage.label()))?;
        let limit = match door {
            Door::Meet => self.app.offer_limit(),
            Door::Publish { .. } | Door::Watch { .. } => self.app.body_limit(),
        };
        // Who is to be offered to has nothing to say.
        let offer = match wants_offer {
            true => String::new(),
            false => text(&self.headers, self.body, limit).await?,
        };
        if let Some(pass) = &pass {
            pass.allows_offer(&door, &offer)?;
        }

        let is_open = |session| self.app.hub.shard_of(session).is_some();
        let keys = &self.app.idempotency;
        let claim = match keys.take(&self.path, &self.headers, &offer, is_open, self.arrived)? {
            Turn::First(claim) => claim,
            Turn::Unkept(claim) => {
                self.app.metrics.count_refusal("idempotency_keys");
                claim
            }
            Turn::Again(answer) => return Ok(*answer),
        };

        let place = room.clone();
        let player = self.app.audiences.enter(&room, &door, &offer);
        let owner = pass.map(|pass| Owner::new(room.clone(), door.clone(), pass));
        let join = Join {
            room,
            door,
            name: display_name,
            is_host,
            is_hidden,
            takes_over,
            needs_publisher: self.app.settings.require_publisher,
            resume,
            offer: (!wants_offer).then_some(offer),
            home: None,
            busy,
        };
        let opening = Opening::of(&self.app, home, join).await?;
        let Opening {
            joined,
            shard,
            is_offer,
        } = opening;
        if let (true, Some(player)) = (is_offer, &player) {
            player.describe(&joined.answer);
        }
        let opened = Opened {
            shard,
            owner,
            slots: [slot, own_slot.flatten()],
            player,
        };
        self.app.hub.open(joined.session, opened);
        self.app.metrics.count_join(self.arrived.elapsed());
        let mut headers = headers_of(&self.app, &place, &joined, is_player)?;
        if is_offer {
            headers.insert(CONTENT_TYPE, offer_type()?);
            return Ok((StatusCode::NOT_ACCEPTABLE, headers, joined.answer).into_response());
        }
        claim.keep(joined.session, &headers, &joined.answer);
        Ok((StatusCode::CREATED, headers, joined.answer).into_response())
    }
}

/// A session that an engine has opened.
struct Opening {
    joined: Joined,
    shard: usize,
    /// Whether what the client gets is an offer of ours.
    is_offer: bool,
}

impl Opening {
    /// Opens a session; one with an offer of ours, if a player wants it or has no codec that we know.
    async fn of(app: &App, home: usize, join: Join) -> Result<Self, Problem> {
        let is_player = matches!(join.door, Door::Watch { .. });
        let counter = (is_player && join.offer.is_some()).then(|| Join {
            offer: None,
            ..join.clone()
        });
        let mut is_offer = join.offer.is_none();
        let mut opened = open(app, home, Box::new(join)).await;
        if let (Err(problem), Some(counter)) = (&opened, counter)
            && problem.lacks_a_common_codec()
        {
            is_offer = true;
            opened = open(app, home, Box::new(counter)).await;
        }
        let (joined, shard) = opened?;
        Ok(Self {
            joined,
            shard,
            is_offer,
        })
    }
}

/// The type of an offer of ours, which says until when it may be answered
/// (draft-ietf-wish-whep-03, "counter-offer").
fn offer_type() -> Result<HeaderValue, Problem> {
    let until = httpdate::fmt_http_date(clock::wall() + OFFER_PATIENCE);
    header(&format!("{SDP}; valid-until=\"{until}\""))
}

/// Has a room's home open a session, or the shard that home sends it to; says which it was.
async fn open(app: &App, home: usize, join: Box<Join>) -> Result<(Joined, usize), Problem> {
    let (reply, shard) = match app.command(home, Command::Join(join)).await? {
        Reply::Elsewhere { shard, mut join } => {
            join.home = Some(home as u16);
            let shard = usize::from(shard);
            (app.command(shard, Command::Join(join)).await?, shard)
        }
        reply => (reply, home),
    };
    match reply {
        Reply::Joined(joined) => Ok((joined, shard)),
        _ => Err(unexpected_reply()),
    }
}

/// Whether the bearer of a pass may continue a session.
fn check_resumed(app: &App, session: Option<SessionId>, pass: &Pass) -> Result<(), Problem> {
    // One that is not known (any more) continues nothing.
    match session.and_then(|session| app.hub.owner(session)) {
        Some(owner) => pass.allows_session(&owner.room, &owner.identity),
        None => Ok(()),
    }
}

/// A name from the path; `what` it names stands in the refusal.
pub(super) fn name<T: FromStr<Err = NameError>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error| Problem::bad_request(format!("{what}: {error}.")))
}

/// A display name that fits a tile; an empty one is none.
fn display_name(text: String) -> Result<Option<String>, Problem> {
    if !is_display_name(&text) {
        let detail = format!("A name has at most {MAX_DISPLAY_NAME_CHARS} printable characters.");
        return Err(Problem::bad_request(detail));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Whether a text fits a tile.
pub(super) fn is_display_name(text: &str) -> bool {
    text.chars().count() <= MAX_DISPLAY_NAME_CHARS && !text.chars().any(char::is_control)
}

/// The session that this one continues.
fn resumed(headers: &HeaderMap) -> Result<Option<SessionId>, Problem> {
    let Some(value) = headers.get("x-resume") else {
        return Ok(None);
    };
    let session = value.to_str().ok().and_then(|text| text.parse().ok());
    session
        .map(Some)
        .ok_or_else(|| Problem::bad_request("X-Resume is not a session's id."))
}

/// The headers of `201 Created`: where the session is, and what it can do.
fn headers_of(
    app: &App,
    room: &RoomId,
    joined: &Joined,
    is_player: bool,
) -> Result<HeaderMap, Problem> {
    let session = app.url(&format!("/sessions/{}", joined.session));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(LOCATION, header(&session)?);
    headers.insert(ETAG, entity_tag(&joined.ice_tag)?);
    headers.append(
        LINK,
        header(&format!("<{session}/events>; rel=\"urn:plenum:events\""))?,
    );
    headers.append(
        LINK,
        header(&format!(
            "<{session}/subscriptions>; rel=\"urn:plenum:subscriptions\""
        ))?,
    );
    if is_player {
        for link in whep::links(&session) {
            headers.append(LINK, header(&link)?);
        }
    }
    let relays = Relays {
        settings: &app.settings.turn,
        own: app.relay.as_ref(),
    };
    let relayed = relays.admit(room, &joined.participant, clock::wall());
    app.hub.keep(joined.session, relayed.guest);
    for link in relayed.links {
        headers.append(LINK, header(&link)?);
    }
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PATCHABLE));
    headers.insert(
        X_PARTICIPANT,
        header(&percent_encoded(joined.participant.as_str()))?,
    );
    headers.insert(X_DESCRIPTION_TAG, entity_tag(&joined.sdp_tag)?);
    headers.insert(X_SUBSCRIPTIONS_TAG, entity_tag(&joined.subscriptions_tag)?);
    Ok(headers)
}

/// Who the session is in its room, percent-encoded: a header carries ASCII only.
const X_PARTICIPANT: HeaderName = HeaderName::from_static("x-participant");
/// The entity tag of the description.
pub(super) const X_DESCRIPTION_TAG: HeaderName = HeaderName::from_static("x-description-tag");
/// The entity tag of the subscriptions.
const X_SUBSCRIPTIONS_TAG: HeaderName = HeaderName::from_static("x-subscriptions-tag");

/// An entity tag as a header has it (RFC 9110 §8.8.3): strong, in quotes.
pub(super) fn entity_tag(tag: &str) -> Result<HeaderValue, Problem> {
    header(&format!("\"{tag}\""))
}

/// What an engine gave us, as a header.
fn header(value: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(value).map_err(|_| unexpected_reply())
}
