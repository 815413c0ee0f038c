//! Where a session's datagrams go: the address that its client was last proven to be at.
//!
//! str0m keeps a nominated pair for 15 s after its client has moved (a NAT that rebinds, another
//! network), so media follows a rule of its own: the newest authenticated check that nominates
//! (RFC 8445 §7.3.1.5) from another address wins as soon as the old address has gone quiet.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Datagram, Transport};

/// How long the address in use must have been quiet before a check from another one moves it.
///
/// Media or reports arrive every 50 to 100 ms from a client that is there. Shorter, and a client
/// that checks two pairs in turn would flap between them; longer, and a network change costs
/// as much more.
const QUIET: Duration = Duration::from_millis(500);

/// Most addresses that one session may have proven to be at, as mediasoup's tuple limit.
const MAX_VALIDATED: usize = 8;

/// One way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// The client's address.
    pub(crate) remote: SocketAddr,
    /// What carries datagrams there.
    pub(crate) transport: Transport,
    /// Ours that it talks to, where the socket tells.
    pub(crate) local_ip: Option<IpAddr>,
}

impl Path {
    /// The way that a datagram came.
    pub(crate) fn of(datagram: &Datagram<'_>) -> Self {
        Self {
            remote: datagram.source,
            transport: datagram.transport,
            local_ip: datagram.local_ip,
        }
    }

    /// Whether both lead to the same place, from whichever of our addresses.
    fn leads_with(&self, other: &Path) -> bool {
        self.remote == other.remote && self.transport == other.transport
    }
}

/// The ways to a client that were proven by authenticated checks, and the one in use.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    current: Option<Path>,
    last_heard: Option<Instant>,
    /// Oldest first.
    validated: Vec<Path>,
    /// After an ICE restart the next nomination moves at once.
    restarted: bool,
}

impl Paths {
    /// Where to send, once a check has nominated.
    pub(crate) fn current(&self) -> Option<Path> {
        self.current
    }

    /// The way by which an authenticated check came from this address, the newest if there are
    /// several.
    pub(crate) fn to(&self, remote: SocketAddr, is_tcp: bool) -> Option<Path> {
        let leads_there = |path: &&Path| {
            path.remote == remote && matches!(path.transport, Transport::Tcp(_)) == is_tcp
        };
        self.validated.iter().rev().find(leads_there).copied()
    }

    /// Whether an authenticated check came this way.
    pub(crate) fn is_validated(&self, path: &Path) -> bool {
        // The one in use was, and is asked about thousands of times as often.
        let is_current = self.current.is_some_and(|current| current.leads_with(path));
        is_current || self.validated.iter().any(|known| known.leads_with(path))
    }

    /// Something authentic came this way.
    pub(crate) fn heard(&mut self, path: &Path, now: Instant) {
        if self.current.is_some_and(|current| current.leads_with(path)) {
            self.last_heard = Some(now);
        }
    }

    /// A check whose integrity holds came by this path; `true` if media goes there from now on,
    /// and did not before.
    pub(crate) fn checked(&mut self, path: Path, nominates: bool, now: Instant) -> bool {
        let moved = self.follow(path, nominates && self.restarted, nominates, now);
        self.restarted &= !moved;
        moved
    }

    /// As [`Self::checked`], with the credentials of before a restart: they wait for quiet.
    pub(crate) fn checked_as_before(&mut self, path: Path, nominates: bool, now: Instant) -> bool {
        self.follow(path, false, nominates, now)
    }

    /// Knows a way by which a check came, and takes it at once, or if the one in use is quiet.
    fn follow(&mut self, path: Path, at_once: bool, if_quiet: bool, now: Instant) -> bool {
        match self
            .validated
            .iter_mut()
            .find(|known| known.leads_with(&path))
        {
            Some(known) => *known = path,
            None => {
                if self.validated.len() == MAX_VALIDATED {
                    self.validated.remove(0);
                }
                self.validated.push(path);
            }
        }
        let moved = match self.current {
            None => true,
            Some(current) if current.leads_with(&path) => false,
            Some(_) => at_once || (if_quiet && self.is_quiet(now)),
        };
        if moved {
            self.current = Some(path);
        }
        self.heard(&path, now);
        moved
    }

    /// Whether nothing came from the client for as long.
    pub(crate) fn is_silent_for(&self, time: Duration, now: Instant) -> bool {
        self.last_heard
            .is_some_and(|heard| now.saturating_duration_since(heard) >= time)
    }

    /// The client restarted ICE: its next nomination counts at once.
    pub(crate) fn restart(&mut self) {
        self.restarted = true;
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.last_heard
            .is_none_or(|heard| now.saturating_duration_since(heard) >= QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    fn path(port: u16) -> Path {
        SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    #[test]
    fn media_follows_a_client_whose_nat_gave_it_another_port() {
        let t0 = some_moment();
        let mut paths = Paths::default();
        paths.checked(path(1), true, t0);
        paths.heard(&path(1), t0 + Duration::from_secs(5));

        let at = t0 + Duration::from_millis(5_600);
        assert!(paths.checked(path(2), true, at));
        assert_eq!(paths.current(), Some(path(2)));
    }

    #[test]
    fn two_live_paths_do_not_flap() {
        let t0 = some_moment();
        let mut paths = Paths::default();
        paths.checked(path(1), true, t0);
        for i in 1..50 {
            let at = t0 + Duration::from_millis(100 * i);
            paths.heard(&path(1), at);
            assert!(!paths.checked(path(2), true, at));
        }
    }

    #[test]
    fn a_check_that_does_not_nominate_moves_nothing() {
        let t0 = some_moment();
        let mut paths = Paths::default();
        paths.checked(path(1), true, t0);
        assert!(!paths.checked(path(2), false, t0 + Duration::from_secs(60)));
        assert!(paths.is_validated(&path(2)));
    }

    #[test]
    fn the_same_port_of_udp_and_of_tcp_are_two_ways() {
        let t0 = some_moment();
        let tcp = |connection| Path {
            transport: Transport::Tcp(connection),
            ..path(1)
        };
        let mut paths = Paths::default();
        paths.checked(tcp(7), true, t0);
        assert!(!paths.is_validated(&path(1)));
        assert!(!paths.is_validated(&tcp(8)));
        assert_eq!(paths.to(path(1).remote, false), None);
        assert_eq!(paths.to(path(1).remote, true), Some(tcp(7)));
        // UDP came back, and the connection is idle.
        assert!(paths.checked(path(1), true, t0 + QUIET));
        assert_eq!(paths.to(path(1).remote, true), Some(tcp(7)));
    }

    #[test]
    fn a_session_is_at_a_few_addresses_only() {
        let t0 = some_moment();
        let mut paths = Paths::default();
        for port in 1..=1000 {
            paths.checked(path(port), false, t0);
        }
        assert_eq!(paths.validated.len(), MAX_VALIDATED);
        assert!(paths.is_validated(&path(1000)));
        assert!(!paths.is_validated(&path(2)));
        assert!(paths.is_validated(&path(1)), "media goes there");
    }
}
