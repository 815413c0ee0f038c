//! What HTTP asks for: sessions changed and ended. (How they are made is in `join`.)

use std::collections::BTreeMap;
use std::time::Instant;

use super::Engine;
use super::command::{Command, CommandError, Reply, SlotWish, Wish};
use super::counters::DropReason;
use super::event::{Change, CloseReason};
use super::ids::SessionId;
use super::join::check_lines;
use super::offering::Offering;
use super::sdp::{self, Fragment, IceCredentials, OfferSummary, RestartAnswer};

impl Engine {
    /// Panics in the work for one session, as a mistake of ours would. Nothing that clients or
    /// operators say leads here: it is for tests of what the others notice.
    ///
    /// # Panics
    /// It does, and catches it as it would any other.
    pub fn panic_in(&mut self, session: SessionId, now: Instant) {
        if let Some(place) = self.session_ids.get(&session).copied() {
            self.guarded(place, now, |_| panic!("on purpose"));
        }
    }

    pub(super) fn command(
        &mut self,
        command: Command,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        match command {
            Command::Join(join) => self.join(*join, now),
            Command::Trickle {
                session,
                if_match,
                fragment,
            } => self.trickle(session, if_match.as_deref(), &fragment, now),
            Command::Describe {
                session,
                if_match,
                description,
            } => self.describe(session, if_match.as_deref(), &description, now),
            Command::Subscribe {
                session,
                if_match,
                wish,
            } => self.subscribe_to(session, if_match.as_deref(), wish, now),
            Command::LimitLayer {
                session,
                mid,
                limit,
            } => self.limit_layer(session, &mid, limit, now),
            Command::Layers { session } => self.slot_layers(session, now),
            Command::Mute { session, muted } => self.mute(session, &muted, now),
            Command::SetAttributes {
                session,
                attributes,
            } => self.set_attributes(session, attributes, now),
            Command::Say(say) => self.say(*say, now),
            Command::Administer(command) => self.administer(command, now),
            Command::Snapshot { session } => self.snapshot(session),
            Command::Leave { session } => {
                let place = self.session_place(session)?;
                self.end_session(place, CloseReason::Left, now);
                Ok(Reply::Done)
            }
            Command::Expel { session } => {
                let place = self.session_place(session)?;
                self.end_session(place, CloseReason::Expired, now);
                Ok(Reply::Done)
            }
            Command::Headroom(headroom) => Ok(self.headroom(headroom, now)),
            Command::Drain => {
                self.drain();
                Ok(Reply::Done)
            }
            Command::Shutdown => {
                self.shut_down(now);
                Ok(Reply::Done)
            }
            Command::Record {
                room,
                participant,
                length,
            } => {
                self.record(room, participant.as_ref(), length, now)?;
                Ok(Reply::Done)
            }
            Command::Recorded { room, participant } => {
                Ok(Reply::Recorded(self.recorded(&room, &participant)))
            }
            Command::Overview => Ok(Reply::Overview(self.overview(now))),
            Command::Inspect { room, participant } => {
                Ok(Reply::Inspected(self.inspect(&room, &participant, now)))
            }
            Command::Counters => Ok(Reply::Counters(Box::new(self.gauges()))),
        }
    }

    pub(super) fn session_place(&self, session: SessionId) -> Result<usize, CommandError> {
        self.session_ids
            .get(&session)
            .copied()
            .ok_or(CommandError::NoSuchSession)
    }

    /// Candidates of the client's, or new credentials: an ICE restart (RFC 9725 §4.3).
    ///
    /// A lite agent never sends a check, so candidates are read for their form and left at that.
    fn trickle(
        &mut self,
        session: SessionId,
        if_match: Option<&str>,
        fragment: &str,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let place = self.session_place(session)?;
        let session = &self.sessions[place];
        check_tag(if_match, &session.tags.ice_tag())?;
        let fragment = Fragment::parse(fragment, self.config.limits.candidates)?;
        let summary = OfferSummary::parse(&session.offer)?;
        let known = |mid: &String| summary.lines.iter().any(|line| line.mid == *mid);
        if let Some(mid) = fragment.mids.iter().find(|mid| !known(mid)) {
            return Err(CommandError::Malformed(format!(
                "no m-line has the mid {mid:?}"
            )));
        }
        let excess = fragment.excess_candidates as u64;
        self.counters.drop_all(DropReason::CandidateLimit, excess);
        match fragment.ice {
            // Before its answer a client has nothing to restart: these are its first.
            Some(ice) if ice != summary.ice && !session.offering.is_open() => {
                let offer = with_credentials(&session.offer, &ice);
                self.renegotiate(place, &offer, now)?;
                let session = &self.sessions[place];
                let ours = IceCredentials {
                    ufrag: session.credentials.ufrag.clone(),
                    pwd: session.credentials.pass.clone(),
                };
                let lines: Vec<_> = summary
                    .lines
                    .iter()
                    .map(|line| (line.mid.as_str(), line.kind))
                    .collect();
                let answer = RestartAnswer {
                    lines: &lines,
                    ice: &ours,
                    candidates: &self.config.advertised,
                };
                Ok(Reply::IceRestarted {
                    fragment: answer.write(),
                    ice_tag: session.tags.ice_tag(),
                })
            }
            _ => Ok(Reply::Done),
        }
    }

    /// A new offer of the client's: more slots, another track, one stopped, an ICE restart. Or its
    /// answer, where the offer was ours.
    fn describe(
        &mut self,
        session: SessionId,
        if_match: Option<&str>,
        offer: &str,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let place = self.session_place(session)?;
        let session = &self.sessions[place];
        if !matches!(session.offering, Offering::None) {
            // The draft has one tag, that of the ICE session.
            check_tag(if_match, &session.tags.ice_tag())?;
            return self.answered(place, offer, now);
        }
        check_tag(if_match, &session.tags.sdp_tag())?;
        let former = OfferSummary::parse(&self.sessions[place].offer)?;
        let summary = OfferSummary::parse(offer)?;
        check_lines(&summary, self.config.limits)?;
        sdp::check_reoffer(&former, &summary)?;
        let answer = self.renegotiate(place, offer, now)?;
        let tags = &mut self.sessions[place].tags;
        tags.sdp += 1;
        Ok(Reply::Reoffered {
            answer,
            ice_tag: tags.ice_tag(),
            sdp_tag: tags.sdp_tag(),
        })
    }

    fn subscribe_to(
        &mut self,
        session: SessionId,
        if_match: Option<&str>,
        wish: Wish,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let place = self.session_place(session)?;
        check_tag(if_match, &self.sessions[place].tags.subscriptions_tag())?;
        let room = self.sessions[place].room;
        if let Some(mid) = wish
            .slots
            .keys()
            .find(|mid| !self.rooms[room].has_slot(place, mid))
        {
            return Err(CommandError::Unsupported(format!(
                "no slot has the mid {mid:?}"
            )));
        }
        let paused = |wish: &SlotWish| matches!(wish, SlotWish::Track { paused: true, .. });
        let paused: Vec<String> = wish
            .slots
            .iter()
            .filter(|(_, wish)| paused(wish))
            .map(|(mid, _)| mid.clone())
            .collect();
        self.rooms[room].wish(place, wish, now);
        self.carry_out(room, now);
        self.review_slots(place, &paused, now);
        self.run(place, now);

        let session = &mut self.sessions[place];
        session.tags.subscriptions += 1;
        Ok(Reply::Subscribed {
            bindings: self.rooms[room].bindings(place),
            version: session.version,
            subscriptions_tag: session.tags.subscriptions_tag(),
        })
    }

    /// Which of its own tracks a client has muted; for the others to see. It decides nothing about
    /// media, unless a host has muted the track, too.
    fn mute(
        &mut self,
        session: SessionId,
        muted: &BTreeMap<String, bool>,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let place = self.session_place(session)?;
        let session = &mut self.sessions[place];
        let known = |mid: &String| session.lines.iter().any(|line| line.mid == *mid);
        if let Some(mid) = muted.keys().find(|mid| !known(mid)) {
            return Err(CommandError::Unsupported(format!(
                "no track of yours has the mid {mid:?}"
            )));
        }
        let mut released = Vec::new();
        for line in &mut session.lines {
            if let Some(muted) = muted.get(&line.mid) {
                line.muted = *muted;
                if !muted && std::mem::take(&mut line.is_held) {
                    released.extend(line.track);
                }
            }
        }
        let room = session.room;
        for track in released {
            self.release(track, now);
        }
        self.show_mutes(place, now);
        self.carry_out(room, now);
        Ok(Reply::Done)
    }

    fn snapshot(&self, session: SessionId) -> Result<Reply, CommandError> {
        let place = self.session_place(session)?;
        let session = &self.sessions[place];
        let snapshot = self.rooms[session.room].snapshot(place, session.version);
        let mut snapshot = snapshot.ok_or(CommandError::NoSuchSession)?;
        snapshot.layers_wanted = self.demands_told(place);
        let starved = session.egress.slots.iter().filter(|slot| slot.is_starved());
        snapshot.paused = starved.map(|slot| slot.mid.clone()).collect();
        Ok(Reply::Snapshot(Box::new(snapshot)))
    }

    /// Once: who was told needs no second word.
    fn drain(&mut self) {
        if std::mem::replace(&mut self.is_draining, true) {
            return;
        }
        for place in self.session_places() {
            self.tell(place, Change::Reconnect { url: None });
        }
    }

    pub(super) fn session_places(&self) -> Vec<usize> {
        self.sessions.iter().map(|(place, _)| place).collect()
    }

    fn shut_down(&mut self, now: Instant) {
        self.drain();
        self.is_shutting_down = true;
        for place in self.session_places() {
            self.end_session(place, CloseReason::Shutdown, now);
        }
    }
}

/// An `If-Match` precondition (RFC 9110 §13.1.1); `*` matches whatever there is.
fn check_tag(if_match: Option<&str>, current: &str) -> Result<(), CommandError> {
    match if_match {
        None | Some("*") => Ok(()),
        Some(tag) if tag == current => Ok(()),
        Some(_) => Err(CommandError::Stale),
    }
}

/// An earlier offer with the client's new credentials.
fn with_credentials(offer: &str, ice: &IceCredentials) -> String {
    let mut renewed = String::with_capacity(offer.len() + 64);
    for line in offer.lines() {
        if line.starts_with("a=ice-ufrag:") {
            renewed.push_str("a=ice-ufrag:");
            renewed.push_str(&ice.ufrag);
        } else if line.starts_with("a=ice-pwd:") {
            renewed.push_str("a=ice-pwd:");
            renewed.push_str(&ice.pwd);
        } else {
            renewed.push_str(line);
        }
        renewed.push_str("\r\n");
    }
    renewed
}
