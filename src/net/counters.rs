//! What the socket counts: numbers that only grow, which `metrics` names and exports.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a datagram was thrown away before any session saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Neither STUN nor from an address that a session has.
    UnknownAddress,
    /// A STUN request whose user fragment names nobody.
    UnknownUfrag,
    /// Looks like STUN, but its header or attributes contradict themselves.
    MalformedStun,
    /// None of STUN, DTLS, RTP and RTCP (RFC 7983 §7).
    Unrecognized,
    /// A datagram without contents.
    Empty,
    /// A question for the STUN server, beyond the rate that its source may ask at.
    StunRate,
    /// The shard that it is for has more waiting than it may have.
    ShardQueueFull,
}

impl DropReason {
    /// Every reason there is, so that each is exported from the start.
    pub const ALL: [DropReason; 7] = [
        DropReason::UnknownAddress,
        DropReason::UnknownUfrag,
        DropReason::MalformedStun,
        DropReason::Unrecognized,
        DropReason::Empty,
        DropReason::StunRate,
        DropReason::ShardQueueFull,
    ];

    /// The label that metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::UnknownAddress => "unknown_address",
            DropReason::UnknownUfrag => "unknown_ufrag",
            DropReason::MalformedStun => "malformed_stun",
            DropReason::Unrecognized => "unrecognized",
            DropReason::Empty => "empty",
            DropReason::StunRate => "stun_rate",
            DropReason::ShardQueueFull => "shard_queue_full",
        }
    }
}

/// Why a send failed. None of these is the socket's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The send buffer stayed full (`EAGAIN`): the link is slower than what is sent.
    WouldBlock,
    /// The kernel or the network card had no room (`ENOBUFS`, `ENOMEM`).
    NoBuffers,
    /// A firewall rule of this machine forbids it (`EPERM`, `EACCES`).
    Forbidden,
    /// No way there, or the peer's machine refused (`ENETUNREACH`, `ECONNREFUSED`, ...).
    Unreachable,
    /// Larger than the interface carries (`EMSGSIZE`).
    TooBig,
    /// Anything else.
    Other,
}

impl SendError {
    /// Every kind there is, so that each is exported from the start.
    pub const ALL: [SendError; 6] = [
        SendError::WouldBlock,
        SendError::NoBuffers,
        SendError::Forbidden,
        SendError::Unreachable,
        SendError::TooBig,
        SendError::Other,
    ];

    /// The label that metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            SendError::WouldBlock => "would_block",
            SendError::NoBuffers => "no_buffers",
            SendError::Forbidden => "forbidden",
            SendError::Unreachable => "unreachable",
            SendError::TooBig => "too_big",
            SendError::Other => "other",
        }
    }
}

/// What one socket has counted. Shared by the threads that use it.
///
/// Threads add once per batch, so that they rarely meet on the same cache line.
#[derive(Debug, Default)]
pub struct NetCounters {
    datagrams_in: AtomicU64,
    bytes_in: AtomicU64,
    receive_calls: AtomicU64,
    datagrams_out: AtomicU64,
    bytes_out: AtomicU64,
    send_calls: AtomicU64,
    stun_answers: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
    send_errors: [AtomicU64; SendError::ALL.len()],
    receive_errors: AtomicU64,
}

impl NetCounters {
    /// Datagrams that were received, dropped ones included.
    pub fn datagrams_in(&self) -> u64 {
        self.datagrams_in.load(Ordering::Relaxed)
    }

    /// Their UDP payload, in bytes.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// System calls that received at least one datagram: one per batch.
    pub fn receive_calls(&self) -> u64 {
        self.receive_calls.load(Ordering::Relaxed)
    }

    /// System calls that should have received and failed; the socket goes on.
    pub fn receive_errors(&self) -> u64 {
        self.receive_errors.load(Ordering::Relaxed)
    }

    /// Datagrams that the kernel took.
    pub fn datagrams_out(&self) -> u64 {
        self.datagrams_out.load(Ordering::Relaxed)
    }

    /// Their UDP payload, in bytes.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// System calls that sent something.
    pub fn send_calls(&self) -> u64 {
        self.send_calls.load(Ordering::Relaxed)
    }

    /// Questions that the STUN server answered.
    pub fn stun_answers(&self) -> u64 {
        self.stun_answers.load(Ordering::Relaxed)
    }

    /// Datagrams thrown away for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    /// Datagrams that were not sent, by kind of failure.
    pub fn send_errors(&self, kind: SendError) -> u64 {
        self.send_errors[kind as usize].load(Ordering::Relaxed)
    }

    /// Counts datagrams thrown away.
    pub fn add_drops(&self, reason: DropReason, datagrams: u64) {
        self.drops[reason as usize].fetch_add(datagrams, Ordering::Relaxed);
    }

    /// Counts answers of the STUN server.
    pub fn add_stun_answers(&self, answers: u64) {
        self.stun_answers.fetch_add(answers, Ordering::Relaxed);
    }

    pub(super) fn add_received(&self, datagrams: u64, bytes: u64) {
        self.receive_calls.fetch_add(1, Ordering::Relaxed);
        self.datagrams_in.fetch_add(datagrams, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_receive_error(&self) {
        self.receive_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_sent(&self, datagrams: u64, bytes: u64) {
        self.send_calls.fetch_add(1, Ordering::Relaxed);
        self.datagrams_out.fetch_add(datagrams, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_send_errors(&self, kind: SendError, datagrams: u64) {
        self.send_errors[kind as usize].fetch_add(datagrams, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let counters = NetCounters::default();
        for (n, reason) in (1..).zip(DropReason::ALL) {
            counters.add_drops(reason, n);
        }
        for (n, kind) in (1..).zip(SendError::ALL) {
            counters.add_send_errors(kind, n);
        }
        for (n, reason) in (1..).zip(DropReason::ALL) {
            assert_eq!(counters.drops(reason), n, "{}", reason.label());
        }
        for (n, kind) in (1..).zip(SendError::ALL) {
            assert_eq!(counters.send_errors(kind), n, "{}", kind.label());
        }
    }
}
