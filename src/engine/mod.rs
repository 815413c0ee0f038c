//! The core: rooms, sessions and the forwarding between them, without I/O.
//!
//! An [`Engine`] is a value. It is handed what arrived and what time it is, and says what to
//! send and when to wake it. It never waits, locks, spawns or looks at a clock, so that an
//! hour of conference is a test of seconds, and a failure is a seed.
//!
//! The methods come in kinds, to be called in this order:
//! * `handle_*` take something in: a datagram, a command, the passing of time;
//! * [`Engine::flush`] seals everything that is queued for subscribers into datagrams;
//! * `poll_*` give something out, and are called until they return `None`.

pub mod codec;
pub mod command;
pub mod counters;
pub mod dtls;
pub mod event;
pub mod ids;
pub mod sdp;
pub mod srtp;
pub mod ufrag;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// Which session on which shard a datagram is for, as its address or user fragment told.
///
/// Small and guessable: it routes, it authorizes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The shard that owns it.
    pub shard: u16,
    /// Its place in that shard's table.
    pub index: u32,
    /// Told apart from former sessions in the same place.
    pub generation: u32,
}

/// A datagram from the socket.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who it is for.
    pub session: SessionKey,
    /// Where it came from.
    pub source: SocketAddr,
    /// The local address that it was sent to, where the socket tells.
    pub local_ip: Option<IpAddr>,
    /// What it says.
    pub contents: &'a [u8],
}

/// Datagrams to one destination, to be sent at once.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub destination: SocketAddr,
    /// The local address to send from, so that replies come from where requests went.
    pub local_ip: Option<IpAddr>,
    /// One datagram, or several of [`Self::segment_size`] bytes each (the last may be shorter).
    pub contents: &'a [u8],
    /// The size of each datagram in [`Self::contents`] where there is more than one.
    pub segment_size: Option<usize>,
}

/// An address that a session has, or no longer has, for the demultiplexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressChange {
    /// An authenticated ICE check of this session came from this address.
    Learned(SessionKey, SocketAddr),
    /// The session is gone.
    Forgotten(SessionKey),
}
