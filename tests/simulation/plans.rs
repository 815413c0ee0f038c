//! The paths that an estimate has to prove itself on, and what is asked of it there.
//!
//! Bounds are two-sided where too much is a fault as well: an estimate that stands above the
//! capacity serves nobody. Bounds are the goals where seeds 1 to 20 keep them, and a little wider than the worst of those where not:
//! they keep what there is from getting worse. `docs/estimation.md` has the goals, and other seeds.

use crate::busy;
use crate::link::LinkPlan;
use crate::measure::*;
use crate::world::{Plan, Run, Source};
use crate::{seen, shared};

/// One number of a run, and the bounds it must keep.
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) bounds: (f64, f64),
    pub(crate) measure: Box<dyn Fn(&Run) -> f64 + Send + Sync>,
}

/// A plan with its goals.
pub(crate) struct Case {
    pub(crate) plan: Plan,
    pub(crate) goals: Vec<Goal>,
}

pub(crate) fn goal(
    name: &'static str,
    unit: &'static str,
    bounds: (f64, f64),
    measure: impl Fn(&Run) -> f64 + Send + Sync + 'static,
) -> Goal {
    Goal {
        name,
        unit,
        bounds,
        measure: Box::new(measure),
    }
}

/// What is asked of a path that stays as it is.
fn steady(span: Span, queue_p50: f64, queue_p95: f64) -> Vec<Goal> {
    vec![
        goal("utilisation", "%", (85.0, 100.5), move |run| {
            utilisation(run, span)
        }),
        goal("estimate error p5", "%", (-25.0, 5.0), move |run| {
            error(run, span, 0.05)
        }),
        goal("estimate error p95", "%", (-15.0, 7.0), move |run| {
            error(run, span, 0.95)
        }),
        goal("queue p50", "ms", (0.0, queue_p50), move |run| {
            queue_ms(run, span, 0.5)
        }),
        goal("queue p95", "ms", (0.0, queue_p95), move |run| {
            queue_ms(run, span, 0.95)
        }),
        goal("congestion loss", "%", (0.0, 0.5), move |run| {
            overflow(run, span)
        }),
    ]
}

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, bps) in [
        ("steady 300 kbit/s", 300_000),
        ("steady 1 Mbit/s", 1_000_000),
        ("steady 2.5 Mbit/s", 2_500_000),
        ("steady 10 Mbit/s", 10_000_000),
    ] {
        let mut goals = steady((5_000, 60_000), 30.0, 100.0);
        let eighty = bps * 8 / 10 / 1_000;
        goals.push(goal("start to 80 %", "s", (0.0, 3.0), move |run| {
            until_estimate(run, 0, eighty)
        }));
        cases.push(Case {
            plan: Plan::new(name, LinkPlan::steady(bps), 60),
            goals,
        });
    }
    cases.push(slow_feedback());
    cases.push(rfc8867());
    cases.push(drop_and_return());
    cases.extend(random_loss());
    cases.push(bursty_loss());
    cases.push(lost_feedback());
    cases.push(policed());
    cases.push(reordered());
    cases.push(duplicated());
    cases.extend(jitter());
    cases.extend(blackouts());
    cases.push(hidden_tab());
    cases.push(muted());
    cases.push(layered());
    cases.push(layered_recovery());
    cases.push(tiny());
    cases.extend(busy::busy_hosts());
    cases.extend(shared::shared_paths());
    cases.extend(seen::as_it_is_seen());
    cases
}

fn slow_feedback() -> Case {
    let mut plan = Plan::new(
        "steady 2.5 Mbit/s, feedback 100 ms",
        LinkPlan::steady(2_500_000),
        60,
    );
    plan.flow().feedback_ms = 100;
    Case {
        plan,
        goals: steady((5_000, 60_000), 30.0, 100.0),
    }
}

/// RFC 8867 §5.1.
fn rfc8867() -> Case {
    let mut link = LinkPlan::changing(&[
        (0, 1_000_000),
        (40_000, 2_500_000),
        (60_000, 600_000),
        (80_000, 1_000_000),
    ]);
    link.jitter_us = 30_000;
    Case {
        plan: Plan::new("RFC 8867 5.1, jitter 30 ms", link, 100),
        goals: vec![
            goal("utilisation 1.0", "%", (85.0, 100.5), |run| {
                utilisation(run, (5_000, 40_000))
            }),
            goal("utilisation 2.5", "%", (85.0, 100.5), |run| {
                utilisation(run, (48_000, 60_000))
            }),
            goal("utilisation 0.6", "%", (85.0, 100.5), |run| {
                utilisation(run, (65_000, 80_000))
            }),
            goal("utilisation 1.0 again", "%", (85.0, 100.5), |run| {
                utilisation(run, (88_000, 100_000))
            }),
            goal("queue p50", "ms", (0.0, 30.0), |run| {
                queue_ms(run, (5_000, 60_000), 0.5)
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (5_000, 60_000), 0.95)
            }),
            goal("1.0 to 2.5: 80 %", "s", (0.05, 12.0), |run| {
                until_estimate(run, 40_000, 2_000)
            }),
            goal("2.5 to 0.6: sent <= 1.1x", "s", (0.05, 2.0), |run| {
                until_sent_below(run, 60_000, 660)
            }),
            goal("0.6 to 1.0: 80 %", "s", (0.05, 12.0), |run| {
                until_estimate(run, 80_000, 800)
            }),
        ],
    }
}

/// F8.
fn drop_and_return() -> Case {
    let link = LinkPlan::changing(&[(0, 2_500_000), (30_000, 300_000), (60_000, 2_500_000)]);
    Case {
        plan: Plan::new("2.5 -> 0.3 -> 2.5 Mbit/s", link, 90),
        goals: vec![
            goal("start to 80 %", "s", (0.0, 3.0), |run| {
                until_estimate(run, 0, 2_000)
            }),
            goal("drop: sent <= 1.1x", "s", (0.05, 1.3), |run| {
                until_sent_below(run, 30_000, 330)
            }),
            goal("drop: queue < 50 ms", "s", (0.05, 2.0), |run| {
                until_queue_below(run, 30_000, 50)
            }),
            goal("drop: loss in 3 s", "%", (5.0, 37.0), |run| {
                overflow(run, (30_000, 33_000))
            }),
            goal("low: utilisation", "%", (85.0, 100.5), |run| {
                utilisation(run, (35_000, 60_000))
            }),
            goal("low: queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (35_000, 60_000), 0.95)
            }),
            goal("return to 80 %", "s", (0.05, 8.0), |run| {
                until_estimate(run, 60_000, 2_000)
            }),
            goal("after: utilisation", "%", (85.0, 100.5), |run| {
                utilisation(run, (68_000, 90_000))
            }),
        ],
    }
}

/// F1 and F2: losses that are nobody's fault.
fn random_loss() -> Vec<Case> {
    [
        ("loss 1 %", 0.01, 90.0),
        ("loss 5 %", 0.05, 80.0),
        ("loss 10 %", 0.10, 60.0),
        ("loss 30 %", 0.30, 30.0),
    ]
    .map(|(name, loss, kept)| {
        let mut link = LinkPlan::steady(2_500_000);
        link.loss = loss;
        Case {
            plan: Plan::new(name, link, 60),
            goals: vec![
                goal("rate kept", "%", (kept, 100.5), move |run| {
                    utilisation(run, (10_000, 60_000)) / (1.0 - loss)
                }),
                goal("estimate error p95", "%", (-60.0, 8.0), |run| {
                    error(run, (10_000, 60_000), 0.95)
                }),
                goal("queue p95", "ms", (0.0, 100.0), |run| {
                    queue_ms(run, (5_000, 60_000), 0.95)
                }),
                goal("congestion loss", "%", (0.0, 0.5), |run| {
                    overflow(run, (5_000, 60_000))
                }),
            ],
        }
    })
    .into()
}

/// F3.
fn bursty_loss() -> Case {
    let mut link = LinkPlan::steady(2_500_000);
    link.loss = 0.04;
    link.loss_burst = 4.0;
    Case {
        plan: Plan::new("loss 4 % in bursts of 4", link, 60),
        goals: vec![
            goal("rate kept", "%", (70.0, 100.5), |run| {
                utilisation(run, (10_000, 60_000)) / 0.96
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (5_000, 60_000), 0.95)
            }),
        ],
    }
}

/// F4.
fn lost_feedback() -> Case {
    let mut plan = Plan::new("half of the feedback lost", LinkPlan::steady(2_500_000), 60);
    plan.flow().feedback_loss = 0.5;
    Case {
        plan,
        goals: vec![
            goal("utilisation", "%", (60.0, 100.5), |run| {
                utilisation(run, (5_000, 60_000))
            }),
            goal("estimate error p95", "%", (-40.0, 8.0), |run| {
                error(run, (5_000, 60_000), 0.95)
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (5_000, 60_000), 0.95)
            }),
        ],
    }
}

/// A policer: nothing waits, what is too much is lost.
fn policed() -> Case {
    let mut link = LinkPlan::steady(1_000_000);
    link.queue_us = 30_000;
    Case {
        plan: Plan::new("queue of 30 ms", link, 60),
        goals: vec![
            goal("utilisation", "%", (70.0, 100.5), |run| {
                utilisation(run, (5_000, 60_000))
            }),
            goal("estimate error p95", "%", (-40.0, 30.0), |run| {
                error(run, (5_000, 60_000), 0.95)
            }),
            goal("loss", "%", (0.0, 12.0), |run| {
                overflow(run, (5_000, 60_000))
            }),
        ],
    }
}

/// F5.
fn reordered() -> Case {
    let mut link = LinkPlan::steady(2_500_000);
    link.reordered = (0.05, 40_000);
    Case {
        plan: Plan::new("5 % overtaken by 20-40 ms", link, 60),
        goals: steady((5_000, 60_000), 30.0, 100.0),
    }
}

/// F6.
fn duplicated() -> Case {
    let mut link = LinkPlan::steady(2_500_000);
    link.duplicated = 0.05;
    Case {
        plan: Plan::new("5 % arrive twice", link, 60),
        goals: vec![
            goal("estimate error p5", "%", (-15.0, 5.0), |run| {
                error(run, (5_000, 60_000), 0.05)
            }),
            goal("estimate error p95", "%", (-15.0, 5.0), |run| {
                error(run, (5_000, 60_000), 0.95)
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (5_000, 60_000), 0.95)
            }),
        ],
    }
}

/// F7.
fn jitter() -> Vec<Case> {
    [
        ("jitter 50 ms", 50_000),
        ("jitter 100 ms", 100_000),
        ("jitter 200 ms", 200_000),
    ]
    .map(|(name, jitter_us)| {
        let mut link = LinkPlan::steady(2_500_000);
        link.jitter_us = jitter_us;
        Case {
            plan: Plan::new(name, link, 60),
            goals: vec![
                goal("utilisation", "%", (50.0, 100.5), |run| {
                    utilisation(run, (10_000, 60_000))
                }),
                goal("estimate error p95", "%", (-50.0, 35.0), |run| {
                    error(run, (10_000, 60_000), 0.95)
                }),
                goal("queue p95", "ms", (0.0, 280.0), |run| {
                    queue_ms(run, (5_000, 60_000), 0.95)
                }),
            ],
        }
    })
    .into()
}

/// F9.
fn blackouts() -> Vec<Case> {
    [
        ("black-out of 2 s", 2_000, 0.35),
        ("black-out of 10 s", 10_000, 1.0),
        ("black-out of 14 s", 14_000, 1.0),
    ]
    .map(|(name, lasts, resumes)| {
        let back = 20_000 + lasts;
        let link = LinkPlan::changing(&[(0, 2_500_000), (20_000, 0), (back, 2_500_000)]);
        Case {
            plan: Plan::new(name, link, 50),
            goals: vec![
                goal("video arrives again", "s", (0.0, resumes), move |run| {
                    until_arriving(run, back, 100)
                }),
                goal("back to 80 %", "s", (0.0, 3.0), move |run| {
                    until_estimate(run, back + 500, 2_000) + 0.5
                }),
                goal("queue < 50 ms", "s", (0.0, 2.0), move |run| {
                    until_queue_below(run, back, 50)
                }),
                goal("after: utilisation", "%", (85.0, 100.5), move |run| {
                    utilisation(run, (back + 5_000, 50_000))
                }),
            ],
        }
    })
    .into()
}

/// A hidden tab reports nothing for a while, and the path is as good as before.
fn hidden_tab() -> Case {
    let mut plan = Plan::new("no feedback for 8 s", LinkPlan::steady(2_500_000), 50);
    plan.flow().feedback_gap = Some((20_000, 28_000));
    Case {
        plan,
        goals: vec![
            goal("lowest estimate", "kbit/s", (400.0, 2_600.0), |run| {
                estimate_kbps(run, (20_000, 28_000), 0.0)
            }),
            goal("back to 80 %", "s", (0.0, 1.5), |run| {
                until_estimate(run, 28_200, 2_000)
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (5_000, 50_000), 0.95)
            }),
        ],
    }
}

/// The only camera is off for a while.
fn muted() -> Case {
    let mut plan = Plan::new("camera off for 20 s", LinkPlan::steady(2_500_000), 50);
    plan.flow().mute = Some((15_000, 35_000));
    Case {
        plan,
        goals: vec![
            goal("lowest estimate", "kbit/s", (2_000.0, 2_650.0), |run| {
                estimate_kbps(run, (15_000, 35_000), 0.0)
            }),
            goal("highest estimate", "kbit/s", (2_000.0, 2_650.0), |run| {
                estimate_kbps(run, (15_000, 35_000), 1.0)
            }),
            goal("queue p95 after", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (35_000, 50_000), 0.95)
            }),
        ],
    }
}

pub(crate) fn simulcast() -> Source {
    Source::Cameras(1, vec![150_000, 500_000, 1_500_000])
}

/// Three layers on a path that carries the highest.
fn layered() -> Case {
    let mut plan = Plan::new(
        "three layers on 2.5 Mbit/s",
        LinkPlan::steady(2_500_000),
        60,
    );
    plan.flow().source = simulcast();
    Case {
        plan,
        goals: vec![
            goal("top layer", "s", (0.0, 3.0), |run| until_layer(run, 0, 3)),
            goal("layer changes", "", (0.0, 2.0), |run| {
                layer_changes(run, (5_000, 60_000)).0
            }),
            goal("padding", "%", (0.0, 5.0), padding),
            goal("queue p95", "ms", (0.0, 50.0), |run| {
                queue_ms(run, (5_000, 60_000), 0.95)
            }),
        ],
    }
}

/// Three layers, and a path that carries only the lowest for a while.
fn layered_recovery() -> Case {
    let link = LinkPlan::changing(&[(0, 2_500_000), (20_000, 300_000), (50_000, 2_500_000)]);
    let mut plan = Plan::new("three layers, 2.5 -> 0.3 -> 2.5 Mbit/s", link, 80);
    plan.flow().source = simulcast();
    Case {
        plan,
        goals: vec![
            goal("drop: sent <= 1.1x", "s", (0.05, 1.3), |run| {
                until_sent_below(run, 20_000, 330)
            }),
            goal("drop: queue < 50 ms", "s", (0.05, 2.0), |run| {
                until_queue_below(run, 20_000, 50)
            }),
            goal("low: layer changes", "", (0.0, 1.0), |run| {
                layer_changes(run, (23_000, 50_000)).0
            }),
            goal("low: congestion loss", "%", (0.0, 0.5), |run| {
                overflow(run, (23_000, 50_000))
            }),
            goal("top layer again", "s", (0.05, 6.0), |run| {
                until_layer(run, 50_000, 3)
            }),
            goal("padding", "%", (0.0, 5.0), padding),
        ],
    }
}

/// A path below the lowest layer: sound goes on, pictures pause.
fn tiny() -> Case {
    let link = LinkPlan::changing(&[(0, 2_500_000), (15_000, 120_000)]);
    let mut plan = Plan::new("three layers, then 120 kbit/s", link, 60);
    plan.flow().source = simulcast();
    Case {
        plan,
        goals: vec![
            goal("estimate error p95", "%", (-75.0, 45.0), |run| {
                error(run, (20_000, 60_000), 0.95)
            }),
            goal("congestion loss", "%", (0.0, 1.0), |run| {
                overflow(run, (18_000, 60_000))
            }),
            goal("queue p95", "ms", (0.0, 100.0), |run| {
                queue_ms(run, (20_000, 60_000), 0.95)
            }),
            goal("layer changes", "", (0.0, 1.0), |run| {
                layer_changes(run, (20_000, 60_000)).0
            }),
        ],
    }
}
