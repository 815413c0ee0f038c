//! Received media: from a packet to the stream that it belongs to.

use std::time::{Duration, Instant};

use super::{Arrival, Peer, URGENT_TICK};
use crate::{
    inbound::{Arrived, Inbound},
    payload, rtp,
};

/// Without decryption, one packet in so many is still opened: enough to notice wrong keys and to see delays.
const SAMPLE: u64 = 32;

/// Says which stream an SSRC belongs to.
pub(super) struct Route {
    pub(super) ssrc: u32,
    pub(super) inbound: usize,
    pub(super) retransmission: bool,
    /// Of the retransmission stream, which has numbers of its own.
    pub(super) highest: Option<u64>,
}

/// Counts that belong to no stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerCounts {
    /// RTP packets that came, whatever they were.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Packets that did not pass authentication.
    pub(crate) unauthentic: u64,
    /// Compound RTCP packets that did not.
    pub(crate) unauthentic_rtcp: u64,
    /// Packets whose stream is unknown.
    pub(crate) unknown: u64,
    /// Retransmissions of nothing: padding, by which servers probe.
    pub(crate) padding: u64,
    /// Retransmissions of what was there already.
    pub(crate) useless_retransmissions: u64,
    /// Streams that the server said have ended.
    pub(crate) byes: u64,
}

impl Route {
    /// The full number of a packet, as SRTP counts it.
    fn index_of(&mut self, sequence: u16, inbound: &Inbound) -> u64 {
        if !self.retransmission {
            return inbound.index_of(sequence);
        }
        let index = self.highest.map_or(u64::from(sequence), |highest| {
            rtp::extend(sequence, highest)
        });
        self.highest = self.highest.max(Some(index));
        index
    }
}

impl PeerCounts {
    /// Takes in what was sent again (RFC 4588 §4): two bytes of its first number, then what was lost.
    fn note_retransmission(&mut self, inbound: &mut Inbound, mut arrived: Arrived, body: &[u8]) {
        let Some((original, body)) = body.split_first_chunk() else {
            self.padding += 1;
            return;
        };
        arrived.index = inbound.index_of(u16::from_be_bytes(*original));
        arrived.recovered = true;
        arrived.seen = payload::inspect(inbound.codec, body);
        // One that was not needed is no duplicate on the wire.
        let duplicates = inbound.counts.duplicates;
        self.useless_retransmissions += u64::from(!inbound.insert(&arrived));
        inbound.counts.duplicates = duplicates;
    }
}

/// The payload without its padding, whose last byte counts it (RFC 3550 §5.1).
fn without_padding(payload: &[u8], padded: bool) -> &[u8] {
    let padding = payload.last().filter(|_| padded).copied().unwrap_or(0);
    &payload[..payload.len().saturating_sub(usize::from(padding))]
}

impl Peer {
    /// Takes in an RTP packet; gives its one-way delay, when it was opened and is ours.
    pub(super) fn handle_rtp(
        &mut self,
        data: &mut [u8],
        arrival: Arrival,
        now: Instant,
    ) -> Option<Duration> {
        let header = rtp::Header::parse(data)?;
        self.counts.packets += 1;
        self.counts.bytes += data.len() as u64;
        let Some(place) = self.find_route(&header) else {
            self.counts.unknown += 1;
            return None;
        };
        let route = &mut self.routes[place];
        let inbound = &mut self.inbounds[route.inbound];
        let ids = self.answer.media[inbound.media].extensions;
        if let Some(&[high, low]) = header.extension(ids.transport_cc) {
            self.arrivals
                .record(u16::from_be_bytes([high, low]), arrival.at);
        }
        self.stages
            .first_packet
            .get_or_insert(arrival.at.saturating_duration_since(self.started));
        let (len, padded, timestamp) = (header.len, header.padded, header.timestamp);
        let mut arrived = Arrived {
            index: route.index_of(header.sequence, inbound),
            timestamp,
            marker: header.marker,
            bytes: data.len(),
            recovered: false,
            seen: None,
            at: arrival.at,
        };
        let sampled = self.behaviour.decrypt_all || self.counts.packets.is_multiple_of(SAMPLE);
        let fresh = if sampled || route.retransmission || inbound.awaits_first_keyframe() {
            let opened = self
                .transport
                .srtp
                .as_ref()?
                .open_rtp(data, len, arrived.index);
            let Some(opened) = opened else {
                self.counts.unauthentic += 1;
                return None;
            };
            let body = without_padding(&data[len..len + opened], padded);
            if route.retransmission {
                self.counts.note_retransmission(inbound, arrived, body);
                return None;
            }
            // Padding alone has a number, but nothing for a depacketizer.
            if !body.is_empty() {
                arrived.seen = payload::inspect(inbound.codec, body);
                inbound.counts.malformed += u64::from(arrived.seen.is_none());
            }
            inbound.insert(&arrived)
        } else {
            inbound.insert(&arrived)
        };
        inbound.note_transit(timestamp, arrival.wall_ns);
        if inbound.is_urgent() {
            self.next_urgent.get_or_insert(now + URGENT_TICK);
        }
        let stamp = arrived.seen.and_then(|seen| seen.stamp).filter(|_| fresh)?;
        let delay = Duration::from_nanos(arrival.wall_ns.saturating_sub(stamp.sent_ns));
        inbound.delays.record(delay);
        Some(delay)
    }

    /// The stream of a packet; one that was not announced is known by MID and payload type (RFC 9143 §9.2).
    fn find_route(&mut self, header: &rtp::Header<'_>) -> Option<usize> {
        if let Some(found) = self
            .routes
            .iter()
            .position(|route| route.ssrc == header.ssrc)
        {
            return Some(found);
        }
        let payload_type = header.payload_type;
        let routes = &self.routes;
        let found = self
            .inbounds
            .iter()
            .enumerate()
            .find_map(|(place, inbound)| {
                let media = &self.answer.media[inbound.media];
                let retransmission = payload_type == media.rtx_payload_type && payload_type != 0;
                let mid = header.extension(media.extensions.mid);
                let taken = routes
                    .iter()
                    .any(|route| route.inbound == place && route.retransmission == retransmission);
                let fits = retransmission || payload_type == media.payload_type;
                (fits && mid.map_or(!taken, |mid| mid == media.mid.as_bytes()))
                    .then_some((place, retransmission))
            });
        let (inbound, retransmission) = found?;
        if !retransmission {
            self.inbounds[inbound].ssrc = header.ssrc;
        }
        self.routes.push(Route {
            ssrc: header.ssrc,
            inbound,
            retransmission,
            highest: None,
        });
        Some(self.routes.len() - 1)
    }
}
