//! What of a publisher's layers anybody wants, and telling the publisher.
//!
//! A camera is encoded three times, and often nobody looks at the largest. What nobody wants for a
//! while is told to its publisher, who may stop encoding it; a wish is told at once. Publishers
//! that know nothing of this go on sending, and nothing is different.
//!
//! Of a track that anybody sees, the cheapest layer counts as wanted always: it is what a path
//! that becomes narrow falls back to, and what the next viewer begins with.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Engine;
use super::event::{Change, Kind, LayerWanted, LayersWanted};
use super::track::{Layer, LayerRef, Origin, Subscriber};

/// How long a layer has to be of no use before its publisher is told.
///
/// Every change costs a keyframe, and people who look through a room, or at two speakers in turn,
/// are back within seconds. A longer time keeps encoders busy for nobody.
const LAPSE: Duration = Duration::from_secs(5);

/// How long a layer that is wanted again is waited for: an event, an encoder's start, a keyframe.
///
/// Until then slots may count on it; after that it is taken for one that its publisher has no room
/// for.
const WAKING: Duration = Duration::from_secs(3);

/// Whether anybody wants a layer.
#[derive(Debug)]
pub(crate) struct Demand {
    /// As its publisher knows it: at first that everything is wanted.
    is_wanted: bool,
    /// Since when nobody wants it, while its publisher does not know.
    idle_since: Option<Instant>,
    /// When its publisher was told to go on.
    woken_at: Option<Instant>,
    /// Shards whose mirrors of the room have viewers of the track, and none of this layer.
    unwanted_by: SmallVec<[u16; 4]>,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            is_wanted: true,
            idle_since: None,
            woken_at: None,
            unwanted_by: SmallVec::new(),
        }
    }
}

impl Demand {
    /// Whether it does not come because it was not wanted: it can be had.
    pub(crate) fn can_wake(&self, now: Instant) -> bool {
        let is_waking = |at| now.saturating_duration_since(at) < WAKING;
        !self.is_wanted || self.woken_at.is_some_and(is_waking)
    }

    /// Somebody wants it; whether its publisher has to be told.
    fn want(&mut self, now: Instant) -> bool {
        self.idle_since = None;
        let is_news = !std::mem::replace(&mut self.is_wanted, true);
        if is_news {
            self.woken_at = Some(now);
        }
        is_news
    }

    /// Nobody wants it; whether that is so for long enough to tell its publisher.
    fn lapse(&mut self, now: Instant) -> bool {
        let since = *self.idle_since.get_or_insert(now);
        let is_news = self.is_wanted && now.saturating_duration_since(since) >= LAPSE;
        if is_news {
            self.is_wanted = false;
        }
        is_news
    }

    fn is_wanted_by(&self, mirror: u16) -> bool {
        !self.unwanted_by.contains(&mirror)
    }
}

impl Engine {
    /// Somebody wants a layer: if its publisher has stopped it, they are told at once.
    pub(super) fn layer_wanted(&mut self, layer: LayerRef, now: Instant) {
        let Some(known) = self.layers.get_mut(layer.place) else {
            return;
        };
        let track = known.track;
        if known.serial != layer.serial || self.tracks[track].kind != Kind::Video {
            return;
        }
        let mut is_news = known.demand.want(now);
        // What comes beside it is what the receiver sees until then, and falls back to.
        if let Some(cheapest) = self.cheapest(track) {
            is_news |= self.layers[cheapest].demand.want(now);
        }
        if is_news {
            self.tell_demand(track);
        }
    }

    /// Looks which layers of a track nobody has wanted for a while.
    pub(super) fn review_demand(&mut self, track: usize, now: Instant) {
        let wanted = self.demanded(track);
        let mut is_news = false;
        for layer in self.tracks[track].layers.clone() {
            let demand = &mut self.layers[layer].demand;
            is_news |= match wanted.contains(&layer) {
                true => demand.want(now),
                false => demand.lapse(now),
            };
        }
        if is_news {
            self.tell_demand(track);
        }
    }

    /// The layers of a track that somebody wants, here or at a mirror.
    fn demanded(&self, track: usize) -> SmallVec<[usize; 4]> {
        let track = &self.tracks[track];
        let mut wanted: SmallVec<[usize; 4]> = SmallVec::new();
        for Subscriber { session, slot } in &track.subscribers {
            let slot = self
                .sessions
                .get(*session)
                .and_then(|session| session.egress.slots.get(*slot));
            let Some(slot) = slot.filter(|slot| !slot.is_paused()) else {
                continue;
            };
            let Some(subscription) = &slot.subscription else {
                continue;
            };
            let current = subscription.current.map(|current| current.layer);
            let layers = [subscription.target, subscription.wanted.layer];
            for layer in layers.into_iter().chain(current) {
                if !wanted.contains(&layer.place) {
                    wanted.push(layer.place);
                }
            }
        }
        for layer in &track.layers {
            let demand = &self.layers[*layer].demand;
            if track
                .mirrors
                .iter()
                .any(|mirror| demand.is_wanted_by(*mirror))
            {
                wanted.push(*layer);
            }
        }
        if !wanted.is_empty() {
            wanted.extend(self.cheapest_of(&track.layers));
        }
        wanted
    }

    fn cheapest(&self, track: usize) -> Option<usize> {
        self.cheapest_of(&self.tracks[track].layers)
    }

    fn cheapest_of(&self, layers: &[usize]) -> Option<usize> {
        let measured = |layer: &&usize| self.layers[**layer].bitrate_bps > 0;
        let known = layers.iter().filter(measured);
        known
            .min_by_key(|layer| self.layers[**layer].bitrate_bps)
            .copied()
    }

    /// Tells a track's publisher, or its home, which of its layers are wanted.
    fn tell_demand(&mut self, place: usize) {
        let track = &self.tracks[place];
        match track.origin {
            Origin::Session { publisher, .. } => {
                let session = self.sessions.get(publisher);
                let line = session.and_then(|session| {
                    let mut lines = session.lines.iter();
                    lines.find(|line| line.track == Some(place))
                });
                if let Some(line) = line {
                    let told = self.layers_wanted(&line.mid, place);
                    self.tell(publisher, Change::LayersWanted(told));
                }
            }
            Origin::Relay { home } => {
                for layer in &track.layers {
                    let layer = &self.layers[*layer];
                    let wanted = layer.demand.is_wanted;
                    self.relays.layer_wanted(home, track.id, layer.rid, wanted);
                }
            }
        }
    }

    fn layers_wanted(&self, mid: &str, track: usize) -> LayersWanted {
        let track = &self.tracks[track];
        let mut layers: Vec<&Layer> = track.layers.iter().map(|it| &self.layers[*it]).collect();
        layers.sort_by_key(|layer| layer.bitrate_bps);
        let told = layers.iter().map(|layer| LayerWanted {
            rid: layer.rid.map(|rid| rid.to_string()),
            wanted: layer.demand.is_wanted,
        });
        LayersWanted {
            mid: mid.to_owned(),
            track: track.id,
            layers: told.collect(),
        }
    }

    /// What a publisher was told of its tracks, for a snapshot: those of which it was told that
    /// something is not wanted.
    pub(super) fn demands_told(&self, session: usize) -> Vec<LayersWanted> {
        let tracks = self.sessions[session].lines.iter();
        tracks
            .filter_map(|line| Some(self.layers_wanted(&line.mid, line.track?)))
            .filter(|told| told.layers.iter().any(|layer| !layer.wanted))
            .collect()
    }

    /// At home: a mirror has viewers of a layer, or none of it.
    pub(super) fn mirror_wants_layer(
        &mut self,
        layer: usize,
        mirror: u16,
        wanted: bool,
        now: Instant,
    ) {
        let known = &mut self.layers[layer];
        known.demand.unwanted_by.retain(|other| *other != mirror);
        if wanted {
            let serial = known.serial;
            self.layer_wanted(
                LayerRef {
                    place: layer,
                    serial,
                },
                now,
            );
        } else {
            known.demand.unwanted_by.push(mirror);
        }
    }

    /// At home: a mirror has viewers of a track, and has said nothing of its layers yet; or it has
    /// none any more.
    pub(super) fn mirror_wants_all(&mut self, track: usize, mirror: u16, now: Instant) {
        let is_viewing = self.tracks[track].mirrors.contains(&mirror);
        for layer in self.tracks[track].layers.clone() {
            self.layers[layer]
                .demand
                .unwanted_by
                .retain(|other| *other != mirror);
            if is_viewing {
                let serial = self.layers[layer].serial;
                self.layer_wanted(
                    LayerRef {
                        place: layer,
                        serial,
                    },
                    now,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_wish_is_told_at_once_and_its_end_after_a_while() {
        let t0 = some_moment();
        let mut demand = Demand::default();
        assert!(!demand.want(t0), "that is known");
        assert!(!demand.lapse(t0));
        assert!(!demand.lapse(t0 + LAPSE - Duration::from_millis(1)));
        assert!(demand.lapse(t0 + LAPSE));
        assert!(!demand.lapse(t0 + 2 * LAPSE), "it was told");
        assert!(demand.can_wake(t0 + 2 * LAPSE));
        let back = t0 + 3 * LAPSE;
        assert!(demand.want(back));
        assert!(demand.can_wake(back) && !demand.can_wake(back + WAKING));
        // Somebody who looks again and again keeps it going.
        for second in 0..20 {
            let at = back + Duration::from_secs(second);
            assert!(!demand.lapse(at));
            assert!(!demand.want(at));
        }
    }
}
