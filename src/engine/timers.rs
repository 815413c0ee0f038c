//! When something in the engine wants to be woken.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Deadlines on which a few milliseconds do not matter are met together, at multiples of this:
/// with a thousand sessions, one wake-up then serves many. Longer would be felt in requests for
/// what a publisher's packets lack, which str0m makes every 33 ms.
const GRID: Duration = Duration::from_millis(5);

/// What a timer is for; the number is a place in the engine's table of such things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A session's transport, reports, or patience.
    Session(usize),
    /// A layer's keyframe requests.
    Layer(usize),
    /// A track's choice of layers.
    Track(usize),
    /// A room's speaker.
    Room(usize),
}

/// All timers, soonest first. Each owner has at most one, and remembers when it is set for.
///
/// Most deadlines move on before they are reached: feedback comes, a report leaves beside media.
/// So one that moves on is left where it is. It fires too early once, and is set anew then, which
/// costs less than moving it twenty times a second.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    /// Where the grid begins.
    epoch: Option<Instant>,
}

impl Timers {
    /// Sets a timer anew (or stops it), given when it was set for. It may fire earlier than that.
    pub(crate) fn set(&mut self, timer: Timer, armed: &mut Option<Instant>, at: Option<Instant>) {
        match (*armed, at) {
            (None, None) => return,
            (Some(old), Some(at)) if old <= at => return,
            _ => {}
        }
        if let Some(old) = *armed {
            self.queue.remove(&(old, timer));
        }
        if let Some(at) = at {
            self.queue.insert((at, timer));
        }
        *armed = at;
    }

    /// Sets a timer that may fire up to [`GRID`] later.
    pub(crate) fn set_loosely(
        &mut self,
        timer: Timer,
        armed: &mut Option<Instant>,
        at: Option<Instant>,
    ) {
        if armed.is_some_and(|old| at.is_some_and(|at| old <= at)) {
            return;
        }
        let at = at.map(|at| {
            let epoch = *self.epoch.get_or_insert(at);
            let since = at.saturating_duration_since(epoch).as_nanos() as u64;
            epoch + Duration::from_nanos(since.next_multiple_of(GRID.as_nanos() as u64))
        });
        self.set(timer, armed, at);
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The next timer that is due by now. Its owner is to set it again.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Timer> {
        let (at, _) = self.queue.first()?;
        if *at > now {
            return None;
        }
        self.queue.pop_first().map(|(_, timer)| timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_deadline_that_moves_on_is_left_and_one_that_moves_up_is_kept() {
        let t0 = some_moment();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut timers = Timers::default();
        let mut armed = None;
        timers.set(Timer::Session(1), &mut armed, Some(at(10)));
        timers.set(Timer::Session(1), &mut armed, Some(at(50)));
        assert_eq!(timers.next(), Some(at(10)));
        timers.set(Timer::Session(1), &mut armed, Some(at(5)));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.poll(at(4)), None);
        assert_eq!(timers.poll(at(5)), Some(Timer::Session(1)));
        assert_eq!(timers.poll(at(60)), None, "there was one timer");

        armed = None;
        timers.set(Timer::Session(1), &mut armed, Some(at(70)));
        timers.set(Timer::Session(1), &mut armed, None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn deadlines_that_are_not_exact_are_met_together_and_never_too_early() {
        let t0 = some_moment();
        let at = |us| t0 + Duration::from_micros(us);
        let mut timers = Timers::default();
        for (session, us) in [(0, 0), (1, 10_001), (2, 12_000), (3, 15_000), (4, 15_001)] {
            timers.set_loosely(Timer::Session(session), &mut None, Some(at(us)));
        }
        let mut together = Vec::new();
        while let Some(next) = timers.next() {
            let due = std::iter::from_fn(|| timers.poll(next)).count();
            together.push(((next - t0).as_micros(), due));
        }
        assert_eq!(together, [(0, 1), (15_000, 3), (20_000, 1)]);
    }
}
