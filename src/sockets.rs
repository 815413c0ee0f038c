//! The sockets that media comes by, opened as the settings say, and what clients are told of them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use thiserror::Error;

use crate::config::Config;
use crate::net::interfaces::{self, InterfaceAddress};
use crate::net::{self, MediaSocket, Streams};
use crate::shard::Sockets;
use crate::turn::{Listening, Relay, Setup};

/// Smallest receive buffer that does without a word: 64 ms at 125 Mbit/s.
pub const SUFFICIENT_BUFFER_BYTES: usize = 1 << 20;

/// Why media could not come by.
#[derive(Debug, Error)]
pub enum SocketError {
    /// An address cannot be used.
    #[error("cannot use {setting} {address}: {error}")]
    Bind {
        /// The option.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// There is nothing that clients could be told.
    #[error(
        "no network interface is up that clients could send to; name an address with --public-ip"
    )]
    NoAddress,
    /// Nobody outside says what this machine is called there.
    #[error("cannot learn this machine's public address by --discover: {0}")]
    Discover(#[source] io::Error),
    /// The interfaces cannot be read.
    #[error("cannot read this machine's network interfaces: {0}")]
    Interfaces(#[from] io::Error),
}

/// Open sockets, and where clients reach them.
pub struct Opened {
    /// The sockets.
    pub sockets: Sockets,
    /// Where clients send UDP to.
    pub advertised: Vec<SocketAddr>,
    /// Where clients connect to with TCP.
    pub advertised_tcp: Vec<SocketAddr>,
    /// The relay, and where it listens.
    pub relay: Option<OpenedRelay>,
}

/// The relay that is part of this server, not started yet.
pub struct OpenedRelay {
    /// What serves its clients.
    pub relay: Relay,
    /// Where they come to.
    pub listening: Listening,
    /// Where they come to with TLS, besides the port of HTTPS.
    pub tls: Option<TcpListener>,
}

/// Opens them.
pub fn open(config: &Config) -> Result<Opened, SocketError> {
    let media = bind("--udp", config.udp_address())?.with_feedback_aside();
    let stun = config.net.stun.map(|address| bind("--stun", address));
    let streams = streams(config, media.local_addr())?;
    let interfaces = interfaces::addresses()?;
    let bound = media.local_addr();
    let public = config.net.public(bound).map_err(SocketError::Discover)?;
    let private = config.net.private_ips;
    let advertised = interfaces::advertised(bound, &public, private, &interfaces);
    if advertised.is_empty() {
        return Err(SocketError::NoAddress);
    }
    let advertised_tcp = advertised_tcp(config, bound, &public, streams.as_ref(), &interfaces);
    let relay = relay(config, bound, &advertised, &interfaces)?;
    let granted = media.buffers();
    tracing::info!(udp = %bound, ?advertised, ?advertised_tcp, gso = media.gso(), "media");
    if granted.receive < SUFFICIENT_BUFFER_BYTES && !bound.ip().is_loopback() {
        tracing::warn!(
            ?granted,
            "UDP buffers are small: bursts will be lost; raise net.core.rmem_max and wmem_max"
        );
    }
    if interfaces::lead_nowhere(&advertised, interfaces::is_in_container()) {
        tracing::warn!(
            ?advertised,
            "these are addresses of a container's own network, which others do not reach: publish the \
             port and name the host's address with --public-ip, or run with --network host"
        );
    }
    let sockets = Sockets {
        media,
        shares_http: streams.is_some() && config.shares_http(),
        streams,
        stun: stun.transpose()?,
    };
    Ok(Opened {
        sockets,
        advertised,
        advertised_tcp,
        relay,
    })
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<MediaSocket, SocketError> {
    MediaSocket::bind(address).map_err(|error| SocketError::Bind {
        setting,
        address,
        error,
    })
}

/// The relay, where there is to be one.
fn relay(
    config: &Config,
    media: SocketAddr,
    advertised: &[SocketAddr],
    interfaces: &[InterfaceAddress],
) -> Result<Option<OpenedRelay>, SocketError> {
    let settings = &config.turn;
    let Some(address) = settings.turn_listen else {
        return Ok(None);
    };
    let refused = |setting, address| {
        move |error| SocketError::Bind {
            setting,
            address,
            error,
        }
    };
    let datagrams = bind("--turn-listen", address)?;
    // Port 0 stands for the same one twice.
    let address = datagrams.local_addr();
    let streams = net::listen(address).map_err(refused("--turn-listen", address))?;
    let tls = match settings.turn_tls_listen {
        Some(address) => Some(net::listen(address).map_err(refused("--turn-tls-listen", address))?),
        None => None,
    };
    let urls = turn_urls(config, address, advertised);
    tracing::info!(turn = %address, ?urls, peers = settings.turn_peers, "relay");
    let relay = Relay::new(Setup {
        settings,
        told: advertised,
        media,
        own: interfaces.iter().map(|address| address.ip).collect(),
        secret: config.http.turn.relay_secret(),
        urls,
    });
    Ok(Some(OpenedRelay {
        relay,
        listening: Listening { datagrams, streams },
        tls,
    }))
}

/// How clients reach the relay (RFC 7065): by the name that they know already, or by the address of
/// media, one of each family. The certificate is for a name, so that TLS comes by that where there
/// is one. Few, since browsers try each of them on each of their interfaces.
fn turn_urls(config: &Config, turn: SocketAddr, advertised: &[SocketAddr]) -> Vec<String> {
    let host = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let name = config.http.public_url.as_ref().and_then(|url| url.host());
    let of_family = |is_ipv4| {
        let mut told = advertised.iter();
        told.find(|address| address.is_ipv4() == is_ipv4).map(host)
    };
    let hosts: Vec<String> = match &name {
        Some(name) => vec![name.clone()],
        None => [of_family(true), of_family(false)]
            .into_iter()
            .flatten()
            .collect(),
    };
    let mut urls = Vec::new();
    for host in hosts {
        for transport in ["udp", "tcp"] {
            urls.push(format!("turn:{host}:{}?transport={transport}", turn.port()));
        }
        if config.http.tls.is_used() {
            let of_https = config.http.public_url.as_ref().and_then(|url| url.port());
            let of_https = of_https.unwrap_or(config.http.http_listen.port());
            let further = config.turn.turn_tls_listen.map(|address| address.port());
            for port in further
                .into_iter()
                .chain([of_https])
                .filter(|port| *port != 0)
            {
                urls.push(format!("turns:{host}:{port}?transport=tcp"));
            }
        }
    }
    urls
}

/// Listens for TCP connections, unless HTTP does for them.
fn streams<K>(config: &Config, udp: SocketAddr) -> Result<Option<Streams<K>>, SocketError> {
    let Some(address) = config.net.tcp_address(udp) else {
        return Ok(None);
    };
    let own = (address != config.http.http_listen).then_some(address);
    match Streams::bind(own, config.net.stream_limits()) {
        Ok(streams) => Ok(Some(streams)),
        // Nobody asked for this port: the server does what it can.
        Err(error) if config.net.tcp.is_none() => {
            tracing::warn!(
                %address, %error,
                "no TCP for clients without UDP; name a free port with --tcp, or say --tcp off"
            );
            Ok(None)
        }
        Err(error) => Err(SocketError::Bind {
            setting: "--tcp",
            address,
            error,
        }),
    }
}

/// The port of its own first, then that of HTTPS, which passes more firewalls and has more to do.
fn advertised_tcp<K>(
    config: &Config,
    udp: SocketAddr,
    public: &[SocketAddr],
    streams: Option<&Streams<K>>,
    interfaces: &[InterfaceAddress],
) -> Vec<SocketAddr> {
    let Some(streams) = streams else {
        return Vec::new();
    };
    let http = config.http.http_listen;
    let shared = (config.shares_http() && http.port() != 0).then(|| {
        let port = config.http.public_url.as_ref().and_then(|url| url.port());
        SocketAddr::new(http.ip(), port.unwrap_or(http.port()))
    });
    let mut told = Vec::new();
    for bound in streams.local_addr().into_iter().chain(shared) {
        let public = net::public_for_tcp(public, udp, bound);
        let reached = interfaces::advertised(bound, &public, config.net.private_ips, interfaces);
        told.extend(
            reached
                .into_iter()
                .filter(|address| !told.contains(address))
                .collect::<Vec<_>>(),
        );
    }
    told
}
