//! Asks for RSA certificates too.
//!
//! `dimpl` asks its peers for ECDSA certificates alone, and GStreamer has an RSA one: without
//! this, its handshake ends with "no client certificate received". `dimpl` checks whatever
//! signature comes back through a verifier of ours, so it is enough that the question is wider.
//!
//! The `CertificateRequest` (RFC 5246 §7.4.4) is rewritten on its way out, and in the transcript
//! that is hashed and signed, by the same function: what both sides hash is what was sent. Were
//! a new version of `dimpl` to write another message or hash in another way, the two hashes
//! would differ and handshakes would fail closed.

use std::borrow::Cow;

/// By how much a datagram may grow: one certificate type and three signature algorithms.
pub(super) const GROWTH: usize = 7;

/// `ecdsa_sign` and `rsa_sign` (RFC 8422 §5.5, RFC 5246 §7.4.4).
const CERTIFICATE_TYPES: [u8; 2] = [64, 1];

/// PKCS#1 with SHA-256, SHA-384 and SHA-512 (RFC 5246 §7.4.1.4.1): what OpenSSL signs with.
const RSA_ALGORITHMS: [u8; 6] = [4, 1, 5, 1, 6, 1];

/// Octets of the body that are not signature algorithms: a list of one certificate type, the
/// length of the algorithms, and an empty list of authorities.
const BODY_FRAME_LEN: usize = 6;

/// Octets of a DTLS record header (RFC 6347 §4.1).
const RECORD_HEADER_LEN: usize = 13;

/// Octets of a DTLS handshake header (RFC 6347 §4.2.2).
const HANDSHAKE_HEADER_LEN: usize = 12;

const CONTENT_TYPE_HANDSHAKE: u8 = 22;
const CERTIFICATE_REQUEST: u8 = 13;

/// Rewrites what is sent: every piece of a `CertificateRequest` in a datagram of ours.
///
/// A datagram may carry several records, and the message may be cut anywhere.
pub(super) fn widen_datagram(datagram: &[u8]) -> Cow<'_, [u8]> {
    let mut widened = Vec::new();
    let mut rest = datagram;
    let mut unchanged = true;
    while let Some((record, after)) = split_record(rest) {
        match HandshakeFragment::parse(record.fragment) {
            Some(fragment) if record.is_plain_handshake && fragment.is_certificate_request() => {
                let fragment = fragment.widened();
                widened.extend_from_slice(&record.header[..RECORD_HEADER_LEN - 2]);
                widened.extend_from_slice(&(fragment.len() as u16).to_be_bytes());
                widened.extend_from_slice(&fragment);
                unchanged = false;
            }
            _ => widened.extend_from_slice(&rest[..rest.len() - after.len()]),
        }
        rest = after;
    }
    if unchanged {
        return Cow::Borrowed(datagram);
    }
    widened.extend_from_slice(rest);
    Cow::Owned(widened)
}

/// Rewrites what is hashed and signed: the `CertificateRequest` in a transcript, which is whole
/// messages one after the other. Anything else comes back as it is.
pub(super) fn widen_transcript(transcript: &[u8]) -> Cow<'_, [u8]> {
    let mut start = 0;
    while let Some(message) = HandshakeFragment::parse(&transcript[start..]) {
        let end = start + HANDSHAKE_HEADER_LEN + message.body.len();
        if message.is_certificate_request() {
            let widened = message.widened();
            return Cow::Owned([&transcript[..start], &widened, &transcript[end..]].concat());
        }
        start = end;
    }
    Cow::Borrowed(transcript)
}

struct Record<'a> {
    header: &'a [u8],
    fragment: &'a [u8],
    is_plain_handshake: bool,
}

fn split_record(datagram: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = datagram.split_at_checked(RECORD_HEADER_LEN)?;
    let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
    let (fragment, rest) = rest.split_at_checked(len)?;
    let is_plain_handshake = header[0] == CONTENT_TYPE_HANDSHAKE && header[3..5] == [0, 0];
    Some((
        Record {
            header,
            fragment,
            is_plain_handshake,
        },
        rest,
    ))
}

/// A handshake message, or a piece of one.
struct HandshakeFragment<'a> {
    header: &'a [u8],
    /// Length of the whole message's body.
    message_len: usize,
    /// Where in that body this piece stands.
    offset: usize,
    body: &'a [u8],
}

impl<'a> HandshakeFragment<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HANDSHAKE_HEADER_LEN)?;
        let body_len = be_u24(&header[9..12]);
        Some(Self {
            header,
            message_len: be_u24(&header[1..4]),
            offset: be_u24(&header[6..9]),
            body: rest.get(..body_len)?,
        })
    }

    /// Whether this is (a piece of) the message as `dimpl` writes it.
    fn is_certificate_request(&self) -> bool {
        self.header[0] == CERTIFICATE_REQUEST && self.message_len >= BODY_FRAME_LEN
    }

    fn widened(&self) -> Vec<u8> {
        let start = self.widened_offset(self.offset);
        let end = self.widened_offset(self.offset + self.body.len());
        let mut widened = Vec::with_capacity(HANDSHAKE_HEADER_LEN + end - start);
        widened.push(CERTIFICATE_REQUEST);
        push_u24(&mut widened, self.message_len + GROWTH);
        widened.extend_from_slice(&self.header[4..6]);
        push_u24(&mut widened, start);
        push_u24(&mut widened, end - start);
        for (position, octet) in (self.offset..).zip(self.body) {
            self.push_widened(&mut widened, position, *octet);
        }
        widened
    }

    /// One octet of the message becomes one or several; each depends only on where it stands,
    /// so that pieces can be rewritten alone.
    fn push_widened(&self, widened: &mut Vec<u8>, position: usize, octet: u8) {
        let algorithms_len = self.message_len - BODY_FRAME_LEN + RSA_ALGORITHMS.len();
        let algorithms_len = (algorithms_len as u16).to_be_bytes();
        match position {
            0 => widened.push(CERTIFICATE_TYPES.len() as u8),
            1 => widened.extend_from_slice(&CERTIFICATE_TYPES),
            2 | 3 => widened.push(algorithms_len[position - 2]),
            _ if position == self.authorities_at() => {
                widened.extend_from_slice(&RSA_ALGORITHMS);
                widened.push(octet);
            }
            _ => widened.push(octet),
        }
    }

    /// Where a position in the body is after widening.
    fn widened_offset(&self, position: usize) -> usize {
        let types = if position > 1 {
            CERTIFICATE_TYPES.len() - 1
        } else {
            0
        };
        let algorithms = if position > self.authorities_at() {
            RSA_ALGORITHMS.len()
        } else {
            0
        };
        position + types + algorithms
    }

    /// Where the empty list of certificate authorities begins.
    fn authorities_at(&self) -> usize {
        self.message_len - 2
    }
}

fn be_u24(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |value, octet| value << 8 | usize::from(*octet))
}

fn push_u24(bytes: &mut Vec<u8>, value: usize) {
    bytes.extend_from_slice(&(value as u32).to_be_bytes()[1..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: [u8; 10] = [1, 64, 0, 4, 4, 3, 5, 3, 0, 0];
    const WIDENED: [u8; 17] = [2, 64, 1, 0, 10, 4, 3, 5, 3, 4, 1, 5, 1, 6, 1, 0, 0];

    fn fragment(kind: u8, message_len: usize, offset: usize, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        push_u24(&mut bytes, message_len);
        bytes.extend_from_slice(&[0, 3]);
        push_u24(&mut bytes, offset);
        push_u24(&mut bytes, body.len());
        bytes.extend_from_slice(body);
        bytes
    }

    fn record(epoch: u8, fragment: &[u8]) -> Vec<u8> {
        let mut bytes = vec![22, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 7];
        bytes.extend_from_slice(&(fragment.len() as u16).to_be_bytes());
        bytes.extend_from_slice(fragment);
        bytes
    }

    /// Puts the pieces of a message in datagrams together again.
    fn reassemble(datagrams: &[Cow<'_, [u8]>]) -> Vec<u8> {
        let mut body = Vec::new();
        for datagram in datagrams {
            let mut rest = &datagram[..];
            while let Some((record, after)) = split_record(rest) {
                let piece = HandshakeFragment::parse(record.fragment).expect("whole record");
                assert_eq!(piece.message_len, WIDENED.len());
                assert_eq!(piece.offset, body.len(), "pieces follow each other");
                assert_eq!(
                    record.fragment.len(),
                    HANDSHAKE_HEADER_LEN + piece.body.len()
                );
                body.extend_from_slice(piece.body);
                rest = after;
            }
            assert!(rest.is_empty());
        }
        body
    }

    #[test]
    fn the_question_is_widened_wherever_it_is_cut() {
        for first in 0..=BODY.len() {
            for second in first..=BODY.len() {
                let piece = |from, to| record(0, &fragment(13, BODY.len(), from, &BODY[from..to]));
                let together = [piece(0, first), piece(first, second)].concat();
                let last = piece(second, BODY.len());
                let widened = [widen_datagram(&together), widen_datagram(&last)];
                assert!(widened[0].len() + widened[1].len() - together.len() - last.len() == 7);
                assert_eq!(reassemble(&widened), WIDENED, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_hashed_is_what_was_sent() {
        let hello = fragment(2, 4, 0, b"helo");
        let done = fragment(14, 0, 0, b"");
        let question = fragment(13, BODY.len(), 0, &BODY);
        let widened = fragment(13, WIDENED.len(), 0, &WIDENED);
        let transcript = [&hello[..], &question, &done].concat();
        assert_eq!(
            widen_transcript(&transcript)[..],
            [&hello[..], &widened, &done].concat()
        );
        let sent = widen_datagram(&record(0, &question)).into_owned();
        assert_eq!(sent[RECORD_HEADER_LEN..], widened);
    }

    #[test]
    fn all_else_goes_out_as_it_is() {
        let question = fragment(13, BODY.len(), 0, &BODY);
        for datagram in [
            record(0, &fragment(11, BODY.len(), 0, &BODY)),
            record(1, &question),
            record(0, b"short"),
            record(0, &question)[..30].to_vec(),
            Vec::new(),
        ] {
            assert!(matches!(widen_datagram(&datagram), Cow::Borrowed(same) if same == datagram));
        }
        let beside = [record(0, &fragment(12, 1, 0, b"k")), record(0, &question)].concat();
        assert_eq!(widen_datagram(&beside).len(), beside.len() + GROWTH);
        assert_eq!(widen_datagram(&beside)[..26], beside[..26]);
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(widen_transcript(&bytes).len() <= bytes.len() + GROWTH);
            widen_datagram(&bytes);
        }
    }
}
