//! The HTTP interface: doors, sessions, events, the web client's files and the operator's probes.
//!
//! `docs/http.md` is the contract. A request is checked here (names, types, sizes, rates),
//! becomes a [`Command`] for the engine that owns the room or
//! session, and the reply becomes a response. Nothing here knows RTP, and nothing here decides
//! about rooms. What rooms tell sessions comes back through the [`Hub`].

mod assets;
mod body;
mod clock;
mod doors;
mod engines;
mod events;
mod hub;
mod limits;
mod observe;
mod operator;
mod precondition;
mod problem;
mod router;
mod server;
mod session;
mod settings;
mod wish;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use engines::{CommandFuture, Engines, Refusal};
pub use hub::Hub;
pub use server::{Server, StartError};
pub use settings::{PublicUrl, Settings};

use crate::engine::command::{Command, Reply};
use crate::engine::ids::SessionId;
use crate::metrics::Metrics;
use limits::Limits;
use problem::Problem;

/// Longest wait for an engine's reply.
///
/// A command takes well under a millisecond; an engine that needs seconds is in trouble, and
/// a client with a 503 tries again while one without an answer waits.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// What every handler needs; one per server.
struct App {
    settings: Settings,
    engines: Arc<dyn Engines>,
    hub: Arc<Hub>,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// The server is going away: it takes no more sessions.
    draining: AtomicBool,
}

impl App {
    fn new(
        settings: Settings,
        engines: Arc<dyn Engines>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            limits: Limits::new(&settings),
            draining: AtomicBool::new(false),
            settings,
            engines,
            hub,
            metrics,
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
