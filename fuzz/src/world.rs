//! An engine that lasts from one input to the next, and a client of it that knows its password.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use plenum::engine::command::{Command, Door, Join, Joined, Reply};
use plenum::engine::ids::SessionId;
use plenum::engine::ufrag::session_of_ufrag;
use plenum::engine::{Certificate, Datagram, Engine, EngineConfig, Limits, SessionKey, Transport};

/// Documentation's own addresses (RFC 5737).
const SERVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)),
    3478,
);
const CLIENT: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    5_000,
);

/// What somebody offers who means well.
const GOOD_OFFER: &str = include_str!("../../tests/fixtures/sdp/chromium-meet.sdp");

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
    static MOMENT: Instant = some_clock();
}

#[expect(
    clippy::disallowed_methods,
    reason = "time begins at some moment, any moment"
)]
fn some_clock() -> Instant {
    Instant::now()
}

/// The same one each time.
pub(crate) fn some_moment() -> Instant {
    MOMENT.with(|moment| *moment)
}

/// An engine and its time.
pub(crate) struct World {
    engine: Engine,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let config = EngineConfig {
            shard: 0,
            shards: 1,
            advertised: vec![SERVER],
            advertised_tcp: vec![SERVER],
            limits: Limits::default(),
            wall_clock: Duration::from_secs(1_700_000_000),
        };
        Self {
            engine: Engine::new(config, Certificate::generate(), [7; 32]),
            now: some_moment(),
        }
    }

    /// Lends it out, and looks afterwards whether the engine had to save itself.
    pub(crate) fn with(act: impl FnOnce(&mut Self)) {
        WORLD.with_borrow_mut(|world| {
            act(world);
            world.settle();
            let Some(Reply::Counters(counters)) = world.command(Command::Counters) else {
                panic!("counters are always answered");
            };
            assert_eq!(counters.panics, 0, "a session panicked");
            assert_eq!(counters.sessions, 0, "a session is left over");
        });
    }

    /// Sends a command; `None` where it is refused.
    pub(crate) fn command(&mut self, command: Command) -> Option<Reply> {
        self.engine.handle_command(command, self.now).ok()
    }

    pub(crate) fn join(&mut self, door: Door, offer: &str) -> Option<Joined> {
        self.post(door, Some(offer.to_owned()))
    }

    /// A player that is offered to.
    pub(crate) fn offered(&mut self) -> Joined {
        self.post(Door::Watch { participant: None }, None)
            .expect("an offer")
    }

    fn post(&mut self, door: Door, offer: Option<String>) -> Option<Joined> {
        let join = Join::new("room".parse().expect("a name"), door, offer);
        match self.command(Command::Join(Box::new(join)))? {
            Reply::Joined(joined) => Some(joined),
            _ => None,
        }
    }

    /// Somebody who means well is in the room.
    pub(crate) fn join_well(&mut self) -> SessionId {
        self.join(Door::Meet, GOOD_OFFER)
            .expect("a good offer")
            .session
    }

    pub(crate) fn leave(&mut self, session: SessionId) {
        self.command(Command::Leave { session });
    }

    fn receive(&mut self, session: SessionKey, contents: &[u8]) {
        let datagram = Datagram {
            session,
            source: CLIENT,
            transport: Transport::Udp,
            local_ip: Some(SERVER.ip()),
            at: self.now,
            contents,
        };
        self.engine.handle_datagram(datagram, self.now);
    }

    /// Time passes, and everything that comes out is thrown away.
    fn settle(&mut self) {
        self.now += Duration::from_millis(20);
        self.engine.handle_timeout(self.now);
        self.engine.flush(self.now);
        while self.engine.poll_batch().is_some() {}
        while self.engine.poll_event().is_some() {}
        while self.engine.poll_notice().is_some() {}
        while self.engine.poll_address().is_some() {}
        while self.engine.poll_relay().is_some() {}
    }
}

/// Datagrams, each after its length in two bytes, from the address of a client whose check was
/// authentic: STUN, DTLS, RTP and RTCP before there are keys.
pub(crate) fn session(bytes: &[u8]) {
    World::with(|world| {
        let joined = world.join(Door::Meet, GOOD_OFFER).expect("a good offer");
        let value = |name: &str| {
            let after = joined
                .answer
                .split(name)
                .nth(1)
                .expect("it is in the answer");
            after.lines().next().expect("a line").to_owned()
        };
        let (ufrag, password) = (value("a=ice-ufrag:"), value("a=ice-pwd:"));
        let key = session_of_ufrag(&ufrag).expect("a fragment of ours");
        world.receive(key, &check(&ufrag, &password));
        let mut rest = bytes;
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length) % 2048).min(after.len());
            let (datagram, after) = after.split_at(length);
            world.receive(key, datagram);
            world.settle();
            rest = after;
        }
        world.leave(joined.session);
    });
}

/// A Binding request that nominates (RFC 8445 §7.1.1), authentic.
fn check(ufrag: &str, password: &str) -> Vec<u8> {
    let user = format!("{ufrag}:them");
    let mut message = vec![0x00, 0x01, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    message.extend([7; 12]);
    let attribute = |message: &mut Vec<u8>, kind: u16, value: &[u8]| {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    };
    attribute(&mut message, 0x0006, user.as_bytes());
    attribute(&mut message, 0x0024, &[0x6e, 0x7f, 0xff, 0xff]);
    attribute(&mut message, 0x802A, &[1; 8]);
    attribute(&mut message, 0x0025, &[]);
    // The length covers the integrity that is still to come (RFC 8489 §14.5).
    let length = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    attribute(&mut message, 0x0008, tag.as_ref());
    message
}
