//! Threads: each shard is one thread around one engine, and one more thread receives for all.
//!
//! The receiving thread asks the [`Demux`] whose each datagram is, and hands
//! all that one system call brought for one shard over at once. A shard takes in what waits,
//! lets the engine seal what is to leave, and gives it out through a sender of its own. HTTP
//! reaches an engine through its [`ShardHandle`]; what rooms tell their sessions goes the other
//! way, into an [`EventSink`]. Every queue in between is bounded, and whoever finds one full is
//! told so or counts what it threw away.

mod batch;
mod clock;
mod inbound;
mod load;
mod relay;
mod settings;
mod stun;
#[cfg(test)]
mod tests;
mod worker;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use crossbeam_utils::sync::{Parker, Unparker};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::engine::command::{Command, CommandError, Reply};
use crate::engine::event::SessionEvent;
use crate::engine::ids::RoomId;
use crate::engine::notice::Notice;
use crate::engine::ufrag::session_of_ufrag;
use crate::engine::{Certificate, Engine, EngineConfig, Limits, SessionKey};
use crate::net::tcp::StreamsStopper;
use crate::net::{
    self, AddressTable, Connections, Demux, MediaSocket, NetCounters, Stop, Stopper, Streams,
    StunResponder, StunServer,
};
use batch::Batch;
use inbound::{Inbound, Outlet};
pub use load::Load;
use relay::Relays;
pub use settings::Settings;
use worker::{Mail, Wiring, Worker};

/// Commands that wait for one shard.
///
/// At about a millisecond each (a join, the dearest), the last of them waits a quarter of a
/// second. More would only be answered too late; fewer would turn away an ordinary rush.
const MAILBOX_COMMANDS: usize = 256;

/// Batches of datagrams that wait for one shard.
///
/// Where datagrams come one by one, this is 100 ms of ten thousand a second; where they come in
/// full batches, it is 32 MiB.
const QUEUED_BATCHES: usize = 1024;

/// Buffers of handled batches that are kept for the next ones: 2 MiB a shard.
const RECYCLED_BATCHES: usize = 64;

/// Where what rooms tell their sessions goes to.
pub trait EventSink: Send + Sync {
    /// Takes one event. Called on a shard's thread, with media waiting: must not block.
    fn publish(&self, event: SessionEvent);

    /// Takes what the world outside may hear, in the same place; by default nobody does.
    fn announce(&self, notice: Notice) {
        drop(notice);
    }
}

/// Why a command was not carried out.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ShardError {
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// Too many commands wait already.
    #[error("the server is busy")]
    Overloaded,
    /// The shard has stopped.
    #[error("the server is stopping")]
    Stopped,
}

/// How the shards are to be.
#[derive(Clone, Debug)]
pub struct ShardsConfig {
    /// How many.
    pub shards: NonZeroU16,
    /// The addresses that every answer tells clients to send to.
    pub advertised: Vec<SocketAddr>,
    /// Those that it tells them to connect to with TCP, if UDP does not get through.
    pub advertised_tcp: Vec<SocketAddr>,
    /// What one engine takes.
    pub limits: Limits,
}

/// Everything that datagrams come by.
pub struct Sockets {
    /// The media of all who can send UDP.
    pub media: MediaSocket,
    /// The TCP connections of those who cannot.
    pub streams: Option<Streams<SessionKey>>,
    /// Whether connections that came to the HTTP port belong to [`Self::streams`] where they begin
    /// like one.
    pub shares_http: bool,
    /// A socket of its own for questions to the STUN server, besides those that come to media.
    pub stun: Option<MediaSocket>,
}

impl From<MediaSocket> for Sockets {
    fn from(media: MediaSocket) -> Self {
        Self {
            media,
            streams: None,
            shares_http: false,
            stun: None,
        }
    }
}

/// All shards of this process. Clones are the same shards.
#[derive(Clone)]
pub struct Shards {
    inner: Arc<Inner>,
}

struct Inner {
    handles: Vec<ShardHandle>,
    /// Clients choose the names of rooms: a fixed hash would let them fill one shard.
    home_hash: RandomState,
    socket: MediaSocket,
    connections: Option<Connections>,
    shares_http: bool,
    running: Mutex<Option<Running>>,
}

/// What has to be stopped, once.
struct Running {
    shards: Vec<JoinHandle<()>>,
    receiving: Vec<JoinHandle<()>>,
    stoppers: (Vec<Stopper>, Option<StreamsStopper>),
}

/// One shard, as others see it.
pub struct ShardHandle {
    index: u16,
    mailbox: Sender<Mail>,
    datagrams: Sender<Batch>,
    load: Arc<Mutex<Load>>,
    // Last: who finds the queues closed has been woken after that.
    waker: Waker,
}

/// Wakes a shard's thread, the last time when it is dropped.
struct Waker(Unparker);

impl Drop for Waker {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

impl Shards {
    /// Starts the shards' threads and the receiving ones.
    pub fn start(
        config: &ShardsConfig,
        sockets: impl Into<Sockets>,
        certificate: &Certificate,
        events: &Arc<dyn EventSink>,
    ) -> io::Result<Self> {
        let sockets = sockets.into();
        let addresses = Arc::new(AddressTable::new(clock::now()));
        let connections = sockets.streams.as_ref().map(Streams::connections);
        let parkers: Vec<_> = (0..config.shards.get()).map(|_| Parker::new()).collect();
        let wakers: Vec<_> = parkers.iter().map(|each| each.unparker().clone()).collect();
        let mut relays = Relays::between(&wakers);
        let (mut handles, mut outlets, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for (index, parker) in (0..config.shards.get()).zip(parkers) {
            let waker = parker.unparker().clone();
            let engine = engine(config, index, certificate)?;
            let (mailbox, mail) = crossbeam_channel::bounded(MAILBOX_COMMANDS);
            let (batches, datagrams) = crossbeam_channel::bounded(QUEUED_BATCHES);
            let (recycle, recycled) = crossbeam_channel::bounded(RECYCLED_BATCHES);
            let load = Arc::<Mutex<Load>>::default();
            let wiring = Wiring {
                parker,
                mailbox: mail,
                datagrams,
                recycle,
                sender: sender(&sockets.media, connections.as_ref())?,
                addresses: addresses.clone(),
                connections: connections.clone(),
                events: events.clone(),
                load: load.clone(),
                relays: relays.remove(0),
            };
            let worker = Worker::new(engine, wiring);
            threads.push(spawn(format!("shard-{index}"), move || worker.run())?);
            outlets.push((batches.clone(), waker.clone(), recycled));
            handles.push(ShardHandle {
                index,
                mailbox,
                datagrams: batches,
                load,
                waker: Waker(waker),
            });
        }
        let demux = Arc::new(Demux::new(addresses, session_of_ufrag));
        let (socket, shares_http) = (sockets.media, sockets.shares_http);
        let running = receive(&socket, sockets.streams, sockets.stun, &demux, &outlets)?;
        Ok(Self {
            inner: Arc::new(Inner {
                handles,
                home_hash: RandomState::new(),
                socket,
                connections,
                shares_http,
                running: Mutex::new(Some(Running {
                    shards: threads,
                    ..running
                })),
            }),
        })
    }

    /// Gives memory that sessions have left behind back to the system.
    pub fn release_memory(&self) {
        net::release_memory();
    }

    /// What the process has allocated and not freed, in bytes, where that can be found out.
    pub fn allocated_bytes(&self) -> Option<u64> {
        net::allocated_bytes()
    }

    /// The shard that a room lives on, as long as this process does.
    pub fn home(&self, room: &RoomId) -> &ShardHandle {
        let shards = self.inner.handles.len() as u64;
        &self.inner.handles[(self.inner.home_hash.hash_one(room) % shards) as usize]
    }

    /// A shard by its number.
    pub fn by_index(&self, index: u16) -> Option<&ShardHandle> {
        self.inner.handles.get(usize::from(index))
    }

    /// All shards, in the order of their numbers.
    pub fn all(&self) -> &[ShardHandle] {
        &self.inner.handles
    }

    /// The socket, for its address and what it has counted.
    pub fn socket(&self) -> &MediaSocket {
        &self.inner.socket
    }

    /// Datagrams that came and were lost before a shard saw them. Whose they were, nobody knows.
    pub fn not_taken_in(&self) -> u64 {
        let socket = self.socket();
        let full = socket.counters().drops(net::DropReason::ShardQueueFull);
        socket.kernel_drops().unwrap_or(0) + full
    }

    /// The TCP connections, where there can be any.
    pub fn connections(&self) -> Option<&Connections> {
        self.inner.connections.as_ref()
    }

    /// The same, if they also come to the HTTP port.
    pub fn shared_connections(&self) -> Option<&Connections> {
        self.connections().filter(|_| self.inner.shares_http)
    }

    /// Tells and ends every session, and waits until all that is left to say was sent, but not
    /// longer than `patience`. Blocks. Later calls do nothing.
    pub fn shutdown(&self, patience: Duration) {
        let running = self
            .inner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Running {
            shards,
            receiving,
            stoppers,
        }) = running
        else {
            return;
        };
        let deadline = clock::now() + patience;
        for handle in &self.inner.handles {
            // Waits behind commands, if need be; a shard that does not read any more is given up.
            if handle
                .mailbox
                .send_deadline(Mail::Stop { deadline }, deadline)
                .is_err()
            {
                tracing::warn!(shard = handle.index, "shard does not take the word to stop");
            }
            handle.waker.0.unpark();
        }
        for shard in shards {
            shard.join().expect("a panicking shard ends the process");
        }
        drop(stoppers);
        for thread in receiving {
            thread
                .join()
                .expect("a panicking receiving thread ends the process");
        }
    }
}

impl ShardHandle {
    /// Its number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Hands a command to the engine and waits for its reply; does not wait for a place in
    /// the queue.
    pub async fn command(&self, command: Command) -> Result<Reply, ShardError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox
            .try_send(Mail::Command { command, reply })
            .map_err(|error| match error {
                TrySendError::Full(_) => ShardError::Overloaded,
                TrySendError::Disconnected(_) => ShardError::Stopped,
            })?;
        self.waker.0.unpark();
        Ok(answer.await.map_err(|_| ShardError::Stopped)??)
    }

    /// How busy its thread has been.
    pub fn load(&self) -> Load {
        self.load
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Commands that wait now (gauge).
    pub fn queued_commands(&self) -> usize {
        self.mailbox.len()
    }

    /// Batches of datagrams that wait now (gauge).
    pub fn queued_batches(&self) -> usize {
        self.datagrams.len()
    }
}

/// Starts the threads that receive.
fn receive(
    media: &MediaSocket,
    streams: Option<Streams<SessionKey>>,
    stun: Option<MediaSocket>,
    demux: &Arc<Demux<SessionKey>>,
    outlets: &[(Sender<Batch>, Unparker, Receiver<Batch>)],
) -> io::Result<Running> {
    let inbound = || {
        let outlets = outlets.iter().cloned();
        let outlets = outlets.map(|(queue, waker, recycled)| Outlet::new(queue, waker, recycled));
        Inbound::new(demux.clone(), outlets.collect(), media.counters().clone())
    };
    let (mut threads, mut stoppers) = (Vec::new(), Vec::new());
    let (udp, responder) = (inbound(), responder_of(media, media.counters())?);
    let (stopper, stop) = Stop::pair()?;
    let receiver = media.receiver(stop)?;
    stoppers.push(stopper);
    threads.push(spawn("receive".to_owned(), move || {
        udp.run(receiver, responder);
    })?);
    if let Some(socket) = stun {
        let responder = responder_of(&socket, media.counters())?;
        let (stopper, stop) = Stop::pair()?;
        let (receiver, counters) = (socket.receiver(stop)?, media.counters().clone());
        stoppers.push(stopper);
        threads.push(spawn("stun".to_owned(), move || {
            stun::run(receiver, responder, &counters);
        })?);
    }
    let streams_stopper = streams.as_ref().map(Streams::stopper);
    if let Some(streams) = streams {
        let tcp = inbound();
        threads.push(spawn("receive-tcp".to_owned(), move || {
            tcp.run_streams(streams);
        })?);
    }
    Ok(Running {
        shards: Vec::new(),
        receiving: threads,
        stoppers: (stoppers, streams_stopper),
    })
}

/// A STUN server on a socket, which counts for the media socket's metrics.
fn responder_of(socket: &MediaSocket, counters: &Arc<NetCounters>) -> io::Result<StunResponder> {
    let server = StunServer::new(clock::now());
    Ok(StunResponder::new(
        server,
        socket.sender()?,
        counters.clone(),
    ))
}

fn sender(socket: &MediaSocket, connections: Option<&Connections>) -> io::Result<net::Sender> {
    let sender = socket.sender()?;
    Ok(match connections {
        Some(connections) => sender.with_connections(connections.clone()),
        None => sender,
    })
}

fn engine(config: &ShardsConfig, shard: u16, certificate: &Certificate) -> io::Result<Engine> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let config = EngineConfig {
        shard,
        shards: config.shards.get(),
        advertised: config.advertised.clone(),
        advertised_tcp: config.advertised_tcp.clone(),
        limits: config.limits,
        wall_clock: clock::wall(),
    };
    Ok(Engine::new(config, certificate.clone(), seed))
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(move || {
        let _guard = EndProcessOnPanic;
        run();
    })
}

/// A thread that every session of a shard, or of all shards, depends on must not be missing
/// quietly. The engine contains panics of one session; what comes this far is more than that.
struct EndProcessOnPanic;

impl Drop for EndProcessOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("a thread that all depend on has panicked; the process ends");
            std::process::abort();
        }
    }
}
