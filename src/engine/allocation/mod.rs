//! What each slot gets of an estimate.
//!
//! A pure function of what is wanted and what the path carries. Sound comes first, then every
//! picture at its lowest layer, then better layers: by priority, then for who speaks, then for
//! what is shown large. Equals are raised in turn, a step each, so that they look alike. A picture
//! whose lowest layer does not fit is paused, and that is said rather than left to be noticed.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::bitrate::Bitrate;
use super::event::Kind;

/// What a step up must leave free, in percent of the whole: an estimate swings by a few percent,
/// and each swing would otherwise change a layer and cost a keyframe.
const RESERVE_PERCENT: u64 = 10;

/// What one slot could show.
#[derive(Clone, Debug)]
pub struct SlotDemand<'a> {
    /// The slot, by which equals are told apart.
    pub slot: u16,
    /// Sound or pictures.
    pub kind: Kind,
    /// What the client says it matters; the highest comes first.
    pub priority: u8,
    /// The height at which the client shows it, if it says so; the largest comes first.
    pub height: Option<u16>,
    /// Whether it shows who speaks.
    pub is_speaker: bool,
    /// What it shows now, as a place in `layers`.
    pub current: Option<usize>,
    /// Whether it may show better than now; not for a while after it had to be lowered.
    pub may_rise: bool,
    /// Whether it shows its cheapest layer in any case: nothing has proven that it does not fit.
    pub is_kept: bool,
    /// What each layer costs that is of use at that size, the cheapest first.
    pub layers: &'a [Bitrate],
}

/// What a slot is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// This layer, as a place in its demand's list.
    Layer(usize),
    /// Nothing: not even the cheapest layer fits.
    Paused,
    /// Nothing: there is no layer.
    Nothing,
}

/// How an estimate is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// For each demand, in the order given.
    pub choices: Vec<Choice>,
    /// What all of it costs.
    pub total: Bitrate,
    /// What the estimate would have to be for the next better step; `None` if everybody has the
    /// best. This is what a probe may buy.
    pub next_step: Option<Bitrate>,
}

/// Shares an estimate among slots.
#[must_use]
pub fn allocate(estimate: Bitrate, demands: &[SlotDemand<'_>]) -> Allocation {
    let mut shares = Shares {
        demands,
        choices: demands.iter().map(unserved).collect(),
        estimate_bps: estimate.as_bps(),
        spent_bps: 0,
        next_bps: None,
    };
    let order = by_rank(demands);
    // What is kept in any case comes first, so that nobody is let in where it has no room.
    for (kind, is_kept) in [
        (Kind::Audio, true),
        (Kind::Audio, false),
        (Kind::Video, true),
        (Kind::Video, false),
    ] {
        for &place in &order {
            if (demands[place].kind, demands[place].is_kept) == (kind, is_kept) {
                shares.start(place);
            }
        }
    }
    for equals in order.chunk_by(|a, b| rank(&demands[*a]) == rank(&demands[*b])) {
        shares.raise(equals);
    }
    Allocation {
        choices: shares.choices,
        total: Bitrate::bps(shares.spent_bps),
        next_step: shares.next_bps.map(Bitrate::bps),
    }
}

fn unserved(demand: &SlotDemand<'_>) -> Choice {
    if demand.layers.is_empty() {
        Choice::Nothing
    } else {
        Choice::Paused
    }
}

/// The higher, the sooner.
fn rank(demand: &SlotDemand<'_>) -> (u8, bool) {
    (demand.priority, demand.is_speaker)
}

/// Places of the demands, those that matter most first; it does not matter how they were ordered.
fn by_rank(demands: &[SlotDemand<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&place| {
        let demand = &demands[place];
        let height = demand.height.unwrap_or(u16::MAX);
        (Reverse(rank(demand)), Reverse(height), demand.slot)
    });
    order
}

struct Shares<'a> {
    demands: &'a [SlotDemand<'a>],
    choices: Vec<Choice>,
    estimate_bps: u64,
    spent_bps: u64,
    next_bps: Option<u64>,
}

impl Shares<'_> {
    /// Gives a slot its cheapest layer, if that fits. The first sound always does: whoever hears
    /// nothing has left the conversation.
    fn start(&mut self, place: usize) {
        let demand = &self.demands[place];
        let Some(cheapest) = demand.layers.first() else {
            return;
        };
        let is_first_sound = demand.kind == Kind::Audio && self.spent_bps == 0;
        let goes_on = demand.current.is_some();
        let is_certain = is_first_sound || demand.is_kept;
        if self.fits(cheapest.as_bps(), goes_on) || is_certain {
            self.spent_bps += cheapest.as_bps();
            self.choices[place] = Choice::Layer(0);
        }
    }

    /// Raises equals in turn, a step each, until none of them can be raised further.
    fn raise(&mut self, equals: &[usize]) {
        let mut open: Vec<usize> = equals.to_vec();
        while !open.is_empty() {
            open.retain(|&place| self.step(place));
        }
    }

    /// Raises a slot by one step; `false` if it has what it can get.
    fn step(&mut self, place: usize) -> bool {
        let demand = &self.demands[place];
        let Choice::Layer(now) = self.choices[place] else {
            return false;
        };
        let next = now + 1;
        let rises = demand.current.is_none_or(|current| next > current);
        if next >= demand.layers.len() || (rises && demand.current.is_some() && !demand.may_rise) {
            return false;
        }
        let cost = |layer: usize| demand.layers[layer].as_bps();
        let more_bps = cost(next).saturating_sub(cost(now));
        if !self.fits(more_bps, !rises) {
            return false;
        }
        self.spent_bps += more_bps;
        self.choices[place] = Choice::Layer(next);
        true
    }

    /// Whether so much more fits; what `goes_on` as it is needs no reserve.
    fn fits(&mut self, more_bps: u64, goes_on: bool) -> bool {
        let total_bps = self.spent_bps + more_bps;
        let reserve_bps = if goes_on {
            0
        } else {
            total_bps * RESERVE_PERCENT / 100
        };
        let needed_bps = total_bps + reserve_bps;
        if needed_bps > self.estimate_bps {
            let next = self
                .next_bps
                .map_or(needed_bps, |next| next.min(needed_bps));
            self.next_bps = Some(next);
        }
        needed_bps <= self.estimate_bps
    }
}

#[cfg(test)]
mod tests;
