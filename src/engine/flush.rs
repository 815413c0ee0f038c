//! The end of a wake-up: what came in is handed to its receivers, sealed, and given out.
//!
//! Twice each receiver is visited: once with all packets that its track got, and once to seal all
//! that it got of any, and to see when it is to be woken next. A visit to one whom nobody visited
//! for some milliseconds is mostly a wait for memory, so a little of those who are next is read
//! ahead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use super::counters::DropReason;
use super::diary::Note;
use super::event::Kind;
use super::outbox::Batch;
use super::slot::Forwarded;
use super::timers::Timer;
use super::track::{LayerRef, MediaPacket, Subscriber};

/// How many receivers ahead their state is fetched: memory answers while this many are served.
/// Further ahead, it would have left the first-level cache again.
const WARM_AHEAD: usize = 2;

/// What a track has for its receivers, until the wake-up is over.
#[derive(Debug)]
pub(super) enum Passing {
    /// A packet that was sent.
    Packet(Arc<MediaPacket>),
    /// Padding: a sequence number without a payload.
    Padding(u64),
}

impl Engine {
    /// The wake-up is over: everything that is queued leaves with the batches that follow.
    pub fn flush(&mut self, now: Instant) {
        self.look_for_standstill(self.oldest_passing(), now);
        self.flushed_at = Some(now);
        self.hand_over(now);
        self.flushing.append(&mut self.dirty);
    }

    /// The next datagrams to send, some hundred kilobytes of them at the most.
    ///
    /// They are sealed only now, so that they are still in the processor's cache when the kernel
    /// copies them.
    pub fn poll_batch(&mut self) -> Option<Batch<'_>> {
        while !self.outbox.is_full()
            && let Some(place) = self.flushing.pop()
        {
            self.warm_next_seal();
            if catch_unwind(AssertUnwindSafe(|| self.seal(place))).is_err() {
                let now = self.flushed_at.expect("only a flush fills the list");
                self.fail(place, now);
            }
        }
        self.outbox.poll()
    }

    /// Hands over what came in since the last time.
    fn hand_over(&mut self, now: Instant) {
        let mut passing = std::mem::take(&mut self.passing);
        for of_track in passing.chunk_by(|(one, ..), (next, ..)| one == next) {
            let place = of_track[0].0;
            let is_held_up = self.standstill.has_held_up(of_track);
            let mut next = 0;
            while let Some(&subscriber) = self
                .tracks
                .get(place)
                .and_then(|track| track.subscribers.get(next))
            {
                next += 1;
                self.warm_next(place, next);
                let work = AssertUnwindSafe(|| {
                    let packets = if is_held_up {
                        self.hold_up(subscriber, of_track, now)
                    } else {
                        of_track
                    };
                    self.serve(place, subscriber, packets, now);
                });
                if catch_unwind(work).is_err() {
                    self.fail(subscriber.session, now);
                    // It has left the list, and another one stands in its place.
                    next -= 1;
                }
            }
        }
        passing.clear();
        self.passing = passing;
    }

    /// Reads a little of those who are next, so that their state is on its way to the cache.
    fn warm_next(&self, track: usize, next: usize) {
        let subscribers = &self.tracks[track].subscribers[next..];
        if let Some(far) = subscribers.get(2 * WARM_AHEAD)
            && let Some(session) = self.sessions.get(far.session)
        {
            session.egress.warm();
        }
        if let Some(near) = subscribers.get(WARM_AHEAD)
            && let Some(session) = self.sessions.get(near.session)
            && let Some(slot) = session.egress.slots.get(near.slot)
        {
            slot.warm();
        }
    }

    /// Hands a track's packets to one receiver.
    fn serve(
        &mut self,
        track: usize,
        subscriber: Subscriber,
        packets: &[(usize, LayerRef, Passing)],
        now: Instant,
    ) {
        let track = &self.tracks[track];
        // A session that failed half-way may still stand in the list.
        let Some(session) = self.sessions.get_mut(subscriber.session) else {
            return;
        };
        if !session.egress.is_connected() {
            for _ in packets {
                self.counters.drop(DropReason::NotConnected);
            }
            return;
        }
        for (_, layer, packet) in packets {
            let Some(slot) = session.egress.slots.get_mut(subscriber.slot) else {
                return;
            };
            let packet = match packet {
                Passing::Packet(packet) => packet,
                Passing::Padding(seq) => {
                    slot.skip(*layer, *seq);
                    continue;
                }
            };
            let forwarded = slot.forward(subscriber.slot as u16, *layer, track, packet, now);
            let ahead = packet.head.as_ref().and_then(|_| slot.take_ahead());
            let queued = match forwarded {
                Forwarded::Queue(queued) => queued,
                Forwarded::Started(queued, waited) => {
                    if track.kind == Kind::Video {
                        self.counters.keyframe_wait.observe(waited, 1);
                    }
                    let slot = subscriber.slot as u16;
                    session.diary.note(now, Note::Started { slot, waited });
                    if !session.media_seen {
                        session.media_seen = true;
                        let took = now.saturating_duration_since(session.joined_at);
                        self.counters.join_media.observe(took, 1);
                    }
                    queued
                }
                Forwarded::Elsewhere => continue,
                Forwarded::Drop(reason) => {
                    self.counters.drop(reason);
                    continue;
                }
            };
            if let Some(ahead) = ahead
                && !session.egress.queue(ahead)
            {
                self.counters.drop(DropReason::EgressQueueFull);
            }
            if !session.egress.queue(queued) {
                self.counters.drop(DropReason::EgressQueueFull);
            }
            if !session.is_dirty {
                session.is_dirty = true;
                self.dirty.push(subscriber.session);
            }
        }
    }

    /// Reads a little of the sessions that are next, so that it is on its way to the cache.
    fn warm_next_seal(&self) {
        let mut next = self.flushing.iter().rev().skip(WARM_AHEAD - 1);
        let mut session = |step| self.sessions.get(*next.nth(step)?);
        if let Some(near) = session(0) {
            near.egress.warm_queue();
        }
        if let Some(far) = session(WARM_AHEAD - 1) {
            far.egress.warm();
        }
    }

    /// Seals what is queued for one session, and its sender reports if they are about due.
    fn seal(&mut self, place: usize) {
        let (Some(session), Some(now)) = (self.sessions.get_mut(place), self.flushed_at) else {
            return;
        };
        session.is_dirty = false;
        let path = session.path();
        session
            .egress
            .flush(path, now, &mut self.outbox, &mut self.counters);
        if session.egress.has_cut {
            self.begin_anew(place, now);
        }
        let session = &mut self.sessions[place];
        if session.egress.report_at().is_some_and(|at| at <= now) {
            self.send_reports(place, now);
        }
        self.rearm_session(place);
    }

    /// Sets a session's timer for whatever it has to do next.
    pub(super) fn rearm_session(&mut self, place: usize) {
        let Some(session) = self.sessions.get_mut(place) else {
            return;
        };
        let timer = Timer::Session(place);
        let mut at = session.deadline();
        if !session.connected {
            at = Some(at.map_or(session.connect_by, |at| at.min(session.connect_by)));
        }
        self.timers.set_loosely(timer, &mut session.armed, at);
        // A probe measures by its pace, and so does what is paced; and with layers reviewed on the grid,
        // which has the beat of frames, a viewer of a slightly narrow path was left without a picture
        // (tests/stories).
        let exact = [
            session.egress.downlink.deadline(),
            session.egress.paces_at(),
        ];
        if let Some(at) = exact.into_iter().flatten().min() {
            self.timers.set(timer, &mut session.armed, Some(at));
        }
    }

    /// Something was put into a session's `rtc` that leaves with its next turn: at once.
    pub(super) fn hurry(&mut self, place: usize, now: Instant) {
        if let Some(session) = self.sessions.get_mut(place) {
            session.hurry(now);
            self.timers
                .set(Timer::Session(place), &mut session.armed, Some(now));
        }
    }
}
