//! A relay for those who reach media no other way: TURN (RFC 8656) over UDP, TCP and TLS.
//!
//! * [`Relay`] serves clients; [`Listening`] is where they come to.
//! * [`Guests`] are those who may ask: a session's client, as long as the session lasts.
//! * `client` is one client, without sockets: the library's protocol, and what is allowed of it.
//! * `peers` says whom clients reach: this server's media, and others only where that is wanted.
//! * `serve` gives a client its sockets and its time.
//!
//! Whatever is relayed is encrypted between client and media, and nothing of it is looked at.

mod client;
mod counters;
mod framing;
mod guests;
mod peers;
mod quota;
mod serve;
mod server;
mod settings;
mod strangers;
#[cfg(test)]
mod tests;

pub use counters::{Counters, Refusal, Transport};
pub use guests::{Guest, Guests, password};
pub use server::{Listening, Relay, Running, Setup};
pub use settings::Settings;
