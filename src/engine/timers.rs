//! When something in the engine wants to be woken.

use std::collections::BTreeSet;
use std::time::Instant;

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
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets a timer anew (or stops it), given when it was set for.
    pub(crate) fn set(&mut self, timer: Timer, armed: &mut Option<Instant>, at: Option<Instant>) {
        if *armed == at {
            return;
        }
        if let Some(old) = *armed {
            self.queue.remove(&(old, timer));
        }
        if let Some(at) = at {
            self.queue.insert((at, timer));
        }
        *armed = at;
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
