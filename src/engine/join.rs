//! How a session is made, and how its description changes: offers answered.
//!
//! The client offers (RFC 9725), so no two offers ever cross; only at the beginning of a player's
//! session may it be us (`offering`). str0m reads the offer and writes the answer; what it would
//! send on, it must not: every m-line that we send on becomes a [`Slot`] of our own egress, and the
//! answer names the slot's SSRCs in place of str0m's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rand::RngExt;
use rand::rngs::StdRng;
use str0m::change::SdpOffer;
use str0m::media::{Direction, Mid};
use str0m::{IceCreds, Rtc, RtcConfig};
use tracing::info;

use super::bitrate::Bitrate;
use super::channels::{Channels, MAX_BUFFERED_BYTES, MAX_MESSAGE_BYTES};
use super::command::{CommandError, Door, Join, Joined, Reply};
use super::event::{CloseReason, Kind, ParticipantInfo, Role};
use super::extension::{DEPENDENCY_DESCRIPTOR_ID, dependency_descriptor};
use super::header::HeaderTemplate;
use super::ids::{ParticipantId, RoomId, SessionId, TrackId, base32};
use super::limits::Limits;
use super::notice::News;
use super::room::Room;
use super::sdp::{self, AnswerLine, IceCredentials, LineKind, OfferLine, OfferSummary, SendSource};
use super::session::{LocalLine, Session};
use super::slot::{Slot, SlotCodec};
use super::track::{Origin, Track};
use super::ufrag::ufrag_of_session;
use super::{CONNECT_PATIENCE, Engine, SessionKey, dtls, offering};

/// Characters of an ICE password: 120 random bits. RFC 8445 §5.3 asks for 22 characters at least
/// and for 128 bits in password and user fragment together, which has 20 more.
const PASSWORD_CHARS: u32 = 24;

/// A session that ended lately, for whoever continues it.
#[derive(Debug)]
pub(super) struct Resumable {
    pub(super) session: SessionId,
    pub(super) room: RoomId,
    pub(super) participant: ParticipantInfo,
    /// What its path was known to carry.
    pub(super) limit: Option<Bitrate>,
    pub(super) until: Instant,
}

impl Engine {
    pub(super) fn join(&mut self, join: Join, now: Instant) -> Result<Reply, CommandError> {
        if self.is_draining || self.sessions.len() >= self.config.limits.sessions {
            return Err(CommandError::Overloaded);
        }
        if !self.room_ids.contains_key(&join.room) {
            self.check_rooms()?;
        }
        let summary = check_offer(&join, self.config.limits)?;
        self.check_published(&join)?;
        let limit = self.former_limit(&join);
        let member = self.member_of(&join, now)?;
        if let Some(shard) = self.elsewhere(&join) {
            let room = self.room_ids[&join.room];
            self.rooms[room].expect_viewer(shard);
            return Ok(Reply::Elsewhere {
                shard,
                join: Box::new(join),
            });
        }
        let participant = member.id.clone();
        let former = self.former_session(&join, &participant);
        let place = self.sessions.vacant_key();
        let mut session = self.new_session(place, join.door.clone(), now)?;
        let answer = match (&join.offer, &summary) {
            (Some(offer), Some(summary)) => {
                negotiate(&mut session, offer, summary, &mut self.rng, now)?
            }
            _ => offering::offer(&mut session, &mut self.rng, now)?,
        };

        // From here on nothing can fail.
        let is_new_room = !self.room_ids.contains_key(&join.room);
        session.room = self.room_place(&join.room, now);
        let (id, tags, room) = (session.id, session.tags, session.room);
        self.sessions.insert(Box::new(session));
        self.session_ids.insert(id, place);
        self.counters.sessions_opened += 1;
        info!(
            session = ?id,
            room = %join.room,
            %participant,
            door = join.door.label(),
            "session opened"
        );

        self.record_newcomer(place, &join.room, now);
        if let Some(home) = join.home {
            self.rooms[room].set_home(home);
        }
        if is_new_room {
            self.announce(room, News::RoomStarted, now);
        }
        let joined_ms = self.wall_clock_ms(now);
        self.rooms[room].join(place, member, join.door, join.is_hidden, joined_ms);
        self.viewers_changed(room);
        if let Some(former) = former {
            self.rooms[room].take_over(place, former);
        }
        if let Some(limit) = limit {
            self.sessions[place].egress.expect(limit, now);
        }
        self.slots_changed(place, now);
        if limit.is_some() {
            self.share_estimate(place, now);
        }
        if let Some(former) = former {
            self.end_session(former, CloseReason::Resumed, now);
        }
        self.run(place, now);
        Ok(Reply::Joined(Joined {
            session: id,
            participant,
            answer,
            ice_tag: tags.ice_tag(),
            sdp_tag: tags.sdp_tag(),
            subscriptions_tag: tags.subscriptions_tag(),
        }))
    }

    /// Answers another offer of a session that exists.
    pub(super) fn renegotiate(
        &mut self,
        place: usize,
        offer: &str,
        now: Instant,
    ) -> Result<String, CommandError> {
        let summary = OfferSummary::parse(offer)?;
        let answer = negotiate(
            &mut self.sessions[place],
            offer,
            &summary,
            &mut self.rng,
            now,
        )?;
        self.slots_changed(place, now);
        if self.sessions[place].connected {
            self.publish_tracks(place, now);
        }
        let room = self.sessions[place].room;
        self.carry_out(room, now);
        self.run(place, now);
        Ok(answer)
    }

    /// Whether a player that is not to wait finds what it came for. Home has said so before where
    /// the room is a mirror here.
    fn check_published(&self, join: &Join) -> Result<(), CommandError> {
        let Door::Watch { participant } = &join.door else {
            return Ok(());
        };
        if !join.needs_publisher || join.home.is_some() {
            return Ok(());
        }
        let room = self.room_ids.get(&join.room).map(|it| &self.rooms[*it]);
        if room.is_some_and(|room| room.has_track_of(participant.as_ref())) {
            Ok(())
        } else {
            Err(CommandError::NobodyPublishes)
        }
    }

    /// Who somebody is: who they were, who they ask to be, or somebody new.
    fn member_of(&mut self, join: &Join, now: Instant) -> Result<ParticipantInfo, CommandError> {
        let somebody = |id: ParticipantId| ParticipantInfo {
            id,
            name: join.name.clone(),
            attributes: None,
            role: join.is_host.then_some(Role::Host),
        };
        let room = self.room_ids.get(&join.room).map(|it| &self.rooms[*it]);
        let limit = self.config.limits.participants_per_room;
        let limit = room.map_or(limit, |room| room.limit(limit));
        let present = room.map_or(0, Room::population);
        let is_locked = room.is_some_and(Room::is_locked) && !join.is_host;
        if let Door::Publish {
            participant: Some(asked),
        } = &join.door
            && let Some(publisher) = room.and_then(|room| room.publisher_named(asked))
        {
            return if join.takes_over || self.sessions[publisher].is_abandoned(now) {
                Ok(somebody(asked.clone()))
            } else {
                Err(CommandError::ParticipantExists(asked.clone()))
            };
        }
        // Who takes their own place is there already.
        let is_replaced = join.resume.is_some_and(|id| self.is_in(id, &join.room));
        if present - usize::from(is_replaced) >= limit {
            let room = join.room.clone();
            return Err(CommandError::RoomFull { room, limit });
        }
        if let Some(former) = join.resume.and_then(|id| self.former(id, join, now)) {
            return Ok(ParticipantInfo {
                attributes: former.attributes,
                ..somebody(former.id)
            });
        }
        if is_locked {
            return Err(CommandError::RoomLocked(join.room.clone()));
        }
        let id = match &join.door {
            Door::Publish {
                participant: Some(asked),
            } => asked.clone(),
            _ => ParticipantId::random(&mut self.rng),
        };
        Ok(somebody(id))
    }

    /// Whether a session is there, and in this room.
    fn is_in(&self, session: SessionId, room: &RoomId) -> bool {
        let place = self.session_ids.get(&session);
        place.is_some_and(|place| *self.rooms[self.sessions[*place].room].id() == *room)
    }

    /// The session whose place this one takes, if it is still there.
    fn former_session(&self, join: &Join, participant: &ParticipantId) -> Option<usize> {
        if let Door::Publish {
            participant: Some(_),
        } = join.door
        {
            let room = &self.rooms[*self.room_ids.get(&join.room)?];
            return room.publisher_named(participant);
        }
        let place = *self.session_ids.get(&join.resume?)?;
        let room = &self.rooms[self.sessions[place].room];
        (*room.id() == join.room).then_some(place)
    }

    /// Who held a session that this one continues, if it was in the same room.
    fn former(&mut self, id: SessionId, join: &Join, now: Instant) -> Option<ParticipantInfo> {
        if let Some(place) = self.session_ids.get(&id) {
            let room = &self.rooms[self.sessions[*place].room];
            return (*room.id() == join.room)
                .then(|| room.info_of(*place).cloned())
                .flatten();
        }
        self.resumable.retain(|resumable| resumable.until > now);
        let place = self
            .resumable
            .iter()
            .position(|resumable| resumable.session == id && resumable.room == join.room)?;
        self.resumable
            .remove(place)
            .map(|resumable| resumable.participant)
    }

    /// What is known of the path of the session that this one continues.
    fn former_limit(&self, join: &Join) -> Option<Bitrate> {
        let id = join.resume?;
        if let Some(place) = self.session_ids.get(&id) {
            return self.sessions[*place].egress.downlink.limit();
        }
        let mut ended = self.resumable.iter();
        ended.find(|ended| ended.session == id)?.limit
    }

    pub(super) fn room_place(&mut self, id: &RoomId, now: Instant) -> usize {
        let known = self.room_ids.get(id).copied();
        known.unwrap_or_else(|| self.new_room(id, now))
    }

    fn new_session(
        &mut self,
        place: usize,
        door: Door,
        now: Instant,
    ) -> Result<Session, CommandError> {
        self.generation = self.generation.wrapping_add(1);
        let key = SessionKey {
            shard: self.config.shard,
            index: place as u32,
            generation: self.generation,
        };
        let credentials = new_credentials(key, &mut self.rng);
        let config = transport_config()
            .set_dtls_cert(self.certificate.to_dtls_cert())
            .set_local_ice_credentials(credentials.clone());
        let (mut rtc, keys) = dtls::build(config, now);
        for candidate in self.advertised.candidates() {
            rtc.add_local_candidate(candidate);
        }
        let mut session = Session::new(
            SessionId::random(&mut self.rng),
            key,
            door,
            usize::MAX,
            (rtc, keys),
            credentials,
            self.advertised.clone(),
            self.rng.random(),
            now,
            now + CONNECT_PATIENCE,
        );
        session.channels = Channels::new(self.config.limits.channels);
        Ok(session)
    }

    /// A session's slots are as its description says: the room fills them.
    pub(super) fn slots_changed(&mut self, place: usize, now: Instant) {
        let session = &self.sessions[place];
        let slots: Vec<(String, Kind)> = session
            .egress
            .slots
            .iter()
            .map(|slot| (slot.mid.clone(), slot.kind))
            .collect();
        let room = session.room;
        self.rooms[room].set_slots(place, &slots, now);
        self.carry_out(room, now);
    }

    /// Publishes the tracks that a client sends now, and ends those that it no longer does.
    pub(super) fn publish_tracks(&mut self, place: usize, now: Instant) {
        let room = self.sessions[place].room;
        for i in 0..self.sessions[place].lines.len() {
            let line = self.sessions[place].lines[i].clone();
            match (line.sends, line.track) {
                (true, None) => {
                    let id = TrackId::random(&mut self.rng);
                    let origin = Origin::Session {
                        publisher: place,
                        mid: line.media,
                    };
                    let mut track = Track::new(id, line.kind, origin);
                    track.is_held = line.is_held;
                    let track = self.tracks.insert(track);
                    self.track_ids.insert(id, track);
                    self.sessions[place].lines[i].track = Some(track);
                    self.rooms[room].publish(place, id, line.kind, line.slides, now);
                    self.rooms[room].mute(id, line.muted, muted_by(&line), now);
                }
                (false, Some(track)) => {
                    let id = self.tracks[track].id;
                    self.sessions[place].lines[i].track = None;
                    let layers = &self.tracks[track].layers;
                    self.sessions[place]
                        .layers
                        .retain(|(_, layer)| !layers.contains(layer));
                    self.drop_track(track);
                    self.rooms[room].unpublish(id, now);
                }
                _ => {}
            }
        }
    }

    /// Shows the others which of a client's tracks are muted.
    pub(super) fn show_mutes(&mut self, place: usize, now: Instant) {
        let session = &self.sessions[place];
        for line in &session.lines {
            if let Some(track) = line.track {
                let id = self.tracks[track].id;
                self.rooms[session.room].mute(id, line.muted, muted_by(line), now);
            }
        }
    }
}

fn muted_by(line: &LocalLine) -> Option<Role> {
    line.is_held.then_some(Role::Host)
}

/// What somebody offers, if their door takes that; `None` where we are to offer, to a player.
fn check_offer(join: &Join, limits: Limits) -> Result<Option<OfferSummary>, CommandError> {
    let is_player = matches!(join.door, Door::Watch { .. });
    let offer = match &join.offer {
        Some(offer) => offer,
        None if is_player => return Ok(None),
        None => return Err(CommandError::Malformed("there is no offer".into())),
    };
    let summary = OfferSummary::parse(offer)?;
    check_lines(&summary, limits)?;
    match join.door {
        Door::Publish { .. } => sdp::check_whip(&summary)?,
        Door::Watch { .. } => sdp::check_whep(&summary)?,
        Door::Meet => sdp::check_meet(&summary)?,
    }
    Ok(Some(summary))
}

/// Whether a session may have so many m-lines.
pub(super) fn check_lines(summary: &OfferSummary, limits: Limits) -> Result<(), CommandError> {
    let limit = limits.media_lines;
    if summary.lines.len() > limit {
        return Err(CommandError::TooManyMediaLines { limit });
    }
    Ok(())
}

/// Has str0m answer an offer, and makes the answer ours.
fn negotiate(
    session: &mut Session,
    offer: &str,
    summary: &OfferSummary,
    rng: &mut StdRng,
    now: Instant,
) -> Result<String, CommandError> {
    let answer = accept(&mut session.rtc, &summary.normalize(offer))?;
    check_codecs(session, summary)?;
    if session.rtc.direct_api().local_ice_credentials() != session.credentials {
        // The offer restarted ICE, and str0m drew credentials that route nowhere.
        let credentials = new_credentials(session.key, rng);
        session
            .rtc
            .direct_api()
            .set_local_ice_credentials(credentials.clone());
        session.restarted_ice(credentials, now);
    }
    session.offer = offer.into();
    describe(session, summary, rng);
    Ok(write_answer(session, &answer, summary))
}

/// Makes of every m-line what it is for us.
pub(super) fn describe(session: &mut Session, summary: &OfferSummary, rng: &mut StdRng) {
    for line in &summary.lines {
        let Some(kind) = kind_of(line) else { continue };
        let media = Mid::from(line.mid.as_str());
        silence(&mut session.rtc, media);
        if is_slot(&session.door, line) {
            update_slot(session, line, media, kind, rng);
        } else {
            update_local_line(session, line, media, kind);
        }
    }
}

fn new_credentials(key: SessionKey, rng: &mut StdRng) -> IceCreds {
    IceCreds {
        ufrag: ufrag_of_session(key, rng),
        pass: base32(rng.random(), PASSWORD_CHARS),
    }
}

/// The slot of an m-line; one that exists keeps its state and its SSRC.
pub(super) fn slot_of<'a>(
    session: &'a mut Session,
    line: &OfferLine,
    kind: Kind,
    rng: &mut StdRng,
) -> &'a mut Slot {
    let known = session
        .egress
        .slots
        .iter()
        .position(|slot| slot.mid == line.mid);
    let place = known.unwrap_or_else(|| {
        let (ssrc, rtx_ssrc) = (new_ssrc(session, rng), new_ssrc(session, rng));
        let slot = Slot::new(line.mid.clone(), kind, ssrc, rtx_ssrc, rng.random());
        // A player has two and not four, as a list would make room for at once.
        session.egress.slots.reserve_exact(1);
        session.egress.slots.push(slot);
        session.egress.slots.len() - 1
    });
    &mut session.egress.slots[place]
}

/// Makes a slot of an m-line, for what was negotiated of it.
fn update_slot(session: &mut Session, line: &OfferLine, media: Mid, kind: Kind, rng: &mut StdRng) {
    let Some(negotiated) = session.rtc.media(media) else {
        return;
    };
    let params = session.rtc.codec_config().params();
    let header = HeaderTemplate::new(kind, &line.mid, negotiated.remote_extmap());
    let codecs = negotiated
        .remote_pts()
        .iter()
        .filter_map(|pt| params.iter().find(|params| params.pt() == *pt))
        .map(SlotCodec::from)
        .collect();
    let slot = slot_of(session, line, kind, rng);
    (slot.header, slot.codecs) = (header, codecs);
}

fn new_ssrc(session: &Session, rng: &mut StdRng) -> u32 {
    loop {
        let ssrc = rng.random();
        // 0 stands for probes.
        if ssrc != 0 && !session.egress.owns(ssrc) {
            return ssrc;
        }
    }
}

/// What every connection has in common.
fn transport_config() -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_extension(DEPENDENCY_DESCRIPTOR_ID, dependency_descriptor())
        // Clients are told less (`write_answer`): what SCTP refuses it never acknowledges, so that
        // its sender repeats it, and nobody counts it.
        .set_sctp_max_message_size(2 * MAX_MESSAGE_BYTES)
        .set_sctp_max_buffered_amount(MAX_BUFFERED_BYTES)
        .clear_codecs()
        .enable_opus(true, true)
        .enable_vp8(true)
        .enable_h264(true)
        .enable_vp9(true)
        .enable_av1(true);
    // What hardware encoders offer and browsers decode, although they do not list it.
    for (payload_type, rtx, mode, profile) in MORE_H264 {
        let codecs = config.codec_config();
        codecs.add_h264(payload_type.into(), Some(rtx.into()), mode, profile);
    }
    config
}

/// H.264 beside str0m's own list: payload type, that of RTX, whether packetization mode 1, and the
/// profile (Constrained High and High, RFC 6184 §8.1). Levels need not match.
const MORE_H264: [(u8, u8, bool, u32); 3] = [
    (37, 38, true, 0x64_0c_1f),
    (39, 40, false, 0x64_0c_1f),
    (41, 42, false, 0x64_00_1f),
];

/// Feeds an offer to str0m. What it cannot read must not end more than this request, so a panic
/// in it counts as unreadable, too.
fn accept(rtc: &mut Rtc, offer: &str) -> Result<String, CommandError> {
    let malformed = || CommandError::Malformed("the offer cannot be read".into());
    let accepted = catch_unwind(AssertUnwindSafe(|| {
        let offer = SdpOffer::from_sdp_string(offer).map_err(|_| malformed())?;
        rtc.sdp_api()
            .accept_offer(offer)
            .map(|answer| answer.to_sdp_string())
            .map_err(|error| CommandError::Unsupported(error.to_string()))
    }));
    accepted.unwrap_or_else(|_| Err(malformed()))
}

/// A door for one publisher or one player takes all of an offer or nothing (RFC 9725 §4.5).
pub(super) fn check_codecs(session: &Session, summary: &OfferSummary) -> Result<(), CommandError> {
    if session.door == Door::Meet {
        return Ok(());
    }
    for line in summary.lines.iter().filter(|line| kind_of(line).is_some()) {
        let media = session.rtc.media(Mid::from(line.mid.as_str()));
        if media.is_none_or(|media| media.disabled() || media.remote_pts().is_empty()) {
            let why = format!("m-line {} offers no codec that is known here", line.index);
            return Err(CommandError::NoCommonCodec(why));
        }
    }
    Ok(())
}

/// str0m must not send on this m-line: our egress does, and an SSRC has one writer.
fn silence(rtc: &mut Rtc, media: Mid) {
    let mut direct = rtc.direct_api();
    while let Some(ssrc) = direct
        .stream_tx_by_mid(media, None)
        .map(|stream| stream.ssrc())
    {
        direct.remove_stream_tx(ssrc);
    }
}

pub(super) fn kind_of(line: &OfferLine) -> Option<Kind> {
    match line.kind {
        LineKind::Audio if !line.rejected => Some(Kind::Audio),
        LineKind::Video if !line.rejected => Some(Kind::Video),
        _ => None,
    }
}

/// Whether an m-line is one that we send on.
fn is_slot(door: &Door, line: &OfferLine) -> bool {
    match door {
        Door::Publish { .. } => false,
        Door::Watch { .. } => true,
        Door::Meet => line.direction == Direction::RecvOnly,
    }
}

fn update_local_line(session: &mut Session, line: &OfferLine, media: Mid, kind: Kind) {
    let sends = line.direction.is_sending();
    if let Some(known) = session.lines.iter_mut().find(|known| known.mid == line.mid) {
        known.sends = sends;
        return;
    }
    session.lines.push(LocalLine {
        mid: line.mid.clone(),
        media,
        kind,
        slides: line.content_slides,
        sends,
        muted: false,
        is_held: false,
        track: None,
    });
}

/// A description of str0m's with our names in it.
pub(super) fn write_answer(session: &Session, answer: &str, summary: &OfferSummary) -> String {
    let cname = session.egress.cname();
    let is_player = matches!(session.door, Door::Watch { .. });
    let names: Vec<String> = summary
        .lines
        .iter()
        // What one player shows is played in step; a slot of a room shows now this one, now that.
        .map(|line| {
            if is_player {
                cname.to_owned()
            } else {
                format!("slot{}", line.index)
            }
        })
        .collect();
    let tracks: Vec<String> = summary
        .lines
        .iter()
        .map(|line| format!("track{}", line.index))
        .collect();
    let lines: Vec<AnswerLine<'_>> = summary
        .lines
        .iter()
        .filter(|line| kind_of(line).is_some())
        .map(|line| {
            let slot = session
                .egress
                .slots
                .iter()
                .find(|slot| slot.mid == line.mid);
            let direction = match (&slot, line.direction.is_sending()) {
                (Some(_), _) => Direction::SendOnly,
                (None, true) => Direction::RecvOnly,
                (None, false) => Direction::Inactive,
            };
            AnswerLine {
                index: line.index,
                direction: Some(direction),
                send: slot.map(|slot| SendSource {
                    stream: &names[line.index],
                    track: &tracks[line.index],
                    cname,
                    ssrc: slot.ssrc,
                    rtx_ssrc: slot
                        .codecs
                        .iter()
                        .any(|codec| codec.rtx_pt.is_some())
                        .then_some(slot.rtx_ssrc),
                }),
            }
        })
        .collect();
    let ice = IceCredentials {
        ufrag: session.credentials.ufrag.clone(),
        pwd: session.credentials.pass.clone(),
    };
    let answer = sdp::rewrite_answer(answer, summary, Some(&ice), &lines);
    sdp::with_max_message_size(&answer, session.channels.message_bytes())
}
