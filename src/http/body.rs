//! Request bodies: small, uncompressed, of a stated type, and soon complete.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::Problem;
use super::settings::Settings;

/// How large a body may be, and how soon it has to be there.
#[derive(Clone, Copy)]
pub(super) struct BodyLimit {
    bytes: usize,
    patience: Duration,
}

impl BodyLimit {
    /// For whatever does not describe many tiles.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            bytes: settings.body_bytes as usize,
            patience: settings.request_patience(),
        }
    }

    /// For a room client's offer.
    pub(super) fn of_offer(settings: &Settings) -> Self {
        Self {
            bytes: settings.offer_bytes as usize,
            ..Self::of(settings)
        }
    }

    /// For what never needs more bytes than these.
    pub(super) fn at_most(self, bytes: usize) -> Self {
        Self {
            bytes: bytes.min(self.bytes),
            ..self
        }
    }
}

/// An SDP offer or answer (RFC 8866 §8.1).
pub(super) const SDP: &str = "application/sdp";
/// Candidates, or new ICE credentials (RFC 8840 §9).
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// JSON (RFC 8259).
pub(super) const JSON: &str = "application/json";

/// The essence of a request's content type in lower case, without parameters.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    Some(essence.to_ascii_lowercase())
}

/// Refuses another type than `accepted`. `header` is where the refusal names it.
pub(super) fn check_type(
    headers: &HeaderMap,
    header: HeaderName,
    accepted: &'static str,
) -> Result<(), Problem> {
    if content_type(headers).as_deref() == Some(accepted) {
        Ok(())
    } else {
        Err(Problem::media_type(header, accepted))
    }
}

/// A whole body of JSON.
pub(super) async fn json_text(
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<String, Problem> {
    check_type(headers, ACCEPT, JSON)?;
    text(headers, body, limit).await
}

/// A whole body of JSON, where there is a body at all.
pub(super) async fn optional_json_text(
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<Option<String>, Problem> {
    let bytes = read(headers, body, limit).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_type(headers, ACCEPT, JSON)?;
    as_text(&bytes).map(Some)
}

/// A whole body as text: not empty, UTF-8, without NUL.
pub(super) async fn text(
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<String, Problem> {
    as_text(&read(headers, body, limit).await?)
}

/// A whole body, uncompressed and soon complete.
async fn read(headers: &HeaderMap, body: Body, limit: BodyLimit) -> Result<Bytes, Problem> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Problem::content_encoding());
    }
    // Said beforehand: refuse before the first byte of it is read.
    let BodyLimit { bytes, patience } = limit;
    if declared_bytes(headers).is_some_and(|declared| declared > bytes as u64) {
        return Err(too_large(bytes));
    }
    match tokio::time::timeout(patience, Limited::new(body, bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(bytes)),
        Ok(Err(_)) => Err(Problem::bad_request("The body ended early.")),
        Err(_) => {
            let detail = format!("The body did not arrive within {} s.", patience.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
        }
    }
}

fn as_text(bytes: &Bytes) -> Result<String, Problem> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("The body is not UTF-8."))?;
    if text.is_empty() || text.contains('\0') {
        return Err(Problem::bad_request("The body is empty or contains NUL."));
    }
    Ok(text.to_owned())
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(max_bytes: usize) -> Problem {
    let detail = format!("A body has at most {max_bytes} bytes.");
    // What is still to come of it is not read: a proxy must not take the connection for the next
    // request.
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        .with_header(CONNECTION, HeaderValue::from_static("close"))
}
