//! Real pictures in RTP payloads, and out of them again: as browsers cut and join them.

use super::media::Format;

/// Payload bytes of a packet, at most.
const MTU: usize = 1_100;

/// What a frame's payloads say of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) keyframe: bool,
    pub(crate) picture_id: u16,
    pub(crate) tl0_pic_idx: u8,
    pub(crate) temporal: u8,
    /// It hangs on the lowest temporal layer alone.
    pub(crate) syncs: bool,
}

/// A frame as RTP payloads.
pub(crate) fn packetize(format: Format, frame: &[u8], head: Head) -> Vec<Vec<u8>> {
    match format {
        Format::Vp8 => pieces(frame, |is_first, _| {
            let id = head.picture_id.to_be_bytes();
            let layer = head.temporal << 6 | u8::from(head.syncs) << 5;
            // X, and S in the first; I, L and T (RFC 7741 §4.2).
            let first = 0x80 | u8::from(is_first) << 4;
            vec![first, 0xe0, 0x80 | id[0], id[1], head.tl0_pic_idx, layer]
        }),
        Format::Vp9 => pieces(frame, |is_first, is_last| {
            let id = head.picture_id.to_be_bytes();
            let inter = u8::from(!head.keyframe);
            // I, P, F, B, E (RFC 9628 §4.2); one reference, the frame before.
            let first = 0x90 | inter << 6 | u8::from(is_first) << 3 | u8::from(is_last) << 2;
            let mut descriptor = vec![first, 0x80 | id[0], id[1]];
            descriptor.extend((!head.keyframe).then_some(1 << 1));
            descriptor
        }),
        Format::H264 => h264(frame),
        Format::Av1 => av1(frame, head.keyframe),
        Format::Opus => unreachable!("a voice is not cut"),
    }
}

fn pieces(frame: &[u8], descriptor: impl Fn(bool, bool) -> Vec<u8>) -> Vec<Vec<u8>> {
    let last = frame.len().div_ceil(MTU) - 1;
    let chunks = frame.chunks(MTU).enumerate();
    chunks
        .map(|(index, chunk)| [descriptor(index == 0, index == last), chunk.to_vec()].concat())
        .collect()
}

/// Small units in one packet (STAP-A), large ones in several (FU-A), others alone (RFC 6184 §5).
fn h264(frame: &[u8]) -> Vec<Vec<u8>> {
    let units = nal_units(frame);
    let is_set = |unit: &&[u8]| matches!(unit[0] & 0x1f, 6..=8);
    let sets: Vec<&[u8]> = units.iter().copied().filter(is_set).collect();
    let mut packets = Vec::new();
    if sets.len() > 1 {
        let mut aggregate = vec![0x60 | 24];
        for set in &sets {
            aggregate.extend((set.len() as u16).to_be_bytes());
            aggregate.extend_from_slice(set);
        }
        packets.push(aggregate);
    }
    for unit in units
        .into_iter()
        .filter(|unit| sets.len() < 2 || !is_set(unit))
    {
        if unit.len() <= MTU {
            packets.push(unit.to_vec());
            continue;
        }
        let (header, contents) = (unit[0], &unit[1..]);
        let last = contents.len().div_ceil(MTU) - 1;
        for (index, chunk) in contents.chunks(MTU).enumerate() {
            let ends = u8::from(index == 0) << 7 | u8::from(index == last) << 6;
            let mut packet = vec![header & 0x60 | 28, ends | header & 0x1f];
            packet.extend_from_slice(chunk);
            packets.push(packet);
        }
    }
    packets
}

/// The units of an Annex B stream, without their start codes.
pub(crate) fn nal_units(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    for at in 0..stream.len().saturating_sub(3) {
        if stream[at..at + 3] == [0, 0, 1] {
            starts.push(at + 3);
        }
    }
    let ends = starts.iter().skip(1).map(|start| start - 3);
    let units = starts.iter().zip(ends.chain([stream.len()]));
    units
        .map(|(start, end)| {
            let mut unit = &stream[*start..end];
            // The fourth byte of the start code that follows.
            while unit.ends_with(&[0]) {
                unit = &unit[..unit.len() - 1];
            }
            unit
        })
        .collect()
}

/// An OBU at a time, cut where it is too long ("RTP Payload Format For AV1" §4.4).
fn av1(frame: &[u8], keyframe: bool) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for obu in obus(frame) {
        let last = obu.len().div_ceil(MTU) - 1;
        for (index, chunk) in obu.chunks(MTU).enumerate() {
            let (continues, goes_on) = (u8::from(index > 0), u8::from(index < last));
            let begins_sequence = u8::from(keyframe && packets.is_empty());
            let aggregation = continues << 7 | goes_on << 6 | 1 << 4 | begins_sequence << 3;
            packets.push([&[aggregation], chunk].concat());
        }
    }
    packets
}

/// The OBUs of a temporal unit, without their sizes and without the delimiter.
fn obus(mut unit: &[u8]) -> Vec<Vec<u8>> {
    const HAS_SIZE: u8 = 2;
    const DELIMITER: u8 = 2;
    let mut found = Vec::new();
    while let Some(&header) = unit.first() {
        assert!(header & HAS_SIZE != 0, "files have sizes");
        let head = if header & 4 != 0 { 2 } else { 1 };
        let (size, size_bytes) = leb128(&unit[head..]);
        let contents = &unit[head + size_bytes..head + size_bytes + size];
        if header >> 3 & 0xf != DELIMITER {
            let mut obu = unit[..head].to_vec();
            obu[0] &= !HAS_SIZE;
            obu.extend_from_slice(contents);
            found.push(obu);
        }
        unit = &unit[head + size_bytes + size..];
    }
    found
}

fn leb128(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, index + 1);
        }
    }
    panic!("a number without end");
}

/// A frame of its payloads, as a decoder takes it.
pub(crate) fn join(format: Format, payloads: &[&[u8]]) -> Vec<u8> {
    match format {
        Format::Vp8 => payloads
            .iter()
            .flat_map(|payload| &payload[6..])
            .copied()
            .collect(),
        Format::Vp9 => {
            let head = |payload: &&[u8]| if payload[0] & 0x40 != 0 { 4 } else { 3 };
            let contents = payloads
                .iter()
                .flat_map(|payload| &payload[head(payload)..]);
            contents.copied().collect()
        }
        Format::H264 => join_h264(payloads),
        Format::Av1 => join_av1(payloads),
        Format::Opus => unreachable!("a voice is not joined"),
    }
}

fn join_h264(payloads: &[&[u8]]) -> Vec<u8> {
    const START: [u8; 4] = [0, 0, 0, 1];
    let mut stream = Vec::new();
    for payload in payloads {
        match payload[0] & 0x1f {
            24 => {
                let mut units = &payload[1..];
                while let Some(size) = units.first_chunk::<2>() {
                    let size = usize::from(u16::from_be_bytes(*size));
                    stream.extend(START);
                    stream.extend_from_slice(&units[2..2 + size]);
                    units = &units[2 + size..];
                }
            }
            28 => {
                if payload[1] & 0x80 != 0 {
                    stream.extend(START);
                    stream.push(payload[0] & 0x60 | payload[1] & 0x1f);
                }
                stream.extend_from_slice(&payload[2..]);
            }
            _ => {
                stream.extend(START);
                stream.extend_from_slice(payload);
            }
        }
    }
    stream
}

fn join_av1(payloads: &[&[u8]]) -> Vec<u8> {
    let mut obus: Vec<Vec<u8>> = Vec::new();
    for payload in payloads {
        assert_eq!(payload[0] >> 4 & 3, 1, "one element");
        match obus.last_mut().filter(|_| payload[0] & 0x80 != 0) {
            Some(obu) => obu.extend_from_slice(&payload[1..]),
            None => obus.push(payload[1..].to_vec()),
        }
    }
    // A temporal delimiter, then each OBU with its size.
    let mut unit = vec![0x12, 0];
    for obu in obus {
        let head = if obu[0] & 4 != 0 { 2 } else { 1 };
        unit.push(obu[0] | 2);
        unit.extend_from_slice(&obu[1..head]);
        let mut size = obu.len() - head;
        while size > 0x7f {
            unit.push(0x80 | size as u8 & 0x7f);
            size >>= 7;
        }
        unit.push(size as u8);
        unit.extend_from_slice(&obu[head..]);
    }
    unit
}
