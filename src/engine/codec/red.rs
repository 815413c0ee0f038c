//! Redundant audio (RFC 2198): a packet that carries the voice before it once more.

use std::ops::Range;

use smallvec::SmallVec;

// Header of a block: |F|PT|, and if F is set 14 bits of timestamp offset and 10 of length.
const FOLLOWS: u8 = 0x80;
const PAYLOAD_TYPE: u8 = 0x7f;
const BLOCK_HEADER_BYTES: usize = 4;

/// Most blocks of a packet: libwebrtc sends up to nine.
const MAX_BLOCKS: usize = 10;

/// An earlier packet's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// How much older it is, in ticks of the RTP clock.
    pub(crate) ticks: u32,
    /// Where it stands in the payload.
    pub(crate) at: Range<usize>,
}

/// What is in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redundant {
    /// Oldest first.
    pub(crate) earlier: SmallVec<[Earlier; 2]>,
    /// Where the packet's own payload begins; it goes to the end.
    pub(crate) primary: usize,
}

/// Finds the blocks of a payload; `None` if it is not what it should be.
pub(crate) fn parse(payload: &[u8]) -> Option<Redundant> {
    let mut lengths: SmallVec<[(u32, usize); 2]> = SmallVec::new();
    let mut at = 0;
    while payload.get(at)? & FOLLOWS != 0 {
        let header: &[u8; BLOCK_HEADER_BYTES] = payload.get(at..)?.first_chunk()?;
        let ticks = u32::from(header[1]) << 6 | u32::from(header[2] >> 2);
        let length = usize::from(header[2] & 3) << 8 | usize::from(header[3]);
        if lengths.len() == MAX_BLOCKS {
            return None;
        }
        lengths.push((ticks, length));
        at += BLOCK_HEADER_BYTES;
    }
    let mut begin = at + 1;
    let earlier = lengths
        .into_iter()
        .map(|(ticks, length)| {
            let at = begin..begin + length;
            begin = at.end;
            Earlier { ticks, at }
        })
        .collect();
    (begin < payload.len()).then_some(Redundant {
        earlier,
        primary: begin,
    })
}

/// Names the codec of all blocks anew, in a copy of a payload: payload types are each receiver's own.
pub(crate) fn retarget(payload: &mut [u8], pt: u8) {
    let mut at = 0;
    while let Some(header) = payload.get_mut(at) {
        let follows = *header & FOLLOWS;
        *header = follows | pt & PAYLOAD_TYPE;
        if follows == 0 {
            break;
        }
        at += BLOCK_HEADER_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_has_the_one_before_it_and_its_own() {
        // 960 ticks earlier, 3 bytes; then the packet's own.
        let mut payload = [0x80 | 111, 0x0f, 0x00, 3, 111, 1, 2, 3, 9, 9];
        let found = parse(&payload).expect("valid");
        let before = Earlier {
            ticks: 960,
            at: 5..8,
        };
        assert_eq!(
            (found.earlier[..].to_vec(), found.primary),
            (vec![before], 8)
        );
        retarget(&mut payload, 96);
        assert_eq!(payload, [0x80 | 96, 0x0f, 0x00, 3, 96, 1, 2, 3, 9, 9]);
    }

    #[test]
    fn a_packet_may_have_its_own_alone() {
        let found = parse(&[111, 7]).expect("valid");
        assert_eq!((found.earlier.len(), found.primary), (0, 1));
    }

    #[test]
    fn what_is_not_redundant_audio_is_unreadable() {
        for bad in [&[][..], &[111], &[0xef, 0, 0], &[0xef, 0, 0, 9, 111, 1]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_does_harm(mut payload in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(found) = parse(&payload) {
                prop_assert!(found.primary < payload.len());
                prop_assert!(found.earlier.iter().all(|it| it.at.end <= found.primary));
            }
            retarget(&mut payload, 111);
        }
    }
}
