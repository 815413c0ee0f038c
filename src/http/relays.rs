//! Relays that a session's client may use where no way leads here directly: TURN servers
//! (RFC 8656), with credentials of its own.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use clap::Args;
use http::uri::Authority;
use thiserror::Error;

use super::auth::Secret;
use super::percent_encoded;
use crate::engine::ids::{ParticipantId, RoomId};
use crate::turn::{self, Guest, Relay};

/// How long credentials hold unless told, in seconds.
///
/// They are needed when an allocation is made: at the beginning, and when a network changes.
/// Longer gives whoever gets hold of them more time; shorter costs a client that moves within a
/// long call a new session, since a restart of ICE has none to show.
const DEFAULT_TTL_SECONDS: u32 = 3600;

/// Which TURN servers there are, and the secret shared with them.
#[derive(Args, Clone, Debug)]
#[group(id = "turn")]
pub struct TurnSettings {
    /// TURN servers that clients may use, separated by commas: turn:host:port?transport=udp.
    #[arg(
        long = "turn",
        env = "PLENUM_TURN",
        value_name = "URLS",
        value_delimiter = ',',
        requires = "turn_secret"
    )]
    pub urls: Vec<TurnUrl>,

    /// The secret of at least 32 bytes that these servers know, too (coturn: static-auth-secret).
    /// With --turn-listen alone one is made up at each start.
    #[arg(
        long,
        env = "PLENUM_TURN_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub turn_secret: Option<Secret>,

    /// How long a session's credentials hold, in seconds.
    #[arg(
        long,
        env = "PLENUM_TURN_TTL",
        value_name = "SECONDS",
        default_value_t = Self::default().turn_ttl,
        value_parser = clap::value_parser!(u32).range(60..=86_400)
    )]
    pub turn_ttl: u32,
}

impl Default for TurnSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            turn_secret: None,
            turn_ttl: DEFAULT_TTL_SECONDS,
        }
    }
}

impl TurnSettings {
    /// What makes the passwords of our own relay: nobody else has to know, unless it is set.
    pub fn relay_secret(&self) -> Vec<u8> {
        let own = || {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).expect("the system has randomness");
            secret.to_vec()
        };
        let set = self.turn_secret.as_ref();
        set.map_or_else(own, |secret| secret.as_bytes().to_vec())
    }
}

/// All relays that a session's client is told of.
pub(super) struct Relays<'a> {
    pub(super) settings: &'a TurnSettings,
    /// The one that is part of this server.
    pub(super) own: Option<&'a Relay>,
}

/// What one session's client is told, and what it may use.
pub(super) struct RelayAccess {
    pub(super) links: Vec<String>,
    /// To be kept as long as the session.
    pub(super) guest: Option<Guest>,
}

impl Relays<'_> {
    /// A `Link` for each relay (RFC 9725 §4.6), with credentials for one participant.
    ///
    /// The user name is when they end and whose they are, and the password proves that we said so
    /// (draft-uberti-behave-turn-rest-00 §2.2): TURN servers count allocations by whose they are.
    pub(super) fn admit(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
        now: SystemTime,
    ) -> RelayAccess {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let end = since.map_or(0, |since| since.as_secs()) + u64::from(self.settings.turn_ttl);
        let room = percent_encoded(room.as_str());
        let participant = percent_encoded(participant.as_str());
        let username = format!("{end}:{room}/{participant}");
        let mut links = Vec::new();
        if let Some(own) = self.own {
            let password = own.guests().password(&username);
            links.extend(own.urls().iter().map(|url| link(url, &username, &password)));
        }
        if let Some(secret) = &self.settings.turn_secret {
            let password = turn::password(secret.as_bytes(), &username);
            let urls = self.settings.urls.iter();
            links.extend(urls.map(|url| link(&url.0, &username, &password)));
        }
        let guest = self.own.map(|own| own.guests().invite(&username));
        RelayAccess { links, guest }
    }
}

fn link(url: &str, username: &str, password: &str) -> String {
    format!(
        "<{url}>; rel=\"ice-server\"; username=\"{username}\"; \
         credential=\"{password}\"; credential-type=\"password\""
    )
}

/// Where a TURN server is (RFC 7065 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnUrl(String);

impl TurnUrl {
    /// Host and port.
    pub fn place(&self) -> (&str, u16) {
        let (scheme, rest) = self.0.split_once(':').unwrap_or_default();
        let authority = rest
            .split_once('?')
            .map_or(rest, |(authority, _)| authority);
        let port = if scheme == "turns" { 5349 } else { 3478 };
        match authority.rsplit_once(':') {
            Some((host, given)) if !given.ends_with(']') => (host, given.parse().unwrap_or(port)),
            _ => (authority, port),
        }
    }

    /// Whether clients speak with it over UDP.
    pub fn is_udp(&self) -> bool {
        self.0.starts_with("turn:") && !self.0.ends_with("transport=tcp")
    }
}

/// Why the URL of a TURN server was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a TURN server has the form turn:host[:port][?transport=udp] or turns:host[:port]")]
pub struct TurnUrlError;

impl FromStr for TurnUrl {
    type Err = TurnUrlError;

    fn from_str(text: &str) -> Result<Self, TurnUrlError> {
        let (scheme, rest) = text.split_once(':').ok_or(TurnUrlError)?;
        let (authority, transport) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        // A browser takes no connection with one bad URL among its servers, so what it would not
        // take is refused here.
        let is_transport = matches!(transport, None | Some("transport=udp" | "transport=tcp"));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let known = matches!(scheme, "turn" | "turns") && is_transport;
        if !known || !authority.bytes().all(is_plain) {
            return Err(TurnUrlError);
        }
        let parsed: Authority = authority.parse().map_err(|_| TurnUrlError)?;
        let has_port = authority.len() > parsed.host().len();
        if parsed.host().is_empty() || has_port != parsed.port_u16().is_some() {
            return Err(TurnUrlError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn links(
        settings: &TurnSettings,
        room: &str,
        participant: &str,
        now: SystemTime,
    ) -> Vec<String> {
        let own = None;
        let (room, participant) = (room.parse().unwrap(), participant.parse().unwrap());
        Relays { settings, own }
            .admit(&room, &participant, now)
            .links
    }

    #[test]
    fn a_url_says_where_and_how() {
        for (url, host, port, is_udp) in [
            ("turn:relay.example", "relay.example", 3478, true),
            ("turn:[2001:db8::1]", "[2001:db8::1]", 3478, true),
            ("turn:192.0.2.1:9?transport=udp", "192.0.2.1", 9, true),
            (
                "turn:[2001:db8::1]:9?transport=tcp",
                "[2001:db8::1]",
                9,
                false,
            ),
            ("turns:relay.example", "relay.example", 5349, false),
        ] {
            let parsed: TurnUrl = url.parse().unwrap();
            assert_eq!(
                (parsed.place(), parsed.is_udp()),
                ((host, port), is_udp),
                "{url}"
            );
        }
    }

    #[test]
    fn credentials_name_whose_they_are_in_characters_that_a_header_carries() {
        let settings = TurnSettings {
            urls: vec![
                "turn:relay.example".parse().unwrap(),
                "turns:relay.example:443?transport=tcp".parse().unwrap(),
            ],
            turn_secret: Some("0123456789abcdef0123456789abcdef".parse().unwrap()),
            turn_ttl: 600,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_003_000);
        let links = links(&settings, "Büro", "zoë", now);
        let begins = [
            "<turn:relay.example>; rel=\"ice-server\"; username=\"1790003600:B%C3%BCro/zo%C3%AB\"; ",
            "<turns:relay.example:443?transport=tcp>; rel=\"ice-server\"; username=\"1790003600:",
        ];
        for (link, begin) in links.iter().zip(begins) {
            assert!(link.starts_with(begin), "{link}");
            assert!(link.ends_with("\"; credential-type=\"password\""), "{link}");
        }
        assert_eq!(links.len(), 2);
    }

    #[test]
    fn the_longest_names_fit_the_user_name_of_stun() {
        let settings = TurnSettings {
            urls: vec!["turn:a".parse().unwrap()],
            turn_secret: Some("0123456789abcdef0123456789abcdef".parse().unwrap()),
            ..TurnSettings::default()
        };
        let longest = "ë".repeat(32);
        let links = links(&settings, &longest, &longest, SystemTime::UNIX_EPOCH);
        let username = links[0].split('"').nth(3).unwrap();
        assert!(username.contains("%AB/%C3"), "{username}");
        // RFC 8489 §14.3.
        assert!(username.len() < 509, "{}", username.len());
    }

    #[test]
    fn the_url_of_a_turn_server_is_checked_at_start() {
        for good in [
            "turn:relay.example",
            "turn:203.0.113.5:3478?transport=udp",
            "turn:[2001:db8::5]:3478?transport=tcp",
            "turns:relay.example:443?transport=tcp",
        ] {
            assert_eq!(
                good.parse::<TurnUrl>().map(|url| url.to_string()),
                Ok(good.into())
            );
        }
        for bad in [
            "",
            "turn:",
            "stun:relay.example",
            "turn://relay.example",
            "turn:ada@relay.example",
            "turn:relay.example:",
            "turn:relay.example:99999",
            "turn:relay.example?transport=sctp",
            "turn:relay.example>; rel=\"x\"",
            "turn:relay.example?transport=udp&x=1",
        ] {
            assert_eq!(bad.parse::<TurnUrl>(), Err(TurnUrlError), "{bad}");
        }
    }
}
