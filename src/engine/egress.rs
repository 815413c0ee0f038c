//! Outbound media of one session, by our own hands.
//!
//! str0m takes in; what goes out is the multiplied side and goes past its queues. The boundary
//! is two operations: a packet is *queued* for a slot, and everything queued is *flushed* into
//! datagrams at the end of a wake-up, all packets of one session side by side, so that they
//! leave as one group.
//!
//! Who writes what: RTP and sender reports on our slots' SSRCs are ours alone; str0m sends RTCP
//! on an SSRC of its own and no RTP at all. With AES-GCM a nonce is made of key, SSRC and index,
//! so none is ever used twice: every SSRC has one writer and its index only grows.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::bitrate::Bitrate;
use super::cache;
use super::codec::{patch, red};
use super::counters::{Counters, DropReason};
use super::downlink::Downlink;
use super::estimate::Purpose;
use super::event::Kind;
use super::header::Fields;
use super::outbox::Outbox;
use super::pacer::{Pacer, Urgency, Way};
use super::path::Path;
use super::rtcp::{self, ReportBlock, SenderInfo};
use super::slot::{Form, Queued, Slot};
use super::srtp::{RtcpSealer, RtpSealer, SrtpKeys};
use super::tape::{Event, Header};
use super::track::{LayerRef, SenderClock};

/// Most packets that wait for a session's flush.
///
/// A wake-up brings a frame or two; a hundred keyframes at once would still fit. More means that
/// the shard is far behind, and then the newest packets are better lost than late.
const MAX_QUEUED: usize = 4096;

/// Time between two sender reports of a slot: what browsers do for video.
const REPORT_INTERVAL: Duration = Duration::from_millis(1_000);

/// Says that a packet ends in padding (RFC 3550 §5.1).
const PADDING_BIT: u8 = 1 << 5;

/// Says that a frame ends (RFC 3551 §4.1).
const MARKER_BIT: u8 = 1 << 7;

/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_UNIX_OFFSET_SECS: u64 = 2_208_988_800;

/// The sending side of a session.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    sealers: Option<Sealers>,
    pub(crate) slots: Vec<Slot>,
    queue: Vec<Queued>,
    /// What may not leave yet, on narrow paths.
    pacer: Pacer<Queued>,
    /// What its pictures usually cost, while those leave that waited as the server stood still.
    usual: Option<Bitrate>,
    /// Whether some slot's picture was cut off, as too much waited.
    pub(crate) has_cut: bool,
    /// The transport-wide sequence number of the next packet that carries one.
    twcc_seq: u16,
    /// What the way to the receiver carries.
    pub(crate) downlink: Downlink,
    /// Percent of its video that it was left, as the machine does not keep up; `None` for all.
    pub(crate) shed_to: Option<u64>,
    /// When the first of its slots' sender reports is due.
    report_at: Option<Instant>,
    /// The newest round trip that a report block told.
    pub(crate) rtt: Option<Duration>,
    /// In source descriptions of all slots (RFC 3550 §6.5.1).
    cname: String,
}

#[derive(Debug)]
struct Sealers {
    rtp: RtpSealer,
    rtcp: RtcpSealer,
}

impl Egress {
    pub(crate) fn new(cname: String) -> Self {
        Self {
            cname,
            ..Self::default()
        }
    }

    /// The canonical name of this session's slots.
    pub(crate) fn cname(&self) -> &str {
        &self.cname
    }

    /// The transport is up: packets can be sealed from now on.
    pub(crate) fn connected(&mut self, keys: &SrtpKeys) {
        self.sealers = Some(Sealers {
            rtp: keys.rtp_sealer(),
            rtcp: keys.rtcp_sealer(),
        });
    }

    /// A session that this one continues met a limit on its path. Who does not report is not held to it,
    /// as it could never be lifted.
    pub(crate) fn expect(&mut self, limit: Bitrate, now: Instant) {
        if self.slots.iter().any(|slot| slot.header.has_twcc()) {
            self.downlink.expect(limit, now);
        }
    }

    /// Whether packets can be sealed.
    pub(crate) fn is_connected(&self) -> bool {
        self.sealers.is_some()
    }

    /// Whether this SSRC is one of ours, on which nobody else may send.
    pub(crate) fn owns(&self, ssrc: u32) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.ssrc == ssrc || slot.rtx_ssrc == ssrc)
    }

    /// The slot that sends on an SSRC.
    pub(crate) fn slot_of(&self, ssrc: u32) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.ssrc == ssrc || slot.rtx_ssrc == ssrc)
    }

    /// Queues a packet for the next flush; `false` if too many wait already.
    pub(crate) fn queue(&mut self, queued: Queued) -> bool {
        if self.queue.len() >= MAX_QUEUED {
            return false;
        }
        self.queue.push(queued);
        true
    }

    /// Fetches where the parts are that a packet passes.
    pub(crate) fn warm(&self) {
        cache::fetch(&self.slots);
        cache::fetch(&self.queue);
        cache::fetch(&self.sealers);
    }

    /// Fetches what a slot needs to pass a packet, and where [`Self::queue`] puts it.
    pub(crate) fn warm_slot(&self, slot: usize) {
        if let Some(slot) = self.slots.get(slot) {
            slot.warm();
        }
        cache::fetch_end(&self.queue);
    }

    /// Fetches what [`Self::flush`] will need.
    pub(crate) fn warm_queue(&self) {
        if let Some(queued) = self.queue.first() {
            cache::fetch(&self.slots[usize::from(queued.slot)]);
        }
        self.downlink.warm();
    }

    /// Fetches where it will be noted.
    pub(crate) fn warm_records(&self) {
        self.downlink.warm_records();
    }

    /// Seals everything that is queued into datagrams, but for what its path has no room for yet.
    pub(crate) fn flush(
        &mut self,
        path: Option<Path>,
        now: Instant,
        out: &mut Outbox,
        counters: &mut Counters,
    ) {
        let (Some(path), true) = (path, self.is_connected()) else {
            self.queue.clear();
            self.pacer.clear();
            return;
        };
        self.pacer.set_way(self.way());
        let mut queue = std::mem::take(&mut self.queue);
        if self.pacer.is_idle() {
            for queued in queue.drain(..) {
                self.write(&queued, path, now, out, counters);
            }
        } else {
            while let Some(queued) = self.pacer.release(now) {
                self.write(&queued, path, now, out, counters);
            }
            for queued in queue.drain(..) {
                if let Some(queued) = self.admit(queued, now, counters) {
                    self.write(&queued, path, now, out, counters);
                }
            }
            if self.has_cut {
                self.withdraw_cut(counters);
            }
        }
        if self.pacer.is_empty() {
            self.usual = None;
        }
        // It keeps its capacity.
        self.queue = queue;
    }

    /// What is queued came at once and not in its time: it is to leave as if its path were no wider than
    /// for what it usually carries.
    pub(crate) fn spread(&mut self, usual: Bitrate) {
        if usual > Bitrate::ZERO {
            self.usual = self.usual.max(Some(usual));
        }
    }

    fn way(&self) -> Way {
        match (self.downlink.way(), self.usual) {
            (Way::Open, Some(target)) => Way::Limited {
                target,
                probe: None,
            },
            (way, _) => way,
        }
    }

    /// Gives a packet back if it may leave now: sound and probes always may.
    fn admit(&mut self, queued: Queued, now: Instant, counters: &mut Counters) -> Option<Queued> {
        let slot = &mut self.slots[usize::from(queued.slot)];
        if slot.kind == Kind::Audio || queued.is_probe {
            return Some(queued);
        }
        if self.pacer.is_full() {
            if queued.rtx_seq.is_some() {
                counters.drop(DropReason::EgressQueueFull);
                return None;
            }
            slot.cut(now);
            self.has_cut = true;
        }
        let bytes = queued.packet.payload.len();
        if queued.rtx_seq.is_some() {
            return self.pacer.admit(queued, bytes, Urgency::Again, now);
        }
        let ends_frame = queued.packet.marker;
        if ends_frame && slot.began_with(&queued) {
            self.pacer.note_start(now);
        }
        let queued = self.pacer.admit(queued, bytes, Urgency::Picture, now);
        if queued.is_none() && ends_frame && self.pacer.is_overfull(now) {
            if self.downlink.way() == Way::Open {
                // It is only spread, and too thinly: the path has room, and all of it leaves next.
                self.usual = None;
                self.pacer.set_way(Way::Open);
            } else {
                slot.cut(now);
                self.has_cut = true;
            }
        }
        queued
    }

    /// What waits of pictures that were cut off would only keep their keyframes waiting: it is not
    /// sent. A keyframe that waits itself is, or one that is too large for the path would never pass.
    fn withdraw_cut(&mut self, counters: &mut Counters) {
        for number in 0..self.slots.len() {
            let slot = &self.slots[number];
            let is_keyframe = |it: &Queued| usize::from(it.slot) == number && slot.began_with(it);
            if slot.is_cut() && !self.pacer.holds(is_keyframe) {
                self.withdraw(number, counters);
            }
        }
    }

    /// What a slot shows is given up at once, with what waits of it.
    pub(crate) fn give_up(&mut self, number: usize, now: Instant, counters: &mut Counters) {
        self.slots[number].stop(now);
        self.withdraw(number, counters);
    }

    fn withdraw(&mut self, number: usize, counters: &mut Counters) {
        let is_its = |it: &Queued| usize::from(it.slot) == number && it.rtx_seq.is_none();
        let queued = self.queue.len();
        self.queue.retain(|queued| !is_its(queued));
        let withdrawn = queued - self.queue.len() + self.pacer.withdraw(is_its);
        counters.drop_all(DropReason::GivenUp, withdrawn as u64);
        self.slots[number].take_back();
    }

    /// Seals one packet into a datagram.
    fn write(
        &mut self,
        queued: &Queued,
        path: Path,
        now: Instant,
        out: &mut Outbox,
        counters: &mut Counters,
    ) {
        let Some(sealers) = &self.sealers else {
            return;
        };
        let slot = &mut self.slots[usize::from(queued.slot)];
        let twcc = self.twcc_seq;
        let has_twcc = slot.header.has_twcc();
        if has_twcc {
            self.twcc_seq = self.twcc_seq.wrapping_add(1);
        }
        let bytes = write_packet(slot, queued, twcc, &sealers.rtp, path, out);
        self.pacer.spend(bytes);
        if let Some(tape) = &mut self.downlink.tape {
            let twcc = has_twcc.then_some(twcc);
            tape.note(now, sent(slot, queued, twcc, bytes));
        }
        if has_twcc {
            self.downlink.sent(twcc, bytes, purpose(slot, queued), now);
        }
        account(slot, queued, now, counters);
        if slot.report_at < self.report_at || self.report_at.is_none() {
            self.report_at = slot.report_at;
        }
    }

    /// The slots that were cut off as too much waited, once all of it has left.
    pub(crate) fn mended(&mut self) -> SmallVec<[usize; 2]> {
        if !self.has_cut || self.pacer.waiting_bytes() > 0 {
            return SmallVec::new();
        }
        self.has_cut = false;
        let slots = self.slots.iter_mut().enumerate();
        slots
            .filter_map(|(number, slot)| slot.mend().then_some(number))
            .collect()
    }

    /// When what waits may go on.
    pub(crate) fn paces_at(&self) -> Option<Instant> {
        self.pacer.deadline()
    }

    /// Whether what waits is to be flushed now; said once.
    pub(crate) fn is_pace_due(&mut self, now: Instant) -> bool {
        self.pacer.is_due(now)
    }

    /// What waits, in bytes.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.pacer.waiting_bytes()
    }

    /// Whether a slot goes on however little the path seems to carry: nothing has proven that it
    /// does not fit, nor that another one did not.
    pub(crate) fn may_not_starve(&self, slot: &Slot) -> bool {
        let flows = slot.subscription.as_ref().and_then(|sub| sub.current);
        let is_calm = || !self.slots.iter().any(Slot::is_starved);
        !self.downlink.may_pause() && !slot.is_starved() && (flows.is_some() || is_calm())
    }

    /// When the next sender report is due.
    pub(crate) fn report_at(&self) -> Option<Instant> {
        self.sealers.as_ref()?;
        self.report_at
    }

    /// The slots whose reports are due, and the layers that flow in them.
    pub(crate) fn due_reports(&self, now: Instant) -> impl Iterator<Item = (usize, LayerRef)> {
        let is_due = move |slot: &Slot| slot.report_at.is_some_and(|at| at <= now);
        let slots = self.slots.iter().enumerate();
        slots
            .filter(move |(_, slot)| is_due(slot))
            .filter_map(|(place, slot)| {
                let (layer, _) = slot.timestamp_offset()?;
                Some((place, layer))
            })
    }

    /// Sends the reports of these slots (RFC 3550 §6.4.1), given the clocks of what flows in them.
    pub(crate) fn report(
        &mut self,
        path: Option<Path>,
        due: &[(usize, SenderClock)],
        now: Instant,
        wall_clock: Duration,
        out: &mut Outbox,
    ) {
        for slot in &mut self.slots {
            if slot.report_at.is_some_and(|at| at <= now) {
                slot.report_at = Some(now + REPORT_INTERVAL);
            }
        }
        self.report_at = self.slots.iter().filter_map(|slot| slot.report_at).min();
        let (Some(path), Some(sealers)) = (path, self.sealers.as_mut()) else {
            return;
        };
        for (place, sender) in due {
            let slot = &self.slots[*place];
            let Some((_, offset)) = slot.timestamp_offset() else {
                continue;
            };
            let rtp = extrapolate(*sender, wall_clock, slot.kind.clock_rate_hz());
            let info = SenderInfo {
                ntp_time: ntp(wall_clock),
                rtp_timestamp: rtp.wrapping_add(offset),
                sent_packets: slot.sent_packets,
                sent_payload_bytes: slot.sent_octets,
            };
            let start = out.begin();
            rtcp::write_sender_report(out.buffer(), slot.ssrc.into(), &info, &[]);
            rtcp::write_sdes(out.buffer(), slot.ssrc.into(), &self.cname);
            // After 2^31 reports the key is used up: the session goes on without them.
            if sealers.rtcp.seal(out.buffer(), start).is_ok() {
                out.end(path, start);
            } else {
                out.buffer().truncate(start);
            }
        }
    }

    /// A receiver reported how one of our streams arrives.
    pub(crate) fn reported(&mut self, report: &ReportBlock, wall_clock: Duration) {
        if let Some(rtt) = report.round_trip_time(ntp(wall_clock)) {
            // An eighth of each new one, as TCP does (RFC 6298 §2).
            self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        }
    }
}

/// Writes a packet, and says how large it became.
fn write_packet(
    slot: &Slot,
    queued: &Queued,
    twcc: u16,
    sealer: &RtpSealer,
    path: Path,
    out: &mut Outbox,
) -> usize {
    let packet = &*queued.packet;
    let (ssrc, index) = match queued.rtx_seq {
        Some(rtx_seq) => (slot.rtx_ssrc, rtx_seq),
        None => (slot.ssrc, queued.seq),
    };
    let fields = Fields {
        pt: queued.pt,
        seq: index as u16,
        timestamp: queued.timestamp,
        ssrc,
        twcc,
    };
    let start = out.begin();
    let buffer = out.buffer();
    slot.header.write(buffer, &fields, packet);
    if queued.offsets.ends_picture(&packet.info) {
        buffer[start + 1] |= MARKER_BIT;
    }
    if queued.padding > 0 {
        // RFC 3550 §5.1: the last byte counts the padding, itself included.
        buffer[start] |= PADDING_BIT;
        buffer[start + 1] &= !MARKER_BIT;
        buffer.resize(buffer.len() + usize::from(queued.padding) - 1, 0);
        buffer.push(queued.padding);
        sealer.seal(buffer, start, slot.header.len(), index);
        let bytes = buffer.len() - start;
        out.end(path, start);
        return bytes;
    }
    slot.header
        .write_descriptor(buffer, start, packet, queued.offsets);
    let header = buffer.len() - start;
    if queued.rtx_seq.is_some() {
        // The original sequence number (RFC 4588 §4).
        buffer.extend_from_slice(&(queued.seq as u16).to_be_bytes());
    }
    let payload = buffer.len();
    buffer.extend_from_slice(queued.payload());
    if let Form::Redundant(pt) = queued.form {
        red::retarget(&mut buffer[payload..], pt);
    }
    patch(&mut buffer[payload..], &packet.info, queued.offsets);
    sealer.seal(buffer, start, header, index);
    let bytes = buffer.len() - start;
    out.end(path, start);
    bytes
}

/// What a packet is sent for.
fn purpose(slot: &Slot, queued: &Queued) -> Purpose {
    match (queued.rtx_seq, slot.kind) {
        _ if queued.is_probe => Purpose::Probe,
        (Some(_), _) => Purpose::Retransmission,
        (None, Kind::Audio) => Purpose::Audio,
        (None, Kind::Video) => Purpose::Video,
    }
}

/// A packet that was sent, as a recording has it.
fn sent(slot: &Slot, queued: &Queued, twcc: Option<u16>, bytes: usize) -> Event {
    let (ssrc, index) = match queued.rtx_seq {
        Some(rtx_seq) => (slot.rtx_ssrc, rtx_seq),
        None => (slot.ssrc, queued.seq),
    };
    Event::Sent {
        header: Header {
            ssrc,
            pt: queued.pt,
            seq: index as u16,
            timestamp: queued.timestamp,
            marker: queued.packet.marker && queued.padding == 0,
            bytes: bytes as u32,
        },
        twcc,
        purpose: purpose(slot, queued),
    }
}

fn account(slot: &mut Slot, queued: &Queued, now: Instant, counters: &mut Counters) {
    let bytes = queued.payload().len();
    if queued.is_probe {
        counters.probe_packets_out += 1;
        return;
    }
    if queued.rtx_seq.is_some() {
        counters.rtx_packets_out += 1;
        slot.stats.rtx_packets += 1;
        return;
    }
    slot.left(queued.seq);
    slot.sent_packets = slot.sent_packets.wrapping_add(1);
    slot.sent_octets = slot.sent_octets.wrapping_add(bytes as u32);
    slot.rtx.sent(bytes);
    if slot.report_at.is_none() {
        slot.report_at = Some(now);
    }
    counters.packets_out.add(slot.kind, 1);
    counters.bytes_out.add(slot.kind, bytes as u64);
    let delay = now.saturating_duration_since(queued.packet.received_at);
    counters.forward_delay.observe(delay, 1);
}

/// The RTP timestamp that a source has at a later (or slightly earlier) moment.
fn extrapolate(sender: SenderClock, at: Duration, clock_rate_hz: u32) -> u32 {
    let rate = f64::from(clock_rate_hz);
    let seconds = at.as_secs_f64() - sender.ntp.as_secs_f64();
    sender
        .rtp
        .wrapping_add((seconds * rate).round() as i64 as u32)
}

/// A time since the Unix epoch as an NTP timestamp (RFC 5905 §6).
fn ntp(since_unix: Duration) -> u64 {
    let seconds = since_unix.as_secs() + NTP_UNIX_OFFSET_SECS;
    let fraction = (u64::from(since_unix.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_extrapolated_in_its_own_clock() {
        let sender = SenderClock {
            ntp: Duration::from_secs(1_000),
            rtp: u32::MAX - 44_999,
        };
        let at = Duration::from_secs(1_001);
        assert_eq!(extrapolate(sender, at, 90_000), 45_000);
        assert_eq!(
            extrapolate(sender, Duration::from_millis(999_500), 90_000),
            u32::MAX - 89_999
        );
    }
}
