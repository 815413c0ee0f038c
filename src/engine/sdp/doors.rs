//! What each door takes, held against an offer's summary.

use str0m::media::Direction;

use super::{LineKind, OfferLine, OfferSummary, SdpError, Setup, unsupported};

/// `POST /whip/{room}`: sends all of its tracks, one stream of at most one video and one
/// audio track (RFC 9725 §4.2).
pub fn check_whip(offer: &OfferSummary) -> Result<(), SdpError> {
    check_transport(offer)?;
    check_one_of_each(offer)?;
    for line in media_lines(offer) {
        if !line.direction.is_sending() {
            return unsupported(format!("m-line {} does not send", line.index));
        }
    }
    let mut streams = media_lines(offer).flat_map(|line| &line.streams);
    let first = streams.next();
    if streams.any(|stream| Some(stream) != first) {
        return unsupported("the tracks belong to more than one stream");
    }
    Ok(())
}

/// `POST /whep/{room}`: receives at most one video and one audio track (draft-ietf-wish-whep §4.2).
pub fn check_whep(offer: &OfferSummary) -> Result<(), SdpError> {
    check_transport(offer)?;
    check_one_of_each(offer)?;
    for line in media_lines(offer) {
        if !line.direction.is_receiving() {
            return unsupported(format!("m-line {} does not receive", line.index));
        }
    }
    Ok(())
}

/// `POST /rooms/{room}/sessions`: any number of m-lines, in any direction, with data channels.
pub fn check_meet(offer: &OfferSummary) -> Result<(), SdpError> {
    check_transport(offer)?;
    if standing_lines(offer).next().is_none() {
        return unsupported("there is no m-line that stands");
    }
    Ok(())
}

/// A new offer within a session: m-lines are appended, and those that were there stay.
///
/// The rules of the session's door apply as well.
pub fn check_reoffer(former: &OfferSummary, offer: &OfferSummary) -> Result<(), SdpError> {
    if offer.lines.len() < former.lines.len() {
        return unsupported("m-lines of the former offer are missing");
    }
    for (before, now) in former.lines.iter().zip(&offer.lines) {
        if before.mid != now.mid || before.kind != now.kind {
            return unsupported(format!(
                "m-line {} is another than in the former offer",
                now.index
            ));
        }
        if before.rejected && !now.rejected {
            return unsupported(format!("m-line {} was stopped before", now.index));
        }
    }
    Ok(())
}

/// A player's answer to an offer of ours: it receives on what it does not refuse
/// (draft-ietf-wish-whep-03, "counter-offer").
pub fn check_answer(offer: &OfferSummary, answer: &OfferSummary) -> Result<(), SdpError> {
    check_transport(answer)?;
    let is_same = |(ours, theirs): (&OfferLine, &OfferLine)| {
        ours.mid == theirs.mid && ours.kind == theirs.kind
    };
    let is_whole = offer.lines.len() == answer.lines.len();
    if !is_whole || !offer.lines.iter().zip(&answer.lines).all(is_same) {
        return unsupported("its m-lines are others than those of the offer");
    }
    if answer.setup == Setup::ActPass {
        return unsupported(
            "an answer says who begins the handshake: a=setup is active or passive",
        );
    }
    if standing_lines(answer).next().is_none() {
        return unsupported("there is no m-line that stands");
    }
    for line in standing_lines(answer) {
        if line.direction != Direction::RecvOnly {
            return unsupported(format!("m-line {} is not recvonly", line.index));
        }
    }
    Ok(())
}

/// One transport for all, and somebody who begins.
fn check_transport(offer: &OfferSummary) -> Result<(), SdpError> {
    if offer.ice_lite {
        return unsupported("both ends would be ICE-lite");
    }
    if offer.setup == Setup::HoldConn {
        return unsupported("a=setup:holdconn");
    }
    let is_alone = standing_lines(offer).count() == 1;
    for line in standing_lines(offer) {
        let index = line.index;
        if line.kind == LineKind::Other {
            return unsupported(format!(
                "m-line {index} is neither audio, video nor application"
            ));
        }
        if !line.bundled && !is_alone {
            return unsupported(format!("m-line {index} is not in the BUNDLE group"));
        }
        if !line.rtcp_mux && line.kind != LineKind::Application {
            return unsupported(format!("m-line {index} is without rtcp-mux"));
        }
    }
    Ok(())
}

fn check_one_of_each(offer: &OfferSummary) -> Result<(), SdpError> {
    let count = |kind| media_lines(offer).filter(|line| line.kind == kind).count();
    match (count(LineKind::Audio), count(LineKind::Video)) {
        (0, 0) => unsupported("there is neither an audio nor a video m-line"),
        (0..=1, 0..=1) => Ok(()),
        _ => unsupported("there is more than one audio or more than one video m-line"),
    }
}

fn standing_lines(offer: &OfferSummary) -> impl Iterator<Item = &OfferLine> {
    offer.lines.iter().filter(|line| !line.rejected)
}

fn media_lines(offer: &OfferSummary) -> impl Iterator<Item = &OfferLine> {
    standing_lines(offer).filter(|line| matches!(line.kind, LineKind::Audio | LineKind::Video))
}
