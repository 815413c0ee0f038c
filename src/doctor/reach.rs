//! Which ways to a server's media work from here: asks for a session, as a player would, and tries
//! each address and each relay that it is told, with the checks of a browser.

mod probe;
mod relay;
mod session;

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, Url};

use super::Finding;
use probe::PATIENCE;
use session::{RelayUrl, Session};

/// From here on, people begin to talk at the same time.
const SLOW: Duration = Duration::from_millis(300);

/// A server, and as whom to ask it.
pub struct Reach<'a> {
    /// Where its page is.
    pub url: &'a str,
    /// The room to watch, of which nobody in it is told.
    pub room: &'a str,
    /// What lets us in, where that is needed.
    pub token: Option<&'a str>,
}

/// A kind of way, in the order in which browsers prefer them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Udp,
    Tcp,
    TurnUdp,
    TurnTcp,
    TurnTls,
}

impl Way {
    const ALL: [Way; 5] = [Way::Udp, Way::Tcp, Way::TurnUdp, Way::TurnTcp, Way::TurnTls];

    fn name(self) -> &'static str {
        match self {
            Way::Udp => "UDP",
            Way::Tcp => "TCP",
            Way::TurnUdp => "TURN over UDP",
            Way::TurnTcp => "TURN over TCP",
            Way::TurnTls => "TURN over TLS",
        }
    }

    fn of(relay: &RelayUrl) -> Self {
        match (relay.is_tls, relay.is_udp) {
            (true, _) => Way::TurnTls,
            (false, true) => Way::TurnUdp,
            (false, false) => Way::TurnTcp,
        }
    }

    /// What opens it, where it is closed.
    fn advice(self, place: &str) -> String {
        match self {
            Way::Udp => format!(
                "the network here lets no UDP out, or {place} is not open at the server: a firewall, \
                 a port that is not forwarded, or an address that leads nowhere (--public-ip)"
            ),
            Way::Tcp => format!(
                "{place} is not let out here or not open at the server; 443 passes most firewalls \
                 (HTTPS by the server itself, or --tcp)"
            ),
            Way::TurnUdp | Way::TurnTcp => format!("{place} is not let out here or not open there"),
            Way::TurnTls => format!(
                "{place} is not let out here or not open there, or its certificate does not fit"
            ),
        }
    }
}

/// What became of one of them.
#[derive(Debug)]
struct Tried {
    way: Way,
    place: String,
    result: Result<Duration, String>,
}

/// Tries everything that the server tells of, at once.
pub async fn examine(reach: &Reach<'_>) -> Vec<Finding> {
    let url = match Url::parse(reach.url) {
        Ok(url) if url.host_str().is_some() => url,
        _ => {
            let seen = format!("{} is no URL of a server", reach.url);
            return vec![Finding::fault(seen, "it has the form https://sfu.example")];
        }
    };
    let client = match Client::builder().timeout(2 * PATIENCE).build() {
        Ok(client) => client,
        Err(error) => {
            return vec![Finding::fault(
                format!("HTTPS cannot be spoken here: {error}"),
                "install the system's root certificates (ca-certificates)",
            )];
        }
    };
    let asked = probe::now();
    let session = match Session::open(client, &url, reach.room, reach.token).await {
        Ok(session) => session,
        Err(error) => {
            return vec![Finding::fault(
                format!("{url} gives no session: {}", with_causes(&error)),
                "without HTTP there is no call: look at the name, the port and the certificate; where \
                 tokens are required, give one with --token",
            )];
        }
    };
    let seen = format!("{url} answers within {} ms", asked.elapsed().as_millis());
    let tried = try_all(&session).await;
    session.end().await;
    let mut findings = vec![Finding::good(seen)];
    findings.extend(tried.iter().map(finding));
    findings.push(verdict(&tried));
    findings
}

async fn try_all(session: &Session) -> Vec<Tried> {
    let credentials = &session.credentials;
    let udp = session.udp.iter().map(|&to| async move {
        let result = probe::by_udp(to, credentials).await;
        Tried {
            way: Way::Udp,
            place: to.to_string(),
            result,
        }
    });
    let tcp = session.tcp.iter().map(|&to| async move {
        let result = probe::by_tcp(to, credentials).await;
        Tried {
            way: Way::Tcp,
            place: to.to_string(),
            result,
        }
    });
    let media = session.udp.first().copied();
    let relays = session.relays.iter().map(|relay| async move {
        let result = match media {
            Some(media) => relay::by_relay(relay, media, credentials).await,
            None => Err("the server tells of no UDP address to relay to".to_owned()),
        };
        let place = match relay.host.contains(':') {
            true => format!("[{}]:{}", relay.host, relay.port),
            false => format!("{}:{}", relay.host, relay.port),
        };
        Tried {
            way: Way::of(relay),
            place,
            result,
        }
    });
    let (udp, tcp, relays) = tokio::join!(join_all(udp), join_all(tcp), join_all(relays));
    udp.into_iter().chain(tcp).chain(relays).collect()
}

fn finding(tried: &Tried) -> Finding {
    let Tried { way, place, result } = tried;
    match result {
        Ok(took) => Finding::good(format!(
            "{} to {place}: {} ms",
            way.name(),
            took.as_millis()
        )),
        Err(why) => Finding::hint(
            format!("{} to {place}: {why}", way.name()),
            way.advice(place),
        ),
    }
}

/// What a call from here would be like.
fn verdict(tried: &[Tried]) -> Finding {
    let works = |way: &Way| {
        tried
            .iter()
            .any(|one| one.way == *way && one.result.is_ok())
    };
    let fastest = |way: Way| {
        let of_way = tried.iter().filter(|one| one.way == way);
        of_way
            .filter_map(|one| one.result.as_ref().ok())
            .min()
            .copied()
    };
    match Way::ALL.into_iter().find(works) {
        Some(Way::Udp) if fastest(Way::Udp) > Some(SLOW) => Finding::hint(
            "calls from here go by UDP, and everything takes long",
            "people talk at the same time: a server nearer to them helps",
        ),
        Some(Way::Udp) => Finding::good("calls from here go by UDP, as they should"),
        Some(Way::Tcp) => Finding::hint(
            "calls from here go by TCP",
            "they work, and pictures freeze for a moment where packets are lost: have UDP let through",
        ),
        Some(way) => Finding::hint(
            format!("calls from here go by {}", way.name()),
            "they work by a detour through the relay: have UDP let through",
        ),
        None => Finding::fault(
            "calls from here do not work: media gets through by no way",
            "open UDP to the server's media port, or let the server take media on 443 (HTTPS by the \
             server itself, with --turn-listen where firewalls look into it)",
        ),
    }
}

/// An error with what is behind it: reqwest says little by itself.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn tried(way: Way, ms: Option<u64>) -> Tried {
        Tried {
            way,
            place: "203.0.113.5:3478".into(),
            result: ms.map(Duration::from_millis).ok_or("no answer".into()),
        }
    }

    #[test]
    fn the_best_way_that_works_says_what_calls_are_like() {
        let judged = |ways: &[(Way, Option<u64>)]| {
            let tried: Vec<_> = ways.iter().map(|(way, ms)| tried(*way, *ms)).collect();
            let Finding { verdict, seen, .. } = verdict(&tried);
            (verdict, seen)
        };
        let (udp, tcp, tls) = (Way::Udp, Way::Tcp, Way::TurnTls);
        assert_eq!(judged(&[(tcp, Some(9)), (udp, Some(20))]).0, Verdict::Good);
        let slow = judged(&[(udp, Some(400)), (udp, None)]);
        assert_eq!(slow.0, Verdict::Hint);
        assert!(slow.1.contains("takes long"), "{slow:?}");
        assert!(
            judged(&[(udp, Some(400)), (udp, Some(20))])
                .1
                .contains("as they should")
        );
        let blocked = judged(&[(udp, None), (tcp, Some(30)), (tls, Some(90))]);
        assert_eq!(
            blocked,
            (Verdict::Hint, "calls from here go by TCP".to_owned())
        );
        assert!(
            judged(&[(udp, None), (tls, Some(90))])
                .1
                .contains("TURN over TLS")
        );
        assert_eq!(judged(&[(udp, None), (tcp, None)]).0, Verdict::Fault);
        assert_eq!(judged(&[]).0, Verdict::Fault);
    }

    #[test]
    fn a_way_that_is_closed_comes_with_what_opens_it() {
        let closed = finding(&tried(Way::Udp, None));
        assert_eq!(closed.verdict, Verdict::Hint);
        assert!(
            closed.seen.contains("203.0.113.5:3478: no answer"),
            "{closed}"
        );
        assert!(closed.advice.contains("--public-ip"), "{closed}");
        assert_eq!(finding(&tried(Way::Tcp, Some(12))).verdict, Verdict::Good);
    }
}
