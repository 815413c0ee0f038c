//! TURN messages in a stream of bytes: each says how long it is (RFC 8656 §3.2, §12.5).

/// Largest message that is taken in: a datagram of the path's usual size and what is around it. A
/// larger limit would let each connection hold more memory with half a message.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Something that is no TURN message: whatever follows cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unframed;

/// What was read and is not a whole message yet.
#[derive(Debug, Default)]
pub(super) struct Reassembler {
    pub(super) bytes: Vec<u8>,
    /// What of it was handed on.
    read: usize,
}

impl Reassembler {
    /// The next whole message.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Unframed> {
        let unread = &self.bytes[self.read..];
        let Some((message, padded)) = measure(unread)? else {
            self.compact();
            return Ok(None);
        };
        if unread.len() < padded {
            self.compact();
            return Ok(None);
        }
        let message = unread[..message].to_vec();
        self.read += padded;
        Ok(Some(message))
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.read);
        self.read = 0;
    }
}

/// How many bytes the message is that begins here, and how many with its padding.
fn measure(bytes: &[u8]) -> Result<Option<(usize, usize)>, Unframed> {
    let Some(&[first, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let message = match first {
        // STUN: header and attributes, which are padded themselves.
        0..=3 if length.is_multiple_of(4) => 20 + length,
        // Data of a channel: RFC 8656 has sixteen of these, and clients of RFC 5766 all.
        0x40..=0x7F => 4 + length,
        _ => return Err(Unframed),
    };
    if message > MAX_MESSAGE_BYTES {
        return Err(Unframed);
    }
    Ok(Some((message, message.next_multiple_of(4))))
}

/// Appends a message as it goes into a stream.
pub(super) fn frame(message: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(message);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stun(attributes: usize) -> Vec<u8> {
        let mut message = vec![0, 3];
        message.extend((attributes as u16).to_be_bytes());
        message.extend([0x21, 0x12, 0xA4, 0x42]);
        message.resize(20 + attributes, 7);
        message
    }

    fn channel(bytes: usize) -> Vec<u8> {
        let mut message = vec![0x40, 1];
        message.extend((bytes as u16).to_be_bytes());
        message.resize(4 + bytes, 9);
        message
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, Unframed> {
        let mut reassembler = Reassembler::default();
        let mut messages = Vec::new();
        for piece in pieces {
            reassembler.bytes.extend_from_slice(piece);
            while let Some(message) = reassembler.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn what_is_no_message_is_seen_at_once() {
        assert_eq!(read(&[b"GET / HTTP/1.1\r\n"]), Err(Unframed));
        assert_eq!(read(&[&[0x16, 3, 1, 0]]), Err(Unframed), "TLS within TLS");
        assert_eq!(read(&[&stun(3)]), Err(Unframed), "unpadded attributes");
        assert_eq!(read(&[&[0x40, 0, 0xFF, 0xFF]]), Err(Unframed), "too long");
        assert_eq!(read(&[&[0x80, 0, 0, 4]]), Err(Unframed), "RTP");
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_messages_are_those_that_were_sent(
            sizes in prop::collection::vec((any::<bool>(), 0usize..300), 1..8),
            cuts in prop::collection::vec(1usize..40, 1..100),
        ) {
            let sent: Vec<_> = sizes
                .iter()
                .map(|&(is_channel, size)| match is_channel {
                    true => channel(size),
                    false => stun(4 * size),
                })
                .collect();
            let mut bytes = Vec::new();
            for message in &sent {
                frame(message, &mut bytes);
            }
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            prop_assert_eq!(read(&pieces), Ok(sent));
        }
    }
}
