//! Whether TURN servers beside this one answer, and whether the certificate is for what clients of
//! TURN over TLS are told.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Finding;
use crate::config::Config;
use crate::http::{TurnUrl, certificate_is_for};
use crate::net::{StunUrl, discover};

/// How long a connection may take to come up.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings: Vec<_> = config.http.turn.urls.iter().map(beside).collect();
    findings.extend(named(config));
    findings
}

/// Whether a TURN server is there. With which credentials it relays, only a client can try.
fn beside(url: &TurnUrl) -> Finding {
    let tried = match url.is_udp() {
        true => by_udp(url),
        false => by_tcp(url),
    };
    match tried {
        Ok(()) => Finding::good(format!("--turn {url} answers")),
        Err(error) => Finding::fault(
            format!("--turn {url} does not answer from here: {error}"),
            "see that it runs, that its name leads to it, and that its port is open; whether it takes \
             this server's credentials is tried by `plenum doctor --reach` with this server's URL",
        ),
    }
}

fn by_udp(url: &TurnUrl) -> io::Result<()> {
    // Each TURN server is a STUN server as well (RFC 8656 §3).
    let (host, port) = url.place();
    let server: StunUrl = format!("stun:{host}:{port}")
        .parse()
        .map_err(io::Error::other)?;
    discover(&server, SocketAddr::from(([0u16; 8], 0))).map(drop)
}

fn by_tcp(url: &TurnUrl) -> io::Result<()> {
    let (host, port) = url.place();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    for address in (bare, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Whether browsers will take the certificate under the name that they are told.
fn named(config: &Config) -> Option<Finding> {
    let cert = config.http.tls.tls_cert.as_ref()?;
    let url = config.http.public_url.as_ref();
    let Some(host) = url.and_then(|url| url.host()) else {
        config.turn.turn_listen?;
        return Some(Finding::hint(
            "clients are told an address for TURN over TLS, which few certificates are for",
            "say what this server is called with --public-url",
        ));
    };
    match certificate_is_for(cert, &host) {
        Ok(true) => Some(Finding::good(format!("the certificate is for {host}"))),
        Ok(false) => Some(Finding::fault(
            format!("the certificate is not for {host}, which --public-url tells clients"),
            "get one for that name, for HTTPS as for TURN over TLS, or mend --public-url",
        )),
        // Said of the certificate itself already.
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_turn_server_that_is_not_there_is_a_fault() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("turn:{}?transport=tcp", listener.local_addr().unwrap());
        let tried = |url: &str| beside(&url.parse().unwrap()).verdict;
        assert_eq!(tried(&url), Verdict::Good);
        drop(listener);
        assert_eq!(tried(&url), Verdict::Fault);
        // Somebody is there, who does not answer as a TURN server.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let url = format!("turn:{}", silent.local_addr().unwrap());
        assert_eq!(tried(&url), Verdict::Fault);
    }

    #[test]
    fn a_certificate_for_another_name_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cert.pem");
        let made = rcgen::generate_simple_self_signed(["sfu.example".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        let mut config = Config::parse_from(["plenum"]);
        config.http.tls.tls_cert = Some(path);
        assert_eq!(named(&config), None, "nobody is told a name");
        let mut verdict = |url: &str| {
            config.http.public_url = url.parse().ok();
            named(&config).unwrap().verdict
        };
        assert_eq!(verdict("https://sfu.example"), Verdict::Good);
        assert_eq!(verdict("https://other.example"), Verdict::Fault);
    }
}
