//! Whom clients may reach through the relay.

use std::collections::HashSet;
use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::mpsc;

use crate::net::is_public;

/// Other clients of this relay, by their relayed addresses.
pub(super) type Relayed = DashMap<SocketAddr, mpsc::Sender<FromRelayed>, RandomState>;

/// What one client sends to another one's relayed address.
#[derive(Debug)]
pub(super) struct FromRelayed {
    /// The one's relayed address.
    pub(super) from: SocketAddr,
    /// The other's.
    pub(super) to: SocketAddr,
    pub(super) contents: Vec<u8>,
}

/// A peer as it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// This server's media, at an address of this machine.
    Media(SocketAddr),
    /// Another client of this relay, by its relayed address.
    Relayed(SocketAddr),
    /// Somebody on the Internet.
    Peer(SocketAddr),
}

/// The media addresses of this server; and, where the relay is open to peers, the public Internet
/// without this machine.
///
/// What decides is the address itself and not how it is written: an IPv4 address in the clothes of
/// IPv6 (`::ffff:0:0/96`, NAT64, 6to4, Teredo) is no peer at all, so that none is reached by a
/// second name.
#[derive(Debug)]
pub(super) struct Peers {
    /// Each as clients are told it, and as it is reached from here.
    media: Vec<(SocketAddr, SocketAddr)>,
    is_open: bool,
    /// This machine's addresses: its other services are not for peers.
    own: HashSet<IpAddr>,
    /// Both ends of a call may be clients of this relay.
    pub(super) relayed: Arc<Relayed>,
}

impl Peers {
    /// `told` are the media addresses that clients know, for a socket bound to `bound`; `own` are
    /// this machine's addresses.
    pub(super) fn new(
        told: &[SocketAddr],
        bound: SocketAddr,
        own: impl IntoIterator<Item = IpAddr>,
        is_open: bool,
    ) -> Self {
        let own: HashSet<IpAddr> = own.into_iter().collect();
        let mut media: Vec<(SocketAddr, SocketAddr)> = Vec::new();
        for &address in told {
            let used: Vec<_> = media.iter().map(|(_, reached)| *reached).collect();
            if let Some(reached) = reached(address, bound, &own, &used) {
                media.push((address, reached));
            }
        }
        Self {
            media,
            is_open,
            own: own
                .into_iter()
                .chain(told.iter().map(SocketAddr::ip))
                .collect(),
            relayed: Arc::default(),
        }
    }

    /// Whether a permission for this address (RFC 8656 §9) can be of any use.
    pub(super) fn permits(&self, ip: IpAddr) -> bool {
        let is_media = self.media.iter().any(|(told, _)| told.ip() == ip);
        is_media || (self.is_open && self.is_peer(ip))
    }

    /// Where to send what is for this peer; `None` is nowhere.
    pub(super) fn target(&self, peer: SocketAddr) -> Option<Target> {
        if let Some((_, reached)) = self.media.iter().find(|(told, _)| *told == peer) {
            return Some(Target::Media(*reached));
        }
        if !self.is_open || peer.port() == 0 {
            return None;
        }
        if self.relayed.contains_key(&peer) {
            return Some(Target::Relayed(peer));
        }
        self.is_peer(peer.ip()).then_some(Target::Peer(peer))
    }

    /// Who it is, for the client, that sent something from this address; `None` for those who have
    /// nothing to say.
    pub(super) fn sender(&self, from: SocketAddr) -> Option<SocketAddr> {
        if let Some((told, _)) = self.media.iter().find(|(_, reached)| *reached == from) {
            return Some(*told);
        }
        (self.is_open && self.is_peer(from.ip())).then_some(from)
    }

    /// The address that relayed ones of this family have: those of media, so that it is one that
    /// clients reach; `None` where nobody could be reached from there.
    pub(super) fn relayed_ip(&self, is_ipv4: bool) -> Option<IpAddr> {
        let mut of_family = self
            .media
            .iter()
            .filter(|(told, _)| told.is_ipv4() == is_ipv4);
        of_family.next().map(|(told, _)| told.ip())
    }

    /// The address to bind a socket of this family to.
    pub(super) fn bind_ip(&self, bound: SocketAddr, is_ipv4: bool) -> IpAddr {
        let same = bound.is_ipv4() == is_ipv4 && !bound.ip().is_unspecified();
        match (same, is_ipv4) {
            (true, _) => bound.ip(),
            (false, true) => Ipv4Addr::UNSPECIFIED.into(),
            (false, false) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn is_peer(&self, ip: IpAddr) -> bool {
        ip.to_canonical() == ip && is_public(ip) && !self.own.contains(&ip)
    }
}

/// Where a media address that clients are told is reached from here: behind NAT it is none of this
/// machine's, and packets to it would have to turn around at the router, which few do.
fn reached(
    told: SocketAddr,
    bound: SocketAddr,
    own: &HashSet<IpAddr>,
    used: &[SocketAddr],
) -> Option<SocketAddr> {
    let port = bound.port();
    if !bound.ip().is_unspecified() {
        let is_free = told.is_ipv4() == bound.is_ipv4() && !used.contains(&bound);
        return is_free.then_some(bound);
    }
    if own.contains(&told.ip()) {
        return Some(SocketAddr::new(told.ip(), port));
    }
    // What comes back from there has to say which of several addresses it is: there are many of
    // loopback for IPv4, and one for IPv6.
    let mut loopback: Vec<IpAddr> = match told {
        SocketAddr::V4(_) => (1..=32)
            .map(|n| Ipv4Addr::new(127, 0, 0, n).into())
            .collect(),
        SocketAddr::V6(_) if bound.is_ipv6() => vec![Ipv6Addr::LOCALHOST.into()],
        SocketAddr::V6(_) => Vec::new(),
    };
    loopback.retain(|ip| !used.contains(&SocketAddr::new(*ip, port)));
    loopback.first().map(|ip| SocketAddr::new(*ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIA: &str = "203.0.113.5:3478";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn peers(is_open: bool) -> Peers {
        let own = ["203.0.113.5", "9.9.9.9", "127.0.0.1", "2a00:1450::1"];
        let own = own.map(|ip| ip.parse().unwrap());
        Peers::new(&[address(MEDIA)], address("[::]:3478"), own, is_open)
    }

    #[test]
    fn media_is_all_that_is_reached_by_default() {
        let peers = peers(false);
        assert_eq!(
            peers.target(address(MEDIA)),
            Some(Target::Media(address(MEDIA)))
        );
        for other in [
            "203.0.113.5:9080",
            "203.0.113.5:0",
            "1.1.1.1:3478",
            "127.0.0.1:3478",
        ] {
            assert_eq!(peers.target(address(other)), None, "{other}");
        }
        assert!(peers.permits("203.0.113.5".parse().unwrap()));
        assert!(!peers.permits("1.1.1.1".parse().unwrap()));
    }

    /// What went wrong in other relays (CVE-2020-26262, CVE-2026-27624 and their like).
    #[test]
    fn an_open_relay_reaches_the_internet_and_nothing_that_is_special() {
        let peers = peers(true);
        let reached = address("1.1.1.1:53");
        assert_eq!(peers.target(reached), Some(Target::Peer(reached)));
        for special in [
            "127.0.0.1:80",
            "[::1]:80",
            "[::]:80",
            "0.0.0.0:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:1.1.1.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[64:ff9b::101:101]:80",
            "[2002:7f00:1::]:80",
            "[2002:101:101::]:80",
            "[2001::1]:80",
            "10.0.0.1:80",
            "172.16.0.1:80",
            "192.168.0.1:80",
            "100.64.0.1:80",
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[fd00::1]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "1.1.1.1:0",
            // This machine's other ports, by any of its addresses.
            "203.0.113.5:9080",
            "9.9.9.9:9080",
            "9.9.9.9:3478",
            "[2a00:1450::1]:9080",
        ] {
            let special = address(special);
            assert_eq!(peers.target(special), None, "{special}");
            assert!(
                special.port() == 0 || peers.sender(special).is_none(),
                "{special}"
            );
            let is_media = special.ip() == address(MEDIA).ip();
            assert!(
                is_media || special.port() == 0 || !peers.permits(special.ip()),
                "{special}"
            );
        }
    }

    #[test]
    fn behind_nat_media_is_reached_without_the_router_and_answers_under_its_outside_names() {
        let told = [
            "203.0.113.5:4000",
            "203.0.113.6:3478",
            "10.0.0.2:3478",
            "[2001:db8::5]:3478",
        ];
        let told = told.map(address);
        let own = ["10.0.0.2".parse().unwrap()];
        let peers = Peers::new(&told, address("[::]:3478"), own, false);
        let reached = [
            "127.0.0.1:3478",
            "127.0.0.2:3478",
            "10.0.0.2:3478",
            "[::1]:3478",
        ];
        for (told, reached) in told.into_iter().zip(reached.map(address)) {
            assert_eq!(peers.target(told), Some(Target::Media(reached)));
            assert_eq!(peers.sender(reached), Some(told));
        }
        assert_eq!(peers.sender(address("127.0.0.1:9080")), None);
    }

    #[test]
    fn a_server_bound_to_one_address_is_reached_there() {
        let bound = address("10.0.0.2:3478");
        let peers = Peers::new(&[address(MEDIA)], bound, [bound.ip()], false);
        assert_eq!(peers.target(address(MEDIA)), Some(Target::Media(bound)));
        assert_eq!(peers.sender(bound), Some(address(MEDIA)));
        assert_eq!(peers.relayed_ip(true), Some(address(MEDIA).ip()));
        assert_eq!(peers.relayed_ip(false), None);
    }
}
