//! Which quality of a track each slot should show: what it can have, what it wants of that, and
//! when to look again.

use std::time::{Duration, Instant};

use super::Engine;
use super::command::{LayerLimit, SlotWish};
use super::diary::Note;
use super::event::Kind;
use super::quality::{ALL, Quality};
use super::timers::Timer;
use super::track::{Layer, LayerRef, Subscriber};

/// How often a track looks whether each receiver has the right layer.
///
/// With [`super::track::LAYER_SILENCE`] before it, a receiver of a layer that fell silent is moved
/// within a second.
const LAYER_INTERVAL: Duration = Duration::from_millis(250);

/// A tile of at most this height is well served by the lowest of three layers.
const SMALL_HEIGHT: u32 = 200;

/// A tile of at most this height is well served by the middle one of three layers.
const MEDIUM_HEIGHT: u32 = 400;

/// Of a tile's height, a picture may lack a tenth before anybody sees it.
const ENOUGH_PERCENT: u32 = 90;

/// A step of what a slot could show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rung {
    pub(super) quality: Quality,
    /// Payload in bits per second, as measured; 0 if it was not yet.
    pub(super) bps: u64,
}

/// A picture size of a track: an encoding, or a spatial layer of one.
#[derive(Clone, Copy, Debug)]
struct Picture {
    layer: usize,
    spatial: u8,
    size: Option<(u16, u16)>,
}

/// Which step of a ladder a quality is on.
pub(super) fn rung_of(ladder: &[Rung], quality: &Quality) -> Option<usize> {
    let covers = |rung: &Rung| rung.quality.covers(quality);
    let is_same = |rung: &Rung| rung.quality.layer == quality.layer;
    let step = ladder.iter().position(covers);
    step.or_else(|| ladder.iter().rposition(is_same))
}

impl Engine {
    /// What a slot should show now, and what it should show if all its publisher could send came.
    pub(super) fn best_quality(
        &self,
        subscriber: Subscriber,
        track: usize,
        now: Instant,
    ) -> (Quality, LayerRef) {
        let mut ladder = self.ladder(subscriber, track, now);
        let slot = self
            .sessions
            .get(subscriber.session)
            .and_then(|session| session.egress.slots.get(subscriber.slot));
        let ceiling = slot.and_then(|slot| slot.ceiling);
        if let Some(step) = ceiling.and_then(|ceiling| rung_of(&ladder, &ceiling)) {
            ladder.truncate(step + 1);
        }
        let flows = |rung: &&Rung| self.layers[rung.quality.layer.place].is_active(now);
        let best = ladder.iter().rev().find(flows).or(ladder.last());
        let target = ladder.last().map(|rung| rung.quality.layer);
        (
            best.map_or(Quality::NONE, |rung| rung.quality),
            target.unwrap_or(LayerRef::NONE),
        )
    }

    /// What a slot could show of a track, the cheapest first.
    ///
    /// Encodings are ranked by what they are measured to cost, not by name: browsers name and
    /// order them as they like. Each picture size comes with half its frames before it comes
    /// with all: that saves a third, and going there and back costs no keyframe. A quarter of the
    /// frames is of use to whoever has no room for more only.
    pub(super) fn ladder(&self, subscriber: Subscriber, track: usize, now: Instant) -> Vec<Rung> {
        let slot = self
            .sessions
            .get(subscriber.session)
            .and_then(|session| session.egress.slots.get(subscriber.slot));
        let nothing = LayerLimit::default();
        let limit = slot.map_or(&nothing, |slot| &slot.limit);
        let (size, frame_rate) = self.wished(subscriber);
        let mut pictures = self.pictures(track, now);
        let kept = useful(&pictures, size, limit, &self.layers);
        pictures.truncate(kept);

        let mut ladder: Vec<Rung> = Vec::new();
        for (rank, picture) in pictures.iter().enumerate() {
            let layer = &self.layers[picture.layer];
            let top = layer.sublayers.top_temporal();
            let wished = frame_rate.map_or(ALL, |rate| layer.sublayers.temporal_for(rate));
            let most = wished.min(limit.most_temporal().unwrap_or(ALL));
            let most = if most >= top { ALL } else { most };
            let quarter = (rank == 0 && top >= 2).then_some(top.saturating_sub(2));
            let half = (top >= 1).then(|| top - 1);
            let steps = quarter.into_iter().chain(half);
            for temporal in steps.filter(|step| *step < most).chain([most]) {
                let rung = layer.rung(picture, temporal);
                let is_more = ladder.last().is_none_or(|last| rung.bps > last.bps);
                // The whole of a picture is always on offer, whatever its measurements say.
                if is_more || temporal == most {
                    ladder.push(rung);
                }
            }
        }
        if let Some(max) = limit.max_bitrate_bps {
            let fitting = ladder.iter().take_while(|rung| rung.bps <= max).count();
            ladder.truncate(fitting.max(1));
        }
        ladder
    }

    /// The picture sizes of a track that can be had, the cheapest first.
    fn pictures(&self, track: usize, now: Instant) -> Vec<Picture> {
        let mut layers: Vec<usize> = self.tracks[track].layers.clone();
        let offered = |layer: &usize| self.layers[*layer].is_offered(now);
        if layers.iter().any(offered) {
            layers.retain(offered);
        }
        layers.sort_by_key(|layer| self.layers[*layer].bitrate_bps);
        let spatial = |layer: &usize| {
            let top = self.layers[*layer].sublayers.top_spatial();
            let place = *layer;
            (0..=top).map(move |spatial| (place, spatial, spatial == top))
        };
        layers
            .iter()
            .flat_map(spatial)
            .map(|(layer, spatial, is_top)| Picture {
                layer,
                spatial: if is_top { ALL } else { spatial },
                size: self.layers[layer].size_of(spatial, is_top),
            })
            .collect()
    }

    /// The size and the frame rate that a client wishes in a slot.
    fn wished(&self, subscriber: Subscriber) -> (Option<(u32, u32)>, Option<u32>) {
        let wish = self.sessions.get(subscriber.session).and_then(|session| {
            self.rooms
                .get(session.room)?
                .wish_of(subscriber.session, subscriber.slot)
        });
        match wish {
            Some(SlotWish::Track {
                size, frame_rate, ..
            }) => (*size, *frame_rate),
            _ => (None, None),
        }
    }

    /// Moves every receiver of a track to the layer it should have.
    pub(super) fn track_timeout(&mut self, place: usize, now: Instant) {
        let Some(track) = self.tracks.get_mut(place) else {
            return;
        };
        track.armed = None;
        if track.kind == Kind::Video {
            self.review_track(place, now);
            self.review_demand(place, now);
            self.tell_layers(place, now);
        }
        self.limit_publisher(place, now);
        self.rearm_track(place, now);
    }

    pub(super) fn rearm_track(&mut self, place: usize, now: Instant) {
        let at = Some(now + LAYER_INTERVAL);
        self.timers
            .set(Timer::Track(place), &mut self.tracks[place].armed, at);
    }

    /// Looks at every receiver of a track that there is a choice for.
    pub(super) fn review_track(&mut self, place: usize, now: Instant) {
        let track = &self.tracks[place];
        let is_layered = |layer: &usize| self.layers[*layer].sublayers.is_layered();
        if track.layers.len() > 1 || track.layers.iter().any(is_layered) {
            for subscriber in track.subscribers.clone() {
                self.review_layer(subscriber, place, now);
            }
        }
    }

    /// Takes note of what a session wishes of its slots: sizes, and which are paused.
    pub(super) fn review_slots(&mut self, session: usize, paused: &[String], now: Instant) {
        for slot in 0..self.sessions[session].egress.slots.len() {
            let carrier = &mut self.sessions[session];
            let sender = &mut carrier.egress.slots[slot];
            let is_paused = paused.contains(&sender.mid);
            if is_paused != sender.is_paused() {
                let (slot, paused) = (slot as u16, is_paused);
                carrier.diary.note(now, Note::Paused { slot, paused });
            }
            let resumed = sender.pause(is_paused);
            let Some(track) = sender.subscription.as_ref().map(|sub| sub.track) else {
                continue;
            };
            let subscriber = Subscriber { session, slot };
            if resumed {
                self.subscribe(subscriber, track, now);
            } else if !is_paused {
                self.review_layer(subscriber, track, now);
            }
        }
    }

    /// Looks whether a slot should show something else of its track.
    pub(super) fn review_layer(&mut self, subscriber: Subscriber, track: usize, now: Instant) {
        let (best, target) = self.best_quality(subscriber, track, now);
        let session = &mut self.sessions[subscriber.session];
        let slot = &mut session.egress.slots[subscriber.slot];
        let wants_anything = !slot.is_paused();
        let Some(subscription) = slot.subscription.as_mut() else {
            return;
        };
        let is_new_target = std::mem::replace(&mut subscription.target, target) != target;
        let former = std::mem::replace(&mut subscription.wanted, best);
        if former.layer != best.layer {
            let layer = self
                .layers
                .get(best.layer.place)
                .and_then(|layer| layer.rid);
            let slot = subscriber.slot as u16;
            session.diary.note(now, Note::LayerWanted { slot, layer });
        }
        let current = subscription.current;
        let stands_alone = |layer: &Layer| layer.sublayers.stand_alone();
        let stands_alone = self.layers.get(best.layer.place).is_some_and(stands_alone);
        let needs_keyframe = current.is_none_or(|current| {
            let is_less = best.spatial < current.spatial && current.spatial != ALL;
            current.layer != best.layer || current.spatial < best.spatial || is_less && stands_alone
        });
        if former != best && needs_keyframe {
            self.want_keyframe(best.layer, now);
        }
        if is_new_target && wants_anything {
            self.layer_wanted(target, now);
        }
    }
}

/// How many picture sizes are of use, the cheapest first: as many as the client's tile and its
/// limits make, and one at least.
fn useful(
    pictures: &[Picture],
    size: Option<(u32, u32)>,
    limit: &LayerLimit,
    layers: &slab::Slab<Layer>,
) -> usize {
    let top = pictures.len().saturating_sub(1);
    let rank = size.map_or(top, |(_, height)| fitting(pictures, height));
    let named = limit.rid.as_deref().and_then(|rid| {
        pictures.iter().rposition(|picture| {
            layers[picture.layer]
                .rid
                .is_some_and(|known| *known == *rid)
        })
    });
    let is_allowed = |picture: &Picture| {
        let (width, height) = picture.size.unwrap_or_default();
        limit.max_width.is_none_or(|most| u32::from(width) <= most)
            && limit
                .max_height
                .is_none_or(|most| u32::from(height) <= most)
            && limit.most_spatial().is_none_or(|most| {
                let spatial = match picture.spatial {
                    ALL => layers[picture.layer].sublayers.top_spatial(),
                    spatial => spatial,
                };
                spatial <= most
            })
    };
    let most = rank.min(named.unwrap_or(top));
    let allowed = pictures.iter().take(most + 1).rposition(is_allowed);
    allowed.unwrap_or(0) + 1
}

/// The place of the smallest picture that fills a tile of this height.
fn fitting(pictures: &[Picture], height: u32) -> usize {
    let top = pictures.len().saturating_sub(1);
    let enough = |picture: &Picture| {
        picture
            .size
            .is_some_and(|(_, known)| u32::from(known) * 100 >= height * ENOUGH_PERCENT)
    };
    if pictures.iter().all(|picture| picture.size.is_some()) {
        return pictures.iter().position(enough).unwrap_or(top);
    }
    match height {
        _ if height <= SMALL_HEIGHT => 0,
        _ if height <= MEDIUM_HEIGHT => top.min(1),
        _ => top,
    }
}

impl Layer {
    fn rung(&self, picture: &Picture, temporal: u8) -> Rung {
        let is_whole = picture.spatial == ALL && temporal == ALL;
        let layer = LayerRef {
            place: picture.layer,
            serial: self.serial,
        };
        Rung {
            quality: Quality {
                layer,
                spatial: picture.spatial,
                temporal,
            },
            // What rests keeps what it cost when it came last.
            bps: if is_whole {
                self.bitrate_bps
            } else {
                self.sublayers.bps_up_to(picture.spatial, temporal)
            },
        }
    }
}
