//! What an operator can set about HTTP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Serialize;
use thiserror::Error;

use super::auth::AuthSettings;
use super::relays::TurnSettings;
use super::tls::TlsSettings;
use crate::engine::command::Headroom;
use crate::engine::sdp::MAX_SDP_BYTES;

/// The HTTP interface: where it listens and how much it takes.
#[derive(Args, Clone, Debug)]
#[group(id = "http")]
pub struct Settings {
    /// Address and port of the HTTP interface.
    #[arg(long = "http", env = "PLENUM_HTTP", value_name = "ADDRESS:PORT", default_value_t = Self::default().http_listen)]
    pub http_listen: SocketAddr,

    /// Address and port of the operator's listener (metrics and probes).
    #[arg(long = "operator", env = "PLENUM_OPERATOR", value_name = "ADDRESS:PORT", default_value_t = Self::default().operator_listen)]
    pub operator_listen: SocketAddr,

    /// URL under which clients reach this server; sessions' URLs are relative where it is not set.
    #[arg(long, env = "PLENUM_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Refuse trickle fragments without If-Match (428), as RFC 9725 asks; old clients send none.
    #[arg(long, env = "PLENUM_STRICT_IF_MATCH", value_parser = BoolishValueParser::new())]
    pub strict_if_match: bool,

    /// Refuse publishers that want to wait for the DTLS handshake (a=setup:passive), which RFC 9725
    /// does not allow them to; FFmpeg does.
    #[arg(long, env = "PLENUM_STRICT_SETUP", value_parser = BoolishValueParser::new())]
    pub strict_setup: bool,

    /// Refuse players while what they came for is not published (409); they wait for it otherwise.
    #[arg(long, env = "PLENUM_REQUIRE_PUBLISHER", value_parser = BoolishValueParser::new())]
    pub require_publisher: bool,

    /// POST, PUT and PATCH requests per second and client address; 0 sets no limit.
    #[arg(long, env = "PLENUM_HTTP_RATE", value_name = "PER_SECOND", default_value_t = Self::default().http_rate)]
    pub http_rate: u32,

    /// How many of them may come at once after a pause.
    #[arg(long, env = "PLENUM_HTTP_BURST", value_name = "REQUESTS", default_value_t = Self::default().http_burst)]
    pub http_burst: u32,

    /// Open sessions per client address; 0 sets no limit.
    #[arg(long, env = "PLENUM_SESSIONS_PER_ADDRESS", value_name = "SESSIONS", default_value_t = Self::default().sessions_per_address)]
    pub sessions_per_address: u32,

    /// Open sessions per room and identity, where tokens are required; 0 sets no limit.
    #[arg(long, env = "PLENUM_SESSIONS_PER_IDENTITY", value_name = "SESSIONS", default_value_t = Self::default().sessions_per_identity)]
    pub sessions_per_identity: u32,

    /// Answers that are kept for those who lost them and ask again with their Idempotency-Key.
    #[arg(long, env = "PLENUM_IDEMPOTENCY_KEYS", value_name = "ANSWERS", default_value_t = Self::default().idempotency_keys)]
    pub idempotency_keys: usize,

    /// Messages per second and session, five times as many at once; 0 sets no limit.
    #[arg(long, env = "PLENUM_MESSAGE_RATE", value_name = "PER_SECOND", default_value_t = Self::default().message_rate)]
    pub message_rate: u32,

    /// Bytes of a message (413 beyond).
    #[arg(long, env = "PLENUM_MESSAGE_BYTES", value_name = "BYTES", default_value_t = Self::default().message_bytes, value_parser = clap::value_parser!(u32).range(MIN_BODY_BYTES..=MAX_MESSAGE_BYTES))]
    pub message_bytes: u32,

    /// Bytes of a request's head (431 beyond).
    #[arg(long, env = "PLENUM_HEAD_BYTES", value_name = "BYTES", default_value_t = Self::default().head_bytes, value_parser = clap::value_parser!(u32).range(MIN_HEAD_BYTES..=MAX_HEAD_BYTES))]
    pub head_bytes: u32,

    /// Bytes of a request's body, unless it is a room client's offer (413 beyond).
    #[arg(long, env = "PLENUM_BODY_BYTES", value_name = "BYTES", default_value_t = Self::default().body_bytes, value_parser = clap::value_parser!(u32).range(MIN_BODY_BYTES..=MAX_OFFER_BYTES))]
    pub body_bytes: u32,

    /// Bytes of a room client's offer (413 beyond).
    #[arg(long, env = "PLENUM_OFFER_BYTES", value_name = "BYTES", default_value_t = Self::default().offer_bytes, value_parser = clap::value_parser!(u32).range(MIN_BODY_BYTES..=MAX_OFFER_BYTES))]
    pub offer_bytes: u32,

    /// Seconds that a request's head may take, and then its body (408 beyond).
    #[arg(long, env = "PLENUM_REQUEST_TIMEOUT", value_name = "SECONDS", default_value_t = Self::default().request_timeout, value_parser = clap::value_parser!(u32).range(1..=MAX_REQUEST_SECONDS))]
    pub request_timeout: u32,

    /// Event streams that a session may have; a further one ends the first.
    #[arg(long, env = "PLENUM_STREAMS_PER_SESSION", value_name = "STREAMS", default_value_t = Self::default().streams_per_session, value_parser = clap::value_parser!(u32).range(1..=MAX_STREAMS_PER_SESSION))]
    pub streams_per_session: u32,

    /// Open HTTP connections, event streams included.
    #[arg(long, env = "PLENUM_HTTP_CONNECTIONS", value_name = "CONNECTIONS", default_value_t = Self::default().http_connections)]
    pub http_connections: u32,

    /// How long sessions may go on once the server was told to go away (SIGTERM), in seconds.
    #[arg(long, env = "PLENUM_DRAIN_DEADLINE", value_name = "SECONDS", default_value_t = Self::default().drain_deadline, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_DRAIN_SECONDS)))]
    pub drain_deadline: u32,

    /// Part of a processor that a shard may be busy with before its rooms take no more sessions
    /// (503); 1 sets no limit.
    #[arg(long, env = "PLENUM_MAX_LOAD", value_name = "RATIO", default_value_t = Self::default().max_load)]
    pub max_load: Ratio,

    /// Part of the memory (of the machine, or of its control group) that may be used before no
    /// more sessions are taken (503); 1 sets no limit.
    #[arg(long, env = "PLENUM_MAX_MEMORY", value_name = "RATIO", default_value_t = Self::default().max_memory)]
    pub max_memory: Ratio,

    /// Reverse proxies whose X-Forwarded-For says who the client is, separated by commas.
    #[arg(
        long,
        env = "PLENUM_TRUSTED_PROXIES",
        value_name = "ADDRESSES",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<IpAddr>,

    /// Who may do what.
    #[command(flatten)]
    pub auth: AuthSettings,

    /// HTTPS.
    #[command(flatten)]
    pub tls: TlsSettings,

    /// Relays.
    #[command(flatten)]
    pub turn: TurnSettings,
}

impl Settings {
    /// How long a request's head may take, and then its body.
    pub(super) fn request_patience(&self) -> Duration {
        Duration::from_secs(self.request_timeout.into())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            operator_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9080)),
            public_url: None,
            strict_if_match: false,
            strict_setup: false,
            require_publisher: false,
            // An office of a hundred behind one address joins within two seconds; a page
            // sends a few requests a second at most.
            http_rate: 50,
            http_burst: 200,
            sessions_per_address: 500,
            // The viewers of a broadcast may all have one token.
            sessions_per_identity: 0,
            // Of some 10 KiB each: 10 MiB.
            idempotency_keys: 1024,
            // Faster than anybody types; each message goes to everybody in the room.
            message_rate: 10,
            // A session description of a few m-lines fits.
            message_bytes: 16 * 1024,
            // A token of 4 KiB fits well.
            head_bytes: 16 * 1024,
            // An encoder's offer has 8 KiB.
            body_bytes: 64 * 1024,
            // Each tile of a page takes 4 KiB in Chromium's.
            offer_bytes: MAX_SDP_BYTES as u32,
            // 64 KiB in this time is 52 kbit/s.
            request_timeout: 10,
            // A page, and its successor after a reload that the server has not noticed yet.
            streams_per_session: 2,
            // A page holds one or two; each costs some 20 KiB and a file descriptor.
            http_connections: 8192,
            // Kubernetes kills after 30 s, of which five are for goodbyes. Who has an event stream
            // has gone elsewhere within a few; longer meetings need a longer deadline.
            drain_deadline: 25,
            // Above that, delays grow without bound: a queue that is served 90 % of the time is
            // ten deep on average.
            max_load: Ratio(0.9),
            // The rest is for joins under way, for keyframes to everybody, and for the kernel's
            // buffers, which control groups count as ours.
            max_memory: Ratio(0.75),
            trusted_proxies: Vec::new(),
            auth: AuthSettings::default(),
            tls: TlsSettings::default(),
            turn: TurnSettings::default(),
        }
    }
}

/// Longest deadline of a drain, in seconds: a day.
pub(super) const MAX_DRAIN_SECONDS: u32 = 86_400;

/// What hyper reads at a time: a head cannot be held to less.
const MIN_HEAD_BYTES: i64 = 8 * 1024;
/// More is for bodies; each connection may hold as much.
const MAX_HEAD_BYTES: i64 = 1024 * 1024;
/// The smallest offers have some hundred bytes more.
const MIN_BODY_BYTES: i64 = 1024;
/// With the words around it, what every browser takes on a data channel, on which messages come, too.
const MAX_MESSAGE_BYTES: i64 = 60 * 1024;
/// Longer descriptions no engine reads.
const MAX_OFFER_BYTES: i64 = MAX_SDP_BYTES as i64;
/// Ten times what the slowest telephone needs.
const MAX_REQUEST_SECONDS: i64 = 300;
/// As many as one connection carries.
const MAX_STREAMS_PER_SESSION: i64 = 64;

/// A part of a whole, from 0 to 1; 1 stands for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio(f64);

/// Why a ratio was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a ratio is a number from 0 to 1, such as 0.75")]
pub struct RatioError;

/// Less than this part of what is wanted leaves room for the next step of video.
const AMPLE: f64 = 0.8;

impl Ratio {
    /// Whether a measured part is more than it may be.
    pub(super) fn is_exceeded(self, part: f64) -> bool {
        self.0 < 1.0 && part > self.0
    }

    /// Whether there is one.
    pub(super) fn is_limit(self) -> bool {
        self.0 < 1.0
    }

    /// What a part leaves, where no more than this ratio is wanted, and one is all there is.
    pub(super) fn headroom(self, part: f64) -> Headroom {
        if part < self.0 * AMPLE {
            Headroom::Enough
        } else if part < (1.0 + self.0) / 2.0 {
            Headroom::Little
        } else {
            Headroom::None
        }
    }
}

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        let ratio = text
            .parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or(RatioError)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Scheme and authority of the URL that clients use, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

/// Why a public URL was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a public URL has the form https://host[:port][/path], without query and fragment")]
pub struct PublicUrlError;

impl PublicUrl {
    /// The host that clients connect to; an IPv6 address stands in brackets.
    pub fn host(&self) -> Option<String> {
        let uri: http::Uri = self.0.parse().ok()?;
        uri.host().map(str::to_owned)
    }

    /// Whether it names this host and port.
    pub(super) fn has_authority(&self, authority: &http::uri::Authority) -> bool {
        let uri: Option<http::Uri> = self.0.parse().ok();
        uri.is_some_and(|uri| uri.authority() == Some(authority))
    }

    /// The port that clients connect to.
    pub fn port(&self) -> Option<u16> {
        let uri: http::Uri = self.0.parse().ok()?;
        let usual = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        Some(uri.port_u16().unwrap_or(usual))
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let uri: http::Uri = text.parse().map_err(|_| PublicUrlError)?;
        let http = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.query().is_none() && !text.contains(['#', '@', '"', '<', '>']);
        if !http || !plain || uri.host().is_none_or(str::is_empty) {
            return Err(PublicUrlError);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        http: Settings,
    }

    #[test]
    fn the_documentation_lists_every_setting_with_its_default() {
        let page = include_str!("../../docs/operations.md");
        let section = page
            .split("\n### ")
            .find(|part| part.starts_with("HTTP\n"))
            .expect("the section");
        let documented: BTreeMap<String, String> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `--"))
            .map(|row| {
                let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
                (
                    cells.next().expect("a name").into(),
                    cells.next().expect("a default").into(),
                )
            })
            .collect();
        let command = Cli::command();
        let settings = command
            .get_arguments()
            .filter(|arg| arg.get_id() != "help")
            .map(|arg| {
                let values: Vec<_> = arg
                    .get_default_values()
                    .iter()
                    .map(|value| value.to_string_lossy())
                    .collect();
                let default = match (arg.get_action().takes_values(), values.first()) {
                    (false, _) => "off".to_owned(),
                    (true, None) => "none".to_owned(),
                    (true, Some(value)) => value.clone().into_owned(),
                };
                (
                    arg.get_long().expect("settings have long names").to_owned(),
                    default,
                )
            });
        assert_eq!(documented, settings.collect());
    }

    #[test]
    fn a_ratio_is_a_part_of_a_whole() {
        for bad in ["", "75%", "1.1", "-0.1", "NaN", "inf"] {
            assert_eq!(bad.parse::<Ratio>(), Err(RatioError), "{bad}");
        }
        let half: Ratio = "0.5".parse().unwrap();
        assert!(half.is_exceeded(0.6) && !half.is_exceeded(0.5));
        assert!(!Ratio(1.0).is_exceeded(2.0), "no limit");
    }

    #[test]
    fn a_public_url_is_checked_at_start() {
        for bad in [
            "",
            "sfu.example",
            "/x",
            "ftp://a",
            "https://",
            "https://a?b",
            "https://a/#b",
            "https://u@a",
        ] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(PublicUrlError), "{bad:?}");
        }
        for (given, used) in [
            ("https://sfu.example", "https://sfu.example"),
            ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
            ("https://a.example/media/", "https://a.example/media"),
        ] {
            assert_eq!(
                given.parse::<PublicUrl>().map(|url| url.to_string()),
                Ok(used.to_owned())
            );
        }
        for (url, port) in [
            ("https://a.example/x", 443),
            ("http://10.0.0.1:8080/", 8080),
        ] {
            assert_eq!(url.parse::<PublicUrl>().unwrap().port(), Some(port));
        }
    }
}
