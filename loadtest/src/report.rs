//! What the clients saw, client by client and in all; every name carries its unit.

use std::{
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    delay::Delays,
    inbound::Inbound,
    payload::Codec,
    peer::Peer,
    scenario::{Role, Visit},
    worker::OwnLoad,
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
    pub(crate) sent: SentReport,
    pub(crate) received_packets: u64,
    pub(crate) unauthentic_packets: u64,
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
    pub(crate) keyframe_requests: u64,
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
    pub(crate) fn of(peer: &Peer, now: Instant) -> Self {
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
            sent,
            received_packets: peer.counts.packets,
            unauthentic_packets: peer.counts.unauthentic,
            unknown_packets: peer.counts.unknown,
            useless_retransmissions: peer.counts.useless_retransmissions,
            streams: peer
                .inbounds
                .iter()
                .map(|inbound| StreamReport::of(inbound, now))
                .collect(),
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
            sent: SentReport::default(),
            received_packets: 0,
            unauthentic_packets: 0,
            unknown_packets: 0,
            useless_retransmissions: 0,
            streams: Vec::new(),
        }
    }

    /// Whether it got what it came for: a connection, and a picture where it was to see one.
    fn receives(&self) -> bool {
        !self.streams.is_empty()
    }
}

impl StreamReport {
    fn of(inbound: &Inbound, now: Instant) -> Self {
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
        let _ = now;
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

    fn of_histogram(delays: &Histogram<u64>) -> Self {
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

/// Spread of one measure over all clients.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            count: sorted.len(),
            p50: at(0.5),
            p95: at(0.95),
            max: at(1.0),
        }
    }
}

/// All clients together.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) clients: usize,
    pub(crate) connected: usize,
    pub(crate) failed: usize,
    /// Connected, but without one packet in any stream, though publishers sent.
    pub(crate) silent_receivers: usize,
    /// Were to see video, and never had a keyframe.
    pub(crate) without_picture: usize,
    pub(crate) http_ms: Spread,
    pub(crate) ice_ms: Spread,
    pub(crate) dtls_ms: Spread,
    pub(crate) first_packet_ms: Spread,
    pub(crate) first_keyframe_ms: Spread,
    pub(crate) sent: SentReport,
    pub(crate) packets: u64,
    pub(crate) expected_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) lost_percent: f64,
    pub(crate) recovered_packets: u64,
    pub(crate) duplicate_packets: u64,
    pub(crate) out_of_order_packets: u64,
    pub(crate) malformed_packets: u64,
    pub(crate) unauthentic_packets: u64,
    pub(crate) unknown_packets: u64,
    pub(crate) keyframe_requests: u64,
    pub(crate) frames: u64,
    pub(crate) undecodable_frames: u64,
    pub(crate) picture_id_jumps: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen_ms: f64,
    pub(crate) delay: DelayReport,
    pub(crate) packets_per_second: f64,
    pub(crate) megabits_per_second: f64,
    /// Of one receiver's stream.
    pub(crate) video_kbps: Spread,
    pub(crate) errors: Vec<(String, usize)>,
}

impl Totals {
    pub(crate) fn of(peers: &[PeerReport], delays: &Histogram<u64>) -> Self {
        let mut totals = Self {
            clients: peers.len(),
            delay: DelayReport::of_histogram(delays),
            ..Self::default()
        };
        for peer in peers {
            totals.add(peer);
        }
        totals.lost_percent =
            100.0 * totals.lost_packets as f64 / (totals.expected_packets.max(1)) as f64;
        totals.http_ms = Spread::of(peers.iter().filter_map(|peer| peer.http_ms));
        totals.ice_ms = Spread::of(
            peers
                .iter()
                .filter_map(|peer| Some(peer.ice_ms? - peer.http_ms?)),
        );
        totals.dtls_ms = Spread::of(
            peers
                .iter()
                .filter_map(|peer| Some(peer.dtls_ms? - peer.ice_ms?)),
        );
        totals.first_packet_ms = Spread::of(peers.iter().filter_map(|peer| peer.first_packet_ms));
        totals.first_keyframe_ms =
            Spread::of(peers.iter().filter_map(|peer| peer.first_keyframe_ms));
        let video = peers
            .iter()
            .flat_map(|peer| &peer.streams)
            .filter(|stream| stream.kind == "video");
        totals.video_kbps = Spread::of(
            video
                .filter(|stream| stream.packets > 0)
                .map(|stream| stream.bitrate_kbps),
        );
        totals
    }

    fn add(&mut self, peer: &PeerReport) {
        self.connected += usize::from(peer.connected);
        self.failed += usize::from(peer.error.is_some());
        self.silent_receivers += usize::from(
            peer.connected
                && peer.receives()
                && peer.streams.iter().all(|stream| stream.packets == 0),
        );
        self.without_picture += usize::from(peer.wants_video && peer.first_keyframe_ms.is_none());
        if let Some(error) = &peer.error {
            if let Some((_, count)) = self.errors.iter_mut().find(|(text, _)| text == error) {
                *count += 1;
            } else if self.errors.len() < 8 {
                // A handful tells the story; every one is in its client's account.
                self.errors.push((error.clone(), 1));
            }
        }
        self.sent.packets += peer.sent.packets;
        self.sent.bytes += peer.sent.bytes;
        self.sent.keyframes += peer.sent.keyframes;
        self.sent.keyframe_requests += peer.sent.keyframe_requests;
        self.sent.nacked_packets += peer.sent.nacked_packets;
        self.sent.resent_packets += peer.sent.resent_packets;
        self.unauthentic_packets += peer.unauthentic_packets;
        self.unknown_packets += peer.unknown_packets;
        for stream in &peer.streams {
            self.packets += stream.packets;
            self.expected_packets += stream.expected_packets;
            self.lost_packets += stream.lost_packets;
            self.recovered_packets += stream.recovered_packets;
            self.duplicate_packets += stream.duplicate_packets;
            self.out_of_order_packets += stream.out_of_order_packets;
            self.malformed_packets += stream.malformed_packets;
            self.keyframe_requests += stream.keyframe_requests;
            self.frames += stream.frames;
            self.undecodable_frames += stream.undecodable_frames;
            self.picture_id_jumps += stream.picture_id_jumps;
            self.freezes += stream.freezes;
            self.frozen_ms += stream.frozen_ms;
        }
    }
}

/// Whether the load test itself was the bottleneck.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct OwnReport {
    pub(crate) threads: usize,
    /// Share of a core, of the busiest thread: over the measured time, and in its busiest second.
    pub(crate) cpu_average_percent: f64,
    pub(crate) cpu_busiest_percent: f64,
    /// How late frames left.
    pub(crate) late_p99_ms: Option<f64>,
    /// How long datagrams waited in our sockets.
    pub(crate) waited_p99_ms: Option<f64>,
    pub(crate) dropped_datagrams: u64,
    pub(crate) refused_sends: u64,
    /// What casts doubt on the result; empty when nothing does.
    pub(crate) warnings: Vec<String>,
}

impl OwnReport {
    pub(crate) fn of(workers: &[OwnLoad]) -> Self {
        let longest = |of: fn(&OwnLoad) -> &Delays| {
            workers
                .iter()
                .filter_map(|own| of(own).quantile(0.99))
                .max()
                .map(ms)
        };
        let busiest = |of: fn(&OwnLoad) -> f64| 100.0 * workers.iter().map(of).fold(0.0, f64::max);
        let mut own = Self {
            threads: workers.len(),
            cpu_average_percent: busiest(|own| own.average),
            cpu_busiest_percent: busiest(|own| own.busiest),
            late_p99_ms: longest(|own| &own.late),
            waited_p99_ms: longest(|own| &own.waited),
            dropped_datagrams: workers.iter().map(|own| own.dropped).sum(),
            refused_sends: workers.iter().map(|own| own.refused).sum(),
            warnings: Vec::new(),
        };
        own.warnings = own.find_doubts();
        own
    }

    fn find_doubts(&self) -> Vec<String> {
        /// A frame that leaves later than a quarter of its interval changes what the server is given.
        const LATE_MS: f64 = 10.0;
        /// Datagrams that wait longer than this wait for us, not for the server.
        const WAITED_MS: f64 = 50.0;
        let mut doubts = Vec::new();
        if self.cpu_busiest_percent > 90.0 {
            doubts.push(format!(
                "a thread of the load test used {:.0} % of its core",
                self.cpu_busiest_percent
            ));
        }
        if self.late_p99_ms.is_some_and(|late| late > LATE_MS) {
            doubts.push(format!(
                "frames left {:.1} ms late (p99)",
                self.late_p99_ms.unwrap_or_default()
            ));
        }
        if self.waited_p99_ms.is_some_and(|waited| waited > WAITED_MS) {
            doubts.push(format!(
                "datagrams waited {:.1} ms to be read (p99)",
                self.waited_p99_ms.unwrap_or_default()
            ));
        }
        if self.dropped_datagrams > 0 {
            doubts.push(format!(
                "{} datagrams were lost in our own sockets",
                self.dropped_datagrams
            ));
        }
        if self.refused_sends > 0 {
            doubts.push(format!(
                "the kernel refused {} of our sends",
                self.refused_sends
            ));
        }
        doubts
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunReport {
    pub(crate) scenario: &'static str,
    /// Of the steady part, by which rates are measured.
    pub(crate) measured_seconds: f64,
    pub(crate) totals: Totals,
    pub(crate) load_test: OwnReport,
    /// Limits that were broken; each is why the exit code is not 0.
    pub(crate) broken_limits: Vec<String>,
    pub(crate) clients: Vec<PeerReport>,
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: String| {
            writeln!(f, "  {name:<24}{value}")
        };
        let spread = |s: &Spread| {
            format!(
                "p50 {:.1}  p95 {:.1}  max {:.1} ms  ({})",
                s.p50, s.p95, s.max, s.count
            )
        };
        writeln!(
            f,
            "{}, {:.1} s measured",
            self.scenario, self.measured_seconds
        )?;
        row(
            f,
            "clients",
            format!(
                "{} of {} connected, {} failed",
                totals.connected, totals.clients, totals.failed
            ),
        )?;
        for (error, count) in &totals.errors {
            row(f, "", format!("{count} x {error}"))?;
        }
        row(f, "  answered", spread(&totals.http_ms))?;
        row(f, "  + path (ICE)", spread(&totals.ice_ms))?;
        row(f, "  + keys (DTLS)", spread(&totals.dtls_ms))?;
        row(f, "first packet", spread(&totals.first_packet_ms))?;
        row(f, "first keyframe", spread(&totals.first_keyframe_ms))?;
        row(
            f,
            "without a picture",
            format!(
                "{}, silent {}",
                totals.without_picture, totals.silent_receivers
            ),
        )?;
        row(
            f,
            "sent",
            format!(
                "{} packets, {} keyframes for {} requests, {} resent",
                totals.sent.packets,
                totals.sent.keyframes,
                totals.sent.keyframe_requests,
                totals.sent.resent_packets
            ),
        )?;
        row(
            f,
            "received",
            format!(
                "{} packets, {:.0}/s, {:.1} Mbit/s",
                totals.packets, totals.packets_per_second, totals.megabits_per_second
            ),
        )?;
        row(
            f,
            "lost after recovery",
            format!(
                "{} ({:.4} %), {} recovered",
                totals.lost_packets, totals.lost_percent, totals.recovered_packets
            ),
        )?;
        row(
            f,
            "duplicate, out of order",
            format!(
                "{}, {}",
                totals.duplicate_packets, totals.out_of_order_packets
            ),
        )?;
        row(
            f,
            "malformed, unauthentic",
            format!(
                "{}, {}, of unknown stream {}",
                totals.malformed_packets, totals.unauthentic_packets, totals.unknown_packets
            ),
        )?;
        row(
            f,
            "frames",
            format!(
                "{} decoded, {} undecodable, {} PictureID jumps",
                totals.frames, totals.undecodable_frames, totals.picture_id_jumps
            ),
        )?;
        row(
            f,
            "freezes",
            format!("{}, {:.0} ms in all", totals.freezes, totals.frozen_ms),
        )?;
        let delay = &totals.delay;
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        row(
            f,
            "one-way delay",
            format!(
                "p50 {}  p90 {}  p99 {}  p99.9 {}  max {} ms",
                number(delay.p50_ms),
                number(delay.p90_ms),
                number(delay.p99_ms),
                number(delay.p999_ms),
                number(delay.max_ms)
            ),
        )?;
        row(
            f,
            "video per stream",
            format!(
                "p50 {:.0}  max {:.0} kbit/s",
                totals.video_kbps.p50, totals.video_kbps.max
            ),
        )?;
        let own = &self.load_test;
        row(
            f,
            "load test",
            format!(
                "{} threads, {:.0} % of a core (busiest second {:.0} %), late p99 {} ms",
                own.threads,
                own.cpu_average_percent,
                own.cpu_busiest_percent,
                number(own.late_p99_ms)
            ),
        )?;
        for warning in &own.warnings {
            row(f, "  DOUBT", warning.clone())?;
        }
        for limit in &self.broken_limits {
            row(f, "  LIMIT BROKEN", limit.clone())?;
        }
        Ok(())
    }
}
