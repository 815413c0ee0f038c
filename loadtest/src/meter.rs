//! What the server under test costs: its CPU time, its memory, and the delays that it counts itself.

use std::{fs, time::Duration};

use serde::Serialize;

use crate::sys;

/// Clock ticks per second in `/proc/{pid}/stat`: `USER_HZ`, fixed at 100 on every architecture of today.
const TICKS_PER_SECOND: u64 = 100;

/// A scrape may take so long; it must not hold up the end of the measured part.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    /// A process of this machine.
    pub(crate) pid: Option<u32>,
    /// A page in Prometheus' text format.
    pub(crate) metrics: Option<String>,
    /// The histogram of forwarding delays on that page, in seconds.
    pub(crate) delay_metric: String,
}

/// One look at the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// User and system time of all its threads, also those that have ended.
    pub(crate) cpu: Option<Duration>,
    pub(crate) rss_bytes: Option<u64>,
    /// Buckets of the forwarding delay: upper edge in seconds, and how many stayed below.
    delays: Vec<(f64, u64)>,
}

/// What the server cost while it was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct ServerReport {
    /// CPU time per RTP packet that reached a receiver.
    pub(crate) cpu_ns_per_packet: Option<f64>,
    /// Share of one core.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) rss_bytes: Option<u64>,
    /// Growth since before the first client joined, per client.
    pub(crate) rss_bytes_per_client: Option<f64>,
    /// As the server counts it, by the upper edge of its buckets.
    pub(crate) forward_delay_p50_ms: Option<f64>,
    pub(crate) forward_delay_p99_ms: Option<f64>,
    /// The price of a packet, as a multiple of what copying, sealing and sending it costs on this machine.
    pub(crate) times_floor: Option<f64>,
    pub(crate) floor_ns_per_packet: Option<f64>,
}

impl Meter {
    pub(crate) fn is_set(&self) -> bool {
        self.pid.is_some() || self.metrics.is_some()
    }

    /// Looks at the server; what cannot be read stays empty.
    pub(crate) fn read(&self) -> Reading {
        let mut reading =
            self.metrics
                .as_deref()
                .and_then(scrape)
                .map_or_else(Reading::default, |page| Reading {
                    cpu: sample(&page, "process_cpu_seconds_total").map(Duration::from_secs_f64),
                    rss_bytes: sample(&page, "process_resident_memory_bytes")
                        .map(|bytes| bytes as u64),
                    delays: buckets(&page, &self.delay_metric),
                });
        if let Some(pid) = self.pid {
            // Finer than what a page says, which may be as old as its last refresh.
            reading.cpu = cpu_time(pid).or(reading.cpu);
            reading.rss_bytes = resident_bytes(pid).or(reading.rss_bytes);
        }
        reading
    }

    /// Only what is cheap enough to be read several times a second.
    pub(crate) fn glance(&self) -> Reading {
        let Some(pid) = self.pid else {
            return Reading::default();
        };
        Reading {
            cpu: cpu_time(pid),
            rss_bytes: resident_bytes(pid),
            delays: Vec::new(),
        }
    }
}

impl ServerReport {
    /// From three looks: before the first client, and at both ends of the measured part.
    pub(crate) fn of(
        idle: &Reading,
        start: &Reading,
        end: &Reading,
        seconds: f64,
        packets: u64,
        clients: u64,
    ) -> Self {
        let cpu = end
            .cpu
            .zip(start.cpu)
            .map(|(end, start)| end.saturating_sub(start).as_secs_f64());
        let growth = end
            .rss_bytes
            .zip(idle.rss_bytes)
            .map(|(end, idle)| end as f64 - idle as f64);
        let delays = difference(&end.delays, &start.delays);
        Self {
            cpu_ns_per_packet: cpu
                .filter(|_| packets > 0)
                .map(|cpu| cpu * 1e9 / packets as f64),
            cpu_percent: cpu
                .filter(|_| seconds > 0.0)
                .map(|cpu| 100.0 * cpu / seconds),
            rss_bytes: end.rss_bytes,
            rss_bytes_per_client: growth
                .filter(|_| clients > 0)
                .map(|growth| growth / clients as f64),
            forward_delay_p50_ms: quantile(&delays, 0.5).map(|seconds| seconds * 1e3),
            forward_delay_p99_ms: quantile(&delays, 0.99).map(|seconds| seconds * 1e3),
            times_floor: None,
            floor_ns_per_packet: None,
        }
    }

    pub(crate) fn set_floor(&mut self, ns_per_packet: f64) {
        self.floor_ns_per_packet = Some(ns_per_packet);
        self.times_floor = self.cpu_ns_per_packet.map(|cost| cost / ns_per_packet);
    }
}

/// By the process's own clock where that can be read, which counts nanoseconds and not ticks of ten
/// milliseconds: at ten receivers, one tick is several per cent of what a run costs.
fn cpu_time(pid: u32) -> Option<Duration> {
    sys::process_cpu_time(pid).or_else(|| ticks(pid))
}

fn ticks(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything; fields 14 and 15 are utime and stime (proc_pid_stat(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// CPU time of the calling thread, from the scheduler's own account.
pub(crate) fn thread_cpu_time() -> Duration {
    let account = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = account
        .split_ascii_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

fn scrape(url: &str) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder()
            .timeout(SCRAPE_TIMEOUT)
            .build()
            .ok()?;
        client.get(url).send().await.ok()?.text().await.ok()
    })
}

/// The value of a sample without labels.
fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// The buckets of a histogram, summed over whatever other labels it has.
fn buckets(page: &str, name: &str) -> Vec<(f64, u64)> {
    let mut found: Vec<(f64, u64)> = Vec::new();
    for line in page.lines() {
        let bucket = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix("_bucket{"));
        let Some((labels, value)) = bucket.and_then(|rest| rest.split_once("} ")) else {
            continue;
        };
        let edge = labels
            .split("le=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let edge = edge.and_then(|edge| {
            if edge == "+Inf" {
                Some(f64::INFINITY)
            } else {
                edge.parse().ok()
            }
        });
        let (Some(edge), Ok(count)) = (edge, value.trim().parse::<f64>()) else {
            continue;
        };
        match found.iter_mut().find(|(known, _)| *known == edge) {
            Some((_, sum)) => *sum += count as u64,
            None => found.push((edge, count as u64)),
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

fn difference(end: &[(f64, u64)], start: &[(f64, u64)]) -> Vec<(f64, u64)> {
    let before = |edge: f64| {
        start
            .iter()
            .find(|(known, _)| *known == edge)
            .map_or(0, |(_, count)| *count)
    };
    end.iter()
        .map(|(edge, count)| (*edge, count.saturating_sub(before(*edge))))
        .collect()
}

/// The upper edge of the bucket in which the share falls.
fn quantile(buckets: &[(f64, u64)], share: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    let rank = (share * total as f64).ceil() as u64;
    buckets
        .iter()
        .find(|(_, below)| total > 0 && *below >= rank)
        .map(|(edge, _)| *edge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_metrics_gives_the_delays_of_the_measured_part() {
        let page = |slow: u64| {
            format!(
                "# TYPE d histogram\nd_bucket{{shard=\"0\",le=\"0.001\"}} 90\nd_bucket{{shard=\"1\",le=\"0.001\"}} 5\n\
                 d_bucket{{shard=\"0\",le=\"+Inf\"}} {}\nprocess_cpu_seconds_total 1.5\n",
                95 + slow
            )
        };
        let start = Reading::default();
        let end = Reading {
            delays: buckets(&page(5), "d"),
            ..Reading::default()
        };
        assert_eq!(end.delays, [(0.001, 95), (f64::INFINITY, 100)]);
        let report = ServerReport::of(&start, &start, &end, 1.0, 1, 1);
        assert_eq!(report.forward_delay_p50_ms, Some(1.0));
        assert_eq!(report.forward_delay_p99_ms, Some(f64::INFINITY));
        assert_eq!(sample(&page(0), "process_cpu_seconds_total"), Some(1.5));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let meter = Meter {
            pid: Some(std::process::id()),
            ..Meter::default()
        };
        let reading = meter.read();
        assert!(reading.cpu.is_some());
        assert!(reading.rss_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(thread_cpu_time() > Duration::ZERO);
    }
}
