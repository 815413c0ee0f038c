//! The core: rooms, sessions and the forwarding between them, without I/O.
//!
//! An [`Engine`] is a value. It is handed what arrived and what time it is, and says what to
//! send and when to wake it. It never waits, locks, spawns or looks at a clock, so that an
//! hour of conference is a test of seconds, and a failure is a seed.
//!
//! The methods come in kinds, to be called in this order:
//! * `handle_*` take something in: a datagram, a command, the passing of time;
//! * [`Engine::flush`] ends a wake-up: what is queued for subscribers is to leave;
//! * `poll_*` give something out, and are called until they return `None`.
//!
//! A [`room`] decides who sees what and never touches a connection; a [`session`] carries one
//! connection and has never heard of rooms. The engine holds both, and introduces them.

pub mod administration;
pub mod allocation;
pub mod bitrate;
mod cache;
pub mod codec;
pub mod command;
pub mod counters;
pub mod downlink;
pub mod dtls;
pub mod estimate;
pub mod event;
pub mod ids;
pub mod inspect;
pub mod message;
pub mod notice;
pub mod pacer;
pub mod rtcp;
pub mod rtx;
pub mod sdp;
pub mod speaker;
pub mod srtp;
pub mod timeline;
pub mod ufrag;

mod advertised;
mod channels;
mod choice;
mod commands;
mod data;
mod demand;
mod diary;
mod egress;
mod extension;
mod feedback;
mod flush;
mod former;
mod forward;
mod header;
mod join;
mod keyframes;
mod layers;
mod life;
mod limits;
mod messages;
mod moderation;
mod offering;
mod outbox;
mod path;
mod quality;
mod recording;
mod relay;
mod remb;
pub mod replay;
mod room;
mod session;
mod share;
mod shedding;
mod slot;
mod standstill;
pub mod tape;
mod timers;
mod track;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use slab::Slab;
use tracing::{error, info};

use advertised::Advertised;
pub use channels::MAX_MESSAGE_BYTES as MAX_DATA_MESSAGE_BYTES;
use command::{Command, CommandError, Reply};
use counters::{Counters, DropReason};
use diary::Note;
pub use dtls::Certificate;
use event::{Change, CloseReason, Kind, SessionEvent};
use feedback::Wanted;
use flush::{Handing, Passing};
use ids::{RoomId, SessionId, TrackId};
use join::Resumable;
pub use limits::{ChannelLimits, Limits};
use notice::{News, Notice};
pub use outbox::Batch;
use outbox::Outbox;
use recording::Expected;
pub use relay::RelayMessage;
use relay::Relays;
use room::{Decision, Room};
use session::{Session, SessionOutput};
use shedding::Shedding;
use standstill::Standstill;
use timers::{Timer, Timers};
use track::{Layer, LayerRef, Origin, Track};

/// Which session on which shard a datagram is for, as its address or user fragment told.
///
/// Small and guessable: it routes, it authorizes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The shard that owns it.
    pub shard: u16,
    /// Its place in that shard's table.
    pub index: u32,
    /// Told apart from former sessions in the same place.
    pub generation: u32,
}

/// What carries a session's datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// The one socket.
    #[default]
    Udp,
    /// A connection of the client's (RFC 6544), as the shell numbers them.
    Tcp(u64),
}

/// A datagram from the socket.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who it is for.
    pub session: SessionKey,
    /// Where it came from.
    pub source: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// The local address that it was sent to, where the socket tells.
    pub local_ip: Option<IpAddr>,
    /// When the kernel had it; the engine may be told of it later.
    pub at: Instant,
    /// What it says.
    pub contents: &'a [u8],
}

/// Datagrams to one destination, to be sent at once.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub destination: SocketAddr,
    /// What is to carry it.
    pub transport: Transport,
    /// The local address to send from, so that replies come from where requests went.
    pub local_ip: Option<IpAddr>,
    /// One datagram, or several of [`Self::segment_size`] bytes each (the last may be shorter).
    pub contents: &'a [u8],
    /// The size of each datagram in [`Self::contents`] where there is more than one.
    pub segment_size: Option<usize>,
}

/// An address that a session has, or no longer has, for the demultiplexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressChange {
    /// An authenticated ICE check of this session came from this address; said of every check,
    /// as the table of addresses forgets.
    Learned(SessionKey, SocketAddr),
    /// An authenticated ICE check of this session came in this TCP connection; said of every
    /// check, as a connection without them is given up.
    Checked(SessionKey, u64),
    /// The session is gone.
    Forgotten(SessionKey),
}

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Which shard it is.
    pub shard: u16,
    /// How many shards there are; their numbers run from 0.
    pub shards: u16,
    /// The addresses that every answer names as candidates.
    pub advertised: Vec<SocketAddr>,
    /// Those to which clients can connect with TCP, as passive candidates (RFC 6544 §4.5).
    pub advertised_tcp: Vec<SocketAddr>,
    /// How much it takes on.
    pub limits: Limits,
    /// The wall clock when the engine starts, since the Unix epoch. From then on it runs with
    /// the monotonic clock: reports must not jump when somebody sets the time.
    pub wall_clock: Duration,
}

/// How long a session may take to connect before its place is given back.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// How long after its end a session can be continued by another (`X-Resume`).
const RESUME_WINDOW: Duration = Duration::from_secs(30);

/// How many ended sessions are remembered for that.
const MAX_RESUMABLE: usize = 1_024;

/// A shard's rooms and sessions.
pub struct Engine {
    config: EngineConfig,
    advertised: Advertised,
    certificate: Certificate,
    rng: StdRng,
    started_at: Option<Instant>,
    /// Each in a place of its own, so that it can be fetched into the cache without being looked at.
    sessions: Slab<Box<Session>>,
    session_ids: BTreeMap<SessionId, usize>,
    rooms: Slab<Room>,
    room_ids: BTreeMap<RoomId, usize>,
    tracks: Slab<Track>,
    track_ids: BTreeMap<TrackId, usize>,
    layers: Slab<Layer>,
    /// Sessions that ended lately: whoever continues one keeps its participant id.
    resumable: VecDeque<Resumable>,
    timers: Timers,
    outbox: Outbox,
    relays: Relays,
    /// What tracks have for their receivers since the last flush: track, layer, and what.
    passing: Vec<(usize, LayerRef, Passing)>,
    /// What of that is being handed over.
    handing: Handing,
    /// Sessions with something queued.
    dirty: Vec<usize>,
    /// Sessions whose queues are being sealed, batch by batch.
    flushing: Vec<usize>,
    flushed_at: Option<Instant>,
    standstill: Standstill,
    /// When what is handled now was received.
    received_at: Option<Instant>,
    events: VecDeque<SessionEvent>,
    notices: VecDeque<Notice>,
    addresses: VecDeque<AddressChange>,
    /// Kept for its capacity.
    wanted: Vec<Wanted>,
    counters: Counters,
    generation: u32,
    next_serial: u32,
    is_draining: bool,
    is_shutting_down: bool,
    shedding: Shedding,
    /// Who is recorded when they come.
    expected: Option<Expected>,
}

impl Engine {
    /// An engine without rooms. `seed` is the source of all its randomness, secrets included:
    /// outside of tests it comes from the operating system.
    pub fn new(config: EngineConfig, certificate: Certificate, seed: [u8; 32]) -> Self {
        Self {
            advertised: Advertised::of(&config),
            config,
            certificate,
            rng: StdRng::from_seed(seed),
            started_at: None,
            sessions: Slab::new(),
            session_ids: BTreeMap::new(),
            rooms: Slab::new(),
            room_ids: BTreeMap::new(),
            tracks: Slab::new(),
            track_ids: BTreeMap::new(),
            layers: Slab::new(),
            resumable: VecDeque::new(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            relays: Relays::default(),
            passing: Vec::new(),
            handing: Handing::default(),
            dirty: Vec::new(),
            flushing: Vec::new(),
            flushed_at: None,
            standstill: Standstill::default(),
            received_at: None,
            events: VecDeque::new(),
            notices: VecDeque::new(),
            addresses: VecDeque::new(),
            wanted: Vec::new(),
            counters: Counters::default(),
            generation: 0,
            next_serial: 0,
            is_draining: false,
            is_shutting_down: false,
            shedding: Shedding::default(),
            expected: None,
        }
    }

    /// Takes in a datagram that the socket received at `now`.
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        let Some(place) = self.place_of(datagram.session) else {
            self.counters.drop(DropReason::UnknownSession);
            return;
        };
        self.received_at = Some(datagram.at.min(now));
        self.guarded(place, now, |engine| engine.datagram(place, &datagram, now));
        self.received_at = None;
    }

    /// There will be datagrams of these sessions soon: of the first after the next one, of the second
    /// twice as far ahead. What reports of theirs need is fetched.
    pub fn expect_datagrams(&self, [near, far]: [Option<SessionKey>; 2]) {
        let session = |key: Option<SessionKey>| self.sessions.get(key?.index as usize);
        if let Some(near) = session(near) {
            near.egress.downlink.warm_feedback();
        }
        if let Some(far) = session(far) {
            far.warm_reports();
        }
    }

    /// Carries out what HTTP asks for.
    ///
    /// # Errors
    /// Says whose move it is: see [`CommandError`]. Nothing is changed then.
    pub fn handle_command(
        &mut self,
        command: Command,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        self.command(command, now)
    }

    /// Time has passed: does what is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look_for_standstill(self.timers.next(), now);
        while let Some(timer) = self.timers.poll(now) {
            match timer {
                Timer::Session(place) => {
                    if let Some(session) = self.sessions.get_mut(place) {
                        session.armed = None;
                        self.guarded(place, now, |engine| engine.session_timeout(place, now));
                    }
                }
                Timer::Layer(place) => self.layer_timeout(place, now),
                Timer::Track(place) => self.track_timeout(place, now),
                Timer::Room(place) => self.room_timeout(place, now),
            }
        }
    }

    /// The next thing that a session is to hear of.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// The next address that was learned or forgotten.
    pub fn poll_address(&mut self) -> Option<AddressChange> {
        self.addresses.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// After [`Command::Shutdown`]: whether every goodbye has been polled out.
    pub fn is_drained(&self) -> bool {
        self.is_shutting_down && self.sessions.is_empty() && self.outbox.is_empty()
    }

    /// Runs what concerns one session; if it panics, that session ends and no other.
    fn guarded(&mut self, place: usize, now: Instant, work: impl FnOnce(&mut Self)) {
        let room = self.sessions[place].room;
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.fail(place, now);
        }
        self.rearm_room(room);
    }

    /// The work for a session panicked: it ends.
    fn fail(&mut self, place: usize, now: Instant) {
        self.counters.panics += 1;
        error!("a session failed and was ended");
        self.abandon(place, now);
    }

    fn place_of(&self, key: SessionKey) -> Option<usize> {
        let place = key.index as usize;
        self.sessions
            .get(place)
            .filter(|session| session.key == key)
            .map(|_| place)
    }

    fn datagram(&mut self, place: usize, datagram: &Datagram<'_>, now: Instant) {
        // A report may have waited: round trips are measured by when it came.
        let wall_clock = self.wall_clock(datagram.at.min(now));
        let mut wanted = std::mem::take(&mut self.wanted);
        let session = &mut self.sessions[place];
        let is_proven =
            session.handle_datagram(datagram, now, wall_clock, &mut wanted, &mut self.counters);
        if is_proven {
            let change = match datagram.transport {
                Transport::Udp => AddressChange::Learned(session.key, datagram.source),
                Transport::Tcp(connection) => AddressChange::Checked(session.key, connection),
            };
            self.addresses.push_back(change);
        }
        for wish in wanted.drain(..) {
            self.wanted_by(place, wish, now);
        }
        self.wanted = wanted;
        // Reports do not concern str0m, as a rule: it is not asked what follows from them.
        if self.sessions.get(place).is_some_and(|it| it.is_stirred()) {
            self.run(place, now);
        } else {
            self.rearm_session(place);
        }
    }

    fn session_timeout(&mut self, place: usize, now: Instant) {
        let session = &mut self.sessions[place];
        if !session.connected && now >= session.connect_by {
            self.end_session(place, CloseReason::NeverConnected, now);
            return;
        }
        session.handle_timeout(now);
        if session.egress.report_at().is_some_and(|at| at <= now) {
            self.send_reports(place, now);
        }
        self.downlink_timeout(place, now);
        if self.sessions.get(place).is_some_and(|it| it.is_stirred()) {
            self.run(place, now);
        } else {
            self.rearm_session(place);
        }
    }

    /// Acts on everything that a session gives out, then sets its timer.
    fn run(&mut self, place: usize, now: Instant) {
        while let Some(session) = self.sessions.get_mut(place) {
            match session.poll(&mut self.outbox, &mut self.counters) {
                Some(output) => self.output(place, output, now),
                None => break,
            }
        }
        self.rearm_session(place);
    }

    fn output(&mut self, place: usize, output: SessionOutput, now: Instant) {
        match output {
            SessionOutput::Media(packet) => self.media(place, *packet, now),
            SessionOutput::Data(message) => self.data(place, &message, now),
            SessionOutput::SenderReport(report) => self.sender_report(place, &report, now),
            SessionOutput::IceConnected => {
                let took = now.saturating_duration_since(self.sessions[place].joined_at);
                if !self.sessions[place].connected {
                    self.counters.join_ice.observe(took, 1);
                }
            }
            SessionOutput::Connected => self.connected(place, now),
            SessionOutput::Closed(reason) => self.end_session(place, reason, now),
        }
    }

    fn connected(&mut self, place: usize, now: Instant) {
        let session = &self.sessions[place];
        let took = now.saturating_duration_since(session.joined_at);
        self.counters.join_dtls.observe(took, 1);
        let session = &mut self.sessions[place];
        session.connected_after = Some(took);
        session.diary.note(now, Note::Connected);
        let room = session.room;
        self.rooms[room].connected(place);
        self.publish_tracks(place, now);
        self.carry_out(room, now);
        self.want_keyframes_for(place, now);
    }

    /// Ends a session: tells it and the others, and frees what it held.
    fn end_session(&mut self, place: usize, reason: CloseReason, now: Instant) {
        let Some(session) = self.sessions.get_mut(place) else {
            return;
        };
        session.close(reason);
        // The goodbye: whatever else comes out is too late to matter.
        while session
            .poll(&mut self.outbox, &mut self.counters)
            .is_some_and(|output| !matches!(output, SessionOutput::Closed(_)))
        {}
        self.remove(place, reason, now);
    }

    /// Ends a session whose connection must not be touched any more.
    fn abandon(&mut self, place: usize, now: Instant) {
        self.remove(place, CloseReason::Failed, now);
    }

    fn remove(&mut self, place: usize, reason: CloseReason, now: Instant) {
        let Some(session) = self.sessions.get(place) else {
            return;
        };
        let (room, id, key) = (session.room, session.id, session.key);
        info!(
            session = ?id,
            room = %self.rooms[room].id(),
            reason = reason.label(),
            connected_after_ms = session.connected_after.map(|took| took.as_millis() as u64),
            lasted_ms = now.saturating_duration_since(session.joined_at).as_millis() as u64,
            "session ended"
        );

        // Somebody who went on as another session cannot go on as a third, and who was sent away
        // comes back as a stranger.
        use CloseReason::{Moved, Removed, Resumed, RoomEnded};
        if !matches!(reason, Resumed | Removed | RoomEnded | Moved) {
            self.remember(place, now);
        }
        self.unsubscribe_all(place);
        for line in std::mem::take(&mut self.sessions[place].lines) {
            if let Some(track) = line.track {
                self.drop_track(track);
            }
        }
        self.rooms[room].leave(place, reason == CloseReason::Resumed, now);
        self.carry_out(room, now);
        self.viewers_changed(room);
        self.tell(place, Change::Closed { reason });

        let mut session = self.sessions.remove(place);
        if self.sessions.is_empty() {
            // The fullest moment is over.
            self.sessions.shrink_to_fit();
        }
        self.timers
            .set(Timer::Session(place), &mut session.armed, None);
        self.session_ids.remove(&id);
        self.addresses.push_back(AddressChange::Forgotten(key));
        *self.counters.sessions_closed.entry(reason).or_default() += 1;
        if self.rooms[room].is_empty() {
            self.rooms[room].emptied(now);
            self.end_if_expired(room, now);
        }
    }

    /// Ends a room that has been empty for as long as it may.
    fn end_if_expired(&mut self, place: usize, now: Instant) {
        if self.rooms[place].has_expired(now) {
            self.remove_room(place, now);
        } else {
            self.rearm_room(place);
        }
    }

    fn remember(&mut self, place: usize, now: Instant) {
        let session = &self.sessions[place];
        let room = &self.rooms[session.room];
        let Some(participant) = room.info_of(place) else {
            return;
        };
        if self.resumable.len() == MAX_RESUMABLE {
            self.resumable.pop_front();
        }
        self.resumable.push_back(Resumable {
            session: session.id,
            room: room.id().clone(),
            participant: participant.clone(),
            limit: session.egress.downlink.limit(),
            until: now + RESUME_WINDOW,
        });
    }

    fn remove_room(&mut self, place: usize, now: Instant) {
        self.announce(place, News::RoomEnded, now);
        self.forget_mirror(place);
        let mut room = self.rooms.remove(place);
        self.room_ids.remove(room.id());
        self.timers.set(Timer::Room(place), &mut room.armed, None);
    }

    /// Does what a room decided.
    fn carry_out(&mut self, room: usize, now: Instant) {
        while let Some(decision) = self.rooms.get_mut(room).and_then(Room::poll_decision) {
            match decision {
                Decision::Bind {
                    session,
                    slot,
                    track,
                } => self.bind(session, slot, track, now),
                Decision::Announce(news) => self.announce(room, news, now),
                Decision::Tell { session, change } => {
                    if let Change::Message(message) = &change {
                        self.deliver_message(session, message, now);
                    }
                    self.tell(session, change);
                }
                Decision::Relay { mirror, change } => {
                    let id = self.rooms[room].id().clone();
                    self.relays.changed(mirror, id, change);
                }
                Decision::Say {
                    mirror,
                    message,
                    keep,
                } => {
                    let id = self.rooms[room].id().clone();
                    self.relays.say(mirror, id, message, keep);
                }
            }
        }
    }

    fn tell(&mut self, place: usize, change: Change) {
        let Some(session) = self.sessions.get_mut(place) else {
            return;
        };
        session.version += 1;
        let event = SessionEvent {
            session: session.id,
            version: session.version,
            change,
        };
        self.events.push_back(event);
    }

    fn room_timeout(&mut self, place: usize, now: Instant) {
        if let Some(room) = self.rooms.get_mut(place) {
            room.armed = None;
            room.handle_timeout(now);
            self.carry_out(place, now);
            self.end_if_expired(place, now);
        }
    }

    fn rearm_room(&mut self, place: usize) {
        if let Some(room) = self.rooms.get_mut(place) {
            let at = room.deadline();
            self.timers.set(Timer::Room(place), &mut room.armed, at);
        }
    }

    /// The wall clock, since the Unix epoch.
    fn wall_clock(&mut self, now: Instant) -> Duration {
        let started_at = *self.started_at.get_or_insert(now);
        self.config.wall_clock + now.saturating_duration_since(started_at)
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    fn wall_clock_ms(&mut self, now: Instant) -> u64 {
        self.wall_clock(now).as_millis() as u64
    }

    fn gauges(&mut self) -> Counters {
        let mut counters = self.counters.clone();
        counters.sessions = self.sessions.len() as u64;
        let is_home = |(_, room): &(usize, &Room)| room.home().is_none();
        counters.rooms = self.rooms.iter().filter(is_home).count() as u64;
        counters.datagrams_out = self.outbox.datagrams;
        for (_, session) in &self.sessions {
            counters.connected_sessions += u64::from(session.connected);
            let downlink = &session.egress.downlink;
            if let Some(path) = downlink.report() {
                *counters.paths.entry(path.state).or_default() += 1;
                counters.estimate_bps += path.estimate.as_bps();
                counters.target_bps += path.target.as_bps();
                counters.allocated_bps += downlink.allocated().as_bps();
            }
            for slot in &session.egress.slots {
                counters
                    .subscriptions
                    .add(slot.kind, u64::from(slot.subscription.is_some()));
            }
        }
        for (_, track) in &self.tracks {
            let is_ours = matches!(track.origin, Origin::Session { .. });
            counters.tracks.add(track.kind, u64::from(is_ours));
        }
        counters
    }
}

/// The kind of an m-line, as str0m calls it.
impl From<str0m::media::MediaKind> for Kind {
    fn from(kind: str0m::media::MediaKind) -> Self {
        match kind {
            str0m::media::MediaKind::Audio => Kind::Audio,
            str0m::media::MediaKind::Video => Kind::Video,
        }
    }
}
