//! Keyframe requests: many wishes, one request.
//!
//! A keyframe costs its publisher several ordinary frames, and every subscriber gets it, so
//! wishes for one layer that come close together share one request (PLI, RFC 4585 §6.3.1).

use std::time::{Duration, Instant};

/// Shortest time between two requests for one layer.
///
/// A hundred viewers who join within a second cause three keyframes; who joins just after a
/// request waits at most this long for the next, well within a second to the first picture.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a request may stay without a keyframe before it is sent again.
///
/// A round trip and an encoder's delay, with room for one lost packet.
const RETRY: Duration = Duration::from_millis(1_000);

/// What is known about the wishes for keyframes of one layer.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequests {
    sent_at: Option<Instant>,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// Somebody wants one, and none was asked for since.
    Wanted,
    /// Asked for; it has not come yet.
    Asked,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe.
    pub(crate) fn want(&mut self, now: Instant) {
        // A request under way may have been answered before this wish: ask again after the interval.
        let fresh = self.sent_at.is_some_and(|at| at == now);
        if !(self.state == State::Asked && fresh) {
            self.state = State::Wanted;
        }
    }

    /// A keyframe arrived: whoever waited has it.
    pub(crate) fn arrived(&mut self) {
        self.state = State::Idle;
    }

    /// When [`Self::poll`] has something to say next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (&self.state, self.sent_at) {
            (State::Idle, _) => None,
            (State::Wanted, None) => None,
            (State::Wanted, Some(at)) => Some(at + INTERVAL),
            (State::Asked, at) => at.map(|at| at + RETRY),
        }
    }

    /// Whether to send a request now.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        let due = match self.state {
            State::Idle => false,
            State::Wanted => self.sent_at.is_none_or(|at| now >= at + INTERVAL),
            State::Asked => self.sent_at.is_some_and(|at| now >= at + RETRY),
        };
        if due {
            self.sent_at = Some(now);
            self.state = State::Asked;
        }
        due
    }
}

/// How often one slot's receiver may ask on, once [`WISHES_AT_ONCE`] are used up: every keyframe that
/// it gets is sent to everybody else as well, and costs them the room for ordinary frames.
const WISH_INTERVAL: Duration = Duration::from_secs(2);

/// So many wishes may come in quick succession: a receiver on a bad path that lost a keyframe, and the next.
const WISHES_AT_ONCE: u32 = 3;

/// What one slot's receiver may ask for. It asks again while it lacks a picture, so a wish that is not heard is
/// not lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WishLimit {
    /// When all of its wishes will have been earned back.
    earned_at: Option<Instant>,
}

impl WishLimit {
    /// Whether a wish is heard now; if so, it is taken as used.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let earned_at = self.earned_at.map_or(now, |at| at.max(now));
        let is_heard = earned_at.duration_since(now) <= WISH_INTERVAL * (WISHES_AT_ONCE - 1);
        if is_heard {
            self.earned_at = Some(earned_at + WISH_INTERVAL);
        }
        is_heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_hundred_viewers_in_a_second_cause_three_requests() {
        let t0 = some_moment();
        let mut requests = KeyframeRequests::default();
        let mut sent = 0;
        for viewer in 0..100 {
            let now = t0 + Duration::from_millis(10 * viewer);
            requests.want(now);
            if requests.poll(now) {
                sent += 1;
            }
        }
        // The last of them wait until the interval has passed.
        let last = requests.deadline().expect("somebody waits");
        assert!(requests.poll(last));
        requests.arrived();
        assert_eq!((sent + 1, requests.deadline()), (3, None));
    }

    #[test]
    fn a_receiver_is_heard_three_times_and_then_every_two_seconds() {
        let t0 = some_moment();
        let mut limit = WishLimit::default();
        let heard = (0..1_000)
            .filter(|n| limit.allow(t0 + Duration::from_millis(10 * n)))
            .count();
        assert_eq!(heard, 3 + 4, "in ten seconds");
        let later = t0 + Duration::from_secs(60);
        assert!((0..3).all(|_| limit.allow(later)), "after a rest");
    }

    #[test]
    fn a_lost_request_is_repeated_until_the_keyframe_comes() {
        let t0 = some_moment();
        let mut requests = KeyframeRequests::default();
        requests.want(t0);
        assert!(requests.poll(t0));
        let again = requests.deadline().expect("it is still open");
        assert_eq!(again, t0 + RETRY);
        assert!(requests.poll(again));
        requests.arrived();
        assert_eq!(requests.deadline(), None);
        assert!(!requests.poll(again + RETRY));
    }
}
