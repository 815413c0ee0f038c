//! Rows of WHEP, and those of WHIP that hold for players.

use super::Report;
use super::probe::{Answer, Fault, JSON, Probe, SDP, demand};
use super::whip;

const EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";

pub(super) async fn check(probe: &mut Probe, report: &mut Report) {
    macro_rules! rows {
        ($($row:literal $what:literal $check:path;)*) => {$(
            let came = $check(probe).await;
            report.add($row, $what, probe, came);
        )*};
    }
    rows! {
        "E1" "GET and HEAD of the door: 200, type, no body" shown;
        "E2" "the answer sends; an offer that does not receive is refused" directions;
        "E3" "a counter-offer is 406 with SDP that sends, and Location" counter_offer;
        "E4" "what is no answer to a counter-offer is refused" no_answer;
        "E8" "all m-lines belong to one stream" one_stream;
        "E10" "a POST without offer is refused" empty;
        "E11" "the events extension is offered by Link" events_link;
        "E12" "POST makes an event stream of types that were offered" events_made;
        "E14" "DELETE ends an event stream" events_ended;
        "E19" "a layer is chosen, and given back" layer;
        "E/W2" "another content type is refused" whip::content_type;
        "E/W3" "a malformed offer is refused" whip::malformed;
        "E/W8" "one bundle, rtcp-mux-only" whip::bundle;
        "E/W9" "the answer has the server's candidates and needs none" whip::candidates;
        "E/W10" "a strong entity tag of its own" whip::entity_tag;
        "E/W11" "a trickled candidate is 204 without tag" whip::trickle;
        "E/W12" "If-Match: 412 where it does not match, 428 where it is missing" whip::if_match;
        "E/W13" "PATCH of another type or of no fragment is refused" whip::patch_type;
        "E/W14" "candidates of no use are left out" whip::useless_candidates;
        "E/W15" "new credentials restart ICE: 200, fragment, new tag" whip::restart;
        "E/W17" "what was sent before a restart is refused after it" whip::reordered;
        "E/W19" "DELETE is 200 whatever the tag, then 404" whip::delete;
        "E/W21" "other methods are 405 with Allow" whip::methods;
        "E/W22" "OPTIONS and preflights, without authorization" whip::preflight;
        "E/W23" "pages may read Location, errors included" whip::exposed;
        "E/W25" "without token 401 with a challenge" whip::token;
        "E/W29" "session URLs are different and cannot be guessed" whip::unguessable;
        "E/W34" "errors are problem documents" whip::problem;
    }
}

async fn shown(probe: &mut Probe) -> Result<(), Fault> {
    let door = probe.door.clone();
    for method in ["GET", "HEAD"] {
        let answer = probe.ask(method, &door, &[], "").await?;
        demand(answer.status == 200, "it is not 200")?;
        let is_sdp = answer.header_contains("content-type", "application/sdp");
        demand(is_sdp, "the type is not application/sdp")?;
        demand(answer.body.is_empty(), "there is a body")?;
    }
    Ok(())
}

async fn directions(probe: &mut Probe) -> Result<(), Fault> {
    let (answer, _) = probe.join().await?;
    let sends = answer.lines("a=sendonly") == 2 && answer.lines("a=recv") == 0;
    demand(sends, "the answer is not sendonly")?;
    for direction in ["sendonly", "inactive"] {
        let offer = probe
            .offer()
            .replace("a=recvonly", &format!("a={direction}"));
        let answer = probe.post(&offer).await?;
        demand(
            answer.is_refused(),
            "an offer that does not receive is taken",
        )?;
    }
    Ok(())
}

/// What a server offers to a player of codecs that no server knows, and the session's URL.
async fn refused(probe: &mut Probe) -> Result<(Answer, String), Fault> {
    let offer = probe.offer();
    let lines = offer.lines().map(|line| match line.split_once(' ') {
        Some((name, codec)) if name.starts_with("a=rtpmap:") => {
            let clock = codec.split_once('/').map_or("90000", |(_, clock)| clock);
            format!("{name} x-unheard-of/{clock}\r\n")
        }
        _ => format!("{line}\r\n"),
    });
    let answer = probe.post(&lines.collect::<String>()).await?;
    demand(
        !answer.is_success(),
        "an offer without a known codec is taken",
    )?;
    if answer.status != 406 {
        return Err(Fault::NotApplicable("the server makes no counter-offers"));
    }
    let session = answer.header("location").and_then(|it| probe.resolve(it));
    let session = session.ok_or_else(|| Fault::Broken("406 without Location".to_owned()))?;
    Ok((answer, session))
}

async fn counter_offer(probe: &mut Probe) -> Result<(), Fault> {
    let (answer, session) = refused(probe).await?;
    let is_sdp = answer.header_contains("content-type", "application/sdp");
    demand(is_sdp, "the type is not application/sdp")?;
    let sends = answer.lines("a=sendonly") > 0;
    let is_still = answer.lines("a=recvonly") + answer.lines("a=inactive") > 0;
    demand(sends && !is_still, "it does not offer to send alone")?;
    let left = probe.ask("DELETE", &session, &[], "").await?;
    demand(left.is_success(), "its session cannot be left")
}

async fn no_answer(probe: &mut Probe) -> Result<(), Fault> {
    let (_, session) = refused(probe).await?;
    let garbage = probe.ask("PATCH", &session, &[SDP], "garbage").await?;
    probe.ask("DELETE", &session, &[], "").await?;
    demand(garbage.is_refused(), "garbage is taken for an answer")
}

async fn one_stream(probe: &mut Probe) -> Result<(), Fault> {
    let (answer, _) = probe.join().await?;
    let streams = answer.body.lines().filter_map(|line| {
        let rest = line.strip_prefix("a=msid:")?;
        rest.split_ascii_whitespace().next()
    });
    let streams: Vec<&str> = streams.collect();
    let one = streams.len() == 2 && streams[0] == streams[1];
    demand(one, "the msid of the m-lines are not alike")
}

async fn empty(probe: &mut Probe) -> Result<(), Fault> {
    let door = probe.door.clone();
    let answer = probe
        .ask("POST", &door, &[("accept", "application/sdp")], "")
        .await?;
    demand(answer.is_refused(), "it is not refused with 4xx")
}

/// The URL of an extension, and its link's other parameters.
fn link(probe: &Probe, answer: &Answer, relation: &str) -> Result<(String, String), Fault> {
    let named = format!("rel=\"{relation}\"");
    let mut links = answer.headers.get_all("link").iter();
    let link = links.find_map(|value| {
        let (target, parameters) = value.to_str().ok()?.strip_prefix('<')?.split_once('>')?;
        let is_it = parameters.contains(&named);
        is_it.then(|| Some((probe.resolve(target)?, parameters.to_owned())))?
    });
    link.ok_or(Fault::NotApplicable("the server does not offer it"))
}

async fn events_link(probe: &mut Probe) -> Result<(), Fault> {
    let (answer, _) = probe.join().await?;
    let (_, parameters) = link(probe, &answer, EVENTS)?;
    demand(parameters.contains("events=\""), "the types are not named")
}

/// Makes a stream of all types that are offered.
async fn stream(probe: &mut Probe) -> Result<(String, String), Fault> {
    let (joined, _) = probe.join().await?;
    let (url, _) = link(probe, &joined, EVENTS)?;
    let made = probe.ask("POST", &url, &[], "").await?;
    demand(made.status == 201, "it is not 201")?;
    let location = made.header("location").and_then(|it| probe.resolve(it));
    let location = location.ok_or_else(|| Fault::Broken("201 without Location".to_owned()))?;
    Ok((url, location))
}

async fn events_made(probe: &mut Probe) -> Result<(), Fault> {
    let (url, _) = stream(probe).await?;
    let answer = probe
        .ask("POST", &url, &[JSON], "[\"x-not-offered\"]")
        .await?;
    demand(answer.is_refused(), "a type that was not offered is taken")
}

async fn events_ended(probe: &mut Probe) -> Result<(), Fault> {
    let (_, location) = stream(probe).await?;
    let answer = probe.ask("DELETE", &location, &[], "").await?;
    demand(answer.is_success(), "it is not 2xx")?;
    let answer = probe.ask("GET", &location, &[], "").await?;
    demand(answer.status == 404, "the stream is still there")
}

async fn layer(probe: &mut Probe) -> Result<(), Fault> {
    let (joined, _) = probe.join().await?;
    let (url, _) = link(probe, &joined, LAYER)?;
    link(probe, &joined, EVENTS)
        .map_err(|_| Fault::Broken("layers are offered without events".to_owned()))?;
    let answer = probe
        .ask("POST", &url, &[JSON], "{\"mediaId\":\"1\"}")
        .await?;
    demand(answer.status == 200, "a choice is not 200")?;
    let answer = probe.ask("POST", &url, &[JSON], "{").await?;
    demand(answer.is_refused(), "what is no JSON is taken")
}
