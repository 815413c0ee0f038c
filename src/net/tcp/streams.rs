//! The thread's side of all connections: accept, read, make room, give up.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::SockRef;

use super::ConnectionId;
use super::connections::{Connection, Connections};
use super::counters::CloseReason;
use super::framing::Reassembler;
use crate::net::rate::network;
use crate::net::receive::Received;
use crate::net::socket::{self, canonical};

/// How many connections there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Of all clients.
    pub connections: usize,
    /// Of one address (IPv6: /64).
    pub per_address: u32,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            // Each costs a file descriptor and some kilobytes.
            connections: 8192,
            // Two for each of an office's sessions that one address may have over HTTP.
            per_address: 1000,
        }
    }
}

/// How long a new connection may take for its first authenticated check.
///
/// Clients send it at once; a bad network repeats it a few times.
const FIRST_CHECK_WITHIN: Duration = Duration::from_secs(10);

/// A client that proves nothing for so long has gone (RFC 7675 §5.1).
const CHECK_WITHIN: Duration = Duration::from_secs(30);

/// How often connections that have to end are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Most that one read takes.
const READ_BYTES: usize = 64 << 10;

/// Reads from one connection before the others have their turn.
const READS_PER_TURN: usize = 4;

/// Bytes that the kernel takes beyond what the network carries right now.
///
/// It would take megabytes, which a slow client gets seconds late; what is not in the kernel yet can
/// still be thrown away. Less would cost a wake-up for every few packets.
const UNSENT_BYTES: u32 = 32 << 10;

/// What a connection may leave unacknowledged before it is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Every connection of ICE over TCP, to be served by one thread. `K` tells sessions apart.
#[derive(Debug)]
pub struct Streams<K> {
    poll: Poll,
    events: Events,
    listener: Option<TcpListener>,
    local: Option<SocketAddr>,
    taken_over: Receiver<std::net::TcpStream>,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    connections: Connections,
    open: HashMap<usize, Served<K>>,
    per_address: HashMap<u64, u32>,
    next_id: u64,
    /// Those that had more to read than one turn takes.
    unread: Vec<usize>,
    look_at: Option<Instant>,
    /// The last accept failed, and others may wait.
    accept_again: bool,
    buffer: Box<[u8]>,
    limits: StreamLimits,
}

/// Ends the wait of its [`Streams`] when dropped.
#[derive(Debug)]
pub struct StreamsStopper {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Drop for StreamsStopper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "the thread of TCP does not hear that it is to end");
        }
    }
}

#[derive(Debug)]
struct Served<K> {
    connection: Arc<Connection>,
    local_ip: Option<IpAddr>,
    reassembler: Reassembler,
    owner: Option<K>,
    since: Instant,
}

impl<K> Streams<K> {
    /// Listens on `address`, where one is given; without, all connections are handed over by
    /// another listener ([`Connections::take_over`]).
    pub fn bind(address: Option<SocketAddr>, limits: StreamLimits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut listener = match address {
            Some(address) => Some(TcpListener::from_std(socket::listen(address)?)),
            None => None,
        };
        if let Some(listener) = &mut listener {
            let interest = Interest::READABLE;
            poll.registry().register(listener, LISTENER, interest)?;
        }
        let local = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let (connections, taken_over) = Connections::new(waker.clone());
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            listener,
            local,
            taken_over,
            stop: Arc::default(),
            waker,
            connections,
            open: HashMap::new(),
            per_address: HashMap::new(),
            next_id: 0,
            unread: Vec::new(),
            look_at: None,
            accept_again: false,
            buffer: vec![0; READ_BYTES].into(),
            limits,
        })
    }

    /// The address that it listens on, if it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// How others send.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// What ends [`Self::wait`] for good.
    pub fn stopper(&self) -> StreamsStopper {
        StreamsStopper {
            stop: self.stop.clone(),
            waker: self.waker.clone(),
        }
    }

    /// Waits until there is something to do; says `false` when it is told to stop.
    pub fn wait(&mut self) -> bool {
        let timeout = if !self.unread.is_empty() {
            Some(Duration::ZERO)
        } else if self.accept_again || !self.open.is_empty() {
            Some(LOOK_INTERVAL)
        } else {
            None
        };
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            // Nothing that a client can cause; to go on would be to spin.
            Err(error) => panic!("cannot wait for connections: {error}"),
        }
        !self.stop.load(Ordering::Acquire)
    }

    /// Does what there is to do, and hands on every datagram that is complete, with the owner
    /// of its connection. Returns without waiting.
    pub fn serve(&mut self, now: Instant, mut handle: impl FnMut(&mut Option<K>, Received<'_>)) {
        let mut readable = std::mem::take(&mut self.unread);
        let mut accept = std::mem::take(&mut self.accept_again);
        let mut take_over = false;
        for event in &self.events {
            match event.token() {
                LISTENER => accept = true,
                WAKER => take_over = true,
                Token(place) => {
                    if event.is_writable()
                        && let Some(served) = self.open.get(&place)
                        && let Err(error) = served.connection.flush(self.connections.counters())
                    {
                        tracing::trace!(%error, "flush");
                    }
                    // Errors and ends are read, too.
                    readable.push(place);
                }
            }
        }
        if accept {
            self.accept(now);
        }
        if take_over {
            while let Ok(stream) = self.taken_over.try_recv() {
                self.begin(TcpStream::from_std(stream), now);
            }
        }
        readable.sort_unstable();
        readable.dedup();
        for place in readable {
            self.read(place, &mut handle);
        }
        self.give_up(now);
    }

    fn accept(&mut self, now: Instant) {
        loop {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((stream, _)) => self.begin(stream, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors, most likely. What waits is not told of again.
                    tracing::warn!(%error, "cannot accept");
                    self.accept_again = true;
                    return;
                }
            }
        }
    }

    /// Takes a connection in, unless there are too many.
    fn begin(&mut self, mut stream: TcpStream, now: Instant) {
        let counters = self.connections.counters();
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return counters.add_closed(CloseReason::ByPeer);
        };
        let (peer, local) = (canonical(peer), canonical(local));
        let network = network(peer.ip());
        let of_address = self.per_address.get(&network).copied().unwrap_or_default();
        if self.open.len() >= self.limits.connections {
            return counters.add_closed(CloseReason::TooMany);
        }
        if of_address >= self.limits.per_address {
            return counters.add_closed(CloseReason::TooManyOfAddress);
        }
        prepare(&stream);
        self.next_id += 1;
        let place = self.next_id as usize;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut stream, Token(place), interest)
        {
            tracing::warn!(%error, "cannot watch a connection");
            return counters.add_closed(CloseReason::TooMany);
        }
        self.per_address.insert(network, of_address + 1);
        let served = Served {
            connection: self
                .connections
                .insert(ConnectionId(self.next_id), stream, peer, now),
            local_ip: Some(local.ip()),
            reassembler: Reassembler::default(),
            owner: None,
            since: now,
        };
        self.open.insert(place, served);
        self.look_at.get_or_insert(now + LOOK_INTERVAL);
        // It may have brought something before it was watched.
        self.unread.push(place);
    }

    fn read(&mut self, place: usize, handle: &mut impl FnMut(&mut Option<K>, Received<'_>)) {
        let Some(served) = self.open.get_mut(&place) else {
            return;
        };
        for _ in 0..READS_PER_TURN {
            let bytes = match (&served.connection.stream).read(&mut self.buffer) {
                Ok(0) => return self.end(place, CloseReason::ByPeer),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return self.end(place, CloseReason::ByPeer),
            };
            let Served {
                connection,
                local_ip,
                reassembler,
                owner,
                ..
            } = served;
            let mut frames = 0;
            let fed = reassembler.feed(&self.buffer[..bytes], |contents| {
                frames += 1;
                handle(
                    owner,
                    Received {
                        source: connection.peer,
                        connection: Some(ConnectionId(place as u64)),
                        local_ip: *local_ip,
                        at: None,
                        contents,
                    },
                );
            });
            let counters = self.connections.counters();
            counters.add_received(frames, bytes as u64);
            if fed.is_err() {
                return self.end(place, CloseReason::Unframed);
            }
        }
        self.unread.push(place);
    }

    /// Ends connections whose client does not prove who it is.
    fn give_up(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        let is_over = |served: &Served<K>| {
            let deadline = match served.connection.last_check() {
                Some(checked) => checked + CHECK_WITHIN,
                None => served.since + FIRST_CHECK_WITHIN,
            };
            deadline <= now
        };
        let over: Vec<usize> = self
            .open
            .iter()
            .filter(|(_, served)| is_over(served))
            .map(|(place, _)| *place)
            .collect();
        for place in over {
            self.end(place, CloseReason::Unchecked);
        }
        self.look_at = (!self.open.is_empty()).then_some(now + LOOK_INTERVAL);
    }

    fn end(&mut self, place: usize, reason: CloseReason) {
        let Some(served) = self.open.remove(&place) else {
            return;
        };
        self.connections.remove(ConnectionId(place as u64));
        self.connections.counters().add_closed(reason);
        let of_address = network(served.connection.peer.ip());
        if let Some(count) = self.per_address.get_mut(&of_address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&of_address);
            }
        }
    }
}

/// Whether an accept failed for the sake of the connection that it would have brought.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Datagrams leave at once, do not pile up in the kernel, and a vanished client is noticed.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES))
        .and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
    if let Err(error) = set {
        tracing::debug!(%error, "options of a connection");
    }
}
