//! What the server exports about itself: every name, its unit and its help, once.
//!
//! Names have the prefix `plenum_` and base units (seconds, bytes); counters end in `_total`.
//! Labels take few values that we choose: never a room, participant, address or raw path.
//! The engines count plain numbers, which are read when somebody scrapes; only HTTP, which has
//! no engine of its own, counts here. `docs/operations.md` lists all of them, and a test
//! compares.

mod family;
mod sockets;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder,
};

use crate::engine::counters::{Counters, DropReason, Histogram, PerKind};
use crate::engine::event::CloseReason;
use crate::net::{Connections, NetCounters};
use crate::shard::{Load, ShardHandle, Shards};
use family::{counter, counters, gauge, gauges, histogram, histograms};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Upper bounds of HTTP's duration buckets, in seconds: an answer takes about 1 ms, and
/// nothing takes longer than the 10 s in which a body must arrive.
const HTTP_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// What threads and socket have counted, at the time of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The shards' threads, in the order of their numbers.
    pub threads: Vec<Thread>,
    /// The UDP socket.
    pub net: Arc<NetCounters>,
    /// The TCP connections, where there can be any.
    pub tcp: Option<Connections>,
}

/// One shard's thread.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    /// What its loop has counted.
    pub load: Load,
    /// Commands that wait (gauge).
    pub queued_commands: usize,
    /// Batches of datagrams that wait (gauge).
    pub queued_batches: usize,
}

impl Reading {
    /// Reads the shards and their socket.
    pub fn of(shards: &Shards) -> Self {
        let thread = |shard: &ShardHandle| Thread {
            load: shard.load(),
            queued_commands: shard.queued_commands(),
            queued_batches: shard.queued_batches(),
        };
        Self {
            threads: shards.all().iter().map(thread).collect(),
            net: shards.socket().counters().clone(),
            tcp: shards.connections().cloned(),
        }
    }
}

/// Takes a reading.
pub type Source = Box<dyn Fn() -> Reading + Send + Sync>;

/// The registry of everything exported, and the counters of HTTP itself.
pub struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    http_refusals: IntCounterVec,
    http_connections: IntGauge,
    event_streams: IntGauge,
    join_http: Mutex<Histogram>,
    source: OnceLock<Source>,
}

impl Metrics {
    /// Nothing is counted yet.
    ///
    /// # Panics
    /// Never: the names below are valid and differ from each other, which tests check.
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            http_requests: IntCounterVec::new(
                Opts::new("plenum_http_requests_total", "Answered HTTP requests."),
                &["method", "route", "status"],
            )
            .expect(VALID),
            http_duration: HistogramVec::new(
                HistogramOpts::new(
                    "plenum_http_request_duration_seconds",
                    "Time from a request's head to its answer's head.",
                )
                .buckets(HTTP_SECONDS.to_vec()),
                &["method", "route"],
            )
            .expect(VALID),
            http_refusals: IntCounterVec::new(
                Opts::new(
                    "plenum_http_refusals_total",
                    "Requests over a limit, by limit.",
                ),
                &["limit"],
            )
            .expect(VALID),
            http_connections: IntGauge::new("plenum_http_connections", "Open HTTP connections.")
                .expect(VALID),
            event_streams: IntGauge::new("plenum_event_streams", "Open event streams.")
                .expect(VALID),
            join_http: Mutex::default(),
            source: OnceLock::new(),
            registry,
        };
        for limit in ["rate", "sessions", "draining"] {
            metrics.http_refusals.with_label_values(&[limit]);
        }
        metrics.register();
        metrics
    }

    fn register(&self) {
        let registry = &self.registry;
        registry
            .register(Box::new(self.http_requests.clone()))
            .expect(VALID);
        registry
            .register(Box::new(self.http_duration.clone()))
            .expect(VALID);
        registry
            .register(Box::new(self.http_refusals.clone()))
            .expect(VALID);
        registry
            .register(Box::new(self.http_connections.clone()))
            .expect(VALID);
        registry
            .register(Box::new(self.event_streams.clone()))
            .expect(VALID);
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect(VALID);
    }

    /// Says where threads and socket are read. The first call counts.
    pub fn set_source(&self, source: Source) {
        let _ = self.source.set(source);
    }

    /// Counts an answered request. `method` and `route` are of a fixed set.
    pub(crate) fn count_request(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.http_requests
            .with_label_values(&[method, route, &status.to_string()])
            .inc();
        self.http_duration
            .with_label_values(&[method, route])
            .observe(took.as_secs_f64());
    }

    /// Counts a request over a limit.
    pub(crate) fn count_refusal(&self, limit: &'static str) {
        self.http_refusals.with_label_values(&[limit]).inc();
    }

    /// Counts a session that was opened, by the time from its offer to its answer.
    pub(crate) fn count_join(&self, took: Duration) {
        self.join_http
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .observe(took, 1);
    }

    /// The number of open HTTP connections.
    pub(crate) fn http_connections(&self) -> &IntGauge {
        &self.http_connections
    }

    /// The number of open event streams.
    pub(crate) fn event_streams(&self) -> &IntGauge {
        &self.event_streams
    }

    /// Everything, in Prometheus' text format (0.0.4). `unanswered` is how many of the shards
    /// did not answer in time: their part of `shards` is older.
    pub fn encode(&self, shards: &[Counters], unanswered: usize) -> String {
        let mut families = self.registry.gather();
        let join_http = self
            .join_http
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        families.extend(state_families(shards, unanswered));
        families.extend(traffic_families(shards));
        families.extend(duration_families(shards, join_http));
        let reading = self.source.get().map(|read| read()).unwrap_or_default();
        families.extend(thread_families(&reading.threads));
        families.extend(sockets::udp(&reading.net));
        families.extend(sockets::tcp(reading.tcp.as_ref()));
        // What has no samples yet has no place in the format.
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = String::new();
        TextEncoder::new()
            .encode_utf8(&families, &mut text)
            .expect("families have names and samples");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Why building a metric cannot fail.
const VALID: &str = "metric names are valid and registered once";

/// What there is at this moment, and what came and went.
fn state_families(shards: &[Counters], unanswered: usize) -> Vec<MetricFamily> {
    let sum = |read: fn(&Counters) -> u64| shards.iter().map(read).sum::<u64>() as f64;
    let kinds = |read: fn(&Counters) -> PerKind| {
        per_kind(shards, read).map(|(kind, n)| ([("kind", kind)], n))
    };
    let closed = CLOSE_REASONS.map(|reason| {
        let n: u64 = shards
            .iter()
            .filter_map(|c| c.sessions_closed.get(&reason))
            .sum();
        ([("reason", close_label(reason))], n as f64)
    });
    vec![
        gauges(
            "plenum_build_info",
            "Always 1; the labels say what is running.",
            [([("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        ),
        gauge(
            "plenum_shards",
            "Threads with an engine.",
            shards.len() as f64,
        ),
        gauge(
            "plenum_shards_unanswered",
            "Engines that did not answer this scrape: their numbers are older.",
            unanswered as f64,
        ),
        gauge(
            "plenum_rooms",
            "Rooms, empty ones that were made included.",
            sum(|c| c.rooms),
        ),
        gauge("plenum_sessions", "Open sessions.", sum(|c| c.sessions)),
        gauge(
            "plenum_sessions_connected",
            "Open sessions whose ICE and DTLS are up.",
            sum(|c| c.connected_sessions),
        ),
        gauges("plenum_tracks", "Published tracks.", kinds(|c| c.tracks)),
        gauges(
            "plenum_subscriptions",
            "Slots that show a track.",
            kinds(|c| c.subscriptions),
        ),
        counter(
            "plenum_sessions_opened_total",
            "Sessions opened.",
            sum(|c| c.sessions_opened),
        ),
        counters(
            "plenum_sessions_closed_total",
            "Sessions ended, by reason.",
            closed,
        ),
        counter(
            "plenum_panics_total",
            "Sessions ended because the engine panicked in them.",
            sum(|c| c.panics),
        ),
    ]
}

/// What passed through the engines, and what did not.
fn traffic_families(shards: &[Counters]) -> Vec<MetricFamily> {
    let sum = |read: fn(&Counters) -> u64| shards.iter().map(read).sum::<u64>() as f64;
    let both = |incoming: fn(&Counters) -> PerKind, outgoing: fn(&Counters) -> PerKind| {
        let labelled = |direction, read| {
            per_kind(shards, read).map(|(kind, n)| ([("direction", direction), ("kind", kind)], n))
        };
        labelled("in", incoming)
            .into_iter()
            .chain(labelled("out", outgoing))
    };
    let drops = DropReason::ALL.map(|reason| {
        let n: u64 = shards.iter().filter_map(|c| c.drops.get(&reason)).sum();
        ([("reason", reason.label())], n as f64)
    });
    vec![
        counters(
            "plenum_packets_total",
            "RTP packets accepted from publishers (in) and sent to subscribers (out), without retransmissions.",
            both(|c| c.packets_in, |c| c.packets_out),
        ),
        counters(
            "plenum_payload_bytes_total",
            "RTP payload accepted from publishers (in) and sent to subscribers (out).",
            both(|c| c.bytes_in, |c| c.bytes_out),
        ),
        counter(
            "plenum_datagrams_queued_total",
            "Datagrams of all kinds that engines handed over for sending.",
            sum(|c| c.datagrams_out),
        ),
        counters(
            "plenum_data_messages_total",
            "Messages that clients sent on data channels (in) and were sent (out).",
            [
                ([("direction", "in")], sum(|c| c.data_messages_in)),
                ([("direction", "out")], sum(|c| c.data_messages_out)),
            ],
        ),
        counters(
            "plenum_drops_total",
            "What engines threw away, by reason.",
            drops,
        ),
        counters(
            "plenum_keyframe_requests_total",
            "PLI and FIR received from subscribers (in) and sent to publishers (out).",
            [
                ([("direction", "in")], sum(|c| c.keyframe_requests_in)),
                ([("direction", "out")], sum(|c| c.keyframe_requests_out)),
            ],
        ),
        counter(
            "plenum_nacked_packets_total",
            "Packets that subscribers asked for again.",
            sum(|c| c.nacked_packets_in),
        ),
        counter(
            "plenum_rtx_packets_total",
            "Retransmissions sent to subscribers.",
            sum(|c| c.rtx_packets_out),
        ),
        counter(
            "plenum_probe_packets_total",
            "Packets sent to subscribers only to learn what their paths carry.",
            sum(|c| c.probe_packets_out),
        ),
        counter(
            "plenum_starved_slots_total",
            "Slots paused because their subscriber's path has no room for them.",
            sum(|c| c.starved_slots),
        ),
    ]
}

/// How long things took.
fn duration_families(shards: &[Counters], join_http: Histogram) -> Vec<MetricFamily> {
    let merged = |read: fn(&Counters) -> &Histogram| {
        let mut all = Histogram::default();
        for shard in shards {
            all.merge(read(shard));
        }
        all
    };
    vec![
        histograms(
            "plenum_join_seconds",
            "Time from a session's offer to its answer (http), ICE, DTLS, and first media packet.",
            [
                ([("stage", "http")], join_http),
                ([("stage", "ice")], merged(|c| &c.join_ice)),
                ([("stage", "dtls")], merged(|c| &c.join_dtls)),
                ([("stage", "media")], merged(|c| &c.join_media)),
            ],
        ),
        histogram(
            "plenum_forward_delay_seconds",
            "Time from a packet's reception by the kernel to the hand-over of its copies.",
            merged(|c| &c.forward_delay),
        ),
        histogram(
            "plenum_keyframe_wait_seconds",
            "Time from a slot's binding to the first keyframe in it.",
            merged(|c| &c.keyframe_wait),
        ),
    ]
}

/// The shards' threads.
fn thread_families(threads: &[Thread]) -> Vec<MetricFamily> {
    let each = |read: fn(&Thread) -> f64| {
        let numbered = threads.iter().enumerate();
        numbered.map(move |(shard, thread)| ([("shard", shard.to_string())], read(thread)))
    };
    let merged = |read: fn(&Load) -> &Histogram| {
        let mut all = Histogram::default();
        threads
            .iter()
            .for_each(|thread| all.merge(read(&thread.load)));
        all
    };
    vec![
        counters(
            "plenum_shard_busy_seconds_total",
            "Time that a shard's thread was awake.",
            each(|thread| thread.load.busy.as_secs_f64()),
        ),
        counters(
            "plenum_shard_wake_ups_total",
            "Times that a shard's thread woke up.",
            each(|thread| thread.load.wake_ups as f64),
        ),
        gauges(
            "plenum_shard_queued_commands",
            "Commands that wait for a shard.",
            each(|thread| thread.queued_commands as f64),
        ),
        gauges(
            "plenum_shard_queued_batches",
            "Batches of datagrams that wait for a shard.",
            each(|thread| thread.queued_batches as f64),
        ),
        histogram(
            "plenum_shard_timer_lag_seconds",
            "How late shards served their timers.",
            merged(|load| &load.timer_lag),
        ),
        histogram(
            "plenum_shard_turnaround_seconds",
            "Time from a datagram's reception by the kernel until all that it caused was sent.",
            merged(|load| &load.turnaround),
        ),
    ]
}

/// A number of all shards together, for audio and for video.
fn per_kind(shards: &[Counters], read: fn(&Counters) -> PerKind) -> [(&'static str, f64); 2] {
    let audio: u64 = shards.iter().map(|shard| read(shard).audio).sum();
    let video: u64 = shards.iter().map(|shard| read(shard).video).sum();
    [("audio", audio as f64), ("video", video as f64)]
}

const CLOSE_REASONS: [CloseReason; 11] = [
    CloseReason::Left,
    CloseReason::ClosedByPeer,
    CloseReason::Vanished,
    CloseReason::NeverConnected,
    CloseReason::Resumed,
    CloseReason::Expired,
    CloseReason::Removed,
    CloseReason::RoomEnded,
    CloseReason::Moved,
    CloseReason::Shutdown,
    CloseReason::Failed,
];

fn close_label(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Left => "left",
        CloseReason::ClosedByPeer => "closed_by_peer",
        CloseReason::Vanished => "vanished",
        CloseReason::NeverConnected => "never_connected",
        CloseReason::Resumed => "resumed",
        CloseReason::Expired => "expired",
        CloseReason::Removed => "removed",
        CloseReason::RoomEnded => "room_ended",
        CloseReason::Moved => "moved",
        CloseReason::Shutdown => "shutdown",
        CloseReason::Failed => "failed",
    }
}
