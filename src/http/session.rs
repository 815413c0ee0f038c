//! A session's own URL: change it, look at it, end it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use super::body::{
    FRAGMENT, MAX_BODY_BYTES, MAX_ROOM_OFFER_BYTES, SDP, content_type, json_text, text,
};
use super::doors::{X_DESCRIPTION_TAG, entity_tag};
use super::precondition::Precondition;
use super::problem::{ACCEPT_PATCH, Problem, unexpected_reply};
use super::wish::{parse_muted, parse_wish};
use crate::engine::command::{Binding, Command, Reply};
use crate::engine::ids::SessionId;

/// What `PATCH` of a session takes.
pub(super) const PATCHABLE: &str = "application/trickle-ice-sdpfrag, application/sdp";

/// `PATCH`: candidates or new ICE credentials (RFC 9725 §4.3), a whole new offer, or the answer to
/// ours.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (session, shard) = app.find_for(&id, &headers)?;
    match content_type(&headers).as_deref() {
        Some(FRAGMENT) => {
            let precondition = Precondition::of(&headers)?;
            if app.settings.strict_if_match && precondition == Precondition::Missing {
                let detail = "A trickle fragment needs If-Match (RFC 9725, section 4.3.1).";
                return Err(Problem::new(
                    StatusCode::PRECONDITION_REQUIRED,
                    "if-match",
                    detail,
                ));
            }
            let fragment = text(&headers, body, MAX_BODY_BYTES).await?;
            trickle(&app, shard, session, precondition, fragment).await
        }
        Some(SDP) => {
            let if_match = Precondition::of(&headers)?.into_tag();
            let description = text(&headers, body, MAX_ROOM_OFFER_BYTES).await?;
            if let (Some(pass), Some(owner)) = (app.pass(&headers)?, app.hub.owner(session)) {
                pass.allows_offer(&owner.door, &description)?;
            }
            let player = app.hub.player(session);
            let lines = player.as_ref().map(|_| description.clone());
            let command = Command::Describe {
                session,
                if_match,
                description,
            };
            let answer = describe(&app, shard, command).await?;
            if let (Some(player), Some(description)) = (player, lines) {
                player.describe(&description);
            }
            Ok(answer)
        }
        _ => Err(Problem::media_type(ACCEPT_PATCH, PATCHABLE)),
    }
}

/// Candidates are answered without body and tag, a restart with both.
async fn trickle(
    app: &App,
    shard: usize,
    session: SessionId,
    precondition: Precondition,
    fragment: String,
) -> Result<Response, Problem> {
    let command = Command::Trickle {
        session,
        if_match: precondition.into_tag(),
        fragment,
    };
    match app.command(shard, command).await? {
        Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Reply::IceRestarted { fragment, ice_tag } => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(FRAGMENT)),
                (ETAG, entity_tag(&ice_tag)?),
            ];
            Ok((StatusCode::OK, headers, fragment).into_response())
        }
        _ => Err(unexpected_reply()),
    }
}

/// An offer is answered; an answer to ours is taken without body.
async fn describe(app: &App, shard: usize, command: Command) -> Result<Response, Problem> {
    match app.command(shard, command).await? {
        Reply::Reoffered {
            answer,
            ice_tag,
            sdp_tag,
        } => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(SDP)),
                (ETAG, entity_tag(&ice_tag)?),
                (X_DESCRIPTION_TAG, entity_tag(&sdp_tag)?),
            ];
            Ok((StatusCode::OK, headers, answer).into_response())
        }
        Reply::Answered { ice_tag } => {
            Ok((StatusCode::NO_CONTENT, [(ETAG, entity_tag(&ice_tag)?)]).into_response())
        }
        _ => Err(unexpected_reply()),
    }
}

/// `GET` and `HEAD`: the session is there, and that is all (RFC 9725 §4.2).
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.find(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `OPTIONS` of the session.
pub(super) async fn options() -> impl IntoResponse {
    (
        StatusCode::OK,
        [(ACCEPT_PATCH, HeaderValue::from_static(PATCHABLE))],
    )
}

/// `OPTIONS` of what is below the session: a preflight.
pub(super) async fn options_below() -> StatusCode {
    StatusCode::OK
}

/// `DELETE`: leaves. Entity tags do not matter here (RFC 9725 §4.2).
pub(super) async fn leave(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (session, shard) = match app.find_for(&id, &headers) {
        Ok(found) => found,
        // Browsers close the connection first and delete then: that is one farewell, not two.
        Err(problem) if problem.is_gone() && app.hub.take_leave(&id) => return Ok(StatusCode::OK),
        Err(problem) => return Err(problem),
    };
    match app.command(shard, Command::Leave { session }).await {
        Err(_) if app.hub.take_leave(&id) => Ok(StatusCode::OK),
        result => {
            let left = result.map(|_| StatusCode::OK)?;
            app.hub.left(session);
            Ok(left)
        }
    }
}

/// What `PUT subscriptions` answers.
#[derive(Serialize)]
struct Subscribed {
    /// The event version that includes it.
    v: u64,
    bindings: Vec<Binding>,
}

/// `PUT subscriptions`: the whole wish.
pub(super) async fn subscribe(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (session, shard) = app.find_for(&id, &headers)?;
    let if_match = Precondition::of(&headers)?.into_tag();
    let text = json_text(&headers, body).await?;
    let command = Command::Subscribe {
        session,
        if_match,
        wish: parse_wish(&text)?,
    };
    let Reply::Subscribed {
        bindings,
        version,
        subscriptions_tag,
    } = app.command(shard, command).await?
    else {
        return Err(unexpected_reply());
    };
    let tag = entity_tag(&subscriptions_tag)?;
    let body = axum::Json(Subscribed {
        v: version,
        bindings,
    });
    Ok((StatusCode::OK, [(ETAG, tag)], body).into_response())
}

/// `PUT tracks`: which of its own tracks the client has muted.
pub(super) async fn mute(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let (session, shard) = app.find_for(&id, &headers)?;
    let text = json_text(&headers, body).await?;
    let muted = parse_muted(&text)?;
    app.command(shard, Command::Mute { session, muted }).await?;
    Ok(StatusCode::NO_CONTENT)
}
