//! What reads the bytes that clients send, for whoever feeds it with bytes of their own: no part of
//! the interface.

use std::time::SystemTime;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};

use super::auth::{Auth, AuthSettings, Secret};
use super::wish::{parse_muted, parse_wish};

/// Reads a text as each of the bodies of `PUT`.
pub fn bodies(text: &str) {
    let _ = parse_wish(text);
    let _ = parse_muted(text);
}

/// Who reads tokens.
pub struct Tokens(Auth);

impl Tokens {
    /// Takes tokens that are signed with this secret (HS256).
    ///
    /// # Panics
    /// Where it is too short.
    #[must_use]
    pub fn of_secret(secret: &str) -> Self {
        let secret: Secret = secret.parse().expect("a secret that is long enough");
        let settings = AuthSettings {
            key: Some(secret),
            ..AuthSettings::default()
        };
        Self(Auth::new(&settings).expect("no file is read"))
    }

    /// Whether a token is good now.
    #[must_use]
    pub fn admit(&self, token: &str, now: SystemTime) -> bool {
        let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
            return false;
        };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        self.0.pass(&headers, now).is_ok()
    }
}
