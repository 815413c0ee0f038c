//! What clients may do, row by row, without sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use turn_server_proto::stun::types::attribute::{
    AttributeType, ErrorCode, Nonce, RawAttribute, Realm, Username, XorMappedAddress,
};
use turn_server_proto::stun::types::message::{
    IntegrityAlgorithm, LongTermCredentials, Message, MessageIntegrityCredentials, MessageWriteVec,
    Method,
};
use turn_server_proto::stun::types::prelude::{MessageWrite, MessageWriteExt};
use turn_server_proto::types::attribute::{
    ChannelNumber, Data, Lifetime, RequestedTransport, XorPeerAddress, XorRelayedAddress,
};
use turn_server_proto::types::message::{
    ALLOCATE, CHANNEL_BIND, CONNECT, CREATE_PERMISSION, REFRESH, SEND,
};

use super::client::{Client, Event, House, Now, Step};
use super::counters::Refusal;
use super::guests::{Guest, Guests};
use super::peers::{Peers, Target};
use super::quota::Quota;
use super::strangers::Strangers;

const MEDIA: &str = "203.0.113.5:3478";
const REALM: &str = "plenum";
const WALL: u64 = 1_790_000_000;

/// What it is about besides credentials.
type Attributes<'a> = &'a [&'a dyn turn_server_proto::stun::types::prelude::AttributeWrite];

/// A relay and a client of it.
struct Call {
    house: House,
    client: Client,
    credentials: MessageIntegrityCredentials,
    username: String,
    guest: Option<Guest>,
    nonce: Option<String>,
    at: Instant,
    passed: Duration,
    sockets: u16,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "tests have to start somewhere")]
fn some_moment() -> Instant {
    Instant::now()
}

fn house(is_open: bool, quota: Quota) -> House {
    let own = ["203.0.113.5", "127.0.0.1"].map(|ip| ip.parse().unwrap());
    House {
        guests: Guests::new(vec![7; 32]),
        quota,
        peers: Arc::new(Peers::new(
            &[address(MEDIA)],
            address("0.0.0.0:3478"),
            own,
            is_open,
        )),
        counters: Arc::default(),
        epoch: some_moment(),
    }
}

impl Call {
    fn new(is_open: bool) -> Self {
        Self::of("demo/ada", &house(is_open, Quota::new(4, 100)), 40_000)
    }

    fn of(participant: &str, house: &House, port: u16) -> Self {
        let username = format!("{}:{participant}", WALL + 3600);
        let guest = house.guests.invite(&username);
        let password = house.guests.password(&username);
        let credentials = LongTermCredentials::new(username.clone(), password);
        Self {
            client: Client::new(
                house,
                SocketAddr::from(([192, 0, 2, 7], port)),
                address("203.0.113.5:3479"),
            ),
            credentials: credentials.to_key(REALM.into()).into(),
            username,
            guest: Some(guest),
            nonce: None,
            at: house.epoch,
            passed: Duration::ZERO,
            sockets: 50_000,
            house: house.clone(),
        }
    }

    fn now(&self) -> Now {
        Now {
            at: self.at + self.passed,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(WALL) + self.passed,
        }
    }

    /// Sends a request with what is known of credentials, does what is wanted, and reads the answer.
    fn ask(&mut self, method: Method, attributes: Attributes<'_>) -> Result<Vec<u8>, u16> {
        let mut request = Message::builder_request(method, MessageWriteVec::new());
        for attribute in attributes {
            request.add_attribute(*attribute).unwrap();
        }
        if let Some(nonce) = &self.nonce {
            request
                .add_attribute(&Username::new(&self.username).unwrap())
                .unwrap();
            request.add_attribute(&Realm::new(REALM).unwrap()).unwrap();
            request.add_attribute(&Nonce::new(nonce).unwrap()).unwrap();
            request
                .add_message_integrity(&self.credentials, IntegrityAlgorithm::Sha1)
                .unwrap();
        }
        let mut reply = match self.client.handle(&request.finish(), self.now()) {
            Some(Step::Reply(reply)) => Some(reply),
            Some(other) => panic!("{other:?}"),
            None => None,
        };
        loop {
            match self.client.poll(self.now()) {
                Event::Reply(late) => reply = Some(late),
                Event::Allocate { is_ipv4 } => {
                    self.sockets += 1;
                    let ip = self.house.peers.relayed_ip(is_ipv4);
                    let relayed = ip.filter(|_| self.client.take_place());
                    let relayed = relayed.map(|ip| SocketAddr::new(ip, self.sockets));
                    self.client.allocated(is_ipv4, relayed, self.now());
                }
                Event::Release(_) => {}
                Event::Wait(_) => break,
            }
        }
        let reply = reply.ok_or(0u16)?;
        let message = Message::from_bytes(&reply).unwrap();
        if let Ok(nonce) = message.attribute::<Nonce>() {
            self.nonce = Some(nonce.nonce().to_owned());
        }
        match message.attribute::<ErrorCode>() {
            Ok(error) => Err(error.code()),
            Err(_) => Ok(reply),
        }
    }

    fn allocate(&mut self) -> Result<SocketAddr, u16> {
        let udp = RequestedTransport::new(RequestedTransport::UDP);
        if self.nonce.is_none() {
            assert_eq!(self.ask(ALLOCATE, &[&udp]), Err(401));
        }
        let reply = self.ask(ALLOCATE, &[&udp])?;
        let message = Message::from_bytes(&reply).unwrap();
        message.validate_integrity(&self.credentials).unwrap();
        let mapped = message.attribute::<XorMappedAddress>().unwrap();
        let mapped = mapped.addr(message.transaction_id());
        assert_eq!(mapped.ip().to_string(), "192.0.2.7");
        let relayed = message.attribute::<XorRelayedAddress>().unwrap();
        Ok(relayed.addr(message.transaction_id()))
    }

    /// Asks for a permission and a channel; both agree.
    fn reach(&mut self, peer: &str) -> Result<(), u16> {
        let channel = self.bind(0x4000, peer);
        let permission = self.about(CREATE_PERMISSION, peer, None);
        assert_eq!(channel.is_ok(), permission.is_ok(), "{peer}");
        channel
    }

    fn bind(&mut self, channel: u16, peer: &str) -> Result<(), u16> {
        self.about(CHANNEL_BIND, peer, Some(channel))
    }

    fn about(&mut self, method: Method, peer: &str, channel: Option<u16>) -> Result<(), u16> {
        let mut request = Message::builder_request(method, MessageWriteVec::new());
        let transaction = request.transaction_id();
        let peer = XorPeerAddress::new(address(peer), transaction);
        request.add_attribute(&peer).unwrap();
        if let Some(channel) = channel {
            request.add_attribute(&ChannelNumber::new(channel)).unwrap();
        }
        let nonce = self.nonce.clone().expect("somebody with a nonce");
        request
            .add_attribute(&Username::new(&self.username).unwrap())
            .unwrap();
        request.add_attribute(&Realm::new(REALM).unwrap()).unwrap();
        request.add_attribute(&Nonce::new(&nonce).unwrap()).unwrap();
        request
            .add_message_integrity(&self.credentials, IntegrityAlgorithm::Sha1)
            .unwrap();
        let Some(Step::Reply(reply)) = self.client.handle(&request.finish(), self.now()) else {
            return Err(0);
        };
        let message = Message::from_bytes(&reply).unwrap();
        message.validate_integrity(&self.credentials).unwrap();
        match message.attribute::<ErrorCode>() {
            Ok(error) => Err(error.code()),
            Err(_) => Ok(()),
        }
    }

    /// What a Send indication to a peer turns into.
    fn send(&mut self, peer: &str) -> Option<Step> {
        let mut indication = Message::builder_indication(SEND, MessageWriteVec::new());
        let transaction = indication.transaction_id();
        let peer = XorPeerAddress::new(address(peer), transaction);
        indication.add_attribute(&peer).unwrap();
        indication.add_attribute(&Data::new(b"hello")).unwrap();
        self.client.handle(&indication.finish(), self.now())
    }

    fn refused(&self, reason: Refusal) -> u64 {
        self.house.counters.refused(reason)
    }
}

#[test]
fn a_client_reaches_media_and_media_reaches_it() {
    let mut call = Call::new(false);
    let relayed = call.allocate().unwrap();
    assert_eq!(relayed, address("203.0.113.5:50001"));
    assert_eq!(call.send(MEDIA), None, "without a permission");
    assert_eq!(call.reach(MEDIA), Ok(()));
    let to = Target::Media(address(MEDIA));
    let relay = |contents: &[u8]| Step::Relay {
        from: relayed,
        to,
        contents: contents.to_vec(),
    };
    assert_eq!(call.send(MEDIA), Some(relay(b"hello")));
    let data = [&[0x40, 0, 0, 3][..], b"abc"].concat();
    assert_eq!(call.client.handle(&data, call.now()), Some(relay(b"abc")));
    let now = call.now();
    let back = call
        .client
        .handle_peer(relayed, address(MEDIA), b"abc", now);
    assert_eq!(back, Some(data));
    assert_eq!(call.house.counters.relayed_in(), (2, 8));
    assert_eq!(call.house.counters.relayed_out(), (1, 3));
    let stranger = address("203.0.113.9:3478");
    assert_eq!(
        call.client.handle_peer(relayed, stranger, b"abc", now),
        None
    );
}

/// F35: what other relays were talked into.
const SPECIAL: [&str; 17] = [
    "127.0.0.1:80",
    "127.0.0.1:3478",
    "0.0.0.0:80",
    "10.0.0.1:80",
    "172.16.0.1:80",
    "192.168.0.1:80",
    "100.64.0.1:80",
    "169.254.0.1:80",
    "169.254.169.254:80",
    "198.18.0.1:80",
    "224.0.0.1:80",
    "255.255.255.255:80",
    "192.0.2.1:80",
    "[::1]:80",
    "[::]:80",
    "[::ffff:127.0.0.1]:80",
    "[64:ff9b::7f00:1]:80",
];

#[test]
fn nothing_special_is_reached_by_any_request_whether_the_relay_is_open_or_not() {
    for is_open in [false, true] {
        let mut call = Call::new(is_open);
        call.allocate().unwrap();
        for peer in SPECIAL {
            assert_eq!(call.reach(peer), Err(403), "{peer}");
            assert_eq!(call.send(peer), None, "{peer}");
        }
        // Other ports of this machine: the permission is for the address, and leads nowhere else.
        assert_eq!(call.about(CREATE_PERMISSION, MEDIA, None), Ok(()));
        assert_eq!(call.bind(0x4001, "203.0.113.5:9080"), Err(403));
        assert_eq!(call.send("203.0.113.5:9080"), None);
        assert_eq!(call.reach("9.9.9.9:80").is_ok(), is_open);
    }
}

#[test]
fn tcp_and_other_protocols_are_not_relayed() {
    let mut call = Call::new(true);
    let tcp = RequestedTransport::new(RequestedTransport::TCP);
    assert_eq!(call.ask(ALLOCATE, &[&tcp]), Err(401));
    assert_eq!(call.ask(ALLOCATE, &[&tcp]), Err(442));
    let sctp = RequestedTransport::new(132);
    assert_eq!(call.ask(ALLOCATE, &[&sctp]), Err(442));
    call.allocate().unwrap();
    assert_eq!(call.about(CONNECT, "9.9.9.9:80", None), Err(0), "no answer");
    assert_eq!(call.refused(Refusal::Transport), 3);
}

#[test]
fn a_thousand_allocations_are_stopped_by_the_quota_and_others_are_served() {
    let house = house(false, Quota::new(24, 100));
    let mut eve: Vec<_> = (0..1000)
        .map(|port| Call::of("demo/eve", &house, 10_000 + port))
        .collect();
    let answers: Vec<_> = eve.iter_mut().map(Call::allocate).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 24);
    assert!(answers[24..].iter().all(|answer| *answer == Err(486)));
    let ada = Call::of("demo/ada", &house, 9).allocate();
    assert!(ada.is_ok(), "{ada:?}");

    let mut crowd: Vec<_> = (0..100)
        .map(|n| Call::of(&format!("demo/{n}"), &house, 20_000 + n))
        .collect();
    let answers: Vec<_> = crowd.iter_mut().map(Call::allocate).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 76);
    assert_eq!(answers.last(), Some(&Err(508)));
    drop((eve, crowd));
    assert_eq!(house.quota.taken(), 0);
}

#[test]
fn an_allocation_that_is_given_back_or_runs_out_makes_room_for_another() {
    let house = house(false, Quota::new(1, 1));
    let mut first = Call::of("demo/ada", &house, 1);
    first.allocate().unwrap();
    let mut second = Call::of("demo/ada", &house, 2);
    assert_eq!(second.allocate(), Err(486));
    first.ask(REFRESH, &[&Lifetime::new(0)]).unwrap();
    assert!(!first.client.has_allocation());
    second.allocate().unwrap();

    // RFC 8656 §7.2: ten minutes, unless it is refreshed.
    second.passed = Duration::from_secs(601);
    let now = second.now();
    assert!(matches!(second.client.poll(now), Event::Release(_)));
    assert!(!second.client.has_allocation());
    first.passed = second.passed;
    first.allocate().unwrap();
}

#[test]
fn credentials_end_with_their_time_and_with_their_session() {
    let mut late = Call::new(false);
    late.passed = Duration::from_secs(3600);
    assert_eq!(late.allocate(), Err(401), "their time is over");

    let mut call = Call::new(false);
    call.allocate().unwrap();
    call.passed = Duration::from_secs(500);
    call.ask(REFRESH, &[&Lifetime::new(3600)]).unwrap();
    call.passed = Duration::from_secs(3700);
    assert_eq!(
        call.ask(REFRESH, &[]).map(|_| ()),
        Err(438),
        "the nonce's time is over"
    );
    call.ask(REFRESH, &[])
        .expect("a call that lasts is not cut off");

    assert!(call.client.is_welcome());
    call.guest = None;
    assert!(!call.client.is_welcome(), "the session has ended");
}

#[test]
fn forged_and_borrowed_credentials_open_nothing() {
    let mut call = Call::new(false);
    let key = LongTermCredentials::new(call.username.clone(), "guessed".into());
    call.credentials = key.to_key(REALM.into()).into();
    assert_eq!(call.allocate(), Err(401), "a wrong password");

    let mut call = Call::new(false);
    // With a password that fits, as somebody who knows the secret makes it.
    call.username = format!("{}:demo/ada", WALL + 7200);
    let password = call.house.guests.password(&call.username);
    let key = LongTermCredentials::new(call.username.clone(), password);
    call.credentials = key.to_key(REALM.into()).into();
    assert_eq!(call.allocate(), Err(401), "a name that no session has");
    assert_eq!(call.refused(Refusal::Unauthorized), 1);
}

#[test]
fn an_allocation_reaches_a_bounded_number_of_peers() {
    let mut call = Call::new(true);
    call.allocate().unwrap();
    let reached = (0..200u16).filter(|n| call.bind(0x4000 + n, &format!("9.9.9.{n}:80")).is_ok());
    assert_eq!(reached.count(), 128);
    assert_eq!(call.bind(0x4100, "9.9.9.200:80"), Err(508));

    let mut call = Call::new(true);
    call.allocate().unwrap();
    let reached = (0..300u16).filter(|n| {
        call.bind(0x4000 + n, &format!("9.9.9.9:{}", 80 + n))
            .is_ok()
    });
    assert_eq!(reached.count(), 256);
    assert_eq!(call.bind(0x4000, "9.9.9.9:99"), Err(508));
}

#[test]
fn a_channel_is_one_peers() {
    let mut call = Call::new(true);
    call.allocate().unwrap();
    assert_eq!(call.bind(0x4000, "9.9.9.9:80"), Ok(()));
    assert_eq!(call.bind(0x4000, "9.9.9.8:80"), Err(400));
    assert_eq!(
        call.bind(0x4000, "9.9.9.9:80"),
        Ok(()),
        "again is a refresh"
    );
}

#[test]
fn strangers_take_a_bounded_amount_of_memory() {
    let house = house(false, Quota::new(4, 100));
    let mut strangers = Strangers::default();
    for n in 0..10_000u32 {
        let source = SocketAddr::from((n.to_be_bytes(), 9));
        strangers.at(source, || {
            Client::new(&house, source, address("203.0.113.5:3479"))
        });
    }
    assert_eq!(strangers.len(), 2048);
    let latest = SocketAddr::from((9_999u32.to_be_bytes(), 9));
    assert!(strangers.take(latest).is_some());
}

#[test]
fn whatever_strangers_send_is_counted_and_harms_nobody() {
    let mut call = Call::new(true);
    call.allocate().unwrap();
    let mut random = fastrand::Rng::with_seed(8);
    let unknown = RawAttribute::new(AttributeType::new(0x7F01), &[1, 2, 3, 4]);
    assert!(call.ask(ALLOCATE, &[&unknown]).is_err());
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..random.usize(0..80)).map(|_| random.u8(..)).collect();
        // Often enough something that looks like a message.
        if bytes.len() >= 20 && random.bool() {
            let length = (bytes.len() - 20) as u16;
            bytes[0] = random.u8(..2);
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        }
        let now = call.now();
        let step = call.client.handle(&bytes, now);
        assert!(!matches!(step, Some(Step::Relay { .. })), "{bytes:?}");
        let _ = call
            .client
            .handle_peer(address("203.0.113.5:50001"), address(MEDIA), &bytes, now);
    }
    assert!(call.refused(Refusal::Malformed) > 10_000);
    assert_eq!(call.reach(MEDIA), Ok(()), "the client goes on");
}
