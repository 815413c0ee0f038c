//! The end of a wake-up: what came in is handed to its receivers, sealed, and given out.
//!
//! Twice each receiver is visited: once with all packets that its track got, and once to seal all
//! that it got of any, and to see when it is to be woken next. A visit to one whom nobody visited
//! for some milliseconds is mostly a wait for memory, so what those who are next need is fetched
//! ahead; and where only one track has something, which is most of the time, its receivers are visited both
//! times before others have pushed them out of the cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use super::cache;
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

/// Receivers of a track that are handed its packets before they are sealed: more would leave the second-level
/// cache in between, and fewer would not fill a batch with audio.
const TURN: usize = 64;

/// What a wake-up has for the receivers of its tracks, while it is handed to them.
#[derive(Debug, Default)]
pub(super) struct Handing {
    /// Track, layer, and what.
    packets: Vec<(usize, LayerRef, Passing)>,
    /// The receivers of the only track, if there is only one, and how many of them had their turn.
    receivers: Vec<Subscriber>,
    served: usize,
}

/// What a track has for its receivers, until the wake-up is over.
#[derive(Debug)]
pub(super) enum Passing {
    /// A packet that was sent.
    Packet(Arc<MediaPacket>),
    /// Padding: a sequence number without a payload.
    Padding(u64),
}

impl Handing {
    /// The track in this place is no more.
    pub(super) fn forget(&mut self, place: usize) {
        self.packets.retain(|(track, ..)| *track != place);
    }
}

impl Engine {
    /// The wake-up is over: everything that is queued leaves with the batches that follow.
    ///
    /// They are to be fetched before anything else is handed in.
    pub fn flush(&mut self, now: Instant) {
        self.look_for_standstill(self.oldest_passing(), now);
        self.flushed_at = Some(now);
        if self.handing.packets.is_empty() {
            self.hand_over(now);
        }
        self.flushing.append(&mut self.dirty);
    }

    /// The next datagrams to send, some hundred kilobytes of them at the most.
    ///
    /// They are sealed only now, so that they are still in the processor's cache when the kernel
    /// copies them.
    pub fn poll_batch(&mut self) -> Option<Batch<'_>> {
        while !self.outbox.is_full() {
            let Some(place) = self.flushing.pop() else {
                if self.hand_over_more() {
                    continue;
                }
                break;
            };
            self.warm_next_seal();
            if catch_unwind(AssertUnwindSafe(|| self.seal(place))).is_err() {
                let now = self.flushed_at.expect("only a flush fills the list");
                self.fail(place, now);
            }
        }
        self.outbox.poll()
    }

    /// Hands over what came in since the last time; or only begins to, if it is of one track: then its
    /// receivers have their turns while batches are made.
    fn hand_over(&mut self, now: Instant) {
        let mut handing = std::mem::take(&mut self.handing);
        std::mem::swap(&mut handing.packets, &mut self.passing);
        let Handing {
            packets,
            receivers,
            served,
        } = &mut handing;
        *served = 0;
        let is_one_track = packets.iter().all(|(track, ..)| *track == packets[0].0);
        for of_track in packets.chunk_by(|(one, ..), (next, ..)| one == next) {
            let track = self.tracks.get(of_track[0].0);
            receivers.clear();
            receivers.extend(track.iter().flat_map(|track| &track.subscribers));
            if !is_one_track {
                self.serve_all(receivers, of_track, now);
            }
        }
        if !is_one_track {
            packets.clear();
        }
        self.handing = handing;
    }

    /// Hands the packets of the only track to some more of its receivers; `false` if all have them.
    fn hand_over_more(&mut self) -> bool {
        if self.handing.packets.is_empty() {
            return false;
        }
        let now = self.flushed_at.expect("only a flush fills the list");
        let mut handing = std::mem::take(&mut self.handing);
        let turn = handing.served;
        handing.served = (turn + TURN).min(handing.receivers.len());
        let receivers = &handing.receivers[turn..handing.served];
        self.serve_all(receivers, &handing.packets, now);
        let is_over = |track: usize| !self.tracks.contains(track);
        if handing.served == handing.receivers.len() || is_over(handing.packets[0].0) {
            handing.packets.clear();
        }
        self.handing = handing;
        self.flushing.append(&mut self.dirty);
        true
    }

    /// Hands a track's packets to these of its receivers.
    fn serve_all(
        &mut self,
        receivers: &[Subscriber],
        packets: &[(usize, LayerRef, Passing)],
        now: Instant,
    ) {
        let is_held_up = self.standstill.has_held_up(packets);
        for (place, &receiver) in receivers.iter().enumerate() {
            self.warm_next(&receivers[place..]);
            let work = AssertUnwindSafe(|| {
                let packets = if is_held_up {
                    self.hold_up(receiver, packets, now)
                } else {
                    packets
                };
                self.serve(receiver, packets, now);
            });
            if catch_unwind(work).is_err() {
                self.fail(receiver.session, now);
            }
        }
    }

    /// Fetches what those who are next need, so that it is on its way to the cache: first where
    /// it is, then the slot, then where its packet goes.
    fn warm_next(&self, receivers: &[Subscriber]) {
        let session = |ahead: usize| {
            let receiver = receivers.get(ahead * WARM_AHEAD)?;
            Some((self.sessions.get(receiver.session)?, receiver.slot))
        };
        if let Some((session, _)) = session(3) {
            session.egress.warm();
            cache::fetch(&session.is_dirty);
        }
        if let Some((session, slot)) = session(2)
            && let Some(slot) = session.egress.slots.get(slot)
        {
            cache::fetch(slot);
        }
        if let Some((session, slot)) = session(1) {
            session.egress.warm_slot(slot);
        }
    }

    /// Hands a track's packets to one receiver.
    fn serve(
        &mut self,
        subscriber: Subscriber,
        packets: &[(usize, LayerRef, Passing)],
        now: Instant,
    ) {
        // A session that failed half-way may still stand in the list, and so may those of a track that
        // ended with its publisher's.
        let (Some(session), Some(track)) = (
            self.sessions.get_mut(subscriber.session),
            packets
                .first()
                .and_then(|(track, ..)| self.tracks.get(*track)),
        ) else {
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

    /// Fetches what the sessions that are next to be sealed need.
    fn warm_next_seal(&self) {
        let mut next = self.flushing.iter().rev().skip(WARM_AHEAD - 1);
        let mut session = |step| self.sessions.get(*next.nth(step)?);
        if let Some(near) = session(0) {
            near.egress.warm_records();
        }
        if let Some(far) = session(WARM_AHEAD - 1) {
            far.egress.warm_queue();
        }
        if let Some(farther) = session(WARM_AHEAD - 1) {
            farther.warm();
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
