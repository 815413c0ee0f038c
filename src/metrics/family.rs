//! Metric families out of plain numbers.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::engine::counters::{self, BUCKETS_US};

/// Microseconds of a second.
const US_PER_SECOND: f64 = 1e6;

/// One sample's labels: names, and values of type `V`.
type Labels<V, const N: usize> = [(&'static str, V); N];

/// A sample without labels.
const UNLABELLED: Labels<&str, 0> = [];

/// A number that goes up and down.
pub(super) fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    gauges(name, help, [(UNLABELLED, value)])
}

/// Numbers that go up and down, told apart by labels.
pub(super) fn gauges<V: Into<String>, const N: usize>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<V, N>, f64)>,
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

/// A number that only grows.
pub(super) fn counter(name: &str, help: &str, value: f64) -> MetricFamily {
    counters(name, help, [(UNLABELLED, value)])
}

/// Numbers that only grow, told apart by labels.
pub(super) fn counters<V: Into<String>, const N: usize>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<V, N>, f64)>,
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(labels, value)| {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

/// Durations, in seconds.
pub(super) fn histogram(name: &str, help: &str, counted: counters::Histogram) -> MetricFamily {
    histograms(name, help, [(UNLABELLED, counted)])
}

/// Durations, in seconds, told apart by labels.
pub(super) fn histograms<V: Into<String>, const N: usize>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<V, N>, counters::Histogram)>,
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(labels, counted)| {
        let mut metric = labelled(labels);
        metric.set_histogram(cumulative(&counted));
        metric
    });
    family(name, help, MetricType::HISTOGRAM, metrics.collect())
}

/// Prometheus counts everything below a bound, the engine what lies between two.
fn cumulative(counted: &counters::Histogram) -> Histogram {
    let mut below = 0;
    let buckets = BUCKETS_US
        .iter()
        .zip(counted.buckets)
        .map(|(&bound_us, n)| {
            below += n;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound_us as f64 / US_PER_SECOND);
            bucket.set_cumulative_count(below);
            bucket
        });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counted.count());
    histogram.set_sample_sum(counted.sum_us as f64 / US_PER_SECOND);
    histogram
}

fn labelled<V: Into<String>, const N: usize>(labels: Labels<V, N>) -> Metric {
    let pairs = labels.map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.into());
        pair
    });
    Metric::from_label(pairs.to_vec())
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
