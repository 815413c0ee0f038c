//! A session on the server, as a player asks for one, and what it says of ways to its media.

use std::net::{IpAddr, SocketAddr};

use reqwest::header::{CONTENT_TYPE, LINK, LOCATION};
use reqwest::{Client, Url};
use thiserror::Error;

use super::probe::Credentials;

/// Why there is no session.
#[derive(Debug, Error)]
pub(super) enum SessionError {
    /// The request went nowhere.
    #[error("{0}")]
    Request(#[from] reqwest::Error),
    /// The server does not let us in.
    #[error("it answered {status}: {detail}")]
    Refused { status: u16, detail: String },
    /// What it answered is no session.
    #[error("{0}")]
    Answer(&'static str),
}

/// A session, to be ended.
pub(super) struct Session {
    client: Client,
    url: Url,
    token: Option<String>,
    /// Where media goes by UDP and by TCP.
    pub(super) udp: Vec<SocketAddr>,
    pub(super) tcp: Vec<SocketAddr>,
    /// What a check needs to be answered.
    pub(super) credentials: Credentials,
    pub(super) relays: Vec<RelayUrl>,
}

/// A relay that the session may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelayUrl {
    /// `turns` instead of `turn`.
    pub(super) is_tls: bool,
    pub(super) is_udp: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: String,
    pub(super) credential: String,
}

/// What a player offers to receive. Nothing is ever sent with these credentials but checks, so that the
/// fingerprint is nobody's.
const OFFER: &str = "v=0\r
o=- 1 1 IN IP4 0.0.0.0\r
s=-\r
t=0 0\r
a=group:BUNDLE 0\r
m=audio 9 UDP/TLS/RTP/SAVPF 111\r
c=IN IP4 0.0.0.0\r
a=mid:0\r
a=recvonly\r
a=rtcp-mux\r
a=rtpmap:111 opus/48000/2\r
a=setup:actpass\r
a=ice-ufrag:doctor\r
a=ice-pwd:nobody-answers-with-this\r
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r
";
/// Ours, as the offer has it.
const LOCAL_UFRAG: &str = "doctor";

impl Session {
    /// Asks for a session that watches a room.
    pub(super) async fn open(
        client: Client,
        server: &Url,
        room: &str,
        token: Option<&str>,
    ) -> Result<Self, SessionError> {
        let mut door = server.clone();
        door.path_segments_mut()
            .map_err(|()| SessionError::Answer("the URL has no path"))?
            .pop_if_empty()
            .extend(["whep", room]);
        let mut request = client
            .post(door)
            .header(CONTENT_TYPE, "application/sdp")
            .body(OFFER);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status();
        if status != reqwest::StatusCode::CREATED {
            let detail = response.text().await.unwrap_or_default();
            let detail = detail.chars().take(200).collect();
            return Err(SessionError::Refused {
                status: status.as_u16(),
                detail,
            });
        }
        let text = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let url = text(LOCATION)
            .and_then(|location| response.url().join(location).ok())
            .ok_or(SessionError::Answer(
                "its answer does not say where the session is",
            ))?;
        let links = response.headers().get_all(LINK).iter();
        let relays = links
            .filter_map(|link| link.to_str().ok())
            .filter_map(relay_of)
            .collect();
        let answer = response.text().await?;
        let (udp, tcp) = candidates(&answer);
        let line = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
        let credentials = line("a=ice-ufrag:")
            .zip(line("a=ice-pwd:"))
            .map(|(ufrag, password)| Credentials {
                username: format!("{ufrag}:{LOCAL_UFRAG}"),
                password: password.to_owned(),
            })
            .ok_or(SessionError::Answer("its answer has no ICE credentials"))?;
        Ok(Self {
            client,
            url,
            token: token.map(str::to_owned),
            udp,
            tcp,
            credentials,
            relays,
        })
    }

    /// Leaves again; the server would notice by itself after a while.
    pub(super) async fn end(self) {
        let mut request = self.client.delete(self.url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let _ = request.send().await;
    }
}

/// The addresses of an answer's candidates (RFC 8839 §5.1, RFC 6544 §4.5), each once.
fn candidates(answer: &str) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for line in answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
    {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, _, protocol, _, ip, port, ..] = fields[..] else {
            continue;
        };
        let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse()) else {
            continue;
        };
        let address = SocketAddr::new(ip, port);
        let list = if protocol.eq_ignore_ascii_case("udp") {
            &mut udp
        } else {
            &mut tcp
        };
        if !list.contains(&address) {
            list.push(address);
        }
    }
    (udp, tcp)
}

/// The relay that a `Link` names (RFC 9725 §4.6, RFC 7065), if it does.
fn relay_of(link: &str) -> Option<RelayUrl> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let parameter = |name: &str| {
        let mut all = parameters
            .split(';')
            .filter_map(|one| one.trim().split_once('='));
        all.find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"').to_owned())
    };
    if parameter("rel").as_deref() != Some("ice-server") {
        return None;
    }
    let (scheme, rest) = target.split_once(':')?;
    let is_tls = match scheme {
        "turn" => false,
        "turns" => true,
        _ => return None,
    };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let usual = if is_tls { 5349 } else { 3478 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    Some(RelayUrl {
        is_tls,
        is_udp: !is_tls && query != "transport=tcp",
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        username: parameter("username")?,
        credential: parameter("credential")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_each_address_once() {
        let answer = "v=0\r\na=candidate:1 1 udp 2130706431 203.0.113.5 3478 typ host\r\n\
            a=candidate:1 1 udp 2130706431 203.0.113.5 3478 typ host\r\n\
            a=candidate:2 1 tcp 1 2001:db8::5 443 typ host tcptype passive\r\n\
            a=candidate:odd\r\na=candidate:3 1 udp 1 name.local 9 typ host\r\n";
        let (udp, tcp) = candidates(answer);
        assert_eq!(udp, ["203.0.113.5:3478".parse().unwrap()]);
        assert_eq!(tcp, ["[2001:db8::5]:443".parse().unwrap()]);
    }

    #[test]
    fn relays_are_read_from_links_and_others_are_not() {
        let relay = |target: &str| {
            relay_of(&format!(
                "<{target}>; rel=\"ice-server\"; username=\"9:a/b\"; credential=\"c=\"; \
                 credential-type=\"password\""
            ))
        };
        let place = |target| relay(target).map(|url| (url.is_tls, url.is_udp, url.host, url.port));
        let host = || "sfu.example".to_owned();
        assert_eq!(place("turn:sfu.example"), Some((false, true, host(), 3478)));
        assert_eq!(
            place("turn:sfu.example:9?transport=tcp"),
            Some((false, false, host(), 9))
        );
        assert_eq!(
            place("turns:sfu.example"),
            Some((true, false, host(), 5349))
        );
        assert_eq!(
            place("turns:[2001:db8::5]:443?transport=tcp"),
            Some((true, false, "2001:db8::5".to_owned(), 443))
        );
        assert_eq!(relay("turn:a").unwrap().credential, "c=");
        assert_eq!(place("stun:sfu.example"), None);
        assert_eq!(
            relay_of("</sessions/x/events>; rel=\"urn:plenum:events\""),
            None
        );
    }
}
