//! The network between one client and the server: a link in each direction.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m_netem::{Input, Netem, NetemConfig, Output, Probability, RandomLoss};

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) contents: Vec<u8>,
}

impl AsRef<[u8]> for Parcel {
    fn as_ref(&self) -> &[u8] {
        &self.contents
    }
}

/// One direction. It keeps the order of what it carries, unless told to reorder.
pub(crate) struct Link {
    netem: Netem<Parcel>,
    config: NetemConfig,
    /// Carries nothing at all for now.
    pub(crate) is_cut: bool,
    /// Carries, but nothing of it is read for now; then all at once.
    pub(crate) is_held: bool,
}

impl Link {
    pub(crate) fn new(config: NetemConfig) -> Self {
        Self {
            netem: Netem::new(config),
            config,
            is_cut: false,
            is_held: false,
        }
    }

    /// Changes the weather; what is under way arrives all the same.
    pub(crate) fn change(&mut self, change: impl FnOnce(NetemConfig) -> NetemConfig) {
        self.config = change(self.config);
        self.netem.set_config(self.config);
    }

    pub(crate) fn send(&mut self, parcel: Parcel, now: Instant) {
        if !self.is_cut {
            self.netem.handle_input(Input::Packet(now, parcel));
        }
    }

    /// When the next datagram arrives.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.netem.is_empty() && !self.is_held).then(|| self.netem.poll_timeout())
    }

    /// The next datagram that has arrived.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<Parcel> {
        if self.is_held {
            return None;
        }
        self.netem.handle_input(Input::Timeout(now));
        match self.netem.poll_output()? {
            Output::Packet(parcel) => Some(parcel),
            Output::Timeout(_) => None,
        }
    }
}

/// A link that only takes its time.
pub(crate) fn delay(one_way: Duration) -> NetemConfig {
    NetemConfig::new().latency(one_way)
}

/// Independent losses, as a share of all datagrams.
pub(crate) fn loss(share: f32) -> RandomLoss {
    RandomLoss::new(Probability::new(share))
}
