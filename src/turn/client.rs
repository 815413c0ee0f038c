//! One client of the relay (RFC 8656): `turn-server-proto` does the protocol, and here stands what
//! it leaves to us: who is let in, how much he may have, and whom he may reach.
//!
//! Each client has an instance of the library to himself. So nothing is searched, whatever state a
//! stranger makes is thrown away with his address, and one client's fault is no other's.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use turn_server_proto::api::{SocketAllocateError, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::agent::Transmit;
use turn_server_proto::stun::types::attribute::{ErrorCode, Username};
use turn_server_proto::stun::types::message::{
    IntegrityAlgorithm, LongTermCredentials, Message, MessageClass, MessageIntegrityCredentials,
    MessageWriteVec,
};
use turn_server_proto::stun::types::prelude::{
    Attribute, AttributeFromRaw, AttributeStaticType, MessageWrite, MessageWriteExt,
};
use turn_server_proto::stun::types::{AddressFamily, TransportType};
use turn_server_proto::types::attribute::{ChannelNumber, RequestedTransport, XorPeerAddress};
use turn_server_proto::types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};
use turn_server_proto::types::prelude::DelayedTransmitBuild;

use super::counters::{Counters, Refusal};
use super::guests::{Guests, whose};
use super::peers::{Peers, Target};
use super::quota::{Full, Place, Quota};

/// What credentials are for, as clients are told; it has to be the same for all servers that share
/// their secret.
const REALM: &str = "plenum";

/// Most peers of one client: a meeting's media has a handful of addresses, and a call between two
/// some dozens of candidates.
const MAX_PEERS: usize = 128;

/// The rules that all clients are held to.
#[derive(Clone)]
pub(super) struct House {
    pub(super) guests: Guests,
    pub(super) quota: Quota,
    pub(super) peers: Arc<Peers>,
    pub(super) counters: Arc<Counters>,
    /// Not later than any time that clients will be told.
    pub(super) epoch: Instant,
}

/// The time, as it passes and as credentials have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) wall: SystemTime,
}

/// What follows from a client's message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This goes back to the client.
    Reply(Vec<u8>),
    /// This goes from a relayed address to a peer.
    Relay {
        from: SocketAddr,
        to: Target,
        contents: Vec<u8>,
    },
}

/// What a client wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A socket, whose address [`Client::allocated`] is told.
    Allocate { is_ipv4: bool },
    /// The socket with this relayed address is no longer needed.
    Release(SocketAddr),
    /// This goes to the client.
    Reply(Vec<u8>),
    /// Nothing, until then.
    Wait(Instant),
}

/// A client, from its first message on.
pub(super) struct Client {
    house: House,
    server: TurnServer,
    /// Where it is, and which of our addresses it speaks to.
    source: SocketAddr,
    local: SocketAddr,
    user: Option<User>,
    place: Option<Place>,
    /// How many addresses are relayed for it.
    relayed: usize,
    wants_allocation: bool,
    permitted: Vec<IpAddr>,
    channels: HashMap<u16, SocketAddr>,
}

/// Whose a client is, as it says itself.
struct User {
    name: String,
    participant: String,
    credentials: MessageIntegrityCredentials,
}

/// An answer instead of what was asked for.
type Refused = (Refusal, u16);

impl Client {
    /// A client that nothing is known of.
    pub(super) fn new(house: &House, source: SocketAddr, local: SocketAddr) -> Self {
        // Streams are taken apart before: to the library all that comes is datagrams. Thus it
        // offers no TCP towards peers either (RFC 6062).
        let server = TurnServer::new(TransportType::Udp, local, REALM.to_owned());
        Self {
            house: house.clone(),
            server,
            source,
            local,
            user: None,
            place: None,
            relayed: 0,
            wants_allocation: false,
            permitted: Vec::new(),
            channels: HashMap::new(),
        }
    }

    /// Whether it has an allocation.
    pub(super) fn has_allocation(&self) -> bool {
        self.relayed > 0
    }

    /// Whether what it sent last was a good request for an allocation, which then has to be
    /// [`Self::poll`]ed for.
    pub(super) fn wants_allocation(&self) -> bool {
        self.wants_allocation
    }

    /// Whether its session is still there, as far as it has named one.
    pub(super) fn is_welcome(&self) -> bool {
        let user = self.user.as_ref();
        user.is_none_or(|user| self.house.guests.is_open(&user.name))
    }

    /// Takes in what the client sent.
    pub(super) fn handle(&mut self, bytes: &[u8], now: Now) -> Option<Step> {
        let is_channel = matches!(bytes.first(), Some(0x40..=0x7F));
        if !is_channel {
            let Ok(message) = Message::from_bytes(bytes) else {
                self.refuse(Refusal::Malformed);
                return None;
            };
            match (message.class(), message.method()) {
                (MessageClass::Indication, SEND) => {}
                (MessageClass::Request, ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND) => {
                    if let Err((reason, reply)) = self.judge(&message, now) {
                        self.refuse(reason);
                        return Some(Step::Reply(reply));
                    }
                }
                _ => {
                    self.refuse(Refusal::Transport);
                    return None;
                }
            }
        }
        let step = self.pass_on(bytes, now);
        // Nothing else is answered later.
        let is_allocate = bytes.starts_with(&[0, 3]);
        self.wants_allocation = is_allocate && step.is_none();
        step
    }

    /// Takes in what a peer sent to a relayed address; gives what goes to the client.
    pub(super) fn handle_peer(
        &mut self,
        relayed: SocketAddr,
        peer: SocketAddr,
        contents: &[u8],
        now: Now,
    ) -> Option<Vec<u8>> {
        let received = Transmit::new(contents, TransportType::Udp, peer, relayed);
        let told = self.server.recv(received, self.time(now))?;
        self.house.counters.add_out(contents.len());
        Some(told.data.build())
    }

    /// What is to be done next; [`Event::Wait`] is the last.
    pub(super) fn poll(&mut self, now: Now) -> Event {
        let time = self.time(now);
        if let Some(reply) = self.server.poll_transmit(time) {
            return Event::Reply(reply.data);
        }
        match self.server.poll(time) {
            TurnServerPollRet::AllocateSocket { family, .. } => Event::Allocate {
                is_ipv4: family == AddressFamily::IPV4,
            },
            TurnServerPollRet::SocketClose { listen_addr, .. } => {
                self.released();
                Event::Release(listen_addr)
            }
            TurnServerPollRet::WaitUntil(until) => {
                Event::Wait(now.at + until.saturating_duration_since(time))
            }
            // Only allocations of TCP have those, and there are none.
            TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {
                Event::Wait(now.at + Duration::from_secs(1))
            }
        }
    }

    /// Whether there may be one more allocation; what it takes is kept until its end.
    pub(super) fn take_place(&mut self) -> bool {
        if self.place.is_some() {
            return true;
        }
        let Some(user) = &self.user else {
            return false;
        };
        self.place = self.house.quota.take(&user.participant).ok();
        self.place.is_some()
    }

    /// Says which address the client's new socket has, if it could be had.
    pub(super) fn allocated(&mut self, is_ipv4: bool, relayed: Option<SocketAddr>, now: Now) {
        let family = if is_ipv4 {
            AddressFamily::IPV4
        } else {
            AddressFamily::IPV6
        };
        self.relayed += usize::from(relayed.is_some());
        let relayed = relayed.ok_or(SocketAllocateError::InsufficientCapacity);
        let (source, local, udp) = (self.source, self.local, TransportType::Udp);
        let time = self.time(now);
        self.server
            .allocated_socket(udp, local, source, udp, family, relayed, time);
        if self.relayed == 0 {
            self.place = None;
        }
    }

    fn released(&mut self) {
        self.relayed = self.relayed.saturating_sub(1);
        if self.relayed == 0 {
            self.place = None;
            self.permitted.clear();
            self.channels.clear();
        }
    }

    /// Whether a request may be served: an error is what is answered instead.
    ///
    /// What is not authenticated is left to the library, which asks for credentials. To refuse is to
    /// answer somebody who has them.
    fn judge(&mut self, request: &Message<'_>, now: Now) -> Result<(), (Refusal, Vec<u8>)> {
        let Ok(username) = request.attribute::<Username>() else {
            return Ok(());
        };
        if !self.knows(username.username(), now.wall) {
            self.refuse(Refusal::Unauthorized);
            return Ok(());
        }
        let user = self.user.as_ref().expect("who is known is kept");
        let Ok(algorithm) = request.validate_integrity(&user.credentials) else {
            self.refuse(Refusal::Unauthorized);
            return Ok(());
        };
        let judged = match request.method() {
            ALLOCATE => self.may_allocate(request, user),
            CREATE_PERMISSION | CHANNEL_BIND => self.may_reach(request),
            _ => Ok(Asked::default()),
        };
        match judged {
            Ok(asked) => {
                self.note(asked);
                Ok(())
            }
            Err((reason, code)) => {
                Err((reason, refusal(request, code, &user.credentials, algorithm)))
            }
        }
    }

    /// Whether a user name is the client's: the first one that is good. It has to be good for a new
    /// client; once it has begun, it goes on as long as its session.
    fn knows(&mut self, username: &str, now: SystemTime) -> bool {
        if let Some(user) = &self.user {
            return user.name == username && self.house.guests.is_open(username);
        }
        let Some(participant) = whose(username, now) else {
            return false;
        };
        if !self.house.guests.is_open(username) {
            return false;
        }
        let password = self.house.guests.password(username);
        let credentials = LongTermCredentials::new(username.to_owned(), password.clone());
        self.server.add_user(username.to_owned(), password);
        self.user = Some(User {
            name: username.to_owned(),
            participant: participant.to_owned(),
            credentials: credentials.to_key(REALM.to_owned()).into(),
        });
        true
    }

    fn may_allocate(&self, request: &Message<'_>, user: &User) -> Result<Asked, Refused> {
        let transport = request.attribute::<RequestedTransport>();
        if transport.is_ok_and(|asked| asked.protocol() != RequestedTransport::UDP) {
            let code = ErrorCode::UNSUPPORTED_TRANSPORT_PROTOCOL;
            return Err((Refusal::Transport, code));
        }
        if self.place.is_none() {
            self.house
                .quota
                .look(&user.participant)
                .map_err(|full| match full {
                    Full::Participant => (
                        Refusal::ParticipantQuota,
                        ErrorCode::ALLOCATION_QUOTA_REACHED,
                    ),
                    Full::Relay => (Refusal::Quota, ErrorCode::INSUFFICIENT_CAPACITY),
                })?;
        }
        Ok(Asked::default())
    }

    fn may_reach(&self, request: &Message<'_>) -> Result<Asked, Refused> {
        let mut asked = Asked::default();
        let transaction = request.transaction_id();
        for (_, attribute) in request.iter_attributes() {
            if attribute.get_type() != XorPeerAddress::TYPE {
                continue;
            }
            let bad = (Refusal::Malformed, ErrorCode::BAD_REQUEST);
            let peer = XorPeerAddress::from_raw(attribute).map_err(|_| bad)?;
            asked.peers.push(peer.addr(transaction));
        }
        asked.channel = request
            .attribute::<ChannelNumber>()
            .ok()
            .map(|channel| channel.channel());
        let peers = &self.house.peers;
        let is_denied = |peer: &SocketAddr| match asked.channel {
            // A permission is for an address, a channel for a port of it.
            Some(_) => peers.target(*peer).is_none(),
            None => !peers.permits(peer.ip()),
        };
        if asked.peers.iter().any(is_denied) {
            return Err((Refusal::Peer, ErrorCode::FORBIDDEN));
        }
        let is_new = |peer: &&SocketAddr| !self.permitted.contains(&peer.ip());
        let permitted = self.permitted.len() + asked.peers.iter().filter(is_new).count();
        if permitted > MAX_PEERS || self.channels.len() >= 2 * MAX_PEERS {
            return Err((Refusal::TooManyPeers, ErrorCode::INSUFFICIENT_CAPACITY));
        }
        // RFC 8656 §12.2: a channel's number is bound to one peer.
        let bound = asked
            .channel
            .and_then(|channel| self.channels.get(&channel));
        if bound.is_some_and(|bound| asked.peers.last() != Some(bound)) {
            return Err((Refusal::Malformed, ErrorCode::BAD_REQUEST));
        }
        Ok(asked)
    }

    /// Keeps in mind whom the client reaches.
    fn note(&mut self, asked: Asked) {
        if let (Some(channel), Some(peer)) = (asked.channel, asked.peers.last()) {
            self.channels.insert(channel, *peer);
        }
        for peer in asked.peers {
            if !self.permitted.contains(&peer.ip()) {
                self.permitted.push(peer.ip());
            }
        }
    }

    /// Has the library do what it does; what it relays goes to those alone who may be reached, by
    /// whatever way it was asked for.
    fn pass_on(&mut self, bytes: &[u8], now: Now) -> Option<Step> {
        let received = Transmit::new(bytes, TransportType::Udp, self.source, self.local);
        let told = self.server.recv(received, self.time(now))?;
        let (from, to) = (told.from, told.to);
        let contents = told.data.build();
        if from == self.local {
            return Some(Step::Reply(contents));
        }
        let Some(to) = self.house.peers.target(to) else {
            self.refuse(Refusal::Peer);
            return None;
        };
        self.house.counters.add_in(contents.len());
        Some(Step::Relay { from, to, contents })
    }

    fn refuse(&self, reason: Refusal) {
        self.house.counters.add_refused(reason);
    }

    /// The library counts from a time that it is told.
    fn time(&self, now: Now) -> turn_server_proto::stun::Instant {
        let passed = now.at.saturating_duration_since(self.house.epoch);
        turn_server_proto::stun::Instant::from_nanos(passed.as_nanos() as i64)
    }
}

/// What a permission or a channel is asked for.
#[derive(Default)]
struct Asked {
    peers: Vec<SocketAddr>,
    channel: Option<u16>,
}

/// An error response to an authenticated request (RFC 8489 §9.2.5).
fn refusal(
    request: &Message<'_>,
    code: u16,
    credentials: &MessageIntegrityCredentials,
    algorithm: IntegrityAlgorithm,
) -> Vec<u8> {
    let mut reply = Message::builder_error(request, MessageWriteVec::new());
    let error = ErrorCode::builder(code)
        .build()
        .expect("the code is one of STUN's");
    reply.add_attribute(&error).expect("it is the first");
    reply
        .add_message_integrity(credentials, algorithm)
        .expect("there is none yet");
    reply.finish()
}
