//! The settings: each module's own, composed, and the rules between them.
//!
//! Each has one name. The command line knows it as `--http`, the environment as `PLENUM_HTTP`, and
//! the file of settings as `http`; what stands first in this list wins.

mod file;
mod load;
mod show;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use thiserror::Error;

pub use file::FileError;
pub use load::{LoadError, Loaded};

use crate::http::TokenRequest;
use crate::{http, logging, net, shard, turn, webhooks};

/// A conferencing media server: rooms, WHIP and WHEP in one binary.
///
/// Without any option it serves this machine alone: the page is at http://127.0.0.1:8080/.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Config {
    /// HTTP.
    #[command(flatten)]
    pub http: http::Settings,
    /// Media.
    #[command(flatten)]
    pub net: net::Settings,
    /// The relay.
    #[command(flatten)]
    pub turn: turn::Settings,
    /// Threads.
    #[command(flatten)]
    pub shard: shard::Settings,
    /// Webhooks.
    #[command(flatten)]
    pub webhooks: webhooks::Settings,
    /// The log.
    #[command(flatten)]
    pub log: logging::Settings,

    /// File of settings (TOML), by the names that they have here: http = "0.0.0.0:8080". What
    /// stands in the environment or here beats it.
    #[arg(
        long = "config",
        env = "PLENUM_CONFIG",
        value_name = "FILE",
        global = true
    )]
    pub file: Option<PathBuf>,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Listen on addresses that other machines reach, although everybody may join every room.
    #[arg(long, env = "PLENUM_INSECURE", value_parser = BoolishValueParser::new())]
    pub insecure: bool,
}

/// What the program does besides serving.
#[derive(Subcommand, Clone, Debug)]
pub enum Action {
    /// Check all settings and the files that they name, and serve nothing.
    Check,
    /// Print the settings in force as a file of settings, with where each comes from.
    Config,
    /// Look for what commonly goes wrong on this machine, and say what to do about it.
    Doctor(Box<DoctorRequest>),
    /// Replay what an operator had recorded: are layers chosen as they were?
    Replay {
        /// The recording, as the operator's listener gave it out.
        #[arg(value_name = "FILE")]
        recording: PathBuf,
    },
    /// Make a token and print it.
    Token(Box<TokenRequest>),
}

/// What the doctor is to look at.
#[derive(Args, Clone, Debug)]
pub struct DoctorRequest {
    /// Not this machine, but which ways lead from here to the media of the server whose page is at
    /// this URL: UDP, TCP, and each of its relays.
    #[arg(long, value_name = "URL")]
    pub reach: Option<String>,

    /// The room to ask for; nobody in it is told.
    #[arg(
        long,
        value_name = "ROOM",
        default_value = "doctor",
        requires = "reach"
    )]
    pub room: String,

    /// A token that lets us watch it, where that server requires one.
    #[arg(long, value_name = "TOKEN", requires = "reach")]
    pub token: Option<String>,
}

/// Settings that do not go together.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Somebody else than this machine could join.
    #[error(
        "{setting} {address} can be reached by other machines, and whoever reaches this server may \
         join every room. Require tokens with --keys, --key or --static-tokens, use a loopback \
         address, such as 127.0.0.1, or say that this is what you want with --insecure (or \
         PLENUM_INSECURE=true)"
    )]
    Exposed {
        /// The option.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// A secret that nobody shares.
    #[error("--turn-secret is for --turn or --turn-listen, and neither is set")]
    IdleSecret,
    /// Two ways to a certificate.
    #[error("--tls-cert and --acme-domain are two ways to a certificate: give one")]
    TwoCertificates,
    /// A certificate without its key, or the other way round.
    #[error("{given} needs {missing}, too")]
    Half {
        /// The option that was set.
        given: &'static str,
        /// The one that was not.
        missing: &'static str,
    },
}

impl Config {
    /// Where the media socket is bound.
    pub fn udp_address(&self) -> SocketAddr {
        self.net.address(self.http.http_listen.ip())
    }

    /// Where TCP connections with media are taken.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.net.tcp_address(self.udp_address())
    }

    /// Whether they are also taken where HTTP listens: their first byte tells them from TLS, and
    /// with it one open port is enough.
    pub fn shares_http(&self) -> bool {
        let http = self.http.http_listen;
        self.tcp_address()
            .is_some_and(|tcp| self.http.tls.is_used() || tcp == http)
    }

    /// Checks the rules between settings.
    pub fn check(&self) -> Result<(), ConfigError> {
        let tls = &self.http.tls;
        let half = |given, missing| Err(ConfigError::Half { given, missing });
        match (&tls.tls_cert, &tls.tls_key) {
            (Some(_), None) => return half("--tls-cert", "--tls-key"),
            (None, Some(_)) => return half("--tls-key", "--tls-cert"),
            (Some(_), Some(_)) if tls.acme.is_used() => return Err(ConfigError::TwoCertificates),
            _ => {}
        }
        let has_relay = !self.http.turn.urls.is_empty() || self.turn.turn_listen.is_some();
        if self.http.turn.turn_secret.is_some() && !has_relay {
            return Err(ConfigError::IdleSecret);
        }
        if self.turn.turn_tls_listen.is_some() && !tls.is_used() {
            return half("--turn-tls-listen", "--tls-cert or --acme-domain");
        }
        // The operator's listener has no tokens: what it shows is never for everybody.
        let has_tokens = self.http.auth.is_required();
        let listeners = [
            ("--http", Some(self.http.http_listen)),
            ("--udp", Some(self.udp_address())),
            ("--tcp", self.tcp_address()),
            ("--stun", self.net.stun),
            ("--turn-listen", self.turn.turn_listen),
            ("--turn-tls-listen", self.turn.turn_tls_listen),
            ("--operator", Some(self.http.operator_listen)),
        ];
        let mut listeners = listeners
            .into_iter()
            .filter_map(|(setting, address)| Some((setting, address?)));
        let exposed = |(setting, address): &(&str, SocketAddr)| {
            let is_safe = has_tokens && *setting != "--operator";
            !is_safe && !address.ip().to_canonical().is_loopback()
        };
        match listeners.find(exposed) {
            Some((setting, address)) if !self.insecure => {
                Err(ConfigError::Exposed { setting, address })
            }
            _ => Ok(()),
        }
    }
}
