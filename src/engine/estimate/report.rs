//! What is known of a path, for whoever asks: operators, metrics, and a session that goes on as
//! another.

use std::time::Duration;

use super::Estimator;
use crate::engine::bitrate::Bitrate;

/// What is going on on a path, by the strongest sign of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathState {
    /// Nothing was heard of it yet.
    Unknown,
    /// No limit was ever met.
    Free,
    /// Its limit is known.
    Limited,
    /// A queue is being emptied.
    Draining,
    /// Less is sent for a moment, to see whether losses obey.
    Doubted,
    /// Nothing is heard of what is sent.
    Silent,
}

impl PathState {
    /// Every state there is, so that each is exported from the start.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Free,
        Self::Limited,
        Self::Draining,
        Self::Doubted,
        Self::Silent,
    ];

    /// The label that metrics and reports carry.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Free => "free",
            Self::Limited => "limited",
            Self::Draining => "draining",
            Self::Doubted => "doubted",
            Self::Silent => "silent",
        }
    }
}

/// An estimator in numbers, for whoever asks.
#[derive(Clone, Copy, Debug)]
pub struct PathReport {
    /// What is going on.
    pub state: PathState,
    /// What the path is believed to carry.
    pub estimate: Bitrate,
    /// What may be sent now.
    pub target: Bitrate,
    /// The part of the last hundred packets or so that did not arrive.
    pub loss_ratio: f64,
    /// What is lost however little is sent.
    pub own_loss_ratio: f64,
    /// From sending until feedback.
    pub round_trip: Duration,
    /// What each packet of the last quarter of a second waited at the least.
    pub standing_queue: Duration,
}

impl Estimator {
    /// What is going on.
    #[must_use]
    pub fn state(&self) -> PathState {
        if self.last_feedback_us.is_none() {
            PathState::Unknown
        } else if self.silence.is_some() {
            PathState::Silent
        } else if self.control.is_draining() {
            PathState::Draining
        } else if self.loss.is_experimenting() {
            PathState::Doubted
        } else if self.control.is_free() {
            PathState::Free
        } else {
            PathState::Limited
        }
    }

    /// Whether a limit of the path is known, so that it matters how fast frames leave.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.control.is_free() || self.control.is_draining()
    }

    /// Whether the path has just broken down, and the queue of that is being emptied.
    #[must_use]
    pub fn is_broken_down(&self) -> bool {
        self.control.is_broken_down()
    }

    /// How often the path was seen to be overloaded.
    #[must_use]
    pub fn overloads(&self) -> u64 {
        self.overloads
    }

    /// All of it in numbers.
    #[must_use]
    pub fn report(&self) -> PathReport {
        let micros = |us: i64| Duration::from_micros(us.max(0).cast_unsigned());
        PathReport {
            state: self.state(),
            estimate: self.estimate(),
            target: self.target(),
            loss_ratio: self.lost_share,
            own_loss_ratio: self.loss.own(),
            round_trip: micros(self.response_us),
            standing_queue: micros(self.delay.standing_us().unwrap_or(0)),
        }
    }
}
