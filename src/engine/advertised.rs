//! Where clients are told to reach us.

use std::net::SocketAddr;
use std::sync::Arc;

use str0m::Candidate;
use str0m::net::TcpType;
use tracing::warn;

use super::{Datagram, EngineConfig, Transport};

/// The addresses that every answer names as candidates; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Advertised {
    udp: Arc<[SocketAddr]>,
    tcp: Arc<[SocketAddr]>,
}

impl Advertised {
    pub(crate) fn of(config: &EngineConfig) -> Self {
        Self {
            udp: config.advertised.clone().into(),
            tcp: config.advertised_tcp.clone().into(),
        }
    }

    /// As candidates: those of TCP have the lower priority (RFC 6544 §4.2).
    pub(crate) fn candidates(&self) -> impl Iterator<Item = Candidate> {
        let udp = self.udp.iter().map(|address| {
            let candidate = Candidate::builder().udp().host(*address).build();
            (*address, candidate)
        });
        let tcp = self.tcp.iter().map(|address| {
            let passive = Candidate::builder().tcp().host(*address);
            (*address, passive.tcptype(TcpType::Passive).build())
        });
        udp.chain(tcp).filter_map(|(address, candidate)| {
            candidate
                .inspect_err(|error| warn!(%address, %error, "not a candidate"))
                .ok()
        })
    }

    /// Which of these a datagram was sent to, as its client sees it: behind a 1:1 NAT the
    /// socket's own address is another.
    pub(crate) fn destination(&self, datagram: &Datagram<'_>) -> Option<SocketAddr> {
        let addresses = match datagram.transport {
            Transport::Udp => &self.udp,
            Transport::Tcp(_) => &self.tcp,
        };
        let same_family = |local: &&SocketAddr| local.is_ipv4() == datagram.source.is_ipv4();
        let exact = addresses
            .iter()
            .find(|local| Some(local.ip()) == datagram.local_ip);
        exact
            .or_else(|| addresses.iter().find(same_family))
            .copied()
    }
}
