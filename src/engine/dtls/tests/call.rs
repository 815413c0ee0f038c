//! A browser's side and ours of one session: what our sealers seal, `str0m` opens.

use std::net::SocketAddr;

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{RawPacket, Ssrc};
use str0m::{Candidate, Event, Input, Output};

use super::*;

/// A browser and our side of its session, in one place.
struct Call {
    browser: (Rtc, KeyTap),
    ours: (Rtc, KeyTap),
    browser_address: SocketAddr,
    our_address: SocketAddr,
    now: Instant,
    events: Vec<Event>,
    /// SRTCP that the browser sent.
    reports: Vec<Vec<u8>>,
}

impl Call {
    fn connect(browser_is_dtls_server: bool) -> (Self, Mid) {
        let now = some_moment();
        let config = || {
            Rtc::builder()
                .set_rtp_mode(true)
                .enable_raw_packets(true)
                .set_dtls_cert(Certificate::generate().to_dtls_cert())
        };
        let (mut browser, browser_keys) = build_predictable(config(), now, 1);
        let (mut ours, our_keys) = build_predictable(config().set_ice_lite(true), now, 2);
        let browser_address = SocketAddr::from(([127, 0, 0, 1], 1000));
        let our_address = SocketAddr::from(([127, 0, 0, 1], 2000));
        for (rtc, address) in [(&mut browser, browser_address), (&mut ours, our_address)] {
            let candidate = Candidate::host(address, "udp").expect("valid address");
            rtc.add_local_candidate(candidate);
        }
        let mut change = browser.sdp_api();
        let mid = change.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
        let (offer, pending) = change.apply().expect("something changed");
        let mut offer = offer.to_sdp_string();
        if browser_is_dtls_server {
            offer = offer.replace("a=setup:actpass", "a=setup:passive");
        }
        let offer = SdpOffer::from_sdp_string(&offer).expect("valid offer");
        let answer = ours
            .sdp_api()
            .accept_offer(offer)
            .expect("acceptable offer");
        let answer = SdpAnswer::from_sdp_string(&answer.to_sdp_string()).expect("valid answer");
        browser
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("acceptable answer");
        let mut call = Self {
            browser: (browser, browser_keys),
            ours: (ours, our_keys),
            browser_address,
            our_address,
            now,
            events: Vec::new(),
            reports: Vec::new(),
        };
        call.run_for(Duration::from_secs(2));
        (call, mid)
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += Duration::from_millis(10);
            let to_ours = Self::step(&mut self.browser.0, self.now, Some(&mut self.events));
            self.reports
                .extend(to_ours.iter().filter(|datagram| is_rtcp(datagram)).cloned());
            for datagram in to_ours {
                let (from, to) = (self.browser_address, self.our_address);
                Self::receive(&mut self.ours.0, self.now, from, to, &datagram);
            }
            for datagram in Self::step(&mut self.ours.0, self.now, None) {
                self.show_browser(&datagram);
            }
        }
    }

    fn show_browser(&mut self, datagram: &[u8]) {
        let (from, to) = (self.our_address, self.browser_address);
        Self::receive(&mut self.browser.0, self.now, from, to, datagram);
        for datagram in Self::step(&mut self.browser.0, self.now, Some(&mut self.events)) {
            let (from, to) = (self.browser_address, self.our_address);
            Self::receive(&mut self.ours.0, self.now, from, to, &datagram);
            Self::step(&mut self.ours.0, self.now, None);
        }
    }

    fn receive(rtc: &mut Rtc, now: Instant, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let receive = Receive::new(Protocol::Udp, from, to, datagram).expect("known protocol");
        rtc.handle_input(Input::Receive(now, receive))
            .expect("accepted");
    }

    fn step(rtc: &mut Rtc, now: Instant, mut events: Option<&mut Vec<Event>>) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        rtc.handle_input(Input::Timeout(now)).expect("no error");
        loop {
            match rtc.poll_output().expect("no error") {
                Output::Timeout(_) => return datagrams,
                Output::Transmit(transmit) => datagrams.push(transmit.contents.to_vec()),
                Output::Event(event) => {
                    if let Some(events) = &mut events {
                        events.push(event);
                    }
                }
            }
        }
    }
}

fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.len() > 1 && datagram[0] & 0xc0 == 0x80 && (192..224).contains(&datagram[1])
}

#[test]
fn a_browser_understands_what_we_seal_and_we_what_it_reports() {
    for browser_is_dtls_server in [false, true] {
        let (mut call, mid) = Call::connect(browser_is_dtls_server);
        let keys = call.ours.1.take().expect("the handshake left keys");
        assert!(call.browser.0.is_connected() && call.browser.1.take().is_some());

        let ssrc = 0x1234_5678_u32;
        call.browser
            .0
            .direct_api()
            .expect_stream_rx(Ssrc::from(ssrc), None, mid, None);
        let payload_type = payload_type(&call);
        call.events.clear();
        let sealer = keys.rtp_sealer();
        // Across the end of the sequence numbers, where the rollover counter becomes 1.
        for index in 0xfffe_u64..0x1_0003 {
            let mut packet = vec![0x80, payload_type];
            packet.extend_from_slice(&(index as u16).to_be_bytes());
            packet.extend_from_slice(&(index as u32 * 3000).to_be_bytes());
            packet.extend_from_slice(&ssrc.to_be_bytes());
            packet.extend_from_slice(format!("frame {index}").as_bytes());
            sealer.seal(&mut packet, 0, 12, index);
            call.show_browser(&packet);
        }
        let frames: Vec<_> = call.events.iter().filter_map(frame).collect();
        let expected = (0xfffe..0x1_0003).map(|index| format!("frame {index}"));
        assert_eq!(frames, expected.collect::<Vec<_>>());

        let mut bye = vec![0x81, 203, 0, 1];
        bye.extend_from_slice(&ssrc.to_be_bytes());
        keys.rtcp_sealer()
            .seal(&mut bye, 0)
            .expect("indices are left");
        call.show_browser(&bye);
        assert!(call.events.iter().any(is_goodbye));

        call.reports.clear();
        call.run_for(Duration::from_secs(3));
        assert!(!call.reports.is_empty());
        let mut opener = keys.rtcp_opener();
        for report in &call.reports {
            let opened = opener.open(report).expect("ours to open");
            assert!(is_rtcp(opened));
        }
    }
}

fn payload_type(call: &Call) -> u8 {
    let codecs = call.browser.0.codec_config();
    *codecs
        .params()
        .iter()
        .find(|codec| codec.spec().codec.is_video())
        .expect("video")
        .pt()
}

fn frame(event: &Event) -> Option<String> {
    match event {
        Event::RtpPacket(packet) => Some(String::from_utf8_lossy(&packet.payload).into_owned()),
        _ => None,
    }
}

fn is_goodbye(event: &Event) -> bool {
    matches!(
        event.as_raw_packet(),
        Some(RawPacket::RtcpRx(Rtcp::Goodbye(_)))
    )
}
