//! A room: who is in it, what they publish, and what each slot should show.
//!
//! A room decides and never touches a connection. It speaks of sessions by their place in the
//! engine's table, and of what it decided by [`Decision`]s, which the engine carries out.

mod messages;
mod mirror;
mod policy;
mod roll;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::command::{Binding, Door, SlotWish, Wish};
use super::event::{Change, Kind, ParticipantInfo, Role, Snapshot, Source, TrackInfo};
use super::ids::{ParticipantId, RoomId, TrackId};
use super::message::Message;
use super::notice::News;
use super::speaker::SpeakerDetector;
use messages::KeptMessages;
use mirror::{Afar, Mirroring};
use policy::Policy;

/// What a room decided.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// This slot shows this track from now on (or nothing).
    Bind {
        session: usize,
        slot: usize,
        track: Option<TrackId>,
    },
    /// Tell the world outside.
    Announce(News),
    /// Tell this session.
    Tell { session: usize, change: Change },
    /// Tell the mirror of the room on this shard.
    Relay { mirror: u16, change: Change },
    /// Something was said that the mirror on this shard is to pass on.
    Say {
        mirror: u16,
        message: Arc<Message>,
        keep: bool,
    },
}

/// A named place; tracks are published into it and watched from it.
#[derive(Debug)]
pub(crate) struct Room {
    id: RoomId,
    /// Since when it is there, in milliseconds since the Unix epoch.
    created_ms: u64,
    /// By the session's place in the engine's table.
    members: BTreeMap<usize, Member>,
    /// In order of publication.
    tracks: Vec<PublishedTrack>,
    detector: SpeakerDetector<usize>,
    speaker: Option<Owner>,
    /// Its mirrors on other shards, or the home that it mirrors.
    mirroring: Mirroring,
    /// In a mirror: those who are at home, and seen here.
    afar: BTreeMap<ParticipantId, Afar>,
    /// Counts speaker changes: who spoke later has the higher number.
    turn: u64,
    policy: Policy,
    messages: KeptMessages,
    decisions: VecDeque<Decision>,
    /// The engine's timer for this room.
    pub(crate) armed: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    info: ParticipantInfo,
    door: Door,
    /// Since when it is there, in milliseconds since the Unix epoch.
    joined_ms: u64,
    slots: Vec<Slot>,
    wish: Wish,
    /// The others never see it: a player, or whose token says so.
    is_hidden: bool,
    /// The others see it, once it is connected.
    visible: bool,
    /// When it last became the active speaker, as a number of [`Room::turn`]; 0 is never.
    spoke: u64,
}

#[derive(Debug)]
struct Slot {
    mid: String,
    kind: Kind,
    track: Option<TrackId>,
}

#[derive(Debug)]
struct PublishedTrack {
    info: TrackInfo,
    owner: Owner,
}

/// Who publishes a track, or speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// A session of this engine.
    Here(usize),
    /// Somebody at the room's home.
    Afar(ParticipantId),
}

impl Room {
    pub(crate) fn new(id: RoomId, created_ms: u64) -> Self {
        Self {
            id,
            created_ms,
            members: BTreeMap::new(),
            tracks: Vec::new(),
            detector: SpeakerDetector::default(),
            speaker: None,
            mirroring: Mirroring::default(),
            afar: BTreeMap::new(),
            turn: 0,
            policy: Policy::default(),
            messages: KeptMessages::default(),
            decisions: VecDeque::new(),
            armed: None,
        }
    }

    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    /// Whether nobody is here, nor at a mirror.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && !self.mirroring.has_mirrors()
    }

    /// How many participants are on this shard, those who only publish or watch included.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether somebody publishes here, or this one does.
    pub(crate) fn has_track_of(&self, participant: Option<&ParticipantId>) -> bool {
        let is_theirs = |track: &PublishedTrack| {
            participant.is_none_or(|participant| track.info.participant == *participant)
        };
        self.tracks.iter().any(is_theirs)
    }

    /// The session that publishes under this name, if any.
    pub(crate) fn publisher_named(&self, participant: &ParticipantId) -> Option<usize> {
        let named = |member: &Member| {
            member.info.id == *participant && !matches!(member.door, Door::Watch { .. })
        };
        self.members
            .iter()
            .find(|(_, member)| named(member))
            .map(|(session, _)| *session)
    }

    /// Whether a track is of whoever speaks.
    pub(crate) fn is_speakers(&self, track: TrackId) -> bool {
        let track = self.track(track);
        track.is_some_and(|track| self.speaker.as_ref() == Some(&track.owner))
    }

    /// Everybody's sessions.
    pub(crate) fn sessions(&self) -> Vec<usize> {
        self.members.keys().copied().collect()
    }

    /// Who a session is.
    pub(crate) fn info_of(&self, session: usize) -> Option<&ParticipantInfo> {
        self.members.get(&session).map(|member| &member.info)
    }

    /// The next thing that was decided.
    pub(crate) fn poll_decision(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// Somebody is coming: the others hear of it once they are connected.
    pub(crate) fn join(
        &mut self,
        session: usize,
        info: ParticipantInfo,
        door: Door,
        is_hidden: bool,
        joined_ms: u64,
    ) {
        self.policy.expires_at = None;
        let member = Member {
            info,
            is_hidden: is_hidden || matches!(door, Door::Watch { .. }),
            door,
            joined_ms,
            slots: Vec::new(),
            wish: Wish {
                rest_auto: true,
                ..Wish::default()
            },
            visible: false,
            spoke: 0,
        };
        self.members.insert(session, member);
    }

    /// A session's slots, in the order of their m-lines; they only ever grow in number.
    pub(crate) fn set_slots(&mut self, session: usize, slots: &[(String, Kind)], now: Instant) {
        let Some(member) = self.members.get_mut(&session) else {
            return;
        };
        for (mid, kind) in slots.iter().skip(member.slots.len()) {
            member.slots.push(Slot {
                mid: mid.clone(),
                kind: *kind,
                track: None,
            });
        }
        self.bind(session, now);
    }

    /// A session's transport is up: from now on it is there for the others.
    pub(crate) fn connected(&mut self, session: usize) {
        let Some(member) = self.members.get_mut(&session) else {
            return;
        };
        if member.is_hidden || std::mem::replace(&mut member.visible, true) {
            return;
        }
        let participant = member.info.clone();
        self.tell_all(&Change::Participant(participant.clone()));
        self.announce(News::ParticipantJoined { participant });
    }

    /// A session that is coming continues a former one: for the others, whoever was there has
    /// been there all along. That the former one leaves is not told.
    pub(crate) fn take_over(&mut self, session: usize, former: usize) {
        let Some(was) = self.members.get(&former) else {
            return;
        };
        let (is_visible, known) = (was.visible, was.info.clone());
        let Some(member) = self.members.get_mut(&session) else {
            return;
        };
        member.visible = is_visible && !member.is_hidden;
        if is_visible && member.is_hidden {
            self.tell_all(&Change::ParticipantLeft { id: known.id });
        } else if is_visible && member.info != known {
            let change = Change::Participant(member.info.clone());
            self.tell_all(&change);
        }
    }

    /// Somebody is gone, with all their tracks. `silently` if another session continues this one.
    pub(crate) fn leave(&mut self, session: usize, silently: bool, now: Instant) {
        let tracks: Vec<TrackId> = self.tracks_of(session).map(|track| track.info.id).collect();
        for track in tracks {
            self.unpublish(track, now);
        }
        let Some(member) = self.members.remove(&session) else {
            return;
        };
        self.detector.remove(session);
        if self.speaker == Some(Owner::Here(session)) {
            self.speaker = None;
            self.tell_all(&Change::Speaker { participant: None });
        }
        if member.visible && !silently {
            let id = member.info.id.clone();
            self.tell_all(&Change::ParticipantLeft { id });
            self.announce(News::ParticipantLeft {
                participant: member.info,
            });
        }
    }

    /// A track is there from now on.
    pub(crate) fn publish(
        &mut self,
        session: usize,
        id: TrackId,
        kind: Kind,
        slides: bool,
        now: Instant,
    ) {
        let Some(member) = self.members.get(&session) else {
            return;
        };
        let info = TrackInfo {
            id,
            participant: member.info.id.clone(),
            kind,
            source: Source::of(kind, slides),
            muted: false,
            muted_by: None,
        };
        self.tracks.push(PublishedTrack {
            info: info.clone(),
            owner: Owner::Here(session),
        });
        self.tell_all(&Change::Track(info.clone()));
        self.announce(News::TrackPublished { track: info });
        self.bind_all(now);
    }

    /// A track is no more.
    pub(crate) fn unpublish(&mut self, id: TrackId, now: Instant) {
        let Some(place) = self.tracks.iter().position(|track| track.info.id == id) else {
            return;
        };
        let track = self.tracks.remove(place).info;
        self.tell_all(&Change::TrackEnded { id });
        self.announce(News::TrackUnpublished { track });
        self.bind_all(now);
    }

    /// A publisher, or a host, muted a track, or its publisher unmuted it.
    pub(crate) fn mute(&mut self, id: TrackId, muted: bool, by: Option<Role>, now: Instant) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.info.id == id) else {
            return;
        };
        if track.info.muted == muted && track.info.muted_by == by {
            return;
        }
        track.info.muted = muted;
        track.info.muted_by = by;
        let change = Change::Track(track.info.clone());
        self.tell_all(&change);
        self.bind_all(now);
    }

    /// The loudness of a session's microphone, in -dBov (RFC 6464).
    pub(crate) fn heard(&mut self, session: usize, level: u8, now: Instant) {
        self.detector.level(session, level, now);
    }

    /// When [`Self::handle_timeout`] has work.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let speaker = self.detector.poll_timeout();
        speaker.into_iter().chain(self.policy.expires_at).min()
    }

    /// Looks who is speaking.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(change) = self.detector.poll(now) else {
            return;
        };
        let speaker = change.to;
        self.turn += 1;
        let Some(member) = self.members.get_mut(&speaker) else {
            return;
        };
        member.spoke = self.turn;
        self.speaker = Some(Owner::Here(speaker));
        let change = Change::Speaker {
            participant: Some(member.info.id.clone()),
        };
        self.tell_all(&change);
        self.bind_all(now);
    }

    /// A session says what its slots should show.
    pub(crate) fn wish(&mut self, session: usize, wish: Wish, now: Instant) {
        let Some(member) = self.members.get_mut(&session) else {
            return;
        };
        member.wish = wish;
        self.bind(session, now);
    }

    /// Whether a slot of that name exists.
    pub(crate) fn has_slot(&self, session: usize, mid: &str) -> bool {
        self.members
            .get(&session)
            .is_some_and(|member| member.slots.iter().any(|slot| slot.mid == mid))
    }

    /// What is wished of a slot, where it holds a track that was asked for.
    pub(crate) fn wish_of(&self, session: usize, slot: usize) -> Option<&SlotWish> {
        let member = self.members.get(&session)?;
        member.wish.slots.get(&member.slots.get(slot)?.mid)
    }

    /// What a session's slots show.
    pub(crate) fn bindings(&self, session: usize) -> Vec<Binding> {
        let slots = self
            .members
            .get(&session)
            .map_or(&[][..], |member| &member.slots);
        slots.iter().map(|slot| self.binding(slot)).collect()
    }

    /// The room as a session sees it.
    pub(crate) fn snapshot(&self, session: usize, version: u64) -> Option<Snapshot> {
        let me = self.members.get(&session)?;
        let is_seen = |member: &&Member| member.visible || std::ptr::eq(*member, me);
        Some(Snapshot {
            version,
            room: self.id.clone(),
            me: me.info.id.clone(),
            participants: self
                .members
                .values()
                .filter(is_seen)
                .map(|member| &member.info)
                .chain(self.afar.values().map(|afar| &afar.info))
                .cloned()
                .collect(),
            tracks: self.tracks.iter().map(|track| track.info.clone()).collect(),
            bindings: self.bindings(session),
            paused: Vec::new(),
            speaker: self.speaker_id(),
            state: self.policy.state.clone(),
            messages: self.kept_messages().cloned().collect(),
            layers_wanted: Vec::new(),
        })
    }

    fn tracks_of(&self, session: usize) -> impl Iterator<Item = &PublishedTrack> {
        self.tracks
            .iter()
            .filter(move |track| track.owner == Owner::Here(session))
    }

    fn binding(&self, slot: &Slot) -> Binding {
        let track = slot.track.and_then(|id| self.track(id));
        Binding {
            mid: slot.mid.clone(),
            track: track.map(|track| track.info.id),
            participant: track.map(|track| track.info.participant.clone()),
        }
    }

    fn speaker_id(&self) -> Option<ParticipantId> {
        match self.speaker.as_ref()? {
            Owner::Here(session) => Some(self.members.get(session)?.info.id.clone()),
            Owner::Afar(id) => Some(id.clone()),
        }
    }

    /// When somebody last became the active speaker, as a number of [`Room::turn`]; 0 is never.
    fn spoke(&self, owner: &Owner) -> u64 {
        match owner {
            Owner::Here(session) => self.members.get(session).map_or(0, |member| member.spoke),
            Owner::Afar(id) => self.afar.get(id).map_or(0, |afar| afar.spoke),
        }
    }

    fn track(&self, id: TrackId) -> Option<&PublishedTrack> {
        self.tracks.iter().find(|track| track.info.id == id)
    }

    fn tell_all(&mut self, change: &Change) {
        let tell = |session: &usize| Decision::Tell {
            session: *session,
            change: change.clone(),
        };
        self.decisions.extend(self.members.keys().map(tell));
        self.relay(change);
    }

    fn announce(&mut self, news: News) {
        self.decisions.push_back(Decision::Announce(news));
    }

    fn bind_all(&mut self, now: Instant) {
        let sessions: Vec<usize> = self.members.keys().copied().collect();
        for session in sessions {
            self.bind(session, now);
        }
    }

    /// Makes a session's slots show what they should, and says what changed.
    fn bind(&mut self, session: usize, now: Instant) {
        let Some(member) = self.members.get(&session) else {
            return;
        };
        let mut shown: Vec<Option<TrackId>> = vec![None; member.slots.len()];
        for (slot, shown) in member.slots.iter().zip(&mut shown) {
            if let Some(SlotWish::Track { track, .. }) = member.wish.slots.get(&slot.mid) {
                let fits = |t: &&PublishedTrack| {
                    t.info.kind == slot.kind && t.owner != Owner::Here(session)
                };
                *shown = self.track(*track).filter(fits).map(|track| track.info.id);
            }
        }
        for kind in [Kind::Video, Kind::Audio] {
            self.fill_auto(session, member, kind, &mut shown, now);
        }
        self.apply(session, &shown);
    }

    /// Fills the slots that choose for themselves: what is shown already stays in its slot,
    /// so that nothing jumps; what comes new takes the places that became free.
    fn fill_auto(
        &self,
        session: usize,
        member: &Member,
        kind: Kind,
        shown: &mut [Option<TrackId>],
        now: Instant,
    ) {
        let auto: Vec<usize> = (0..member.slots.len())
            .filter(|&i| member.slots[i].kind == kind && is_auto(member, &member.slots[i]))
            .collect();
        let mut chosen = self.candidates(session, member, kind, now);
        chosen.retain(|id| !shown.contains(&Some(*id)));
        chosen.truncate(auto.len());

        for &slot in &auto {
            if let Some(current) = member.slots[slot].track
                && let Some(place) = chosen.iter().position(|id| *id == current)
            {
                shown[slot] = Some(chosen.remove(place));
            }
        }
        let mut rest = chosen.into_iter();
        for &slot in &auto {
            if shown[slot].is_none() {
                shown[slot] = rest.next();
            }
        }
    }

    /// The tracks that a session might want to see, best first.
    fn candidates(
        &self,
        session: usize,
        member: &Member,
        kind: Kind,
        now: Instant,
    ) -> Vec<TrackId> {
        let only = match &member.door {
            Door::Watch { participant } => participant.as_ref(),
            _ => None,
        };
        let mut tracks: Vec<(usize, &PublishedTrack)> = self
            .tracks
            .iter()
            .enumerate()
            .filter(|(_, track)| track.owner != Owner::Here(session) && track.info.kind == kind)
            .filter(|(_, track)| only.is_none_or(|only| track.info.participant == *only))
            .collect();
        let watches_one = matches!(member.door, Door::Watch { .. });
        tracks.sort_by_key(|(order, track)| {
            let spoke = self.spoke(&track.owner);
            let is_slides = matches!(track.info.source, Source::Screen | Source::ScreenAudio);
            // A grid shows screens before faces; a player of one picture follows who speaks.
            let first = if watches_one { is_slides } else { !is_slides };
            (track.info.muted, first, std::cmp::Reverse(spoke), *order)
        });
        if kind == Kind::Audio {
            self.loudest_first(&mut tracks, session, now);
        }
        tracks.into_iter().map(|(_, track)| track.info.id).collect()
    }

    /// More microphones than slots: those that are loud now come first.
    fn loudest_first(&self, tracks: &mut [(usize, &PublishedTrack)], session: usize, now: Instant) {
        let slots = self.members.get(&session).map_or(0, |member| {
            member
                .slots
                .iter()
                .filter(|slot| slot.kind == Kind::Audio)
                .count()
        });
        if tracks.len() > slots && slots > 1 {
            let loudest = self.detector.loudest(slots, now);
            tracks.sort_by_key(|(_, track)| {
                loudest
                    .iter()
                    .position(|s| Owner::Here(*s) == track.owner)
                    .unwrap_or(usize::MAX)
            });
        }
    }

    fn apply(&mut self, session: usize, shown: &[Option<TrackId>]) {
        let Some(member) = self.members.get_mut(&session) else {
            return;
        };
        let mut changed = Vec::new();
        for (place, (slot, track)) in member.slots.iter_mut().zip(shown).enumerate() {
            if slot.track != *track {
                slot.track = *track;
                changed.push(place);
            }
        }
        for place in changed {
            let slot = &self.members[&session].slots[place];
            let change = Change::Binding(self.binding(slot));
            let track = slot.track;
            self.decisions.push_back(Decision::Tell { session, change });
            self.decisions.push_back(Decision::Bind {
                session,
                slot: place,
                track,
            });
        }
    }
}

fn is_auto(member: &Member, slot: &Slot) -> bool {
    match member.wish.slots.get(&slot.mid) {
        Some(SlotWish::Auto) => true,
        Some(_) => false,
        None => member.wish.rest_auto,
    }
}
