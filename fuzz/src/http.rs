//! Bodies of JSON, and tokens.

use std::time::{Duration, SystemTime};

use plenum::http::untrusted::{self, Tokens};

thread_local! {
    static TOKENS: Tokens = Tokens::of_secret("a secret of more than thirty-two bytes");
}

/// What `PUT` takes.
pub(crate) fn json(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        untrusted::bodies(text);
    }
}

/// What stands behind `Bearer`. Nobody who does not know the secret comes in.
pub(crate) fn token(bytes: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(!TOKENS.with(|tokens| tokens.admit(text, now)), "{text}");
    }
}
