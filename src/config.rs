//! The settings: each module's own, composed, and the rules between them.

use std::net::SocketAddr;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::http::TokenRequest;
use crate::{http, logging, net, shard};

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
    /// Threads.
    #[command(flatten)]
    pub shard: shard::Settings,
    /// The log.
    #[command(flatten)]
    pub log: logging::Settings,

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
    /// Make a token and print it.
    Token(TokenRequest),
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
        // The operator's listener has no tokens: what it shows is never for everybody.
        let has_tokens = self.http.auth.is_required();
        let listeners = [
            ("--http", Some(self.http.http_listen)),
            ("--udp", Some(self.udp_address())),
            ("--tcp", self.tcp_address()),
            ("--stun", self.net.stun),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config(options: &str) -> Config {
        Config::try_parse_from(["plenum"].into_iter().chain(options.split_whitespace())).unwrap()
    }

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Config::command().debug_assert();
    }

    #[test]
    fn without_options_only_this_machine_is_served() {
        let config = config("");
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.udp_address().to_string(), "127.0.0.1:3478");
    }

    #[test]
    fn a_server_that_others_reach_has_to_be_wanted() {
        for (options, setting) in [
            ("--http 0.0.0.0:80", "--http"),
            ("--http [::]:80", "--http"),
            ("--udp 192.0.2.1:3478", "--udp"),
            ("--udp [::ffff:192.0.2.1]:3478", "--udp"),
            ("--tcp 192.0.2.1:443", "--tcp"),
            ("--stun 192.0.2.1:3478", "--stun"),
            ("--operator 10.0.0.1:9080", "--operator"),
        ] {
            let refusal = config(options).check().unwrap_err();
            let text = refusal.to_string();
            assert!(
                text.starts_with(setting) && text.contains("--insecure"),
                "{text}"
            );
            assert_eq!(config(&format!("{options} --insecure")).check(), Ok(()));
        }
        let tokens = "--key 0123456789abcdef0123456789abcdef";
        assert_eq!(
            config(&format!("--http 0.0.0.0:80 {tokens}")).check(),
            Ok(())
        );
        let operator = config(&format!("--operator 0.0.0.0:80 {tokens}")).check();
        assert!(operator.is_err(), "it asks for no token");
        for loopback in [
            "--http [::1]:80",
            "--udp 127.0.0.7:9",
            "--udp [::ffff:127.0.0.1]:9",
        ] {
            assert_eq!(config(loopback).check(), Ok(()), "{loopback}");
        }
    }

    #[test]
    fn tcp_comes_to_the_port_of_https_unless_it_is_off() {
        let tls = "--tls-cert c --tls-key k";
        assert!(config(tls).shares_http());
        assert!(!config(&format!("{tls} --tcp off")).shares_http());
        assert!(!config("").shares_http(), "a page on loopback");
        assert!(config("--tcp 127.0.0.1:8080").shares_http());
    }

    #[test]
    fn several_public_addresses_can_be_given() {
        let both = config("--public-ip 203.0.113.5,2001:db8::5 --public-ip 203.0.113.6:443");
        assert_eq!(both.net.public_ips.len(), 3);
    }
}
