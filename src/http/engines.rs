//! The engines as HTTP sees them: something that takes commands.

use std::future::Future;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::hub::Hub;
use crate::engine::command::{Command, CommandError, Reply};
use crate::engine::event::SessionEvent;
use crate::engine::ids::RoomId;
use crate::shard::{EventSink, ShardError, ShardHandle, Shards};

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

    /// How long a shard's thread has been awake since it started.
    fn awake(&self, shard: usize) -> Duration;

    /// What became of the datagrams that came for a shard.
    fn handled(&self, _: usize) -> Handled {
        Handled::default()
    }

    /// Gives memory that sessions have left behind back to the system. Takes milliseconds.
    fn release_memory(&self) {}

    /// What the process has allocated and not freed, in bytes, where that can be found out.
    fn allocated_bytes(&self) -> Option<u64> {
        None
    }

    /// Hands a command to one engine. Must not block.
    fn command(&self, shard: usize, command: Command) -> CommandFuture<'_>;

    /// What takes connections that came to the HTTP port and carry media; `None` if nobody does.
    fn streams(&self) -> Option<TakeStream> {
        None
    }
}

/// Datagrams since the server started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handled {
    /// All that came.
    pub all: u64,
    /// Those of them that left late, or were lost as nobody took them in.
    pub late: u64,
}

/// What is late: a conversation suffers by a tenth of a second more.
const LATE: Duration = Duration::from_millis(100);

/// Takes a connection over (RFC 6544), without a byte of it having been read.
pub type TakeStream = Arc<dyn Fn(TcpStream) + Send + Sync>;

impl Engines for Shards {
    fn count(&self) -> usize {
        self.all().len()
    }

    fn home(&self, room: &RoomId) -> usize {
        usize::from(Shards::home(self, room).index())
    }

    fn awake(&self, shard: usize) -> Duration {
        let load = self.all().get(shard).map(ShardHandle::load);
        load.map_or(Duration::ZERO, |load| load.busy)
    }

    fn handled(&self, shard: usize) -> Handled {
        let turnaround = self.all().get(shard).map(|shard| shard.load().turnaround);
        let turnaround = turnaround.unwrap_or_default();
        let lost = self.not_taken_in();
        Handled {
            all: turnaround.count() + lost,
            late: turnaround.count_over(LATE) + lost,
        }
    }

    fn allocated_bytes(&self) -> Option<u64> {
        Shards::allocated_bytes(self)
    }

    fn release_memory(&self) {
        Shards::release_memory(self);
    }

    fn command(&self, shard: usize, command: Command) -> CommandFuture<'_> {
        Box::pin(async move {
            let shard = self.all().get(shard).ok_or(Refusal::Gone)?;
            Ok(shard.command(command).await?)
        })
    }

    fn streams(&self) -> Option<TakeStream> {
        let connections = self.shared_connections()?.clone();
        Some(Arc::new(move |stream| connections.take_over(stream)))
    }
}

impl From<ShardError> for Refusal {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::Refused(error) => Self::Command(error),
            ShardError::Overloaded => Self::Busy,
            ShardError::Stopped => Self::Gone,
        }
    }
}

impl EventSink for Hub {
    fn publish(&self, event: SessionEvent) {
        Hub::publish(self, event);
    }
}
