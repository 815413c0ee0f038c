//! The estimator on paths of all kinds, in virtual time.
//!
//! `cargo test --test simulation` runs every path on a few seeds and holds the results against
//! their bounds. `FIRST_SEED=1001 SEEDS=100 cargo test --test simulation -- --nocapture` prints what
//! the table of `docs/estimation.md` is made of.

mod busy;
mod flow;
mod link;
mod measure;
mod picture;
mod plans;
mod receiver;
mod seen;
mod shared;
mod tcp;
mod world;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use plans::{Case, cases};

/// Seeds per path where nothing else is asked for, and of those that many share or that last for minutes: the
/// whole is to take no longer than an ordinary test.
const SEEDS: u64 = 2;
const SEEDS_OF_MANY: u64 = 1;

#[test]
fn pictures_stay_as_good_as_the_path_allows() {
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    let first = std::env::var("FIRST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let first: u64 = first.unwrap_or(1);
    let only = std::env::var("PATH_NAMED").unwrap_or_default();
    let mut report = String::new();
    let mut faults = 0;
    for case in cases() {
        if case.plan.name.contains(&only) {
            let is_one = case.plan.flows.len() + case.plan.tcp.len() == 1;
            let few = if is_one { SEEDS } else { SEEDS_OF_MANY };
            faults += hold_against_bounds(&case, (first, seeds.unwrap_or(few)), &mut report);
        }
    }
    // By hand, as the lints keep `println!` out of what is not a tool.
    let _ = std::io::stdout().write_all(report.as_bytes());
    assert_eq!(faults, 0, "numbers out of bounds: see the table above");
}

/// Runs a case on so many seeds from the first on; appends its rows, and says how many are out of bounds.
fn hold_against_bounds(case: &Case, (first, seeds): (u64, u64), report: &mut String) -> usize {
    let start = some_moment();
    let mut values = vec![Vec::new(); case.goals.len()];
    // Two at a time: virtual time needs nothing but processors.
    let runs: Vec<(u64, Vec<f64>)> = std::thread::scope(|scope| {
        let seeds: Vec<u64> = (first..first + seeds).collect();
        let halves = seeds.chunks(seeds.len().div_ceil(2)).map(<[u64]>::to_vec);
        let workers: Vec<_> = halves
            .map(|seeds| scope.spawn(move || measure_seeds(case, &seeds, start)))
            .collect();
        let done = workers.into_iter();
        done.flat_map(|worker| worker.join().expect("a run does not panic"))
            .collect()
    });
    for (seed, measured) in runs {
        for (value, values) in measured.into_iter().zip(&mut values) {
            values.push((value, seed));
        }
    }
    let mut faults = 0;
    for (goal, mut values) in case.goals.iter().zip(values) {
        values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let (low, high) = (values[0], values[values.len() - 1]);
        let median = values[values.len() / 2].0;
        let is_kept = low.0 >= goal.bounds.0 && high.0 <= goal.bounds.1;
        faults += usize::from(!is_kept);
        let _ = writeln!(
            report,
            "| {} | {} | {median:.2} | {:.2} (seed {}) | {:.2} (seed {}) | {}..{} {} | {} |",
            case.plan.name,
            goal.name,
            low.0,
            low.1,
            high.0,
            high.1,
            goal.bounds.0,
            goal.bounds.1,
            goal.unit,
            if is_kept { "kept" } else { "MISSED" },
        );
    }
    faults
}

/// Runs a case on these seeds, and measures each run by the case's goals.
fn measure_seeds(case: &Case, seeds: &[u64], start: Instant) -> Vec<(u64, Vec<f64>)> {
    let measure = |seed: &u64| {
        let run = world::run(&case.plan, *seed, start);
        if std::env::var_os("TRACE").is_some() {
            trace(&run);
        }
        let goals = case.goals.iter();
        (*seed, goals.map(|goal| (goal.measure)(&run)).collect())
    };
    seeds.iter().map(measure).collect()
}

/// A moment for virtual time to count from.
#[expect(clippy::disallowed_methods, reason = "tests have to start somewhere")]
fn some_moment() -> Instant {
    Instant::now()
}

/// One line per quarter of a second, to look into a run.
fn trace(run: &world::Run) {
    let mut lines = String::new();
    for five in run.samples.chunks(5) {
        let (last, span) = (five[five.len() - 1], five.len() as u64 * 50);
        let sent: u64 = five.iter().map(|sample| sample.sent_bytes).sum();
        let arrived: u64 = five.iter().map(|sample| sample.arrived_bytes).sum();
        let from = five[0].ms;
        let queue = measure::queue_ms(run, (from, from + span), 0.5);
        let _ = writeln!(
            lines,
            "{:>6} ms: capacity {:>5} estimate {:>5} sent {:>5} arrived {:>5} kbit/s, queue {queue:>5.1} ms, layer {}",
            last.ms,
            last.capacity / 1_000,
            last.estimate / 1_000,
            sent * 8 / span,
            arrived * 8 / span,
            last.layer,
        );
    }
    let _ = std::io::stdout().write_all(lines.as_bytes());
}
