//! Paths that are not one receiver's alone (RFC 8867 §5.2 to §5.8): other receivers, downloads, and
//! a way back that is full. Bounds that are wider than the goals of `docs/estimation.md` keep what there is
//! from getting worse.

use crate::link::LinkPlan;
use crate::measure::*;
use crate::plans::{Case, goal};
use crate::tcp::TcpPlan;
use crate::world::{FlowPlan, Plan};

pub(crate) fn shared_paths() -> Vec<Case> {
    vec![
        two_flows(),
        congested_feedback(),
        three_flows(),
        round_trips(),
        long_download("RFC 8867 5.6, a download, queue 300 ms", 300_000),
        long_download("RFC 8867 5.6, a download, queue 1 s", 1_000_000),
        short_downloads(),
        pause(),
    ]
}

fn link(capacity: &[(u64, u64)]) -> LinkPlan {
    LinkPlan {
        jitter_us: 10_000,
        ..LinkPlan::changing(capacity)
    }
}

/// RFC 8867 §5.2: two flows, and a capacity that changes.
fn two_flows() -> Case {
    let link = link(&[
        (0, 4_000_000),
        (25_000, 2_000_000),
        (50_000, 3_500_000),
        (75_000, 1_000_000),
        (100_000, 2_000_000),
    ]);
    let phases = [5_000, 30_000, 58_000, 80_000, 108_000]
        .into_iter()
        .zip([25_000, 50_000, 75_000, 100_000, 125_000]);
    let mut goals: Vec<_> = phases
        .clone()
        .zip(["4.0", "2.0", "3.5", "1.0", "2.0 again"])
        .map(|(span, name)| {
            let name: &'static str = Box::leak(format!("utilisation {name}").into_boxed_str());
            goal(name, "%", (80.0, 100.5), move |run| {
                utilisation_by_all(run, span)
            })
        })
        .collect();
    goals.push(goal("fairness", "%", (75.0, 100.0), |run| {
        fairness(run, &[0, 1], (10_000, 125_000))
    }));
    goals.push(goal("queue p95", "ms", (0.0, 130.0), |run| {
        queue_ms(run, (5_000, 125_000), 0.95)
    }));
    Case {
        plan: Plan::new("RFC 8867 5.2, two flows", link, 125).with_flows(|_, _| {}, 2),
        goals,
    }
}

/// RFC 8867 §5.3: media both ways, and each one's feedback in the queue of the other's media.
fn congested_feedback() -> Case {
    let forward = link(&[
        (0, 2_000_000),
        (20_000, 1_000_000),
        (40_000, 500_000),
        (60_000, 2_000_000),
    ]);
    let back = link(&[(0, 2_000_000), (35_000, 800_000), (70_000, 2_000_000)]);
    let directions = |n: usize, flow: &mut FlowPlan| flow.is_backward = n == 1;
    let mut plan =
        Plan::new("RFC 8867 5.3, feedback congested", forward, 100).with_flows(directions, 2);
    plan.back = Some(back);
    Case {
        plan,
        goals: vec![
            goal("utilisation 2.0", "%", (80.0, 100.5), |run| {
                utilisation(run, (5_000, 20_000))
            }),
            goal("utilisation 1.0", "%", (80.0, 100.5), |run| {
                utilisation(run, (25_000, 40_000))
            }),
            goal("utilisation 0.5", "%", (80.0, 100.5), |run| {
                utilisation(run, (45_000, 60_000))
            }),
            goal("utilisation 2.0 again", "%", (80.0, 100.5), |run| {
                utilisation(run, (68_000, 100_000))
            }),
            goal("queue p95", "ms", (0.0, 130.0), |run| {
                queue_ms(run, (5_000, 100_000), 0.95)
            }),
        ],
    }
}

/// RFC 8867 §5.4: three flows that begin one after the other.
fn three_flows() -> Case {
    let starts = |n: usize, flow: &mut FlowPlan| flow.start_ms = n as u64 * 20_000;
    Case {
        plan: Plan::new("RFC 8867 5.4, three flows", link(&[(0, 3_500_000)]), 120)
            .with_flows(starts, 3),
        goals: vec![
            goal("utilisation", "%", (85.0, 100.5), |run| {
                utilisation_by_all(run, (60_000, 120_000))
            }),
            goal("fairness of the last minute", "%", (60.0, 100.0), |run| {
                fairness(run, &[0, 1, 2], (60_000, 120_000))
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (10_000, 120_000), 0.95)
            }),
        ],
    }
}

/// RFC 8867 §5.5: five flows to receivers that are near and far.
fn round_trips() -> Case {
    const ONE_WAY_MS: [u64; 5] = [10, 25, 50, 100, 150];
    let mut link = link(&[(0, 4_000_000)]);
    link.one_way_us = ONE_WAY_MS[0] * 1_000;
    let farther = |n: usize, flow: &mut FlowPlan| {
        flow.start_ms = n as u64 * 10_000;
        flow.farther_us = (ONE_WAY_MS[n] - ONE_WAY_MS[0]) * 1_000;
    };
    Case {
        plan: Plan::new("RFC 8867 5.5, near and far", link, 300).with_flows(farther, 5),
        goals: vec![
            goal("utilisation", "%", (85.0, 100.5), |run| {
                utilisation_by_all(run, (100_000, 300_000))
            }),
            goal("most / least", "x", (1.0, 8.0), |run| {
                spread(run, (100_000, 300_000))
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (100_000, 300_000), 0.95)
            }),
        ],
    }
}

/// RFC 8867 §5.6: a download that never ends.
fn long_download(name: &'static str, queue_us: u64) -> Case {
    let mut link = link(&[(0, 2_000_000)]);
    link.queue_us = queue_us;
    let mut plan = Plan::new(name, link, 120);
    plan.tcp = vec![TcpPlan {
        start_ms: 10_000,
        short: None,
    }];
    Case {
        plan,
        goals: vec![
            goal("share of media", "%", (2.0, 75.0), |run| {
                utilisation(run, (30_000, 120_000))
            }),
            goal("share of the download", "%", (20.0, 98.0), |run| {
                tcp_share(run, (30_000, 120_000))
            }),
        ],
    }
}

/// RFC 8867 §5.7: ten who load pages.
fn short_downloads() -> Case {
    let mut plan = Plan::new("RFC 8867 5.7, ten who browse", link(&[(0, 2_000_000)]), 300);
    plan.tcp = (0..10)
        .map(|n| TcpPlan {
            start_ms: 5_000 + n * 700,
            short: Some(((30_000, 300_000), 10_000)),
        })
        .collect();
    Case {
        plan,
        goals: vec![
            goal("share of media", "%", (2.0, 75.0), |run| {
                utilisation(run, (20_000, 300_000))
            }),
            goal("frozen", "%", (0.0, 45.0), |run| {
                frozen(run, (20_000, 300_000))
            }),
        ],
    }
}

/// RFC 8867 §5.8: three flows, one of which pauses.
fn pause() -> Case {
    let pauses = |n: usize, flow: &mut FlowPlan| {
        flow.mute = (n == 0).then_some((40_000, 60_000));
    };
    Case {
        plan: Plan::new("RFC 8867 5.8, one pauses", link(&[(0, 3_500_000)]), 120)
            .with_flows(pauses, 3),
        goals: vec![
            goal("utilisation in the pause", "%", (85.0, 100.5), |run| {
                utilisation_by_all(run, (50_000, 60_000))
            }),
            goal("fairness at the end", "%", (60.0, 100.0), |run| {
                fairness(run, &[0, 1, 2], (90_000, 120_000))
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (10_000, 120_000), 0.95)
            }),
        ],
    }
}
