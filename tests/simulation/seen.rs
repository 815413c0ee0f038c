//! What a viewer sees of it: three layers with keyframes, retransmissions and pauses, on the fault
//! paths of F1 to F9.

use crate::link::LinkPlan;
use crate::measure::*;
use crate::plans::{Case, goal, simulcast};
use crate::world::Plan;

/// Three layers on a path, and how it freezes at most: longest in milliseconds, and the part of the time.
fn case(name: &'static str, link: LinkPlan, secs: u64, longest: f64, part: f64) -> Case {
    let mut plan = Plan::new(name, link, secs);
    plan.flow().source = simulcast();
    let span = (2_000, secs * 1_000);
    Case {
        plan,
        goals: vec![
            goal("longest freeze", "ms", (0.0, longest), move |run| {
                longest_freeze(run, span)
            }),
            goal("frozen", "%", (0.0, part), move |run| frozen(run, span)),
            goal("padding", "%", (0.0, 5.0), padding),
        ],
    }
}

pub(crate) fn as_it_is_seen() -> Vec<Case> {
    let lossy = |loss: f64, burst: f64| LinkPlan {
        loss,
        loss_burst: burst,
        ..LinkPlan::steady(2_500_000)
    };
    let jittery = |jitter_us: u64| LinkPlan {
        jitter_us,
        ..LinkPlan::steady(2_500_000)
    };
    let dark = |lasts: u64| {
        LinkPlan::changing(&[(0, 2_500_000), (20_000, 0), (20_000 + lasts, 2_500_000)])
    };
    let mut narrow = case(
        "F8 seen: 2.5 -> 0.3 -> 2.5 Mbit/s",
        LinkPlan::changing(&[(0, 2_500_000), (20_000, 300_000), (50_000, 2_500_000)]),
        80,
        1_000.0,
        2.0,
    );
    narrow.goals.extend([
        goal("drop: sent <= 1.1x", "s", (0.0, 1.3), |run| {
            until_sent_below(run, 20_000, 330)
        }),
        goal("drop: loss in 3 s", "%", (0.0, 27.0), |run| {
            overflow(run, (20_000, 23_000))
        }),
        goal("top layer again", "s", (0.0, 6.0), |run| {
            until_layer(run, 50_000, 3)
        }),
    ]);
    let mut below = case(
        "seen: begins on 500 kbit/s",
        LinkPlan::steady(500_000),
        60,
        1_500.0,
        3.0,
    );
    below
        .goals
        .push(goal("sound lost", "%", (0.0, 3.0), sound_lost));
    let reordered = |share: f64, by_us: u64| LinkPlan {
        reordered: (share, by_us),
        ..LinkPlan::steady(2_500_000)
    };
    vec![
        case("F1 seen: loss 1 %", lossy(0.01, 1.0), 60, 300.0, 2.0),
        case("F1 seen: loss 5 %", lossy(0.05, 1.0), 60, 500.0, 2.0),
        case("F2 seen: loss 10 %", lossy(0.10, 1.0), 60, 1_000.0, 5.0),
        case(
            "F3 seen: loss 4 % in bursts",
            lossy(0.04, 4.0),
            60,
            600.0,
            2.0,
        ),
        case(
            "F3 seen: loss 11 % in bursts",
            lossy(0.11, 4.0),
            60,
            2_500.0,
            27.0,
        ),
        case(
            "F5 seen: 5 % by 20-40 ms",
            reordered(0.05, 40_000),
            60,
            300.0,
            2.0,
        ),
        case(
            "F5 seen: 25 % by 10 ms",
            reordered(0.25, 10_000),
            60,
            300.0,
            2.0,
        ),
        case("F7 seen: jitter 100 ms", jittery(100_000), 60, 500.0, 2.0),
        case("F9 seen: black-out of 2 s", dark(2_000), 40, 2_400.0, 10.0),
        case(
            "F9 seen: black-out of 10 s",
            dark(10_000),
            50,
            11_000.0,
            25.0,
        ),
        narrow,
        below,
    ]
}
