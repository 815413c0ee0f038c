//! Asks a STUN server outside which address this machine has there (RFC 8489).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use turn_server_proto::stun::types::attribute::XorMappedAddress;
use turn_server_proto::stun::types::message::{BINDING, Message, MessageWriteVec};
use turn_server_proto::stun::types::prelude::{MessageWrite, MessageWriteExt};

/// How long each attempt waits for an answer; a lost one costs a start this much.
const ATTEMPT: Duration = Duration::from_millis(700);
const ATTEMPTS: u32 = 4;

/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 512;

/// The port of STUN (RFC 8489 §3).
const USUAL_PORT: u16 = 3478;

/// Where a STUN server is (RFC 7064 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunUrl {
    host: String,
    port: u16,
}

/// Why the URL of a STUN server was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a STUN server has the form stun:host or stun:host:port")]
pub struct StunUrlError;

impl FromStr for StunUrl {
    type Err = StunUrlError;

    fn from_str(text: &str) -> Result<Self, StunUrlError> {
        let authority = text.strip_prefix("stun:").ok_or(StunUrlError)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !authority.ends_with(']') => {
                (host, port.parse().map_err(|_| StunUrlError)?)
            }
            _ => (authority, USUAL_PORT),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if host.is_empty() || port == 0 || !host.bytes().all(is_plain) {
            return Err(StunUrlError);
        }
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }
}

impl fmt::Display for StunUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "stun:[{}]:{}", self.host, self.port),
            false => write!(f, "stun:{}:{}", self.host, self.port),
        }
    }
}

/// The addresses that a server sees us at, one of each family that leads there. Blocks, for some
/// seconds if nobody answers.
///
/// `bound` is where the media socket is: media that leaves by one interface is not found at the
/// address of another.
pub fn discover(server: &StunUrl, bound: SocketAddr) -> io::Result<Vec<IpAddr>> {
    let addresses: Vec<SocketAddr> = (server.host.as_str(), server.port)
        .to_socket_addrs()?
        .collect();
    let mut seen = Vec::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for is_ipv4 in [true, false] {
        let takes_family = match bound.ip() {
            IpAddr::V6(ip) if ip.is_unspecified() => true,
            ip => ip.is_ipv4() == is_ipv4,
        };
        let mut of_family = addresses.iter();
        let of_family = of_family.find(|address| address.is_ipv4() == is_ipv4);
        let Some(&address) = of_family.filter(|_| takes_family) else {
            continue;
        };
        match ask(address, local(bound, is_ipv4)) {
            Ok(ip) => seen.push(ip),
            Err(error) => failure = error,
        }
    }
    if seen.is_empty() {
        Err(failure)
    } else {
        Ok(seen)
    }
}

/// Where to ask from: another port of the same address.
fn local(bound: SocketAddr, is_ipv4: bool) -> SocketAddr {
    match (bound.ip().is_unspecified(), is_ipv4) {
        (false, _) => SocketAddr::new(bound.ip(), 0),
        (true, true) => SocketAddr::from(([0, 0, 0, 0], 0)),
        (true, false) => SocketAddr::from(([0u16; 8], 0)),
    }
}

fn ask(server: SocketAddr, from: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(from)?;
    // Nobody else is heard.
    socket.connect(server)?;
    socket.set_read_timeout(Some(ATTEMPT))?;
    let request = Message::builder_request(BINDING, MessageWriteVec::new());
    let transaction = request.transaction_id();
    let request = request.finish();
    let mut buffer = [0; MAX_ANSWER_BYTES];
    for _ in 0..ATTEMPTS {
        socket.send(&request)?;
        let bytes = match socket.recv(&mut buffer) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let Ok(answer) = Message::from_bytes(&buffer[..bytes]) else {
            continue;
        };
        if answer.transaction_id() == transaction
            && let Ok(mapped) = answer.attribute::<XorMappedAddress>()
        {
            return Ok(mapped.addr(transaction).ip().to_canonical());
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "it does not answer",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{MediaSocket, Recipient, Stop, StunServer, recipient, some_moment};

    #[test]
    fn urls_of_stun_servers_are_read_and_others_refused() {
        let parsed = |text: &str| text.parse().map(|url: StunUrl| url.to_string());
        assert_eq!(
            parsed("stun:stun.example"),
            Ok("stun:stun.example:3478".to_owned())
        );
        assert_eq!(
            parsed("stun:192.0.2.1:19302"),
            Ok("stun:192.0.2.1:19302".to_owned())
        );
        assert_eq!(
            parsed("stun:[2001:db8::1]"),
            Ok("stun:[2001:db8::1]:3478".to_owned())
        );
        assert_eq!(
            parsed("stun:[2001:db8::1]:9"),
            Ok("stun:[2001:db8::1]:9".to_owned())
        );
        for bad in [
            "",
            "stun.example",
            "stun:",
            "stun:a:0",
            "stun:a:b",
            "stun:a b",
            "turn:a",
        ] {
            assert_eq!(parsed(bad), Err(StunUrlError), "{bad:?}");
        }
    }

    #[test]
    fn a_server_says_where_it_sees_us_though_the_first_question_is_lost() {
        let socket = MediaSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let server: StunUrl = format!("stun:{}", socket.local_addr()).parse().unwrap();
        let (stopper, stop) = Stop::pair().unwrap();
        let mut receiver = socket.receiver(stop).unwrap();
        let mut sender = socket.sender().unwrap();
        let answering = std::thread::spawn(move || {
            let mut stun = StunServer::new(some_moment());
            let mut asked = 0;
            while receiver.wait() {
                receiver.receive(|received| {
                    asked += 1;
                    let Ok(Recipient::Server(request)) = recipient(received.contents) else {
                        panic!("not a question");
                    };
                    let mut answer = Vec::new();
                    stun.answer(&request, received.source, some_moment(), &mut answer);
                    let outgoing = crate::net::Outgoing {
                        destination: received.source,
                        connection: None,
                        source: None,
                        contents: &answer,
                        segment_size: None,
                    };
                    if asked > 1 {
                        sender.send(std::iter::once(outgoing));
                    }
                });
            }
        });
        let bound = "0.0.0.0:3478".parse().unwrap();
        let seen = discover(&server, bound).unwrap();
        assert_eq!(seen, [IpAddr::from([127, 0, 0, 1])]);
        drop(stopper);
        answering.join().unwrap();
    }
}
