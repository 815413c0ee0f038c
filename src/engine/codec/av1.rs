//! AV1's aggregation header and OBU headers ("RTP Payload Format For AV1" §4.4).

use super::PayloadInfo;

// Aggregation header: |Z|Y|W|N|-|
const CONTINUES: u8 = 0x80;
const NEW_SEQUENCE: u8 = 0x08;

// OBU header: |F|type|X|S|-|, and if X is set |TID|SID|-|
const FORBIDDEN: u8 = 0x80;
const HAS_EXTENSION: u8 = 0x04;
const SEQUENCE_HEADER: u8 = 1;

/// A sequence header, some metadata, and then a frame, which names its layer: whoever puts
/// more before it is not worth the walk.
const MAX_OBUS_LOOKED_AT: usize = 4;

pub(super) fn parse(payload: &[u8]) -> Option<PayloadInfo> {
    let (&aggregation, elements) = payload.split_first()?;
    if elements.is_empty() {
        return None;
    }
    let begins_obu = aggregation & CONTINUES == 0;
    let mut info = PayloadInfo {
        frame_start: begins_obu,
        keyframe_start: aggregation & NEW_SEQUENCE != 0,
        ..PayloadInfo::OPAQUE
    };
    if begins_obu {
        note_obus(elements, aggregation >> 4 & 3, &mut info)?;
    } else if info.keyframe_start {
        // A new sequence cannot begin inside an OBU (§4.4).
        return None;
    }
    info.independent = info.keyframe_start;
    Some(info)
}

/// Looks for a sequence header in first place, and for the layer of the first OBU that has one.
///
/// `count` is W: the number of elements, the last without a length; 0 gives all a length.
fn note_obus(mut elements: &[u8], count: u8, info: &mut PayloadInfo) -> Option<()> {
    for index in 0..MAX_OBUS_LOOKED_AT {
        if elements.is_empty() {
            break;
        }
        let is_last = index + 1 == usize::from(count);
        let (element, rest) = if is_last {
            (elements, &[][..])
        } else {
            split_element(elements)?
        };
        let header = *element.first()?;
        if header & FORBIDDEN != 0 {
            return None;
        }
        // Some senders forget the N bit; a sequence header that leads is as good.
        info.keyframe_start |= index == 0 && header >> 3 & 0xf == SEQUENCE_HEADER;
        if header & HAS_EXTENSION != 0 {
            let layers = *element.get(1)?;
            info.temporal = layers >> 5;
            info.spatial = layers >> 3 & 3;
            break;
        }
        elements = rest;
    }
    Some(())
}

/// Cuts off an element that has its length before it, in LEB128 (AV1 §4.10.5).
fn split_element(elements: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0usize;
    // Two bytes count to 16383, which is more than a datagram holds usefully.
    for (index, &byte) in elements.iter().take(2).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return elements.get(index + 1..)?.split_at_checked(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_begins_with_a_new_sequence() {
        // N, W=1: a sequence header alone.
        assert!(parse(&[0x18, 0x08, 0x00]).expect("valid").keyframe_start);
        // W=2, no N, and the sequence header leads.
        assert!(
            parse(&[0x20, 0x02, 0x08, 0x00, 0x30, 0x11])
                .expect("valid")
                .keyframe_start
        );
        // An ordinary frame, and the continuation of one.
        let frame = parse(&[0x10, 0x30, 0x11]).expect("valid");
        assert!(frame.frame_start && !frame.keyframe_start);
        let continuation = parse(&[0x90, 0x08, 0x11]).expect("valid");
        assert!(!continuation.frame_start && !continuation.keyframe_start);
    }

    #[test]
    fn the_layer_is_that_of_the_first_obu_that_names_one() {
        // W=0: a sequence header with a length, then a frame of TID 2, SID 1.
        let info = parse(&[0x08, 0x02, 0x08, 0x00, 0x03, 0x34, 0x48, 0x11]).expect("valid");
        assert_eq!((info.temporal, info.spatial), (2, 1));
        assert!(info.keyframe_start);
    }

    #[test]
    fn what_is_not_av1_is_unreadable() {
        let bad = [
            &[][..],
            &[0x10],
            &[0x88, 0x00],
            &[0x10, 0x80],
            &[0x10, 0x34],
            &[0x00, 0x05, 0x08],
            &[0x00, 0x80, 0x80, 0x01],
            &[0x00, 0x00],
        ];
        for payload in bad {
            assert_eq!(parse(payload), None, "{payload:?}");
        }
    }
}
