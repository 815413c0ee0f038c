//! VP9's payload descriptor (RFC 9628 §4.2).

use smallvec::SmallVec;

use super::{Octet, PayloadInfo, PictureId};

// First byte: |I|P|L|F|B|E|V|Z|
const HAS_PICTURE_ID: u8 = 0x80;
const INTER_PICTURE: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const FRAME_START: u8 = 0x08;
const FRAME_END: u8 = 0x04;

const NOT_NEEDED_ABOVE: u8 = 0x01;
const HAS_STRUCTURE: u8 = 0x02;

// Scalability structure: |N_S|Y|G|-|, then sizes if Y is set.
const HAS_SIZES: u8 = 0x10;

// Layer indices: |TID|U|SID|D|
const SWITCHING_UP: u8 = 0x10;

pub(super) fn parse(payload: &[u8]) -> Option<PayloadInfo> {
    let first = *payload.first()?;
    let mut info = PayloadInfo {
        frame_start: first & FRAME_START != 0,
        frame_end: first & FRAME_END != 0,
        independent: first & INTER_PICTURE == 0,
        needed_above: first & NOT_NEEDED_ABOVE == 0,
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

/// Width and height of every spatial layer, from the scalability structure of a keyframe.
pub(super) fn picture_sizes(payload: &[u8]) -> Option<SmallVec<[(u16, u16); 1]>> {
    let first = *payload.first()?;
    // Reference distances stand in between in frames that are predicted, which tell no sizes.
    if first & HAS_STRUCTURE == 0 || first & (FLEXIBLE | INTER_PICTURE) == FLEXIBLE | INTER_PICTURE
    {
        return None;
    }
    let mut at = 1;
    if first & HAS_PICTURE_ID != 0 {
        at += usize::from(PictureId::read(payload, 1)?.len());
    }
    if first & HAS_LAYERS != 0 {
        at += if first & FLEXIBLE == 0 { 2 } else { 1 };
    }
    let structure = *payload.get(at)?;
    if structure & HAS_SIZES == 0 {
        return None;
    }
    let layers = usize::from(structure >> 5) + 1;
    let sizes = payload.get(at + 1..at + 1 + 4 * layers)?.chunks_exact(4);
    let sizes = sizes.map(|size| {
        (
            u16::from_be_bytes([size[0], size[1]]),
            u16::from_be_bytes([size[2], size[3]]),
        )
    });
    Some(sizes.collect())
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
    fn a_keyframe_tells_the_sizes_of_its_layers() {
        // I, L, B, V; PictureID; TID 0 SID 0; TL0PICIDX; two layers with sizes.
        let key = [
            0xaa, 5, 0x00, 7, 0x30, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0xaa,
        ];
        let sizes = picture_sizes(&key).expect("sizes");
        assert_eq!(sizes[..], [(320, 180), (640, 360)]);
        for length in 0..key.len() - 1 {
            assert_eq!(picture_sizes(&key[..length]), None, "{length} bytes");
        }
        assert_eq!(picture_sizes(&[0xa8, 5, 0x00, 7, 0xaa]), None);
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
            ..CodecOffsets::default()
        };
        patch(&mut payload, &info, offsets);
        assert_eq!(payload, [0xe4, 0x81, 0x01, 0x52, 3, 0xaa]);
    }
}
