//! The layers of a track, for those who choose one: what there is, what it costs, and what a
//! client allows its slots at most.

use std::time::Instant;

use super::Engine;
use super::command::{CommandError, LayerLimit, Reply};
use super::event::{Change, LayerInfo, SlotLayers};
use super::ids::SessionId;
use super::track::Subscriber;

/// By so many percent a layer's rate may change before it is told anew: it is read by people and
/// players that choose, and every change is an event for each of them.
const RATE_CHANGE_PERCENT: u64 = 25;

impl Engine {
    /// What a slot shows at most from now on.
    pub(super) fn limit_layer(
        &mut self,
        session: SessionId,
        mid: &str,
        limit: LayerLimit,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let session = self.session_place(session)?;
        let slots = &self.sessions[session].egress.slots;
        let slot = slots.iter().position(|slot| slot.mid == mid);
        let slot = slot.ok_or(CommandError::NotFound("slot"))?;
        let shown = slots[slot].subscription.as_ref().map(|sub| sub.track);
        // Nothing that is shown has no layers.
        if limit.names_layer() && !shown.is_some_and(|track| self.has_layer(track, &limit)) {
            return Err(CommandError::NotFound("layer"));
        }
        self.sessions[session].egress.slots[slot].limit = limit;
        if let Some(track) = shown {
            self.review_layer(Subscriber { session, slot }, track, now);
        }
        self.run(session, now);
        Ok(Reply::Done)
    }

    /// Whether a track has the layer that is named, be it active or not.
    fn has_layer(&self, track: usize, limit: &LayerLimit) -> bool {
        let mut layers = self.tracks[track].layers.iter().map(|it| &self.layers[*it]);
        layers.any(|layer| {
            let is_named = limit
                .rid
                .as_deref()
                .is_none_or(|rid| layer.rid.is_some_and(|known| *known == *rid));
            let (spatial, temporal) = (
                layer.sublayers.top_spatial(),
                layer.sublayers.top_temporal(),
            );
            is_named
                && limit.spatial.is_none_or(|wanted| wanted <= spatial)
                && limit.temporal.is_none_or(|wanted| wanted <= temporal)
        })
    }

    /// What the slots of a session show, by layers; from now on it hears of changes.
    pub(super) fn slot_layers(
        &mut self,
        session: SessionId,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let place = self.session_place(session)?;
        self.sessions[place].hears_layers = true;
        let slots = self.sessions[place].egress.slots.iter();
        let shown = slots.filter_map(|slot| {
            let track = slot.subscription.as_ref()?.track;
            Some(SlotLayers {
                mid: slot.mid.clone(),
                track: self.tracks[track].id,
                layers: self.layer_infos(track, now),
            })
        });
        Ok(Reply::Layers(shown.collect()))
    }

    /// The layers of a track, the cheapest first.
    fn layer_infos(&self, track: usize, now: Instant) -> Vec<LayerInfo> {
        let mut layers = self.tracks[track].layers.clone();
        layers.sort_by_key(|layer| self.layers[*layer].bitrate_bps);
        let mut infos = Vec::new();
        for layer in layers.iter().map(|layer| &self.layers[*layer]) {
            let active = layer.is_active(now);
            let top_spatial = layer.sublayers.top_spatial();
            let top_temporal = layer.sublayers.top_temporal();
            for spatial in 0..=top_spatial {
                for temporal in 0..=top_temporal {
                    let is_all = (spatial, temporal) == (top_spatial, top_temporal);
                    let bitrate = match is_all {
                        true => layer.bitrate_bps,
                        false => layer.sublayers.bps_up_to(spatial, temporal),
                    };
                    let size = layer.size_of(spatial, spatial == top_spatial);
                    infos.push(LayerInfo {
                        rid: layer.rid.map(|rid| rid.to_string()),
                        spatial: (top_spatial > 0).then_some(spatial),
                        temporal: (top_temporal > 0).then_some(temporal),
                        width: size.map(|(width, _)| width),
                        height: size.map(|(_, height)| height),
                        bitrate: if active { bitrate } else { 0 },
                        active,
                    });
                }
            }
        }
        infos
    }

    /// Tells those who asked that the layers of what they see have changed, or its rates by much.
    pub(super) fn tell_layers(&mut self, track: usize, now: Instant) {
        let is_asked = |subscriber: &&Subscriber| {
            self.sessions
                .get(subscriber.session)
                .is_some_and(|session| session.hears_layers)
        };
        let subscribers = self.tracks[track].subscribers.iter();
        let asked: Vec<Subscriber> = subscribers.filter(is_asked).copied().collect();
        if asked.is_empty() {
            self.tracks[track].told_layers.clear();
            return;
        }
        let layers = self.layer_infos(track, now);
        if !is_news(&self.tracks[track].told_layers, &layers) {
            return;
        }
        self.tracks[track].told_layers.clone_from(&layers);
        let id = self.tracks[track].id;
        for Subscriber { session, slot } in asked {
            let mid = self.sessions[session].egress.slots[slot].mid.clone();
            let layers = SlotLayers {
                mid,
                track: id,
                layers: layers.clone(),
            };
            self.tell(session, Change::Layers(layers));
        }
    }
}

fn is_news(told: &[LayerInfo], now: &[LayerInfo]) -> bool {
    let differs = |(told, now): (&LayerInfo, &LayerInfo)| {
        let rate = LayerInfo {
            bitrate: told.bitrate,
            ..now.clone()
        };
        rate != *told
            || told.bitrate.abs_diff(now.bitrate) * 100 > told.bitrate * RATE_CHANGE_PERCENT
    };
    told.len() != now.len() || told.iter().zip(now).any(differs)
}
