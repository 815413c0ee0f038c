//! Moves datagrams: one UDP socket on one port carries the media of everybody, and one TCP port
//! that of the others.
//!
//! * [`MediaSocket`] is that socket; its [`Receiver`] takes datagrams in, in batches, and each
//!   [`Sender`] (one per thread that sends) gives them out, in batches.
//! * [`Streams`] and [`Connections`] carry the same datagrams over TCP, for those whose network
//!   lets no UDP out.
//! * [`StunResponder`] tells whoever asks the address that he asks from.
//! * [`Demux`] says whose a datagram is, by its ICE user fragment or by the [`AddressTable`].
//! * [`NetCounters`] counts what came, what went, and what was dropped for which reason.
//! * [`interfaces`] decides which addresses clients are told to send to.
//!
//! Nothing here has heard of rooms or sessions: whose a datagram is, is a key of any type.

pub mod addresses;
mod aside;
pub mod counters;
pub mod demux;
mod discover;
pub mod interfaces;
#[cfg(test)]
mod loopback_tests;
mod public;
mod rate;
mod receive;
mod send;
mod settings;
mod socket;
mod stun;
mod sys;
pub mod tcp;

pub use addresses::{AddressTable, Learned};
pub use counters::{DropReason, NetCounters, SendError};
pub use demux::{Demux, Recipient, Route, recipient};
pub use discover::{StunUrl, discover};
pub use public::is_public;
pub use rate::SourceRate;
pub use receive::{Received, Receiver, Stop, Stopper};
pub use send::{Outgoing, Sender};
pub use settings::{DEFAULT_PORT, Settings, TcpListen, public_for_tcp};
pub use socket::{BufferSizes, MediaSocket, listen};
pub use stun::{BindingRequest, StunResponder, StunServer};
pub use tcp::{ConnectionId, Connections, StreamLimits, Streams};

/// Gives memory that nobody uses any more back to the system. It takes some milliseconds, in which who
/// allocates may have to wait.
pub fn release_memory() {
    sys::release_memory();
}

/// What the process has allocated and not freed, in bytes, where the allocator tells.
#[must_use]
pub fn allocated_bytes() -> Option<u64> {
    sys::allocated_bytes()
}

/// A moment for tests to count from.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests have to start somewhere")]
fn some_moment() -> std::time::Instant {
    std::time::Instant::now()
}
