//! Metric families of webhooks.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::MetricFamily;

use super::family::{counter, counters, gauge};
use crate::webhooks::Counters;

/// What became of events that were to be posted.
pub(super) fn webhook_families(counted: &Counters) -> Vec<MetricFamily> {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    vec![
        counters(
            "plenum_webhooks_total",
            "Events that were answered with 2xx, given up, or thrown away since too many waited.",
            [
                ([("result", "delivered")], read(&counted.delivered)),
                ([("result", "failed")], read(&counted.failed)),
                ([("result", "dropped")], read(&counted.dropped)),
            ],
        ),
        counter(
            "plenum_webhook_retries_total",
            "Attempts to post an event after the first.",
            read(&counted.retries),
        ),
        gauge(
            "plenum_webhooks_waiting",
            "Events that are neither delivered nor given up.",
            read(&counted.waiting),
        ),
    ]
}
