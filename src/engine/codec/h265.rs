//! H.265 payloads: single NAL units, aggregates and fragments (RFC 7798 §4.4).

use super::PayloadInfo;

// NAL unit types (RFC 7798 §1.1.4; H.265 table 7-1).
const FIRST_IRAP: u8 = 16;
const LAST_IRAP: u8 = 23;
const LAST_SLICE: u8 = 31;
const SEQUENCE_PARAMETER_SET: u8 = 33;
const VIDEO_PARAMETER_SET: u8 = 32;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

const FORBIDDEN: u8 = 0x80;
const FU_START: u8 = 0x80;
const FU_TYPE: u8 = 0x3f;
/// `first_slice_segment_in_pic_flag`, the first bit of every slice.
const FIRST_SLICE: u8 = 0x80;

/// The type of a unit by the first byte of its header.
fn unit_type(header: u8) -> u8 {
    header >> 1 & 0x3f
}

pub(super) fn parse(payload: &[u8]) -> Option<PayloadInfo> {
    let &[header, layer_and_temporal] = payload.first_chunk()?;
    if header & FORBIDDEN != 0 {
        return None;
    }
    let mut info = PayloadInfo {
        // TID is one more than the temporal layer; 0 is forbidden.
        temporal: (layer_and_temporal & 7).checked_sub(1)?,
        ..PayloadInfo::OPAQUE
    };
    match unit_type(header) {
        AGGREGATION => parse_aggregate(&payload[2..], &mut info)?,
        FRAGMENTATION => {
            let fu = *payload.get(2)?;
            if fu & FU_START != 0 {
                note_unit(fu & FU_TYPE, payload.get(3), &mut info);
            }
        }
        // PACI and what is not specified.
        50.. => return None,
        unit => note_unit(unit, payload.get(2), &mut info),
    }
    info.independent = info.keyframe_start;
    Some(info)
}

/// Walks the units of an aggregate: two bytes of size before each.
fn parse_aggregate(mut units: &[u8], info: &mut PayloadInfo) -> Option<()> {
    while !units.is_empty() {
        let size = usize::from(u16::from_be_bytes(*units.first_chunk()?));
        let unit = units.get(2..2 + size)?;
        if let Some(&header) = unit.first() {
            note_unit(unit_type(header), unit.get(2), info);
        }
        units = &units[2 + size..];
    }
    Some(())
}

/// Takes note of a unit's beginning: its type and the first byte of what it holds.
fn note_unit(unit: u8, contents: Option<&u8>, info: &mut PayloadInfo) {
    let begins_frame = unit > LAST_SLICE || contents.is_some_and(|byte| byte & FIRST_SLICE != 0);
    let is_key_slice = (FIRST_IRAP..=LAST_IRAP).contains(&unit) && begins_frame;
    info.frame_start |= begins_frame;
    info.parameter_sets |= unit == SEQUENCE_PARAMETER_SET;
    info.keyframe_start |=
        matches!(unit, VIDEO_PARAMETER_SET | SEQUENCE_PARAMETER_SET) || is_key_slice;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_begins_with_parameter_sets_or_its_first_slice() {
        assert!(parse(&[0x40, 0x01, 0x0c]).expect("VPS").keyframe_start);
        assert!(parse(&[0x42, 0x01, 0x01]).expect("SPS").parameter_sets);
        assert!(parse(&[0x26, 0x01, 0xaf]).expect("IDR").keyframe_start);
        assert!(
            !parse(&[0x26, 0x01, 0x2f])
                .expect("a later slice of it")
                .keyframe_start
        );
        let inter = parse(&[0x02, 0x02, 0xd0]).expect("an inter frame");
        assert!(inter.frame_start && !inter.keyframe_start);
        assert_eq!(inter.temporal, 1);
    }

    #[test]
    fn a_keyframe_is_found_in_aggregates_and_first_fragments() {
        let aggregate = [0x60, 0x01, 0, 3, 0x42, 0x01, 0x01, 0, 3, 0x26, 0x01, 0xaf];
        let info = parse(&aggregate).expect("valid");
        assert!(info.keyframe_start && info.parameter_sets);
        assert!(
            parse(&[0x62, 0x01, 0x93, 0xaf])
                .expect("first")
                .keyframe_start
        );
        assert!(!parse(&[0x62, 0x01, 0x13, 0xaf]).expect("later").frame_start);
    }

    #[test]
    fn what_is_not_h265_is_unreadable() {
        for bad in [
            &[][..],
            &[0x40],
            &[0x80, 1, 0],
            &[0x40, 0, 0],
            &[0x62, 1],
            &[0x64, 1, 0],
            &[0x60, 1, 0, 9],
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
