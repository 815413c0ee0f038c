//! A slot: one m-line on which a session receives, with one SSRC for its life.
//!
//! What a slot shows changes by binding it to another track; its receiver sees one unbroken
//! stream. So everything that must go on across bindings lives here: sequence numbers,
//! timestamps, picture ids, and the memory of what was sent as what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::{Codec as FormatCodec, PayloadParams};

use super::codec::{CodecOffsets, PayloadInfo};
use super::command::LayerLimit;
use super::counters::DropReason;
use super::event::Kind;
use super::header::HeaderTemplate;
use super::inspect::SlotStats;
use super::keyframes::WishLimit;
use super::quality::{ALL, Quality};
use super::rtx::RtxLimit;
use super::timeline::{Origin, Placed, Refused, SlotTimeline};
use super::track::{Layer, LayerRef, MediaPacket, Track};

/// How long a slot that was lowered stays low: layers that go up and down cost a keyframe each
/// time, and look worse than either.
const LOWERED_FOR: Duration = Duration::from_secs(4);

/// Heads that are kept to be sent again: a slot that changes its layer so often within the time in which
/// packets are asked for gets the keyframe of none.
const MAX_HEADS: usize = 8;

/// A codec that the receiver negotiated for its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotCodec {
    pub(crate) params: PayloadParams,
    pub(crate) pt: u8,
    pub(crate) rtx_pt: Option<u8>,
    /// Where the same with redundancy goes (RFC 2198).
    pub(crate) red_pt: Option<u8>,
}

impl From<&PayloadParams> for SlotCodec {
    fn from(params: &PayloadParams) -> Self {
        Self {
            params: *params,
            pt: *params.pt(),
            rtx_pt: params.resend().map(|pt| *pt),
            red_pt: params.red().map(|pt| *pt),
        }
    }
}

/// One m-line on which a session receives.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its m-line, as the client writes it.
    pub(crate) mid: String,
    pub(crate) kind: Kind,
    pub(crate) ssrc: u32,
    /// Where retransmissions go (RFC 4588), where they were negotiated.
    pub(crate) rtx_ssrc: u32,
    pub(crate) codecs: Vec<SlotCodec>,
    pub(crate) header: HeaderTemplate,
    pub(crate) subscription: Option<Subscription>,
    /// Media packets and octets sent, for sender reports (RFC 3550 §6.4.1).
    pub(crate) sent_packets: u32,
    pub(crate) sent_octets: u32,
    /// When its next sender report is due.
    pub(crate) report_at: Option<Instant>,
    pub(crate) rtx: RtxLimit,
    pub(crate) wishes: WishLimit,
    /// What is counted for whoever asks.
    pub(crate) stats: SlotStats,
    /// The best that the path has room for, if that is not the best of all.
    pub(crate) ceiling: Option<Quality>,
    /// What its client allows it at most.
    pub(crate) limit: LayerLimit,
    /// When the path last forced it to a lower layer.
    pub(crate) lowered_at: Option<Instant>,
    /// The client wants nothing in it for now.
    is_paused: bool,
    /// The path has no room for it.
    is_starved: bool,
    /// Too much of it waits for the path.
    is_cut: bool,
    timeline: SlotTimeline<LayerRef>,
    /// What it told before keyframes that it began with, and under which numbers; the newest last.
    heads: Vec<(u64, Arc<MediaPacket>)>,
    /// The newest of them, until it is queued.
    ahead: Option<Box<Queued>>,
    /// The newest of its numbers that has left; what was given later ones still waits.
    newest_left: u64,
    rtx_seq: u64,
}

/// A slot's part in a track.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The track, by its place in the engine's table.
    pub(crate) track: usize,
    /// What is wanted.
    pub(crate) wanted: Quality,
    /// What flows.
    pub(crate) current: Option<Quality>,
    /// The layer that would be wanted if it came: its publisher is asked for it.
    pub(crate) target: LayerRef,
    /// The path has no room for what flows: until it changes, as little of it flows as can be.
    pub(crate) is_overloaded: bool,
    /// When the keyframe that it began with is shown.
    began_with: Option<u32>,
    /// Since when the slot waits for a first keyframe.
    pub(crate) waiting_since: Instant,
    /// The codec that [`Self::pt`] stands for.
    codec: Option<u8>,
    pt: u8,
    rtx_pt: Option<u8>,
    red_pt: Option<u8>,
}

/// A packet as a slot sends it.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) slot: u16,
    pub(crate) pt: u8,
    /// Present for a retransmission: its own sequence number on the RTX SSRC.
    pub(crate) rtx_seq: Option<u64>,
    pub(crate) seq: u64,
    pub(crate) timestamp: u32,
    pub(crate) offsets: CodecOffsets,
    pub(crate) packet: Arc<MediaPacket>,
    /// Sent to learn what the path carries, and not because anybody lacks it.
    pub(crate) is_probe: bool,
    /// So many bytes of padding, instead of the payload.
    pub(crate) padding: u8,
    /// How much of the payload leaves.
    pub(crate) form: Form,
}

/// How a payload leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it came.
    Plain,
    /// With its redundancy, whose blocks are of this payload type.
    Redundant(u8),
    /// Without its redundancy: from this byte on.
    Primary(u16),
}

impl Queued {
    /// A packet that goes out for the first time.
    fn first(slot: u16, pt: u8, placed: Placed, packet: &Arc<MediaPacket>) -> Self {
        Self {
            slot,
            pt,
            rtx_seq: None,
            seq: placed.seq,
            timestamp: placed.timestamp,
            offsets: placed.codec,
            packet: packet.clone(),
            is_probe: false,
            padding: 0,
            form: Form::Plain,
        }
    }

    /// The bytes of the payload that leave.
    pub(crate) fn payload(&self) -> &[u8] {
        match self.form {
            Form::Plain | Form::Redundant(_) => &self.packet.payload,
            Form::Primary(at) => self
                .packet
                .payload
                .get(usize::from(at)..)
                .unwrap_or_default(),
        }
    }
}

/// What a slot did with a packet.
#[derive(Debug)]
pub(crate) enum Forwarded {
    /// It goes out.
    Queue(Queued),
    /// It is the first of its binding; the slot waited this long.
    Started(Queued, Duration),
    /// It does not go out, and nothing is wrong: another layer.
    Elsewhere,
    /// It was thrown away.
    Drop(DropReason),
}

impl Slot {
    pub(crate) fn new(mid: String, kind: Kind, ssrc: u32, rtx_ssrc: u32, random: u64) -> Self {
        let timeline = SlotTimeline::new(kind.clock_rate_hz(), random);
        Self {
            mid,
            kind,
            ssrc,
            rtx_ssrc,
            codecs: Vec::new(),
            header: HeaderTemplate::default(),
            subscription: None,
            sent_packets: 0,
            sent_octets: 0,
            report_at: None,
            rtx: RtxLimit::default(),
            wishes: WishLimit::default(),
            stats: SlotStats::default(),
            ceiling: None,
            limit: LayerLimit::default(),
            lowered_at: None,
            is_paused: false,
            is_starved: false,
            is_cut: false,
            heads: Vec::new(),
            ahead: None,
            newest_left: timeline.newest_seq(),
            timeline,
            // In the lower half, for the same reason as the media's first number.
            rtx_seq: random >> 49,
        }
    }

    /// Fetches what [`Self::forward`] will need that stands elsewhere.
    pub(crate) fn warm(&self) {
        self.timeline.warm();
    }

    /// From now on the slot shows this layer of this track.
    pub(crate) fn bind(&mut self, track: usize, wanted: Quality, target: LayerRef, now: Instant) {
        self.subscription = Some(Subscription {
            track,
            wanted,
            current: None,
            target,
            is_overloaded: false,
            began_with: None,
            waiting_since: now,
            codec: None,
            pt: 0,
            rtx_pt: None,
            red_pt: None,
        });
    }

    /// Whether the client wants nothing in it for now.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Stops the slot, or lets it go on; `true` if it goes on after a stop.
    pub(crate) fn pause(&mut self, pause: bool) -> bool {
        let resumed = self.is_paused && !pause;
        self.is_paused = pause;
        resumed
    }

    /// Whether it is stopped for want of bandwidth.
    pub(crate) fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// Stops the slot for want of bandwidth, or lets it go on; whether it was stopped before.
    pub(crate) fn starve(&mut self, starves: bool) -> bool {
        std::mem::replace(&mut self.is_starved, starves)
    }

    /// Whether what flows is what was chosen for a path that had no room for what was before.
    pub(crate) fn has_given_way(&self, now: Instant) -> bool {
        let flows = |it: &Subscription| it.current == Some(it.wanted);
        self.was_lowered(now) && self.subscription.as_ref().is_some_and(flows)
    }

    /// Whether the path has forced it to a lower layer lately, so that it stays there.
    pub(crate) fn was_lowered(&self, now: Instant) -> bool {
        let is_lately = |at| now.saturating_duration_since(at) < LOWERED_FOR;
        self.lowered_at.is_some_and(is_lately)
    }

    /// What shows ends here, in the middle of a frame as well: it goes on with a keyframe.
    pub(crate) fn stop(&mut self, now: Instant) {
        if let Some(subscription) = self.subscription.as_mut() {
            subscription.current = None;
            subscription.waiting_since = now;
        }
    }

    /// Too much waits: what shows ends here. It begins anew with a keyframe, but not before what
    /// waits has left, or keyframes alone would fill the queue.
    pub(crate) fn cut(&mut self, now: Instant) {
        self.is_cut = true;
        self.stop(now);
    }

    /// Whether it was cut off, and does not go on yet.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether a packet is of the keyframe that what it shows began with.
    pub(crate) fn began_with(&self, queued: &Queued) -> bool {
        let began_with = self.subscription.as_ref().and_then(|sub| sub.began_with);
        began_with == Some(queued.timestamp)
    }

    /// A picture's packet has left under this number.
    pub(crate) fn left(&mut self, seq: u64) {
        self.newest_left = self.newest_left.max(seq);
    }

    /// What waited will not leave: whatever is shown next is given its numbers.
    pub(crate) fn take_back(&mut self) {
        self.timeline.take_back(self.newest_left);
        let newest_left = self.newest_left;
        self.heads.retain(|(told, _)| *told <= newest_left);
    }

    /// What waited has left; whether it was cut off for that.
    pub(crate) fn mend(&mut self) -> bool {
        std::mem::take(&mut self.is_cut)
    }

    /// Takes a packet of the track that it is bound to.
    ///
    /// Video starts and changes layer at a keyframe only, so that a decoder never sees a frame
    /// whose references it lacks.
    pub(crate) fn forward(
        &mut self,
        place: u16,
        layer: LayerRef,
        track: &Track,
        packet: &Arc<MediaPacket>,
        now: Instant,
    ) -> Forwarded {
        let Some(subscription) = self.subscription.as_mut() else {
            return Forwarded::Elsewhere;
        };
        if self.is_paused || self.is_starved || self.is_cut {
            return Forwarded::Elsewhere;
        }
        let flows = subscription.flows(layer);
        if flows {
            if !subscription.follow(&packet.info) {
                self.timeline.skip(packet.seq, &packet.info);
                return Forwarded::Elsewhere;
            }
        } else {
            if subscription.wanted.layer != layer {
                return Forwarded::Elsewhere;
            }
            if track.kind == Kind::Video && !begins(&subscription.wanted, packet) {
                return match subscription.current {
                    None => Forwarded::Drop(DropReason::AwaitingKeyframe),
                    Some(_) => Forwarded::Elsewhere,
                };
            }
        }
        if !subscription.adopt(&self.codecs, track, packet.codec) {
            return Forwarded::Drop(DropReason::CodecMismatch);
        }
        let started = (!flows).then(|| {
            let first = subscription.current.is_none();
            subscription.current = Some(subscription.wanted);
            subscription.is_overloaded = false;
            first.then_some(subscription.waiting_since)
        });
        let spatial = subscription.current.map_or(ALL, |current| current.spatial);
        self.timeline.keep_spatial(spatial);
        if packet.descriptor.is_some() {
            let temporal = subscription.current.map_or(ALL, |current| current.temporal);
            self.timeline.keep_temporal(temporal);
        }
        let (pt, form) = subscription.form_of(packet);
        if started.is_some() {
            self.begin(place, pt, layer, packet);
            // What the receiver knows of the former source's clock is not true any more.
            self.report_at = Some(now);
        }
        let queued = match self
            .timeline
            .pass(packet.seq, packet.timestamp, &packet.info)
        {
            Ok(placed) => Queued {
                form,
                ..Queued::first(place, pt, placed, packet)
            },
            Err(Refused::Duplicate) => return Forwarded::Drop(DropReason::Duplicate),
            Err(_) => return Forwarded::Drop(DropReason::BeforeSwitch),
        };
        match started.flatten() {
            Some(since) => Forwarded::Started(queued, now.saturating_duration_since(since)),
            None => Forwarded::Queue(queued),
        }
    }

    /// Goes on with this packet, and with what goes before it.
    fn begin(&mut self, place: u16, pt: u8, layer: LayerRef, packet: &Arc<MediaPacket>) {
        let first = packet.head.as_ref().unwrap_or(packet);
        let at = packet.captured_at;
        self.timeline
            .switch(layer, first.seq, first.timestamp, &first.info, at);
        let offset = self.timeline.timestamp_offset().unwrap_or(0);
        if let Some(subscription) = self.subscription.as_mut() {
            subscription.began_with = Some(packet.timestamp.wrapping_add(offset));
        }
        let Some(head) = &packet.head else {
            return;
        };
        if let Ok(placed) = self.timeline.pass(head.seq, head.timestamp, &head.info) {
            if self.heads.len() == MAX_HEADS {
                self.heads.remove(0);
            }
            self.heads.push((placed.seq, head.clone()));
            self.ahead = Some(Box::new(Queued::first(place, pt, placed, head)));
        }
    }

    /// What goes before the packet that it has just begun with.
    pub(crate) fn take_ahead(&mut self) -> Option<Queued> {
        self.ahead.take().map(|ahead| *ahead)
    }

    /// The packet that was sent under a number, if it is still remembered: what its layer had there, or
    /// what was told before a keyframe in its place.
    pub(crate) fn sent_as(
        &self,
        seq: u64,
        origin: &Origin<LayerRef>,
        layer: &Layer,
    ) -> Option<Arc<MediaPacket>> {
        let head = self.heads.iter().find(|(told, _)| *told == seq);
        let head = head.map(|(_, head)| head);
        head.or_else(|| layer.remembered(origin.seq)).cloned()
    }

    /// A packet of the layer that flows is left out: what follows closes up.
    pub(crate) fn skip(&mut self, layer: LayerRef, seq: u64) {
        if self
            .subscription
            .as_ref()
            .is_some_and(|sub| sub.flows(layer))
        {
            self.timeline.skip(seq, &PayloadInfo::OPAQUE);
        }
    }

    /// The packet that a receiver reports as lost: its number here, and where it came from.
    pub(crate) fn origin_of(&self, wire_seq: u16) -> Option<(u64, Origin<LayerRef>)> {
        let seq = self.timeline.extend(wire_seq);
        Some((seq, self.timeline.origin_of(seq)?))
    }

    /// A packet that was sent lately: so many before the newest.
    pub(crate) fn recent(&self, back: u64) -> Option<(u64, Origin<LayerRef>)> {
        let seq = self.newest_left.checked_sub(back)?;
        Some((seq, self.timeline.origin_of(seq)?))
    }

    /// A retransmission of the packet that [`Self::origin_of`] led to.
    pub(crate) fn retransmit(
        &mut self,
        place: u16,
        seq: u64,
        origin: &Origin<LayerRef>,
        packet: &Arc<MediaPacket>,
    ) -> Option<Queued> {
        let pt = self.subscription.as_ref()?.rtx_pt?;
        self.rtx_seq += 1;
        Some(Queued {
            slot: place,
            pt,
            rtx_seq: Some(self.rtx_seq),
            seq,
            timestamp: packet.timestamp.wrapping_add(origin.timestamp_offset),
            offsets: origin.codec,
            packet: packet.clone(),
            is_probe: false,
            padding: 0,
            form: Form::Plain,
        })
    }

    /// A packet of nothing but padding, where retransmissions go; `like` lends it its header.
    pub(crate) fn pad(&mut self, place: u16, like: &Arc<MediaPacket>, bytes: u8) -> Option<Queued> {
        let known = self.subscription.as_ref()?.rtx_pt;
        let pt = known.or_else(|| self.codecs.first()?.rtx_pt)?;
        self.rtx_seq += 1;
        Some(Queued {
            slot: place,
            pt,
            rtx_seq: Some(self.rtx_seq),
            seq: 0,
            timestamp: like.timestamp,
            offsets: CodecOffsets::default(),
            packet: like.clone(),
            is_probe: true,
            padding: bytes,
            form: Form::Plain,
        })
    }

    /// The layer that flows, and how far its timestamps are moved in this slot.
    pub(crate) fn timestamp_offset(&self) -> Option<(LayerRef, u32)> {
        let current = self.subscription.as_ref()?.current?;
        Some((current.layer, self.timeline.timestamp_offset()?))
    }
}

impl Subscription {
    /// Whether this layer is the one that flows.
    fn flows(&self, layer: LayerRef) -> bool {
        self.current.is_some_and(|current| current.layer == layer)
    }

    /// Looks up how its receiver names the codec that comes now; `false` if it does not know it.
    fn adopt(&mut self, codecs: &[SlotCodec], track: &Track, codec: u8) -> bool {
        if self.codec == Some(codec) {
            return true;
        }
        let Some(known) = matching(codecs, track.codecs.get(usize::from(codec))) else {
            return false;
        };
        self.codec = Some(codec);
        (self.pt, self.rtx_pt, self.red_pt) = (known.pt, known.rtx_pt, known.red_pt);
        true
    }

    /// Under which payload type a packet leaves, and how much of it.
    fn form_of(&self, packet: &MediaPacket) -> (u8, Form) {
        match (packet.primary_at, self.red_pt) {
            (0, _) => (self.pt, Form::Plain),
            (_, Some(red_pt)) => (red_pt, Form::Redundant(self.pt)),
            (primary_at, None) => (self.pt, Form::Primary(primary_at)),
        }
    }

    /// Goes on with a packet of the layer that flows; `false` if it is of a part that does not.
    fn follow(&mut self, info: &PayloadInfo) -> bool {
        let Some(current) = self.current else {
            return false;
        };
        let goal = if self.wanted.layer == current.layer {
            self.wanted
        } else if self.is_overloaded {
            Quality::base(current.layer)
        } else {
            current
        };
        if goal == current {
            return current.includes(info);
        }
        let next = current.towards(goal, info);
        self.current = Some(next);
        next.includes(info)
    }
}

/// Whether a slot can begin with this packet: with a keyframe; and of encodings whose spatial layers
/// are each on their own, as descriptors tell, with the one of the layer that it wants.
fn begins(wanted: &Quality, packet: &MediaPacket) -> bool {
    let is_shown = packet.descriptor.is_none() || wanted.includes(&packet.info);
    packet.info.keyframe_start && is_shown
}

/// The receiver's codec for a publisher's.
///
/// H.264 is matched leniently: encoders name profiles that browsers decode but do not list,
/// so any H.264 of the same packetization mode, or failing that of any, is better than nothing.
fn matching<'a>(codecs: &'a [SlotCodec], theirs: Option<&PayloadParams>) -> Option<&'a SlotCodec> {
    let theirs = theirs?.spec();
    let same = |codec: &&SlotCodec| codec.params.spec().codec == theirs.codec;
    let exact = codecs.iter().find(|codec| codec.params.spec() == theirs);
    if exact.is_some() {
        return exact;
    }
    match theirs.codec {
        FormatCodec::H264 => {
            let mode = |codec: &&SlotCodec| {
                let format = codec.params.spec().format;
                format.packetization_mode.unwrap_or(0)
                    == theirs.format.packetization_mode.unwrap_or(0)
            };
            codecs
                .iter()
                .filter(same)
                .find(mode)
                .or_else(|| codecs.iter().find(same))
        }
        FormatCodec::Vp9 => {
            let profile = |codec: &&SlotCodec| {
                codec.params.spec().format.profile_id.unwrap_or(0)
                    == theirs.format.profile_id.unwrap_or(0)
            };
            codecs.iter().filter(same).find(profile)
        }
        _ => codecs.iter().find(same),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_packet;

    #[test]
    fn parameter_sets_that_did_not_leave_are_not_sent_under_a_number_of_something_else() {
        let mut slot = Slot::new("0".to_owned(), Kind::Video, 1, 2, 0);
        let layer = Layer::new(1, 0, None, 1, Kind::Video);
        let source = LayerRef {
            place: 0,
            serial: 1,
        };
        let mut packet = some_packet();
        packet.head = Some(Arc::new(MediaPacket {
            seq: 6,
            ..some_packet()
        }));
        slot.begin(0, 96, source, &Arc::new(packet));
        let ahead = slot.take_ahead().expect("they go first");
        let origin = slot.timeline.origin_of(ahead.seq).expect("it was sent");
        assert!(slot.sent_as(ahead.seq, &origin, &layer).is_some());
        slot.take_back();
        assert!(slot.sent_as(ahead.seq, &origin, &layer).is_none());
    }
}
