//! VP8's payload descriptor (RFC 7741 §4.2) and the first byte of its header (§4.3).

use super::{Numbers, Octet, PayloadInfo, PictureId};

// First byte: |X|R|N|S|R|PID|
const EXTENDED: u8 = 0x80;
const NON_REFERENCE: u8 = 0x20;
const PARTITION_START: u8 = 0x10;
const PARTITION_ID: u8 = 0x07;

// Second byte, if X is set: |I|L|T|K|RSV|
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0_PIC_IDX: u8 = 0x40;
const HAS_TEMPORAL_ID: u8 = 0x20;
const HAS_KEY_IDX: u8 = 0x10;

// The byte of T and K: |TID|Y|KEYIDX|
const LAYER_SYNC: u8 = 0x20;
/// KEYIDX has five bits.
pub(super) const KEY_IDX: u8 = 0x1f;

/// First byte of the VP8 header: |Size0|H|VER|P|, where P=0 is a keyframe.
const INTER_FRAME: u8 = 0x01;

/// Stands between the first three bytes of a keyframe and its size.
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// Width and height have 14 bits.
const MAX_SIZE: u16 = 0x3fff;

pub(super) fn parse(payload: &[u8]) -> Option<PayloadInfo> {
    let first = *payload.first()?;
    let mut info = PayloadInfo {
        discardable: first & NON_REFERENCE != 0,
        ..PayloadInfo::OPAQUE
    };
    let mut at = 1;
    if first & EXTENDED != 0 {
        at = parse_extension(payload, &mut info)?;
    }
    // Whole partitions may be without a byte, the packet may not.
    let header = *payload.get(usize::from(at))?;
    info.frame_start = first & PARTITION_START != 0 && first & PARTITION_ID == 0;
    info.keyframe_start = info.frame_start && header & INTER_FRAME == 0;
    info.independent = info.keyframe_start;
    // Frames are known by their PictureID, not by distances to it, so those that remain are
    // numbered without a gap. A lost base layer frame stays a gap: it will be missed.
    info.numbers.closes_gap = info.temporal > 0 || info.discardable;
    Some(info)
}

/// Width and height, from the first packet of a keyframe (RFC 6386 §9.1).
pub(super) fn picture_size(payload: &[u8]) -> Option<(u16, u16)> {
    let mut at = 1;
    if payload.first()? & EXTENDED != 0 {
        at = parse_extension(payload, &mut { PayloadInfo::OPAQUE })?;
    }
    let header: &[u8; 10] = payload.get(usize::from(at)..)?.first_chunk()?;
    if header[0] & INTER_FRAME != 0 || header[3..6] != START_CODE {
        return None;
    }
    // The two upper bits of each say how it is to be scaled.
    let width = u16::from_le_bytes([header[6], header[7]]) & MAX_SIZE;
    let height = u16::from_le_bytes([header[8], header[9]]) & MAX_SIZE;
    (width > 0 && height > 0).then_some((width, height))
}

/// Reads the optional fields; gives the position after them.
fn parse_extension(payload: &[u8], info: &mut PayloadInfo) -> Option<u8> {
    let present = *payload.get(1)?;
    let mut at = 2;
    let mut numbers = Numbers::NONE;
    if present & HAS_PICTURE_ID != 0 {
        let picture = PictureId::read(payload, at)?;
        numbers.picture = Some(picture);
        at += picture.len();
    }
    if present & HAS_TL0_PIC_IDX != 0 {
        numbers.tl0 = Some(Octet::read(payload, at)?);
        at += 1;
    }
    if present & (HAS_TEMPORAL_ID | HAS_KEY_IDX) != 0 {
        let mut octet = Octet::read(payload, at)?;
        if present & HAS_TEMPORAL_ID != 0 {
            info.temporal = octet.value >> 6;
            info.switching_up = octet.value & LAYER_SYNC != 0;
        }
        octet.value &= KEY_IDX;
        numbers.key_idx = (present & HAS_KEY_IDX != 0).then_some(octet);
        at += 1;
    }
    info.numbers = numbers;
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::{CodecOffsets, patch};
    use super::*;

    #[test]
    fn a_keyframe_begins_with_its_first_partition_only() {
        let start = parse(&[0x10, 0x00]).expect("valid");
        assert!(start.keyframe_start && start.frame_start && start.independent);
        let inter = parse(&[0x10, 0x01]).expect("valid");
        assert!(inter.frame_start && !inter.keyframe_start);
        let later_partition = parse(&[0x11, 0x00]).expect("valid");
        assert!(!later_partition.keyframe_start && !later_partition.frame_start);
        let continuation = parse(&[0x00, 0x00]).expect("valid");
        assert!(!continuation.keyframe_start && !continuation.frame_start);
    }

    #[test]
    fn a_chrome_descriptor_is_read_whole() {
        // X and S; I, L, T and K; PictureID 0x1234; TL0PICIDX 200; TID 2, Y, KEYIDX 9.
        let info = parse(&[0x90, 0xf0, 0x92, 0x34, 200, 0xa9, 0x01]).expect("valid");
        assert_eq!(info.picture_id(), Some(0x1234));
        assert_eq!(info.tl0_pic_idx(), Some(200));
        assert_eq!(info.key_idx(), Some(9));
        assert_eq!(info.temporal, 2);
        assert!(info.switching_up && info.frame_start && !info.keyframe_start);
    }

    #[test]
    fn a_keyframe_tells_its_size() {
        let head = [0x90, 0x80, 0x05, 0x10, 0, 0, 0x9d, 0x01, 0x2a];
        let key = [&head[..], &[0x00, 0x05, 0xd0, 0x42]].concat();
        assert_eq!(picture_size(&key), Some((1280, 720)));
        assert_eq!(picture_size(&key[..12]), None, "cut short");
        let encrypted = [0x90, 0x80, 0x05, 0x10, 0, 0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(picture_size(&encrypted), None);
    }

    #[test]
    fn a_short_picture_id_takes_one_byte() {
        let info = parse(&[0xb0, 0x80, 0x7f, 0x00]).expect("valid");
        assert_eq!(info.picture_id(), Some(127));
        assert!(info.keyframe_start && info.discardable);
    }

    #[test]
    fn key_idx_without_temporal_id_is_no_layer() {
        let info = parse(&[0x90, 0x10, 0xff, 0x01]).expect("valid");
        assert_eq!((info.temporal, info.switching_up), (0, false));
        assert_eq!(info.key_idx(), Some(31));
        let info = parse(&[0x90, 0x20, 0x7f, 0x01]).expect("valid");
        assert_eq!((info.temporal, info.switching_up), (1, true));
        assert_eq!(info.key_idx(), None);
    }

    #[test]
    fn a_descriptor_cut_short_anywhere_is_unreadable() {
        let whole = [0x90, 0xf0, 0x92, 0x34, 200, 0xa9, 0x00];
        assert!(parse(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn patching_changes_the_numbers_and_nothing_else() {
        let mut payload = [0x90, 0xf0, 0xff, 0xff, 255, 0xbf, 0x01, 0x55];
        let info = parse(&payload).expect("valid");
        let offsets = CodecOffsets {
            picture_id: 2,
            tl0: 3,
            key_idx: 4,
            ..CodecOffsets::default()
        };
        patch(&mut payload, &info, offsets);
        assert_eq!(payload, [0x90, 0xf0, 0x80, 0x01, 2, 0xa3, 0x01, 0x55]);

        let mut short = [0x90, 0x80, 0x7f, 0x01];
        let info = parse(&short).expect("valid");
        patch(&mut short, &info, offsets);
        assert_eq!(short, [0x90, 0x80, 0x01, 0x01]);
    }
}
