//! VP9's payload descriptor (RFC 9628 §4.2).

use super::{Octet, PayloadInfo, PictureId};

// First byte: |I|P|L|F|B|E|V|Z|
const HAS_PICTURE_ID: u8 = 0x80;
const INTER_PICTURE: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const FRAME_START: u8 = 0x08;
const FRAME_END: u8 = 0x04;

// Layer indices: |TID|U|SID|D|
const SWITCHING_UP: u8 = 0x10;

pub(super) fn parse(payload: &[u8]) -> Option<PayloadInfo> {
    let first = *payload.first()?;
    let mut info = PayloadInfo {
        frame_start: first & FRAME_START != 0,
        frame_end: first & FRAME_END != 0,
        independent: first & INTER_PICTURE == 0,
        ..PayloadInfo::OPAQUE
    };
    let mut at = 1;
    if first & HAS_PICTURE_ID != 0 {
        let picture = PictureId::read(payload, at)?;
        info.numbers.picture = Some(picture);
        at += picture.len();
    }
    if first & HAS_LAYERS != 0 {
        let layers = *payload.get(usize::from(at))?;
        info.temporal = layers >> 5;
        info.switching_up = layers & SWITCHING_UP != 0;
        info.spatial = layers >> 1 & 7;
        at += 1;
        if first & FLEXIBLE == 0 {
            info.numbers.tl0 = Some(Octet::read(payload, at)?);
            at += 1;
        }
    }
    // What follows (reference distances, the scalability structure) is relative to the
    // picture number, and so is the position in a group of pictures. That is why gaps in
    // picture numbers must stay where frames are left out (`closes_gap` is false): receivers
    // know from the structure which layer is missing, and do not wait for it.
    if payload.len() <= usize::from(at) {
        return None;
    }
    info.keyframe_start = info.independent && info.frame_start && info.spatial == 0;
    Some(info)
}

#[cfg(test)]
mod tests {
    use super::super::{CodecOffsets, patch};
    use super::*;

    #[test]
    fn a_keyframe_begins_in_the_lowest_spatial_layer() {
        // I, L, B; PictureID 5; TID 0 SID 0; TL0PICIDX 7.
        let base = parse(&[0xa8, 5, 0x00, 7, 0xaa]).expect("valid");
        assert!(base.keyframe_start && base.independent && base.frame_start && !base.frame_end);
        // The same picture's second spatial layer, predicted from the first (D).
        let upper = parse(&[0xa8, 5, 0x03, 7, 0xaa]).expect("valid");
        assert!(!upper.keyframe_start && upper.independent);
        assert_eq!(upper.spatial, 1);
        // An inter picture, and a continuation of the keyframe.
        assert!(
            !parse(&[0xe8, 6, 0x00, 8, 0xaa])
                .expect("valid")
                .keyframe_start
        );
        assert!(
            !parse(&[0xa0, 5, 0x00, 7, 0xaa])
                .expect("valid")
                .keyframe_start
        );
    }

    #[test]
    fn layers_are_read_in_both_modes() {
        // Non-flexible: wide PictureID 0x0102, TID 2, U, SID 1, TL0PICIDX 9; end of frame.
        let info = parse(&[0xe4, 0x81, 0x02, 0x52, 9, 0xaa]).expect("valid");
        assert_eq!((info.spatial, info.temporal), (1, 2));
        assert!(info.switching_up && info.frame_end && !info.frame_start);
        assert_eq!(
            (info.picture_id(), info.tl0_pic_idx()),
            (Some(0x102), Some(9))
        );
        // Flexible mode has no TL0PICIDX: the next byte is a reference distance.
        let info = parse(&[0xf8, 0x03, 0x20, 0x02, 0xaa]).expect("valid");
        assert_eq!((info.temporal, info.tl0_pic_idx()), (1, None));
    }

    #[test]
    fn a_descriptor_cut_short_anywhere_is_unreadable() {
        let whole = [0xe4, 0x81, 0x02, 0x52, 9, 0xaa];
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn patching_changes_the_numbers_and_nothing_else() {
        let mut payload = [0xe4, 0x81, 0x02, 0x52, 9, 0xaa];
        let info = parse(&payload).expect("valid");
        let offsets = CodecOffsets {
            picture_id: 0x7fff,
            tl0: 250,
            key_idx: 1,
        };
        patch(&mut payload, &info, offsets);
        assert_eq!(payload, [0xe4, 0x81, 0x01, 0x52, 3, 0xaa]);
    }
}
