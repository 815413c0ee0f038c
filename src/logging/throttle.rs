//! Too much of the same is left out: a log that grows as fast as an attack is an attack, too.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::REPEATED;

/// Lines of one place in the code per second. Two hundred people who join within a second are
/// still told one by one; more in a second nobody reads.
const LINES_PER_SECOND: u32 = 200;

/// A second.
const SECOND: Duration = Duration::from_secs(1);

/// Counts lines by the place in the code that writes them. Details (`debug` and below), which
/// somebody has asked for, are not counted.
#[derive(Default)]
pub(super) struct Throttle {
    places: DashMap<Identifier, Second>,
}

/// What one place has written in the current second.
#[derive(Clone, Copy, Debug)]
struct Second {
    since: Instant,
    lines: u32,
}

impl Second {
    fn begin(now: Instant) -> Self {
        Self {
            since: now,
            lines: 0,
        }
    }

    /// Whether there is room for another line.
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            *self = Self::begin(now);
        }
        self.lines += 1;
        self.lines <= LINES_PER_SECOND
    }
}

impl<S: Subscriber> Layer<S> for Throttle {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "lines come from anywhere, without a time"
        )]
        let now = Instant::now();
        let mut place = self
            .places
            .entry(metadata.callsite())
            .or_insert_with(|| Second::begin(now));
        let has_room = place.take(now);
        if !has_room {
            REPEATED.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing_subscriber::prelude::*;

    use super::*;

    #[test]
    fn a_place_that_writes_too_much_is_cut_short_until_the_next_second() {
        #[expect(clippy::disallowed_methods, reason = "tests have to start somewhere")]
        let start = Instant::now();
        let mut second = Second::begin(start);
        let taken = (0..1000).filter(|_| second.take(start)).count();
        assert_eq!(taken, 200);
        assert!(!second.take(start + Duration::from_millis(999)));
        assert!(second.take(start + SECOND));
    }

    #[test]
    fn what_is_left_out_is_counted_and_other_places_go_on() {
        let before = REPEATED.load(Ordering::Relaxed);
        with_default(
            tracing_subscriber::registry().with(Throttle::default()),
            || {
                for _ in 0..1000 {
                    tracing::warn!("the same");
                }
                tracing::warn!("another");
            },
        );
        let left_out = REPEATED.load(Ordering::Relaxed) - before;
        // A second may have ended meanwhile.
        assert!((1..=800).contains(&left_out), "{left_out}");
    }
}
