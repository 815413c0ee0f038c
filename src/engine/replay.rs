//! A recording once more, in virtual time: does the engine of today choose as it did?
//!
//! Two things are told apart. *Choices* follow from estimate and demands alone and are held
//! against those that were made. *Estimates* follow from all that was sent and reported since the
//! session began: a recording that began later starts from nothing, and comes near after a while.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::allocation::{Choice, SlotDemand, allocate};
use super::bitrate::Bitrate;
use super::downlink::Recently;
use super::estimate::{Estimator, Purpose};
use super::rtcp::{self, Packet};
use super::share::{UNLIMITED, budget};
use super::tape::{Event, Recording, Shared};

/// One choice of layers, then and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// When, since the recording began.
    pub at: Duration,
    /// What the path was believed to carry; nothing while no limit was known.
    pub estimate: Option<Bitrate>,
    /// Percent of the video that might be shown, where the machine did not keep up.
    pub video_percent: Option<u64>,
    /// What there is to share by what was sent and reported, as today's estimator sees it;
    /// nothing before anything was.
    pub replayed_estimate: Option<Bitrate>,
    /// What each slot was given.
    pub choices: Vec<Choice>,
    /// What it is given now, of the same estimate.
    pub replayed_choices: Vec<Choice>,
}

impl Review {
    /// Whether layers are chosen differently now.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.choices != self.replayed_choices
    }

    /// By which part the replayed estimate is off, where there are two.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        let (was, is) = (self.estimate?, self.replayed_estimate?);
        let (was, is) = (was.as_bps() as f64, is.as_bps() as f64);
        Some((is - was).abs() / was.max(1.0))
    }
}

/// Reviews as a table for people: when, what the path carried and what it would now, and what each
/// slot was given. Choices that differ are marked, and those of a machine that did not keep up.
#[must_use]
pub fn table(reviews: &[Review]) -> String {
    let rate = |rate: Option<Bitrate>| rate.map_or("no limit".to_owned(), |rate| rate.to_string());
    let mut table = format!(
        "{:>10}  {:>12}  {:>12}  choices\n",
        "at", "estimate", "replayed"
    );
    for review in reviews {
        let at = review.at.as_secs_f64();
        let (was, is) = (rate(review.estimate), rate(review.replayed_estimate));
        let _ = write!(
            table,
            "{at:>8.3} s  {was:>12}  {is:>12}  {}",
            words(&review.choices)
        );
        if let Some(percent) = review.video_percent {
            let _ = write!(table, "  ({percent} % of the video)");
        }
        if review.differs() {
            let _ = write!(table, "  NOW {}", words(&review.replayed_choices));
        }
        table.push('\n');
    }
    table
}

fn words(choices: &[Choice]) -> String {
    let word = |choice: &Choice| match choice {
        Choice::Layer(layer) => layer.to_string(),
        Choice::Paused => "paused".to_owned(),
        Choice::Nothing => "-".to_owned(),
    };
    let words: Vec<String> = choices.iter().map(word).collect();
    words.join(" ")
}

/// Replays a recording. `began` may be any moment: a replay takes no time.
#[must_use]
pub fn replay(recording: &Recording, began: Instant) -> Vec<Review> {
    let mut estimator: Option<Estimator> = None;
    let mut repeated = Recently::default();
    let mut reviews = Vec::new();
    for entry in &recording.entries {
        let at = Duration::from_micros(entry.at_us);
        // What somebody wrote into the file by hand may be beyond the end of time.
        let Some(now) = began.checked_add(at) else {
            break;
        };
        match &entry.event {
            Event::Sent {
                header,
                twcc: Some(twcc),
                purpose,
            } => {
                let bytes = header.bytes as usize;
                let estimator = estimator.get_or_insert_with(|| Estimator::new(now));
                estimator.sent(*twcc, bytes, *purpose, now);
                if *purpose == Purpose::Retransmission {
                    repeated.add(bytes, now);
                }
            }
            Event::Rtcp { packet } => {
                for packet in rtcp::packets(packet).filter_map(Result::ok) {
                    if let (Packet::TransportFeedback(feedback), Some(estimator)) =
                        (packet, &mut estimator)
                    {
                        estimator.feedback(&feedback, now);
                    }
                }
            }
            Event::Timeout => {
                if let Some(estimator) = &mut estimator {
                    estimator.handle_timeout(now);
                }
            }
            Event::PathChanged => {
                if let Some(estimator) = &mut estimator {
                    estimator.path_changed();
                }
            }
            Event::Expected { limit_bps } => {
                estimator = Some(Estimator::expecting(Bitrate::bps(*limit_bps), now));
            }
            Event::ProbeWanted { demand_bps } => {
                if let Some(estimator) = &mut estimator {
                    let _ = estimator.probe_wanted(Bitrate::bps(*demand_bps), now);
                }
            }
            Event::Shared(shared) => reviews.push(Review {
                at,
                estimate: shared.estimate_bps.map(Bitrate::bps),
                video_percent: shared.video_percent,
                replayed_estimate: estimator
                    .as_ref()
                    .map(|estimator| repeated.remainder(estimator.budget(), now)),
                choices: shared.choices.clone(),
                replayed_choices: choose(shared),
            }),
            Event::Received(_) | Event::Sent { twcc: None, .. } => {}
        }
    }
    reviews
}

fn choose(shared: &Shared) -> Vec<Choice> {
    let costs: Vec<Vec<Bitrate>> = shared
        .demands
        .iter()
        .map(|demand| {
            demand
                .layers_bps
                .iter()
                .copied()
                .map(Bitrate::bps)
                .collect()
        })
        .collect();
    let demands: Vec<SlotDemand<'_>> = shared
        .demands
        .iter()
        .zip(&costs)
        .map(|(demand, layers)| SlotDemand {
            slot: demand.slot,
            kind: demand.kind,
            priority: demand.priority,
            height: demand.height,
            is_speaker: demand.is_speaker,
            current: demand.current.filter(|place| *place < layers.len()),
            may_rise: demand.may_rise,
            is_kept: demand.is_kept,
            layers,
        })
        .collect();
    let estimate = shared.estimate_bps.map(Bitrate::bps);
    let budget = budget(estimate, shared.video_percent, &demands);
    allocate(budget.unwrap_or(UNLIMITED), &demands).choices
}
