//! What an operator sees of rooms and sessions: what is wanted, what is sent, and why.
//!
//! Read off the engine's own tables when somebody asks, and nothing is kept for it but a few
//! numbers per slot and the session's [`Diary`](super::diary::Diary).

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Engine;
use super::command::SlotWish;
use super::diary::Note;
use super::event::{Kind, Source};
use super::ids::{ParticipantId, RoomId, TrackId};
use super::room::Room;
use super::rtcp::ReportBlock;
use super::session::Session;
use super::slot::Slot;
use super::track::{LayerRef, Origin};

/// A room, and who is in it.
#[derive(Clone, Debug, Serialize)]
pub struct RoomOverview {
    /// Its name.
    pub room: RoomId,
    /// The shard that holds these of its sessions.
    pub shard: u16,
    /// Its sessions, in the order in which they came.
    pub sessions: Vec<SessionOverview>,
}

/// A session in a list.
#[derive(Clone, Debug, Serialize)]
pub struct SessionOverview {
    /// Who it is in the room.
    pub participant: ParticipantId,
    /// The display name.
    pub name: Option<String>,
    /// How it came in: `publish`, `watch` or `meet`.
    pub door: &'static str,
    /// Whether its transport is up.
    pub connected: bool,
    /// How long it has been there, in seconds.
    pub age_seconds: f64,
    /// The tracks that it publishes.
    pub publishes: usize,
    /// The slots that show something.
    pub receives: usize,
    /// Of what was sent to it since its last reports, the part that was lost: the worst slot.
    pub loss_ratio: f64,
    /// The round trip to it, in seconds, once it is known.
    pub round_trip_seconds: Option<f64>,
}

/// A session in full.
#[derive(Clone, Debug, Serialize)]
pub struct SessionReport {
    /// As in the list.
    #[serde(flatten)]
    pub overview: SessionOverview,
    /// What it publishes.
    pub tracks: Vec<TrackReport>,
    /// What it receives, slot by slot.
    pub slots: Vec<SlotReport>,
    /// Part of the video that it would get otherwise which the server forwards: 1 unless its thread
    /// does not keep up.
    pub video_share_ratio: f64,
    /// The way to it; absent where it does not report what arrives, packet by packet.
    pub path: Option<PathNumbers>,
    /// What was decided lately, oldest first.
    pub recent: Vec<NoteReport>,
}

/// A published track.
#[derive(Clone, Debug, Serialize)]
pub struct TrackReport {
    /// Its name in events and wishes.
    pub track: TrackId,
    /// Its m-line.
    pub mid: String,
    /// Audio or video.
    pub kind: Kind,
    /// What it shows, by its offer.
    pub source: Source,
    /// Its publisher says so.
    pub muted: bool,
    /// Slots on this shard that are bound to it.
    pub receivers: usize,
    /// Its layers, in the order in which they appeared.
    pub layers: Vec<LayerReport>,
}

/// A layer of a track.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// The encoding's name (RID), if it has one.
    pub rid: Option<String>,
    /// What arrives of it, measured.
    pub bits_per_second: u64,
    /// Whether packets came within the last second.
    pub active: bool,
}

/// A slot: what is wanted in it, what is sent, and why.
#[derive(Clone, Debug, Serialize)]
pub struct SlotReport {
    /// Its m-line.
    pub mid: String,
    /// Audio or video.
    pub kind: Kind,
    /// What the client asked for: `auto`, `nothing`, or a track.
    pub wish: String,
    /// The height that the client shows it at, in pixels.
    pub wished_height: Option<u32>,
    /// The track that it is bound to.
    pub track: Option<TrackId>,
    /// Who publishes that.
    pub publisher: Option<ParticipantId>,
    /// What it shows.
    pub source: Option<Source>,
    /// Why it shows what it shows, in words.
    pub state: &'static str,
    /// The layer that is wanted.
    pub wanted: Option<LayerReport>,
    /// The layer that flows.
    pub flows: Option<LayerReport>,
    /// How long it has waited for a keyframe, in seconds.
    pub waiting_seconds: Option<f64>,
    /// Media packets sent, without retransmissions; starts over at 2^32.
    pub sent_packets: u32,
    /// Their payload; starts over at 2^32.
    pub sent_bytes: u32,
    /// Packets that the receiver asked for again.
    pub nacked_packets: u64,
    /// Packets that were sent again.
    pub rtx_packets: u64,
    /// Keyframes that the receiver asked for.
    pub keyframes_asked: u64,
    /// The part that was lost between the receiver's last two reports, before repair.
    pub loss_ratio: Option<f64>,
}

/// What is known of the way to a receiver (`docs/estimation.md`).
#[derive(Clone, Debug, Serialize)]
pub struct PathNumbers {
    /// What is going on on it, as in the metric `plenum_paths`.
    pub state: &'static str,
    /// What it is believed to carry.
    pub estimate_bits_per_second: u64,
    /// What may be sent now: less than the estimate while a queue is emptied.
    pub target_bits_per_second: u64,
    /// What the layers cost that were chosen.
    pub allocated_bits_per_second: u64,
    /// Of the last hundred packets or so, the part that did not arrive.
    pub loss_ratio: f64,
    /// The part that is lost however little is sent.
    pub own_loss_ratio: f64,
    /// From the sending of a packet until it was reported, in seconds.
    pub feedback_seconds: f64,
    /// What every packet of the last quarter of a second waited at the least, in seconds.
    pub standing_queue_seconds: f64,
}

/// Something that was decided or happened.
#[derive(Clone, Debug, Serialize)]
pub struct NoteReport {
    /// When, in seconds since the session began.
    pub at_seconds: f64,
    /// What, in words.
    pub what: String,
}

/// What one slot counts for its report.
#[derive(Debug, Default)]
pub(crate) struct SlotStats {
    pub(crate) nacked_packets: u64,
    pub(crate) rtx_packets: u64,
    pub(crate) keyframes_asked: u64,
    loss_ratio: Option<f64>,
}

impl SlotStats {
    /// The receiver reported on it (RFC 3550 §6.4.1).
    pub(crate) fn reported(&mut self, report: &ReportBlock) {
        self.loss_ratio = Some(f64::from(report.fraction_lost) / 256.0);
    }
}

impl Engine {
    /// Every room with its sessions.
    pub(super) fn overview(&self, now: Instant) -> Vec<RoomOverview> {
        let rooms = self.rooms.iter().map(|(_, room)| RoomOverview {
            room: room.id().clone(),
            shard: self.config.shard,
            sessions: room
                .sessions()
                .into_iter()
                .filter_map(|place| self.session_overview(place, now))
                .collect(),
        });
        rooms.collect()
    }

    /// Every session of a participant in a room.
    pub(super) fn inspect(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
        now: Instant,
    ) -> Vec<SessionReport> {
        self.places_of(room, participant)
            .into_iter()
            .filter_map(|place| self.session_report(place, now))
            .collect()
    }

    fn session_overview(&self, place: usize, now: Instant) -> Option<SessionOverview> {
        let session = self.sessions.get(place)?;
        let info = self.rooms[session.room].info_of(place)?;
        let slots = &session.egress.slots;
        let losses = slots.iter().filter_map(|slot| slot.stats.loss_ratio);
        Some(SessionOverview {
            participant: info.id.clone(),
            name: info.name.clone(),
            door: session.door.label(),
            connected: session.connected,
            age_seconds: seconds(now.saturating_duration_since(session.joined_at)),
            publishes: session
                .lines
                .iter()
                .filter(|line| line.track.is_some())
                .count(),
            receives: slots
                .iter()
                .filter(|slot| slot.subscription.is_some())
                .count(),
            loss_ratio: losses.fold(0.0, f64::max),
            round_trip_seconds: session.egress.rtt.map(seconds),
        })
    }

    fn session_report(&self, place: usize, now: Instant) -> Option<SessionReport> {
        let session = self.sessions.get(place)?;
        let tracks = session.lines.iter().filter_map(|line| line.track);
        let slots = session.egress.slots.iter().enumerate();
        let began = session.joined_at;
        Some(SessionReport {
            overview: self.session_overview(place, now)?,
            tracks: tracks
                .filter_map(|track| self.track_report(track, now))
                .collect(),
            slots: slots
                .map(|(number, slot)| self.slot_report(place, number, slot, now))
                .collect(),
            video_share_ratio: session.egress.shed_to.unwrap_or(100) as f64 / 100.0,
            path: path_numbers(session),
            recent: session
                .diary
                .notes()
                .map(|(at, note)| NoteReport {
                    at_seconds: seconds(at.saturating_duration_since(began)),
                    what: words(note, session, &self.rooms[session.room]),
                })
                .collect(),
        })
    }

    fn track_report(&self, place: usize, now: Instant) -> Option<TrackReport> {
        let track = self.tracks.get(place)?;
        let Origin::Session { publisher, .. } = track.origin else {
            return None;
        };
        let session = self.sessions.get(publisher)?;
        let line = session
            .lines
            .iter()
            .find(|line| line.track == Some(place))?;
        Some(TrackReport {
            track: track.id,
            mid: line.mid.clone(),
            kind: track.kind,
            source: Source::of(track.kind, line.slides),
            muted: line.muted,
            receivers: track.subscribers.len(),
            layers: track
                .layers
                .iter()
                .map(|layer| self.layer_report(*layer, now))
                .collect(),
        })
    }

    fn layer_report(&self, place: usize, now: Instant) -> LayerReport {
        let layer = &self.layers[place];
        LayerReport {
            rid: layer.rid.map(|rid| rid.to_string()),
            bits_per_second: layer.bitrate_bps,
            active: layer.is_active(now),
        }
    }

    fn slot_report(&self, place: usize, number: usize, slot: &Slot, now: Instant) -> SlotReport {
        let session = &self.sessions[place];
        let room = &self.rooms[session.room];
        let (wish, wished_height) = match room.wish_of(place, number) {
            None | Some(SlotWish::Auto) => ("auto".to_owned(), None),
            Some(SlotWish::Nothing) => ("nothing".to_owned(), None),
            Some(SlotWish::Track { track, size, .. }) => {
                (track.to_string(), size.map(|(_, height)| height))
            }
        };
        let subscription = slot.subscription.as_ref();
        let track = subscription.and_then(|sub| self.tracks.get(sub.track));
        let report = |layer: LayerRef| {
            let known = self.layers.get(layer.place);
            known
                .filter(|known| known.serial == layer.serial)
                .map(|_| self.layer_report(layer.place, now))
        };
        let waits = subscription.filter(|sub| sub.current.is_none());
        SlotReport {
            mid: slot.mid.clone(),
            kind: slot.kind,
            wish,
            wished_height,
            track: track.map(|track| track.id),
            publisher: track.and_then(|track| room.publisher_of(track.id)),
            source: track.and_then(|track| room.source_of(track.id)),
            state: self.state_of(session, slot, now),
            wanted: subscription.and_then(|sub| report(sub.wanted.layer)),
            flows: subscription.and_then(|sub| report(sub.current?.layer)),
            waiting_seconds: waits
                .map(|sub| seconds(now.saturating_duration_since(sub.waiting_since))),
            sent_packets: slot.sent_packets,
            sent_bytes: slot.sent_octets,
            nacked_packets: slot.stats.nacked_packets,
            rtx_packets: slot.stats.rtx_packets,
            keyframes_asked: slot.stats.keyframes_asked,
            loss_ratio: slot.stats.loss_ratio,
        }
    }

    /// Why a slot shows what it shows.
    fn state_of(&self, session: &Session, slot: &Slot, now: Instant) -> &'static str {
        let Some(subscription) = &slot.subscription else {
            return "nobody publishes what it is to show";
        };
        let layer = |layer: LayerRef| {
            let known = self.layers.get(layer.place);
            known.filter(|known| known.serial == layer.serial)
        };
        let wanted = layer(subscription.wanted.layer);
        if !session.egress.is_connected() {
            "its transport is not up"
        } else if slot.is_paused() {
            "its client has paused it"
        } else if slot.is_starved() {
            match session.egress.shed_to {
                None => "its path has no room for it",
                Some(_) => "the server does not keep up, and leaves it out",
            }
        } else if wanted.is_none() {
            "no packet of its track has come"
        } else if wanted.is_some_and(|layer| !layer.is_active(now)) {
            "its publisher is silent"
        } else if subscription.current.is_none() {
            "it waits for a keyframe"
        } else if subscription.current.map(|current| current.layer)
            != Some(subscription.wanted.layer)
        {
            "it changes layer with the next keyframe"
        } else if slot.ceiling.is_none() {
            "it flows"
        } else if session.egress.shed_to.is_none() {
            "it flows, smaller than wished: its path has no room for more"
        } else {
            "it flows, smaller than wished: the server does not keep up"
        }
    }
}

fn path_numbers(session: &Session) -> Option<PathNumbers> {
    let downlink = &session.egress.downlink;
    let path = downlink.report()?;
    Some(PathNumbers {
        state: path.state.label(),
        estimate_bits_per_second: path.estimate.as_bps(),
        target_bits_per_second: path.target.as_bps(),
        allocated_bits_per_second: downlink.allocated().as_bps(),
        loss_ratio: path.loss_ratio,
        own_loss_ratio: path.own_loss_ratio,
        feedback_seconds: seconds(path.round_trip),
        standing_queue_seconds: seconds(path.standing_queue),
    })
}

/// A note, for a person.
fn words(note: Note, session: &Session, room: &Room) -> String {
    let mid = |slot: u16| {
        let slot = session.egress.slots.get(usize::from(slot));
        slot.map_or("?", |slot| slot.mid.as_str())
    };
    match note {
        Note::Connected => "connected".to_owned(),
        Note::Bound {
            slot,
            track: Some(track),
        } => {
            let title = room.title_of(track);
            // It has gone since.
            let title = title.unwrap_or_else(|| format!("track {track}"));
            format!("slot {}: shows {title}", mid(slot))
        }
        Note::Bound { slot, track: None } => format!("slot {}: shows nothing", mid(slot)),
        Note::LayerWanted { slot, layer } => {
            let layer = layer.map_or_else(|| "the only one".to_owned(), |rid| rid.to_string());
            format!("slot {}: layer wanted: {layer}", mid(slot))
        }
        Note::Started { slot, waited } => {
            format!(
                "slot {}: started after {} ms",
                mid(slot),
                waited.as_millis()
            )
        }
        Note::KeyframeAsked { slot } => {
            format!("slot {}: its receiver asked for a keyframe", mid(slot))
        }
        Note::Paused { slot, paused: true } => format!("slot {}: paused by its client", mid(slot)),
        Note::Paused {
            slot,
            paused: false,
        } => format!("slot {}: goes on", mid(slot)),
        Note::Starved { slot, starves } => {
            let what = if starves {
                "has no room for it"
            } else {
                "has room again"
            };
            format!("slot {}: the path {what}", mid(slot))
        }
        Note::Cut { slot } => format!("slot {}: cut off, as too much waited", mid(slot)),
        Note::Shed { percent: 100 } => "the server keeps up again: all of the video".to_owned(),
        Note::Shed { percent } => format!("the server does not keep up: {percent} % of the video"),
        Note::Path { state, estimate } => {
            format!("the path: {}, estimate {estimate}", state.label())
        }
    }
}

/// Seconds, to the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}
