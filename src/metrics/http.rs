//! What HTTP counts itself: it has no engine of its own to count for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::engine::counters::Histogram;

/// Upper bounds of HTTP's duration buckets, in seconds: an answer takes about 1 ms, and
/// nothing takes longer than the 10 s in which a body must arrive.
const HTTP_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Why requests are refused, by limit.
const LIMITS: [&str; 17] = [
    "rate",
    "sessions",
    "identity",
    "messages",
    "head",
    "body",
    "time",
    "media_lines",
    "participants",
    "rooms",
    "shard",
    "draining",
    "load",
    "memory",
    "descriptors",
    "idempotency_keys",
    "streams",
];

/// Why requests are refused for their token.
const AUTH_FAILURES: [&str; 8] = [
    "missing",
    "malformed",
    "too_large",
    "unknown_key",
    "signature",
    "expired",
    "claims",
    "forbidden",
];

/// Why building a metric cannot fail.
const VALID: &str = "metric names are valid and registered once";

/// The counters of HTTP.
pub struct HttpMetrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    refusals: IntCounterVec,
    auth_failures: IntCounterVec,
    connections: IntGauge,
    event_streams: IntGauge,
    event_logs: IntGauge,
    draining: IntGauge,
    load: GaugeVec,
    video_share: GaugeVec,
    memory_limit: IntGaugeVec,
    memory_allocated: IntGaugeVec,
    certificate_end: IntGaugeVec,
    join: Mutex<Histogram>,
}

impl HttpMetrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            requests: counters(
                "plenum_http_requests_total",
                "Answered HTTP requests.",
                &["method", "route", "status"],
            ),
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "plenum_http_request_duration_seconds",
                    "Time from a request's head to its answer's head.",
                )
                .buckets(HTTP_SECONDS.to_vec()),
                &["method", "route"],
            )
            .expect(VALID),
            refusals: counters(
                "plenum_http_refusals_total",
                "Requests over a limit, by limit.",
                &["limit"],
            ),
            auth_failures: counters(
                "plenum_auth_failures_total",
                "Requests refused for their token, by reason.",
                &["reason"],
            ),
            connections: gauge("plenum_http_connections", "Open HTTP connections."),
            event_streams: gauge("plenum_event_streams", "Open event streams."),
            event_logs: gauge(
                "plenum_event_logs",
                "Logs of events: of each session, and for a minute after its end.",
            ),
            draining: gauge("plenum_draining", "1 once no more sessions are taken."),
            load: GaugeVec::new(
                Opts::new(
                    "plenum_shard_load_ratio",
                    "Part of the last seconds that a shard's thread was awake.",
                ),
                &["shard"],
            )
            .expect(VALID),
            video_share: GaugeVec::new(
                Opts::new(
                    "plenum_shard_video_share_ratio",
                    "Part of the video wanted that a shard forwards: 1 unless its thread does not keep up.",
                ),
                &["shard"],
            )
            .expect(VALID),
            // Without labels and without a value until there is one.
            memory_limit: maybe_gauge(
                "plenum_memory_limit_bytes",
                "Memory that the process may have: the machine's, or its control group's.",
            ),
            memory_allocated: maybe_gauge(
                "plenum_memory_allocated_bytes",
                "Memory that was allocated and not freed, as the allocator counts it.",
            ),
            certificate_end: maybe_gauge(
                "plenum_tls_certificate_end_timestamp_seconds",
                "When the certificate of HTTPS ends, Unix time.",
            ),
            join: Mutex::default(),
            registry: Registry::new(),
        };
        for limit in LIMITS {
            metrics.refusals.with_label_values(&[limit]);
        }
        for reason in AUTH_FAILURES {
            metrics.auth_failures.with_label_values(&[reason]);
        }
        metrics.register();
        metrics
    }

    fn register(&self) {
        let all: [Box<dyn Collector>; 14] = [
            Box::new(self.requests.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.refusals.clone()),
            Box::new(self.auth_failures.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.event_streams.clone()),
            Box::new(self.event_logs.clone()),
            Box::new(self.draining.clone()),
            Box::new(self.load.clone()),
            Box::new(self.video_share.clone()),
            Box::new(self.memory_limit.clone()),
            Box::new(self.memory_allocated.clone()),
            Box::new(self.certificate_end.clone()),
            Box::new(ProcessCollector::for_self()),
        ];
        for collector in all {
            self.registry.register(collector).expect(VALID);
        }
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Times from offers to answers.
    pub(super) fn join(&self) -> Histogram {
        self.join
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts an answered request. `method` and `route` are of a fixed set.
    pub(crate) fn count_request(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests
            .with_label_values(&[method, route, &status.to_string()])
            .inc();
        self.duration
            .with_label_values(&[method, route])
            .observe(took.as_secs_f64());
    }

    /// Counts a request over a limit.
    pub(crate) fn count_refusal(&self, limit: &'static str) {
        self.refusals.with_label_values(&[limit]).inc();
    }

    /// Counts a request whose token is missing, bad, or not enough.
    pub(crate) fn count_auth_failure(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// Counts a session that was opened, by the time from its offer to its answer.
    pub(crate) fn count_join(&self, took: Duration) {
        self.join
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .observe(took, 1);
    }

    /// The number of open HTTP connections.
    pub(crate) fn http_connections(&self) -> &IntGauge {
        &self.connections
    }

    /// The number of open event streams.
    pub(crate) fn event_streams(&self) -> &IntGauge {
        &self.event_streams
    }

    /// The number of sessions' logs.
    pub(crate) fn event_logs(&self) -> &IntGauge {
        &self.event_logs
    }

    /// Whether the server takes no more sessions.
    pub(crate) fn draining(&self) -> &IntGauge {
        &self.draining
    }

    /// Notes how busy a shard is, from 0 to 1.
    pub(crate) fn set_load(&self, shard: usize, load: f64) {
        self.load.with_label_values(&[&shard.to_string()]).set(load);
    }

    /// Notes how much of the video that is wanted a shard forwards, in percent.
    pub(crate) fn set_video_share(&self, shard: usize, percent: u8) {
        let share = self.video_share.with_label_values(&[&shard.to_string()]);
        share.set(f64::from(percent) / 100.0);
    }

    /// How much of the video that is wanted a shard forwards, from 0 to 1.
    pub(crate) fn video_share(&self, shard: usize) -> f64 {
        self.video_share
            .with_label_values(&[&shard.to_string()])
            .get()
    }

    /// Notes how much memory there may be, where it is known.
    pub(crate) fn set_memory_limit(&self, bytes: Option<u64>) {
        set(&self.memory_limit, bytes);
    }

    /// Notes how much is allocated, where it is known.
    pub(crate) fn set_memory_allocated(&self, bytes: Option<u64>) {
        set(&self.memory_allocated, bytes);
    }

    /// Notes when the certificate of HTTPS ends, where there is one.
    pub(crate) fn set_certificate_end(&self, end: Option<SystemTime>) {
        let since = end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
        set(&self.certificate_end, since.map(|since| since.as_secs()));
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(VALID)
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect(VALID)
}

fn maybe_gauge(name: &str, help: &str) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), &[]).expect(VALID)
}

fn set(gauge: &IntGaugeVec, value: Option<u64>) {
    let value = value.and_then(|value| i64::try_from(value).ok());
    match value {
        Some(value) => gauge.with_label_values::<&str>(&[]).set(value),
        None => gauge.reset(),
    }
}
