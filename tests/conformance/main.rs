//! What RFC 9725 (WHIP), draft-ietf-wish-whep-03 and our own promises ask for, row by row.
//!
//! Each test is named for its row in `docs/http.md`, and asks the whole server, with its
//! engines and its media socket, over real sockets on loopback.

mod limits;
mod offers;
mod peer;
mod revocation;
mod rooms;
mod server;
mod table;
mod tls;
mod tokens;
mod whep;
mod whep_events;
mod whip;
mod whip_http;
mod whip_session;
