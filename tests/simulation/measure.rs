//! What a run is judged by.

use crate::picture::FREEZE_MS;
use crate::world::{Run, Sample};

/// A stretch of a run, in milliseconds.
pub(crate) type Span = (u64, u64);

fn samples(run: &Run, (from, to): Span) -> impl Iterator<Item = &Sample> {
    run.samples
        .iter()
        .filter(move |sample| (from..to).contains(&sample.ms))
}

/// The part of the capacity that carried something, in percent.
pub(crate) fn utilisation(run: &Run, span: Span) -> f64 {
    let bits: u64 = samples(run, span)
        .map(|sample| sample.arrived_bytes * 8)
        .sum();
    let capacity: u64 = samples(run, span).map(|sample| sample.capacity / 20).sum();
    100.0 * bits as f64 / capacity as f64
}

/// How far the estimate is off the capacity, in percent: this quantile of all moments.
pub(crate) fn error(run: &Run, span: Span, quantile: f64) -> f64 {
    let errors = samples(run, span)
        .map(|sample| 100.0 * (sample.estimate as f64 / sample.capacity as f64 - 1.0));
    pick(errors.collect(), quantile)
}

/// The estimate in kbit/s: this quantile of all moments.
pub(crate) fn estimate_kbps(run: &Run, span: Span, quantile: f64) -> f64 {
    let estimates = samples(run, span).map(|sample| sample.estimate as f64 / 1e3);
    pick(estimates.collect(), quantile)
}

/// How long packets waited in the link's queue, in milliseconds: this quantile of all packets.
pub(crate) fn queue_ms(run: &Run, (from, to): Span, quantile: f64) -> f64 {
    let waits = run
        .waits_us
        .iter()
        .filter(|(ms, _)| (from..to).contains(ms))
        .map(|(_, us)| *us as f64 / 1e3);
    pick(waits.collect(), quantile)
}

/// The share of packets that overflowed the link's queue, in percent.
pub(crate) fn overflow(run: &Run, (from, to): Span) -> f64 {
    let within = |all: &[u64]| all.iter().filter(|ms| (from..to).contains(ms)).count() as f64;
    100.0 * within(&run.overflowed_ms) / within(&run.sent_ms).max(1.0)
}

/// How long it took from a moment until the estimate reached so many kbit/s, in seconds.
pub(crate) fn until_estimate(run: &Run, from: u64, kbps: u64) -> f64 {
    let reached = samples(run, (from, u64::MAX)).find(|sample| sample.estimate >= kbps * 1_000);
    reached.map_or(99.0, |sample| (sample.ms - from) as f64 / 1e3)
}

/// How long it took from a moment until what is sent in half a second stays below so many kbit/s for the
/// second after, in seconds.
pub(crate) fn until_sent_below(run: &Run, from: u64, kbps: u64) -> f64 {
    let all: Vec<&Sample> = samples(run, (from + 1, from + 10_000)).collect();
    // A sample tells of the 50 ms before it.
    let is_below = |window: &[&Sample]| {
        let bytes: u64 = window.iter().map(|sample| sample.sent_bytes).sum();
        bytes * 8 <= kbps * 50 * window.len() as u64
    };
    let mut at = 0;
    while at + 30 <= all.len() {
        let calm = (at..at + 20).all(|n| is_below(&all[n..n + 10]));
        if calm {
            return (all[at].ms - 50 - from) as f64 / 1e3;
        }
        at += 1;
    }
    99.0
}

/// How long it took from a moment until the queue that built up there was below this for 200 ms,
/// in seconds.
pub(crate) fn until_queue_below(run: &Run, from: u64, ms: u64) -> f64 {
    let mut last = from;
    for (at, us) in run.waits_us.iter().filter(|(at, _)| *at >= from) {
        if *us > ms * 1_000 {
            last = *at;
        } else if *at > last + 200 && last > from {
            break;
        }
    }
    (last - from) as f64 / 1e3
}

/// How long nothing more than sound arrived after a moment, in seconds.
pub(crate) fn until_arriving(run: &Run, from: u64, kbps: u64) -> f64 {
    let arriving =
        samples(run, (from + 1, u64::MAX)).find(|sample| sample.arrived_bytes * 8 > kbps * 50);
    arriving.map_or(99.0, |sample| (sample.ms - from) as f64 / 1e3)
}

/// How often the layer changed, and how often a change was taken back within five seconds.
pub(crate) fn layer_changes(run: &Run, span: Span) -> (f64, f64) {
    let layers: Vec<(u64, usize)> = samples(run, span).map(|s| (s.ms, s.layer)).collect();
    let mut changes: Vec<(u64, usize, usize)> = Vec::new();
    for pair in layers.windows(2) {
        if pair[0].1 != pair[1].1 {
            changes.push((pair[1].0, pair[0].1, pair[1].1));
        }
    }
    let reversals = changes
        .windows(2)
        .filter(|pair| pair[1].0 - pair[0].0 < 5_000 && pair[1].2 == pair[0].1)
        .count();
    (changes.len() as f64, reversals as f64)
}

/// The most cameras that were without room at once.
pub(crate) fn most_paused(run: &Run, span: Span) -> f64 {
    let paused = samples(run, span).map(|sample| sample.paused);
    paused.max().unwrap_or(0) as f64
}

/// How long until a layer flowed, in seconds.
pub(crate) fn until_layer(run: &Run, from: u64, layer: usize) -> f64 {
    let reached = samples(run, (from, u64::MAX)).find(|sample| sample.layer >= layer);
    reached.map_or(99.0, |sample| (sample.ms - from) as f64 / 1e3)
}

/// The share of padding in everything that was sent, in percent.
pub(crate) fn padding(run: &Run) -> f64 {
    let flow = &run.flows[0];
    100.0 * flow.padding_bytes as f64 / flow.total_bytes.max(1) as f64
}

/// Every gap between two frames that is seen as a freeze, in milliseconds, of all cameras of a flow; from the first
/// frame on, and with what is still missing at the end of the stretch.
fn freezes(run: &Run, (from, to): Span) -> Vec<u64> {
    let mut freezes = Vec::new();
    for picture in &run.flows[0].pictures {
        let shown = picture.shown_ms.iter().copied();
        let before = shown.clone().rfind(|at| *at < from);
        let within: Vec<u64> = before
            .map(|_| from)
            .into_iter()
            .chain(shown.filter(|at| (from..to).contains(at)))
            .chain([to])
            .collect();
        let gaps = within.windows(2).map(|pair| pair[1] - pair[0]);
        freezes.extend(gaps.filter(|gap| *gap > FREEZE_MS));
    }
    freezes
}

/// The longest freeze, in milliseconds.
pub(crate) fn longest_freeze(run: &Run, span: Span) -> f64 {
    freezes(run, span).into_iter().max().unwrap_or(0) as f64
}

/// The part of the time in which a picture stood, in percent.
pub(crate) fn frozen(run: &Run, span: Span) -> f64 {
    let time = (span.1 - span.0) * run.flows[0].pictures.len() as u64;
    100.0 * freezes(run, span).into_iter().sum::<u64>() as f64 / time as f64
}

/// The part of the sound that was lost, in percent.
pub(crate) fn sound_lost(run: &Run) -> f64 {
    let flow = &run.flows[0];
    100.0 * (1.0 - flow.audio_arrived as f64 / flow.audio_sent.max(1) as f64)
}

/// What arrived of a flow, in kbit/s.
pub(crate) fn arrived_kbps(run: &Run, flow: usize, (from, to): Span) -> f64 {
    let samples = run.flows[flow].samples.iter();
    let within = samples.filter(|sample| (from..to).contains(&sample.ms));
    let bytes: u64 = within.map(|sample| sample.arrived_bytes).sum();
    bytes as f64 * 8.0 / (to - from) as f64
}

/// How equal flows are: Jain's index of what arrives of them, in percent.
pub(crate) fn fairness(run: &Run, flows: &[usize], span: Span) -> f64 {
    let rates = flows.iter().map(|flow| arrived_kbps(run, *flow, span));
    let sum: f64 = rates.clone().sum();
    let squares: f64 = rates.map(|rate| rate * rate).sum();
    100.0 * sum * sum / (flows.len() as f64 * squares)
}

/// The largest rate of any flow as a multiple of the smallest.
pub(crate) fn spread(run: &Run, span: Span) -> f64 {
    let rates = (0..run.flows.len()).map(|flow| arrived_kbps(run, flow, span));
    let most = rates.clone().fold(0.0, f64::max);
    most / rates.fold(f64::MAX, f64::min).max(1.0)
}

/// What arrives of all flows together as a part of the capacity, in percent.
pub(crate) fn utilisation_by_all(run: &Run, span: Span) -> f64 {
    let all: f64 = (0..run.flows.len())
        .map(|flow| arrived_kbps(run, flow, span))
        .sum();
    let capacity: u64 = samples(run, span).map(|sample| sample.capacity).sum();
    let count = samples(run, span).count() as f64;
    100.0 * all / (capacity as f64 / 1e3 / count)
}

/// What downloads get, in percent of the capacity.
pub(crate) fn tcp_share(run: &Run, (from, to): Span) -> f64 {
    let at = |ms: u64| run.tcp_bytes[(ms / 1_000 - 1) as usize];
    let capacity = run.samples[0].capacity as f64;
    100.0 * (at(to) - at(from)) as f64 * 8e3 / (to - from) as f64 / capacity
}

fn pick(mut values: Vec<f64>, quantile: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * quantile) as usize]
}
