//! Request bodies: small, uncompressed, of a stated type, and soon complete.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::Problem;

/// Largest body, in bytes: an offer with 128 m-lines has about 60 KiB.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

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

/// A whole body of the given type. `header` is where a refusal names the type.
pub(super) async fn text_of_type(
    headers: &HeaderMap,
    body: Body,
    header: HeaderName,
    accepted: &'static str,
) -> Result<String, Problem> {
    if content_type(headers).as_deref() != Some(accepted) {
        return Err(Problem::media_type(header, accepted));
    }
    text(headers, body).await
}

/// A whole body as text: not empty, UTF-8, without NUL.
pub(super) async fn text(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Problem::content_encoding());
    }
    // Said beforehand: refuse before the first byte of it is read.
    if declared_bytes(headers).is_some_and(|bytes| bytes > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(
        READ_TIMEOUT,
        Limited::new(body, MAX_BODY_BYTES).collect(),
    )
    .await
    {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Problem::bad_request("The body ended early.")),
        Err(_) => {
            let detail = format!(
                "The body did not arrive within {} s.",
                READ_TIMEOUT.as_secs()
            );
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail));
        }
    };
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request("The body is not UTF-8."))?;
    if text.is_empty() || text.contains('\0') {
        return Err(Problem::bad_request("The body is empty or contains NUL."));
    }
    Ok(text.to_owned())
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large() -> Problem {
    let detail = format!("A body has at most {MAX_BODY_BYTES} bytes.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}
