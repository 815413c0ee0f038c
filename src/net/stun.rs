//! A STUN server (RFC 8489): tells whoever asks with a plain Binding request which address the
//! question came from. Connectivity checks, which carry credentials, are not for it.
//!
//! An answer is the least that the RFC asks for (32 bytes over IPv4 and 44 over IPv6, to the
//! request's 20 or more), and no source gets many: whoever forges the source of requests gains
//! nothing that sending by himself would not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::counters::{DropReason, NetCounters};
use super::demux::{HEADER_BYTES, MAGIC_COOKIE};
use super::rate::SourceRate;
use super::receive::Received;
use super::send::{Outgoing, Sender};

/// Answers per second to one source.
///
/// A browser asks once per interface and connection, and once in ten seconds after that, so that an
/// office of hundreds behind one address gets by; forged requests turn into 3 kB/s at their victim.
const PER_SECOND: u32 = 50;

/// Answers to one source at once: everybody behind that address comes to the same meeting.
const BURST: u32 = 200;

/// Answers per second to all sources together: some 2 % of a core, spent on sending them.
const TOTAL_PER_SECOND: u32 = 5_000;

const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
/// RFC 8489 §14.2, §14.8, §14.13.
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;

/// Most unknown attributes that a refusal names.
const MAX_UNKNOWN: usize = 4;

/// A Binding request without credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindingRequest {
    transaction: [u8; 12],
    /// Attributes that have to be understood, and are not (RFC 8489 §6.3.1).
    unknown: [u16; MAX_UNKNOWN],
    unknowns: usize,
}

impl BindingRequest {
    /// The request with this header.
    pub(super) fn new(header: &[u8]) -> Self {
        let mut request = Self::default();
        request
            .transaction
            .copy_from_slice(&header[8..HEADER_BYTES]);
        request
    }

    /// Notes an attribute that has to be understood and is not.
    pub(super) fn note_unknown(&mut self, kind: u16) {
        if self.unknowns < MAX_UNKNOWN {
            self.unknown[self.unknowns] = kind;
            self.unknowns += 1;
        }
    }

    /// The answer to somebody who asks from `source`.
    fn answer(&self, source: SocketAddr, out: &mut Vec<u8>) {
        let unknown = &self.unknown[..self.unknowns];
        let (kind, length) = match (unknown.is_empty(), source) {
            (true, SocketAddr::V4(_)) => (BINDING_SUCCESS, 12),
            (true, SocketAddr::V6(_)) => (BINDING_SUCCESS, 24),
            (false, _) => (
                BINDING_ERROR,
                8 + 4 + (2 * unknown.len()).next_multiple_of(4),
            ),
        };
        out.extend(kind.to_be_bytes());
        out.extend((length as u16).to_be_bytes());
        out.extend(MAGIC_COOKIE);
        out.extend(self.transaction);
        if unknown.is_empty() {
            self.xor_mapped_address(source, out);
        } else {
            refusal(unknown, out);
        }
    }

    /// RFC 8489 §14.2.
    fn xor_mapped_address(&self, source: SocketAddr, out: &mut Vec<u8>) {
        let port = source.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
        let (family, ip) = match source.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let mask = MAGIC_COOKIE.iter().chain(&self.transaction);
        out.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
        out.extend((4 + ip.len() as u16).to_be_bytes());
        out.extend([0, family]);
        out.extend(port.to_be_bytes());
        out.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    }
}

/// Error 420 without a phrase, and what was not understood.
fn refusal(unknown: &[u16], out: &mut Vec<u8>) {
    out.extend(ERROR_CODE.to_be_bytes());
    out.extend([0, 4, 0, 0, 4, 20]);
    out.extend(UNKNOWN_ATTRIBUTES.to_be_bytes());
    out.extend((2 * unknown.len() as u16).to_be_bytes());
    let padding = (unknown.len() % 2 == 1).then_some(0u16);
    for kind in unknown.iter().copied().chain(padding) {
        out.extend(kind.to_be_bytes());
    }
}

/// Answers Binding requests, as many as the limits allow.
#[derive(Debug)]
pub struct StunServer {
    sources: SourceRate,
    all: SourceRate,
}

impl StunServer {
    /// A server that has answered nobody yet; `epoch` is not later than any time that it will
    /// be told.
    pub fn new(epoch: Instant) -> Self {
        Self {
            sources: SourceRate::new(PER_SECOND, BURST, epoch),
            all: SourceRate::new(TOTAL_PER_SECOND, TOTAL_PER_SECOND, epoch),
        }
    }

    /// Appends the answer to `out`, or says `false` if there is to be none.
    pub fn answer(
        &mut self,
        request: &BindingRequest,
        source: SocketAddr,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> bool {
        // Nobody at port zero, or everywhere, hears an answer.
        let is_reachable =
            source.port() != 0 && !source.ip().is_unspecified() && !source.ip().is_multicast();
        let everybody = IpAddr::from([0, 0, 0, 0]);
        let is_admitted = is_reachable
            && self.sources.admits(source.ip(), now)
            && self.all.admits(everybody, now);
        if is_admitted {
            request.answer(source, out);
        }
        is_admitted
    }
}

/// A STUN server and the socket that it answers from.
pub struct StunResponder {
    server: StunServer,
    sender: Sender,
    counters: Arc<NetCounters>,
    bytes: Vec<u8>,
    /// To whom, from which address of ours, and where in `bytes` the answer ends.
    answers: Vec<(SocketAddr, Option<IpAddr>, usize)>,
}

impl StunResponder {
    /// Answers through `sender`, which does not wait for that.
    pub fn new(server: StunServer, sender: Sender, counters: Arc<NetCounters>) -> Self {
        Self {
            server,
            sender: sender.without_patience(),
            counters,
            bytes: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Makes an answer to `received`, to be sent soon, or counts that there is none.
    pub fn ask(&mut self, request: &BindingRequest, received: &Received<'_>, now: Instant) {
        let source = received.source;
        if self.server.answer(request, source, now, &mut self.bytes) {
            let end = self.bytes.len();
            self.answers.push((source, received.local_ip, end));
        } else {
            self.counters.add_drops(DropReason::StunRate, 1);
        }
    }

    /// Sends all answers.
    pub fn send(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let mut start = 0;
        let outgoing = self.answers.iter().map(|&(destination, source, end)| {
            let contents = &self.bytes[start..end];
            start = end;
            Outgoing {
                destination,
                connection: None,
                source,
                contents,
                segment_size: None,
            }
        });
        self.sender.send(outgoing);
        self.counters.add_stun_answers(self.answers.len() as u64);
        self.answers.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::demux::{Recipient, recipient};
    use crate::net::some_moment;

    /// The sample of RFC 5769 §2.2 without its integrity: transaction, and reflexive address.
    const TRANSACTION: [u8; 12] = [
        0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE,
    ];

    fn request(attributes: &[u8]) -> BindingRequest {
        let mut message = vec![0, 1, 0, attributes.len() as u8];
        message.extend(MAGIC_COOKIE);
        message.extend(TRANSACTION);
        message.extend(attributes);
        match recipient(&message) {
            Ok(Recipient::Server(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn answer(request: &BindingRequest, source: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut server = StunServer::new(some_moment());
        assert!(server.answer(request, source.parse().unwrap(), some_moment(), &mut out));
        out
    }

    #[test]
    fn whoever_asks_is_told_the_address_that_he_asks_from() {
        let v4 = answer(&request(&[]), "192.0.2.1:32853");
        assert_eq!(v4[..4], [1, 1, 0, 12]);
        assert_eq!(v4[8..20], TRANSACTION);
        assert_eq!(
            v4[20..],
            [0, 0x20, 0, 8, 0, 1, 0xA1, 0x47, 0xE1, 0x12, 0xA6, 0x43],
            "as RFC 5769 §2.2 has it"
        );
        let v6 = answer(
            &request(&[]),
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        );
        let expected = [
            0, 0x20, 0, 20, 0, 2, 0xA1, 0x47, 0x01, 0x13, 0xA9, 0xFA, 0xA5, 0xD3, 0xF1, 0x79, 0xBC,
            0x25, 0xF4, 0xB5, 0xBE, 0xD2, 0xB9, 0xD9,
        ];
        assert_eq!(v6[20..], expected, "as RFC 5769 §2.3 has it");
        assert_eq!(v6.len(), 44);
    }

    #[test]
    fn what_is_not_understood_is_named_and_no_more() {
        let odd = request(&[0x7F, 0x01, 0, 0, 0x80, 0x22, 0, 0]);
        assert_eq!(
            answer(&odd, "192.0.2.1:9")[..4],
            [1, 0x11, 0, 16],
            "comprehension of 0x8022 is optional"
        );
        assert_eq!(
            answer(&odd, "192.0.2.1:9")[20..],
            [0, 9, 0, 4, 0, 0, 4, 20, 0, 0x0A, 0, 2, 0x7F, 0x01, 0, 0]
        );
        let many = request(&[0x7F, 0x01, 0, 0].repeat(12));
        assert!(answer(&many, "192.0.2.1:9").len() < 20 + 4 * 12);
    }

    #[test]
    fn a_flood_of_questions_gets_few_answers_from_whomever_it_comes() {
        let start = some_moment();
        let mut server = StunServer::new(start);
        let mut out = Vec::new();
        let mut answers = |sources: u32, now| {
            let flood = (0..20_000u32).map(|n| (0x0A00_0000 + n % sources).to_be_bytes());
            flood
                .filter(|ip| {
                    out.clear();
                    server.answer(&request(&[]), (*ip, 9).into(), now, &mut out)
                })
                .count()
        };
        assert_eq!(answers(1, start), BURST as usize);
        let later = start + Duration::from_secs(60);
        assert_eq!(answers(20_000, later), TOTAL_PER_SECOND as usize);
    }

    #[test]
    fn nobody_is_answered_who_cannot_be_there() {
        let mut server = StunServer::new(some_moment());
        for source in ["192.0.2.1:0", "224.0.0.1:9", "0.0.0.0:9", "[::]:9"] {
            let source = source.parse().unwrap();
            assert!(!server.answer(&request(&[]), source, some_moment(), &mut Vec::new()));
        }
    }
}
