//! The connections that are open, as those see them who send.

use std::hash::RandomState;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use mio::Waker;
use mio::net::TcpStream;

use super::ConnectionId;
use super::counters::TcpCounters;
use super::pipe::Pipe;

/// Connections that wait to be taken over from the HTTPS listener: as long as a backlog.
const MAX_HANDED_OVER: usize = 128;

/// One client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pipe: Mutex<Pipe>,
    since: Instant,
    /// When its client last proved who it is, in milliseconds since its begin; zero is never.
    checked_ms: AtomicU64,
}

impl Connection {
    /// When its client last proved who it is.
    pub(super) fn last_check(&self) -> Option<Instant> {
        let ms = self.checked_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| self.since + Duration::from_millis(ms))
    }

    /// Sends what waits, as much as the connection takes.
    pub(super) fn flush(&self, counters: &TcpCounters) -> io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if !pipe.is_empty() {
            counters.add_written(&pipe.flush(&mut &self.stream)?);
        }
        Ok(())
    }
}

/// All open connections. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    open: DashMap<ConnectionId, Arc<Connection>, RandomState>,
    counters: TcpCounters,
    handed_over: SyncSender<std::net::TcpStream>,
    waker: Arc<Waker>,
}

impl Connections {
    /// None yet; and where those come out that are handed over.
    pub(super) fn new(waker: Arc<Waker>) -> (Self, Receiver<std::net::TcpStream>) {
        let (handed_over, taken_over) = mpsc::sync_channel(MAX_HANDED_OVER);
        let shared = Shared {
            open: DashMap::default(),
            counters: TcpCounters::default(),
            handed_over,
            waker,
        };
        let shared = Arc::new(shared);
        (Self { shared }, taken_over)
    }

    /// What was counted.
    pub fn counters(&self) -> &TcpCounters {
        &self.shared.counters
    }

    /// How many there are (gauge).
    pub fn len(&self) -> usize {
        self.shared.open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shared.open.is_empty()
    }

    /// Takes a connection over that came to another port and begins with a frame. If too many
    /// wait, or nobody serves them any more, it is closed.
    pub fn take_over(&self, stream: std::net::TcpStream) {
        if self.shared.handed_over.try_send(stream).is_ok()
            && let Err(error) = self.shared.waker.wake()
        {
            tracing::warn!(%error, "a connection waits until another one comes");
        }
    }

    /// The client in this connection proved who it is.
    pub fn checked(&self, connection: ConnectionId, now: Instant) {
        if let Some(connection) = self.shared.open.get(&connection) {
            let age = now.saturating_duration_since(connection.since);
            // Never zero, and far from the end of the number.
            let age_ms = age.as_millis() as u64 + 1;
            connection.checked_ms.store(age_ms, Ordering::Relaxed);
        }
    }

    /// Sends datagrams in a connection; what it does not take now leaves later, or never.
    pub(in crate::net) fn send(&self, connection: ConnectionId, datagrams: &[&[u8]]) {
        let counters = &self.shared.counters;
        // Cloned: nobody waits for a place in the table while the kernel copies.
        let open = self.shared.open.get(&connection).map(|open| open.clone());
        let Some(open) = open else {
            return counters.add_gone(datagrams.len() as u64);
        };
        let mut pipe = open.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        match pipe.send(&mut &open.stream, datagrams) {
            Ok(written) => counters.add_written(&written),
            // Whoever reads from it sees that, too, and closes it.
            Err(error) => {
                tracing::trace!(%error, peer = %open.peer, "connection");
                counters.add_gone(datagrams.len() as u64);
            }
        }
    }

    pub(super) fn insert(
        &self,
        id: ConnectionId,
        stream: TcpStream,
        peer: SocketAddr,
        now: Instant,
    ) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            stream,
            peer,
            pipe: Mutex::default(),
            since: now,
            checked_ms: AtomicU64::new(0),
        });
        self.shared.counters.add_accepted();
        self.shared.open.insert(id, connection.clone());
        connection
    }

    pub(super) fn remove(&self, id: ConnectionId) {
        if let Some((_, connection)) = self.shared.open.remove(&id) {
            // A shard may hold it for a moment longer; the client hears of the end now.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }
}
