//! Tokens made on the operator's command line.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use thiserror::Error;

use super::claims::{Claims, Grants, PassText, Publish, Publishable};
use super::keyring::{Key, KeyError, Keyring};
use super::seconds;
use super::settings::{AuthSettings, Secret};

/// Longest life of a token made here: a year.
const MAX_TTL: Duration = Duration::from_secs(366 * 86_400);

/// A token to be made, as the command line says it.
#[derive(Args, Clone, Debug)]
pub struct TokenRequest {
    /// The room, or * for all.
    #[arg(long)]
    room: String,
    /// Who its bearer is: letters, digits, '-', '_', '.' and '~'.
    #[arg(long)]
    identity: String,
    /// The display name; its bearer chooses one if it is not given.
    #[arg(long)]
    name: Option<String>,
    /// May publish: everything, or only what is listed, separated by commas.
    #[arg(long, value_name = "SOURCES", value_delimiter = ',', num_args = 0.., require_equals = true)]
    publish: Option<Vec<Publishable>>,
    /// May receive others.
    #[arg(long)]
    subscribe: bool,
    /// May send messages and open data channels.
    #[arg(long)]
    data: bool,
    /// May administer the room, use any name, and change and end sessions of others.
    #[arg(long)]
    admin: bool,
    /// The others are not to see them; who is hidden can neither publish nor send data.
    #[arg(long)]
    hidden: bool,
    /// How long it is valid: 90s, 30m, 1h or 7d.
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// The secret to sign with, as the server has it.
    #[arg(
        long,
        env = "PLENUM_KEY",
        value_name = "SECRET",
        hide_env_values = true
    )]
    key: Option<Secret>,
    /// The server's file of keys; one of type oct signs.
    #[arg(long, env = "PLENUM_KEYS", value_name = "FILE", conflicts_with = "key")]
    keys: Option<PathBuf>,
    /// Which of them.
    #[arg(long, requires = "keys")]
    kid: Option<String>,
    /// The audience (aud) to name.
    #[arg(long, env = "PLENUM_TOKEN_AUDIENCE", value_name = "NAME")]
    token_audience: Option<String>,
    /// The issuer (iss) to name.
    #[arg(long, env = "PLENUM_TOKEN_ISSUER", value_name = "NAME")]
    token_issuer: Option<String>,
}

/// Why no token was made.
#[derive(Debug, Error)]
pub enum MintError {
    /// There is nothing to sign with.
    #[error("a key is needed: --key SECRET, or --keys FILE with --kid NAME")]
    NoKey,
    /// Only the public half is there.
    #[error("this key only verifies; tokens are made where its private half is")]
    NotASecret,
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] KeyError),
    /// The server would not take it.
    #[error("the token would be refused: {0}")]
    Refused(String),
}

impl TokenRequest {
    /// Makes the token.
    pub fn mint(&self, now: SystemTime) -> Result<String, MintError> {
        let key = self.signing_key()?;
        let claims = self.claims(now);
        let refused = |error: &dyn std::fmt::Display| MintError::Refused(error.to_string());
        let checked = claims.pass.clone().check(None, key.print);
        checked.map_err(|error| refused(&error))?;
        if key.algorithm != Algorithm::HS256 {
            return Err(MintError::NotASecret);
        }
        let secret = key.decoding.try_get_as_bytes();
        let secret = EncodingKey::from_secret(secret.map_err(|_| MintError::NotASecret)?);
        let mut header = Header::new(Algorithm::HS256);
        header.kid.clone_from(&self.kid);
        encode(&header, &claims, &secret).map_err(|error| refused(&error))
    }

    fn signing_key(&self) -> Result<Key, MintError> {
        if let Some(secret) = &self.key {
            return Ok(Key::shared(secret.as_bytes()));
        }
        let settings = AuthSettings {
            keys: self.keys.clone(),
            ..AuthSettings::default()
        };
        let keyring = Keyring::load(&settings)?;
        let key = keyring.key(self.kid.as_deref());
        key.cloned().ok_or(MintError::NoKey)
    }

    fn claims(&self, now: SystemTime) -> Claims {
        let text = |text: &Option<String>| text.clone().map(serde_json::Value::from);
        Claims {
            exp: (seconds(now) + self.ttl.as_secs()) as f64,
            nbf: None,
            aud: text(&self.token_audience),
            iss: text(&self.token_issuer),
            pass: PassText {
                room: self.room.clone(),
                identity: self.identity.clone(),
                name: self.name.clone(),
                grants: Grants {
                    publish: match &self.publish {
                        None => Publish::All(false),
                        Some(sources) if sources.is_empty() => Publish::All(true),
                        Some(sources) => Publish::Only(sources.iter().copied().collect()),
                    },
                    subscribe: self.subscribe,
                    data: self.data,
                    admin: self.admin,
                    hidden: self.hidden,
                },
            },
        }
    }
}

/// Reads a number with a unit.
fn parse_ttl(text: &str) -> Result<Duration, &'static str> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err("a number with s, m, h or d behind it"),
    };
    let number: u32 = text[..text.len() - 1]
        .parse()
        .map_err(|_| "a number with s, m, h or d behind it")?;
    let ttl = Duration::from_secs(u64::from(number) * unit);
    if ttl.is_zero() || ttl > MAX_TTL {
        return Err("more than nothing and at most a year");
    }
    Ok(ttl)
}
