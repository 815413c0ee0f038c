//! The feedback that a browser gives: reports, requests for what is missing, arrival times.

use std::time::Instant;

use super::{Peer, URGENT_TICK};
use crate::{inbound::Inbound, rtcp, sys::SendBatch};

impl Peer {
    /// Reports and the canonical name, in one compound packet (RFC 3550 §6.1).
    pub(super) fn send_reports(&mut self, now: Instant, batch: &mut SendBatch) {
        let own = self.own_ssrc();
        let blocks: Vec<_> = self
            .inbounds
            .iter_mut()
            .filter_map(|inbound| inbound.report(now))
            .collect();
        let wall_ns = crate::clock::wall_ns();
        let mut compound = Vec::with_capacity(256);
        for outbound in &self.outbounds {
            outbound.sender_reports(now, |ssrc, timestamp, packets, octets| {
                rtcp::write_sender_report(&mut compound, ssrc, wall_ns, timestamp, packets, octets);
            });
        }
        if !blocks.is_empty() || compound.is_empty() {
            rtcp::write_receiver_report(&mut compound, own, &blocks);
        }
        rtcp::write_description(&mut compound, own, &self.visit.cname());
        self.send_rtcp(&compound, batch);
    }

    pub(super) fn send_urgent(&mut self, now: Instant, batch: &mut SendBatch) {
        let own = self.own_ssrc();
        let mut compound = Vec::new();
        let mut due = Vec::new();
        for inbound in &mut self.inbounds {
            inbound.due_nacks(now, &mut due);
            if !due.is_empty() {
                rtcp::write_nack(&mut compound, own, inbound.ssrc, &due);
            }
            if inbound.due_keyframe_request(now) {
                rtcp::write_pli(&mut compound, own, inbound.ssrc);
            }
        }
        self.next_urgent = self
            .inbounds
            .iter()
            .any(Inbound::is_urgent)
            .then(|| now + URGENT_TICK);
        self.send_rtcp(&compound, batch);
    }

    /// Arrival times, and a keyframe request for every picture that stands still for want of one.
    pub(super) fn send_feedback(&mut self, now: Instant, batch: &mut SendBatch) {
        let own = self.own_ssrc();
        let mut compound = Vec::new();
        let media = self.inbounds.first().map_or(0, |inbound| inbound.ssrc);
        self.arrivals.write(&mut compound, own, media);
        for inbound in &mut self.inbounds {
            if let Some(frames) = &mut inbound.frames {
                frames.advance(now);
            }
            if inbound.due_keyframe_request(now) {
                rtcp::write_pli(&mut compound, own, inbound.ssrc);
            }
        }
        self.send_rtcp(&compound, batch);
    }

    fn send_rtcp(&mut self, compound: &[u8], batch: &mut SendBatch) {
        let (Some(srtp), Some(to)) = (&mut self.transport.srtp, self.transport.remote) else {
            return;
        };
        if compound.is_empty() {
            return;
        }
        batch.push(to, self.source, |out| {
            let start = out.len();
            out.extend_from_slice(compound);
            srtp.seal_rtcp(out, start);
        });
    }

    /// The SSRC that its reports come from; browsers that only receive use 1.
    fn own_ssrc(&self) -> u32 {
        self.media
            .iter()
            .find(|media| media.sends)
            .map_or(1, |media| media.ssrc)
    }
}
