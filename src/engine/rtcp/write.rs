//! The RTCP that we send, appended to a buffer in which it will be sealed.
//!
//! A compound begins with a report and holds a CNAME (RFC 3550 §6.1):
//! [`write_sender_report`] or [`write_receiver_report`], [`write_sdes`], then whatever else.

use str0m::rtp::Ssrc;

use super::xr::LAST_REFERENCE_TIMES;
use super::{
    EXTENDED_REPORT, GOODBYE, HEADER_LEN, RECEIVER_REPORT, ReferenceTime, ReportBlock,
    SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo,
};

/// How many items a packet can count: five bits.
const MAX_COUNT: usize = 31;

/// The SDES item that names who sends (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

/// The longest value of an SDES item, in octets.
const MAX_CNAME_LEN: usize = 255;

/// Appends a sender report (RFC 3550 §6.4.1).
///
/// # Panics
///
/// If there are more than 31 reports: what is more belongs into a receiver report.
pub fn write_sender_report(
    out: &mut Vec<u8>,
    sender: Ssrc,
    info: &SenderInfo,
    reports: &[ReportBlock],
) {
    write_packet(out, SENDER_REPORT, reports.len(), |out| {
        out.extend_from_slice(&sender.to_be_bytes());
        info.write(out);
        reports.iter().for_each(|report| report.write(out));
    });
}

/// Appends a receiver report (RFC 3550 §6.4.2), which may be empty.
///
/// # Panics
///
/// If there are more than 31 reports.
pub fn write_receiver_report(out: &mut Vec<u8>, sender: Ssrc, reports: &[ReportBlock]) {
    write_packet(out, RECEIVER_REPORT, reports.len(), |out| {
        out.extend_from_slice(&sender.to_be_bytes());
        reports.iter().for_each(|report| report.write(out));
    });
}

/// Appends a source description with a CNAME (RFC 3550 §6.5), cut to 255 octets.
///
/// Streams with the same CNAME are played in synchrony.
pub fn write_sdes(out: &mut Vec<u8>, sender: Ssrc, cname: &str) {
    let cname = &cname.as_bytes()[..cname.len().min(MAX_CNAME_LEN)];
    write_packet(out, SOURCE_DESCRIPTION, 1, |out| {
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&[CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        // One zero at least ends the list; then the packet is filled up to whole words.
        let chunk_len = 4 + 2 + cname.len();
        let padding = 4 - chunk_len % 4;
        out.extend_from_slice(&[0; 4][..padding]);
    });
}

/// Appends a BYE (RFC 3550 §6.6).
///
/// # Panics
///
/// If there are more than 31 sources.
pub fn write_bye(out: &mut Vec<u8>, sources: &[Ssrc]) {
    write_packet(out, GOODBYE, sources.len(), |out| {
        sources
            .iter()
            .for_each(|source| out.extend_from_slice(&source.to_be_bytes()));
    });
}

/// Appends an extended report that answers receivers who told us their time, so that they know
/// their round-trip time to us (DLRR, RFC 3611 §4.5).
pub fn write_reference_times(out: &mut Vec<u8>, sender: Ssrc, times: &[ReferenceTime]) {
    write_packet(out, EXTENDED_REPORT, 0, |out| {
        out.extend_from_slice(&sender.to_be_bytes());
        let words = (times.len() * 3) as u16;
        out.extend_from_slice(&[LAST_REFERENCE_TIMES, 0]);
        out.extend_from_slice(&words.to_be_bytes());
        times.iter().for_each(|time| time.write(out));
    });
}

/// Appends a header, then the body, then says in the header how long the body became.
fn write_packet(out: &mut Vec<u8>, packet_type: u8, count: usize, body: impl FnOnce(&mut Vec<u8>)) {
    assert!(count <= MAX_COUNT, "a packet counts up to 31 items");
    let start = out.len();
    out.extend_from_slice(&[0x80 | count as u8, packet_type, 0, 0]);
    body(out);
    let len = out.len() - start - HEADER_LEN;
    debug_assert!(len.is_multiple_of(4), "RTCP is made of whole words");
    let words = u16::try_from(len / 4).expect("a packet of ours fits a datagram");
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::rtcp::tests::only;
    use crate::engine::rtcp::{Packet, XrBlock, packets};

    fn info() -> impl Strategy<Value = SenderInfo> {
        any::<(u64, u32, u32, u32)>().prop_map(
            |(ntp_time, rtp_timestamp, sent_packets, sent_payload_bytes)| SenderInfo {
                ntp_time,
                rtp_timestamp,
                sent_packets,
                sent_payload_bytes,
            },
        )
    }

    fn reports() -> impl Strategy<Value = Vec<ReportBlock>> {
        let lost = -(1 << 23)..(1 << 23);
        let report = (any::<(u32, u8, u32, u32, u32, u32)>(), lost).prop_map(
            |((ssrc, fraction_lost, sequence, jitter, last, delay), cumulative_lost)| ReportBlock {
                ssrc: ssrc.into(),
                fraction_lost,
                cumulative_lost,
                highest_sequence: sequence,
                jitter,
                last_sender_report: last,
                delay_since_last_sender_report: delay,
            },
        );
        prop::collection::vec(report, 0..=MAX_COUNT)
    }

    #[test]
    fn a_sender_report_with_a_name_is_this() {
        let mut out = b"before".to_vec();
        let info = SenderInfo {
            ntp_time: 0x0102_0304_0506_0708,
            rtp_timestamp: 0x1112_1314,
            sent_packets: 5,
            sent_payload_bytes: 6000,
        };
        write_sender_report(&mut out, 0x2122_2324.into(), &info, &[]);
        write_sdes(&mut out, 0x2122_2324.into(), "ab");
        let expected = [
            0x80, 200, 0, 6, 0x21, 0x22, 0x23, 0x24, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13,
            0x14, 0, 0, 0, 5, 0, 0, 0x17, 0x70, // the report
            0x81, 202, 0, 3, 0x21, 0x22, 0x23, 0x24, 1, 2, b'a', b'b', 0, 0, 0, 0, // the name
        ];
        assert_eq!(out[..6], *b"before");
        assert_eq!(out[6..], expected);
    }

    #[test]
    fn losses_that_24_bits_do_not_hold_stop_at_the_limit() {
        for (lost, shown) in [(i32::MAX, (1 << 23) - 1), (i32::MIN, -(1 << 23))] {
            let report = ReportBlock {
                ssrc: 1.into(),
                fraction_lost: 0,
                cumulative_lost: lost,
                highest_sequence: 0,
                jitter: 0,
                last_sender_report: 0,
                delay_since_last_sender_report: 0,
            };
            let mut out = Vec::new();
            write_receiver_report(&mut out, 2.into(), &[report]);
            let Packet::ReceiverReport { mut reports, .. } = only(&out) else {
                panic!("an RR")
            };
            assert_eq!(
                reports.next().map(|report| report.cumulative_lost),
                Some(shown)
            );
        }
    }

    proptest! {
        #[test]
        fn what_we_report_is_what_is_read(
            sender: u32,
            info in info(),
            reports in reports(),
            cname in "[a-zA-Z0-9/+]{0,300}",
            gone in prop::collection::vec(any::<u32>(), 0..=MAX_COUNT),
            times in prop::collection::vec(any::<(u32, u32, u32)>(), 0..20),
        ) {
            let sender = Ssrc::from(sender);
            let gone: Vec<Ssrc> = gone.into_iter().map(Into::into).collect();
            let times: Vec<_> = times
                .into_iter()
                .map(|(ssrc, last_reference_time, delay)| ReferenceTime {
                    ssrc: ssrc.into(),
                    last_reference_time,
                    delay,
                })
                .collect();
            let mut out = Vec::new();
            write_sender_report(&mut out, sender, &info, &reports);
            write_receiver_report(&mut out, sender, &reports);
            write_sdes(&mut out, sender, &cname);
            write_reference_times(&mut out, sender, &times);
            write_bye(&mut out, &gone);

            let read: Vec<_> = packets(&out).map(|packet| packet.expect("well-formed")).collect();
            let [
                Packet::SenderReport { sender: first, info: read_info, reports: sent },
                Packet::ReceiverReport { sender: second, reports: received },
                Packet::SourceDescription,
                Packet::ExtendedReport { sender: third, blocks },
                Packet::Goodbye(read_gone),
            ] = &read[..] else { panic!("{read:?}") };
            prop_assert_eq!([first, second, third], [&sender; 3]);
            prop_assert_eq!(read_info, &info);
            prop_assert_eq!(sent.clone().collect::<Vec<_>>(), reports.clone());
            prop_assert_eq!(received.clone().collect::<Vec<_>>(), reports);
            prop_assert_eq!(read_gone.clone().collect::<Vec<_>>(), gone);
            let Some(XrBlock::LastReferenceTimes(read_times)) = blocks.clone().next() else {
                panic!("a DLRR block")
            };
            prop_assert_eq!(read_times.collect::<Vec<_>>(), times);
        }
    }
}
