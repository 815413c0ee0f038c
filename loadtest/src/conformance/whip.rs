//! Rows of RFC 9725, which hold for players as well where they say nothing of directions.

use super::Report;
use super::probe::{Answer, FRAGMENT, Fault, JSON, Probe, SDP, demand};

const CANDIDATE: &str = "a=ice-ufrag:conf\r\na=ice-pwd:conformance0conformance0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
const RESTART: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

pub(super) async fn check(probe: &mut Probe, report: &mut Report) {
    macro_rules! rows {
        ($($row:literal $what:literal $check:ident;)*) => {$(
            let came = $check(probe).await;
            report.add($row, $what, probe, came);
        )*};
    }
    rows! {
        "W1" "an offer is answered 201 with type, answer and Location" answered;
        "W2" "another content type is refused" content_type;
        "W3" "a malformed offer is refused" malformed;
        "W4" "two videos are refused" two_videos;
        "W6" "the answer receives; an offer that does not send is refused" directions;
        "W7" "actpass and active are answered passive" setup;
        "W8" "one bundle, rtcp-mux-only" bundle;
        "W9" "the answer has the server's candidates and needs none" candidates;
        "W10" "a strong entity tag of its own" entity_tag;
        "W11" "a trickled candidate is 204 without tag" trickle;
        "W12" "If-Match: 412 where it does not match, 428 where it is missing" if_match;
        "W13" "PATCH of another type or of no fragment is refused" patch_type;
        "W14" "candidates of no use are left out" useless_candidates;
        "W15" "new credentials restart ICE: 200, fragment, new tag" restart;
        "W17" "what was sent before a restart is refused after it" reordered;
        "W19" "DELETE is 200 whatever the tag, then 404" delete;
        "W20" "GET and HEAD are 2xx without content" look;
        "W21" "other methods are 405 with Allow" methods;
        "W22" "OPTIONS and preflights, without authorization" preflight;
        "W23" "pages may read Location, errors included" exposed;
        "W25" "without token 401 with a challenge" token;
        "W29" "session URLs are different and cannot be guessed" unguessable;
        "W34" "errors are problem documents" problem;
        "W37" "Accept does not matter" accept;
    }
}

async fn answered(probe: &mut Probe) -> Result<(), Fault> {
    let (answer, _) = probe.join().await?;
    demand(
        answer.header_contains("content-type", "application/sdp"),
        "the answer's type is not application/sdp",
    )?;
    demand(answer.body.starts_with("v=0"), "the body is no SDP")?;
    demand(answer.lines("m=") == 2, "not every m-line is answered")
}

pub(super) async fn content_type(probe: &mut Probe) -> Result<(), Fault> {
    let (door, offer) = (probe.door.clone(), probe.offer());
    for headers in [&[JSON][..], &[]] {
        let answer = probe.ask("POST", &door, headers, &offer).await?;
        demand(answer.is_refused(), "it is taken")?;
    }
    let spelled = [("content-type", "Application/SDP; charset=utf-8")];
    let answer = probe.ask("POST", &door, &spelled, &offer).await?;
    demand(answer.status == 201, "case and parameters matter")
}

pub(super) async fn malformed(probe: &mut Probe) -> Result<(), Fault> {
    for bad in ["", "v=1", "hello"] {
        let answer = probe.post(bad).await?;
        demand(answer.is_refused(), "it is not refused with 4xx")?;
    }
    Ok(())
}

async fn two_videos(probe: &mut Probe) -> Result<(), Fault> {
    let offer = probe.offer();
    let video = offer.find("m=video").map_or("", |at| &offer[at..]);
    let second = video.replace("a=mid:1", "a=mid:2").replace("2001", "3001");
    let offer = format!("{offer}{second}").replacen("BUNDLE 0 1", "BUNDLE 0 1 2", 1);
    let answer = probe.post(&offer).await?;
    demand(answer.is_refused(), "they are taken")
}

async fn directions(probe: &mut Probe) -> Result<(), Fault> {
    let (answer, _) = probe.join().await?;
    demand(
        answer.lines("a=recvonly") == 2 && answer.lines("a=send") == 0,
        "the answer is not recvonly",
    )?;
    for direction in ["recvonly", "inactive"] {
        let offer = probe
            .offer()
            .replace("a=sendonly", &format!("a={direction}"));
        let answer = probe.post(&offer).await?;
        demand(answer.is_refused(), "an offer that does not send is taken")?;
    }
    Ok(())
}

async fn setup(probe: &mut Probe) -> Result<(), Fault> {
    for setup in ["actpass", "active"] {
        let offer = probe
            .offer()
            .replace("a=setup:actpass", &format!("a=setup:{setup}"));
        let answer = probe.post(&offer).await?;
        demand(answer.status == 201, "it is refused")?;
        let passive = answer.lines("a=setup:passive") > 0;
        demand(
            passive && answer.lines("a=setup:active") == 0,
            "it is not answered passive",
        )?;
    }
    Ok(())
}

pub(super) async fn bundle(probe: &mut Probe) -> Result<(), Fault> {
    let (answer, _) = probe.join().await?;
    demand(
        answer.lines("a=group:BUNDLE 0 1") == 1,
        "the answer does not bundle both",
    )?;
    demand(
        answer.lines("a=rtcp-mux-only") == 2,
        "rtcp-mux-only is missing",
    )
}

pub(super) async fn candidates(probe: &mut Probe) -> Result<(), Fault> {
    let offer = probe.offer();
    let kept = offer
        .lines()
        .filter(|line| !line.starts_with("a=candidate:"));
    let offer: String = kept.map(|line| format!("{line}\r\n")).collect();
    let answer = probe.post(&offer).await?;
    probe.demand_stage(&answer)?;
    demand(
        answer.status == 201,
        "an offer without candidates is refused",
    )?;
    demand(answer.lines("a=candidate:") > 0, "there are no candidates")
}

pub(super) async fn entity_tag(probe: &mut Probe) -> Result<(), Fault> {
    let mut tags = Vec::new();
    for _ in 0..2 {
        let (answer, _) = probe.join().await?;
        let tag = tag_of(&answer)?;
        demand(
            tag.starts_with('"') && tag.ends_with('"'),
            "the tag is weak or not quoted",
        )?;
        tags.push(tag);
    }
    demand(tags[0] != tags[1], "two sessions have the same tag")
}

fn tag_of(answer: &Answer) -> Result<String, Fault> {
    let tag = answer.header("etag").map(str::to_owned);
    tag.ok_or_else(|| Fault::Broken("201 without ETag".to_owned()))
}

async fn patch(
    probe: &mut Probe,
    session: &str,
    tag: Option<&str>,
    fragment: &str,
) -> Result<Answer, Fault> {
    let mut headers = vec![FRAGMENT];
    headers.extend(tag.map(|tag| ("if-match", tag)));
    let answer = probe.ask("PATCH", session, &headers, fragment).await?;
    if matches!(answer.status, 405 | 501) {
        return Err(Fault::NotApplicable("the server takes no PATCH"));
    }
    Ok(answer)
}

pub(super) async fn trickle(probe: &mut Probe) -> Result<(), Fault> {
    let (joined, session) = probe.join().await?;
    let answer = patch(probe, &session, Some(&tag_of(&joined)?), CANDIDATE).await?;
    demand(answer.status == 204, "it is not answered 204")?;
    demand(answer.header("etag").is_none(), "the answer has a tag")
}

pub(super) async fn if_match(probe: &mut Probe) -> Result<(), Fault> {
    let (joined, session) = probe.join().await?;
    let weak = format!("W/{}", tag_of(&joined)?);
    for stale in ["\"old\"", &weak] {
        let answer = patch(probe, &session, Some(stale), CANDIDATE).await?;
        demand(answer.status == 412, "a tag that does not match is not 412")?;
    }
    let answer = patch(probe, &session, None, CANDIDATE).await?;
    demand(answer.status == 428, "a missing If-Match is not 428")
}

pub(super) async fn patch_type(probe: &mut Probe) -> Result<(), Fault> {
    let (joined, session) = probe.join().await?;
    let answer = probe.ask("PATCH", &session, &[JSON], CANDIDATE).await?;
    demand(answer.is_refused(), "another type is taken")?;
    let tag = tag_of(&joined)?;
    let answer = patch(probe, &session, Some(&tag), "a=candidate:x\r\n").await?;
    demand(answer.is_refused(), "what is no fragment is taken")
}

pub(super) async fn useless_candidates(probe: &mut Probe) -> Result<(), Fault> {
    let (joined, session) = probe.join().await?;
    let mixed = format!(
        "{CANDIDATE}a=candidate:2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
         a=candidate:3 1 udp 2122260223 0af2-55.local 61766 typ host\r\n"
    );
    let answer = patch(probe, &session, Some(&tag_of(&joined)?), &mixed).await?;
    demand(answer.status == 204, "it is not answered 204")
}

/// A session whose ICE was restarted: the old tag, the answer, and the session.
async fn restarted(probe: &mut Probe) -> Result<(String, Answer, String), Fault> {
    let (joined, session) = probe.join().await?;
    let answer = patch(probe, &session, Some("*"), RESTART).await?;
    if answer.status == 422 {
        return Err(Fault::NotApplicable("the server does not restart ICE"));
    }
    Ok((tag_of(&joined)?, answer, session))
}

pub(super) async fn restart(probe: &mut Probe) -> Result<(), Fault> {
    let (former, answer, _) = restarted(probe).await?;
    demand(answer.status == 200, "it is not answered 200")?;
    demand(
        answer.header_contains("content-type", FRAGMENT.1),
        "the answer is no fragment",
    )?;
    demand(
        answer.lines("a=ice-ufrag:") > 0,
        "there are no new credentials",
    )?;
    demand(tag_of(&answer)? != former, "the tag is the same")
}

pub(super) async fn reordered(probe: &mut Probe) -> Result<(), Fault> {
    let (former, _, session) = restarted(probe).await?;
    let answer = patch(probe, &session, Some(&former), CANDIDATE).await?;
    demand(answer.status == 412, "it is not 412")
}

pub(super) async fn delete(probe: &mut Probe) -> Result<(), Fault> {
    let (_, session) = probe.join().await?;
    let tag = [("if-match", "\"x\"")];
    let answer = probe.ask("DELETE", &session, &tag, "").await?;
    demand(answer.status == 200, "it is not 200")?;
    let again = probe.ask("DELETE", &session, &[], "").await?;
    demand(again.status == 404, "the session is still there")
}

async fn look(probe: &mut Probe) -> Result<(), Fault> {
    let (_, session) = probe.join().await?;
    for url in [probe.door.clone(), session] {
        for method in ["GET", "HEAD"] {
            let answer = probe.ask(method, &url, &[], "").await?;
            demand(
                answer.is_success() && answer.body.is_empty(),
                "it is not 2xx and empty",
            )?;
        }
    }
    Ok(())
}

pub(super) async fn methods(probe: &mut Probe) -> Result<(), Fault> {
    let (_, session) = probe.join().await?;
    for (method, url) in [("PUT", probe.door.clone()), ("POST", session)] {
        let answer = probe.ask(method, &url, &[], "").await?;
        demand(answer.status == 405, "it is not 405")?;
        demand(answer.header("allow").is_some(), "Allow is missing")?;
    }
    Ok(())
}

pub(super) async fn preflight(probe: &mut Probe) -> Result<(), Fault> {
    let door = probe.door.clone();
    let headers = [
        ("origin", "https://x.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    let answer = probe.ask_as(None, "OPTIONS", &door, &headers, "").await?;
    demand(answer.is_success(), "a preflight is not 2xx")?;
    let allows = |header, value| answer.header_contains(header, value);
    demand(
        allows("access-control-allow-headers", "authorization"),
        "no Authorization",
    )?;
    demand(
        allows("access-control-allow-headers", "content-type"),
        "no Content-Type",
    )?;
    let answer = probe.ask_as(None, "OPTIONS", &door, &[], "").await?;
    demand(
        answer.header_contains("accept-post", SDP.1),
        "no Accept-Post",
    )
}

pub(super) async fn exposed(probe: &mut Probe) -> Result<(), Fault> {
    let door = probe.door.clone();
    let offer = probe.offer();
    for body in [offer.as_str(), "x"] {
        let headers = [SDP, ("origin", "https://x.example")];
        let answer = probe.ask("POST", &door, &headers, body).await?;
        let allowed = answer.header("access-control-allow-origin").is_some();
        demand(allowed, "another origin may not read it")?;
        let exposed = answer.header_contains("access-control-expose-headers", "location")
            || answer.header_contains("access-control-expose-headers", "*");
        demand(exposed, "Location is not exposed")?;
    }
    Ok(())
}

pub(super) async fn token(probe: &mut Probe) -> Result<(), Fault> {
    if !probe.has_token() {
        return Err(Fault::NotApplicable("no token was given"));
    }
    let (door, offer) = (probe.door.clone(), probe.offer());
    for token in [None, Some("not-a-token")] {
        let answer = probe.ask_as(token, "POST", &door, &[SDP], &offer).await?;
        demand(answer.status == 401, "it is not 401")?;
        let challenge = answer.header_contains("www-authenticate", "bearer");
        demand(challenge, "there is no challenge")?;
    }
    Ok(())
}

pub(super) async fn unguessable(probe: &mut Probe) -> Result<(), Fault> {
    let (_, first) = probe.join().await?;
    let (_, second) = probe.join().await?;
    demand(first != second, "two sessions have one URL")?;
    // 128 bits have 22 characters in base64.
    let name = |url: &str| {
        url.trim_end_matches('/')
            .rsplit('/')
            .next()
            .map_or(0, str::len)
    };
    demand(name(&first) >= 22, "the last part is shorter than 128 bits")
}

pub(super) async fn problem(probe: &mut Probe) -> Result<(), Fault> {
    let answer = probe.post("x").await?;
    if answer.header_contains("content-type", "application/problem+json") {
        let document: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
        let status = document.and_then(|document| document["status"].as_u64());
        demand(
            status == Some(answer.status.into()),
            "the document's status is another",
        )
    } else {
        Err(Fault::NotApplicable("errors are no problem documents"))
    }
}

pub(super) async fn accept(probe: &mut Probe) -> Result<(), Fault> {
    let (door, offer) = (probe.door.clone(), probe.offer());
    let headers = [SDP, ("accept", "text/html")];
    let answer = probe.ask("POST", &door, &headers, &offer).await?;
    demand(answer.status == 201, "it does")
}
