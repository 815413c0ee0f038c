//! What the connections count.

use std::sync::atomic::{AtomicU64, Ordering};

use super::pipe::Written;

/// Why a connection ended, or never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it, or the network did.
    ByPeer,
    /// No authenticated check came: in time after its begin, or for so long that the client
    /// counts as gone (RFC 7675).
    Unchecked,
    /// It brought something that is not framed (RFC 4571).
    Unframed,
    /// There were too many already.
    TooMany,
    /// There were too many from its address already.
    TooManyOfAddress,
}

impl CloseReason {
    /// Every reason there is, so that each is exported from the start.
    pub const ALL: [CloseReason; 5] = [
        CloseReason::ByPeer,
        CloseReason::Unchecked,
        CloseReason::Unframed,
        CloseReason::TooMany,
        CloseReason::TooManyOfAddress,
    ];

    /// The label that metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            CloseReason::ByPeer => "by_peer",
            CloseReason::Unchecked => "unchecked",
            CloseReason::Unframed => "unframed",
            CloseReason::TooMany => "too_many",
            CloseReason::TooManyOfAddress => "too_many_of_address",
        }
    }
}

/// What all connections together have counted. Shared by the threads that use them.
#[derive(Debug, Default)]
pub struct TcpCounters {
    accepted: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    receive_calls: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    send_calls: AtomicU64,
    dropped_slow: AtomicU64,
    dropped_gone: AtomicU64,
}

impl TcpCounters {
    /// Connections that were accepted, or taken over from HTTPS.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize].load(Ordering::Relaxed)
    }

    /// Datagrams that were received in connections.
    pub fn frames_in(&self) -> u64 {
        self.frames_in.load(Ordering::Relaxed)
    }

    /// Bytes that were received, framing included.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// System calls that received something.
    pub fn receive_calls(&self) -> u64 {
        self.receive_calls.load(Ordering::Relaxed)
    }

    /// Datagrams that connections took.
    pub fn frames_out(&self) -> u64 {
        self.frames_out.load(Ordering::Relaxed)
    }

    /// Bytes that connections took, framing included.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// System calls that sent something, or found no room.
    pub fn send_calls(&self) -> u64 {
        self.send_calls.load(Ordering::Relaxed)
    }

    /// Datagrams thrown away because their receiver is too slow.
    pub fn dropped_slow(&self) -> u64 {
        self.dropped_slow.load(Ordering::Relaxed)
    }

    /// Datagrams thrown away because their connection has ended.
    pub fn dropped_gone(&self) -> u64 {
        self.dropped_gone.load(Ordering::Relaxed)
    }

    pub(super) fn add_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_closed(&self, reason: CloseReason) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_received(&self, frames: u64, bytes: u64) {
        self.receive_calls.fetch_add(1, Ordering::Relaxed);
        self.frames_in.fetch_add(frames, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, written: &Written) {
        self.send_calls.fetch_add(written.calls, Ordering::Relaxed);
        self.frames_out.fetch_add(written.frames, Ordering::Relaxed);
        self.bytes_out.fetch_add(written.bytes, Ordering::Relaxed);
        self.dropped_slow
            .fetch_add(written.dropped, Ordering::Relaxed);
    }

    pub(super) fn add_gone(&self, frames: u64) {
        self.dropped_gone.fetch_add(frames, Ordering::Relaxed);
    }
}
