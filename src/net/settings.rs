//! What an operator can set about media traffic.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{StreamLimits, StunUrl, discover};

/// The port for media unless set: the one of STUN (RFC 8489 §3), which is what the first packet
/// of every client is.
///
/// Firewalls that let any UDP out let this port out, as the large meeting services use it; 443
/// would be let through by more, but needs privileges.
pub const DEFAULT_PORT: u16 = 3478;

/// The UDP port that carries all media, and where clients are told to find it.
#[derive(Args, Clone, Debug)]
#[group(id = "net")]
pub struct Settings {
    /// Address and port for media, UDP; all of IPv6 stands for all of IPv4, too [default: the address
    /// of HTTP, port 3478].
    #[arg(long, env = "PLENUM_UDP", value_name = "ADDRESS:PORT")]
    pub udp: Option<SocketAddr>,

    /// Address and port for media of clients whose network lets no UDP out (ICE over TCP), or "off"
    /// [default: as UDP]. The HTTP port takes them, too, where it speaks HTTPS or is given here.
    #[arg(long, env = "PLENUM_TCP", value_name = "ADDRESS:PORT|off")]
    pub tcp: Option<TcpListen>,

    /// TCP connections with media.
    #[arg(long, env = "PLENUM_TCP_CONNECTIONS", value_name = "CONNECTIONS", default_value_t = StreamLimits::default().connections)]
    pub tcp_connections: usize,

    /// Those of one client address.
    #[arg(long, env = "PLENUM_TCP_PER_ADDRESS", value_name = "CONNECTIONS", default_value_t = StreamLimits::default().per_address)]
    pub tcp_per_address: u32,

    /// A further address and port, UDP, for STUN alone: clients that ask for their own address. The
    /// media port answers them, too.
    #[arg(long, env = "PLENUM_STUN", value_name = "ADDRESS:PORT")]
    pub stun: Option<SocketAddr>,

    /// Address that clients can send media to, where it is not one of this machine's interfaces
    /// (behind NAT, in a container); with a port if that differs, too, which is then UDP's, and TCP's
    /// where both have the same. Can be given more than once.
    #[arg(long = "public-ip", env = "PLENUM_PUBLIC_IP", value_name = "ADDRESS[:PORT]", value_delimiter = ',', value_parser = parse_public)]
    pub public_ips: Vec<SocketAddr>,

    /// A STUN server outside that is asked once, at start, for the address that this machine has there,
    /// which then is one of --public-ip: stun:host:port.
    #[arg(long, env = "PLENUM_DISCOVER", value_name = "URL")]
    pub discover: Option<StunUrl>,

    /// Tell clients this machine's own addresses, too, besides those of --public-ip or --discover: for
    /// clients on this side of a NAT.
    #[arg(long, env = "PLENUM_PRIVATE_IPS", value_parser = BoolishValueParser::new())]
    pub private_ips: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let StreamLimits {
            connections,
            per_address,
        } = StreamLimits::default();
        Self {
            udp: None,
            tcp: None,
            tcp_connections: connections,
            tcp_per_address: per_address,
            stun: None,
            public_ips: Vec::new(),
            discover: None,
            private_ips: false,
        }
    }
}

impl Settings {
    /// How many TCP connections there may be.
    pub fn stream_limits(&self) -> StreamLimits {
        StreamLimits {
            connections: self.tcp_connections,
            per_address: self.tcp_per_address,
        }
    }

    /// Where the socket is bound; `http` is the address that HTTP listens on: whoever reaches
    /// one should reach the other.
    pub fn address(&self, http: IpAddr) -> SocketAddr {
        self.udp.unwrap_or(SocketAddr::new(http, DEFAULT_PORT))
    }

    /// Where TCP connections are taken, for a media socket bound to `udp`.
    pub fn tcp_address(&self, udp: SocketAddr) -> Option<SocketAddr> {
        match self.tcp {
            Some(TcpListen::Off) => None,
            Some(TcpListen::At(address)) => Some(address),
            None => Some(udp),
        }
    }

    /// [`Self::public_ips`], and what a server outside says of this machine, for a media socket bound
    /// to `udp`. Blocks.
    pub fn public(&self, udp: SocketAddr) -> io::Result<Vec<SocketAddr>> {
        let mut public = self.public_ips.clone();
        if let Some(server) = &self.discover {
            for ip in discover(server, udp)? {
                if !public.iter().any(|known| known.ip() == ip) {
                    public.push(SocketAddr::new(ip, 0));
                }
            }
        }
        Ok(public)
    }
}

/// Public addresses for TCP: a port of UDP's means nothing where TCP has another.
pub fn public_for_tcp(public: &[SocketAddr], udp: SocketAddr, tcp: SocketAddr) -> Vec<SocketAddr> {
    let same = udp.port() == tcp.port();
    let port_of = |public: &SocketAddr| if same { public.port() } else { 0 };
    let told = public.iter();
    told.map(|public| SocketAddr::new(public.ip(), port_of(public)))
        .collect()
}

/// Whether and where clients connect with TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpListen {
    /// Nowhere.
    Off,
    /// At this address and port.
    At(SocketAddr),
}

impl FromStr for TcpListen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map(Self::At);
        address.map_err(|_| "neither an IP address with a port nor `off`")
    }
}

/// An address with or without port; zero stands for none.
fn parse_public(text: &str) -> Result<SocketAddr, &'static str> {
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)));
    let address: SocketAddr = address.map_err(|_| "neither an IP address nor one with a port")?;
    if address.ip().is_unspecified() {
        return Err("clients cannot send to an unspecified address");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_where_http_is_unless_told_otherwise() {
        let loopback = "127.0.0.1".parse().unwrap();
        let unset = Settings::default();
        assert_eq!(unset.address(loopback).to_string(), "127.0.0.1:3478");
        let set = Settings {
            udp: "[::]:443".parse().ok(),
            ..unset
        };
        assert_eq!(set.address(loopback).to_string(), "[::]:443");
    }

    #[test]
    fn tcp_is_where_udp_is_unless_told_otherwise() {
        let udp = "192.0.2.1:3478".parse().unwrap();
        let mut settings = Settings::default();
        assert_eq!(settings.tcp_address(udp), Some(udp));
        settings.tcp = "off".parse().ok();
        assert_eq!(settings.tcp_address(udp), None);
        settings.tcp = "[::]:443".parse().ok();
        let tcp = settings.tcp_address(udp).unwrap();
        assert_eq!(tcp.to_string(), "[::]:443");
        assert!("on".parse::<TcpListen>().is_err());

        let public = ["203.0.113.5:9000".parse().unwrap()];
        assert_eq!(public_for_tcp(&public, udp, udp), public);
        assert_eq!(public_for_tcp(&public, udp, tcp)[0].port(), 0);
    }

    #[test]
    fn public_addresses_come_with_or_without_port() {
        let parsed = |text| parse_public(text).map(|address| address.to_string());
        assert_eq!(parsed("203.0.113.5"), Ok("203.0.113.5:0".to_owned()));
        assert_eq!(parsed("203.0.113.5:443"), Ok("203.0.113.5:443".to_owned()));
        assert_eq!(parsed("2001:db8::5"), Ok("[2001:db8::5]:0".to_owned()));
        assert_eq!(
            parsed("[2001:db8::5]:443"),
            Ok("[2001:db8::5]:443".to_owned())
        );
        for bad in [
            "",
            "sfu.example",
            "0.0.0.0",
            "[::]:443",
            "203.0.113.5:99999",
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
