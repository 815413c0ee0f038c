//! The report as a table, for a terminal.

use std::fmt;

use super::{RunReport, totals::Spread};

/// Width of the names.
const NAMES: usize = 26;

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {:.1} s measured",
            self.scenario, self.measured_seconds
        )?;
        self.write_joins(f)?;
        self.write_packets(f)?;
        self.write_pictures(f)?;
        self.write_server(f)?;
        self.write_own(f)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<NAMES$}{value}")
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn spread(spread: &Spread) -> String {
    if spread.count == 0 {
        return "-".to_owned();
    }
    format!(
        "p50 {:.1}  p95 {:.1}  max {:.1} ms  ({})",
        spread.p50, spread.p95, spread.max, spread.count
    )
}

impl RunReport {
    fn write_joins(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let clients = format!(
            "{} of {} connected, {} failed",
            totals.connected, totals.clients, totals.failed
        );
        row(f, "clients", clients)?;
        for (error, count) in &totals.errors {
            row(f, "", format!("{count} x {error}"))?;
        }
        row(f, "  answer", spread(&totals.http_ms))?;
        row(f, "  then a path (ICE)", spread(&totals.ice_ms))?;
        row(f, "  then keys (DTLS)", spread(&totals.dtls_ms))?;
        row(f, "first packet", spread(&totals.first_packet_ms))?;
        row(f, "first keyframe", spread(&totals.first_keyframe_ms))?;
        row(
            f,
            "never saw anything",
            format!(
                "{}, a picture {}",
                totals.silent_receivers, totals.without_picture
            ),
        )
    }

    fn write_packets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (totals, sent) = (&self.totals, &self.totals.sent);
        let text = format!(
            "{} packets, {} resent; {} keyframes for {} requests, at most {}/s",
            sent.packets,
            sent.resent_packets,
            sent.keyframes,
            sent.keyframe_requests,
            sent.busiest_keyframe_requests
        );
        row(f, "sent", text)?;
        let text = format!(
            "{} packets, {:.0}/s, {:.1} Mbit/s",
            totals.packets, totals.packets_per_second, totals.megabits_per_second
        );
        row(f, "received", text)?;
        let text = format!(
            "{} of {} ({:.4} %; video {:.4}, audio {:.4} %), {} recovered",
            totals.lost_packets,
            totals.expected_packets,
            totals.lost_percent,
            totals.lost_video_percent,
            totals.lost_audio_percent,
            totals.recovered_packets
        );
        row(f, "lost after recovery", text)?;
        let text = format!(
            "{}, {}",
            totals.duplicate_packets, totals.out_of_order_packets
        );
        row(f, "duplicate, out of order", text)?;
        let text = format!(
            "{} malformed, {} not authentic (RTCP {}), {} of unknown streams",
            totals.malformed_packets,
            totals.unauthentic_packets,
            totals.unauthentic_rtcp_packets,
            totals.unknown_packets
        );
        row(f, "refused", text)?;
        let delay = &totals.delay;
        let text = format!(
            "p50 {}  p90 {}  p99 {}  p99.9 {}  max {} ms",
            number(delay.p50_ms),
            number(delay.p90_ms),
            number(delay.p99_ms),
            number(delay.p999_ms),
            number(delay.max_ms)
        );
        row(f, "one-way delay", text)
    }

    fn write_pictures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let text = format!(
            "{} decoded, {} undecodable, {} PictureID jumps",
            totals.frames, totals.undecodable_frames, totals.picture_id_jumps
        );
        row(f, "frames", text)?;
        row(
            f,
            "freezes",
            format!("{}, {:.0} ms in all", totals.freezes, totals.frozen_ms),
        )?;
        let rate = &totals.video_kbps;
        row(
            f,
            "video, per stream",
            format!("p50 {:.0}  max {:.0} kbit/s", rate.p50, rate.max),
        )
    }

    fn write_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let text = format!(
            "{} ns CPU per packet, {} % of a core",
            number(server.cpu_ns_per_packet),
            number(server.cpu_percent)
        );
        row(f, "server", text)?;
        let kib = |bytes: Option<f64>| number(bytes.map(|bytes| bytes / 1024.0));
        let text = format!(
            "{} KiB, {} KiB per client",
            kib(server.rss_bytes.map(|bytes| bytes as f64)),
            kib(server.rss_bytes_per_client)
        );
        row(f, "  memory", text)?;
        if let (Some(p50), Some(p99)) = (server.forward_delay_p50_ms, server.forward_delay_p99_ms) {
            row(
                f,
                "  own forwarding delay",
                format!("p50 <= {p50:.2}  p99 <= {p99:.2} ms"),
            )?;
        }
        if let (Some(times), Some(floor)) = (server.times_floor, server.floor_ns_per_packet) {
            row(
                f,
                "  times the floor",
                format!("{times:.2} ({floor:.0} ns per packet, paced)"),
            )?;
        }
        Ok(())
    }

    fn write_own(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = &self.load_test;
        let text = format!(
            "{} threads, {:.0} % of a core (busiest second {:.0} %), frames late p99 {} ms",
            own.threads,
            own.cpu_average_percent,
            own.cpu_busiest_percent,
            number(own.late_p99_ms)
        );
        row(f, "load test", text)?;
        for warning in &own.warnings {
            row(f, "  DOUBT", warning)?;
        }
        for limit in &self.broken_limits {
            row(f, "  LIMIT BROKEN", limit)?;
        }
        Ok(())
    }
}
