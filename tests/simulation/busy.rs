//! Machines that are not the network: they read and send late, and no path has become narrower.

use crate::link::LinkPlan;
use crate::measure::{layer_changes, most_paused, until_layer};
use crate::plans::{Case, goal};
use crate::world::{Plan, Source, Stalls};

/// Half of the time is somebody else's.
const BUSY: Stalls = Stalls {
    runs_ms: 50,
    stalls_ms: (5, 50),
};

/// Most of it is.
const CROWDED: Stalls = Stalls {
    runs_ms: 10,
    stalls_ms: (5, 50),
};

/// Nearly all of it is, and for long.
const OVERRUN: Stalls = Stalls {
    runs_ms: 30,
    stalls_ms: (20, 320),
};

/// Now and then something large has to be done first.
const HALTING: Stalls = Stalls {
    runs_ms: 4_000,
    stalls_ms: (100, 400),
};

/// Eight cameras on a path with room for all of them, of one layer that there is no way below, or
/// of three.
pub(crate) fn busy_hosts() -> Vec<Case> {
    vec![
        case("busy receiver", Some(BUSY), None, 1),
        case("crowded receiver", Some(CROWDED), None, 1),
        case("overrun receiver", Some(OVERRUN), None, 1),
        case("halting receiver", Some(HALTING), None, 1),
        case("busy sender", None, Some(BUSY), 1),
        case("crowded sender", None, Some(CROWDED), 1),
        case("overrun sender", None, Some(OVERRUN), 1),
        case("both busy", Some(BUSY), Some(BUSY), 1),
        case("both busy, three layers", Some(BUSY), Some(BUSY), 3),
    ]
}

fn case(
    name: &'static str,
    receiver_stalls: Option<Stalls>,
    sender_stalls: Option<Stalls>,
    layers: usize,
) -> Case {
    const CAMERAS: usize = 8;
    let bitrates = match layers {
        1 => vec![1_200_000],
        _ => vec![150_000, 500_000, 1_500_000],
    };
    let mut plan = Plan::new(name, LinkPlan::steady(100_000_000), 60);
    plan.link.one_way_us = 1_000;
    plan.flow().source = Source::Cameras(CAMERAS, bitrates);
    plan.flow().feedback_ms = 100;
    plan.receiver_stalls = receiver_stalls;
    plan.sender_stalls = sender_stalls;
    Case {
        plan,
        goals: vec![
            goal("most cameras paused", "", (0.0, 0.0), |run| {
                most_paused(run, (500, 60_000))
            }),
            // Probes come back distorted as well, so the way up is a long one; it knows no way down.
            goal("layer changes", "", (0.0, 0.0), |run| {
                layer_changes(run, (30_000, 60_000)).0
            }),
            goal("all at their best", "s", (0.0, 30.0), move |run| {
                until_layer(run, 0, CAMERAS * layers)
            }),
        ],
    }
}
