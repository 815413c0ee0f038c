//! What a story looks at in a [`World`].

use std::time::Instant;

use plenum::engine::Engine;
use plenum::engine::command::{Command, Reply};
use plenum::engine::counters::Counters;
use plenum::engine::event::{Change, Kind, Snapshot};
use plenum::engine::ids::{ParticipantId, SessionId, TrackId};

use super::{Person, World};
use crate::client::Client;
use crate::receiver::Receiver;
use crate::wire::Class;

impl World {
    pub(crate) fn client(&self, person: Person) -> &Client {
        &self.guests[person.0].client
    }

    pub(crate) fn client_mut(&mut self, person: Person) -> &mut Client {
        &mut self.guests[person.0].client
    }

    pub(crate) fn session(&self, person: Person) -> SessionId {
        self.client(person)
            .seat
            .as_ref()
            .expect("a guest who was let in")
            .session
    }

    pub(crate) fn participant(&self, person: Person) -> ParticipantId {
        self.client(person)
            .seat
            .as_ref()
            .expect("a guest who was let in")
            .participant
            .clone()
    }

    /// The room as somebody's snapshot shows it.
    pub(crate) fn snapshot(&mut self, person: Person) -> Snapshot {
        let session = self.session(person);
        self.snapshot_of(self.guests[person.0].shard, session)
    }

    /// A guest's n-th video slot.
    pub(crate) fn video(&self, person: Person, slot: usize) -> &Receiver {
        self.client(person)
            .slots(Kind::Video)
            .nth(slot)
            .expect("a video slot")
    }

    /// A guest's n-th audio slot.
    pub(crate) fn audio(&self, person: Person, slot: usize) -> &Receiver {
        self.client(person)
            .slots(Kind::Audio)
            .nth(slot)
            .expect("an audio slot")
    }

    /// The source of a kind that somebody publishes.
    pub(crate) fn source_of(&self, person: Person, kind: Kind) -> u32 {
        let mut sources = self.client(person).sources.iter();
        sources
            .find(|source| source.format.kind() == kind)
            .expect("a source of that kind")
            .id
    }

    /// The track of a kind that somebody publishes, as everybody knows it.
    pub(crate) fn track_of(&self, person: Person, kind: Kind) -> TrackId {
        let participant = self.participant(person);
        let roster = &self.client(person).roster;
        let mut tracks = roster.tracks.values();
        let theirs = tracks.find(|track| track.participant == participant && track.kind == kind);
        theirs.expect("a track of that kind").id
    }

    /// Keyframe requests that somebody's video sources were sent.
    pub(crate) fn keyframe_requests(&self, person: Person) -> usize {
        self.client(person)
            .sources
            .iter()
            .map(|source| source.keyframe_requests())
            .sum()
    }

    /// The newest datagram of a kind that somebody sent.
    pub(crate) fn last_sent(&self, person: Person, is_it: impl Fn(Class) -> bool) -> Vec<u8> {
        let mut sent = self.guests[person.0].sent.iter().rev();
        let found = sent.find(|datagram| is_it(Class::of(datagram)));
        found.expect("a datagram of that kind").clone()
    }

    /// Whether somebody came by the door that takes everything.
    pub(crate) fn is_meeting(&self, person: Person) -> bool {
        self.guests[person.0].is_meeting
    }

    /// The room that somebody is in.
    pub(crate) fn room(&self, person: Person) -> &str {
        &self.guests[person.0].room
    }

    /// SSRC and RTX SSRC of a guest's slot.
    pub(crate) fn ssrcs(&self, person: Person, mid: &str) -> (u32, Option<u32>) {
        self.guests[person.0].ssrcs[mid]
    }

    /// Whether somebody hears of changes that a test of them accepts, from a moment on.
    pub(crate) fn heard(
        &self,
        person: Person,
        from: Instant,
        is_it: impl Fn(&Change) -> bool,
    ) -> bool {
        let events = &self.client(person).events;
        events
            .iter()
            .any(|(at, change)| *at >= from && is_it(change))
    }

    /// The counters of the first shard.
    pub(crate) fn counters(&mut self) -> Counters {
        match self.command(0, Command::Counters) {
            Ok(Reply::Counters(counters)) => *counters,
            other => panic!("counters are answered by {other:?}"),
        }
    }

    /// The shard that a guest's session is on.
    pub(crate) fn shard(&self, person: Person) -> usize {
        self.guests[person.0].shard
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.engines.iter().all(Engine::is_drained)
    }

    /// Asserts that the server holds nothing any more.
    pub(crate) fn assert_empty(&mut self) {
        for shard in 0..self.engines.len() {
            match self.command(shard, Command::Counters) {
                Ok(Reply::Counters(counters)) => {
                    let gauges = (
                        counters.sessions,
                        counters.connected_sessions,
                        counters.rooms,
                    );
                    assert_eq!(gauges, (0, 0, 0), "sessions, connected, rooms");
                    let held = (counters.tracks.total(), counters.subscriptions.total());
                    assert_eq!(held, (0, 0), "tracks, subscriptions");
                    assert_eq!(counters.panics, 0);
                }
                other => panic!("counters are answered by {other:?}"),
            }
        }
        assert!(
            self.table.is_empty(),
            "the demultiplexer has forgotten everybody"
        );
    }
}
