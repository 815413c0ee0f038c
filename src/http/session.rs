//! A session's own URL: change it, look at it, end it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use super::body::{FRAGMENT, SDP, content_type, json_text, text};
use super::doors::{X_DESCRIPTION_TAG, entity_tag};
use super::owned::Owned;
use super::precondition::Precondition;
use super::problem::{ACCEPT_PATCH, Problem, unexpected_reply};
use super::wish::{parse_muted, parse_wish};
use crate::engine::command::{Binding, Command, Reply};

/// What `PATCH` of a session takes.
pub(super) const PATCHABLE: &str = "application/trickle-ice-sdpfrag, application/sdp";

/// `PATCH`: candidates or new ICE credentials (RFC 9725 §4.3), a whole new offer, or the answer to
/// ours.
pub(super) async fn patch(owned: Owned, body: Body) -> Result<Response, Problem> {
    let headers = &owned.headers;
    match content_type(headers).as_deref() {
        Some(FRAGMENT) => {
            let precondition = Precondition::of(headers)?;
            if owned.app.settings.strict_if_match && precondition == Precondition::Missing {
                let detail = "A trickle fragment needs If-Match (RFC 9725, section 4.3.1).";
                return Err(Problem::new(
                    StatusCode::PRECONDITION_REQUIRED,
                    "if-match",
                    detail,
                ));
            }
            let fragment = text(headers, body, owned.app.body_limit()).await?;
            trickle(&owned, precondition, fragment).await
        }
        Some(SDP) => {
            let if_match = Precondition::of(headers)?.into_tag();
            let description = text(headers, body, owned.app.offer_limit()).await?;
            describe(&owned, if_match, description).await
        }
        _ => Err(Problem::media_type(ACCEPT_PATCH, PATCHABLE)),
    }
}

/// Candidates are answered without body and tag, a restart with both.
async fn trickle(
    owned: &Owned,
    precondition: Precondition,
    fragment: String,
) -> Result<Response, Problem> {
    let command = Command::Trickle {
        session: owned.session,
        if_match: precondition.into_tag(),
        fragment,
    };
    match owned.command(command).await? {
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
async fn describe(
    owned: &Owned,
    if_match: Option<String>,
    description: String,
) -> Result<Response, Problem> {
    let (app, session) = (&owned.app, owned.session);
    if let (Some(pass), Some(owner)) = (app.pass(&owned.headers)?, app.hub.owner(session)) {
        pass.allows_offer(&owner.door, &description)?;
    }
    let player = app.hub.player(session);
    let lines = player.as_ref().map(|_| description.clone());
    let command = Command::Describe {
        session,
        if_match,
        description,
    };
    let answer = match owned.command(command).await? {
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
            (StatusCode::OK, headers, answer).into_response()
        }
        Reply::Answered { ice_tag } => {
            (StatusCode::NO_CONTENT, [(ETAG, entity_tag(&ice_tag)?)]).into_response()
        }
        _ => return Err(unexpected_reply()),
    };
    if let (Some(player), Some(description)) = (player, lines) {
        player.describe(&description);
    }
    Ok(answer)
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
pub(super) async fn subscribe(owned: Owned, body: Body) -> Result<Response, Problem> {
    let if_match = Precondition::of(&owned.headers)?.into_tag();
    let text = json_text(&owned.headers, body, owned.app.body_limit()).await?;
    let command = Command::Subscribe {
        session: owned.session,
        if_match,
        wish: parse_wish(&text)?,
    };
    let Reply::Subscribed {
        bindings,
        version,
        subscriptions_tag,
    } = owned.command(command).await?
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
pub(super) async fn mute(owned: Owned, body: Body) -> Result<StatusCode, Problem> {
    let text = json_text(&owned.headers, body, owned.app.body_limit()).await?;
    let command = Command::Mute {
        session: owned.session,
        muted: parse_muted(&text)?,
    };
    owned.command(command).await?;
    Ok(StatusCode::NO_CONTENT)
}
