//! What must hold for the exit code to be 0.

use clap::Args;

use crate::report::RunReport;

/// Each is one option, and unset unless it says otherwise.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits (a broken one sets the exit code to 2)")]
pub(crate) struct Limits {
    /// Packets lost after recovery, in percent of those expected
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    max_loss: f64,
    /// Video packets lost after recovery, in percent of those expected
    #[arg(long, value_name = "PERCENT")]
    max_video_loss: Option<f64>,
    /// Clients that fail
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    max_failed: usize,
    /// From the POST to the first packet, p95
    #[arg(long, value_name = "MS")]
    max_join_ms: Option<f64>,
    /// From the POST to the first keyframe, p95
    #[arg(long, value_name = "MS")]
    max_keyframe_ms: Option<f64>,
    /// One-way delay, p99
    #[arg(long, value_name = "MS")]
    max_delay_ms: Option<f64>,
    /// Freezes of all streams together
    #[arg(long, value_name = "COUNT")]
    max_freezes: Option<u64>,
    /// Frames of all streams together that could not be decoded
    #[arg(long, value_name = "COUNT")]
    max_undecodable: Option<u64>,
    /// Keyframe requests that one source gets in one second
    #[arg(long, value_name = "COUNT")]
    max_keyframe_requests: Option<u64>,
    /// Receivers that never see a picture
    #[arg(long, value_name = "COUNT")]
    max_without_picture: Option<usize>,
    /// CPU time of the server per forwarded packet
    #[arg(long, value_name = "NS")]
    max_cpu_ns: Option<f64>,
}

impl Limits {
    /// Names every limit that the run broke.
    pub(crate) fn broken_by(&self, report: &RunReport) -> Vec<String> {
        let totals = &report.totals;
        let mut broken = Vec::new();
        let mut check = |what: &str, found: Option<f64>, limit: Option<f64>| {
            if let (Some(found), Some(limit)) = (found, limit)
                && found > limit
            {
                broken.push(format!("{what}: {found:.3}, more than {limit}"));
            }
        };
        let count = |limit: Option<u64>| limit.map(|limit| limit as f64);
        let spread = |spread: &crate::report::Spread| (spread.count > 0).then_some(spread.p95);
        check(
            "packets lost, percent",
            Some(totals.lost_percent),
            Some(self.max_loss),
        );
        check(
            "video packets lost, percent",
            Some(totals.lost_video_percent),
            self.max_video_loss,
        );
        check(
            "clients failed",
            Some(totals.failed as f64),
            Some(self.max_failed as f64),
        );
        check(
            "first packet p95, ms",
            spread(&totals.first_packet_ms),
            self.max_join_ms,
        );
        check(
            "first keyframe p95, ms",
            spread(&totals.first_keyframe_ms),
            self.max_keyframe_ms,
        );
        check(
            "one-way delay p99, ms",
            totals.delay.p99_ms,
            self.max_delay_ms,
        );
        check(
            "freezes",
            Some(totals.freezes as f64),
            count(self.max_freezes),
        );
        check(
            "undecodable frames",
            Some(totals.undecodable_frames as f64),
            count(self.max_undecodable),
        );
        check(
            "keyframe requests to one source in one second",
            Some(totals.sent.busiest_keyframe_requests as f64),
            count(self.max_keyframe_requests),
        );
        let without = self.max_without_picture.map(|limit| limit as f64);
        check(
            "receivers without a picture",
            Some(totals.without_picture as f64),
            without,
        );
        let cost = report.server.and_then(|server| server.cpu_ns_per_packet);
        check("server CPU per packet, ns", cost, self.max_cpu_ns);
        if totals.receivers > 0 && totals.packets == 0 {
            broken.push("nothing was received".to_owned());
        }
        broken
    }
}
