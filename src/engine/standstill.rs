//! A thread that stood still, and what came meanwhile.
//!
//! A server is stopped for a while, or another machine has its processor. Then all that came waits in the
//! kernel, and all of it comes at once. Passed on as it comes, it would fill the queue of every path: a
//! second of a camera is a hundred packets. So what is too old for a conversation is left out, and a
//! picture goes on with a keyframe; and what is not leaves a little faster than it came.
//!
//! A thread with more to do than it can is another matter ([`super::shedding`]): it does not stand still.

use std::time::{Duration, Instant};

use tracing::warn;

use super::Engine;
use super::bitrate::Bitrate;
use super::counters::DropReason;
use super::event::Kind;
use super::flush::Passing;
use super::track::{LayerRef, Subscriber};

/// What came in so much time may leave at once: half a frame interval. Shorter waits are those of every
/// busy machine, and the network between has its own.
const AT_ONCE: Duration = Duration::from_millis(20);

/// What waited for longer is not sent any more. Less, and a machine whose processor is away now and then
/// costs everybody a keyframe; more, and it would have to be played faster than it was said for
/// seconds. A jitter buffer grows to about this.
const STALE: Duration = Duration::from_millis(500);

/// A while in which the engine was not run.
#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Instant,
    until: Instant,
}

impl Pause {
    /// How much of it this has waited for. What came before waits for another reason.
    fn held(&self, packet: &Passing) -> Option<Duration> {
        let Passing::Packet(packet) = packet else {
            return None;
        };
        let came = packet.received_at;
        (came >= self.since && came < self.until).then(|| self.until - came)
    }
}

/// When the engine was not run lately.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    last: Option<Pause>,
    /// The last one that made something stale: what waited for its end comes by and by, and the next pause
    /// may be there before all of it has.
    last_long: Option<Pause>,
}

impl Standstill {
    fn note(&mut self, pause: Pause) {
        self.last = Some(pause);
        if pause.until - pause.since > STALE {
            self.last_long = Some(pause);
        }
    }

    fn waited(&self, packet: &Passing) -> Option<Duration> {
        let pauses = [self.last, self.last_long].into_iter().flatten();
        pauses.filter_map(|pause| pause.held(packet)).max()
    }

    /// Whether any of these has waited because nobody was there to look at it.
    pub(super) fn has_held_up(&self, packets: &[(usize, LayerRef, Passing)]) -> bool {
        self.last.is_some() && packets.iter().any(|(.., it)| self.waited(it).is_some())
    }

    /// Whether this has waited for too long.
    pub(super) fn is_stale(&self, packet: &Passing) -> bool {
        self.waited(packet).is_some_and(|waited| waited > STALE)
    }
}

impl Engine {
    /// Something was to be done at a moment, and is looked at now. Since the last flush at the latest nobody
    /// was there: whoever has too much to do flushes all the time.
    pub(super) fn look_for_standstill(&mut self, due: Option<Instant>, now: Instant) {
        let Some(due) = due else {
            return;
        };
        let noted = self.standstill.last.map(|pause| pause.until);
        let since = self.flushed_at.max(noted).map_or(due, |at| at.max(due));
        let stood = now.saturating_duration_since(since);
        if stood <= AT_ONCE {
            return;
        }
        self.standstill.note(Pause {
            since: self.flushed_at.unwrap_or(due),
            until: now,
        });
        if stood > STALE {
            let stood_ms = stood.as_millis() as u64;
            warn!(stood_ms, "stood still; media from before is left out");
        }
    }

    /// When the oldest packet came that is to be handed over.
    pub(super) fn oldest_passing(&self) -> Option<Instant> {
        let came = self.passing.iter().filter_map(|(.., it)| match it {
            Passing::Packet(packet) => Some(packet.received_at),
            Passing::Padding(_) => None,
        });
        came.min()
    }

    /// Leaves out what is stale of a track's packets, for one receiver, and lets the others leave in their
    /// time. Gives back what is left of them.
    pub(super) fn hold_up<'p>(
        &mut self,
        subscriber: Subscriber,
        packets: &'p [(usize, LayerRef, Passing)],
        now: Instant,
    ) -> &'p [(usize, LayerRef, Passing)] {
        let is_stale = |(.., it): &(usize, LayerRef, Passing)| self.standstill.is_stale(it);
        let stale = packets
            .iter()
            .rposition(is_stale)
            .map_or(0, |last| last + 1);
        let (stale, rest) = packets.split_at(stale);
        if !stale.is_empty() {
            self.leave_out(subscriber, stale, now);
        }
        if !rest.is_empty() {
            let usual = self.usual_rate(subscriber.session);
            if let Some(session) = self.sessions.get_mut(subscriber.session) {
                session.egress.spread(usual);
            }
        }
        rest
    }

    fn leave_out(
        &mut self,
        subscriber: Subscriber,
        stale: &[(usize, LayerRef, Passing)],
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(subscriber.session) else {
            return;
        };
        let egress = &mut session.egress;
        let Some(slot) = egress.slots.get(subscriber.slot) else {
            return;
        };
        let Some(shown) = &slot.subscription else {
            return;
        };
        if slot.is_paused() || slot.is_starved() || slot.is_cut() {
            return;
        }
        let wanted = shown.wanted.layer;
        let layer = shown.current.map_or(wanted, |flows| flows.layer);
        let left_out = stale.iter().filter(|(_, it, _)| *it == layer).count();
        if left_out == 0 {
            return;
        }
        self.counters.drop_all(DropReason::Stale, left_out as u64);
        if slot.kind == Kind::Video {
            if shown.current.is_some() {
                egress.give_up(subscriber.slot, now, &mut self.counters);
            }
            self.want_keyframe(wanted, now);
        }
    }

    /// What the pictures cost that a session sees.
    fn usual_rate(&self, session: usize) -> Bitrate {
        let slots = self
            .sessions
            .get(session)
            .map_or(&[][..], |session| &session.egress.slots);
        let pictures = slots.iter().filter(|slot| slot.kind == Kind::Video);
        let flows = pictures.filter_map(|slot| slot.subscription.as_ref()?.current);
        let layers = flows.filter_map(|flows| self.layers.get(flows.layer.place));
        Bitrate::bps(layers.map(|layer| layer.bitrate_bps).sum())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::tests::{some_moment, some_packet};

    #[test]
    fn only_what_came_before_the_end_of_a_standstill_was_held_up_by_it() {
        let now = some_moment();
        let came = |received_at| {
            let packet = crate::engine::track::MediaPacket {
                received_at,
                ..some_packet()
            };
            (0, LayerRef::NONE, Passing::Packet(Arc::new(packet)))
        };
        let ms = Duration::from_millis;
        let mut standstill = Standstill::default();
        let pause = |from, to| Pause {
            since: now + ms(from),
            until: now + ms(to),
        };
        assert!(!standstill.has_held_up(&[came(now)]), "late, but it ran");
        standstill.note(pause(1_000, 2_000));
        assert!(
            !standstill.has_held_up(&[came(now + ms(999))]),
            "late before"
        );
        assert!(standstill.is_stale(&came(now + ms(1_499)).2));
        assert!(standstill.has_held_up(&[came(now + ms(1_501))]));
        assert!(!standstill.is_stale(&came(now + ms(1_501)).2));
        assert!(
            !standstill.has_held_up(&[came(now + ms(2_001))]),
            "it runs again"
        );
        // What comes of it is still there when it stands still once more.
        standstill.note(pause(2_010, 2_040));
        assert!(standstill.is_stale(&came(now + ms(1_200)).2));
        assert!(standstill.has_held_up(&[came(now + ms(2_020))]));
    }
}
