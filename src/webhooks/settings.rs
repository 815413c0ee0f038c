//! What an operator can set about webhooks.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use clap::builder::BoolishValueParser;
use reqwest::Url;
use thiserror::Error;

/// What the text of a secret starts with.
const SECRET_PREFIX: &str = "whsec_";

/// Webhooks: where they go, and what signs them.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "webhooks")]
pub struct Settings {
    /// URL that is told what happens in rooms. Can be given more than once.
    #[arg(
        id = "webhook",
        long = "webhook",
        env = "PLENUM_WEBHOOK",
        value_name = "URL",
        value_delimiter = ' ',
        requires = "webhook_secret"
    )]
    pub urls: Vec<Target>,

    /// Secret that signs what is told: whsec_ and 24 to 64 bytes in base64.
    #[arg(
        long,
        env = "PLENUM_WEBHOOK_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub webhook_secret: Option<Secret>,

    /// Webhooks may go to private, loopback and other special addresses, too.
    #[arg(long, env = "PLENUM_WEBHOOK_PRIVATE", value_parser = BoolishValueParser::new())]
    pub webhook_private: bool,
}

/// A URL that webhooks are posted to. Its path may be a secret: it stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

/// Why a URL was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a webhook's URL has the form https://host[:port]/path, without user, password and fragment"
)]
pub struct TargetError;

impl Target {
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let url: Url = text.parse().map_err(|_| TargetError)?;
        let is_http = matches!(url.scheme(), "http" | "https");
        let names_user = !url.username().is_empty() || url.password().is_some();
        if !is_http || names_user || url.fragment().is_some() || !url.has_host() {
            return Err(TargetError);
        }
        Ok(Self(url))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme();
        write!(f, "{scheme}://{}/..", self.0.host_str().unwrap_or_default())
    }
}

/// A secret that signs webhooks; it stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a secret was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a webhooks' secret is whsec_ and 24 to 64 bytes in base64; \
     `echo whsec_$(openssl rand -base64 32)` makes one"
)]
pub struct SecretError;

impl Secret {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(SecretError)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError)?;
        // As Standard Webhooks asks.
        if !(24..=64).contains(&bytes.len()) {
            return Err(SecretError);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
