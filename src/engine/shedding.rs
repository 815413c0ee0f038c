//! Less video while the machine does not keep up, so that sound is on time.
//!
//! Who forwards more than a thread can, loses whatever comes next, sound included. So every
//! receiver is given less of the video that they would get otherwise, step by step, and at last none;
//! and step by step all of it again. Admission has refused newcomers long before.

use std::time::{Duration, Instant};

use super::Engine;
use super::command::{Headroom, Reply};

/// Percent of what receivers would be sent of video. A step takes away a third or so: what it
/// does is to show in the next measurement.
const SHARES: [u8; 7] = [100, 70, 50, 35, 20, 10, 0];

/// Before the next step down: what a measurement covers.
const STEP_DOWN: Duration = Duration::from_secs(2);

/// Before a step up there has to be headroom for so long. Each relapse doubles it.
const STEP_UP: Duration = Duration::from_secs(5);
const LONGEST_STEP_UP: Duration = Duration::from_secs(60);

/// How much of video is left out.
#[derive(Debug)]
pub(super) struct Shedding {
    step: usize,
    stepped_at: Option<Instant>,
    /// Since when there is headroom.
    calm_since: Option<Instant>,
    patience: Duration,
    /// The last step was one up.
    rose: bool,
}

impl Default for Shedding {
    fn default() -> Self {
        Self {
            step: 0,
            stepped_at: None,
            calm_since: None,
            patience: STEP_UP,
            rose: false,
        }
    }
}

impl Shedding {
    /// Percent of its video that a receiver may have; `None` for all of it.
    pub(super) fn share_percent(&self) -> Option<u64> {
        (self.step > 0).then(|| u64::from(SHARES[self.step]))
    }

    /// Takes a measurement in; `true` if there is another share now.
    fn measured(&mut self, headroom: Headroom, now: Instant) -> bool {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        match headroom {
            Headroom::Enough => self.calm_since = self.calm_since.or(Some(now)),
            Headroom::Little | Headroom::None => self.calm_since = None,
        }
        let may_fall = since(self.stepped_at).is_none_or(|since| since >= STEP_DOWN);
        let may_rise = since(self.calm_since).is_some_and(|since| since >= self.patience);
        if headroom == Headroom::None && may_fall && self.step + 1 < SHARES.len() {
            if self.rose {
                self.patience = LONGEST_STEP_UP.min(2 * self.patience);
            }
            self.step += 1;
            self.rose = false;
        } else if may_rise && self.step > 0 {
            self.step -= 1;
            self.rose = true;
            self.calm_since = Some(now);
        } else {
            if may_rise {
                self.patience = STEP_UP;
            }
            return false;
        }
        self.stepped_at = Some(now);
        true
    }
}

impl Engine {
    /// What the thread has left was measured: all that receivers get is chosen anew where that
    /// changes what there is to choose from.
    pub(super) fn headroom(&mut self, headroom: Headroom, now: Instant) -> Reply {
        if self.shedding.measured(headroom, now) {
            for place in self.session_places() {
                self.guarded(place, now, |engine| engine.share_estimate(place, now));
            }
        }
        Reply::VideoShare {
            percent: SHARES[self.shedding.step],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    /// Measures once a second; the share after each.
    fn shares(shedding: &mut Shedding, from: u64, measured: &[(Headroom, u64)]) -> Vec<u8> {
        let mut second = from;
        let mut shares = Vec::new();
        for (headroom, seconds) in measured {
            for _ in 0..*seconds {
                second += 1;
                shedding.measured(*headroom, some_moment() + Duration::from_secs(second));
                shares.push(SHARES[shedding.step]);
            }
        }
        shares
    }

    #[test]
    fn video_goes_step_by_step_and_comes_back_slower() {
        let mut shedding = Shedding::default();
        let seen = shares(
            &mut shedding,
            0,
            &[(Headroom::None, 4), (Headroom::Little, 3)],
        );
        assert_eq!(seen, [70, 70, 50, 50, 50, 50, 50]);
        let seen = shares(&mut shedding, 7, &[(Headroom::Enough, 11)]);
        assert_eq!(seen, [50, 50, 50, 50, 50, 70, 70, 70, 70, 70, 100]);
        assert_eq!(shedding.share_percent(), None);
    }

    #[test]
    fn what_comes_back_in_vain_waits_longer_each_time() {
        let mut shedding = Shedding::default();
        let mut second = 0;
        let mut ups = 0;
        // As long as anything is shown, the machine does not keep up.
        for _ in 0..300 {
            second += 1;
            let headroom = match shedding.step {
                0 => Headroom::None,
                _ => Headroom::Enough,
            };
            let now = some_moment() + Duration::from_secs(second);
            ups += u32::from(shedding.measured(headroom, now) && shedding.rose);
        }
        assert!((5..=9).contains(&ups), "{ups} attempts in five minutes");
    }

    #[test]
    fn a_machine_that_never_keeps_up_shows_nothing() {
        let mut shedding = Shedding::default();
        let seen = shares(&mut shedding, 0, &[(Headroom::None, 30)]);
        assert_eq!(seen.last(), Some(&0));
    }
}
