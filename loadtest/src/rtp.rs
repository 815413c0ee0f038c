//! RTP headers (RFC 3550 §5.1, RFC 8285), read and written in place.

/// The identifiers that an answer gave to the header extensions; 0 where it took none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    pub(crate) mid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852).
    pub(crate) rid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852).
    pub(crate) repaired_rid: u8,
    /// `transport-wide-cc-extensions-01`.
    pub(crate) transport_cc: u8,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub(crate) audio_level: u8,
}

/// What a receiver needs of a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Bytes before the payload.
    pub(crate) len: usize,
    /// Whether the last byte of the payload counts padding.
    pub(crate) padded: bool,
    two_byte: bool,
    extensions: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the header of an RTP packet; `None` when it is shorter than it says.
    pub(crate) fn parse(packet: &'a [u8]) -> Option<Self> {
        let fixed: &[u8; 12] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut len = 12 + 4 * usize::from(fixed[0] & 0x0f);
        let mut extensions: &[u8] = &[];
        let mut two_byte = false;
        if fixed[0] & 0x10 != 0 {
            let head: [u8; 4] = packet.get(len..len + 4)?.try_into().ok()?;
            let bytes = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
            two_byte = head[0] == 0x10 && head[1] >> 4 == 0;
            if two_byte || head[..2] == [0xbe, 0xde] {
                extensions = packet.get(len + 4..len + 4 + bytes)?;
            }
            len += 4 + bytes;
        }
        (packet.len() >= len).then_some(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            len,
            padded: fixed[0] & 0x20 != 0,
            two_byte,
            extensions,
        })
    }

    /// The value of one header extension.
    pub(crate) fn extension(&self, wanted: u8) -> Option<&'a [u8]> {
        if wanted == 0 {
            return None;
        }
        let mut rest = self.extensions;
        while let [first, tail @ ..] = rest {
            let (id, len, body) = if *first == 0 {
                rest = tail;
                continue;
            } else if self.two_byte {
                let (len, body) = tail.split_first()?;
                (*first, usize::from(*len), body)
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1, tail)
            };
            let value = body.get(..len)?;
            if id == wanted {
                return Some(value);
            }
            rest = &body[len..];
        }
        None
    }
}

/// One header to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderSpec<'a> {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Extension identifiers and values, of 1 to 16 bytes each.
    pub(crate) extensions: &'a [(u8, &'a [u8])],
}

impl HeaderSpec<'_> {
    /// Appends the header and gives its length.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let with_extensions = self.extensions.iter().any(|(id, _)| *id != 0);
        out.push(if with_extensions { 0x90 } else { 0x80 });
        out.push(self.payload_type | if self.marker { 0x80 } else { 0 });
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        if with_extensions {
            out.extend_from_slice(&[0xbe, 0xde, 0, 0]);
            let body = out.len();
            for (id, value) in self.extensions.iter().filter(|(id, _)| *id != 0) {
                out.push(id << 4 | (value.len() - 1) as u8);
                out.extend_from_slice(value);
            }
            while !(out.len() - body).is_multiple_of(4) {
                out.push(0);
            }
            let words = ((out.len() - body) / 4) as u16;
            out[body - 2..body].copy_from_slice(&words.to_be_bytes());
        }
        out.len() - start
    }
}

/// Unrolls 16-bit sequence numbers into ones that never wrap (RFC 3550 appendix A.1).
pub(crate) fn extend(sequence: u16, highest: u64) -> u64 {
    let ahead = sequence.wrapping_sub(highest as u16) as i16;
    // The first packets of a stream may be older than the one seen first: never go below zero.
    highest.saturating_add_signed(i64::from(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let mut out = vec![0xff];
        let spec = HeaderSpec {
            marker: true,
            payload_type: 96,
            sequence: 65_535,
            timestamp: 7,
            ssrc: 0xdead_beef,
            extensions: &[(3, b"video"), (0, b"ignored"), (5, &[1, 2])],
        };
        let len = spec.write(&mut out);
        out.extend_from_slice(b"payload");
        let header = Header::parse(&out[1..]).expect("it was written whole");
        assert_eq!(header.len, len);
        assert_eq!(
            (header.marker, header.payload_type, header.sequence),
            (true, 96, 65_535)
        );
        assert_eq!((header.timestamp, header.ssrc), (7, 0xdead_beef));
        assert_eq!(header.extension(3), Some(&b"video"[..]));
        assert_eq!(header.extension(5), Some(&[1, 2][..]));
        assert_eq!(header.extension(4), None);
        assert!(
            Header::parse(&out[1..len]).is_none(),
            "shorter than its extensions"
        );
    }

    #[test]
    fn sequence_numbers_go_on_over_the_wrap_and_back() {
        assert_eq!(extend(1, 65_535), 65_537);
        assert_eq!(extend(65_535, 65_537), 65_535);
        assert_eq!(extend(65_535, 0), 0, "older than the first");
    }
}
