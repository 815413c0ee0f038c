//! The relay's listeners.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task;

use super::client::{Client, House, Step};
use super::counters::{Counters, Refusal, Transport};
use super::guests::Guests;
use super::peers::Peers;
use super::quota::Quota;
use super::serve::{Datagrams, Desk, Serving, Stream, WAITING_MESSAGES, now};
use super::settings::Settings;
use super::strangers::Strangers;
use crate::net::{MediaSocket, Outgoing, Received, Sender, SourceRate, Stop, Stopper, StunServer};

/// Connections at once. Each costs a file descriptor and some kilobytes.
const MAX_CONNECTIONS: usize = 4096;

/// Requests of one address, per second and at once, that come from clients without an allocation:
/// an office whose people all come to the same meeting, with four requests each.
const PER_SECOND: u32 = 100;
const BURST: u32 = 800;

/// The same for all addresses together: some 5 % of a core.
const TOTAL_PER_SECOND: u32 = 5_000;

/// Bytes that the kernel takes beyond what the network carries right now: media that waits there
/// is old when it arrives.
const UNSENT_BYTES: u32 = 32 << 10;

/// What a connection may leave unacknowledged before it is dead.
const USER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Pause after a failed accept: without file descriptors the next one fails as well.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Where clients come to.
pub struct Listening {
    /// With datagrams.
    pub datagrams: MediaSocket,
    /// With connections in the clear.
    pub streams: std::net::TcpListener,
}

/// What a relay has to know.
pub struct Setup<'a> {
    /// What was set.
    pub settings: &'a Settings,
    /// The media addresses that clients know.
    pub told: &'a [SocketAddr],
    /// Where the media socket is bound.
    pub media: SocketAddr,
    /// This machine's addresses.
    pub own: Vec<IpAddr>,
    /// What makes passwords.
    pub secret: Vec<u8>,
    /// How clients reach the relay (RFC 7065).
    pub urls: Vec<String>,
}

/// The relay. Clones are the same one.
#[derive(Clone)]
pub struct Relay {
    desk: Arc<Desk>,
    connections: Arc<Semaphore>,
    urls: Arc<[String]>,
}

/// Ends the thread that receives when dropped.
pub struct Running {
    _stopper: Stopper,
    _thread: JoinHandle<()>,
}

impl Relay {
    /// A relay that has no clients yet.
    pub fn new(setup: Setup<'_>) -> Self {
        let Setup {
            settings,
            told,
            media,
            own,
            secret,
            urls,
        } = setup;
        let epoch = now().at;
        let peers = Peers::new(told, media, own, settings.turn_peers);
        let house = House {
            guests: Guests::new(secret),
            quota: Quota::new(settings.turn_user_quota, settings.turn_quota),
            peers: Arc::new(peers),
            counters: Arc::default(),
            epoch,
        };
        let desk = Desk {
            house,
            media,
            stun: Mutex::new(StunServer::new(epoch)),
        };
        Self {
            desk: Arc::new(desk),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            urls: urls.into(),
        }
    }

    /// How clients reach it.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Who may use it.
    pub fn guests(&self) -> &Guests {
        &self.desk.house.guests
    }

    /// What was counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.desk.house.counters
    }

    /// Serves all who come. To be called within a tokio runtime, whose end is the end of it.
    pub fn start(&self, listening: Listening) -> io::Result<Running> {
        let Listening { datagrams, streams } = listening;
        let (stopper, stop) = Stop::pair()?;
        let mut receiver = datagrams.receiver(stop)?;
        let sender = datagrams.sender()?.without_patience();
        let mut lobby = Lobby {
            desk: Arc::clone(&self.desk),
            sender: Arc::new(Mutex::new(sender)),
            port: datagrams.local_addr().port(),
            any: datagrams.local_addr().ip(),
            sources: SourceRate::new(PER_SECOND, BURST, self.desk.house.epoch),
            all: SourceRate::new(TOTAL_PER_SECOND, TOTAL_PER_SECOND, self.desk.house.epoch),
            strangers: Strangers::default(),
            clients: HashMap::new(),
            runtime: Handle::current(),
        };
        let receive = move || {
            while receiver.wait() {
                receiver.receive(|received| lobby.receive(&received));
            }
        };
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(receive)?;
        streams.set_nonblocking(true)?;
        task::spawn(self.clone().accept(TcpListener::from_std(streams)?));
        Ok(Running {
            _stopper: stopper,
            _thread: thread,
        })
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, source)) => {
                    let relay = self.clone();
                    let local = stream.local_addr().unwrap_or(self.desk.media);
                    prepare(&stream);
                    task::spawn(async move {
                        let tcp = Transport::Tcp;
                        relay.serve_stream(stream, source, local, tcp).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection to its end.
    pub async fn serve_stream<S>(
        &self,
        stream: S,
        source: SocketAddr,
        local: SocketAddr,
        transport: Transport,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Ok(_permit) = self.connections.try_acquire() else {
            self.counters().add_refused(Refusal::TooManyConnections);
            return;
        };
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (source, local) = (canonical(source), canonical(local));
        let client = Client::new(&self.desk.house, source, local);
        let link = Stream::new(stream, transport);
        Serving::new(Arc::clone(&self.desk), client, source, link)
            .run()
            .await;
    }
}

/// What is relayed leaves at once or not at all, and a vanished client is noticed.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let prepared = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES))
        .and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection to the relay stays as the system has it");
    }
}

/// Where datagrams arrive: those of strangers are looked at here, those of clients are handed on.
struct Lobby {
    desk: Arc<Desk>,
    sender: Arc<Mutex<Sender>>,
    port: u16,
    /// Where the listener is bound, for when the kernel does not say where a datagram was sent to.
    any: IpAddr,
    sources: SourceRate,
    all: SourceRate,
    strangers: Strangers,
    clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
    runtime: Handle,
}

impl Lobby {
    fn receive(&mut self, received: &Received<'_>) {
        let source = received.source;
        if let Some(client) = self.clients.get(&source) {
            match client.try_send(received.contents.to_vec()) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return self.desk.house.counters.add_refused(Refusal::SlowClient);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => drop(self.clients.remove(&source)),
            }
        }
        let local = SocketAddr::new(received.local_ip.unwrap_or(self.any), self.port);
        if let Some(reply) = self.stranger(source, local, received.contents) {
            let outgoing = Outgoing {
                destination: source,
                connection: None,
                source: received.local_ip,
                contents: &reply,
                segment_size: None,
            };
            let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            sender.send(std::iter::once(outgoing));
        }
    }

    /// What is answered to somebody who has nothing yet.
    fn stranger(
        &mut self,
        source: SocketAddr,
        local: SocketAddr,
        message: &[u8],
    ) -> Option<Vec<u8>> {
        let time = now();
        if let Some(answer) = self.desk.answer(message, source, time.at) {
            return answer;
        }
        let everybody = IpAddr::from([0, 0, 0, 0]);
        let is_admitted = source.port() != 0
            && self.sources.admits(source.ip(), time.at)
            && self.all.admits(everybody, time.at);
        if !is_admitted {
            self.desk.house.counters.add_refused(Refusal::Rate);
            return None;
        }
        let house = &self.desk.house;
        let client = self
            .strangers
            .at(source, || Client::new(house, source, local));
        match client.handle(message, time) {
            Some(Step::Reply(reply)) => return Some(reply),
            Some(Step::Relay { .. }) => unreachable!("nobody relays without an allocation"),
            None => {}
        }
        if client.wants_allocation() {
            self.serve(source, local);
        }
        None
    }

    /// Gives a client a task.
    fn serve(&mut self, source: SocketAddr, local: SocketAddr) {
        let Some(client) = self.strangers.take(source) else {
            return;
        };
        self.clients.retain(|_, client| !client.is_closed());
        let (outbox, inbox) = mpsc::channel(WAITING_MESSAGES);
        self.clients.insert(source, outbox);
        let link = Datagrams {
            inbox,
            sender: Arc::clone(&self.sender),
            source,
            local,
        };
        let serving = Serving::new(Arc::clone(&self.desk), client, source, link);
        self.runtime.spawn(serving.run());
    }
}
