//! Metric families out of plain numbers.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::engine::counters::{self, BUCKETS_US};

/// Microseconds of a second.
const US_PER_SECOND: f64 = 1e6;

/// One sample's labels.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A number that goes up and down.
pub(super) fn gauge(name: &str, help: &str, value: u64) -> MetricFamily {
    gauges(name, help, [([], value)])
}

/// Numbers that go up and down, told apart by labels.
pub(super) fn gauges<const N: usize>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<N>, u64)>,
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(value as f64);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

/// Numbers that only grow.
pub(super) fn counters<const N: usize>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<N>, u64)>,
) -> MetricFamily {
    let metrics = samples.into_iter().map(|(labels, value)| {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

/// Durations, in seconds.
pub(super) fn histograms<const N: usize>(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<N>, counters::Histogram)>,
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

fn labelled<const N: usize>(labels: Labels<N>) -> Metric {
    let pairs = labels.map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
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
