//! What went wrong, as clients read it: problem documents (RFC 9457).
//!
//! Every refusal of every layer ends here, so that there is one place to see which
//! mistake has which status.

use std::any::Any;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::engines::Refusal;
use crate::engine::command::CommandError;

/// The media type of a problem document.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a server of ours patches: sent where another type came (RFC 5789 §3.1).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// What a door takes: sent where another type came, and with `OPTIONS` (RFC 9725 §4.2).
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Longest detail, in characters: it explains, it does not carry the request back.
const MAX_DETAIL_CHARS: usize = 300;

/// One refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// Last part of the `type` URN; stable, for programs to compare.
    kind: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    limit: Option<OverLimit>,
}

/// The limit that a request was over, for whoever counts the answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct OverLimit(pub(super) &'static str);

impl OverLimit {
    fn of(kind: &str) -> Option<Self> {
        Some(Self(match kind {
            "too-large" => "body",
            "head-too-large" => "head",
            "timeout" => "time",
            "too-many-media-lines" => "media_lines",
            "overloaded" => "shard",
            "room-full" => "participants",
            "too-many-rooms" => "rooms",
            _ => return None,
        }))
    }
}

/// The kind of an offer without a codec that is known here.
const NO_COMMON_CODEC: &str = "no-common-codec";

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            headers: Vec::new(),
            limit: OverLimit::of(kind),
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unsupported", detail)
    }

    pub(super) fn no_such_session() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-session",
            "There is no such session (any more).",
        )
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// Another type than `accepted`, which `header` names.
    pub(super) fn media_type(header: HeaderName, accepted: &'static str) -> Self {
        let detail = format!("The content type must be {accepted}.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", detail)
            .with_header(header, HeaderValue::from_static(accepted))
    }

    pub(super) fn content_encoding() -> Self {
        let detail = "Bodies must not be compressed.";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-encoding",
            detail,
        )
        .with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    pub(super) fn stale() -> Self {
        let detail = "If-Match does not name the current version.";
        Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail)
    }

    /// Whether an offer was refused only because it has no codec that is known here.
    pub(super) fn lacks_a_common_codec(&self) -> bool {
        self.kind == NO_COMMON_CODEC
    }

    /// Whether what was asked for is not there (any more).
    pub(super) fn is_gone(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Names the limit that the request was over, where the kind alone does not tell.
    pub(super) fn over(mut self, limit: &'static str) -> Self {
        self.limit = Some(OverLimit(limit));
        self
    }

    /// Says when to come back, in seconds.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }
}

/// The status of everything that an engine refuses.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let unavailable = |kind| Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail.clone());
        match refusal {
            Refusal::Busy => unavailable("busy").retry_after(jittered_seconds(1, 3)),
            Refusal::Gone => unavailable("going-away").retry_after(jittered_seconds(2, 8)),
            Refusal::Command(error) => match error {
                CommandError::Malformed(_) => Self::bad_request(detail),
                CommandError::Unsupported(_) => Self::unprocessable(detail),
                CommandError::TooManyMediaLines { .. } => Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "too-many-media-lines",
                    detail,
                ),
                CommandError::NoCommonCodec(_) => {
                    Self::new(StatusCode::UNPROCESSABLE_ENTITY, NO_COMMON_CODEC, detail)
                }
                CommandError::AnsweredAlready => {
                    Self::new(StatusCode::CONFLICT, "answered", detail)
                }
                CommandError::NoSuchSession => Self::no_such_session(),
                CommandError::NotFound(_) => Self::not_found(detail),
                CommandError::Stale => Self::stale(),
                CommandError::ParticipantExists(_) => {
                    Self::new(StatusCode::CONFLICT, "participant-exists", detail)
                }
                CommandError::NobodyPublishes => {
                    Self::new(StatusCode::CONFLICT, "nobody-publishes", detail)
                        .retry_after(jittered_seconds(1, 3))
                }
                CommandError::RoomLocked(_) => {
                    Self::new(StatusCode::FORBIDDEN, "room-locked", detail)
                }
                CommandError::RoomFull { .. } => {
                    unavailable("room-full").retry_after(jittered_seconds(10, 30))
                }
                CommandError::TooManyRooms => {
                    unavailable("too-many-rooms").retry_after(jittered_seconds(10, 30))
                }
                CommandError::Overloaded => {
                    unavailable("overloaded").retry_after(jittered_seconds(2, 8))
                }
            },
        }
    }
}

/// A wait within these bounds, another one each time: clients that were refused together
/// must not come back together (RFC 9725 §4.5).
pub(super) fn jittered_seconds(least: u64, most: u64) -> u64 {
    // Without randomness all wait equally long, which is worse but no reason to fail.
    let random = getrandom::u32().unwrap_or(0);
    least + u64::from(random) % (most - least + 1)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let detail: String = self
            .detail
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_DETAIL_CHARS)
            .collect();
        let document = serde_json::json!({
            "type": format!("urn:plenum:problem:{}", self.kind),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": detail,
        });
        let mut response = (self.status, document.to_string()).into_response();
        if let Some(limit) = self.limit {
            response.extensions_mut().insert(limit);
        }
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        response
    }
}

/// Middleware: errors that the framework made (unknown paths and methods, bad queries and
/// escapes) become problem documents too; their headers (`Allow`) stay.
pub(super) async fn document_errors(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    // A counter-offer is a refusal, too, and says what would do.
    let is_offer = status == StatusCode::NOT_ACCEPTABLE;
    if !is_error || is_offer || response.headers().get(CONTENT_TYPE) == Some(&PROBLEM_JSON) {
        return response;
    }
    let (kind, detail) = match status {
        StatusCode::NOT_FOUND => ("not-found", "There is nothing at this path."),
        StatusCode::METHOD_NOT_ALLOWED => ("method", "Allow lists the methods of this path."),
        StatusCode::BAD_REQUEST => ("malformed", "The path or query could not be read."),
        _ => ("error", "The request could not be answered."),
    };
    let (mut parts, _) = response.into_parts();
    let (problem, document) = Problem::new(status, kind, detail)
        .into_response()
        .into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.extend(problem.headers);
    Response::from_parts(parts, document)
}

/// A handler panicked: its client hears 500, the server goes on.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    tracing::warn!("a request handler panicked");
    let detail = "The server made a mistake.";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

/// An engine answered a command with another command's reply: a mistake of ours, not of
/// the client, and no reason to end anything.
pub(super) fn unexpected_reply() -> Problem {
    tracing::warn!("an engine gave a reply that does not fit its command");
    let detail = "The server made a mistake.";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}
