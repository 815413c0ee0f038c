//! Which layer each slot of a session gets of what its path carries.

use std::mem;
use std::time::Instant;

use super::Engine;
use super::allocation::{Choice, SlotDemand, allocate};
use super::bitrate::Bitrate;
use super::choice::{Rung, rung_of};
use super::command::SlotWish;
use super::diary::Note;
use super::event::{Change, Kind};
use super::slot::{Queued, Slot};
use super::track::Subscriber;

/// What a path carries of which nothing is known yet.
pub(super) const UNLIMITED: Bitrate = Bitrate::kbps(1_000_000);

/// What a layer is taken to cost before it was measured: a small picture, or a voice.
const UNMEASURED_VIDEO: Bitrate = Bitrate::kbps(150);
const UNMEASURED_AUDIO: Bitrate = Bitrate::kbps(40);

/// Headers and retransmissions, in percent of the payload.
const OVERHEAD_PERCENT: u64 = 6;

/// The priority of a slot for which none was wished.
const DEFAULT_PRIORITY: u8 = 128;

/// Most packets of one turn of a probe.
const MAX_PROBE_PACKETS: usize = 32;

/// Size of a packet of padding: one byte counts it.
const PADDING_BYTES: u8 = 250;

/// How far back a probe takes packets to send again.
const PROBE_HISTORY: u64 = 64;

/// A slot with what it could show.
struct Offer {
    slot: usize,
    ladder: Vec<Rung>,
    costs: Vec<Bitrate>,
}

impl Engine {
    /// Time has passed for a session's path.
    pub(super) fn downlink_timeout(&mut self, place: usize, now: Instant) {
        let Some(session) = self.sessions.get_mut(place) else {
            return;
        };
        if session.egress.downlink.handle_timeout(now) {
            self.share_estimate(place, now);
            self.sessions[place].egress.downlink.poll_probe(now);
        }
        self.send_probe(place, now);
        if self.sessions[place].egress.is_pace_due(now) {
            self.mark_dirty(place);
        }
    }

    /// Pictures that were cut off, as too much of them waited, go on with keyframes once nothing waits;
    /// of a cheaper layer, if what is known of the path by now asks for one.
    pub(super) fn begin_anew(&mut self, place: usize, now: Instant) {
        let mended = self.sessions[place].egress.mended();
        if !mended.is_empty() {
            self.share_estimate(place, now);
        }
        for slot in mended {
            self.counters.cut_slots += 1;
            let session = &mut self.sessions[place];
            let number = slot as u16;
            session.diary.note(now, Note::Cut { slot: number });
            let shown = session.egress.slots[slot].subscription.as_ref();
            if let Some(wanted) = shown.map(|shown| shown.wanted) {
                self.want_keyframe(wanted.layer, now);
            }
        }
    }

    fn mark_dirty(&mut self, place: usize) {
        if !self.sessions[place].is_dirty {
            self.sessions[place].is_dirty = true;
            self.dirty.push(place);
        }
    }

    /// Takes note of what has become of a session's path.
    fn note_path(&mut self, place: usize, now: Instant) {
        let session = &mut self.sessions[place];
        let (state, overloads) = session.egress.downlink.news();
        self.counters.overloads += overloads;
        let Some(report) = session.egress.downlink.report() else {
            return;
        };
        self.counters.path_queue.observe(report.standing_queue, 1);
        if let Some(state) = state {
            let estimate = report.estimate;
            session.diary.note(now, Note::Path { state, estimate });
        }
    }

    /// Chooses the layers of all of a session's slots by what its path carries.
    pub(super) fn share_estimate(&mut self, place: usize, now: Instant) {
        self.note_path(place, now);
        let estimate = self.sessions[place].egress.downlink.estimate(now);
        let offers = self.offers(place, now);
        let demands: Vec<SlotDemand<'_>> = offers
            .iter()
            .map(|offer| self.demand(place, offer, now))
            .collect();
        let shed = self.shedding.share_percent();
        let budget = budget(estimate, shed, &demands);
        let allocation = allocate(budget.unwrap_or(UNLIMITED), &demands);
        let session = &mut self.sessions[place];
        let was_shed = mem::replace(&mut session.egress.shed_to, shed);
        if was_shed != shed {
            let percent = shed.unwrap_or(100);
            session.diary.note(now, Note::Shed { percent });
        }
        let egress = &mut session.egress;
        let next_step = allocation.next_step.filter(|_| shed.is_none());
        egress.downlink.shared(allocation.total, next_step);
        if let Some(tape) = &mut egress.downlink.tape {
            tape.shared(now, (estimate, shed), &demands, &allocation);
        }
        if budget.is_none() && was_shed.is_none() {
            return;
        }
        for (offer, choice) in offers.iter().zip(&allocation.choices) {
            self.give(place, offer, *choice, now);
        }
    }

    fn offers(&self, place: usize, now: Instant) -> Vec<Offer> {
        let slots = self.sessions[place].egress.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| !slot.is_paused())
            .filter_map(|(slot, sender)| {
                let track = sender.subscription.as_ref()?.track;
                let subscriber = Subscriber {
                    session: place,
                    slot,
                };
                let ladder = self.ladder(subscriber, track, now);
                let costs = ladder
                    .iter()
                    .map(|rung| cost(rung.bps, sender.kind))
                    .collect();
                Some(Offer {
                    slot,
                    ladder,
                    costs,
                })
            })
            .collect()
    }

    fn demand<'a>(&self, place: usize, offer: &'a Offer, now: Instant) -> SlotDemand<'a> {
        let session = &self.sessions[place];
        let room = &self.rooms[session.room];
        let slot = &session.egress.slots[offer.slot];
        let shown = slot.subscription.as_ref();
        let current = shown
            .and_then(|shown| shown.current)
            .and_then(|current| rung_of(&offer.ladder, &current));
        let (priority, size) = match room.wish_of(place, offer.slot) {
            Some(SlotWish::Track { priority, size, .. }) => (*priority, *size),
            _ => (DEFAULT_PRIORITY, None),
        };
        SlotDemand {
            slot: offer.slot as u16,
            kind: slot.kind,
            priority,
            height: size.and_then(|(_, height)| height.try_into().ok()),
            is_speaker: shown.is_some_and(|shown| room.is_speakers(self.tracks[shown.track].id)),
            current,
            may_rise: !slot.was_lowered(now),
            is_kept: self.shedding.share_percent().is_none() && session.egress.may_not_starve(slot),
            layers: &offer.costs,
        }
    }

    /// Lets a slot show what it was given.
    fn give(&mut self, place: usize, offer: &Offer, choice: Choice, now: Instant) {
        let subscriber = Subscriber {
            session: place,
            slot: offer.slot,
        };
        let egress = &mut self.sessions[place].egress;
        let is_broken_down = egress.downlink.is_broken_down();
        let slot = &mut egress.slots[offer.slot];
        let Some(subscription) = slot.subscription.as_mut() else {
            return;
        };
        let (track, current) = (subscription.track, subscription.current);
        let starves = choice == Choice::Paused;
        let mut is_given_up = false;
        if let Choice::Layer(chosen) = choice {
            let shown = current.and_then(|current| rung_of(&offer.ladder, &current));
            let is_lowered = shown.is_some_and(|shown| chosen < shown);
            if is_lowered {
                slot.lowered_at = Some(now);
            }
            subscription.is_overloaded = is_lowered;
            let is_other = current.is_some_and(|it| it.layer != offer.ladder[chosen].quality.layer);
            is_given_up = is_lowered && is_other && is_broken_down;
            let is_best = chosen + 1 == offer.ladder.len();
            slot.ceiling = (!is_best).then_some(offer.ladder[chosen].quality);
        }
        if is_given_up {
            // The queue has only the keyframe of what was chosen to carry.
            egress.give_up(offer.slot, now, &mut self.counters);
        }
        let slot = &mut egress.slots[offer.slot];
        let was_starving = slot.starve(starves);
        if starves != was_starving {
            self.counters.starved_slots += u64::from(starves);
            let mid = slot.mid.clone();
            let note = Note::Starved {
                slot: offer.slot as u16,
                starves,
            };
            self.sessions[place].diary.note(now, note);
            let paused = starves;
            self.tell(place, Change::Quality { mid, paused });
        }
        if was_starving && !starves {
            self.subscribe(subscriber, track, now);
        } else if !starves {
            self.review_layer(subscriber, track, now);
        }
    }

    /// Sends what a probe lacks: packets of the newest pictures once more, which a receiver can
    /// even use if one of them was lost.
    fn send_probe(&mut self, place: usize, now: Instant) {
        let egress = &mut self.sessions[place].egress;
        let waiting = egress.waiting_bytes();
        let mut missing = egress.downlink.probe_bytes(waiting, now);
        let mut packets = 0;
        while missing > 0 && packets < MAX_PROBE_PACKETS {
            let Some(bytes) = self.queue_again(place, packets as u64) else {
                self.sessions[place].egress.downlink.give_up_probe();
                break;
            };
            missing = missing.saturating_sub(bytes);
            packets += 1;
        }
        if packets > 0 {
            self.mark_dirty(place);
        }
    }

    /// Queues a recent packet of some picture once more, `back` packets from the newest; or
    /// padding, where no picture flows.
    fn queue_again(&mut self, place: usize, back: u64) -> Option<u64> {
        let egress = &mut self.sessions[place].egress;
        let layers = &self.layers;
        let is_video = |(_, slot): &(usize, &mut Slot)| slot.kind == Kind::Video;
        let mut slots = egress.slots.iter_mut().enumerate();
        let again = slots.by_ref().filter(is_video).find_map(|(number, slot)| {
            let (seq, origin) = slot.recent(back % PROBE_HISTORY)?;
            let layer = layers.get(origin.source.place)?;
            let packet = slot.sent_as(seq, &origin, layer)?;
            let is_same = layer.serial == origin.source.serial;
            is_same.then(|| slot.retransmit(number as u16, seq, &origin, &packet))?
        });
        let slots = egress.slots.iter_mut().enumerate();
        let again = again.or_else(|| {
            slots.filter(is_video).find_map(|(number, slot)| {
                let wanted = slot.subscription.as_ref()?.wanted.layer;
                let like = layers.get(wanted.place)?.newest()?;
                slot.pad(number as u16, like, PADDING_BYTES)
            })
        })?;
        let again = Queued {
            is_probe: true,
            ..again
        };
        let bytes = match again.padding {
            0 => again.packet.payload.len() as u64,
            padding => u64::from(padding),
        };
        egress.queue(again).then_some(bytes)
    }
}

/// What there is to share of what a path carries, where this much of the video may be shown: the
/// machine's limit counts as the path's.
pub(super) fn budget(
    estimate: Option<Bitrate>,
    video_percent: Option<u64>,
    demands: &[SlotDemand<'_>],
) -> Option<Bitrate> {
    let most = video_percent.map(|percent| shed_to(percent, demands));
    [estimate, most].into_iter().flatten().min()
}

/// What is left where this much of video may be shown, and all sound.
fn shed_to(percent: u64, demands: &[SlotDemand<'_>]) -> Bitrate {
    let most = |demand: &SlotDemand<'_>| {
        let most = demand.layers.last().map_or(0, |bitrate| bitrate.as_bps());
        match demand.kind {
            Kind::Audio => most,
            Kind::Video => most * percent / 100,
        }
    };
    Bitrate::bps(demands.iter().map(most).sum())
}

/// What a step of a ladder costs on the way.
fn cost(payload_bps: u64, kind: Kind) -> Bitrate {
    let payload_bps = match (payload_bps, kind) {
        (0, Kind::Audio) => UNMEASURED_AUDIO.as_bps(),
        (0, Kind::Video) => UNMEASURED_VIDEO.as_bps(),
        (bps, _) => bps,
    };
    Bitrate::bps(payload_bps * (100 + OVERHEAD_PERCENT) / 100)
}
