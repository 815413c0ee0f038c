//! What rooms told sessions: a bounded log for each session, from which streams read.
//!
//! Engines publish into the logs and never wait: a log keeps the newest changes only, and a
//! reader who falls behind them starts over from a snapshot. A session whose events nobody has
//! asked for keeps no changes at all, because its first reader begins with a snapshot anyway.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Notify;

use super::auth::{Grants, KeyPrint, Pass};
use super::clock;
use super::limits::SessionSlot;
use super::players::Player;
use crate::engine::command::Door;
use crate::engine::event::{Change, CloseReason, SessionEvent};
use crate::engine::ids::{ParticipantId, RoomId, SessionId};
use crate::turn::Guest;

/// Changes that a session's log keeps: a reader may be away for this many.
///
/// A room of fifty that all join at once makes about 200 changes. More would cost memory in
/// every session (some 100 bytes each), fewer would cost snapshots.
const LOG_CHANGES: usize = 512;

/// How much the messages among them may take, in bytes: sixty of the largest. Messages to a whole
/// room are shared by its sessions' logs, those to one participant are not.
const LOG_MESSAGE_BYTES: usize = 1024 * 1024;

/// How long the log of a closed session can still be read, so that a client that was away
/// hears why its session ended and not only that it is unknown.
const CLOSED_LOG_KEPT: Duration = Duration::from_secs(60);

/// Most changes that a reader takes at once: it holds the log's lock while it does.
const CHANGES_PER_READ: usize = 64;

/// Every session's log, and which shard owns the session.
#[derive(Default)]
pub struct Hub {
    logs: DashMap<SessionId, Arc<Log>>,
    /// Sessions that are closed, by when they may be forgotten; oldest first.
    closed: Mutex<VecDeque<(Instant, SessionId)>>,
    /// No more events will come: readers end when they have read what there is.
    ending: AtomicBool,
}

impl Hub {
    /// Takes a change from an engine. Called on the engine's thread; never waits.
    pub fn publish(&self, event: SessionEvent) {
        // An engine may speak of a session before HTTP has learned of it from the reply.
        let log = Arc::clone(&self.logs.entry(event.session).or_default());
        if matches!(event.change, Change::Closed { .. }) {
            let until = clock::now() + CLOSED_LOG_KEPT;
            lock(&self.closed).push_back((until, event.session));
        }
        log.push(Entry {
            version: event.version,
            change: Arc::new(event.change),
        });
    }

    /// Notes what is known of a new session.
    pub(super) fn open(&self, session: SessionId, opened: Opened) {
        let log = Arc::clone(&self.logs.entry(session).or_default());
        // A session has one shard for its life, and is opened once.
        let _ = log.shard.set(opened.shard);
        let mut state = lock(&log.state);
        state.owner = opened.owner;
        if state.closed.is_none() {
            state.slots = opened.slots;
            state.player = opened.player;
        }
    }

    /// What is kept of an open session, if it is a player's.
    pub(super) fn player(&self, session: SessionId) -> Option<Arc<Player>> {
        self.log(session)
            .and_then(|log| lock(&log.state).player.clone())
    }

    /// Notes that a client has left. Its engine says so a moment later; for whoever asks in between,
    /// the session is gone already, with all that it made.
    pub(super) fn left(&self, session: SessionId) {
        if let Some(log) = self.log(session) {
            let mut state = lock(&log.state);
            state.deleted = true;
            // Who has the answer may come again before the engine's last event is here.
            state.slots = [None, None];
            state.player = None;
        }
    }

    /// Ends one reader of a session's events.
    pub(super) fn dismiss(&self, session: SessionId, reader: u64) {
        if let Some(log) = self.log(session) {
            log.detach(reader);
            log.changed.notify_waiters();
        }
    }

    /// Keeps a session's place at the relay until it closes.
    pub(super) fn keep(&self, session: SessionId, guest: Option<Guest>) {
        if let Some(log) = self.log(session) {
            let mut state = lock(&log.state);
            if state.closed.is_none() {
                state.guest = guest;
            }
        }
    }

    /// The shard of a session that is not known to be closed.
    pub(super) fn shard_of(&self, session: SessionId) -> Option<usize> {
        let log = self.logs.get(&session)?;
        if log.is_closed() {
            None
        } else {
            log.shard.get().copied()
        }
    }

    /// Whether a session was closed by its client's connection, and was not deleted before:
    /// a `DELETE` that follows belongs to that, once.
    pub(super) fn take_leave(&self, id: &str) -> bool {
        let log = id.parse().ok().and_then(|session| self.log(session));
        log.is_some_and(|log| {
            let mut state = lock(&log.state);
            let by_peer = state.closed.as_ref().is_some_and(|closed| {
                let reason = CloseReason::ClosedByPeer;
                matches!(&*closed.change, Change::Closed { reason: why } if *why == reason)
            });
            by_peer && !std::mem::replace(&mut state.deleted, true)
        })
    }

    /// Whose session it is, also for a while after its end.
    pub(super) fn owner(&self, session: SessionId) -> Option<Owner> {
        self.log(session)
            .and_then(|log| lock(&log.state).owner.clone())
    }

    /// Notes that an owner has shown a newer token.
    pub(super) fn renew(&self, session: SessionId, pass: &Pass) {
        let Some(log) = self.log(session) else { return };
        if let Some(owner) = &mut lock(&log.state).owner
            && owner.identity == pass.identity
            && owner.expires_at < pass.expires_at
        {
            owner.expires_at = pass.expires_at;
            owner.key = pass.key;
            owner.grants = pass.grants.clone();
        }
    }

    /// The open sessions whose owner's token does not hold any more, with their shards.
    pub(super) fn forfeited(&self, holds: impl Fn(&Owner) -> bool) -> Vec<(SessionId, usize)> {
        let mut forfeited = Vec::new();
        for entry in &self.logs {
            let state = lock(&entry.state);
            let is_open = state.closed.is_none();
            if let (true, Some(owner), Some(shard)) = (is_open, &state.owner, entry.shard.get())
                && !holds(owner)
            {
                forfeited.push((*entry.key(), *shard));
            }
        }
        forfeited
    }

    /// The log of a session, also for a while after its end.
    pub(super) fn log(&self, session: SessionId) -> Option<Arc<Log>> {
        self.logs.get(&session).map(|log| Arc::clone(&log))
    }

    /// Forgets sessions that have been closed for long enough.
    pub(super) fn reap(&self, now: Instant) -> usize {
        let before = self.logs.len();
        let mut closed = lock(&self.closed);
        while closed.front().is_some_and(|&(until, _)| until <= now) {
            if let Some((_, session)) = closed.pop_front() {
                self.logs.remove(&session);
            }
        }
        before.saturating_sub(self.logs.len())
    }

    /// Lets every reader end once it has read what there is.
    pub(super) fn end_readers(&self) {
        self.ending.store(true, Ordering::Relaxed);
        for log in &self.logs {
            log.changed.notify_waiters();
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// How many logs there are, those of sessions that ended a moment ago included.
    pub(super) fn len(&self) -> usize {
        self.logs.len()
    }
}

/// What HTTP knows of a session from the start.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The shard that it is on.
    pub(super) shard: usize,
    /// Whose it is, where that is known.
    pub(super) owner: Option<Owner>,
    /// Its place among those of its client's address; given back when it closes.
    pub(super) slots: [Option<SessionSlot>; 2],
    /// What is kept of players; given up when it closes.
    pub(super) player: Option<Arc<Player>>,
}

/// Whose a session is, where tokens are required.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) room: RoomId,
    /// How it came in.
    pub(super) door: Door,
    pub(super) identity: ParticipantId,
    pub(super) grants: Grants,
    /// When the token ends, in seconds since the Unix epoch.
    pub(super) expires_at: Option<u64>,
    pub(super) key: KeyPrint,
}

impl Owner {
    pub(super) fn new(room: RoomId, door: Door, pass: Pass) -> Self {
        Self {
            room,
            door,
            identity: pass.identity,
            grants: pass.grants,
            expires_at: pass.expires_at,
            key: pass.key,
        }
    }
}

/// One numbered change.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) version: u64,
    pub(super) change: Arc<Change>,
}

/// The newest changes of one session.
#[derive(Default)]
pub(super) struct Log {
    shard: OnceLock<usize>,
    state: Mutex<State>,
    /// Told of every change, of a reader that has to go, and of the end.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    /// Somebody reads or has read: changes are kept.
    recording: bool,
    /// Without gaps, oldest first, at most [`LOG_CHANGES`].
    changes: VecDeque<Entry>,
    /// What the messages in them take, in bytes, at most [`LOG_MESSAGE_BYTES`].
    message_bytes: usize,
    /// The newest version that anybody was told of.
    latest: u64,
    /// The session's last change.
    closed: Option<Entry>,
    /// Whose the session is.
    owner: Option<Owner>,
    /// The client took its leave by HTTP, too.
    deleted: bool,
    /// Who reads, oldest first, as many as [`Log::attach`] was told at most.
    readers: VecDeque<u64>,
    next_reader: u64,
    /// The session's place among those of its client's address.
    slots: [Option<SessionSlot>; 2],
    /// Its place at the relay.
    guest: Option<Guest>,
    /// What is kept of a player.
    player: Option<Arc<Player>>,
}

/// What a reader is to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Start over from a snapshot: what it has not read is no longer there.
    Snapshot,
    /// Pass these on.
    Changes(Vec<Entry>),
    /// Wait for [`Log::changed`].
    Wait,
    /// Nothing will follow.
    End,
}

impl Log {
    fn push(&self, entry: Entry) {
        let mut state = lock(&self.state);
        state.latest = state.latest.max(entry.version);
        if matches!(*entry.change, Change::Closed { .. }) {
            state.closed = Some(entry.clone());
            state.slots = [None, None];
            state.guest = None;
            state.player = None;
        }
        if state.recording {
            state.record(entry);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A new reader's number. Changes are kept from now on, and if there are more than `most`
    /// readers, the one who has been here longest has to go; says whether that is so.
    pub(super) fn attach(&self, most: usize) -> (u64, bool) {
        let mut state = lock(&self.state);
        state.recording = true;
        let reader = state.next_reader;
        state.next_reader += 1;
        state.readers.push_back(reader);
        let crowded = state.readers.len() > most;
        if crowded {
            state.readers.pop_front();
        }
        drop(state);
        if crowded {
            self.changed.notify_waiters();
        }
        (reader, crowded)
    }

    pub(super) fn detach(&self, reader: u64) {
        lock(&self.state).readers.retain(|&other| other != reader);
    }

    /// What follows `seen`, the last version that a reader knows; `None` if it knows nothing.
    pub(super) fn after(&self, reader: u64, seen: Option<u64>) -> Next {
        let state = lock(&self.state);
        if !state.readers.contains(&reader) {
            return Next::End;
        }
        if let (Some(closed), Some(seen)) = (&state.closed, seen)
            && closed.version <= seen
        {
            return Next::End;
        }
        match (state.unread(seen), &state.closed) {
            (Some(changes), _) if !changes.is_empty() => Next::Changes(changes),
            // Its room has no snapshot for a closed session: only the end is left to tell.
            (_, Some(closed)) => Next::Changes(vec![closed.clone()]),
            (Some(_), None) => Next::Wait,
            (None, None) => Next::Snapshot,
        }
    }

    /// Notes that a reader was given a snapshot of this version.
    pub(super) fn snapshot_taken(&self, version: u64) {
        let mut state = lock(&self.state);
        state.latest = state.latest.max(version);
    }

    /// Whether a version that a client names can be one that it was told of.
    pub(super) fn may_have_told(&self, version: u64) -> bool {
        version <= lock(&self.state).latest
    }

    pub(super) fn is_closed(&self) -> bool {
        let state = lock(&self.state);
        state.closed.is_some() || state.deleted
    }
}

impl State {
    /// Keeps a change, and the ones before it as far as they follow and fit.
    fn record(&mut self, entry: Entry) {
        let follows = |last: &Entry| last.version + 1 == entry.version;
        if !self.changes.back().is_none_or(follows) {
            // A gap: what came before it is of no use to anybody any more.
            self.changes.clear();
            self.message_bytes = 0;
        }
        self.message_bytes += message_bytes(&entry);
        self.changes.push_back(entry);
        while self.changes.len() > LOG_CHANGES || self.message_bytes > LOG_MESSAGE_BYTES {
            let Some(oldest) = self.changes.pop_front() else {
                return;
            };
            self.message_bytes -= message_bytes(&oldest);
        }
    }

    /// The changes after `seen`; `None` where some of them are gone.
    fn unread(&self, seen: Option<u64>) -> Option<Vec<Entry>> {
        let next = seen? + 1;
        let Some(first) = self.changes.front() else {
            // Nothing is kept. A snapshot can be ahead of the log, but not behind it.
            return (next > self.latest).then(Vec::new);
        };
        if first.version > next {
            return None;
        }
        let skip = usize::try_from(next - first.version).unwrap_or(usize::MAX);
        Some(
            self.changes
                .iter()
                .skip(skip)
                .take(CHANGES_PER_READ)
                .cloned()
                .collect(),
        )
    }
}

/// What a message takes; other changes are small.
fn message_bytes(entry: &Entry) -> usize {
    match &*entry.change {
        Change::Message(message) => message.weight(),
        _ => 0,
    }
}

/// Locks; a reader that panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::{Json, Message};

    fn session(n: u8) -> SessionId {
        format!("{}{}", "a".repeat(25), char::from(b'a' + n))
            .parse()
            .expect("26 characters of base32")
    }

    fn speaker(version: u64) -> SessionEvent {
        SessionEvent {
            session: session(0),
            version,
            change: Change::Speaker { participant: None },
        }
    }

    fn closed(version: u64) -> SessionEvent {
        let change = Change::Closed {
            reason: CloseReason::Left,
        };
        SessionEvent {
            session: session(0),
            version,
            change,
        }
    }

    fn versions(next: Next) -> Vec<u64> {
        match next {
            Next::Changes(changes) => changes.iter().map(|entry| entry.version).collect(),
            other => panic!("expected changes, not {other:?}"),
        }
    }

    #[test]
    fn a_session_that_nobody_reads_keeps_no_changes() {
        let hub = Hub::default();
        for version in 1..=1000 {
            hub.publish(speaker(version));
        }
        let log = hub.log(session(0)).expect("it was published to");
        assert!(lock(&log.state).changes.is_empty());
    }

    #[test]
    fn a_log_keeps_the_newest_changes_and_a_slow_reader_starts_over() {
        let hub = Hub::default();
        hub.open(session(0), Opened::default());
        let log = hub.log(session(0)).expect("it is open");
        let (reader, _) = log.attach(2);
        log.snapshot_taken(0);
        for version in 1..=LOG_CHANGES as u64 + 1 {
            hub.publish(speaker(version));
        }
        assert_eq!(lock(&log.state).changes.len(), LOG_CHANGES);
        assert!(
            matches!(log.after(reader, Some(0)), Next::Snapshot),
            "version 1 is gone"
        );
        assert_eq!(versions(log.after(reader, Some(1)))[0], 2);
    }

    #[test]
    fn messages_that_nobody_fetches_take_a_bounded_amount() {
        let hub = Hub::default();
        hub.open(session(0), Opened::default());
        let log = hub.log(session(0)).expect("it is open");
        let (reader, _) = log.attach(2);
        for version in 1..=100 {
            let message = Message {
                id: "m".to_owned(),
                from: None,
                to: None,
                event: "chat".parse().expect("a name"),
                data: Json::from(&serde_json::json!("x".repeat(16_000))),
                at_ms: 0,
            };
            hub.publish(SessionEvent {
                session: session(0),
                version,
                change: Change::Message(Arc::new(message)),
            });
        }
        assert!(lock(&log.state).message_bytes <= LOG_MESSAGE_BYTES);
        assert!(matches!(log.after(reader, Some(30)), Next::Snapshot));
        assert_eq!(versions(log.after(reader, Some(99))), [100]);
    }

    #[test]
    fn a_third_reader_ends_the_first() {
        let log = Log::default();
        let readers: Vec<u64> = (0..3).map(|_| log.attach(2).0).collect();
        assert!(matches!(log.after(readers[0], Some(0)), Next::End));
        assert!(matches!(log.after(readers[1], Some(0)), Next::Wait));
        assert!(matches!(log.after(readers[2], Some(0)), Next::Wait));
    }

    #[test]
    fn a_closed_session_says_so_for_a_while_and_is_then_forgotten() {
        let hub = Hub::default();
        hub.open(session(0), Opened::default());
        hub.publish(closed(1));
        assert_eq!(hub.shard_of(session(0)), None, "no command reaches it");
        let log = hub.log(session(0)).expect("it is kept for late readers");
        let (reader, _) = log.attach(2);
        assert_eq!(versions(log.after(reader, None)), [1]);
        assert!(matches!(log.after(reader, Some(1)), Next::End));

        let now = clock::now();
        hub.reap(now);
        assert_eq!(hub.len(), 1);
        hub.reap(now + CLOSED_LOG_KEPT);
        assert_eq!(hub.len(), 0);
    }

    #[test]
    fn a_session_that_closes_before_its_answer_left_is_not_kept_for_ever() {
        let hub = Hub::default();
        hub.publish(closed(1));
        hub.open(session(0), Opened::default());
        hub.reap(clock::now() + CLOSED_LOG_KEPT);
        assert_eq!(hub.len(), 0);
    }
}
