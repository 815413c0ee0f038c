//! Timestamps that follow the wall clock over switches of the source.

use std::time::Instant;

/// How far timestamps may be ahead of the wall clock before the wall clock gives in.
///
/// Jitter and clocks that run at slightly different rates put a source ahead by milliseconds;
/// the next switch takes that back. A sender that leaps ahead would otherwise hold all later
/// sources at a standstill until the wall clock has caught up.
const MAX_LEAD_SECONDS: u64 = 1;

/// The timestamps of a slot.
///
/// Each switch asks where the timestamps would be by now, had they followed the wall clock
/// since the slot's first packet. As that does not depend on former switches, what is off at
/// one of them (jitter, mostly) is forgotten at the next, and nothing adds up.
#[derive(Clone, Debug)]
pub(super) struct SlotClock {
    rate_hz: u32,
    /// The wall clock and the timestamp that belong together; `None` before the first packet.
    anchor: Option<(Instant, u64)>,
    /// The newest timestamp given out, extended, so that a pause of hours is not mistaken for
    /// a step back.
    newest: u64,
}

impl SlotClock {
    pub(super) fn new(rate_hz: u32, first_timestamp: u32) -> Self {
        Self {
            rate_hz,
            anchor: None,
            // In the second round, so that going back a little stays above zero.
            newest: 1 << 32 | u64::from(first_timestamp),
        }
    }

    /// The offset for a source whose next frame has `timestamp` and is from `at`.
    pub(super) fn switch(&mut self, timestamp: u32, at: Instant) -> u32 {
        let out = match self.anchor {
            None => self.newest,
            Some(anchor) => self.by_wall_clock(anchor, at).max(self.newest + 1),
        };
        let is_astray = self.anchor.is_some_and(|anchor| {
            let lead = out.saturating_sub(self.by_wall_clock(anchor, at));
            lead > MAX_LEAD_SECONDS * u64::from(self.rate_hz)
        });
        if is_astray || self.anchor.is_none() {
            self.anchor = Some((at, out));
        }
        (out as u32).wrapping_sub(timestamp)
    }

    /// Takes note of a timestamp that was given out.
    pub(super) fn note(&mut self, timestamp: u32) {
        let ahead = timestamp.wrapping_sub(self.newest as u32) as i32;
        if ahead > 0 {
            self.newest += u64::from(ahead.unsigned_abs());
        }
    }

    fn by_wall_clock(&self, (start, first): (Instant, u64), at: Instant) -> u64 {
        let ticks = |nanos: u128| (nanos * u128::from(self.rate_hz) / 1_000_000_000) as u64;
        match at.checked_duration_since(start) {
            Some(elapsed) => first + ticks(elapsed.as_nanos()),
            None => first.saturating_sub(ticks(start.duration_since(at).as_nanos())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::tests::some_time;
    use super::*;

    const RATE_HZ: u32 = 90_000;

    /// A timestamp of a source that follows the wall clock from an origin of its own.
    fn source_timestamp(origin: u32, at: Duration) -> u32 {
        origin.wrapping_add((at.as_micros() * u128::from(RATE_HZ) / 1_000_000) as u32)
    }

    proptest! {
        #[test]
        fn after_a_thousand_switches_sound_and_picture_are_still_together(
            origins in prop::collection::vec(any::<u32>(), 1000),
            jitter_ms in prop::collection::vec(0u64..30, 1000),
        ) {
            let start = some_time();
            let mut clock = SlotClock::new(RATE_HZ, 0xffff_f000);
            let mut newest = 0xffff_f000u32;
            for (index, (origin, jitter_ms)) in origins.iter().zip(&jitter_ms).enumerate() {
                // A switch every 700 ms, and ten frames of 33 ms in between.
                let captured = Duration::from_millis(index as u64 * 700);
                let arrived = start + captured + Duration::from_millis(*jitter_ms);
                let offset = clock.switch(source_timestamp(*origin, captured), arrived);
                for frame in 0..10 {
                    let at = captured + Duration::from_millis(33 * frame);
                    let out = source_timestamp(*origin, at).wrapping_add(offset);
                    clock.note(out);
                    let is_first = index == 0 && frame == 0;
                    prop_assert!(is_first || (out.wrapping_sub(newest) as i32) > 0, "backward");
                    newest = out;
                    let wall = source_timestamp(0xffff_f000, at);
                    let drift_ms = (out.wrapping_sub(wall) as i32).abs() / 90;
                    prop_assert!(drift_ms < 50, "{} ms off", drift_ms);
                }
            }
        }
    }

    #[test]
    fn a_pause_of_a_day_is_not_a_step_back() {
        let start = some_time();
        let mut clock = SlotClock::new(RATE_HZ, 7);
        assert_eq!(clock.switch(0, start), 7);
        clock.note(7);
        let day = Duration::from_secs(86_400);
        let offset = clock.switch(0, start + day);
        assert_eq!(offset, 7u32.wrapping_add((86_400u64 * 90_000) as u32));
    }

    #[test]
    fn a_switch_within_the_same_moment_still_moves_on() {
        let start = some_time();
        let mut clock = SlotClock::new(RATE_HZ, 7);
        clock.switch(0, start);
        clock.note(7);
        assert_eq!(clock.switch(0, start), 8);
        assert_eq!(clock.switch(0, start - Duration::from_secs(1)), 8);
    }

    #[test]
    fn a_source_that_leapt_ahead_does_not_stop_those_after_it() {
        let start = some_time();
        let mut clock = SlotClock::new(RATE_HZ, 0);
        clock.switch(0, start);
        clock.note(3_600 * RATE_HZ);
        let second = clock.switch(0, start + Duration::from_secs(1));
        assert_eq!(second, 3_600 * RATE_HZ + 1);
        clock.note(second);
        let third = clock.switch(0, start + Duration::from_secs(2));
        assert_eq!(third, second + RATE_HZ);
    }
}
