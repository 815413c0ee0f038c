//! What the relay counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request was refused, or a datagram went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The credentials are unknown, have ended or do not fit.
    Unauthorized,
    /// The participant has as many allocations as he may have.
    ParticipantQuota,
    /// There are as many allocations as there may be.
    Quota,
    /// The peer is not one to be reached.
    Peer,
    /// An allocation reaches as many peers as it may.
    TooManyPeers,
    /// TCP or something else was to be relayed (RFC 6062).
    Transport,
    /// It is no TURN message.
    Malformed,
    /// Strangers ask too often.
    Rate,
    /// There are too many connections.
    TooManyConnections,
    /// The client does not take what is relayed to it.
    SlowClient,
}

impl Refusal {
    /// Every reason there is, so that each is exported from the start.
    pub const ALL: [Refusal; 10] = [
        Refusal::Unauthorized,
        Refusal::ParticipantQuota,
        Refusal::Quota,
        Refusal::Peer,
        Refusal::TooManyPeers,
        Refusal::Transport,
        Refusal::Malformed,
        Refusal::Rate,
        Refusal::TooManyConnections,
        Refusal::SlowClient,
    ];

    /// The label that metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Unauthorized => "unauthorized",
            Refusal::ParticipantQuota => "participant_quota",
            Refusal::Quota => "quota",
            Refusal::Peer => "peer",
            Refusal::TooManyPeers => "too_many_peers",
            Refusal::Transport => "transport",
            Refusal::Malformed => "malformed",
            Refusal::Rate => "rate",
            Refusal::TooManyConnections => "too_many_connections",
            Refusal::SlowClient => "slow_client",
        }
    }
}

/// How a client speaks with the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection in the clear.
    Tcp,
    /// An encrypted connection.
    Tls,
}

impl Transport {
    /// Every way there is.
    pub const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

    /// The label that metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// What all clients together have counted. Shared by the threads that serve them.
#[derive(Debug, Default)]
pub struct Counters {
    allocations: AtomicU64,
    made: [AtomicU64; Transport::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    datagrams_in: AtomicU64,
    bytes_in: AtomicU64,
    datagrams_out: AtomicU64,
    bytes_out: AtomicU64,
}

impl Counters {
    /// Clients with an allocation (gauge).
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Allocations that were made for clients that speak so.
    pub fn made(&self, transport: Transport) -> u64 {
        self.made[transport as usize].load(Ordering::Relaxed)
    }

    /// Requests and datagrams that were refused for this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// Datagrams relayed from clients to peers, and their bytes.
    pub fn relayed_in(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.datagrams_in), read(&self.bytes_in))
    }

    /// Datagrams relayed from peers to clients, and their bytes.
    pub fn relayed_out(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.datagrams_out), read(&self.bytes_out))
    }

    pub(super) fn set_allocations(&self, clients: u32) {
        self.allocations.store(clients.into(), Ordering::Relaxed);
    }

    pub(super) fn add_made(&self, transport: Transport) {
        self.made[transport as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_refused(&self, reason: Refusal) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_in(&self, bytes: usize) {
        self.datagrams_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_out(&self, bytes: usize) {
        self.datagrams_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
