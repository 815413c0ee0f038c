//! ICE over TCP (RFC 6544), for clients whose network lets no UDP out: one port, to which they
//! connect and where each datagram comes behind its length (RFC 4571).
//!
//! * [`Streams`] waits for all connections at once, in one thread, and hands on what they bring.
//! * [`Connections`] is how everybody else sends to them. A sender writes itself, straight into
//!   the connection; what does not fit waits in a bounded [`pipe`], which the thread of
//!   [`Streams`] empties when there is room.

mod connections;
pub mod counters;
mod framing;
mod pipe;
mod streams;
#[cfg(test)]
mod tests;

pub use connections::Connections;
pub use counters::{CloseReason, TcpCounters};
pub use framing::{Reassembler, Unframed};
pub use streams::{StreamLimits, Streams, StreamsStopper};

/// A connection, for as long as the process lives: no two have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);
