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

use super::body::{SDP, check_type, text};
use super::engines::Refusal;
use super::hub::Opened;
use super::idempotency::Turn;
use super::limits::{Client, SessionSlot};
use super::newcomer::{DoorQuery, Newcomer};
use super::problem::{ACCEPT_PATCH, ACCEPT_POST, Problem, unexpected_reply};
use super::relays::Relays;
use super::session::PATCHABLE;
use super::{App, clock, percent_encoded, whep};
use crate::engine::command::{
    Command, Door, Join, Joined, MAX_DISPLAY_NAME_CHARS, OFFER_PATIENCE, Reply,
};
use crate::engine::ids::{NameError, ParticipantId, RoomId, SessionId};
use crate::engine::sdp::{OfferSummary, Setup};

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
    async fn join(mut self, room: &str, door: Door) -> Result<Response, Problem> {
        let room: RoomId = name("room", room)?;
        let newcomer = self.newcomer(&room, door)?;
        let slots = self.take_slots(&room, &newcomer)?;
        let home = self.app.engines.home(&room);
        let (offer, busy) = self.read(home, &newcomer).await?;
        let claim = match self.claim(&offer)? {
            Turn::First(claim) | Turn::Unkept(claim) => claim,
            Turn::Again(answer) => return Ok(*answer),
        };

        let app = &self.app;
        let (is_player, owner) = (newcomer.is_player(), newcomer.owner(&room));
        let player = app.audiences.enter(&room, &newcomer.door, &offer);
        let join = Join {
            needs_publisher: app.settings.require_publisher,
            busy,
            ..newcomer.into_join(room.clone(), offer)
        };
        let Opening {
            joined,
            shard,
            is_offer,
        } = Opening::of(app, home, join).await?;
        if let (true, Some(player)) = (is_offer, &player) {
            player.describe(&joined.answer);
        }
        let opened = Opened {
            shard,
            owner,
            slots,
            player,
        };
        app.hub.open(joined.session, opened);
        app.metrics.count_join(self.arrived.elapsed());
        let mut headers = headers_of(app, &room, &joined, is_player)?;
        if is_offer {
            headers.insert(CONTENT_TYPE, offer_type()?);
            return Ok((StatusCode::NOT_ACCEPTABLE, headers, joined.answer).into_response());
        }
        claim.keep(joined.session, &headers, &joined.answer);
        Ok((StatusCode::CREATED, headers, joined.answer).into_response())
    }

    /// Who it is that asks, while anybody is taken in.
    fn newcomer(&mut self, room: &RoomId, door: Door) -> Result<Newcomer, Problem> {
        let pass = self.app.pass(&self.headers)?;
        if self.app.is_draining() {
            self.app.metrics.count_refusal("draining");
            return Err(Refusal::Gone.into());
        }
        let query = self.query.take();
        let query = query.ok_or_else(|| Problem::bad_request("The query could not be read."))?;
        Newcomer::check(&self.app, pass, room, door, query, &self.headers)
    }

    /// A place among the sessions of its client's address, and one among those of its identity.
    fn take_slots(
        &self,
        room: &RoomId,
        newcomer: &Newcomer,
    ) -> Result<[Option<SessionSlot>; 2], Problem> {
        let (limits, metrics) = (&self.app.limits, &self.app.metrics);
        let slot = limits.take_session(self.client);
        let slot = slot.inspect_err(|_| metrics.count_refusal("sessions"))?;
        let identity = newcomer.pass.as_ref().map(|pass| &pass.identity);
        let own_slot = identity.map(|identity| limits.take_identity(room, identity));
        let own_slot = own_slot.transpose();
        let own_slot = own_slot.inspect_err(|_| metrics.count_refusal("identity"))?;
        Ok([slot, own_slot.flatten()])
    }

    /// What is offered (nothing by who wants an offer), and the shards that have no room for it. Who
    /// cannot be taken in is not read.
    async fn read(
        &mut self,
        home: usize,
        newcomer: &Newcomer,
    ) -> Result<(String, Vec<u16>), Problem> {
        let app = &self.app;
        if !newcomer.wants_offer {
            check_type(&self.headers, ACCEPT_POST, SDP)?;
        }
        let busy = app.admit(home, newcomer.is_player())?;
        let limit = match newcomer.door {
            Door::Meet => app.offer_limit(),
            Door::Publish { .. } | Door::Watch { .. } => app.body_limit(),
        };
        let body = std::mem::take(&mut self.body);
        let offer = match newcomer.wants_offer {
            true => String::new(),
            false => text(&self.headers, body, limit).await?,
        };
        if let Some(pass) = &newcomer.pass {
            pass.allows_offer(&newcomer.door, &offer)?;
        }
        if app.settings.strict_setup {
            check_setup(&newcomer.door, &offer)?;
        }
        Ok((offer, busy))
    }

    /// Whether this was answered before, by its `Idempotency-Key`.
    fn claim(&self, offer: &str) -> Result<Turn, Problem> {
        let app = &self.app;
        let is_open = |session| app.hub.shard_of(session).is_some();
        let turn = app
            .idempotency
            .take(&self.path, &self.headers, offer, is_open, self.arrived)?;
        if matches!(turn, Turn::Unkept(_)) {
            app.metrics.count_refusal("idempotency_keys");
        }
        Ok(turn)
    }
}

/// Whether a publisher does not wait for the DTLS handshake itself, which RFC 9725 forbids. What cannot
/// be read is refused elsewhere.
fn check_setup(door: &Door, offer: &str) -> Result<(), Problem> {
    let is_publisher = matches!(door, Door::Publish { .. });
    let summary = OfferSummary::parse(offer);
    if is_publisher && summary.is_ok_and(|it| it.setup == Setup::Passive) {
        let detail = "a=setup has to be actpass or active (RFC 9725).";
        return Err(Problem::unprocessable(detail));
    }
    Ok(())
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

/// A name from the path; `what` it names stands in the refusal.
pub(super) fn name<T: FromStr<Err = NameError>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error| Problem::bad_request(format!("{what}: {error}.")))
}

/// Whether a text fits a tile.
pub(super) fn is_display_name(text: &str) -> bool {
    text.chars().count() <= MAX_DISPLAY_NAME_CHARS && !text.chars().any(char::is_control)
}

/// The session that this one continues.
pub(super) fn resumed(headers: &HeaderMap) -> Result<Option<SessionId>, Problem> {
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
