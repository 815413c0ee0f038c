//! The one place that reads the clock for the engines.

use std::time::{Duration, Instant, SystemTime};

/// What time it is.
#[expect(
    clippy::disallowed_methods,
    reason = "the shards' loops read the clock for all behind them"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, since the Unix epoch; a clock before that counts as the epoch itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the shards' loops read the clock for all behind them"
)]
pub(super) fn wall() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The two clocks at one moment: the kernel tells receive times by the wall clock, and all else
/// here goes by the steady one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    now: Instant,
    wall: SystemTime,
}

/// Largest age of a datagram that is believed.
///
/// More means that somebody set the wall clock between the two readings; the datagram counts as new
/// then. A server that was stopped for a while finds what came meanwhile, and after half a minute
/// nobody is there any more (RFC 7675).
const MAX_AGE: Duration = Duration::from_secs(30);

impl Moment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the shards' loops read the clock for all behind them"
    )]
    pub(super) fn read() -> Self {
        Self {
            now: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// When a datagram was received, on the steady clock: never later than this moment, nor before
    /// the socket was empty the last time, whatever became of the wall clock.
    pub(super) fn received(&self, at: Option<SystemTime>, emptied_at: Option<Instant>) -> Instant {
        let age = at.and_then(|at| self.wall.duration_since(at).ok());
        let age = age.filter(|age| *age <= MAX_AGE).unwrap_or_default();
        let at = self.now.checked_sub(age).unwrap_or(self.now);
        emptied_at.map_or(at, |emptied| at.max(emptied))
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receive_times_are_steady_though_somebody_sets_the_clock() {
        let moment = Moment::read();
        let ms = Duration::from_millis;
        let received = |at| moment.now - moment.received(Some(at), None);
        assert_eq!(received(moment.wall - ms(3)), ms(3));
        assert_eq!(
            received(moment.wall + ms(3)),
            ms(0),
            "the clock was set back"
        );
        assert_eq!(
            received(moment.wall - ms(3_600_000)),
            ms(0),
            "the clock was set forward"
        );
        assert_eq!(moment.received(None, None), moment.now);
        let emptied = moment.now - ms(2);
        assert_eq!(
            moment.received(Some(moment.wall - ms(900)), Some(emptied)),
            emptied
        );
        assert_eq!(moment.received(None, Some(emptied)), moment.now);
    }
}
