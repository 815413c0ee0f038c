//! What the server exports about itself: every name, its unit and its help, once.
//!
//! Names have the prefix `plenum_` and base units (seconds, bytes); counters end in `_total`.
//! Labels take few values that we choose: never a room, participant, address or raw path.
//! The engines count plain numbers, which are read when somebody scrapes; only HTTP, which has
//! no engine of its own, counts here. `docs/operations.md` lists all of them, and a test
//! compares.

mod family;
mod http;
mod openmetrics;
mod sockets;
mod turn;
mod webhooks;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use prometheus::proto::MetricFamily;
use prometheus::{TEXT_FORMAT, TextEncoder};

pub use self::http::HttpMetrics;
use crate::engine::codec::Unreadable;
use crate::engine::counters::{Counters, DropReason, Histogram, PerKind};
use crate::engine::estimate::PathState;
use crate::engine::event::CloseReason;
use crate::net::{Connections, NetCounters};
use crate::shard::{Load, ShardHandle, Shards};
use crate::turn::Counters as TurnCounters;
use crate::webhooks::Counters as WebhookCounters;
use family::{counter, counters, gauge, gauges, histogram, histograms};
use webhooks::webhook_families;

/// What threads and socket have counted, at the time of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The shards' threads, in the order of their numbers.
    pub threads: Vec<Thread>,
    /// The UDP socket.
    pub net: Arc<NetCounters>,
    /// Datagrams that the kernel threw away because its receive buffer was full.
    pub kernel_drops: u64,
    /// Lines that the log lost.
    pub log: LostLines,
    /// The TCP connections, where there can be any.
    pub tcp: Option<Connections>,
    /// The relay; all zeros where there is none.
    pub turn: Arc<TurnCounters>,
    /// Webhooks.
    pub webhooks: Arc<WebhookCounters>,
}

/// Lines of the log that nobody sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct LostLines {
    /// One place wrote too many of them in a second.
    pub repeated: u64,
    /// Whoever reads the log did not keep up.
    pub unread: u64,
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
    /// Reads the shards, their socket, the log's losses, the relay, and webhooks.
    pub fn of(
        shards: &Shards,
        log: LostLines,
        turn: &Arc<TurnCounters>,
        webhooks: &Arc<WebhookCounters>,
    ) -> Self {
        let thread = |shard: &ShardHandle| Thread {
            load: shard.load(),
            queued_commands: shard.queued_commands(),
            queued_batches: shard.queued_batches(),
        };
        Self {
            threads: shards.all().iter().map(thread).collect(),
            net: shards.socket().counters().clone(),
            kernel_drops: shards.socket().kernel_drops().unwrap_or(0),
            log,
            tcp: shards.connections().cloned(),
            turn: Arc::clone(turn),
            webhooks: Arc::clone(webhooks),
        }
    }
}

/// Takes a reading.
pub type Source = Box<dyn Fn() -> Reading + Send + Sync>;

/// How a scraper wants it written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, 0.0.4.
    Prometheus,
    /// OpenMetrics, 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format for a request with this `Accept`.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The content type of what [`Metrics::encode`] gives.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => TEXT_FORMAT,
            Self::OpenMetrics => openmetrics::CONTENT_TYPE,
        }
    }
}

/// Everything exported: HTTP's own counters, and where the others are read.
pub struct Metrics {
    http: HttpMetrics,
    source: OnceLock<Source>,
}

impl Metrics {
    /// Nothing is counted yet.
    ///
    /// # Panics
    /// Never: the names below are valid and differ from each other, which tests check.
    pub fn new() -> Self {
        Self {
            http: HttpMetrics::new(),
            source: OnceLock::new(),
        }
    }

    /// Says where threads and socket are read. The first call counts.
    pub fn set_source(&self, source: Source) {
        let _ = self.source.set(source);
    }

    /// Everything. `unanswered` is how many of the shards did not answer in time: their part of
    /// `shards` is older.
    pub fn encode(&self, shards: &[Counters], unanswered: usize, format: Format) -> String {
        let mut families = self.http.gather();
        families.extend(state_families(shards, unanswered));
        families.extend(path_families(shards));
        families.extend(session_families(shards));
        families.extend(traffic_families(shards));
        families.extend(repair_families(shards));
        families.extend(duration_families(shards, self.http.join()));
        let reading = self.source.get().map(|read| read()).unwrap_or_default();
        families.extend(thread_families(&reading.threads));
        families.extend(sockets::udp(&reading.net, reading.kernel_drops));
        families.extend(sockets::tcp(reading.tcp.as_ref()));
        families.extend(turn::families(&reading.turn));
        families.extend(webhook_families(&reading.webhooks));
        families.push(log_family(reading.log));
        // What has no samples yet has no place in the format.
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = String::new();
        TextEncoder::new()
            .encode_utf8(&families, &mut text)
            .expect("families have names and samples");
        match format {
            Format::Prometheus => text,
            Format::OpenMetrics => openmetrics::of(&text),
        }
    }
}

impl Deref for Metrics {
    type Target = HttpMetrics;

    fn deref(&self) -> &HttpMetrics {
        &self.http
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What there is at this moment.
fn state_families(shards: &[Counters], unanswered: usize) -> Vec<MetricFamily> {
    let sum = |read: fn(&Counters) -> u64| shards.iter().map(read).sum::<u64>() as f64;
    let kinds = |read: fn(&Counters) -> PerKind| {
        per_kind(shards, read).map(|(kind, n)| ([("kind", kind)], n))
    };
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
    ]
}

/// What the ways to receivers are like at this moment.
fn path_families(shards: &[Counters]) -> Vec<MetricFamily> {
    let sum = |read: fn(&Counters) -> u64| shards.iter().map(read).sum::<u64>() as f64;
    let paths = PathState::ALL.map(|state| {
        let n: u64 = shards.iter().filter_map(|c| c.paths.get(&state)).sum();
        ([("state", state.label())], n as f64)
    });
    vec![
        gauges(
            "plenum_paths",
            "Ways to receivers that report what arrives, by state.",
            paths,
        ),
        gauge(
            "plenum_path_estimate_bytes_per_second",
            "What these ways are believed to carry, all together.",
            sum(|c| c.estimate_bps) / 8.0,
        ),
        gauge(
            "plenum_path_target_bytes_per_second",
            "What may be sent on them now: less than the estimate while queues are emptied.",
            sum(|c| c.target_bps) / 8.0,
        ),
        gauge(
            "plenum_path_allocated_bytes_per_second",
            "What the layers cost that were chosen for them.",
            sum(|c| c.allocated_bps) / 8.0,
        ),
        counter(
            "plenum_path_overloads_total",
            "Times that a receiver's path was seen to be overloaded.",
            sum(|c| c.overloads),
        ),
    ]
}

/// Sessions that came and went.
fn session_families(shards: &[Counters]) -> Vec<MetricFamily> {
    let sum = |read: fn(&Counters) -> u64| shards.iter().map(read).sum::<u64>() as f64;
    let closed = CloseReason::ALL.map(|reason| {
        let all = shards.iter();
        let n: u64 = all.filter_map(|c| c.sessions_closed.get(&reason)).sum();
        ([("reason", reason.label())], n as f64)
    });
    vec![
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
    ]
}

/// What receivers asked for, and what was sent to them besides.
fn repair_families(shards: &[Counters]) -> Vec<MetricFamily> {
    let sum = |read: fn(&Counters) -> u64| shards.iter().map(read).sum::<u64>() as f64;
    vec![
        counters(
            "plenum_keyframe_requests_total",
            "PLI and FIR received from subscribers (in), of these ignored, and sent to publishers (out).",
            [
                (
                    [("direction", "ignored")],
                    sum(|c| c.keyframe_requests_ignored),
                ),
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
        counter(
            "plenum_cut_slots_total",
            "Pictures cut off until their next keyframe, as too much waited for a narrow path.",
            sum(|c| c.cut_slots),
        ),
        counter(
            "plenum_red_recovered_packets_total",
            "Audio packets that were lost on their way here and taken from later ones.",
            sum(|c| c.red_recovered),
        ),
        counters(
            "plenum_unread_descriptors_total",
            "Dependency descriptors of publishers that were of no use, by reason.",
            Unreadable::ALL.map(|reason| {
                let of_it = shards
                    .iter()
                    .filter_map(|c| c.unread_descriptors.get(&reason));
                ([("reason", reason.label())], of_it.sum::<u64>() as f64)
            }),
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
        histogram(
            "plenum_path_queue_seconds",
            "The queue that stood on a receiver's path when its layers were chosen, twice a second.",
            merged(|c| &c.path_queue),
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

/// The log.
fn log_family(log: LostLines) -> MetricFamily {
    counters(
        "plenum_log_lines_lost_total",
        "Lines of the log that were left out, by reason.",
        [
            ([("reason", "repeated")], log.repeated as f64),
            ([("reason", "unread")], log.unread as f64),
        ],
    )
}

/// A number of all shards together, for audio and for video.
fn per_kind(shards: &[Counters], read: fn(&Counters) -> PerKind) -> [(&'static str, f64); 2] {
    let audio: u64 = shards.iter().map(|shard| read(shard).audio).sum();
    let video: u64 = shards.iter().map(|shard| read(shard).video).sum();
    [("audio", audio as f64), ("video", video as f64)]
}
