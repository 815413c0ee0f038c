//! Datagrams in a stream of bytes: each comes after its length, in two bytes (RFC 4571 §2).

/// Largest datagram that is taken in.
///
/// Everything that travels here is made to fit a UDP datagram of some 1500 bytes. A larger limit
/// would let each connection hold more memory with half a frame.
pub(super) const MAX_FRAME_BYTES: usize = 4096;

/// A frame longer than [`MAX_FRAME_BYTES`], or more likely no frame at all: whatever follows
/// cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unframed;

/// Puts together what arrives in pieces.
#[derive(Debug, Default)]
pub struct Reassembler {
    /// The beginning of a frame, its length included.
    begun: Vec<u8>,
}

impl Reassembler {
    /// Takes in what was read, and hands on each datagram that is complete with it.
    ///
    /// # Errors
    /// What comes next cannot be found any more.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut handle: impl FnMut(&[u8]),
    ) -> Result<(), Unframed> {
        while !self.begun.is_empty() && !bytes.is_empty() {
            let missing = match frame_bytes(&self.begun)? {
                Some(whole) => whole - self.begun.len(),
                None => 1,
            };
            let (next, rest) = bytes.split_at(missing.min(bytes.len()));
            self.begun.extend_from_slice(next);
            bytes = rest;
            if frame_bytes(&self.begun)? == Some(self.begun.len()) {
                handle(&self.begun[2..]);
                self.begun.clear();
            }
        }
        while let Some(whole) = frame_bytes(bytes)?
            && whole <= bytes.len()
        {
            let (frame, rest) = bytes.split_at(whole);
            handle(&frame[2..]);
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }
}

/// The size of the frame that begins here, its length included, if that much is known.
fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, Unframed> {
    let Some(length) = bytes.first_chunk::<2>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length > MAX_FRAME_BYTES {
        return Err(Unframed);
    }
    Ok(Some(2 + length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let frame = |datagram: &Vec<u8>| {
            let length = (datagram.len() as u16).to_be_bytes();
            [&length[..], datagram].concat()
        };
        datagrams.iter().flat_map(frame).collect()
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, Unframed> {
        let mut reassembler = Reassembler::default();
        let mut datagrams = Vec::new();
        for piece in pieces {
            reassembler.feed(piece, |datagram| datagrams.push(datagram.to_vec()))?;
        }
        Ok(datagrams)
    }

    #[test]
    fn a_client_that_sends_byte_by_byte_is_understood() {
        let sent = vec![vec![1; 300], vec![], vec![2], vec![3; MAX_FRAME_BYTES]];
        let bytes = framed(&sent);
        let pieces: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(read(&pieces), Ok(sent));
    }

    #[test]
    fn what_is_no_frame_is_seen_at_once_and_held_by_nobody() {
        assert_eq!(read(&[b"GET / HTTP/1.1\r\n\r\n"]), Err(Unframed));
        assert_eq!(read(&[b"G", b"E"]), Err(Unframed));
        assert_eq!(read(&[&[0x10, 0x01]]), Err(Unframed), "a byte too much");
        let mut reassembler = Reassembler::default();
        let half = [&[0x10, 0x00][..], &[7; MAX_FRAME_BYTES - 1]].concat();
        reassembler.feed(&half, |_| panic!("not complete")).unwrap();
        assert!(reassembler.begun.len() < 2 + MAX_FRAME_BYTES);
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_datagrams_are_those_that_were_sent(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..8),
            cuts in prop::collection::vec(1usize..700, 1..40),
        ) {
            let bytes = framed(&sent);
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(read(&pieces), Ok(sent));
        }

        #[test]
        fn no_stream_does_harm(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            let _ = read(&pieces);
        }
    }
}
