//! Serves one client: its messages, its sockets towards peers, and its time.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::client::{Client, Event, House, Now, Step};
use super::counters::{Refusal, Transport};
use super::framing::{Reassembler, frame};
use super::peers::{FromRelayed, Target};
use crate::net::{Outgoing, Recipient, Sender, StunServer, recipient};

/// How long a client may be without an allocation: two round trips, and lost packets sent again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether a client's session is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A connection that takes nothing for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Datagrams that one socket hands over before the others have their turn.
const DATAGRAMS_PER_TURN: usize = 32;

/// Messages that wait for a client's task; beyond that they are lost, as in any full buffer.
pub(super) const WAITING_MESSAGES: usize = 256;

/// Largest datagram that is relayed: more than any path carries in one piece.
const MAX_DATAGRAM_BYTES: usize = 4000;

/// What a socket towards peers may hold: a large keyframe, for a client whose task has to wait for
/// its connection.
const BUFFER_BYTES: usize = 1 << 20;

/// What all clients' tasks share.
pub(super) struct Desk {
    pub(super) house: House,
    /// Where the media socket is bound.
    pub(super) media: SocketAddr,
    pub(super) stun: Mutex<StunServer>,
}

/// What time it is.
#[expect(
    clippy::disallowed_methods,
    reason = "clients come from outside, and nobody hands them a time"
)]
pub(super) fn now() -> Now {
    Now {
        at: Instant::now(),
        wall: SystemTime::now(),
    }
}

impl Desk {
    /// The answer to a plain question for an address; the inner `None` is none.
    pub(super) fn answer(
        &self,
        message: &[u8],
        source: SocketAddr,
        now: Instant,
    ) -> Option<Option<Vec<u8>>> {
        let is_binding = message.starts_with(&[0, 1]);
        let Some(Ok(Recipient::Server(request))) = is_binding.then(|| recipient(message)) else {
            return None;
        };
        let mut answer = Vec::new();
        let mut stun = self.stun.lock().unwrap_or_else(PoisonError::into_inner);
        let is_answered = stun.answer(&request, source, now, &mut answer);
        if !is_answered {
            self.house.counters.add_refused(Refusal::Rate);
        }
        Some(is_answered.then_some(answer))
    }

    /// A socket of a family, and the address that it has for clients.
    fn bind(&self, is_ipv4: bool) -> io::Result<RelaySocket> {
        let peers = &self.house.peers;
        let ip = peers
            .relayed_ip(is_ipv4)
            .ok_or(io::ErrorKind::Unsupported)?;
        let socket = StdSocket::bind((peers.bind_ip(self.media, is_ipv4), 0))?;
        socket.set_nonblocking(true)?;
        // Refusals cost bursts, and nothing else.
        let _ = SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES);
        let told = SocketAddr::new(ip, socket.local_addr()?.port());
        let socket = UdpSocket::from_std(socket)?;
        Ok(RelaySocket { socket, told })
    }
}

/// How a client's messages come and go.
pub(super) trait Link: Send {
    fn transport(&self) -> Transport;
    /// Waits for messages; `false` is the end. May be given up while it waits.
    fn receive(&mut self, into: &mut Vec<Vec<u8>>) -> impl Future<Output = bool> + Send;
    /// Sends all of these.
    fn send(&mut self, messages: &mut Vec<Vec<u8>>) -> impl Future<Output = io::Result<()>> + Send;
}

/// Datagrams, which the listener's thread hands over.
pub(super) struct Datagrams {
    pub(super) inbox: mpsc::Receiver<Vec<u8>>,
    pub(super) sender: Arc<Mutex<Sender>>,
    pub(super) source: SocketAddr,
    pub(super) local: SocketAddr,
}

impl Link for Datagrams {
    fn transport(&self) -> Transport {
        Transport::Udp
    }

    async fn receive(&mut self, into: &mut Vec<Vec<u8>>) -> bool {
        self.inbox.recv_many(into, DATAGRAMS_PER_TURN).await > 0
    }

    async fn send(&mut self, messages: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let outgoing = messages.iter().map(|contents| Outgoing {
            destination: self.source,
            connection: None,
            source: Some(self.local.ip()),
            contents,
            segment_size: None,
        });
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(outgoing);
        messages.clear();
        Ok(())
    }
}

/// A connection.
pub(super) struct Stream<S> {
    stream: S,
    transport: Transport,
    reassembler: Reassembler,
    framed: Vec<u8>,
}

impl<S> Stream<S> {
    /// A connection that nothing was read from.
    pub(super) fn new(stream: S, transport: Transport) -> Self {
        Self {
            stream,
            transport,
            reassembler: Reassembler::default(),
            framed: Vec::new(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Link for Stream<S> {
    fn transport(&self) -> Transport {
        self.transport
    }

    async fn receive(&mut self, into: &mut Vec<Vec<u8>>) -> bool {
        loop {
            while into.len() < DATAGRAMS_PER_TURN {
                match self.reassembler.next() {
                    Ok(Some(message)) => into.push(message),
                    Ok(None) => break,
                    Err(_) => return false,
                }
            }
            if !into.is_empty() {
                return true;
            }
            match self.stream.read_buf(&mut self.reassembler.bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
    }

    async fn send(&mut self, messages: &mut Vec<Vec<u8>>) -> io::Result<()> {
        self.framed.clear();
        for message in messages.drain(..) {
            frame(&message, &mut self.framed);
        }
        let write = async {
            self.stream.write_all(&self.framed).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(WRITE_TIMEOUT, write).await?
    }
}

/// A socket towards peers.
struct RelaySocket {
    socket: UdpSocket,
    /// The address that it has for clients.
    told: SocketAddr,
}

/// What came next.
enum Input {
    Messages,
    Gone,
    Readable(usize),
    Relayed(FromRelayed),
    Time,
}

/// A client's task.
pub(super) struct Serving<L> {
    desk: Arc<Desk>,
    client: Client,
    source: SocketAddr,
    link: L,
    sockets: Vec<RelaySocket>,
    /// What other clients of this relay send to this one's addresses.
    relayed: (mpsc::Sender<FromRelayed>, mpsc::Receiver<FromRelayed>),
    /// What is to be sent to the client.
    out: Vec<Vec<u8>>,
}

impl<L: Link> Serving<L> {
    pub(super) fn new(desk: Arc<Desk>, client: Client, source: SocketAddr, link: L) -> Self {
        Self {
            desk,
            client,
            source,
            link,
            sockets: Vec::new(),
            relayed: mpsc::channel(WAITING_MESSAGES),
            out: Vec::new(),
        }
    }

    /// Serves it until it goes, its session ends, or it asks for nothing.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.try_run().await {
            tracing::trace!(%error, source = %self.source, "relay");
            if error.kind() == io::ErrorKind::TimedOut {
                self.desk.house.counters.add_refused(Refusal::SlowClient);
            }
        }
        for socket in &self.sockets {
            self.desk.house.peers.relayed.remove(&socket.told);
        }
        let Self { desk, client, .. } = self;
        drop(client);
        let taken = desk.house.quota.taken();
        desk.house.counters.set_allocations(taken);
    }

    async fn try_run(&mut self) -> io::Result<()> {
        let mut messages = Vec::new();
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES + 1];
        let mut busy_until = now().at + PATIENCE;
        loop {
            let next = self.advance();
            if !self.out.is_empty() {
                self.link.send(&mut self.out).await?;
            }
            let time = now();
            if self.client.has_allocation() {
                busy_until = time.at + PATIENCE;
            }
            if time.at >= busy_until || !self.client.is_welcome() {
                return Ok(());
            }
            let wake_at = next.min(time.at + LOOK_INTERVAL);
            let input = tokio::select! {
                goes_on = self.link.receive(&mut messages) => match goes_on {
                    true => Input::Messages,
                    false => Input::Gone,
                },
                index = readable(&self.sockets) => Input::Readable(index),
                Some(relayed) = self.relayed.1.recv() => Input::Relayed(relayed),
                () = tokio::time::sleep_until(wake_at.into()) => Input::Time,
            };
            match input {
                Input::Messages => {
                    for message in messages.drain(..) {
                        self.handle(&message);
                    }
                }
                Input::Readable(index) => self.read(index, &mut buffer),
                Input::Relayed(relayed) => {
                    let FromRelayed { from, to, contents } = relayed;
                    self.out
                        .extend(self.client.handle_peer(to, from, &contents, now()));
                }
                Input::Time => {}
                Input::Gone => return Ok(()),
            }
        }
    }

    /// Does what the client wants done, and says when to look again.
    fn advance(&mut self) -> Instant {
        loop {
            let time = now();
            match self.client.poll(time) {
                Event::Reply(reply) => self.out.push(reply),
                Event::Allocate { is_ipv4 } => self.allocate(is_ipv4, time),
                Event::Release(told) => {
                    self.desk.house.peers.relayed.remove(&told);
                    self.sockets.retain(|socket| socket.told != told);
                    self.count();
                }
                Event::Wait(until) => return until,
            }
        }
    }

    fn allocate(&mut self, is_ipv4: bool, time: Now) {
        let bound = if self.client.take_place() {
            self.desk.bind(is_ipv4).map_err(|error| {
                tracing::debug!(%error, "no socket for an allocation");
            })
        } else {
            Err(())
        };
        let told = bound.as_ref().ok().map(|socket| socket.told);
        self.client.allocated(is_ipv4, told, time);
        if let Ok(socket) = bound {
            let relayed = &self.desk.house.peers.relayed;
            relayed.insert(socket.told, self.relayed.0.clone());
            self.sockets.push(socket);
            self.desk.house.counters.add_made(self.link.transport());
        }
        self.count();
    }

    fn count(&self) {
        let house = &self.desk.house;
        house.counters.set_allocations(house.quota.taken());
    }

    /// Takes in a message of the client's.
    fn handle(&mut self, message: &[u8]) {
        let time = now();
        if let Some(answer) = self.desk.answer(message, self.source, time.at) {
            self.out.extend(answer);
            return;
        }
        match self.client.handle(message, time) {
            Some(Step::Reply(reply)) => self.out.push(reply),
            Some(Step::Relay { from, to, contents }) => self.relay(from, to, contents),
            None => {}
        }
    }

    fn relay(&self, from: SocketAddr, to: Target, contents: Vec<u8>) {
        let address = match to {
            Target::Media(address) | Target::Peer(address) => address,
            Target::Relayed(to) => {
                let other = self.desk.house.peers.relayed.get(&to);
                // It may have gone, or be too slow, as any peer.
                let _ = other.map(|other| other.try_send(FromRelayed { from, to, contents }));
                return;
            }
        };
        if let Some(socket) = self.sockets.iter().find(|socket| socket.told == from) {
            // What the kernel does not take is lost, as in any network.
            let _ = socket.socket.try_send_to(&contents, address);
        }
    }

    /// Reads what peers have sent.
    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(RelaySocket { socket, told }) = self.sockets.get(index) else {
            return;
        };
        let time = now();
        for _ in 0..DATAGRAMS_PER_TURN {
            // An error of the socket's is one of a datagram that it sent (ICMP).
            let Ok((bytes, from)) = socket.try_recv_from(buffer) else {
                return;
            };
            let sender = self.desk.house.peers.sender(from);
            let Some(peer) = sender.filter(|_| bytes <= MAX_DATAGRAM_BYTES) else {
                self.desk.house.counters.add_refused(Refusal::Peer);
                continue;
            };
            let told = self.client.handle_peer(*told, peer, &buffer[..bytes], time);
            self.out.extend(told);
        }
    }
}

/// Waits until one of these can be read.
async fn readable(sockets: &[RelaySocket]) -> usize {
    async fn ready(socket: &RelaySocket) {
        // Whatever is wrong with it, reading tells.
        let _ = socket.socket.readable().await;
    }
    match sockets {
        [] => std::future::pending().await,
        [one] => {
            ready(one).await;
            0
        }
        // One of each family at most.
        [one, two, ..] => tokio::select! {
            () = ready(one) => 0,
            () = ready(two) => 1,
        },
    }
}
