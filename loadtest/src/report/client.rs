//! One client's account of what it saw.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    delay::Delays,
    inbound::Inbound,
    payload::Codec,
    peer::Peer,
    scenario::{Role, Visit},
};

/// One client's account.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerReport {
    pub(crate) number: u32,
    pub(crate) role: Role,
    pub(crate) url: String,
    pub(crate) connected: bool,
    /// Why it ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// From its POST to the answer, to a working path, to keys, to the first packet, to the first keyframe.
    pub(crate) http_ms: Option<f64>,
    pub(crate) ice_ms: Option<f64>,
    pub(crate) dtls_ms: Option<f64>,
    pub(crate) first_packet_ms: Option<f64>,
    pub(crate) first_keyframe_ms: Option<f64>,
    /// Whether it was to see video at all.
    pub(crate) wants_video: bool,
    /// From its POST until it left or publishers fell silent.
    pub(crate) stayed_ms: f64,
    pub(crate) sent: SentReport,
    pub(crate) received_packets: u64,
    pub(crate) unauthentic_packets: u64,
    pub(crate) unauthentic_rtcp_packets: u64,
    pub(crate) unknown_packets: u64,
    pub(crate) useless_retransmissions: u64,
    pub(crate) streams: Vec<StreamReport>,
}

/// What a client sent.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct SentReport {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) keyframes: u64,
    /// PLI and FIR for its layers together.
    pub(crate) keyframe_requests: u64,
    /// Of these, the most in one second.
    pub(crate) busiest_keyframe_requests: u64,
    pub(crate) nacked_packets: u64,
    pub(crate) resent_packets: u64,
}

/// What one stream of a client was like.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StreamReport {
    pub(crate) mid: String,
    pub(crate) kind: &'static str,
    pub(crate) packets: u64,
    pub(crate) expected_packets: u64,
    /// Never came, neither at first nor by retransmission.
    pub(crate) lost_packets: u64,
    pub(crate) recovered_packets: u64,
    pub(crate) duplicate_packets: u64,
    pub(crate) out_of_order_packets: u64,
    pub(crate) malformed_packets: u64,
    pub(crate) nacked_packets: u64,
    pub(crate) keyframe_requests: u64,
    pub(crate) bitrate_kbps: f64,
    pub(crate) frames: u64,
    pub(crate) keyframes: u64,
    pub(crate) undecodable_frames: u64,
    pub(crate) frames_before_keyframe: u64,
    pub(crate) picture_id_jumps: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen_ms: f64,
    pub(crate) longest_gap_ms: f64,
    pub(crate) delay: DelayReport,
}

/// One-way delays, from the publisher's send to the receiver's kernel.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct DelayReport {
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p90_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) p999_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
}

impl PeerReport {
    pub(crate) fn of(peer: &Peer, until: Instant) -> Self {
        let keyframe = peer
            .inbounds
            .iter()
            .filter_map(|inbound| inbound.frames.as_ref()?.first_keyframe_at)
            .min();
        let mut sent = SentReport::default();
        for out in &peer.outbounds {
            sent.packets += out.counts.packets;
            sent.bytes += out.counts.bytes;
            sent.keyframes += out.counts.keyframes;
            sent.keyframe_requests += out.counts.keyframe_requests;
            sent.busiest_keyframe_requests = sent
                .busiest_keyframe_requests
                .max(out.counts.busiest_keyframe_requests);
            sent.nacked_packets += out.counts.nacked;
            sent.resent_packets += out.counts.resent;
        }
        Self {
            number: peer.visit.number,
            role: peer.visit.role,
            url: peer.visit.url.to_string(),
            connected: peer.stages.dtls.is_some(),
            error: peer.failed.clone(),
            http_ms: peer.stages.answered.map(ms),
            ice_ms: peer.stages.ice.map(ms),
            dtls_ms: peer.stages.dtls.map(ms),
            first_packet_ms: peer.stages.first_packet.map(ms),
            first_keyframe_ms: keyframe.map(|at| ms(peer.age(at))),
            wants_video: peer.wants_video(),
            stayed_ms: ms(peer.age(until)),
            sent,
            received_packets: peer.counts.packets,
            unauthentic_packets: peer.counts.unauthentic,
            unauthentic_rtcp_packets: peer.counts.unauthentic_rtcp,
            unknown_packets: peer.counts.unknown,
            useless_retransmissions: peer.counts.useless_retransmissions,
            streams: peer.inbounds.iter().map(StreamReport::of).collect(),
        }
    }

    pub(crate) fn never_started(visit: &Visit, error: String) -> Self {
        Self {
            number: visit.number,
            role: visit.role,
            url: visit.url.to_string(),
            connected: false,
            error: Some(error),
            http_ms: None,
            ice_ms: None,
            dtls_ms: None,
            first_packet_ms: None,
            first_keyframe_ms: None,
            wants_video: false,
            stayed_ms: 0.0,
            sent: SentReport::default(),
            received_packets: 0,
            unauthentic_packets: 0,
            unauthentic_rtcp_packets: 0,
            unknown_packets: 0,
            useless_retransmissions: 0,
            streams: Vec::new(),
        }
    }

    /// Whether it was there long enough that seeing nothing is a fault.
    pub(super) fn stayed(&self) -> bool {
        /// The patience of a person, not of a test on a busy machine.
        const LONG_ENOUGH_MS: f64 = 2000.0;
        self.connected && self.stayed_ms >= LONG_ENOUGH_MS
    }

    /// Whether it has streams to receive.
    pub(super) fn receives(&self) -> bool {
        !self.streams.is_empty()
    }
}

impl StreamReport {
    fn of(inbound: &Inbound) -> Self {
        let counts = inbound.counts;
        let frames = inbound
            .frames
            .as_ref()
            .map(|frames| frames.counts)
            .unwrap_or_default();
        let lasted = inbound
            .first_at
            .zip(inbound.last_at)
            .map_or(Duration::ZERO, |(first, last)| last - first);
        Self {
            mid: inbound.media.to_string(),
            kind: if inbound.codec == Codec::Opus {
                "audio"
            } else {
                "video"
            },
            packets: counts.packets,
            expected_packets: inbound.expected(),
            lost_packets: inbound.lost(),
            recovered_packets: counts.recovered,
            duplicate_packets: counts.duplicates,
            out_of_order_packets: counts.reordered,
            malformed_packets: counts.malformed,
            nacked_packets: counts.nacked,
            keyframe_requests: counts.keyframe_requests,
            bitrate_kbps: if lasted.is_zero() {
                0.0
            } else {
                counts.bytes as f64 * 8e-3 / lasted.as_secs_f64()
            },
            frames: frames.decoded,
            keyframes: frames.keyframes,
            undecodable_frames: frames.undecodable,
            frames_before_keyframe: frames.before_keyframe,
            picture_id_jumps: frames.picture_id_jumps,
            freezes: frames.freezes,
            frozen_ms: ms(frames.frozen),
            longest_gap_ms: ms(frames.longest_gap),
            delay: DelayReport::of(&inbound.delays),
        }
    }
}

impl DelayReport {
    fn of(delays: &Delays) -> Self {
        let quantile = |share| delays.quantile(share).map(ms);
        Self {
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: quantile(1.0).map(|_| ms(delays.longest())),
        }
    }

    pub(super) fn of_histogram(delays: &Histogram<u64>) -> Self {
        if delays.is_empty() {
            return Self::default();
        }
        let quantile = |share| Some(delays.value_at_quantile(share) as f64 / 1e3);
        Self {
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: quantile(1.0),
        }
    }
}

/// Milliseconds, for reading.
pub(crate) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
