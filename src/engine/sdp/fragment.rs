//! Trickled candidates and ICE restarts: `application/trickle-ice-sdpfrag` (RFC 8840 §9).

use std::net::{IpAddr, SocketAddr};

use str0m::Candidate;

use super::attributes::{CredentialsReader, is_token, line_kind, lines};
use super::{IceCredentials, LineKind, MAX_MEDIA_LINES, MAX_SDP_BYTES, SdpError, malformed};

/// What a client tells about its side of ICE after the offer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragment {
    /// Its credentials; new ones ask for a restart (RFC 9725 §4.3.3).
    pub ice: Option<IceCredentials>,
    /// The m-lines that it is about.
    pub mids: Vec<String>,
    /// Candidates that we could send to.
    pub candidates: Vec<Candidate>,
    /// There will be no more of them.
    pub end_of_candidates: bool,
    /// How many candidates were left out without harm (RFC 9725 §4.3.2): not UDP, for RTCP
    /// alone, or with a name or a zone for an address.
    pub unusable_candidates: usize,
    /// How many were left out because there were too many before them.
    pub excess_candidates: usize,
}

impl Fragment {
    /// Reads a fragment, and no more than so many of its candidates.
    pub fn parse(fragment: &str, most_candidates: usize) -> Result<Self, SdpError> {
        if fragment.len() > MAX_SDP_BYTES || fragment.contains('\0') {
            return malformed("the fragment is too long, or has a NUL byte in it");
        }
        let mut parsed = Self::default();
        let mut credentials = CredentialsReader::default();
        let mut seen_attribute = false;
        for line in lines(fragment) {
            let line = line?;
            match line.attribute() {
                Some((name, value)) => {
                    credentials.note(name, value)?;
                    parsed.note(name, value, most_candidates)?;
                    seen_attribute = true;
                }
                None if line.kind == b'm'
                    && line_kind(first_word(line.value)) != LineKind::Other => {}
                None => return malformed("the fragment has lines other than a= and m="),
            }
        }
        if !seen_attribute {
            return malformed("the fragment is empty");
        }
        parsed.ice = credentials.finish()?;
        Ok(parsed)
    }

    fn note(&mut self, name: &str, value: &str, most_candidates: usize) -> Result<(), SdpError> {
        match name {
            "mid" if !is_token(value) => return malformed("a=mid is not valid"),
            "mid" if self.mids.len() == MAX_MEDIA_LINES => {
                return malformed("there are too many m-lines");
            }
            "mid" => self.mids.push(value.to_owned()),
            "end-of-candidates" => self.end_of_candidates = true,
            "candidate" => {
                let seen = self.candidates.len() + self.unusable_candidates;
                // Also what is too much has to be of the form.
                match read_candidate(value)? {
                    _ if seen >= most_candidates => self.excess_candidates += 1,
                    Some(candidate) => self.candidates.push(candidate),
                    None => self.unusable_candidates += 1,
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn first_word(value: &str) -> &str {
    value.split_ascii_whitespace().next().unwrap_or("")
}

/// Reads `foundation component transport priority address port typ type ...` (RFC 8839 §5.1).
///
/// What is not of this form is an error, and `None` is what is, but of no use to us.
fn read_candidate(value: &str) -> Result<Option<Candidate>, SdpError> {
    let mut words = value.split_ascii_whitespace();
    let mut next = || words.next().unwrap_or("");
    let (foundation, component, transport, priority) = (next(), next(), next(), next());
    let (address, port, typ, kind) = (next(), next(), next(), next());
    let numbers = (
        component.parse::<u16>(),
        priority.parse::<u32>(),
        port.parse::<u16>(),
    );
    let (Ok(component), Ok(_), Ok(port)) = numbers else {
        return malformed("a=candidate is not valid");
    };
    if foundation.is_empty()
        || transport.is_empty()
        || address.is_empty()
        || typ != "typ"
        || kind.is_empty()
    {
        return malformed("a=candidate is not valid");
    }
    // Component 2 is RTCP's own port, which nobody uses who takes rtcp-mux (Firefox offers it).
    if component != 1 || port == 0 || !transport.eq_ignore_ascii_case("udp") {
        return Ok(None);
    }
    // Names (of mDNS mostly) are never looked up, and zones mean something on the client only.
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Ok(None);
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return Ok(None);
    }
    Ok(Candidate::from_sdp_string(&format!("candidate:{value}")).ok())
}

/// Our side of an ICE restart that a fragment asked for (RFC 9725 §4.3.3).
#[derive(Clone, Debug)]
pub struct RestartAnswer<'a> {
    /// The session's m-lines, by MID and kind; the first carries the transport.
    pub lines: &'a [(&'a str, LineKind)],
    /// Our new credentials.
    pub ice: &'a IceCredentials,
    /// Where we can be reached.
    pub candidates: &'a [SocketAddr],
}

impl RestartAnswer<'_> {
    /// Writes the fragment: all that an answer would say of the ICE session.
    ///
    /// One candidate per address family is enough with an ICE-lite server, and whip-whep 1.2.0
    /// joins several into one line that no browser reads.
    pub fn write(&self) -> String {
        let mut out = String::from("a=ice-lite\r\na=ice-options:trickle\r\na=group:BUNDLE");
        for (mid, _) in self.lines {
            out.push(' ');
            out.push_str(mid);
        }
        out.push_str("\r\n");
        if let Some((mid, kind)) = self.lines.first() {
            out.push_str(pseudo_line(*kind));
            out.push_str(&format!("a=mid:{mid}\r\n"));
        }
        let IceCredentials { ufrag, pwd } = self.ice;
        out.push_str(&format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n"));
        let v4 = self.candidates.iter().find(|address| address.is_ipv4());
        let v6 = self.candidates.iter().find(|address| address.is_ipv6());
        let candidates = v4.into_iter().chain(v6);
        for candidate in candidates.filter_map(|&address| Candidate::host(address, "udp").ok()) {
            out.push_str(&format!("a={}\r\n", candidate.to_sdp_string()));
        }
        out.push_str("a=end-of-candidates\r\n");
        out
    }
}

/// An m-line that says nothing but its kind (RFC 8840 §9).
fn pseudo_line(kind: LineKind) -> &'static str {
    match kind {
        LineKind::Audio => "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n",
        LineKind::Video | LineKind::Other => "m=video 9 UDP/TLS/RTP/SAVPF 0\r\n",
        LineKind::Application => "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 32;

    fn parse(text: &str) -> Result<Fragment, SdpError> {
        Fragment::parse(text, MOST)
    }

    /// As whip-whep and browsers send it.
    const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ srflx raddr 0.0.0.0 rport 0\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n\
        a=candidate:1 1 udp 2122260223 0af2-55.local 61766 typ host\r\n\
        a=candidate:2 1 udp 2122260223 fe80::1%eth0 61767 typ host\r\n\
        a=candidate:3 2 UDP 2122260222 192.0.2.1 61768 typ host\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn useless_candidates_are_left_out_and_the_others_stay() {
        let fragment = parse(TRICKLE).expect("valid");
        assert_eq!(fragment.mids, ["0"]);
        assert_eq!(fragment.candidates.len(), 2);
        assert_eq!(fragment.unusable_candidates, 4);
        assert!(fragment.end_of_candidates);
        let ice = fragment.ice.expect("both were given");
        assert_eq!(
            (ice.ufrag.as_str(), ice.pwd.as_str()),
            ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
        );
    }

    #[test]
    fn a_fragment_that_is_none_is_told_from_one_that_is_of_no_use() {
        for bad in [
            "",
            "hello",
            "a=candidate:x\r\n",
            "a=candidate:1 1 udp 1 192.0.2.1 99999 typ host\r\n",
            "a=candidate:1 1 udp 1 192.0.2.1 9 host\r\n",
            "a=ice-ufrag:EsAw\r\na=mid:0\r\n",
            "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
            "a=ice-ufrag:EsAw\r\na=ice-ufrag:EsAx\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
            "a=mid:\r\n",
            "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n",
            "v=0\r\na=mid:0\r\n",
            "a=mid:0\0\r\n",
        ] {
            assert!(matches!(parse(bad), Err(SdpError::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_flood_of_candidates_is_cut() {
        let line = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
        let fragment = parse(&line.repeat(100)).expect("valid");
        assert_eq!(fragment.candidates.len(), MOST);
        assert_eq!(fragment.excess_candidates, 100 - MOST);
        // Nor are those for free that are of no use.
        let name = "a=candidate:1 1 udp 1 0af2-55.local 9 typ host\r\n";
        let fragment = parse(&name.repeat(100)).expect("valid");
        assert_eq!(fragment.unusable_candidates, MOST);
        assert_eq!(fragment.excess_candidates, 100 - MOST);
    }

    #[test]
    fn our_restart_answer_reads_as_a_fragment() {
        let ice = IceCredentials {
            ufrag: "abcdefgh".into(),
            pwd: "0123456789012345678901".into(),
        };
        let candidates: Vec<SocketAddr> =
            ["192.0.2.1:3478", "192.0.2.2:3478", "[2001:db8::1]:3478"]
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect();
        let answer = RestartAnswer {
            lines: &[("0", LineKind::Audio), ("1", LineKind::Video)],
            ice: &ice,
            candidates: &candidates,
        };
        let text = answer.write();
        assert!(
            text.starts_with(
                "a=ice-lite\r\na=ice-options:trickle\r\na=group:BUNDLE 0 1\r\nm=audio"
            )
        );
        let fragment = parse(&text).expect("we write what we read");
        assert_eq!(fragment.ice.as_ref(), Some(&ice));
        let addresses: Vec<_> = fragment.candidates.iter().map(Candidate::addr).collect();
        assert_eq!(addresses, [candidates[0], candidates[2]]);
        assert!(fragment.end_of_candidates);
    }

    /// Lines of fragments, whole and broken.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "a=candidate:[0-9a-z]{0,9} [0-9]{1,6} (udp|TCP|x) [0-9]{1,11} [0-9a-f.:%]{1,20} [0-9]{1,6} typ (host|srflx)( [a-z]{1,8} [0-9.]{1,8})?",
            "a=(ice-ufrag|ice-pwd|mid|end-of-candidates|ice-options)(:.{0,40})?",
            "m=(audio|video|application|x) [0-9]{1,5} UDP/TLS/RTP/SAVPF [0-9]{1,3}",
            ".{0,60}",
        ]
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_bounds_or_refused(
            lines in prop::collection::vec(line(), 0..80),
            end in "\r\n|\n|\r",
        ) {
            if let Ok(fragment) = parse(&lines.join(&end)) {
                prop_assert!(fragment.candidates.len() <= MOST);
                prop_assert!(fragment.mids.len() <= MAX_MEDIA_LINES);
                for candidate in &fragment.candidates {
                    let address = candidate.addr();
                    prop_assert!(!address.ip().is_unspecified() && address.port() > 0);
                }
            }
        }
    }
}
