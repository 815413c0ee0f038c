//! Request bodies: small, uncompressed, of a stated type, and soon complete.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::Problem;
use crate::engine::sdp::MAX_SDP_BYTES;

/// Largest body, in bytes, unless it describes many tiles: an encoder's offer has 8 KiB.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Largest offer of a room client, in bytes: each tile takes 4 KiB in Chromium's.
pub(super) const MAX_ROOM_OFFER_BYTES: usize = MAX_SDP_BYTES;

/// Longest wait for a whole body: 64 KiB in this time is 52 kbit/s.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

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
pub(super) async fn json_text(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    json_text_within(headers, body, MAX_BODY_BYTES).await
}

/// A whole body of JSON of at most this many bytes.
pub(super) async fn json_text_within(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<String, Problem> {
    check_type(headers, ACCEPT, JSON)?;
    text(headers, body, max_bytes).await
}

/// A whole body of JSON, where there is a body at all.
pub(super) async fn optional_json_text(
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<String>, Problem> {
    let bytes = read(headers, body, MAX_BODY_BYTES).await?;
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
    max_bytes: usize,
) -> Result<String, Problem> {
    as_text(&read(headers, body, max_bytes).await?)
}

/// A whole body, uncompressed and soon complete.
async fn read(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Problem::content_encoding());
    }
    // Said beforehand: refuse before the first byte of it is read.
    if declared_bytes(headers).is_some_and(|bytes| bytes > max_bytes as u64) {
        return Err(too_large(max_bytes));
    }
    match tokio::time::timeout(READ_TIMEOUT, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max_bytes)),
        Ok(Err(_)) => Err(Problem::bad_request("The body ended early.")),
        Err(_) => {
            let detail = format!(
                "The body did not arrive within {} s.",
                READ_TIMEOUT.as_secs()
            );
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
