//! A published source and its layers, as the forwarding path sees them.
//!
//! A [`Track`] knows who receives it; each [`Layer`] remembers its newest packets, so that one
//! history serves the retransmissions of all receivers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::format::PayloadParams;
use str0m::media::{Mid, Rid};

use super::codec::{Descriptor, Known, ParameterSets, PayloadInfo};
use super::demand::Demand;
use super::event::{Kind, LayerInfo};
use super::ids::TrackId;
use super::keyframes::KeyframeRequests;
use super::quality::Sublayers;
use super::remb::ReceiveLimit;

/// Packets that a layer's history holds.
///
/// At 2.5 Mbit/s a layer has 270 packets a second: nearly four seconds, as long as a receiver
/// with a round trip of 300 ms still finds use for a repair. A power of two.
const HISTORY_PACKETS: usize = 1024;

/// Most layers of a track: three simulcast encodings, as browsers make, and one to spare.
pub(crate) const MAX_LAYERS: usize = 4;

/// How long a layer may be silent before receivers are moved to another.
///
/// With the interval of looking it has to stay below a second. A camera in the dark still makes
/// five pictures a second; where all layers are as slow as a screen's, nobody is moved.
pub(crate) const LAYER_SILENCE: Duration = Duration::from_millis(700);

/// Time constant of a layer's measured bitrate.
const BITRATE_WINDOW: Duration = Duration::from_millis(500);

/// One RTP packet of a publisher, shared by all who receive it.
#[derive(Clone, Debug)]
pub(crate) struct MediaPacket {
    /// Sequence number, extended by the roll-over counter.
    pub(crate) seq: u64,
    /// RTP timestamp.
    pub(crate) timestamp: u32,
    /// The marker bit.
    pub(crate) marker: bool,
    /// Which of the track's codecs it carries, as an index into [`Track::codecs`].
    pub(crate) codec: u8,
    /// What the payload's header says.
    pub(crate) info: PayloadInfo,
    /// The dependency descriptor beside it, if there is one.
    pub(crate) descriptor: Option<Arc<Descriptor>>,
    /// What whoever begins with this packet has to be told first: parameter sets, in the place of the
    /// packet before it.
    pub(crate) head: Option<Arc<MediaPacket>>,
    /// Loudness in -dBov, and whether it is a voice (RFC 6464).
    pub(crate) audio_level: Option<(u8, bool)>,
    /// How far to turn the picture: the coordination byte of 3GPP TS 26.114 §7.4.5.
    pub(crate) orientation: Option<u8>,
    /// Where the packet's own payload begins behind redundancy (RFC 2198); 0 if there is none.
    pub(crate) primary_at: u16,
    /// The payload, as it was sent.
    pub(crate) payload: Arc<[u8]>,
    /// When the kernel had it.
    pub(crate) received_at: Instant,
    /// When it was captured, by our clock, as far as is known; later by what the network takes at
    /// its best. Of packets with which a slot cannot begin, when it came.
    pub(crate) captured_at: Instant,
}

/// A published source.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) kind: Kind,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// A host has muted it: nothing of it is forwarded.
    pub(crate) is_held: bool,
    /// The codecs seen, in order of appearance; packets refer to them by place.
    pub(crate) codecs: Vec<PayloadParams>,
    /// Keys of its layers in the engine's table.
    pub(crate) layers: Vec<usize>,
    /// Who receives it.
    pub(crate) subscribers: Vec<Subscriber>,
    /// The shards whose mirrors of the room have receivers of it.
    pub(crate) mirrors: SmallVec<[u16; 4]>,
    /// In a mirror: whether home was told that there are receivers here.
    pub(crate) is_wanted: bool,
    /// Its layers as those who asked for them were told.
    pub(crate) told_layers: Vec<LayerInfo>,
    /// The engine's timer for its choice of layers.
    pub(crate) armed: Option<Instant>,
}

/// Where a track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A session of this engine, by its place in the table, and its m-line there.
    Session { publisher: usize, mid: Mid },
    /// The shard that its room lives on.
    Relay { home: u16 },
}

impl Track {
    pub(crate) fn new(id: TrackId, kind: Kind, origin: Origin) -> Self {
        Self {
            id,
            kind,
            origin,
            is_held: false,
            codecs: Vec::new(),
            layers: Vec::new(),
            subscribers: Vec::new(),
            mirrors: SmallVec::new(),
            is_wanted: false,
            told_layers: Vec::new(),
            armed: None,
        }
    }

    /// In a mirror: home says which codec packets mean that refer to this place. It may say so
    /// again, in any order of wishing and not wishing the track.
    pub(crate) fn learn_codec(&mut self, place: usize, params: PayloadParams) {
        if place == self.codecs.len() {
            self.codecs.push(params);
        } else if let Some(known) = self.codecs.get_mut(place) {
            *known = params;
        }
    }
}

/// A receiver of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    /// The session, by its place in the engine's table.
    pub(crate) session: usize,
    /// Its slot.
    pub(crate) slot: usize,
}

/// A layer that was, or is: places are used again, serial numbers never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerRef {
    /// Its place in the engine's table.
    pub(crate) place: usize,
    /// Told apart from former layers in the same place.
    pub(crate) serial: u32,
}

impl LayerRef {
    /// What a slot wants of a track that has no layer yet.
    pub(crate) const NONE: Self = Self {
        place: usize::MAX,
        serial: 0,
    };
}

/// One quality of a track: a simulcast encoding, or all there is.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Tells it apart from former layers in the same place.
    pub(crate) serial: u32,
    /// The track, by its place in the engine's table.
    pub(crate) track: usize,
    /// The encoding's RID (RFC 8852), if it has one.
    pub(crate) rid: Option<Rid>,
    /// The SSRC that carries it now.
    pub(crate) ssrc: u32,
    /// Who wants a keyframe.
    pub(crate) keyframes: KeyframeRequests,
    /// The newest pair of wall clock and RTP timestamp from the publisher's sender reports.
    pub(crate) sender_clock: Option<SenderClock>,
    /// The packet that took the shortest way to us: when it came, and its timestamp. Stands for
    /// the publisher's report until there is one.
    earliest: Option<(Instant, u32)>,
    clock_rate_hz: u32,
    /// When it last had a packet.
    pub(crate) last_packet: Option<Instant>,
    /// The sequence number of the packet that came last.
    last_seq: u64,
    /// Bits per second, smoothed.
    pub(crate) bitrate_bps: u64,
    /// The same by its spatial and temporal layers.
    pub(crate) sublayers: Sublayers,
    /// What its dependency descriptors refer to.
    pub(crate) described: Option<Known>,
    /// What its decoders have to know, where that is told apart from keyframes (H.264).
    parameter_sets: Option<Box<ParameterSets>>,
    /// Who wants it.
    pub(crate) demand: Demand,
    /// The sizes of its spatial layers in pixels, the lowest first, as its last keyframe told.
    sizes: SmallVec<[(u16, u16); 1]>,
    /// The engine's timer for its keyframe requests.
    pub(crate) armed: Option<Instant>,
    /// What to ask of a publisher without transport-wide feedback.
    pub(crate) limit: ReceiveLimit,
    measured_at: Option<Instant>,
    measured_bytes: u64,
    history: History,
}

/// Which RTP timestamp a publisher's clock showed when (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SenderClock {
    /// The publisher's wall clock, since the Unix epoch.
    pub(crate) ntp: Duration,
    /// The RTP timestamp at that moment.
    pub(crate) rtp: u32,
}

impl Layer {
    pub(crate) fn new(serial: u32, track: usize, rid: Option<Rid>, ssrc: u32, kind: Kind) -> Self {
        Self {
            serial,
            track,
            rid,
            ssrc,
            keyframes: KeyframeRequests::default(),
            sender_clock: None,
            earliest: None,
            clock_rate_hz: kind.clock_rate_hz(),
            last_packet: None,
            last_seq: 0,
            bitrate_bps: 0,
            sublayers: Sublayers::default(),
            described: None,
            parameter_sets: None,
            demand: Demand::default(),
            sizes: SmallVec::new(),
            armed: None,
            limit: ReceiveLimit::default(),
            measured_at: None,
            measured_bytes: 0,
            history: History::new(kind),
        }
    }

    /// Takes in a packet: measures the layer and remembers the packet. Says whether the layer was
    /// silent before.
    pub(crate) fn received(&mut self, packet: &Arc<MediaPacket>, now: Instant) -> bool {
        let is_back = !self.is_active(now);
        if is_back {
            // What it costs is not to be measured over the time in which it was not there.
            self.measured_at = None;
            self.measured_bytes = 0;
        }
        self.last_packet = Some(now);
        if self.sender_clock.is_none() {
            self.time(packet);
        }
        self.last_seq = packet.seq;
        self.limit.received(packet.seq);
        self.measured_bytes += packet.payload.len() as u64;
        self.sublayers.received(&packet.info, packet.payload.len());
        // What waited somewhere did not come faster for that.
        let came = packet.received_at;
        let since = *self.measured_at.get_or_insert(came);
        let window = came.saturating_duration_since(since);
        if window >= BITRATE_WINDOW {
            let bps = self.measured_bytes * 8_000 / (window.as_millis() as u64).max(1);
            self.bitrate_bps = if self.bitrate_bps == 0 {
                bps
            } else {
                (self.bitrate_bps + bps) / 2
            };
            self.sublayers.measure(window.as_millis() as u64);
            self.measured_at = Some(came);
            self.measured_bytes = 0;
        }
        self.history.insert(packet);
        is_back
    }

    /// Its publisher sends it anew, on another SSRC: what it told before holds no more.
    pub(crate) fn begin_anew(&mut self, ssrc: u32) {
        self.ssrc = ssrc;
        self.described = None;
        self.parameter_sets = None;
    }

    /// Notes the parameter sets of a packet of H.264; or says what goes before it, where it is a keyframe that
    /// brings none.
    pub(crate) fn head_of(&mut self, packet: &MediaPacket) -> Option<Arc<MediaPacket>> {
        if packet.info.parameter_sets {
            let sets = self.parameter_sets.get_or_insert_default();
            sets.note(&packet.payload);
            return None;
        }
        let sets = self.parameter_sets.as_ref();
        let sets = sets.filter(|_| packet.info.keyframe_start)?;
        let payload = sets.aggregate()?.into();
        Some(Arc::new(MediaPacket {
            seq: packet.seq.checked_sub(1)?,
            marker: false,
            descriptor: None,
            payload,
            ..packet.clone()
        }))
    }

    /// The packet of this sequence number, if it is still remembered.
    pub(crate) fn remembered(&self, seq: u64) -> Option<&Arc<MediaPacket>> {
        self.history.get(seq)
    }

    /// The sequence number that came last; nothing before the first packet.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.last_packet.map(|_| self.last_seq)
    }

    /// The packet that came last, if it is still remembered.
    pub(crate) fn newest(&self) -> Option<&Arc<MediaPacket>> {
        self.remembered(self.last_seq)
    }

    /// Notes a packet that took a shorter way than all before it.
    fn time(&mut self, packet: &MediaPacket) {
        let came = (packet.received_at, packet.timestamp);
        let is_earlier = self.earliest.is_none_or(|earliest| {
            let due = from(earliest, packet.timestamp, self.clock_rate_hz);
            // Farther than that, its sender has begun anew.
            due.is_none_or(|due| packet.received_at < due)
        });
        if is_earlier {
            self.earliest = Some(came);
        }
    }

    /// When a timestamp's packet would have come by the shortest way.
    pub(crate) fn earliest(&self) -> Option<(Instant, u32)> {
        self.earliest
    }

    /// A keyframe told how large its pictures are, the lowest spatial layer first.
    pub(crate) fn sized(&mut self, sizes: SmallVec<[(u16, u16); 1]>) {
        if !sizes.is_empty() {
            self.sizes = sizes;
        }
    }

    /// Width and height of a spatial layer, or of the whole.
    pub(crate) fn size_of(&self, spatial: u8, is_top: bool) -> Option<(u16, u16)> {
        if is_top {
            return self.sizes.last().copied();
        }
        self.sizes.get(usize::from(spatial)).copied()
    }

    /// Whether it can be had: packets came lately, or would if somebody wanted it.
    pub(crate) fn is_offered(&self, now: Instant) -> bool {
        self.is_active(now) || self.last_packet.is_some() && self.demand.can_wake(now)
    }

    /// Whether packets came lately.
    pub(crate) fn is_active(&self, now: Instant) -> bool {
        self.last_packet
            .is_some_and(|at| now.saturating_duration_since(at) < LAYER_SILENCE)
    }
}

/// Farthest that two timestamps of one stream may be apart to be compared.
const MAX_TICKS_SECONDS: u32 = 10;

/// The moment of a timestamp, if `known` are one that belong together.
pub(crate) fn from(known: (Instant, u32), timestamp: u32, clock_rate_hz: u32) -> Option<Instant> {
    let ticks = timestamp.wrapping_sub(known.1) as i32;
    if ticks.unsigned_abs() > MAX_TICKS_SECONDS * clock_rate_hz {
        return None;
    }
    let nanos = u64::from(ticks.unsigned_abs()) * 1_000_000_000 / u64::from(clock_rate_hz);
    let distance = Duration::from_nanos(nanos);
    if ticks >= 0 {
        known.0.checked_add(distance)
    } else {
        known.0.checked_sub(distance)
    }
}

/// The newest packets of a layer, found by sequence number.
#[derive(Debug)]
struct History {
    /// Empty for audio, which is not retransmitted.
    ring: Vec<Option<Arc<MediaPacket>>>,
}

impl History {
    fn new(kind: Kind) -> Self {
        let size = match kind {
            Kind::Audio => 0,
            Kind::Video => HISTORY_PACKETS,
        };
        Self {
            ring: vec![None; size],
        }
    }

    fn insert(&mut self, packet: &Arc<MediaPacket>) {
        if let Some(place) = Self::place(&mut self.ring, packet.seq) {
            // A packet that comes late must not push out a newer one.
            if place.as_ref().is_none_or(|held| held.seq <= packet.seq) {
                *place = Some(packet.clone());
            }
        }
    }

    fn get(&self, seq: u64) -> Option<&Arc<MediaPacket>> {
        let place = self.ring.get(seq as usize % HISTORY_PACKETS)?;
        place.as_ref().filter(|packet| packet.seq == seq)
    }

    fn place(
        ring: &mut [Option<Arc<MediaPacket>>],
        seq: u64,
    ) -> Option<&mut Option<Arc<MediaPacket>>> {
        ring.get_mut(seq as usize % HISTORY_PACKETS)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn codecs_that_are_told_again_keep_their_places() {
        let id = TrackId::random(&mut StdRng::seed_from_u64(1));
        let mut track = Track::new(id, Kind::Video, Origin::Relay { home: 0 });
        let config = str0m::format::CodecConfig::new_with_defaults();
        let [vp8, h264] = [config.params()[0], config.params()[1]];
        // The track is not wanted any more and wanted again, while news of a codec is on its way.
        for (place, params) in [(0, vp8), (1, h264), (0, vp8), (1, h264)] {
            track.learn_codec(place, params);
        }
        assert_eq!(track.codecs, [vp8, h264]);
    }
}
