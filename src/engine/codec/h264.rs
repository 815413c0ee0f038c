//! H.264 payloads: single NAL units, STAP-A and FU-A (RFC 6184 §5.6 to §5.8).

use super::PayloadInfo;

// NAL unit types (RFC 6184 §5.2; H.264 table 7-1).
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SEQUENCE_PARAMETER_SET: u8 = 7;
const PICTURE_PARAMETER_SET: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

const TYPE: u8 = 0x1f;
const REF_IDC: u8 = 0x60;
const FORBIDDEN: u8 = 0x80;
const FU_START: u8 = 0x80;

/// Most picture parameter sets that are kept; encoders for calls have one.
const MAX_PICTURE_SETS: usize = 4;

/// Most bytes that all of them take up, so that they fit into one packet: they are some 10 to 30 bytes long.
const MAX_SET_BYTES: usize = 1_000;

/// What decoders have to know before the first picture. Some encoders say it once and never again, and
/// nobody who comes later could decode them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParameterSets {
    sequence: Box<[u8]>,
    /// The newest last: it replaces one of the same number.
    picture: Vec<Box<[u8]>>,
}

impl ParameterSets {
    /// Takes in those that a payload carries.
    pub(crate) fn note(&mut self, payload: &[u8]) {
        match payload.split_first() {
            Some((indicator, mut units)) if indicator & TYPE == STAP_A => {
                while let Some((size, rest)) = units.split_first_chunk() {
                    let size = usize::from(u16::from_be_bytes(*size)).min(rest.len());
                    self.note_unit(&rest[..size]);
                    units = &rest[size..];
                }
            }
            _ => self.note_unit(payload),
        }
    }

    fn note_unit(&mut self, unit: &[u8]) {
        match unit.first().map(|header| header & TYPE) {
            Some(SEQUENCE_PARAMETER_SET) if *self.sequence != *unit => {
                self.sequence = unit.into();
                self.picture.clear();
            }
            Some(PICTURE_PARAMETER_SET) => {
                self.picture.retain(|known| **known != *unit);
                if self.picture.len() == MAX_PICTURE_SETS {
                    self.picture.remove(0);
                }
                self.picture.push(unit.into());
            }
            _ => {}
        }
    }

    /// All of them in one payload, once both kinds have come.
    pub(crate) fn aggregate(&self) -> Option<Vec<u8>> {
        if self.sequence.is_empty() || self.picture.is_empty() {
            return None;
        }
        let mut payload = vec![self.sequence[0] & REF_IDC | STAP_A];
        for unit in std::iter::once(&self.sequence).chain(&self.picture) {
            payload.extend(u16::try_from(unit.len()).ok()?.to_be_bytes());
            payload.extend_from_slice(unit);
        }
        (payload.len() <= MAX_SET_BYTES).then_some(payload)
    }
}

pub(super) fn parse(payload: &[u8]) -> Option<PayloadInfo> {
    let indicator = *payload.first()?;
    if indicator & FORBIDDEN != 0 {
        return None;
    }
    let mut info = PayloadInfo {
        discardable: indicator & REF_IDC == 0,
        ..PayloadInfo::OPAQUE
    };
    match indicator & TYPE {
        STAP_A => parse_aggregate(&payload[1..], &mut info)?,
        FU_A => {
            let header = *payload.get(1)?;
            if header & FU_START != 0 {
                note_unit(header & TYPE, payload.get(2), &mut info);
            }
        }
        // Single NAL units. The rest (STAP-B, MTAP, FU-B) belongs to the interleaved mode,
        // which nobody negotiates in WebRTC (RFC 7742 §6.2), or is not defined.
        unit @ 1..=23 => note_unit(unit, payload.get(1), &mut info),
        _ => return None,
    }
    info.independent = info.keyframe_start;
    Some(info)
}

/// Walks the units of a STAP-A: two bytes of size before each.
fn parse_aggregate(mut units: &[u8], info: &mut PayloadInfo) -> Option<()> {
    let mut first = true;
    while !units.is_empty() {
        let size = usize::from(u16::from_be_bytes(*units.first_chunk()?));
        let unit = units.get(2..2 + size)?;
        // Empty units are seen in the wild; they say nothing.
        if let Some(&header) = unit.first() {
            let started = info.frame_start;
            note_unit(header & TYPE, unit.get(1), info);
            info.frame_start = if first { info.frame_start } else { started };
            first = false;
        }
        units = &units[2 + size..];
    }
    Some(())
}

/// Takes note of a unit's beginning: its type and the first byte of what it holds.
fn note_unit(unit: u8, contents: Option<&u8>, info: &mut PayloadInfo) {
    // A slice begins with `first_mb_in_slice` as an Exp-Golomb number, and 0 is one set bit.
    // Encoders that cut a frame into slices begin it with the first only.
    let is_slice = (SLICE..=IDR_SLICE).contains(&unit);
    let begins_frame = !is_slice || contents.is_some_and(|byte| byte & 0x80 != 0);
    info.frame_start |= begins_frame;
    info.parameter_sets |= matches!(unit, SEQUENCE_PARAMETER_SET | PICTURE_PARAMETER_SET);
    info.keyframe_start |= unit == SEQUENCE_PARAMETER_SET || unit == IDR_SLICE && begins_frame;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_begins_with_parameter_sets_or_its_first_slice() {
        let sps = parse(&[0x67, 0x42, 0xe0, 0x1f]).expect("valid");
        assert!(sps.keyframe_start && sps.frame_start && sps.parameter_sets);
        let idr = parse(&[0x65, 0x88, 0x84]).expect("valid");
        assert!(idr.keyframe_start && idr.frame_start && !idr.parameter_sets);
        let second_slice = parse(&[0x65, 0x11, 0x84]).expect("valid");
        assert!(!second_slice.keyframe_start && !second_slice.frame_start);
        let inter = parse(&[0x41, 0x9a]).expect("valid");
        assert!(inter.frame_start && !inter.keyframe_start && !inter.discardable);
        assert!(parse(&[0x01, 0x9a]).expect("valid").discardable);
    }

    #[test]
    fn parameter_sets_are_kept_as_they_come_and_told_in_one_payload() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.aggregate(), None);
        sets.note(&[24, 0, 2, 0x67, 1, 0, 2, 0x68, 2, 0, 2, 0x65, 0x88]);
        let told = [0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2];
        assert_eq!(sets.aggregate().as_deref(), Some(&told[..]));
        sets.note(&[0x68, 3]);
        sets.note(&[0x68, 3]);
        let told = [&told[..], &[0, 2, 0x68, 3]].concat();
        assert_eq!(sets.aggregate(), Some(told), "one more, once");
        sets.note(&[0x67, 9]);
        assert_eq!(sets.aggregate(), None, "another stream begins");
        sets.note(&[&[0x68][..], &[0; MAX_SET_BYTES]].concat());
        assert_eq!(sets.aggregate(), None, "too long for a packet");
        // Cut short.
        sets.note(&[24, 0, 9, 0x68, 4]);
        sets.note(&[24, 0]);
    }

    #[test]
    fn a_keyframe_is_found_inside_an_aggregate() {
        // SPS, PPS and IDR as browsers send them.
        let stap = [24, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce, 0, 2, 0x65, 0x88];
        let info = parse(&stap).expect("valid");
        assert!(info.keyframe_start && info.frame_start && info.parameter_sets);
        // A later slice and then something that would begin a frame, had it come first.
        let info = parse(&[24, 0, 2, 0x41, 0x11, 0, 2, 0x41, 0x9a]).expect("valid");
        assert!(!info.frame_start);
    }

    #[test]
    fn only_the_first_fragment_begins_a_frame() {
        let start = parse(&[0x7c, 0x85, 0x88, 0x80]).expect("valid");
        assert!(start.keyframe_start && start.frame_start);
        let middle = parse(&[0x7c, 0x05, 0x88, 0x80]).expect("valid");
        assert!(!middle.keyframe_start && !middle.frame_start);
        // A fragment that ends with its header is odd, but readable.
        assert!(!parse(&[0x7c, 0x85]).expect("valid").keyframe_start);
    }

    #[test]
    fn units_of_one_byte_do_no_harm() {
        // An access unit delimiter without its contents, alone and aggregated with nothing.
        assert!(parse(&[0x09]).expect("valid").frame_start);
        assert!(parse(&[24, 0, 0, 0, 1, 0x09]).expect("valid").frame_start);
    }

    #[test]
    fn what_is_not_h264_is_unreadable() {
        for bad in [
            &[][..],
            &[0x80],
            &[0x00],
            &[0x1f],
            &[25, 1],
            &[0x7c],
            &[24, 0, 9, 0x67],
            &[24, 0],
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
