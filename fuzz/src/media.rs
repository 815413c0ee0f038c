//! What is inside SRTP and SRTCP once they are opened: reports, feedback, and payload headers.

use plenum::engine::codec::{Codec, CodecOffsets, CodecRewriter, Descriptors, PayloadInfo, patch};
use plenum::engine::rtcp::{Packet, packets};

/// One datagram of RTCP, everything in it read to its end.
pub(crate) fn rtcp(bytes: &[u8]) {
    for packet in packets(bytes) {
        let Ok(packet) = packet else { continue };
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                for report in reports {
                    let _ = report.round_trip_time(u64::MAX / 3);
                }
            }
            Packet::Goodbye(sources) => drop(sources.count()),
            Packet::Nack { lost, .. } => drop(lost.count()),
            Packet::FullIntraRequest { requests, .. } => drop(requests.count()),
            Packet::TransportFeedback(feedback) => {
                // A datagram cannot make more work than there are sequence numbers.
                assert!(feedback.statuses().count() <= 1 << 16);
            }
            Packet::CongestionFeedback(feedback) => {
                for stream in feedback.streams() {
                    assert!(stream.packets.count() <= 1 << 16);
                }
            }
            Packet::Remb(remb) => drop(format!("{remb:?}")),
            Packet::ExtendedReport { blocks, .. } => drop(blocks.count()),
            Packet::PictureLoss { .. } | Packet::SourceDescription | Packet::Unknown { .. } => {}
        }
    }
}

const CODECS: [Codec; 7] = [
    Codec::Vp8,
    Codec::Vp9,
    Codec::H264,
    Codec::H265,
    Codec::Av1,
    Codec::Opus,
    Codec::Red,
];

/// The first byte names the codec; what follows is payloads, each after its length. What is rewritten
/// is as long as before and says the same of its frame.
pub(crate) fn payload(bytes: &[u8]) {
    let Some((&first, mut rest)) = bytes.split_first() else {
        return;
    };
    let codec = CODECS[usize::from(first) % CODECS.len()];
    let mut rewriter = CodecRewriter::default();
    while let Some((&length, after)) = rest.split_first() {
        let (payload, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let Some(info) = PayloadInfo::parse(codec, payload) else {
            continue;
        };
        if length % 7 == 0 {
            rewriter.switch(&info);
        }
        if length % 5 == 0 {
            rewriter.skip(&info);
            continue;
        }
        let mut patched = payload.to_vec();
        patch(&mut patched, &info, rewriter.pass(&info));
        let again = PayloadInfo::parse(codec, &patched).expect("a payload still");
        let of = |info: &PayloadInfo| {
            (
                info.keyframe_start,
                info.frame_start,
                info.frame_end,
                info.spatial,
                info.temporal,
            )
        };
        assert_eq!(of(&info), of(&again));
    }
}

/// What the first bytes move, and then the dependency descriptors of a stream, each after its length.
/// What leaves is read as saying the same of its frame, where all of it passes.
pub(crate) fn descriptor(bytes: &[u8]) {
    let Some((&[high, low, template_id, spatial, temporal], mut rest)) = bytes.split_first_chunk()
    else {
        return;
    };
    let offsets = CodecOffsets {
        frame_number: u16::from_be_bytes([high, low]),
        template_id,
        spatial_layers: spatial % 5,
        temporal_layers: temporal % 5,
        ..CodecOffsets::default()
    };
    let (mut ours, mut theirs) = (Descriptors::default(), Descriptors::default());
    while let Some((&length, after)) = rest.split_first() {
        let (descriptor, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let Some((info, leaves)) = ours.forward(descriptor, offsets) else {
            continue;
        };
        assert!(leaves.len() < 256, "it fits a header extension");
        let (again, _) = theirs
            .forward(&leaves, CodecOffsets::default())
            .expect("a descriptor still");
        let of = |info: &PayloadInfo| {
            (
                info.keyframe_start,
                info.frame_start,
                info.frame_end,
                info.takes_up,
                info.needed_above,
                info.spatial,
                info.temporal,
            )
        };
        assert_eq!(of(&info), of(&again));
    }
}
