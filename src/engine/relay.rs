//! A room that outgrew its shard: its viewers on other shards, and what the shards tell each other.
//!
//! A room is decided upon at its *home*: who is in it, what is published, who speaks. Once it has
//! [`super::Limits::viewers_per_shard`] viewers there, players that come by WHEP are sent to the
//! shard that has the fewest of this room, and that shard keeps a *mirror* of it: the same
//! [`Room`], with people and tracks that are elsewhere. The mirror chooses what its own viewers
//! see, keeps its own history for retransmissions, and counts its own keyframe wishes.
//!
//! Outward go changes of the room (each mirror), and the packets of tracks that have viewers at a
//! mirror (once for each mirror, shared, not copied). Back go what a mirror wants: tracks and
//! keyframes. A mirror opens with its first viewer and closes after its last.
//!
//! [`Room`]: super::room::Room

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use str0m::format::PayloadParams;
use str0m::media::Rid;
use tracing::error;

use super::Engine;
use super::command::{Door, Join};
use super::counters::DropReason;
use super::demand::Demand;
use super::event::Change;
use super::ids::{RoomId, TrackId};
use super::message::Message as Said;
use super::track::{LayerRef, MAX_LAYERS, MediaPacket, Origin, SenderClock, Track};

/// Something that one shard tells another.
#[derive(Clone, Debug)]
pub struct RelayMessage(Message);

impl RelayMessage {
    /// Whether it is media: it may be lost where a queue is full, as on any network. What is not
    /// media must arrive, or the shards would disagree about a room for ever.
    pub fn is_media(&self) -> bool {
        matches!(self.0, Message::Media { .. } | Message::Padding { .. })
    }

    /// Something that may be lost, and something that may not.
    #[cfg(test)]
    pub(crate) fn samples() -> (Self, Self) {
        use rand::SeedableRng;
        let track = TrackId::random(&mut rand::rngs::StdRng::seed_from_u64(1));
        let (rid, seq, wanted) = (None, 1, true);
        (
            Self(Message::Padding { track, rid, seq }),
            Self(Message::Want { track, wanted }),
        )
    }
}

/// What is told. The first group goes from home to mirror, the second the other way.
#[derive(Clone, Debug)]
enum Message {
    /// Something changed in the room.
    Changed { room: RoomId, change: Change },
    /// Something was said in the room; also the other way, from a viewer to home.
    Said {
        room: RoomId,
        message: Arc<Said>,
        keep: bool,
    },
    /// One of the codecs that packets of this track refer to by place.
    Codec {
        track: TrackId,
        place: usize,
        params: PayloadParams,
    },
    /// A packet.
    Media {
        track: TrackId,
        rid: Option<Rid>,
        packet: Arc<MediaPacket>,
    },
    /// A packet that was padding: there is no gap where it was.
    Padding {
        track: TrackId,
        rid: Option<Rid>,
        seq: u64,
    },
    /// How a layer's clock and its timestamps go together, on the server's wall clock.
    Clock {
        track: TrackId,
        rid: Option<Rid>,
        clock: SenderClock,
    },

    /// The sender has viewers of this room, this many: it has to know the room.
    Viewers { room: RoomId, viewers: usize },
    /// The sender has no viewers of this room any more.
    Close { room: RoomId },
    /// The sender has viewers of this track (or none any more).
    Want { track: TrackId, wanted: bool },
    /// Viewers of this track want this layer (or none of them does any more).
    WantLayer {
        track: TrackId,
        rid: Option<Rid>,
        wanted: bool,
    },
    /// A viewer of this layer needs a keyframe.
    Keyframe { track: TrackId, rid: Option<Rid> },
}

/// Messages that wait to be taken to their shards.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    outgoing: VecDeque<(u16, Message)>,
}

impl Relays {
    fn tell(&mut self, shard: u16, message: Message) {
        self.outgoing.push_back((shard, message));
    }

    /// A packet of a track leaves for the mirrors that have viewers of it.
    pub(crate) fn media(&mut self, track: &Track, rid: Option<Rid>, packet: &Arc<MediaPacket>) {
        for mirror in &track.mirrors {
            let message = Message::Media {
                track: track.id,
                rid,
                packet: packet.clone(),
            };
            self.outgoing.push_back((*mirror, message));
        }
    }

    /// A packet of a track was padding.
    pub(crate) fn padding(&mut self, track: &Track, rid: Option<Rid>, seq: u64) {
        for mirror in &track.mirrors {
            let track = track.id;
            self.tell(*mirror, Message::Padding { track, rid, seq });
        }
    }

    /// Another codec of a track was seen: its newest.
    pub(crate) fn codec(&mut self, track: &Track) {
        let newest = track.codecs.len().saturating_sub(1);
        for mirror in &track.mirrors {
            self.codecs(*mirror, track, newest);
        }
    }

    /// A mirror is to know the codecs of a track from this place on.
    fn codecs(&mut self, mirror: u16, track: &Track, from: usize) {
        for (place, params) in track.codecs.iter().enumerate().skip(from) {
            let message = Message::Codec {
                track: track.id,
                place,
                params: *params,
            };
            self.tell(mirror, message);
        }
    }

    /// A layer's clock was told.
    pub(crate) fn clock(&mut self, track: &Track, rid: Option<Rid>, clock: SenderClock) {
        for mirror in &track.mirrors {
            let track = track.id;
            self.tell(*mirror, Message::Clock { track, rid, clock });
        }
    }

    /// Something changed in a room that has a mirror.
    pub(crate) fn changed(&mut self, mirror: u16, room: RoomId, change: Change) {
        self.tell(mirror, Message::Changed { room, change });
    }

    /// Something was said in a room that another shard is to pass on.
    pub(crate) fn say(&mut self, shard: u16, room: RoomId, message: Arc<Said>, keep: bool) {
        let said = Message::Said {
            room,
            message,
            keep,
        };
        self.tell(shard, said);
    }

    /// A mirrored track has its first viewer, or has lost its last.
    pub(crate) fn want(&mut self, home: u16, track: TrackId, wanted: bool) {
        self.tell(home, Message::Want { track, wanted });
    }

    /// A mirrored layer is wanted, or not any more.
    pub(crate) fn layer_wanted(
        &mut self,
        home: u16,
        track: TrackId,
        rid: Option<Rid>,
        wanted: bool,
    ) {
        self.tell(home, Message::WantLayer { track, rid, wanted });
    }

    /// A mirrored layer's viewers want a keyframe.
    pub(crate) fn keyframe(&mut self, home: u16, track: TrackId, rid: Option<Rid>) {
        self.tell(home, Message::Keyframe { track, rid });
    }

    /// Another number of viewers of a room that has its home elsewhere; none closes the mirror.
    pub(crate) fn viewers(&mut self, home: u16, room: RoomId, viewers: usize) {
        let message = match viewers {
            0 => Message::Close { room },
            viewers => Message::Viewers { room, viewers },
        };
        self.tell(home, message);
    }
}

impl Engine {
    /// Takes in what another shard said.
    pub fn handle_relay(&mut self, from: u16, message: RelayMessage, now: Instant) {
        let relayed = AssertUnwindSafe(|| self.relayed(from, message.0, now));
        if catch_unwind(relayed).is_err() {
            self.counters.panics += 1;
            error!(from, "what another shard said could not be taken in");
        }
    }

    fn relayed(&mut self, from: u16, message: Message, now: Instant) {
        match message {
            Message::Changed { room, change } => self.mirror_change(&room, &change, from, now),
            Message::Said {
                room,
                message,
                keep,
            } => {
                if let Some(room) = self.room_ids.get(&room).copied() {
                    self.rooms[room].say(message, keep);
                    self.carry_out(room, now);
                }
            }
            Message::Codec {
                track,
                place,
                params,
            } => {
                if let Some(track) = self.mirrored(track, from) {
                    self.tracks[track].learn_codec(place, params);
                }
            }
            Message::Media { track, rid, packet } => {
                if let Some(layer) = self.mirrored_layer(track, rid, from, now) {
                    self.arrived(layer, &packet, now);
                }
            }
            Message::Padding { track, rid, seq } => {
                if let Some(layer) = self.mirrored_layer(track, rid, from, now) {
                    self.skip(self.layers[layer].track, layer, seq);
                }
            }
            Message::Clock { track, rid, clock } => {
                if let Some(layer) = self.mirrored_layer(track, rid, from, now) {
                    self.layers[layer].sender_clock = Some(clock);
                }
            }
            Message::Viewers { room, viewers } => self.mirror_opened(&room, from, viewers, now),
            Message::Close { room } => self.mirror_closed(&room, from, now),
            Message::Want { track, wanted } => self.mirror_wants(track, from, wanted, now),
            Message::WantLayer { track, rid, wanted } => {
                let track = self.track_ids.get(&track).copied();
                if let Some(layer) = track.and_then(|track| self.layer_by_rid(track, rid)) {
                    self.mirror_wants_layer(layer, from, wanted, now);
                }
            }
            Message::Keyframe { track, rid } => {
                let layer = self
                    .track_ids
                    .get(&track)
                    .and_then(|track| self.layer_by_rid(*track, rid));
                if let Some(place) = layer {
                    let serial = self.layers[place].serial;
                    self.want_keyframe(LayerRef { place, serial }, now);
                }
            }
        }
    }

    /// The next thing to tell another shard, and which. To be asked before the batches: what
    /// others have to do can be done beside.
    pub fn poll_relay(&mut self) -> Option<(u16, RelayMessage)> {
        let (shard, message) = self.relays.outgoing.pop_front()?;
        Some((shard, RelayMessage(message)))
    }

    /// Media for other shards was thrown away, because they could not keep up.
    pub fn relays_lost(&mut self, messages: u64) {
        let reason = DropReason::RelayQueueFull;
        *self.counters.drops.entry(reason).or_default() += messages;
    }

    // At home.

    /// The shard that a viewer should rather be on: its room has plenty here, and fewer there.
    pub(super) fn elsewhere(&self, join: &Join) -> Option<u16> {
        let is_viewer = matches!(join.door, Door::Watch { .. }) && join.home.is_none();
        let room = &self.rooms[*self.room_ids.get(&join.room)?];
        let here = room.len();
        let is_busy = join.busy.contains(&self.config.shard);
        if !is_viewer || !(is_busy || here >= self.config.limits.viewers_per_shard) {
            return None;
        }
        let others = (0..self.config.shards)
            .filter(|shard| *shard != self.config.shard && !join.busy.contains(shard));
        others
            .map(|shard| (room.viewers_at(shard), shard))
            .min()
            .filter(|(viewers, _)| is_busy || *viewers < here)
            .map(|(_, shard)| shard)
    }

    /// A mirror has this many viewers; one that was not known hears how the room stands.
    fn mirror_opened(&mut self, id: &RoomId, mirror: u16, viewers: usize, now: Instant) {
        let place = self.room_place(id, now);
        let room = &mut self.rooms[place];
        if room.set_viewers(mirror, viewers) {
            for change in room.introduction() {
                self.relays.changed(mirror, id.clone(), change);
            }
            for message in room.kept_messages() {
                self.relays.say(mirror, id.clone(), message.clone(), true);
            }
        }
    }

    fn mirror_closed(&mut self, room: &RoomId, mirror: u16, now: Instant) {
        let Some(place) = self.room_ids.get(room).copied() else {
            return;
        };
        self.rooms[place].close_mirror(mirror);
        for id in self.rooms[place].track_ids() {
            if let Some(track) = self.track_ids.get(&id) {
                self.tracks[*track].mirrors.retain(|known| *known != mirror);
            }
        }
        if self.rooms[place].is_empty() {
            self.rooms[place].emptied(now);
            self.end_if_expired(place, now);
        }
    }

    fn mirror_wants(&mut self, id: TrackId, mirror: u16, wanted: bool, now: Instant) {
        let Some(place) = self.track_ids.get(&id).copied() else {
            return;
        };
        let track = &mut self.tracks[place];
        track.mirrors.retain(|known| *known != mirror);
        if wanted {
            track.mirrors.push(mirror);
        }
        self.mirror_wants_all(place, mirror, now);
        if !wanted {
            return;
        }
        self.relays.codecs(mirror, &self.tracks[place], 0);
        for layer in self.tracks[place].layers.clone() {
            let serial = self.layers[layer].serial;
            if let Some(clock) = self.clock_of(LayerRef {
                place: layer,
                serial,
            }) {
                let rid = self.layers[layer].rid;
                let message = Message::Clock {
                    track: id,
                    rid,
                    clock,
                };
                self.relays.tell(mirror, message);
            }
        }
    }

    // At a mirror.

    /// How many viewers this shard has of a room that lives elsewhere has changed.
    pub(super) fn viewers_changed(&mut self, room: usize) {
        let room = &self.rooms[room];
        if let Some(home) = room.home() {
            self.relays.viewers(home, room.id().clone(), room.len());
        }
    }

    /// Something changed in a room of which there is a mirror here.
    fn mirror_change(&mut self, room: &RoomId, change: &Change, home: u16, now: Instant) {
        // A mirror that has closed meanwhile has no use for it.
        let Some(place) = self.room_ids.get(room).copied() else {
            return;
        };
        if self.rooms[place].home() != Some(home) {
            return;
        }
        match change {
            Change::Track(info) if !self.track_ids.contains_key(&info.id) => {
                let origin = Origin::Relay { home };
                let track = Track::new(info.id, info.kind, origin);
                let track = self.tracks.insert(track);
                self.track_ids.insert(info.id, track);
            }
            Change::Track(info) => {
                let held = info.muted_by.is_some();
                if let Some(track) = self.mirrored(info.id, home)
                    && std::mem::replace(&mut self.tracks[track].is_held, held)
                    && !held
                {
                    self.release(track, now);
                }
            }
            Change::TrackEnded { id } => {
                if let Some(track) = self.mirrored(*id, home) {
                    self.drop_track(track);
                }
            }
            _ => {}
        }
        self.rooms[place].mirror(change, now);
        self.carry_out(place, now);
    }

    /// A mirror has no viewers any more: what it knew of the room is forgotten.
    pub(super) fn forget_mirror(&mut self, room: usize) {
        for id in self.rooms[room].track_ids() {
            if let Some(track) = self.track_ids.get(&id).copied() {
                self.drop_track(track);
            }
        }
    }

    /// Tells home when a mirrored track has its first viewer, and when it has lost its last.
    pub(super) fn review_relay(&mut self, track: usize) {
        let track = &mut self.tracks[track];
        let Origin::Relay { home } = track.origin else {
            return;
        };
        let wanted = !track.subscribers.is_empty();
        if track.is_wanted != wanted {
            track.is_wanted = wanted;
            self.relays.want(home, track.id, wanted);
            // Home takes it that all layers are wanted, until it hears otherwise.
            for layer in &track.layers {
                self.layers[*layer].demand = Demand::default();
            }
        }
    }

    fn mirrored(&self, id: TrackId, home: u16) -> Option<usize> {
        let place = *self.track_ids.get(&id)?;
        (self.tracks[place].origin == Origin::Relay { home }).then_some(place)
    }

    /// The layer that a relayed packet belongs to; one that was not known is made.
    fn mirrored_layer(
        &mut self,
        id: TrackId,
        rid: Option<Rid>,
        home: u16,
        now: Instant,
    ) -> Option<usize> {
        let track = self.mirrored(id, home)?;
        let known = self.layer_by_rid(track, rid);
        if known.is_some() || self.tracks[track].layers.len() >= MAX_LAYERS {
            return known;
        }
        // Which SSRC its publisher uses matters at home only.
        Some(self.new_layer(track, rid, 0, now))
    }

    fn layer_by_rid(&self, track: usize, rid: Option<Rid>) -> Option<usize> {
        let layers = &self.tracks[track].layers;
        layers
            .iter()
            .copied()
            .find(|layer| self.layers[*layer].rid == rid)
    }
}
