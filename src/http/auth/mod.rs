//! Who may do what: bearer tokens (RFC 6750), and what they allow.
//!
//! Without keys everybody may do everything, and `config` sees to it that only this machine is
//! served. With keys, each `POST`, `PATCH`, `PUT` and `DELETE` needs a token; events are read by
//! their URL alone, because an `EventSource` cannot send a header.

mod claims;
mod keyring;
mod mint;
mod permission;
mod settings;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use jsonwebtoken::{Validation, decode, decode_header};

pub use claims::{Grants, Publish, Publishable};
pub(super) use claims::{KeyPrint, Pass};
pub use keyring::KeyError;
pub use mint::{MintError, TokenRequest};
pub(super) use permission::Permissions;
pub use settings::{AuthSettings, Secret, SecretError};

use super::problem::Problem;
use super::watched::WatchedFiles;
use claims::Claims;
use keyring::Keyring;

/// How far the clocks of two machines may be apart, in seconds (RFC 7519 §4.1.4).
const LEEWAY_SECONDS: u64 = 60;

/// A request without a token that is good.
#[derive(Debug)]
pub(super) struct Refused {
    /// The label that metrics carry.
    pub(super) reason: &'static str,
    /// What its client is told.
    pub(super) problem: Problem,
}

/// Decides whose token is good.
pub(super) struct Auth {
    settings: AuthSettings,
    keyring: ArcSwap<Keyring>,
    files: WatchedFiles,
}

impl Auth {
    /// Reads the files that the settings name.
    pub(super) fn new(settings: &AuthSettings) -> Result<Self, KeyError> {
        // Looked at first: a change while they are read is a change.
        let files = WatchedFiles::new(settings.keys.iter().chain(&settings.static_tokens));
        let keyring = Keyring::load(settings)?;
        if settings.is_required() {
            let (keys, tokens) = keyring.len();
            tracing::info!(keys, tokens, "tokens are required");
        }
        Ok(Self {
            settings: settings.clone(),
            keyring: ArcSwap::from_pointee(keyring),
            files,
        })
    }

    /// Reads the files again if they have changed; what cannot be used changes nothing.
    pub(super) fn reload_if_changed(&self) {
        if !self.files.have_changed() {
            return;
        }
        match Keyring::load(&self.settings) {
            Ok(keyring) => {
                let (keys, tokens) = keyring.len();
                self.keyring.store(keyring.into());
                tracing::info!(keys, tokens, "keys were read again");
            }
            Err(error) => tracing::warn!(%error, "keys stay as they were"),
        }
    }

    /// Whether sessions end with what they were opened with.
    pub(super) fn ends_sessions(&self) -> bool {
        self.settings.end_on_expiry
    }

    /// Whether what a session was opened with still holds.
    pub(super) fn holds(&self, key: KeyPrint, expires_at: Option<u64>, now: SystemTime) -> bool {
        let expired = expires_at.is_some_and(|at| at <= seconds(now));
        !expired && self.keyring.load().holds(key)
    }

    /// What a request may do; `None` where nobody needs a token.
    pub(super) fn pass(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Option<Pass>, Refused> {
        if !self.settings.is_required() {
            return Ok(None);
        }
        let token = self.bearer(headers)?;
        let keyring = self.keyring.load();
        if let Some(pass) = keyring.static_pass(token) {
            return Ok(Some(pass.clone()));
        }
        self.verify(&keyring, token, now).map(Some).map_err(|why| {
            tracing::debug!(why, "a token was refused");
            Refused {
                reason: reason(why),
                problem: invalid_token(why),
            }
        })
    }

    /// A bearer token that is short enough to be looked at.
    fn bearer<'a>(&self, headers: &'a HeaderMap) -> Result<&'a str, Refused> {
        let token = bearer(headers)?;
        if token.len() > self.settings.token_bytes as usize {
            return Err(Refused {
                reason: "too_large",
                problem: invalid_token("It is too long."),
            });
        }
        Ok(token)
    }

    /// A token's claims, if its signature and they hold. The words are for whoever made it.
    fn verify(
        &self,
        keyring: &Keyring,
        token: &str,
        now: SystemTime,
    ) -> Result<Pass, &'static str> {
        // `none` and algorithms that are not known here end already at the header.
        let header = decode_header(token).map_err(|_| NOT_A_TOKEN)?;
        if header.crit.is_some() {
            return Err("It demands extensions (crit) that are not known here.");
        }
        let key = keyring.key(header.kid.as_deref());
        let key = key.ok_or(UNKNOWN_KEY)?;
        let data = decode::<Claims>(token, &key.decoding, &self.validation(key.algorithm));
        let claims = data.map_err(|error| refusal(error.kind()))?.claims;

        let (now, leeway) = (seconds(now) as f64, LEEWAY_SECONDS as f64);
        // A session that is to end in time must not begin after it.
        let late = if self.settings.end_on_expiry {
            0.0
        } else {
            leeway
        };
        if claims.exp + late <= now {
            return Err(EXPIRED);
        }
        if claims.nbf.is_some_and(|begin| begin > now + leeway) {
            return Err("It is not valid yet.");
        }
        let pass = claims.pass.check(Some(claims.exp as u64), key.print);
        pass.map_err(|error| match error {
            claims::PassError::Room => "Its room is neither a room's name nor *.",
            claims::PassError::Identity => "Its identity is not a participant's name.",
            claims::PassError::Name => "Its name is longer than 64 characters or not printable.",
            claims::PassError::Hidden => "Who is hidden can neither publish nor send data.",
        })
    }

    /// What the library checks: the signature with the key's one algorithm, `aud` and `iss`.
    /// Times are checked by us, with the clock that we were given.
    fn validation(&self, algorithm: jsonwebtoken::Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut required = vec!["exp"];
        if let Some(audience) = &self.settings.token_audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.settings.token_issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let missing = || Refused {
        reason: "missing",
        problem: challenge(
            "This server needs a bearer token.",
            "Bearer realm=\"plenum\"",
        ),
    };
    let malformed = |why| Refused {
        reason: "malformed",
        problem: invalid_token(why),
    };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(malformed("There is more than one."));
    }
    let value = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    let token = token.trim();
    if token.is_empty() {
        return Err(malformed("It is empty."));
    }
    Ok(token)
}

fn invalid_token(why: &str) -> Problem {
    challenge(
        &format!("The token is not valid here. {why}"),
        "Bearer realm=\"plenum\", error=\"invalid_token\"",
    )
}

fn challenge(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// What a refusal counts as.
fn reason(why: &str) -> &'static str {
    match why {
        NOT_A_TOKEN => "malformed",
        UNKNOWN_KEY => "unknown_key",
        BAD_SIGNATURE => "signature",
        EXPIRED => "expired",
        _ => "claims",
    }
}

const NOT_A_TOKEN: &str = "It is not a token that is known here.";
const UNKNOWN_KEY: &str = "It names a key (kid) that is not known here.";
const BAD_SIGNATURE: &str = "Its signature is wrong.";
const EXPIRED: &str = "It has expired.";

/// What the library found wrong, for whoever made the token.
fn refusal(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::InvalidSignature => BAD_SIGNATURE,
        ErrorKind::InvalidAlgorithm => "Its algorithm (alg) is not the one of its key.",
        ErrorKind::InvalidAudience => "Its audience (aud) is not this server.",
        ErrorKind::InvalidIssuer => "Its issuer (iss) is not known here.",
        ErrorKind::MissingRequiredClaim(_) => "A claim is missing: exp, aud or iss.",
        ErrorKind::Json(_) => "Its claims are not as documented.",
        _ => NOT_A_TOKEN,
    }
}

/// Seconds since the Unix epoch.
fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
