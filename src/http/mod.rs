//! The HTTP interface: doors, sessions, events, the web client's files and the operator's probes.
//!
//! `docs/http.md` is the contract. A request is checked here (names, types, sizes, rates),
//! becomes a [`Command`] for the engine that owns the room or
//! session, and the reply becomes a response. Nothing here knows RTP, and nothing here decides
//! about rooms. What rooms tell sessions comes back through the [`Hub`].

mod admission;
mod api;
mod assets;
mod auth;
mod body;
mod clock;
mod connection;
mod doors;
mod drain;
mod engines;
mod events;
mod hub;
mod idempotency;
mod insight;
mod limits;
mod memory;
mod messages;
mod newcomer;
mod observe;
mod openapi;
mod operator;
mod origin;
mod owned;
mod players;
mod precondition;
mod problem;
mod reader;
mod relays;
mod router;
mod server;
mod session;
mod settings;
mod spare;
mod tls;
pub mod untrusted;
mod watched;
mod whep;
mod wish;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::http::HeaderMap;

pub use auth::{
    AuthSettings, Grants, KeyError, MintError, Publish, Publishable, Secret, SecretError,
    TokenRequest,
};
pub use drain::Drained;
pub use engines::{CommandFuture, Engines, Refusal, TakeStream};
pub use hub::Hub;
pub use relays::{TurnSettings, TurnUrl, TurnUrlError};
pub use server::{OwnRelay, Server, StartError, check};
pub use settings::{PublicUrl, Ratio, Settings};
pub use tls::{AcmeSettings, TlsError, TlsSettings, certificate_end, certificate_is_for};

use crate::engine::command::{Command, Reply};
use crate::engine::ids::{RoomId, SessionId};
use crate::metrics::Metrics;
use crate::turn::Relay;
use admission::Admission;
use auth::{Auth, Pass, Permissions};
use body::BodyLimit;
use drain::Drain;
use idempotency::IdempotencyKeys;
use limits::Limits;
use players::Audiences;
use problem::Problem;

/// Longest wait for an engine's reply.
///
/// A command takes well under a millisecond; an engine that needs seconds is in trouble, and
/// a client with a 503 tries again while one without an answer waits.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// What every handler needs; one per server.
struct App {
    settings: Settings,
    auth: Auth,
    engines: Arc<dyn Engines>,
    hub: Arc<Hub>,
    limits: Limits,
    audiences: Audiences,
    idempotency: IdempotencyKeys,
    metrics: Arc<Metrics>,
    admission: Admission,
    started_at: Instant,
    /// Relays for clients that reach media no other way.
    relay: Option<Relay>,
    /// The server is going away: it takes no more sessions.
    drain: Drain,
}

impl App {
    fn new(
        settings: Settings,
        engines: Arc<dyn Engines>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        relay: Option<Relay>,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            auth: Auth::new(&settings.auth)?,
            limits: Limits::new(&settings),
            audiences: Audiences::default(),
            idempotency: IdempotencyKeys::new(settings.idempotency_keys),
            admission: Admission::new(settings.max_load, settings.max_memory),
            started_at: clock::now(),
            drain: Drain::default(),
            settings,
            engines,
            hub,
            metrics,
            relay,
        })
    }

    /// How large a request's body may be.
    fn body_limit(&self) -> BodyLimit {
        BodyLimit::of(&self.settings)
    }

    /// How large a room client's offer may be.
    fn offer_limit(&self) -> BodyLimit {
        BodyLimit::of_offer(&self.settings)
    }

    fn is_draining(&self) -> bool {
        self.drain.has_begun()
    }

    /// The session that a URL names, and the shard that owns it. What is not a session's id
    /// and what was never given out look alike.
    fn find(&self, id: &str) -> Result<(SessionId, usize), Problem> {
        let session: SessionId = id.parse().map_err(|_| Problem::no_such_session())?;
        let shard = self
            .hub
            .shard_of(session)
            .ok_or_else(Problem::no_such_session)?;
        Ok((session, shard))
    }

    /// What a request may do; `None` where nobody needs a token.
    fn pass(&self, headers: &HeaderMap) -> Result<Option<Pass>, Problem> {
        self.auth.pass(headers, clock::wall()).map_err(|refused| {
            self.metrics.count_auth_failure(refused.reason);
            refused.problem
        })
    }

    /// The session that a URL names, for somebody who may change it.
    fn find_for(&self, id: &str, headers: &HeaderMap) -> Result<(SessionId, usize), Problem> {
        let pass = self.pass(headers)?;
        let found = self.find(id)?;
        if let Some(pass) = pass {
            self.check_owner(found.0, &pass)?;
            self.hub.renew(found.0, &pass);
        }
        Ok(found)
    }

    /// Whether the bearer of a pass may act for the owner of a session.
    fn check_owner(&self, session: SessionId, pass: &Pass) -> Result<(), Problem> {
        let owner = self.hub.owner(session);
        let owner = owner.ok_or_else(Problem::no_such_session)?;
        pass.allows_session(&owner.room, &owner.identity)
    }

    /// Whether a request may administer a room.
    fn check_admin(&self, room: &RoomId, headers: &HeaderMap) -> Result<(), Problem> {
        match self.pass(headers)? {
            Some(pass) => pass.allows_administration(room),
            None => origin::check(&self.settings, headers),
        }
    }

    /// What a session may do.
    fn permissions(&self, session: SessionId) -> Permissions {
        let owner = self.hub.owner(session);
        owner.map_or_else(Permissions::all, |owner| Permissions::from(&owner.grants))
    }

    /// Ends sessions whose token has expired or was withdrawn, if that is wanted.
    async fn end_forfeited(&self, now: SystemTime) {
        if !self.auth.ends_sessions() {
            return;
        }
        let holds = |owner: &hub::Owner| self.auth.holds(owner.key, owner.expires_at, now);
        for (session, shard) in self.hub.forfeited(holds) {
            // Where the engine is too busy, the next round asks again.
            let _ = self.command(shard, Command::Expel { session }).await;
        }
    }

    /// Asks an engine, but not for longer than [`COMMAND_TIMEOUT`].
    async fn command(&self, shard: usize, command: Command) -> Result<Reply, Problem> {
        match tokio::time::timeout(COMMAND_TIMEOUT, self.engines.command(shard, command)).await {
            Ok(reply) => Ok(reply?),
            Err(_) => Err(Refusal::Busy.into()),
        }
    }

    /// The absolute or relative URL of a path of ours. Never built from what a client sent.
    fn url(&self, path: &str) -> String {
        match &self.settings.public_url {
            Some(base) => format!("{base}{path}"),
            None => path.to_owned(),
        }
    }
}

/// RFC 3986 §2.1: everything but what never needs it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
