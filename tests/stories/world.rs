//! The world of a story: a server, its guests, and the network between them, in virtual time.
//!
//! Nothing here looks at a clock or draws by chance other than from the story's seed, so a story
//! always goes the same way. Three things escape the seed. str0m walks its hash maps in any order:
//! what leaves at one moment is sorted, here and in clients. DTLS keys are new each time: bytes
//! differ from run to run, their number and order do not. And the server's DTLS draws the waits
//! between repeated flights from the system, as it must: a handshake under loss takes its own time.

mod guests;
mod houses;
mod views;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use plenum::engine::administration::RoomCommand;
use plenum::engine::command::{Command, CommandError, LayerLimit, Reply};
use plenum::engine::dtls::Certificate;
use plenum::engine::event::{Change, Snapshot};
use plenum::engine::ids::{ParticipantId, SessionId};
use plenum::engine::notice::Notice;
use plenum::engine::ufrag::session_of_ufrag;
use plenum::engine::{
    AddressChange, Datagram, Engine, EngineConfig, Limits, SessionKey, Transport,
};
use str0m::ice::StunMessage;

use super::client::Client;
use super::link::{Link, Parcel};
use super::roster::Roster;
use super::wire::{Class, Wire};
use houses::Houses;

/// More turns than this at one moment mean that something wakes itself up forever.
const MAX_TURNS_AT_ONCE: u32 = 10_000;

/// How much is remembered of what a guest sent: a handshake and some media.
const REMEMBERED_DATAGRAMS: usize = 256;

/// So few that a story can outgrow a shard.
pub(crate) const VIEWERS_PER_SHARD: usize = 3;

/// A guest, by their place in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Person(usize);

/// A guest's client and the links to it.
struct Guesthouse {
    client: Client,
    up: Link,
    down: Link,
    shard: usize,
    room: String,
    is_meeting: bool,
    /// The client stands still: a laptop lid was closed.
    is_asleep: bool,
    /// What it sent lately, for those who would send it again.
    sent: VecDeque<Vec<u8>>,
    /// SSRC and RTX SSRC of every slot, which never change.
    ssrcs: BTreeMap<String, (u32, Option<u32>)>,
}

/// A server, its guests, and the network between them.
pub(crate) struct World {
    seed: u64,
    began: Instant,
    now: Instant,
    server: SocketAddr,
    engines: Vec<Engine>,
    /// What has come since the server stands still.
    stopped: Option<Vec<(Instant, Parcel)>>,
    guests: Houses,
    by_session: HashMap<SessionId, usize>,
    /// Sessions that were let in without a guest behind them.
    ghosts: HashSet<SessionId>,
    /// Every address that a guest was ever seen at.
    by_address: HashMap<SocketAddr, usize>,
    /// What the demultiplexer learned.
    table: HashMap<SocketAddr, SessionKey>,
    rooms: Vec<String>,
    whereabouts: HashMap<ParticipantId, String>,
    /// What the world outside was told.
    pub(crate) notices: Vec<Notice>,
    sources: u32,
    pub(crate) wire: Wire,
    /// For what the story itself draws.
    pub(crate) rng: fastrand::Rng,
    turns_at_once: Cell<u32>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_shards(seed, 1)
    }

    /// A world whose server has several shards; rooms are spread over them.
    pub(crate) fn with_shards(seed: u64, shards: u16) -> Self {
        Self::with_limits(seed, shards, Limits::default())
    }

    /// A world whose server takes on less or more than usual.
    pub(crate) fn with_limits(seed: u64, shards: u16, limits: Limits) -> Self {
        let seed = chosen_seed().unwrap_or(seed);
        // str0m and its ICE draw from this thread's generator.
        fastrand::seed(seed);
        let certificate = Certificate::generate();
        let server = SocketAddr::from(([203, 0, 113, 1], 3478));
        let engine = |shard: u16| {
            let config = EngineConfig {
                shard,
                shards,
                advertised: vec![server],
                advertised_tcp: Vec::new(),
                limits: Limits {
                    viewers_per_shard: VIEWERS_PER_SHARD,
                    ..limits
                },
                wall_clock: Duration::from_secs(1_700_000_000),
            };
            let mut engine_seed = [7; 32];
            engine_seed[..8].copy_from_slice(&seed.to_le_bytes());
            engine_seed[8] = shard as u8;
            Engine::new(config, certificate.clone(), engine_seed)
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the world begins at some moment, any moment"
        )]
        let began = Instant::now();
        Self {
            seed,
            began,
            now: began,
            server,
            engines: (0..shards).map(engine).collect(),
            stopped: None,
            guests: Houses::default(),
            by_session: HashMap::new(),
            ghosts: HashSet::new(),
            by_address: HashMap::new(),
            table: HashMap::new(),
            rooms: Vec::new(),
            whereabouts: HashMap::new(),
            notices: Vec::new(),
            sources: 0,
            wire: Wire::default(),
            rng: fastrand::Rng::with_seed(seed),
            turns_at_once: Cell::new(0),
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// How long the world has been going.
    pub(crate) fn age(&self) -> Duration {
        self.now - self.began
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_to(self.now + duration);
    }

    /// Runs until something is so; says how long it took, or `None` after `patience`.
    pub(crate) fn run_until(
        &mut self,
        patience: Duration,
        is_so: impl Fn(&World) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !is_so(self) {
            let next = self.next_wake().filter(|next| *next <= start + patience)?;
            self.turn(next);
        }
        Some(self.now - start)
    }

    fn run_to(&mut self, end: Instant) {
        while let Some(next) = self.next_wake().filter(|next| *next <= end) {
            self.turn(next);
        }
        self.now = end;
        self.check_rosters();
    }

    fn next_wake(&self) -> Option<Instant> {
        let awake = self.stopped.is_none();
        let engines = self.engines.iter().filter(|_| awake);
        let engines = engines.filter_map(Engine::poll_timeout);
        let guests = self.guests.iter().flat_map(|house| {
            let client = (!house.is_asleep).then(|| house.client.poll_timeout());
            [client, house.up.poll_timeout(), house.down.poll_timeout()]
                .into_iter()
                .flatten()
        });
        engines.chain(guests).min().map(|next| next.max(self.now))
    }

    /// Moves to a moment, and does all that is due then.
    fn turn(&mut self, now: Instant) {
        let turns = if now > self.now {
            0
        } else {
            self.turns_at_once.get() + 1
        };
        assert!(
            turns < MAX_TURNS_AT_ONCE,
            "time stands still at {:?}",
            self.age()
        );
        self.turns_at_once.set(turns);
        self.now = now;

        for place in self.guests.places() {
            while let Some(parcel) = self.guests[place].up.receive(now) {
                match &mut self.stopped {
                    Some(waiting) => waiting.push((now, parcel)),
                    None => self.arrive(&parcel, now),
                }
            }
        }
        if self.stopped.is_none() {
            self.wake_engines();
        }
        for place in self.guests.places() {
            self.run_guest(place);
        }
    }

    fn wake_engines(&mut self) {
        for engine in &mut self.engines {
            if engine.poll_timeout().is_some_and(|at| at <= self.now) {
                engine.handle_timeout(self.now);
            }
        }
        self.settle();
    }

    /// The server's process stands still for a while, and what comes waits in its socket.
    pub(crate) fn stand_still(&mut self, duration: Duration) {
        self.stopped = Some(Vec::new());
        self.run_for(duration);
        let waiting = self.stopped.take().expect("it was stopped");
        // As many at once as a shard takes.
        for turn in waiting.chunks(64) {
            for (at, parcel) in turn {
                self.arrive(parcel, *at);
            }
            self.wake_engines();
        }
    }

    fn run_guest(&mut self, place: usize) {
        let now = self.now;
        let house = &mut self.guests[place];
        let mut has_mail = false;
        while let Some(parcel) = house.down.receive(now) {
            has_mail = true;
            // What goes to an address that the NAT has given up is lost.
            if parcel.to == house.client.public && !house.is_asleep {
                house.client.handle_datagram(&parcel.contents, now);
            }
        }
        if house.is_asleep || !has_mail && house.client.poll_timeout() > now {
            return;
        }
        for contents in house.client.run(now) {
            if house.sent.len() == REMEMBERED_DATAGRAMS {
                house.sent.pop_front();
            }
            house.sent.push_back(contents.clone());
            let parcel = Parcel {
                from: house.client.public,
                to: self.server,
                contents,
            };
            house.up.send(parcel, now);
        }
    }

    /// A datagram reaches the server's socket, honest or not.
    fn arrive(&mut self, parcel: &Parcel, at: Instant) {
        let Some(key) = self.route(parcel) else {
            return;
        };
        let Some(engine) = self.engines.get_mut(usize::from(key.shard)) else {
            return;
        };
        let datagram = Datagram {
            session: key,
            source: parcel.from,
            transport: Transport::Udp,
            local_ip: Some(self.server.ip()),
            at,
            contents: &parcel.contents,
        };
        // A check, or media under keys that nobody else has.
        let proves = !matches!(Class::of(&parcel.contents), Class::Dtls);
        if proves && self.by_address.contains_key(&parcel.from) {
            self.wire.consented(parcel.from, self.now);
        }
        engine.handle_datagram(datagram, self.now);
    }

    /// Whose a datagram is, as the receiving thread decides: checks by the user fragment that
    /// they name, all else by remembered address.
    fn route(&self, parcel: &Parcel) -> Option<SessionKey> {
        if parcel.contents.first().is_some_and(|first| *first < 4) {
            let message = StunMessage::parse(&parcel.contents).ok()?;
            let (local, _) = message.split_username()?;
            return session_of_ufrag(local);
        }
        self.table.get(&parcel.from).copied()
    }

    /// Sends what the engines have to send, and hands out what they have to say.
    fn settle(&mut self) {
        self.relay();
        for shard in 0..self.engines.len() {
            self.engines[shard].flush(self.now);
            self.send_all(shard);
            let notices = std::iter::from_fn(|| self.engines[shard].poll_notice());
            self.notices.extend(notices);
            while let Some(event) = self.engines[shard].poll_event() {
                let place = self.by_session.get(&event.session).copied();
                match place {
                    Some(place) => self.tell(place, event.version, event.change),
                    None if self.ghosts.contains(&event.session) => {}
                    None => panic!("an event for nobody: {event:?}"),
                }
            }
            while let Some(change) = self.engines[shard].poll_address() {
                match change {
                    AddressChange::Learned(key, address) => {
                        self.table.insert(address, key);
                    }
                    AddressChange::Checked(..) => panic!("nobody here has TCP"),
                    AddressChange::Forgotten(key) => self.table.retain(|_, known| *known != key),
                }
            }
        }
    }

    /// Takes what shards tell each other across, at once, until nobody has anything to say.
    fn relay(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for shard in 0..self.engines.len() {
                while let Some((to, message)) = self.engines[shard].poll_relay() {
                    self.engines[usize::from(to)].handle_relay(shard as u16, message, self.now);
                    is_quiet = false;
                }
            }
        }
    }

    fn send_all(&mut self, shard: usize) {
        let (now, age) = (self.now, self.age());
        let mut parcels = Vec::new();
        while let Some(batch) = self.engines[shard].poll_batch() {
            for transmit in batch {
                let to = transmit.destination;
                self.wire.check_destination(to, now);
                let size = transmit.segment_size.unwrap_or(transmit.contents.len());
                parcels.extend(transmit.contents.chunks(size).map(|contents| Parcel {
                    from: self.server,
                    to,
                    contents: contents.to_vec(),
                }));
            }
        }
        // Retransmissions leave in the order of the reports, which str0m's clients write in the
        // order of a hash map.
        Class::sort(&mut parcels, |parcel| &parcel.contents);
        for parcel in parcels {
            self.wire.count(parcel.to, parcel.contents.len());
            // Somebody who asked, and is no guest.
            let Some(&place) = self.by_address.get(&parcel.to) else {
                continue;
            };
            self.wire.watch(Person(place), &parcel.contents, age);
            self.guests[place].down.send(parcel, now);
        }
    }

    fn tell(&mut self, place: usize, version: u64, change: Change) {
        self.check_room(place, &change);
        let house = &mut self.guests[place];
        let client = &mut house.client;
        assert_eq!(client.closed_because, None, "no event follows the last one");
        if let Change::Closed { reason } = change {
            client.closed_because = Some(reason);
        }
        // What happened before the snapshot is in the snapshot.
        if version > client.roster.version {
            assert_eq!(version, client.roster.version + 1, "no event is left out");
            client.roster.version = version;
            client.roster.apply(&change);
        }
        if let Change::LayersWanted(told) = &change {
            client.layers_wanted(told);
        }
        client.events.push((self.now, change));
    }

    /// Nobody hears of anybody in another room.
    fn check_room(&self, place: usize, change: &Change) {
        let named = match change {
            Change::Participant(info) => Some(&info.id),
            Change::ParticipantLeft { id } => Some(id),
            Change::Track(info) => Some(&info.participant),
            Change::Binding(binding) => binding.participant.as_ref(),
            Change::Speaker { participant } => participant.as_ref(),
            _ => None,
        };
        if let Some(room) = named.and_then(|named| self.whereabouts.get(named)) {
            assert_eq!(
                *room, self.guests[place].room,
                "news crossed from one room to another"
            );
        }
    }

    /// Whoever followed the events knows exactly what a snapshot says.
    fn check_rosters(&mut self) {
        for place in self.guests.places() {
            if self.guests[place].client.closed_because.is_some() {
                continue;
            }
            let session = self.session(Person(place));
            let snapshot = self.snapshot_of(self.guests[place].shard, session);
            assert_eq!(self.guests[place].client.roster, Roster::from(&snapshot));
        }
    }

    // How commands are given.

    fn command(&mut self, shard: usize, command: Command) -> Result<Reply, CommandError> {
        self.engines[shard].handle_command(command, self.now)
    }

    /// Gives a command of a guest's, as HTTP would.
    pub(crate) fn command_of(
        &mut self,
        person: Person,
        command: Command,
    ) -> Result<Reply, CommandError> {
        let reply = self.command(self.guests[person.0].shard, command);
        self.settle();
        reply
    }

    /// Has a viewer's first picture held to a layer, as WHEP's extension does.
    pub(crate) fn limit_layer(&mut self, viewer: Person, limit: LayerLimit) {
        let session = self.session(viewer);
        let mid = self.video(viewer, 0).mid.clone();
        let command = Command::LimitLayer {
            session,
            mid,
            limit,
        };
        let done = self.command_of(viewer, command);
        assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
    }

    /// Asks the first shard something about its rooms, as a host would.
    pub(crate) fn administer(&mut self, command: RoomCommand) -> Result<Reply, CommandError> {
        let reply = self.command(0, Command::Administer(command));
        self.settle();
        reply
    }

    /// Gives every shard the word to stop.
    pub(crate) fn shut_down(&mut self) {
        for shard in 0..self.engines.len() {
            let done = self.command(shard, Command::Shutdown);
            assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
        }
        self.settle();
    }

    fn snapshot_of(&mut self, shard: usize, session: SessionId) -> Snapshot {
        match self.command(shard, Command::Snapshot { session }) {
            Ok(Reply::Snapshot(snapshot)) => *snapshot,
            other => panic!("a snapshot is answered by {other:?}"),
        }
    }

    fn room_tag(&mut self, room: &str) -> u32 {
        let known = self.rooms.iter().position(|known| known == room);
        let tag = known.unwrap_or_else(|| {
            self.rooms.push(room.to_owned());
            self.rooms.len() - 1
        });
        tag as u32
    }
}

impl Drop for World {
    /// A story that failed says how to tell it again.
    #[expect(
        clippy::print_stderr,
        reason = "a failed story has no other way to say its seed"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the story failed at {:?}; again with STORY_SEED={}",
                self.age(),
                self.seed
            );
        }
    }
}

/// A seed from the environment, to tell a failed story again or to look for others.
fn chosen_seed() -> Option<u64> {
    std::env::var("STORY_SEED").ok()?.parse().ok()
}
