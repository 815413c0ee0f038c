//! The engines as HTTP sees them: something that takes commands.

use std::future::Future;
use std::pin::Pin;

use thiserror::Error;

use crate::engine::command::{Command, CommandError, Reply};
use crate::engine::ids::RoomId;

/// A reply on its way.
pub type CommandFuture<'a> = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send + 'a>>;

/// Why a command brought no reply.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// The engine said no.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Its queue is full, or it did not answer in time.
    #[error("the server is busy")]
    Busy,
    /// Its thread has ended.
    #[error("the server is going away")]
    Gone,
}

/// Every shard's engine, addressed by the shard's number.
pub trait Engines: Send + Sync + 'static {
    /// How many there are; their numbers run from 0.
    fn count(&self) -> usize;

    /// The shard that a room lives on. The same for a room's life.
    fn home(&self, room: &RoomId) -> usize;

    /// Hands a command to one engine. Must not block.
    fn command(&self, shard: usize, command: Command) -> CommandFuture<'_>;
}
