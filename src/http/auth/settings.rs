//! What an operator can set about who may do what.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::BoolishValueParser;
use thiserror::Error;

/// Shortest secret, in bytes: as long as the hash that it keys (RFC 7518 §3.2).
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// Whose tokens are taken.
#[derive(Args, Clone, Debug)]
#[group(id = "auth")]
pub struct AuthSettings {
    /// Keys that tokens are signed with: a JWK set (RFC 7517). Read again whenever it changes.
    #[arg(long, env = "PLENUM_KEYS", value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// One secret of at least 32 bytes that tokens are signed with (HS256).
    #[arg(
        long,
        env = "PLENUM_KEY",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub key: Option<Secret>,

    /// Fixed tokens for encoders that cannot renew theirs. Read again whenever it changes.
    #[arg(long, env = "PLENUM_STATIC_TOKENS", value_name = "FILE")]
    pub static_tokens: Option<PathBuf>,

    /// Bytes of a token (401 beyond).
    #[arg(long, env = "PLENUM_TOKEN_BYTES", value_name = "BYTES", default_value_t = Self::default().token_bytes, value_parser = clap::value_parser!(u32).range(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES))]
    pub token_bytes: u32,

    /// The audience (aud) that every token has to name.
    #[arg(long, env = "PLENUM_TOKEN_AUDIENCE", value_name = "NAME")]
    pub token_audience: Option<String>,

    /// The issuer (iss) that every token has to name.
    #[arg(long, env = "PLENUM_TOKEN_ISSUER", value_name = "NAME")]
    pub token_issuer: Option<String>,

    /// End sessions when their token expires, or when its key is taken out of its file.
    #[arg(long, env = "PLENUM_END_ON_EXPIRY", value_parser = BoolishValueParser::new())]
    pub end_on_expiry: bool,
}

/// Ours have 300.
const MIN_TOKEN_BYTES: i64 = 512;
/// Longer ones would have to fit into the largest head.
const MAX_TOKEN_BYTES: i64 = 64 * 1024;

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            keys: None,
            key: None,
            static_tokens: None,
            // Those with a list of roles have 2 000.
            token_bytes: 4096,
            token_audience: None,
            token_issuer: None,
            end_on_expiry: false,
        }
    }
}

impl AuthSettings {
    /// Whether anybody needs a token.
    pub fn is_required(&self) -> bool {
        self.keys.is_some() || self.key.is_some() || self.static_tokens.is_some()
    }
}

/// A secret; it stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a secret was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a secret has at least {MIN_SECRET_BYTES} bytes; `openssl rand -base64 32` makes one")]
pub struct SecretError;

impl Secret {
    pub(in crate::http) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        if text.len() < MIN_SECRET_BYTES {
            return Err(SecretError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
