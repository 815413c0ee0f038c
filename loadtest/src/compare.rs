//! Two servers in turn, several times: what one costs and delays, as a multiple of the other.
//!
//! Machines change their speed from minute to minute, more than servers differ; so each pair is measured back to
//! back, its order alternates, and only ratios within a pair are compared.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use serde::Serialize;

use crate::{
    report::{RunReport, Spread},
    run::{self, RunError},
    settings::CompareSettings,
};

/// One measure of both servers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    /// Medians over the pairs.
    pub(crate) a: f64,
    pub(crate) b: f64,
    /// A as a multiple of B, pair by pair: smallest, median, largest.
    pub(crate) ratio: [f64; 3],
    pub(crate) pairs: usize,
}

/// The whole comparison.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) measures: Vec<Measure>,
    /// Runs of A and of B.
    pub(crate) runs: Vec<[RunReport; 2]>,
    pub(crate) broken_limits: Vec<String>,
}

type Reading = fn(&RunReport) -> Option<f64>;

/// The 95th percentile of what at least one client reached.
fn p95(spread: &Spread) -> Option<f64> {
    (spread.count > 0).then_some(spread.p95)
}

const MEASURES: [(&str, Reading); 9] = [
    ("server CPU, ns per packet", |run| {
        run.server?.cpu_ns_per_packet
    }),
    ("server memory, KiB per client", |run| {
        Some(run.server?.rss_bytes_per_client? / 1024.0)
    }),
    ("one-way delay p50, ms", |run| run.totals.delay.p50_ms),
    ("one-way delay p99, ms", |run| run.totals.delay.p99_ms),
    ("first packet p95, ms", |run| {
        p95(&run.totals.first_packet_ms)
    }),
    ("first keyframe p95, ms", |run| {
        p95(&run.totals.first_keyframe_ms)
    }),
    ("packets per second", |run| {
        Some(run.totals.packets_per_second)
    }),
    ("lost after recovery, percent", |run| {
        Some(run.totals.lost_percent)
    }),
    ("freezes", |run| Some(run.totals.freezes as f64)),
];

/// Runs all pairs.
pub(crate) fn compare(
    settings: &CompareSettings,
    stop: &Arc<AtomicBool>,
) -> Result<Comparison, RunError> {
    let mut runs = Vec::new();
    for pair in 0..settings.pairs.max(1) {
        let mut found: [Option<RunReport>; 2] = [None, None];
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let [a, b] = settings.plans();
            let mut options = settings.common.options();
            options.meter.pid = if side == 0 {
                settings.a_pid
            } else {
                settings.b_pid
            };
            let mut report = run::run(if side == 0 { a } else { b }, &options, stop)?;
            report.broken_limits = settings.common.limits.broken_by(&report);
            found[side] = Some(report);
        }
        if let [Some(a), Some(b)] = found {
            runs.push([a, b]);
        }
    }
    let measures = MEASURES
        .iter()
        .filter_map(|(name, reading)| Measure::of(name, *reading, &runs))
        .collect();
    let broken = |(side, name): (usize, &str)| {
        let found: Vec<String> = runs
            .iter()
            .enumerate()
            .flat_map(|(pair, runs)| {
                runs[side]
                    .broken_limits
                    .iter()
                    .map(move |limit| (pair, limit))
            })
            .map(|(pair, limit)| format!("{name}, pair {}: {limit}", pair + 1))
            .collect();
        found
    };
    let broken_limits = [(0, "A"), (1, "B")].into_iter().flat_map(broken).collect();
    Ok(Comparison {
        measures,
        broken_limits,
        runs,
    })
}

impl Measure {
    fn of(name: &'static str, reading: Reading, runs: &[[RunReport; 2]]) -> Option<Self> {
        let pairs: Vec<(f64, f64)> = runs
            .iter()
            .filter_map(|[a, b]| Some((reading(a)?, reading(b)?)))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let median = |values: &mut dyn Iterator<Item = f64>| Spread::of(values).p50;
        let mut ratios: Vec<f64> = pairs
            .iter()
            .filter(|(_, b)| *b != 0.0)
            .map(|(a, b)| a / b)
            .collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = match (ratios.first(), ratios.get(ratios.len() / 2), ratios.last()) {
            (Some(least), Some(middle), Some(most)) => [*least, *middle, *most],
            // Nothing can be a multiple of nothing: both medians say it all.
            _ => [f64::NAN; 3],
        };
        Some(Self {
            name,
            a: median(&mut pairs.iter().map(|pair| pair.0)),
            b: median(&mut pairs.iter().map(|pair| pair.1)),
            ratio,
            pairs: pairs.len(),
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:<32}{:>12}{:>12}   A / B: median (least to most)",
            "", "A", "B"
        )?;
        for measure in &self.measures {
            write!(
                f,
                "  {:<32}{:>12.2}{:>12.2}",
                measure.name, measure.a, measure.b
            )?;
            let [least, middle, most] = measure.ratio;
            if middle.is_nan() {
                writeln!(f, "   -")?;
            } else {
                writeln!(
                    f,
                    "   {middle:.2} ({least:.2} to {most:.2}), {} pairs",
                    measure.pairs
                )?;
            }
        }
        let doubts: usize = self
            .runs
            .iter()
            .flatten()
            .map(|run| run.load_test.warnings.len())
            .sum();
        if doubts > 0 {
            writeln!(
                f,
                "  DOUBT: in {doubts} cases the load test itself could not keep up; see --json"
            )?;
        }
        for limit in &self.broken_limits {
            writeln!(f, "  LIMIT BROKEN  {limit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_pairs() {
        let run = |speed: f64| {
            let mut report = RunReport::empty("test");
            report.totals.packets_per_second = speed;
            report
        };
        // The machine became twice as fast for the second pair: the ratio does not care.
        let runs = [
            [run(3.0), run(1.0)],
            [run(6.0), run(2.0)],
            [run(4.0), run(2.0)],
        ];
        let measure = Measure::of("speed", |run| Some(run.totals.packets_per_second), &runs)
            .expect("three pairs");
        assert_eq!(measure.ratio, [2.0, 3.0, 3.0]);
        assert_eq!((measure.a, measure.b), (4.0, 2.0));
    }
}
