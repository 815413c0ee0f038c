//! All clients together, and whether the load test itself kept up.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::{DelayReport, PeerReport, SentReport, ms};
use crate::{delay::Delays, worker::OwnLoad};

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

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Lost after recovery, in all streams of one kind.
fn lost_percent(peers: &[PeerReport], kind: &str) -> f64 {
    let streams = peers.iter().flat_map(|peer| &peer.streams);
    let (lost, expected) =
        streams
            .filter(|stream| stream.kind == kind)
            .fold((0, 0), |(lost, expected), stream| {
                (
                    lost + stream.lost_packets,
                    expected + stream.expected_packets,
                )
            });
    percent(lost, expected)
}

/// All clients together.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) clients: usize,
    pub(crate) connected: usize,
    /// Clients that have streams to receive.
    pub(crate) receivers: usize,
    pub(crate) failed: usize,
    /// Connected for two seconds and more, but without one packet in any stream.
    pub(crate) silent_receivers: usize,
    /// Connected for two seconds and more to see video, and never had a keyframe.
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
    /// Audio is not asked for again, video is: on a bad network only the latter says something of the server.
    pub(crate) lost_audio_percent: f64,
    pub(crate) lost_video_percent: f64,
    pub(crate) recovered_packets: u64,
    pub(crate) duplicate_packets: u64,
    pub(crate) out_of_order_packets: u64,
    pub(crate) malformed_packets: u64,
    pub(crate) unauthentic_packets: u64,
    pub(crate) unauthentic_rtcp_packets: u64,
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
        totals.lost_percent = percent(totals.lost_packets, totals.expected_packets);
        totals.lost_audio_percent = lost_percent(peers, "audio");
        totals.lost_video_percent = lost_percent(peers, "video");
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
        self.receivers += usize::from(peer.receives());
        self.failed += usize::from(peer.error.is_some());
        let silent = peer.streams.iter().all(|stream| stream.packets == 0);
        self.silent_receivers += usize::from(peer.stayed() && peer.receives() && silent);
        let without_picture = peer.wants_video && peer.first_keyframe_ms.is_none();
        self.without_picture += usize::from(peer.stayed() && without_picture);
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
        self.sent.busiest_keyframe_requests = self
            .sent
            .busiest_keyframe_requests
            .max(peer.sent.busiest_keyframe_requests);
        self.sent.nacked_packets += peer.sent.nacked_packets;
        self.sent.resent_packets += peer.sent.resent_packets;
        self.unauthentic_packets += peer.unauthentic_packets;
        self.unauthentic_rtcp_packets += peer.unauthentic_rtcp_packets;
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
