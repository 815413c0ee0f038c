//! A client with a connection of its own: ICE, DTLS and all, over a real UDP socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};
use tokio::net::UdpSocket;

/// Far longer than anything takes on loopback.
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody with a connection.
pub(crate) struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    mid: Mid,
    pending: Option<SdpPendingOffer>,
    pub(crate) offer: String,
}

impl Peer {
    /// A publisher of one audio track.
    pub(crate) async fn publisher() -> Self {
        Self::new(MediaKind::Audio, None).await
    }

    /// A publisher of one video track.
    pub(crate) async fn camera() -> Self {
        Self::new(MediaKind::Video, None).await
    }

    /// A publisher of one video track in several encodings.
    pub(crate) async fn simulcast_camera(rids: &[&str]) -> Self {
        let send = rids.iter().map(|rid| SimulcastLayer::new(rid));
        let simulcast = Simulcast {
            send: send.collect(),
            recv: Vec::new(),
        };
        Self::new(MediaKind::Video, Some(simulcast)).await
    }

    /// A player that answers an offer of the server's, and what it answers.
    pub(crate) async fn player(offer: &str) -> (Self, String) {
        let (mut rtc, socket, address) = connection().await;
        let read = SdpOffer::from_sdp_string(offer).expect("an offer");
        let answer = rtc
            .sdp_api()
            .accept_offer(read)
            .expect("it can be answered");
        let player = Self {
            rtc,
            socket,
            address,
            // It sends nothing.
            mid: Mid::from("none"),
            pending: None,
            offer: String::new(),
        };
        (player, answer.to_sdp_string())
    }

    /// Waits until pictures come.
    pub(crate) async fn sees_video(&mut self) {
        let is_picture = |event: &Event| match event {
            Event::MediaData(data) => data.params.spec().codec.is_video(),
            _ => false,
        };
        self.run_until(|_, event| event.is_some_and(is_picture))
            .await;
    }

    async fn new(kind: MediaKind, simulcast: Option<Simulcast>) -> Self {
        let (mut rtc, socket, address) = connection().await;
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(kind, Direction::SendOnly, None, None, simulcast);
        let (offer, pending) = changes.apply().expect("there is a change");
        Self {
            rtc,
            socket,
            address,
            mid,
            pending: Some(pending),
            offer: offer.to_sdp_string(),
        }
    }

    /// Takes the server's answer, and connects: ICE and DTLS.
    pub(crate) async fn connect(&mut self, answer: &str) {
        self.accept(answer);
        self.run_until(|_, event| matches!(event, Some(Event::Connected)))
            .await;
    }

    fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        let pending = self.pending.take().expect("an offer is out");
        let changes = self.rtc.sdp_api();
        changes.accept_answer(pending, answer).expect("it fits");
    }

    /// Restarts ICE: the fragment for the server.
    pub(crate) fn restart(&mut self) -> String {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().expect("there is a change");
        self.pending = Some(pending);
        let offer = offer.to_sdp_string();
        let of_ice = |line: &&str| line.starts_with("a=ice-ufrag") || line.starts_with("a=ice-pwd");
        let lines: Vec<&str> = offer.lines().filter(of_ice).take(2).collect();
        format!("{}\r\n", lines.join("\r\n"))
    }

    /// The server's former answer with its new credentials: the end of a restart.
    pub(crate) async fn restarted(&mut self, answer: &str, fragment: &str) {
        let new = |name: &str| {
            let line = fragment.lines().find(|line| line.starts_with(name));
            line.expect("the fragment has credentials")
        };
        let lines = answer.lines().map(|line| match line {
            line if line.starts_with("a=ice-ufrag:") => new("a=ice-ufrag:"),
            line if line.starts_with("a=ice-pwd:") => new("a=ice-pwd:"),
            line => line.split(" ufrag ").next().unwrap_or(line),
        });
        let answer: String = lines.map(|line| format!("{line}\r\n")).collect();
        self.accept(&answer);
        self.run_until(|_, event| {
            use IceConnectionState::{Completed, Connected};
            matches!(
                event,
                Some(Event::IceConnectionStateChange(Connected | Completed))
            )
        })
        .await;
    }

    /// Waits until the server closes DTLS.
    pub(crate) async fn closed_by_server(&mut self) {
        self.run_until(|_, event| matches!(event, Some(Event::Closed)))
            .await;
    }

    /// Closes DTLS.
    pub(crate) async fn close(&mut self) {
        self.rtc.close().expect("it is open");
        self.run_until(|peer, _| !peer.rtc.is_alive()).await;
    }

    /// Sends keyframes of VP8, 320 x 180, for as long as it is awaited.
    pub(crate) async fn film(&mut self) {
        self.film_in(&[None]).await;
    }

    /// The same in these of its encodings.
    pub(crate) async fn film_encodings(&mut self, rids: &[&str]) {
        let rids: Vec<_> = rids.iter().map(|rid| Some(Rid::from(*rid))).collect();
        self.film_in(&rids).await;
    }

    async fn film_in(&mut self, rids: &[Option<Rid>]) {
        let keyframe = [&b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xb4\x00"[..], &[0; 900]].concat();
        let (start, mut next) = (now(), now());
        loop {
            let media_time = MediaTime::from(now() - start);
            for rid in rids {
                let mut writer = self.rtc.writer(self.mid).expect("it sends");
                let params: Vec<_> = writer.payload_params().cloned().collect();
                let vp8 = params
                    .iter()
                    .find(|params| params.spec().codec == Codec::Vp8);
                let vp8 = vp8.expect("VP8 was answered").pt();
                if let Some(rid) = rid {
                    writer = writer.rid(*rid);
                }
                let written = writer.write(vp8, now(), media_time, keyframe.clone());
                written.expect("it is connected");
            }
            next += Duration::from_millis(50);
            self.run_until(|_, _| now() >= next).await;
        }
    }

    async fn run_until(&mut self, mut done: impl FnMut(&Self, Option<&Event>) -> bool) {
        let deadline = now() + PATIENCE;
        let mut datagram = vec![0; 2048];
        while !done(self, None) {
            assert!(now() < deadline, "it does not happen");
            match self.rtc.poll_output().expect("no error") {
                Output::Transmit(transmit) => {
                    let sent = self
                        .socket
                        .send_to(&transmit.contents, transmit.destination);
                    sent.await.expect("loopback takes it");
                }
                Output::Event(event) => {
                    if done(self, Some(&event)) {
                        return;
                    }
                }
                Output::Timeout(at) => self.wait(at, &mut datagram).await,
            }
        }
    }

    /// Takes in one datagram, or the time if there is none.
    async fn wait(&mut self, until: Instant, datagram: &mut [u8]) {
        let left = until.saturating_duration_since(now());
        let received = tokio::time::timeout(left, self.socket.recv_from(datagram)).await;
        let input = match received {
            Ok(received) => {
                let (bytes, source) = received.expect("loopback works");
                let receive = Receive::new(Protocol::Udp, source, self.address, &datagram[..bytes]);
                match receive {
                    Ok(receive) => Input::Receive(now(), receive),
                    Err(_) => return,
                }
            }
            Err(_) => Input::Timeout(now()),
        };
        self.rtc.handle_input(input).expect("no error");
    }
}

async fn connection() -> (Rtc, UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("loopback has free ports");
    let address = socket.local_addr().expect("it is bound");
    let mut rtc = Rtc::new(now());
    rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
    (rtc, socket, address)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client on a real network has a real clock"
)]
fn now() -> Instant {
    Instant::now()
}
