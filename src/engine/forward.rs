//! The way of a packet: from the session that sent it, through its track, into the slots of
//! those who want it. Also what follows from packets: keyframe requests, retransmissions,
//! sender reports, and which layer a slot should show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::format::PayloadParams;
use str0m::media::{KeyframeRequestKind, Mid, Rid, SenderFeedback};
use str0m::rtp::{Extension, RtpPacket};

use smallvec::SmallVec;

use super::Engine;
use super::codec::red::{self, Redundant};
use super::codec::{self, Codec, Descriptor, PayloadInfo};
use super::counters::DropReason;
use super::diary::Note;
use super::egress::Egress;
use super::event::Kind;
use super::extension::RawDescriptor;
use super::feedback::Wanted;
use super::flush::Passing;
use super::ids::TrackId;
use super::session::ClockOffset;
use super::tape;
use super::timers::Timer;
use super::track::{
    self, Layer, LayerRef, MAX_LAYERS, MediaPacket, Origin, SenderClock, Subscriber,
};

/// Most codecs that one track may change between.
const MAX_CODECS: usize = 8;

/// How much of an early estimate of a clock offset is forgotten with every sender report, in
/// microseconds: clocks drift apart by some 50 µs a second at worst.
const CLOCK_DRIFT_US: i64 = 100;

impl Engine {
    /// A publisher sent a packet.
    pub(super) fn media(&mut self, publisher: usize, packet: RtpPacket, now: Instant) {
        if let Some(tape) = &mut self.sessions[publisher].egress.downlink.tape {
            tape.note(now, tape::received(&packet));
        }
        let Some(layer) = self.layer_of(publisher, &packet, now) else {
            return;
        };
        let track = self.layers[layer].track;
        let Some(codec) = self.codec_of(publisher, track, &packet) else {
            self.counters.drop(DropReason::CodecMismatch);
            return;
        };
        if packet.payload.is_empty() {
            let (rid, seq) = (self.layers[layer].rid, *packet.seq_no);
            self.relays.padding(&self.tracks[track], rid, seq);
            self.skip(track, layer, seq);
            return;
        }
        let params = self.tracks[track].codecs[usize::from(codec)];
        let is_redundant = params.red() == Some(packet.header.payload_type);
        let extensions = &packet.header.ext_vals.user_values;
        let descriptor = extensions.get::<RawDescriptor>().cloned();
        let mut packet = self.media_packet(track, codec, packet);
        if let Some(RawDescriptor(bytes)) = descriptor {
            self.read_descriptor(layer, &mut packet, &bytes);
        }
        if is_redundant {
            let Some(found) = red::parse(&packet.payload) else {
                self.counters.drop(DropReason::CodecMismatch);
                return;
            };
            packet.primary_at = found.primary as u16;
            self.fill_gap(layer, &packet, &found, now);
        }
        if codec_of(params.spec().codec) == Codec::H264 {
            packet.head = self.layers[layer].head_of(&packet);
        }
        if packet.info.keyframe_start {
            packet.captured_at = self.captured_at(layer, &packet);
        }
        let packet = Arc::new(packet);
        let kind = self.tracks[track].kind;
        self.counters.packets_in.add(kind, 1);
        self.counters
            .bytes_in
            .add(kind, packet.payload.len() as u64);
        self.note_media(publisher, now);

        if self.tracks[track].is_held {
            self.layers[layer].received(&packet, now);
            self.counters.drop(DropReason::MutedByHost);
            return;
        }
        if let Some((level, _)) = packet.audio_level {
            let room = self.sessions[publisher].room;
            self.rooms[room].heard(publisher, level, now);
        }
        let rid = self.layers[layer].rid;
        self.relays.media(&self.tracks[track], rid, &packet);
        self.arrived(layer, &packet, now);
    }

    /// What a packet's dependency descriptor tells is put in the place of what its payload does. One that
    /// cannot be read is left out, and its packet passes by its payload alone.
    pub(super) fn read_descriptor(&mut self, layer: usize, packet: &mut MediaPacket, bytes: &[u8]) {
        let known = &mut self.layers[layer].described;
        match Descriptor::parse(bytes, packet.seq, known, &packet.info) {
            Ok((descriptor, info)) => {
                packet.info = info;
                packet.descriptor = Some(Arc::new(descriptor));
            }
            Err(reason) => *self.counters.unread_descriptors.entry(reason).or_default() += 1,
        }
    }

    /// What was lost on its way to us, and comes once more beside a later packet, goes on as if it
    /// had not been lost.
    fn fill_gap(&mut self, layer: usize, packet: &MediaPacket, found: &Redundant, now: Instant) {
        let Some(last) = self.layers[layer].last_seq() else {
            return;
        };
        let track = self.layers[layer].track;
        if self.tracks[track].is_held {
            return;
        }
        let count = found.earlier.len() as u64;
        for (place, earlier) in (0..).zip(&found.earlier) {
            let seq = packet.seq.saturating_sub(count - place);
            let payload = &packet.payload[earlier.at.clone()];
            if seq <= last || payload.is_empty() {
                continue;
            }
            let recovered = Arc::new(MediaPacket {
                seq,
                timestamp: packet.timestamp.wrapping_sub(earlier.ticks),
                marker: false,
                audio_level: None,
                primary_at: 0,
                payload: payload.into(),
                ..packet.clone()
            });
            self.counters.red_recovered += 1;
            let rid = self.layers[layer].rid;
            self.relays.media(&self.tracks[track], rid, &recovered);
            self.arrived(layer, &recovered, now);
        }
    }

    /// A packet of a layer is here, from its publisher or from the room's home.
    pub(super) fn arrived(&mut self, layer: usize, packet: &Arc<MediaPacket>, now: Instant) {
        let is_back = self.layers[layer].received(packet, now);
        let track = self.layers[layer].track;
        if self.tracks[track].kind == Kind::Video && packet.info.keyframe_start {
            let codec = self.tracks[track].codecs.get(usize::from(packet.codec));
            let codec = codec.map_or(Codec::Other, |params| codec_of(params.spec().codec));
            let known = &mut self.layers[layer];
            known.sized(codec::picture_sizes(codec, &packet.payload));
            if let Some(descriptor) = &packet.descriptor {
                known.sized(descriptor.sizes().into());
            }
            known.keyframes.arrived();
            self.rearm_layer(layer);
        }
        if is_back {
            // Whoever wants it begins with this packet, if that is a place to begin.
            self.review_track(track, now);
        }
        self.forward(track, layer, Passing::Packet(packet.clone()));
    }

    /// Keeps a packet until the wake-up is over, for every slot that is bound to its track.
    ///
    /// A frame's packets come together. Handing them over one receiver after the other, each
    /// receiver's state is fetched into the cache once for all of them.
    fn forward(&mut self, track: usize, layer: usize, packet: Passing) {
        let layer = LayerRef {
            place: layer,
            serial: self.layers[layer].serial,
        };
        self.passing.push((track, layer, packet));
    }

    /// A packet without payload is padding: receivers must not see a gap where it was.
    pub(super) fn skip(&mut self, track: usize, layer: usize, seq: u64) {
        self.forward(track, layer, Passing::Padding(seq));
    }

    fn note_media(&mut self, publisher: usize, now: Instant) {
        let session = &mut self.sessions[publisher];
        if !session.media_seen {
            session.media_seen = true;
            let took = now.saturating_duration_since(session.joined_at);
            self.counters.join_media.observe(took, 1);
        }
    }

    /// The layer that a packet belongs to; a new SSRC is looked up, and may be a new layer.
    fn layer_of(&mut self, publisher: usize, packet: &RtpPacket, now: Instant) -> Option<usize> {
        let session = &mut self.sessions[publisher];
        let ssrc = *packet.header.ssrc;
        if let Some((_, layer)) = session.layers.iter().find(|(known, _)| *known == ssrc) {
            return Some(*layer);
        }
        let (mid, rid) = session.encoding_of(ssrc)?;
        let track = session.lines.iter().find(|line| line.media == mid)?.track?;
        let known = &self.tracks[track].layers;
        // A publisher that restarts keeps its encodings and changes their SSRCs.
        let layer = known
            .iter()
            .copied()
            .find(|layer| self.layers[*layer].rid == rid);
        let layer = match layer {
            Some(layer) => {
                session.layers.retain(|(_, known)| *known != layer);
                self.layers[layer].begin_anew(ssrc);
                layer
            }
            None if known.len() < MAX_LAYERS => self.new_layer(track, rid, ssrc, now),
            None => return None,
        };
        self.sessions[publisher].layers.push((ssrc, layer));
        Some(layer)
    }

    pub(super) fn new_layer(
        &mut self,
        track: usize,
        rid: Option<str0m::media::Rid>,
        ssrc: u32,
        now: Instant,
    ) -> usize {
        let kind = self.tracks[track].kind;
        self.next_serial = self.next_serial.wrapping_add(1);
        let layer = Layer::new(self.next_serial, track, rid, ssrc, kind);
        let layer = self.layers.insert(layer);
        let is_first = self.tracks[track].layers.is_empty();
        self.tracks[track].layers.push(layer);
        if is_first {
            for subscriber in self.tracks[track].subscribers.clone() {
                self.subscribe(subscriber, track, now);
            }
        }
        self.rearm_track(track, now);
        layer
    }

    fn codec_of(&mut self, publisher: usize, track: usize, packet: &RtpPacket) -> Option<u8> {
        let pt = packet.header.payload_type;
        let track = &mut self.tracks[track];
        let is_it = |params: &PayloadParams| params.pt() == pt || params.red() == Some(pt);
        if let Some(place) = track.codecs.iter().position(is_it) {
            return Some(place as u8);
        }
        if track.codecs.len() == MAX_CODECS {
            return None;
        }
        let params = *self.sessions[publisher]
            .rtc
            .codec_config()
            .find(|params| is_it(params))?;
        track.codecs.push(params);
        self.relays.codec(track);
        Some((track.codecs.len() - 1) as u8)
    }

    fn media_packet(&self, track: usize, codec: u8, packet: RtpPacket) -> MediaPacket {
        let params = &self.tracks[track].codecs[usize::from(codec)];
        let format = codec_of(params.spec().codec);
        let info = PayloadInfo::parse(format, &packet.payload).unwrap_or(PayloadInfo::OPAQUE);
        let extensions = &packet.header.ext_vals;
        let received_at = self.received_at.unwrap_or(packet.timestamp);
        MediaPacket {
            seq: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            codec,
            info,
            descriptor: None,
            head: None,
            audio_level: extensions.audio_level.map(|level| {
                (
                    level.unsigned_abs(),
                    extensions.voice_activity == Some(true),
                )
            }),
            orientation: extensions
                .video_orientation
                .map(|orientation| orientation as u8),
            received_at,
            captured_at: received_at,
            primary_at: 0,
            payload: packet.payload,
        }
    }

    /// Binds a slot to a track, or to nothing.
    pub(super) fn bind(&mut self, session: usize, slot: usize, id: Option<TrackId>, now: Instant) {
        let subscriber = Subscriber { session, slot };
        self.unsubscribe(subscriber);
        if let Some(session) = self.sessions.get_mut(session) {
            let slot = slot as u16;
            session.diary.note(now, Note::Bound { slot, track: id });
        }
        let track = id.and_then(|id| self.track_ids.get(&id)).copied();
        if let Some(track) = track {
            self.tracks[track].subscribers.push(subscriber);
            // Whoever follows layers is told those of the new one.
            self.tracks[track].told_layers.clear();
            self.review_relay(track);
            self.subscribe(subscriber, track, now);
        }
    }

    pub(super) fn subscribe(&mut self, subscriber: Subscriber, track: usize, now: Instant) {
        let (wanted, target) = self.best_quality(subscriber, track, now);
        let Some(session) = self.sessions.get_mut(subscriber.session) else {
            return;
        };
        let is_connected = session.connected;
        let Some(slot) = session.egress.slots.get_mut(subscriber.slot) else {
            return;
        };
        slot.bind(track, wanted, target, now);
        let is_paused = slot.is_paused();
        if !is_paused {
            self.layer_wanted(target, now);
        }
        if is_connected {
            self.want_keyframe(wanted.layer, now);
        }
    }

    fn unsubscribe(&mut self, subscriber: Subscriber) {
        let Some(session) = self.sessions.get_mut(subscriber.session) else {
            return;
        };
        let Some(slot) = session.egress.slots.get_mut(subscriber.slot) else {
            return;
        };
        let Some(old) = slot.subscription.take() else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(old.track) {
            track.subscribers.retain(|other| *other != subscriber);
            self.review_relay(old.track);
        }
    }

    pub(super) fn unsubscribe_all(&mut self, session: usize) {
        for slot in 0..self.sessions[session].egress.slots.len() {
            self.unsubscribe(Subscriber { session, slot });
        }
    }

    /// Forgets a track: nobody receives it any more.
    pub(super) fn drop_track(&mut self, place: usize) {
        let mut track = self.tracks.remove(place);
        // Another one may take its place before the wake-up is over.
        self.passing.retain(|(track, ..)| *track != place);
        self.handing.forget(place);
        self.timers.set(Timer::Track(place), &mut track.armed, None);
        self.track_ids.remove(&track.id);
        for Subscriber { session, slot } in std::mem::take(&mut track.subscribers) {
            if let Some(session) = self.sessions.get_mut(session)
                && let Some(slot) = session.egress.slots.get_mut(slot)
            {
                slot.subscription = None;
            }
        }
        for layer in track.layers {
            let mut removed = self.layers.remove(layer);
            self.timers
                .set(Timer::Layer(layer), &mut removed.armed, None);
        }
    }

    /// Tells a publisher how much to send, if REMB is all that it understands.
    pub(super) fn limit_publisher(&mut self, place: usize, now: Instant) {
        let track = &self.tracks[place];
        let Origin::Session { publisher, mid } = track.origin else {
            return;
        };
        let session = &mut self.sessions[publisher];
        let has_twcc = session.rtc.media(mid).is_none_or(|media| {
            media
                .remote_extmap()
                .id_of(Extension::TransportSequenceNumber)
                .is_some()
        });
        let understands = track.codecs.iter().any(PayloadParams::fb_remb);
        if has_twcc || !understands || track.kind == Kind::Audio {
            return;
        }
        let mut asked = false;
        for layer in &track.layers {
            let layer = &mut self.layers[*layer];
            let Some(limit_bps) = layer.limit.judge(layer.bitrate_bps) else {
                continue;
            };
            if let Some(stream) = session.rtc.direct_api().stream_rx(&layer.ssrc.into()) {
                stream.request_remb(Bitrate::bps(limit_bps));
                asked = true;
            }
        }
        if asked {
            // It leaves with the publisher's next turn, which is due at once.
            self.hurry(publisher, now);
        }
    }

    /// What a receiver reported.
    pub(super) fn wanted_by(&mut self, session: usize, wanted: Wanted, now: Instant) {
        match wanted {
            Wanted::Keyframe { slot } => {
                let session = &mut self.sessions[session];
                let number = slot as u16;
                session
                    .diary
                    .note(now, Note::KeyframeAsked { slot: number });
                let slot = &mut session.egress.slots[slot];
                slot.stats.keyframes_asked += 1;
                if !slot.wishes.allow(now) {
                    self.counters.keyframe_requests_ignored += 1;
                    return;
                }
                let wanted = slot.subscription.as_ref().map(|sub| sub.wanted.layer);
                if let Some(layer) = wanted {
                    self.want_keyframe(layer, now);
                }
            }
            Wanted::Packet { slot, seq } => self.retransmit(session, slot, seq, now),
        }
    }

    fn retransmit(&mut self, place: usize, slot: usize, seq: u16, now: Instant) {
        let session = &mut self.sessions[place];
        let rtt = session.egress.rtt;
        let Egress {
            slots, downlink, ..
        } = &mut session.egress;
        let sender = &mut slots[slot];
        let flows = sender.subscription.as_ref().and_then(|sub| sub.current);
        let has_given_way = sender.has_given_way(now);
        let queued = sender.origin_of(seq).and_then(|(seq, origin)| {
            // After a change of layer nobody needs what was before its keyframe.
            if flows.is_some_and(|flows| flows.layer != origin.source) {
                return None;
            }
            let layer = self.layers.get(origin.source.place)?;
            let packet = sender.sent_as(seq, &origin, layer)?;
            let allowed = layer.serial == origin.source.serial
                && sender.rtx.allow(seq, packet.payload.len(), rtt, now)
                && downlink.may_repeat(packet.payload.len(), has_given_way, now);
            allowed
                .then(|| sender.retransmit(slot as u16, seq, &origin, &packet))
                .flatten()
        });
        if !queued.is_some_and(|queued| session.egress.queue(queued)) {
            self.counters.drop(DropReason::RtxLimit);
        } else if !session.is_dirty {
            session.is_dirty = true;
            self.dirty.push(place);
        }
    }

    /// A session's transport came up: its slots have waited for keyframes since.
    pub(super) fn want_keyframes_for(&mut self, session: usize, now: Instant) {
        let slots = &mut self.sessions[session].egress.slots;
        let wanted: Vec<LayerRef> = slots
            .iter_mut()
            .filter_map(|slot| slot.subscription.as_mut())
            .map(|subscription| {
                subscription.waiting_since = now;
                subscription.wanted.layer
            })
            .collect();
        for layer in wanted {
            self.want_keyframe(layer, now);
        }
    }

    pub(super) fn want_keyframe(&mut self, layer: LayerRef, now: Instant) {
        let wanted = self.layers.get_mut(layer.place);
        let Some(wanted) = wanted.filter(|wanted| wanted.serial == layer.serial) else {
            return;
        };
        if self.tracks[wanted.track].kind == Kind::Video {
            wanted.keyframes.want(now);
            self.ask_for_keyframe(layer.place, now);
        }
    }

    pub(super) fn layer_timeout(&mut self, layer: usize, now: Instant) {
        if let Some(due) = self.layers.get_mut(layer) {
            due.armed = None;
            self.ask_for_keyframe(layer, now);
        }
    }

    fn ask_for_keyframe(&mut self, layer: usize, now: Instant) {
        if self.layers[layer].keyframes.poll(now) {
            let track = &self.tracks[self.layers[layer].track];
            let rid = self.layers[layer].rid;
            match track.origin {
                Origin::Session { publisher, mid } => {
                    self.ask_publisher(publisher, mid, rid, now);
                }
                Origin::Relay { home } => self.relays.keyframe(home, track.id, rid),
            }
        }
        self.rearm_layer(layer);
    }

    fn ask_publisher(&mut self, publisher: usize, mid: Mid, rid: Option<Rid>, now: Instant) {
        let Some(session) = self.sessions.get_mut(publisher) else {
            return;
        };
        if let Some(stream) = session.rtc.direct_api().stream_rx_by_mid(mid, rid) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            self.counters.keyframe_requests_out += 1;
        }
        // The request leaves with the publisher's next turn, which is due at once.
        self.hurry(publisher, now);
    }

    fn rearm_layer(&mut self, place: usize) {
        let layer = &mut self.layers[place];
        let at = layer.keyframes.deadline();
        self.timers.set(Timer::Layer(place), &mut layer.armed, at);
    }

    /// A publisher's sender report: how its clock and its timestamps go together.
    pub(super) fn sender_report(
        &mut self,
        publisher: usize,
        report: &SenderFeedback,
        now: Instant,
    ) {
        let ours = self.wall_clock(now);
        let info = &report.sender_info;
        let Ok(theirs) = info
            .ntp_time
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
        else {
            return;
        };
        let session = &mut self.sessions[publisher];
        let difference = ours.as_micros() as i64 - theirs.as_micros() as i64;
        // The report that took the shortest way tells the difference best; both of a
        // participant's tracks use the same one, so that they stay together.
        let offset = match session.clock_offset {
            Some(old) => difference.min(old.ours_minus_theirs_us + CLOCK_DRIFT_US),
            None => difference,
        };
        session.clock_offset = Some(ClockOffset {
            ours_minus_theirs_us: offset,
        });
        let ssrc = *info.ssrc;
        if let Some((_, layer)) = session.layers.iter().find(|(known, _)| *known == ssrc) {
            let rtp = info.rtp_time.numer() as u32;
            let place = *layer;
            self.layers[place].sender_clock = Some(SenderClock { ntp: theirs, rtp });
            let (track, rid) = (self.layers[place].track, self.layers[place].rid);
            let serial = self.layers[place].serial;
            if let Some(clock) = self.clock_of(LayerRef { place, serial }) {
                self.relays.clock(&self.tracks[track], rid, clock);
            }
        }
    }

    /// Sends the sender reports that a session is due.
    pub(super) fn send_reports(&mut self, place: usize, now: Instant) {
        let wall_clock = self.wall_clock(now);
        let session = &self.sessions[place];
        let due: SmallVec<[(usize, SenderClock); 4]> = session
            .egress
            .due_reports(now)
            .filter_map(|(slot, layer)| Some((slot, self.clock_of(layer)?)))
            .collect();
        let session = &mut self.sessions[place];
        let path = session.path();
        session
            .egress
            .report(path, &due, now, wall_clock, &mut self.outbox);
    }

    /// When a packet was captured, by our clock: from its publisher's report, or else as if it had
    /// come by the shortest way that any took. So jitter moves nothing where a slot switches.
    fn captured_at(&self, layer: usize, packet: &MediaPacket) -> Instant {
        let serial = self.layers[layer].serial;
        let place = layer;
        let rate = self.tracks[self.layers[layer].track].kind.clock_rate_hz();
        let captured = self.clock_of(LayerRef { place, serial }).and_then(|clock| {
            let since_start = clock.ntp.checked_sub(self.config.wall_clock)?;
            let at = self.started_at?.checked_add(since_start)?;
            track::from((at, clock.rtp), packet.timestamp, rate)
        });
        let earliest = packet.received_at.checked_sub(MAX_DELAY);
        let earliest = earliest.unwrap_or(packet.received_at);
        captured.map_or(packet.received_at, |at| {
            at.clamp(earliest, packet.received_at)
        })
    }

    /// The newest pair of wall clock and RTP timestamp of a layer, on our wall clock; while its
    /// publisher has not reported, as what came of it tells.
    pub(super) fn clock_of(&self, layer: LayerRef) -> Option<SenderClock> {
        let layer = self.layers.get(layer.place)?;
        let Some(clock) = layer.sender_clock else {
            let (at, rtp) = layer.earliest()?;
            let ntp = self.config.wall_clock + at.saturating_duration_since(self.started_at?);
            return Some(SenderClock { ntp, rtp });
        };
        let Origin::Session { publisher, .. } = self.tracks[layer.track].origin else {
            // Home has put it on our wall clock already.
            return Some(clock);
        };
        let offset = self
            .sessions
            .get(publisher)?
            .clock_offset?
            .ours_minus_theirs_us;
        let ntp_us = clock.ntp.as_micros() as i64 + offset;
        Some(SenderClock {
            ntp: Duration::from_micros(ntp_us.max(0) as u64),
            ..clock
        })
    }
}

/// Longest that a packet is taken to have been under way beyond the shortest time: a report that
/// says otherwise is of a clock that somebody set.
const MAX_DELAY: Duration = Duration::from_secs(1);

fn codec_of(codec: str0m::format::Codec) -> Codec {
    match codec {
        str0m::format::Codec::Opus => Codec::Opus,
        str0m::format::Codec::Vp8 => Codec::Vp8,
        str0m::format::Codec::Vp9 => Codec::Vp9,
        str0m::format::Codec::H264 => Codec::H264,
        str0m::format::Codec::H265 => Codec::H265,
        str0m::format::Codec::Av1 => Codec::Av1,
        _ => Codec::Other,
    }
}
