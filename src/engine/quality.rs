//! What of a track a slot can show: an encoding, and of its spatial and temporal layers so many.

use super::codec::PayloadInfo;
use super::track::LayerRef;

/// All layers of an encoding, however many it has.
pub(crate) const ALL: u8 = u8::MAX;

/// Most spatial layers, and most temporal ones, that are told apart: browsers send three of each.
const MAX_SUBLAYERS: usize = 4;

/// One quality of a track: an encoding with its spatial and temporal layers up to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quality {
    pub(crate) layer: LayerRef,
    /// The highest spatial layer of it; [`ALL`] for whatever comes.
    pub(crate) spatial: u8,
    /// The highest temporal layer of it; [`ALL`] for whatever comes.
    pub(crate) temporal: u8,
}

impl Quality {
    /// What a slot wants of a track that has no layer yet.
    pub(crate) const NONE: Self = Self::whole(LayerRef::NONE);

    /// Everything of an encoding.
    pub(crate) const fn whole(layer: LayerRef) -> Self {
        Self {
            layer,
            spatial: ALL,
            temporal: ALL,
        }
    }

    /// The least that an encoding can be cut down to: what everything else is predicted from.
    pub(crate) const fn base(layer: LayerRef) -> Self {
        Self {
            layer,
            spatial: 0,
            temporal: 0,
        }
    }

    /// Whether a packet of the encoding belongs to it.
    pub(crate) fn includes(&self, info: &PayloadInfo) -> bool {
        let is_in_picture = info.spatial == self.spatial
            || self.spatial == ALL
            || info.spatial < self.spatial && info.needed_above;
        is_in_picture && info.temporal <= self.temporal
    }

    /// Whether it has all that another quality of the same encoding has.
    pub(crate) fn covers(&self, other: &Quality) -> bool {
        self.layer == other.layer
            && self.spatial >= other.spatial
            && self.temporal >= other.temporal
    }

    /// What flows from this packet on, if `wanted` is what should flow of the same encoding.
    ///
    /// Frames stay whole, and so do pictures of several spatial layers. Less is possible at any of
    /// them; more of the temporal layers where the codec says that a frame hangs on lower ones
    /// alone, and one at a time, since VP9's senders disagree about what its bit says of the rest
    /// (descriptors are clear);
    /// more of the spatial layers with a keyframe only, and so, too, less of them where the lower ones
    /// were left out as the upper ones do without.
    pub(crate) fn towards(self, wanted: Quality, info: &PayloadInfo) -> Quality {
        if !info.frame_start {
            return self;
        }
        if info.keyframe_start {
            return wanted;
        }
        let mut next = self;
        let is_picture_start = info.spatial == 0;
        if wanted.temporal < self.temporal {
            if is_picture_start {
                next.temporal = wanted.temporal;
            }
        } else if info.takes_up > self.temporal {
            if is_picture_start {
                next.temporal = wanted.temporal.min(info.takes_up);
            }
        } else if info.switching_up
            && info.temporal <= wanted.temporal
            && info.temporal == self.temporal.saturating_add(1)
        {
            next.temporal = info.temporal;
        }
        let has_lower = info.needed_above || self.spatial == ALL;
        if wanted.spatial < self.spatial && is_picture_start && has_lower {
            next.spatial = wanted.spatial;
        }
        next
    }
}

/// What each spatial and temporal layer of an encoding costs, as measured.
#[derive(Debug, Default)]
pub(crate) struct Sublayers {
    bytes: [[u64; MAX_SUBLAYERS]; MAX_SUBLAYERS],
    /// By spatial and then by temporal layer.
    bps: [[u64; MAX_SUBLAYERS]; MAX_SUBLAYERS],
    frames: u32,
    frames_per_second: u32,
    /// Its payloads say where higher temporal layers may be taken up.
    switches: bool,
    /// Upper spatial layers do without the lower ones, except in keyframes.
    stand_alone: bool,
}

impl Sublayers {
    /// Takes in a packet.
    pub(crate) fn received(&mut self, info: &PayloadInfo, bytes: usize) {
        let spatial = usize::from(info.spatial).min(MAX_SUBLAYERS - 1);
        let temporal = usize::from(info.temporal).min(MAX_SUBLAYERS - 1);
        self.bytes[spatial][temporal] += bytes as u64;
        self.switches |= info.switching_up && info.temporal > 0 || info.takes_up > 0;
        if info.frame_start && info.spatial == 0 {
            self.frames += 1;
            if !info.independent {
                self.stand_alone = !info.needed_above;
            }
        }
    }

    /// A window of measuring is over.
    pub(crate) fn measure(&mut self, window_ms: u64) {
        let window_ms = window_ms.max(1);
        for (bps, bytes) in self
            .bps
            .iter_mut()
            .flatten()
            .zip(self.bytes.iter_mut().flatten())
        {
            let now = std::mem::take(bytes) * 8_000 / window_ms;
            // What has fallen silent is gone at once; what is there is smoothed.
            *bps = if *bps == 0 || now == 0 {
                now
            } else {
                (*bps + now) / 2
            };
        }
        let frames = u64::from(std::mem::take(&mut self.frames));
        self.frames_per_second = (frames * 1_000 / window_ms) as u32;
    }

    /// Whether the lower spatial layers are left out where an upper one flows.
    pub(crate) fn stand_alone(&self) -> bool {
        self.stand_alone
    }

    /// Whether there is more than one.
    pub(crate) fn is_layered(&self) -> bool {
        self.top_spatial() > 0 || self.top_temporal() > 0
    }

    /// The highest spatial layer that flows.
    pub(crate) fn top_spatial(&self) -> u8 {
        let flows = |rates: &[u64; MAX_SUBLAYERS]| rates.iter().any(|bps| *bps > 0);
        self.bps.iter().rposition(flows).unwrap_or(0) as u8
    }

    /// The highest temporal layer that flows, of those that can be left out and taken up again.
    pub(crate) fn top_temporal(&self) -> u8 {
        if !self.switches {
            return 0;
        }
        let flows = |temporal: &usize| self.bps.iter().any(|rates| rates[*temporal] > 0);
        (0..MAX_SUBLAYERS).rev().find(flows).unwrap_or(0) as u8
    }

    /// What these layers and all below them cost, in bits per second.
    pub(crate) fn bps_up_to(&self, spatial: u8, temporal: u8) -> u64 {
        let top = usize::from(spatial).min(MAX_SUBLAYERS - 1);
        let lowest = if self.stand_alone && spatial != ALL {
            top
        } else {
            0
        };
        let temporal = usize::from(temporal).min(MAX_SUBLAYERS - 1);
        let rates = self.bps[lowest..=top].iter();
        rates
            .flat_map(|rates| rates[..=temporal].iter())
            .sum::<u64>()
    }

    /// The lowest temporal layer with which so many frames a second are seen.
    pub(crate) fn temporal_for(&self, frames_per_second: u32) -> u8 {
        let top = self.top_temporal();
        // Each temporal layer doubles the rate; a tenth less is not seen.
        let enough = |temporal: &u8| {
            (self.frames_per_second >> (top - temporal)) * 10 >= frames_per_second * 9
        };
        (0..top).find(enough).unwrap_or(ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: LayerRef = LayerRef {
        place: 3,
        serial: 7,
    };

    fn frame(temporal: u8, switching_up: bool) -> PayloadInfo {
        let mut frame = PayloadInfo::OPAQUE;
        frame.frame_start = true;
        frame.temporal = temporal;
        frame.switching_up = switching_up;
        frame
    }

    fn quality(spatial: u8, temporal: u8) -> Quality {
        Quality {
            layer: LAYER,
            spatial,
            temporal,
        }
    }

    #[test]
    fn temporal_layers_go_at_any_frame_and_come_back_where_the_codec_allows() {
        let all = Quality::whole(LAYER);
        let low = all.towards(quality(ALL, 0), &frame(2, false));
        assert_eq!(low.temporal, 0);
        assert!(low.includes(&frame(0, false)) && !low.includes(&frame(1, false)));
        // Neither by a frame that hangs on others of its layer, nor two layers at once.
        assert_eq!(low.towards(all, &frame(1, false)), low);
        assert_eq!(low.towards(all, &frame(2, true)), low);
        let middle = low.towards(all, &frame(1, true));
        assert_eq!(middle.temporal, 1);
        assert_eq!(middle.towards(all, &frame(2, true)).temporal, 2);
        let mut key = frame(0, false);
        key.keyframe_start = true;
        assert_eq!(low.towards(all, &key), all);
        // Nothing changes within a frame.
        let mut inside = frame(0, false);
        inside.frame_start = false;
        assert_eq!(all.towards(low, &inside), all);
    }

    #[test]
    fn spatial_layers_go_with_a_picture_and_come_back_with_a_keyframe() {
        let mut upper = frame(0, false);
        upper.spatial = 1;
        let all = Quality::whole(LAYER);
        let low = quality(0, ALL);
        assert_eq!(all.towards(low, &upper), all, "in the middle of a picture");
        assert_eq!(all.towards(low, &frame(0, false)), low);
        assert_eq!(low.towards(all, &frame(0, true)), low);
        // Of pictures whose upper layers do without them, lower ones are left out.
        let mut lower = frame(0, false);
        lower.needed_above = false;
        assert!(!quality(1, ALL).includes(&lower) && low.includes(&lower));
    }

    #[test]
    fn layers_are_measured_one_by_one_and_those_that_fall_silent_are_gone() {
        let mut layers = Sublayers::default();
        for _ in 0..5 {
            for (temporal, bytes) in [(0, 1_000), (2, 250), (1, 500), (2, 250)] {
                layers.received(&frame(temporal, temporal > 0), bytes);
            }
        }
        layers.measure(1_000);
        assert_eq!((layers.top_spatial(), layers.top_temporal()), (0, 2));
        assert_eq!(layers.bps_up_to(0, 0), 40_000);
        assert_eq!(layers.bps_up_to(0, 1), 60_000);
        assert_eq!(layers.bps_up_to(ALL, ALL), 80_000);
        assert_eq!(layers.temporal_for(5), 0);
        assert_eq!(layers.temporal_for(10), 1);
        assert_eq!(layers.temporal_for(20), ALL);
        layers.received(&frame(0, false), 1_000);
        layers.measure(1_000);
        assert_eq!(layers.top_temporal(), 0);
    }
}
