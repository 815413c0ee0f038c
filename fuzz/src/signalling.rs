//! Descriptions, fragments and names, as HTTP takes them in.

use plenum::engine::Limits;
use plenum::engine::command::{Command, Door};
use plenum::engine::ids::{ParticipantId, RoomId, SessionId, TrackId};
use plenum::engine::sdp::{Fragment, OfferSummary, check_meet, check_whep, check_whip};
use plenum::engine::ufrag::session_of_ufrag;

use crate::world::World;

/// An offer at each of the doors. What is let in gets an answer, and leaves.
pub(crate) fn offer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(summary) = OfferSummary::parse(text) else {
        return;
    };
    // What str0m is given instead is still an offer to us.
    let normal = summary.normalize(text);
    assert!(OfferSummary::parse(&normal).is_ok(), "{normal}");
    World::with(|world| {
        for (door, check) in [
            (
                Door::Publish { participant: None },
                check_whip as fn(&_) -> _,
            ),
            (Door::Watch { participant: None }, check_whep),
            (Door::Meet, check_meet),
        ] {
            let is_right = check(&summary).is_ok();
            let joined = world.join(door, text);
            assert!(is_right || joined.is_none(), "let in at the wrong door");
            if let Some(joined) = joined {
                assert!(joined.answer.starts_with("v=0\r\n"));
                world.leave(joined.session);
            }
        }
    });
}

/// A second offer of somebody who is in a room.
pub(crate) fn reoffer(bytes: &[u8]) {
    let Ok(offer) = std::str::from_utf8(bytes) else {
        return;
    };
    World::with(|world| {
        let session = world.join_well();
        let description = offer.to_owned();
        world.command(Command::Describe {
            session,
            if_match: None,
            description,
        });
        world.leave(session);
    });
}

/// The answer to an offer of ours, whose m-lines it calls AUDIO and VIDEO.
pub(crate) fn answer(bytes: &[u8]) {
    let Ok(answer) = std::str::from_utf8(bytes) else {
        return;
    };
    World::with(|world| {
        let joined = world.offered();
        let mids: Vec<&str> = joined
            .answer
            .lines()
            .filter_map(|line| line.strip_prefix("a=mid:"))
            .collect();
        let description = answer.replace("AUDIO", mids[0]).replace("VIDEO", mids[1]);
        world.command(Command::Describe {
            session: joined.session,
            if_match: None,
            description,
        });
        world.leave(joined.session);
    });
}

/// Candidates and ICE restarts of somebody who is in a room.
pub(crate) fn fragment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = Fragment::parse(text, Limits::default().candidates);
    World::with(|world| {
        let session = world.join_well();
        let fragment = text.to_owned();
        world.command(Command::Trickle {
            session,
            if_match: None,
            fragment,
        });
        world.leave(session);
    });
}

/// Names in paths and headers. What is a name is written as it was read.
pub(crate) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(room) = text.parse::<RoomId>() {
        assert_eq!(room.to_string(), text);
    }
    if let Ok(participant) = text.parse::<ParticipantId>() {
        assert_eq!(participant.to_string(), text);
    }
    let _ = text.parse::<SessionId>();
    let _ = text.parse::<TrackId>();
    let _ = session_of_ufrag(text);
}
