//! One check of one way: what a browser's ICE sends first, and what has to come back.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::hmac;
use str0m::ice::{StunMessage, TransId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

/// How long a way is tried. Browsers give up later, people earlier.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A lost datagram is sent again after this long (RFC 8489 §6.2.1).
pub(super) const RESEND_AFTER: Duration = Duration::from_millis(500);

/// Longest message that is an answer.
const MAX_MESSAGE_BYTES: usize = 1500;

/// What makes a check one for a session.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    /// Both user fragments (RFC 8445 §7.2.2).
    pub(super) username: String,
    pub(super) password: String,
}

/// A check (RFC 8445 §7.2).
pub(super) struct Check {
    transaction: TransId,
    pub(super) bytes: Vec<u8>,
    password: String,
}

impl Check {
    pub(super) fn new(credentials: &Credentials) -> Self {
        let transaction = TransId::new();
        // A priority of the lowest kind, and no nomination: nothing is to come of it.
        let request =
            StunMessage::binding_request(&credentials.username, transaction, true, 1, 1, false);
        let mut bytes = vec![0; MAX_MESSAGE_BYTES];
        let password = credentials.password.as_bytes();
        let length = request
            .to_bytes(Some(password), &mut bytes, sha1_hmac)
            .expect("a check fits a packet");
        bytes.truncate(length);
        Self {
            transaction,
            bytes,
            password: credentials.password.clone(),
        }
    }

    /// Whether a message is the server's answer to it.
    pub(super) fn is_answered_by(&self, message: &[u8]) -> bool {
        StunMessage::parse(message).is_ok_and(|answer| {
            answer.is_successful_binding_response()
                && answer.trans_id() == self.transaction
                && answer.verify(self.password.as_bytes(), sha1_hmac)
        })
    }
}

/// SHA-1 is what STUN has (RFC 8489 §14.5).
fn sha1_hmac(key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    for payload in payloads {
        context.update(payload);
    }
    let tag = context.sign();
    tag.as_ref().try_into().expect("SHA-1 has 20 bytes")
}

/// The unspecified address of a family, with any port.
pub(super) fn any(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Tries a way by UDP; gives how long the answer took.
pub(super) async fn by_udp(to: SocketAddr, credentials: &Credentials) -> Result<Duration, String> {
    let words = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind(any(to)).await.map_err(words)?;
    socket.connect(to).await.map_err(words)?;
    let check = Check::new(credentials);
    let begun = now();
    let mut buffer = [0; MAX_MESSAGE_BYTES];
    while begun.elapsed() < PATIENCE {
        let sent = now();
        socket.send(&check.bytes).await.map_err(words)?;
        while let Ok(received) = timeout(
            RESEND_AFTER.saturating_sub(sent.elapsed()),
            socket.recv(&mut buffer),
        )
        .await
        {
            let bytes = received.map_err(words)?;
            if check.is_answered_by(&buffer[..bytes]) {
                return Ok(sent.elapsed());
            }
        }
    }
    Err("no answer".to_owned())
}

/// Tries a way by TCP (RFC 6544); gives how long connection and answer took.
pub(super) async fn by_tcp(to: SocketAddr, credentials: &Credentials) -> Result<Duration, String> {
    let begun = now();
    let attempt = async {
        let mut stream = TcpStream::connect(to).await?;
        let check = Check::new(credentials);
        let mut framed = (check.bytes.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&check.bytes);
        stream.write_all(&framed).await?;
        loop {
            let length = stream.read_u16().await?;
            let mut message = vec![0; length.into()];
            stream.read_exact(&mut message).await?;
            if check.is_answered_by(&message) {
                return Ok(begun.elapsed());
            }
        }
    };
    match timeout(PATIENCE, attempt).await {
        Ok(tried) => tried.map_err(|error: std::io::Error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// What time it is.
#[expect(
    clippy::disallowed_methods,
    reason = "the doctor measures real networks"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_if_the_server_made_it_for_this_check() {
        let credentials = Credentials {
            username: "server:doctor".into(),
            password: "0123456789012345678901".into(),
        };
        let check = Check::new(&credentials);
        let request = StunMessage::parse(&check.bytes).unwrap();
        assert_eq!(request.split_username(), Some(("server", "doctor")));
        let reply = |transaction, password: &str| {
            let mapped = "192.0.2.1:9".parse().unwrap();
            let mut bytes = vec![0; 200];
            let length = StunMessage::binding_reply(transaction, mapped)
                .to_bytes(Some(password.as_bytes()), &mut bytes, sha1_hmac)
                .unwrap();
            bytes.truncate(length);
            bytes
        };
        assert!(check.is_answered_by(&reply(check.transaction, &credentials.password)));
        assert!(!check.is_answered_by(&reply(check.transaction, "somebody else's")));
        assert!(!check.is_answered_by(&reply(TransId::new(), &credentials.password)));
        assert!(!check.is_answered_by(b"HTTP/1.1 200 OK"));
    }
}
