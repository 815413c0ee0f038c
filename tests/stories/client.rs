//! A stand-in for a browser: a whole WebRTC stack that publishes and watches.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use plenum::engine::dtls;
use plenum::engine::event::{Change, CloseReason, Kind, LayersWanted};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::format::{Codec, PayloadParams};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use super::guest::Topic;
use super::media::{Device, Format, Made, Source, Stamp};
use super::receiver::Receiver;
use super::roster::{Roster, Seat};
use super::wire::Class;

/// A client that has given up sleeps longer than any story lasts.
const GIVEN_UP: Duration = Duration::from_secs(30 * 24 * 3_600);

/// An offer, and what str0m needs to take the answer.
pub(crate) struct Offered {
    pub(crate) sdp: String,
    pending: SdpPendingOffer,
    devices: Vec<(Mid, Device)>,
    slots: Vec<(Mid, Kind)>,
}

/// A packet that was kept for a decoder.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) seq: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
}

/// A browser, or what the server takes for one.
pub(crate) struct Client {
    rtc: Rtc,
    /// Its own address, and the one that a NAT shows to the world.
    local: SocketAddr,
    pub(crate) public: SocketAddr,
    server: SocketAddr,
    began: Instant,
    room_tag: u32,
    stream: String,
    pub(crate) seat: Option<Seat>,
    pub(crate) answer: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) connected_at: Option<Instant>,
    /// The other side said goodbye.
    pub(crate) is_closed: bool,
    /// Its checks have gone unanswered for too long.
    pub(crate) is_disconnected: bool,
    /// The data channels that are open.
    pub(crate) channels: Vec<(ChannelId, String)>,
    /// What came on them, by label.
    pub(crate) data: Vec<(String, Vec<u8>)>,
    /// Those that the next offer asks for.
    topics: Vec<Topic>,
    pub(crate) events: Vec<(Instant, Change)>,
    pub(crate) roster: Roster,
    pub(crate) closed_because: Option<CloseReason>,
    /// What it received, where that is to be decoded.
    recorded: Option<Vec<Recorded>>,
    /// Stops sending what nobody wants.
    pub(crate) is_thrifty: bool,
    /// When str0m wants to be woken.
    wake_at: Instant,
    outgoing: Vec<Vec<u8>>,
    /// It sends no ICE check any more, and media all the same.
    pub(crate) is_without_checks: bool,
    /// It sends a check only when the last was so long ago.
    pub(crate) checks_every: Duration,
    checked_at: Option<Instant>,
    /// Mids whose m-line is marked as slides in every offer.
    slides: Vec<Mid>,
}

impl Client {
    pub(crate) fn new(
        local: SocketAddr,
        server: SocketAddr,
        (began, now): (Instant, Instant),
        room_tag: u32,
        takes_red: bool,
        seed: u64,
    ) -> Self {
        let config = RtcConfig::new()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, takes_red)
            .enable_vp8(true)
            .enable_vp9(true)
            .enable_av1(true)
            .enable_h264(true);
        let (mut rtc, _) = dtls::build_predictable(config, now, seed);
        let candidate = Candidate::host(local, "udp").expect("an address of a client");
        rtc.add_local_candidate(candidate);
        Self {
            rtc,
            local,
            public: local,
            server,
            began,
            room_tag,
            stream: format!("stream{seed}"),
            seat: None,
            answer: String::new(),
            sources: Vec::new(),
            receivers: Vec::new(),
            connected_at: None,
            is_closed: false,
            is_disconnected: false,
            channels: Vec::new(),
            data: Vec::new(),
            topics: Vec::new(),
            events: Vec::new(),
            roster: Roster::default(),
            closed_because: None,
            recorded: None,
            is_thrifty: false,
            wake_at: now,
            outgoing: Vec::new(),
            is_without_checks: false,
            checks_every: Duration::ZERO,
            checked_at: None,
            slides: Vec::new(),
        }
    }

    /// Offers to send from these devices and to receive in this many slots, on top of what
    /// there is already.
    pub(crate) fn offer(&mut self, devices: &[Device], video: usize, audio: usize) -> Offered {
        let mut api = self.rtc.sdp_api();
        let sending = |device: &Device| {
            let stream = Some(self.stream.clone());
            let kind = match device.format.kind() {
                Kind::Audio => MediaKind::Audio,
                Kind::Video => MediaKind::Video,
            };
            let simulcast = (!device.rids.is_empty()).then(|| {
                let mut simulcast = Simulcast::new();
                device
                    .rids
                    .iter()
                    .for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
                simulcast
            });
            (kind, stream, simulcast)
        };
        let mut lines = Vec::new();
        for device in devices {
            let (kind, stream, simulcast) = sending(device);
            let mid = api.add_media(kind, Direction::SendOnly, stream, None, simulcast);
            lines.push((mid, device.clone()));
        }
        let mut slots = Vec::new();
        for (kind, count) in [(MediaKind::Video, video), (MediaKind::Audio, audio)] {
            for _ in 0..count {
                let mid = api.add_media(kind, Direction::RecvOnly, None, None, None);
                slots.push((mid, kind.into()));
            }
        }
        for topic in std::mem::take(&mut self.topics) {
            api.add_channel_with_config(channel_config(&topic));
        }
        let (offer, pending) = api.apply().expect("an offer that changes something");
        self.slides.extend(
            lines
                .iter()
                .filter(|(_, device)| device.slides)
                .map(|(mid, _)| *mid),
        );
        Offered {
            sdp: self.mark_slides(&offer),
            pending,
            devices: lines,
            slots,
        }
    }

    /// The next offer is to have these data channels.
    pub(crate) fn wants(&mut self, topics: &[Topic]) {
        self.topics = topics.to_vec();
    }

    /// Opens a data channel, where there are some already.
    pub(crate) fn open(&mut self, topic: &Topic) {
        let mut direct = self.rtc.direct_api();
        direct.create_data_channel(channel_config(topic));
    }

    /// Sends something on a data channel.
    pub(crate) fn send(&mut self, label: &str, data: &[u8]) {
        let known = self.channels.iter().find(|(_, known)| known == label);
        let (id, _) = known.expect("a channel that is open");
        let mut channel = self.rtc.channel(*id).expect("a channel that is open");
        let written = channel.write(true, data);
        assert!(matches!(written, Ok(true)), "{written:?}");
    }

    /// The server says which layers of a source anybody wants.
    pub(crate) fn layers_wanted(&mut self, told: &LayersWanted) {
        let source = self
            .sources
            .iter_mut()
            .find(|source| *source.mid == *told.mid);
        if let Some(source) = source.filter(|_| self.is_thrifty) {
            source.obey(&told.layers);
        }
    }

    /// From now on it keeps what it receives, real pictures, and looks at none of it.
    pub(crate) fn records(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// What it kept, in order.
    pub(crate) fn recorded(&mut self) -> Vec<Recorded> {
        let mut recorded = self.recorded.take().unwrap_or_default();
        recorded.sort_by_key(|packet| packet.seq);
        recorded
    }

    /// There is something to do.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.wake_at = now;
    }

    /// Offers to send nothing more from a source; its m-line stays.
    pub(crate) fn offer_to_stop(&mut self, source: usize) -> Offered {
        let mid = self.sources.remove(source).mid;
        self.offer_change(|api| api.set_direction(mid, Direction::Inactive))
    }

    /// Offers new ICE credentials.
    pub(crate) fn offer_ice_restart(&mut self) -> Offered {
        self.offer_change(|api| {
            api.ice_restart(true);
        })
    }

    fn offer_change(&mut self, change: impl FnOnce(&mut str0m::change::SdpApi<'_>)) -> Offered {
        let mut api = self.rtc.sdp_api();
        change(&mut api);
        let (offer, pending) = api.apply().expect("an offer that changes something");
        let sdp = self.mark_slides(&offer);
        Offered {
            sdp,
            pending,
            devices: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// RFC 4796: `a=content:slides` makes a screen of a video track.
    fn mark_slides(&self, offer: &SdpOffer) -> String {
        let mut sdp = offer.to_sdp_string();
        for mid in &self.slides {
            let line = format!("a=mid:{mid}\r\n");
            sdp = sdp.replace(&line, &format!("{line}a=content:slides\r\n"));
        }
        sdp
    }

    /// The server answered. `source_ids` are for the devices that were offered, in order.
    pub(crate) fn accept(
        &mut self,
        offered: Offered,
        answer: &str,
        source_ids: &[u32],
        now: Instant,
    ) {
        let parsed = SdpAnswer::from_sdp_string(answer)
            .unwrap_or_else(|error| panic!("an answer that browsers can read: {error}\n{answer}"));
        self.rtc
            .sdp_api()
            .accept_answer(offered.pending, parsed)
            .unwrap_or_else(|error| panic!("an answer that browsers accept: {error}\n{answer}"));
        self.answer = answer.to_owned();
        for ((mid, device), id) in offered.devices.iter().zip(source_ids) {
            self.sources.push(Source::new(*id, *mid, device, now));
        }
        for (mid, kind) in offered.slots {
            self.receivers.push(Receiver::new(mid.to_string(), kind));
        }
        self.wake_at = now;
    }

    /// When it has something to do.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let media = self.sources.iter().map(|source| source.next_at).min();
        match media {
            Some(media) if self.connected_at.is_some() && !self.is_closed => {
                media.min(self.wake_at)
            }
            _ => self.wake_at,
        }
    }

    pub(crate) fn handle_datagram(&mut self, contents: &[u8], now: Instant) {
        let receive = Receive::new(Protocol::Udp, self.server, self.local, contents)
            .expect("a datagram that WebRTC knows");
        let input = Input::Receive(now, receive);
        // What a browser would do with something that nobody sent it: nothing.
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).expect("a server that behaves");
            // str0m holds one packet at a time: a second one would push out the first.
            self.drain(now);
        }
    }

    /// Does what is due, and gives out what is to be sent.
    pub(crate) fn run(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if now >= self.wake_at {
            self.turn(now);
        }
        if self.connected_at.is_some() && !self.is_closed && self.publish(now) {
            self.turn(now);
        }
        if self.ask_for_keyframes(now) {
            self.turn(now);
        }
        let mut out = std::mem::take(&mut self.outgoing);
        if self.is_without_checks {
            out.retain(|datagram| Class::of(datagram) != Class::Stun);
        }
        out.retain(|datagram| Class::of(datagram) != Class::Stun || self.may_check(now));
        // str0m walks its streams in the order of a hash map, which no seed governs.
        Class::sort(&mut out, |datagram| datagram);
        out
    }

    fn may_check(&mut self, now: Instant) -> bool {
        let is_due = self
            .checked_at
            .is_none_or(|at| now - at >= self.checks_every);
        if is_due {
            self.checked_at = Some(now);
        }
        is_due
    }

    /// Leaves as a page does that is closed in order.
    pub(crate) fn close(&mut self, now: Instant) {
        self.rtc.close().expect("a connection that can be closed");
        self.is_closed = true;
        self.wake_at = now;
    }

    fn turn(&mut self, now: Instant) {
        self.rtc
            .handle_input(Input::Timeout(now))
            .expect("time passes without trouble");
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            let output = match self.rtc.poll_output() {
                Ok(output) => output,
                // Whoever left before the handshake was done waits for an answer in vain.
                Err(_) if self.closed_because.is_some() => {
                    self.is_closed = true;
                    self.wake_at = now + GIVEN_UP;
                    return;
                }
                Err(error) => panic!("a connection that works: {error}"),
            };
            match output {
                Output::Timeout(at) => {
                    self.wake_at = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.destination, self.server, "where else?");
                    self.outgoing.push(transmit.contents.to_vec());
                }
                Output::Event(event) => self.event(event, now),
            }
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => {
                self.connected_at = Some(now);
                // A camera is on before the connection is: from now on its frames can leave.
                self.sources
                    .iter_mut()
                    .for_each(|source| source.next_at = now);
            }
            Event::Closed => self.is_closed = true,
            Event::IceConnectionStateChange(state) => {
                self.is_disconnected = state == IceConnectionState::Disconnected;
            }
            Event::ChannelOpen(id, label) => self.channels.push((id, label)),
            Event::ChannelClose(id) => self.channels.retain(|(known, _)| *known != id),
            Event::ChannelData(data) => {
                let channel = self.channels.iter().find(|(id, _)| *id == data.id);
                let (_, label) = channel.expect("data of a channel that is open");
                self.data.push((label.clone(), data.data));
            }
            Event::KeyframeRequest(request) => {
                let source = self
                    .sources
                    .iter_mut()
                    .find(|source| source.mid == request.mid);
                let encodings = source.into_iter().flat_map(|source| &mut source.encodings);
                for encoding in encodings.filter(|encoding| encoding.rid == request.rid) {
                    encoding.keyframe_requests += 1;
                    encoding.wants_keyframe = true;
                }
            }
            Event::SenderFeedback(report) => {
                let receiver = self.receivers.iter_mut().find(|r| *r.mid == *report.mid);
                let info = report.sender_info;
                let ntp = info.ntp_time.duration_since(SystemTime::UNIX_EPOCH);
                if let (Some(receiver), Ok(ntp)) = (receiver, ntp) {
                    receiver.reported(ntp.as_nanos() as i128, info.rtp_time.numer() as u32);
                }
            }
            Event::RtpPacket(packet) if self.recorded.is_some() => {
                let recorded = self.recorded.get_or_insert_default();
                recorded.push(Recorded {
                    seq: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    payload: packet.payload.to_vec(),
                });
            }
            Event::RtpPacket(packet) => {
                let mid = self
                    .rtc
                    .direct_api()
                    .stream_rx(&packet.header.ssrc)
                    .map(|rx| rx.mid());
                let stamp = Stamp::read(&packet.payload).expect("a packet that a guest published");
                assert_eq!(
                    stamp.room, self.room_tag,
                    "media crossed from one room to another"
                );
                let is_own = self.sources.iter().any(|source| source.id == stamp.source);
                assert!(!is_own, "nobody sees themselves");
                let receiver = self
                    .receivers
                    .iter_mut()
                    .find(|r| mid.is_some_and(|mid| *r.mid == *mid));
                let receiver = receiver.expect("media for a slot that exists");
                receiver.receive(&packet, stamp, now);
            }
            _ => {}
        }
    }

    fn publish(&mut self, now: Instant) -> bool {
        let mut published = false;
        for place in 0..self.sources.len() {
            let made = self.sources[place].poll(now, self.began, self.room_tag);
            let (mid, format) = (self.sources[place].mid, self.sources[place].format);
            published |= !made.is_empty();
            for packet in made {
                self.write(mid, format, packet, now);
            }
        }
        published
    }

    fn write(&mut self, mid: Mid, format: Format, packet: Made, now: Instant) {
        let params = self.params(mid, format);
        let pt = match packet.is_redundant {
            true => params.red().expect("redundancy that was negotiated"),
            false => params.pt(),
        };
        let extensions = ExtensionValues {
            audio_level: packet.level,
            voice_activity: packet.level.map(|level| level > -60),
            rid: packet.rid,
            ..ExtensionValues::default()
        };
        let write = RtpWrite::new(pt, packet.seq.into(), packet.timestamp, now, packet.payload)
            .marker(packet.marker)
            .nackable(format.kind() == Kind::Video)
            .ext_vals(extensions);
        let mut direct = self.rtc.direct_api();
        let stream = direct
            .stream_tx_by_mid(mid, packet.rid)
            .expect("a stream to send on");
        stream.write_rtp(write);
    }

    fn params(&self, mid: Mid, format: Format) -> PayloadParams {
        let codec = match format {
            Format::Opus => Codec::Opus,
            Format::Vp8 => Codec::Vp8,
            Format::Vp9 => Codec::Vp9,
            Format::Av1 => Codec::Av1,
            Format::H264 => Codec::H264,
        };
        let media = self.rtc.media(mid).expect("an m-line that was negotiated");
        let params = self.rtc.codec_config().params();
        let mut negotiated = media
            .remote_pts()
            .iter()
            .filter_map(|pt| params.iter().find(|p| p.pt() == *pt));
        *negotiated
            .find(|params| params.spec().codec == codec)
            .expect("a codec in common")
    }

    fn ask_for_keyframes(&mut self, now: Instant) -> bool {
        let mut asked = false;
        for receiver in &mut self.receivers {
            if receiver.is_impatient || receiver.asks_for_keyframe(now) {
                let mid = Mid::from(receiver.mid.as_str());
                if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                    asked = true;
                }
            }
        }
        asked
    }

    /// Its slots of a kind, in the order of their m-lines.
    pub(crate) fn slots(&self, kind: Kind) -> impl Iterator<Item = &Receiver> {
        self.receivers
            .iter()
            .filter(move |receiver| receiver.kind == kind)
    }
}

fn channel_config(topic: &Topic) -> ChannelConfig {
    let reliability = if topic.is_lossy {
        Reliability::MaxRetransmits { retransmits: 0 }
    } else {
        Reliability::Reliable
    };
    ChannelConfig {
        label: topic.label.clone(),
        ordered: !topic.is_lossy,
        reliability,
        ..ChannelConfig::default()
    }
}
