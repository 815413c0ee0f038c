//! Offers of ours: what a player gets that asks for one, or whose own has no codec that is known
//! here (draft-ietf-wish-whep-03, "counter-offer").
//!
//! They are made once, at the beginning of a session, and answered once. After that the client
//! speaks first, as everywhere, so that no two offers ever cross.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rand::rngs::StdRng;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};

use super::command::{CommandError, OFFER_PATIENCE, Reply};
use super::event::{CloseReason, Kind};
use super::join::{self, check_codecs, kind_of, write_answer};
use super::sdp::{self, OfferSummary};
use super::session::Session;
use super::slot::SlotCodec;
use super::{CONNECT_PATIENCE, Engine};

/// What became of an offer of ours.
#[derive(Debug, Default)]
pub(crate) enum Offering {
    /// There is none: the client offered.
    #[default]
    None,
    /// It waits for its answer.
    Open(Box<SdpPendingOffer>),
    /// It is answered.
    Answered,
}

impl Offering {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// Has str0m offer one audio and one video m-line, and makes the offer ours.
pub(super) fn offer(
    session: &mut Session,
    rng: &mut StdRng,
    now: Instant,
) -> Result<String, CommandError> {
    let mut changes = session.rtc.sdp_api();
    for kind in [MediaKind::Audio, MediaKind::Video] {
        changes.add_media(kind, Direction::SendOnly, None, None, None);
    }
    let (offer, pending) = changes.apply().expect("two m-lines are a change");
    let offer = offer.to_sdp_string();
    let summary = OfferSummary::parse(&offer)?;
    for line in &summary.lines {
        let Some(kind) = kind_of(line) else { continue };
        let codecs = known_codecs(session, kind);
        join::slot_of(session, line, kind, rng).codecs = codecs;
    }
    session.offering = Offering::Open(Box::new(pending));
    session.connect_by = now + OFFER_PATIENCE;
    let ours = write_answer(session, &offer, &summary);
    session.offer = offer.into();
    Ok(ours)
}

/// All that we could send on an m-line of this kind.
fn known_codecs(session: &Session, kind: Kind) -> Vec<SlotCodec> {
    let params = session.rtc.codec_config().params().iter();
    let is_audio = kind == Kind::Audio;
    params
        .filter(|params| params.spec().codec.is_audio() == is_audio)
        .map(SlotCodec::from)
        .collect()
}

impl Engine {
    /// The client's answer to our offer. One that str0m does not take ends the session: there is
    /// no second one.
    pub(super) fn answered(
        &mut self,
        place: usize,
        answer: &str,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        let session = &mut self.sessions[place];
        let summary = OfferSummary::parse(answer)?;
        sdp::check_answer(&OfferSummary::parse(&session.offer)?, &summary)?;
        let normal = summary.normalize(answer);
        // What str0m cannot read must not end more than this request.
        let read = catch_unwind(|| SdpAnswer::from_sdp_string(&normal));
        let Ok(Ok(read)) = read else {
            return Err(CommandError::Malformed("the answer cannot be read".into()));
        };
        let offering = mem::replace(&mut session.offering, Offering::Answered);
        let Offering::Open(pending) = offering else {
            return Err(CommandError::AnsweredAlready);
        };
        let rtc = &mut session.rtc;
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            rtc.sdp_api().accept_answer(*pending, read).is_ok()
        }));
        if !accepted.unwrap_or(false) {
            self.end_session(place, CloseReason::Failed, now);
            let why = "the answer does not fit the offer";
            return Err(CommandError::Unsupported(why.into()));
        }
        session.offer = answer.into();
        session.connect_by = now + CONNECT_PATIENCE;
        let is_refused = |mid: &String| {
            let mut lines = summary.lines.iter();
            lines.any(|line| line.mid == *mid && line.rejected)
        };
        session.egress.slots.retain(|slot| !is_refused(&slot.mid));
        join::describe(session, &summary, &mut self.rng);
        let ice_tag = session.tags.ice_tag();
        if let Err(error) = check_codecs(session, &summary) {
            self.end_session(place, CloseReason::Failed, now);
            return Err(error);
        }
        self.slots_changed(place, now);
        self.run(place, now);
        Ok(Reply::Answered { ice_tag })
    }
}
