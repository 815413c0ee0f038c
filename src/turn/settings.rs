//! What an operator can set about the relay.

use std::net::SocketAddr;

use clap::Args;
use clap::builder::BoolishValueParser;

/// The relay that is part of this server.
#[derive(Args, Clone, Debug)]
#[group(id = "relay")]
pub struct Settings {
    /// Address and port, UDP and TCP, of a TURN server of our own, for clients that reach media no
    /// other way. It relays to this server's media alone. Where the server speaks HTTPS, that port
    /// takes TURN, too.
    #[arg(long, env = "PLENUM_TURN_LISTEN", value_name = "ADDRESS:PORT")]
    pub turn_listen: Option<SocketAddr>,

    /// A further address and port for TURN over TLS, with the certificate of HTTPS.
    #[arg(
        long,
        env = "PLENUM_TURN_TLS_LISTEN",
        value_name = "ADDRESS:PORT",
        requires = "turn_listen"
    )]
    pub turn_tls_listen: Option<SocketAddr>,

    /// Let clients relay to each other and to any public address, too, for calls without the server.
    /// Private, local and other special addresses, and this machine's own, stay out of reach.
    #[arg(long, env = "PLENUM_TURN_PEERS", requires = "turn_listen", value_parser = BoolishValueParser::new())]
    pub turn_peers: bool,

    /// Allocations that one participant may have at once.
    #[arg(long, env = "PLENUM_TURN_USER_QUOTA", value_name = "ALLOCATIONS", default_value_t = Self::default().turn_user_quota)]
    pub turn_user_quota: u32,

    /// Allocations that there may be in all; each takes a file descriptor or two.
    #[arg(long, env = "PLENUM_TURN_QUOTA", value_name = "ALLOCATIONS", default_value_t = Self::default().turn_quota)]
    pub turn_quota: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            turn_listen: None,
            turn_tls_listen: None,
            turn_peers: false,
            // A browser asks once for each of its interfaces and each of the relay's URLs, and again
            // when its network changes, before the old ones have ended.
            turn_user_quota: 24,
            // Some hundred people who need a relay, which is a meeting of thousands.
            turn_quota: 2400,
        }
    }
}
