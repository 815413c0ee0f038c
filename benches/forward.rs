//! What one packet costs inside the engine, sent on to N receivers.
//!
//! One publisher (frames of five packets of 1200 bytes, 25 a second, and 50 audio packets a
//! second) and N receivers with transport feedback and retransmission negotiated; the clients
//! are str0m, the network is a function call. Measured is what a shard does for a datagram:
//! take it in, seal the copies, give them out; not the kernel.
//!
//! `cargo bench --bench forward [-- N ...]` prints nanoseconds per forwarded packet; under
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*'` the count of
//! instructions is repeatable.
#![expect(clippy::print_stdout, reason = "a benchmark talks to whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use plenum::engine::command::{Command, Door, Join, Reply};
use plenum::engine::dtls::{self, Certificate};
use plenum::engine::ufrag::session_of_ufrag;
use plenum::engine::{
    AddressChange, Datagram, Engine, EngineConfig, Limits, SessionKey, Transport,
};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::ice::StunMessage;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

const FRAMES: usize = 200;
const FRAME_INTERVAL: Duration = Duration::from_millis(40);
const PACKETS_PER_FRAME: usize = 5;
const PAYLOAD_BYTES: usize = 1160;

fn main() {
    let mut receivers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    if receivers.is_empty() {
        receivers = vec![1, 10, 50, 200, 800];
    }
    for n in receivers {
        let mut stage = Stage::new(n);
        stage.play(25);
        let before = stage.forwarded;
        let took = stage.play(FRAMES);
        let packets = stage.forwarded - before;
        let ns = took.as_nanos() as f64 / packets as f64;
        println!("{n:>5} receivers: {ns:8.1} ns per forwarded packet ({packets} packets)");
    }
}

/// A client of the server.
struct Client {
    rtc: Rtc,
    address: SocketAddr,
    key: Option<SessionKey>,
    connected: bool,
}

/// A server with a publisher and its receivers.
struct Stage {
    engine: Engine,
    now: Instant,
    server: SocketAddr,
    clients: Vec<Client>,
    video: Mid,
    audio: Mid,
    seq: u64,
    audio_seq: u64,
    forwarded: u64,
}

impl Stage {
    fn new(receivers: usize) -> Self {
        let server = SocketAddr::from(([203, 0, 113, 1], 3478));
        let config = EngineConfig {
            shard: 0,
            shards: 1,
            advertised: vec![server],
            advertised_tcp: Vec::new(),
            limits: Limits::default(),
            wall_clock: Duration::from_secs(1_700_000_000),
        };
        let mut stage = Self {
            engine: Engine::new(config, Certificate::generate(), [7; 32]),
            now: Instant::now(),
            server,
            clients: Vec::new(),
            video: "v".into(),
            audio: "a".into(),
            seq: 1_000,
            audio_seq: 1_000,
            forwarded: 0,
        };
        (stage.video, stage.audio) = stage.join(Direction::SendOnly);
        for _ in 0..receivers {
            stage.join(Direction::RecvOnly);
        }
        while !stage.clients.iter().all(|client| client.connected) {
            stage.tick();
        }
        stage
    }

    fn join(&mut self, direction: Direction) -> (Mid, Mid) {
        let place = self.clients.len();
        let address = SocketAddr::from((((10 << 24) + place as u32).to_be_bytes(), 40_000));
        let config = RtcConfig::new()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false);
        let (mut rtc, _) = dtls::build(config.enable_vp8(true), self.now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("an address"));
        let mut api = rtc.sdp_api();
        let video = api.add_media(MediaKind::Video, direction, Some("s".into()), None, None);
        let audio = api.add_media(MediaKind::Audio, direction, Some("s".into()), None, None);
        let (offer, pending) = api.apply().expect("an offer");
        let door = match direction {
            Direction::SendOnly => Door::Publish { participant: None },
            _ => Door::Watch { participant: None },
        };
        let answer = self.ask(door, offer.to_sdp_string());
        accept(&mut rtc, pending, &answer);
        self.clients.push(Client {
            rtc,
            address,
            key: None,
            connected: false,
        });
        (video, audio)
    }

    fn ask(&mut self, door: Door, offer: String) -> String {
        let room = "stage".parse().expect("a name");
        let join = Join::new(room, door, Some(offer));
        match self
            .engine
            .handle_command(Command::Join(Box::new(join)), self.now)
        {
            Ok(Reply::Joined(joined)) => joined.answer,
            other => panic!("not let in: {other:?}"),
        }
    }

    /// Lets the clients and the server say what they have to say, ten milliseconds on.
    fn tick(&mut self) {
        self.now += Duration::from_millis(10);
        for place in 0..self.clients.len() {
            for contents in self.clients[place].poll(self.now) {
                self.deliver(place, &contents);
            }
        }
        self.engine.handle_timeout(self.now);
        self.engine.flush(self.now);
        while let Some(batch) = self.engine.poll_batch() {
            for transmit in batch {
                let client = &mut self.clients[place_of(transmit.destination)];
                let size = transmit.segment_size.unwrap_or(transmit.contents.len());
                for contents in transmit.contents.chunks(size) {
                    client.receive(self.server, self.now, contents);
                }
            }
        }
        while let Some(change) = self.engine.poll_address() {
            if let AddressChange::Learned(key, address) = change {
                self.clients[place_of(address)].key = Some(key);
            }
        }
        while self.engine.poll_event().is_some() {}
    }

    fn deliver(&mut self, place: usize, contents: &[u8]) {
        let named = StunMessage::parse(contents)
            .ok()
            .and_then(|message| session_of_ufrag(message.split_username()?.0));
        let client = &self.clients[place];
        if let Some(session) = named.or(client.key) {
            let datagram = Datagram {
                session,
                source: client.address,
                transport: Transport::Udp,
                local_ip: None,
                at: self.now,
                contents,
            };
            self.engine.handle_datagram(datagram, self.now);
        }
    }

    /// Plays that many frames; returns what the engine took for it.
    fn play(&mut self, frames: usize) -> Duration {
        let mut took = Duration::ZERO;
        for frame in 0..frames {
            self.now += FRAME_INTERVAL;
            let datagrams = self.frame(frame == 0);
            let key = self.clients[0].key.expect("it is connected");
            let source = self.clients[0].address;
            let start = Instant::now();
            self.forwarded += measured(&mut self.engine, key, source, &datagrams, self.now);
            took += start.elapsed();
            self.engine.handle_timeout(self.now);
            self.engine.flush(self.now);
            while self.engine.poll_batch().is_some() {}
        }
        took
    }

    /// One frame, and the two audio packets of its time.
    fn frame(&mut self, key: bool) -> Vec<Vec<u8>> {
        let (now, video, audio) = (self.now, self.video, self.audio);
        let client = &mut self.clients[0];
        let pt = |kind: MediaKind, client: &Client| {
            let params = client.rtc.codec_config().params();
            params
                .iter()
                .find(|params| params.spec().codec.kind() == kind)
                .expect("negotiated")
                .pt()
        };
        let (video_pt, audio_pt) = (pt(MediaKind::Video, client), pt(MediaKind::Audio, client));
        for packet in 0..PACKETS_PER_FRAME {
            let mut payload = vec![0x55; PAYLOAD_BYTES];
            // VP8 (RFC 7741 §4.2): a start of partition 0, or none; then P of the frame header.
            payload[0] = if packet == 0 { 0x10 } else { 0 };
            payload[1] = u8::from(!key);
            let marker = packet + 1 == PACKETS_PER_FRAME;
            let time = (self.seq / PACKETS_PER_FRAME as u64 * 3_600) as u32;
            let write = RtpWrite::new(video_pt, self.seq.into(), time, now, payload);
            send(&mut client.rtc, video, write.marker(marker));
            self.seq += 1;
        }
        for _ in 0..2 {
            let time = (self.audio_seq * 960) as u32;
            let write = RtpWrite::new(audio_pt, self.audio_seq.into(), time, now, vec![0xaa; 80]);
            send(&mut client.rtc, audio, write);
            self.audio_seq += 1;
        }
        client.poll(now)
    }
}

impl Client {
    fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.rtc
            .handle_input(Input::Timeout(now))
            .expect("a healthy client");
        let mut datagrams = Vec::new();
        loop {
            match self.rtc.poll_output().expect("a healthy client") {
                Output::Transmit(transmit) => datagrams.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(_) => {}
                Output::Timeout(_) => return datagrams,
            }
        }
    }

    fn receive(&mut self, server: SocketAddr, now: Instant, contents: &[u8]) {
        let receive = Receive::new(Protocol::Udp, server, self.address, contents);
        let receive = receive.expect("what the server sends is one of the four kinds");
        self.rtc
            .handle_input(Input::Receive(now, receive))
            .expect("a healthy client");
        while let Output::Event(event) = self.rtc.poll_output().expect("a healthy client") {
            self.connected |= matches!(event, Event::Connected);
        }
    }
}

/// Clients are numbered by their addresses.
fn place_of(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => (address.ip().to_bits() & 0xff_ffff) as usize,
        SocketAddr::V6(_) => unreachable!("no client has such an address"),
    }
}

fn accept(rtc: &mut Rtc, pending: SdpPendingOffer, answer: &str) {
    let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
    rtc.sdp_api()
        .accept_answer(pending, answer)
        .expect("an answer to this offer");
}

fn send(rtc: &mut Rtc, mid: Mid, write: RtpWrite) {
    let mut direct = rtc.direct_api();
    let stream = direct
        .stream_tx_by_mid(mid, None)
        .expect("it was negotiated");
    stream.write_rtp(write);
}

/// What a shard does for the datagrams of one wake-up; returns how many packets left.
#[inline(never)]
fn measured(
    engine: &mut Engine,
    session: SessionKey,
    source: SocketAddr,
    datagrams: &[Vec<u8>],
    now: Instant,
) -> u64 {
    for contents in datagrams {
        engine.handle_datagram(
            Datagram {
                session,
                source,
                transport: Transport::Udp,
                local_ip: None,
                at: now,
                contents,
            },
            now,
        );
    }
    engine.flush(now);
    let mut packets = 0;
    while let Some(batch) = engine.poll_batch() {
        for transmit in batch {
            let size = transmit.segment_size.unwrap_or(transmit.contents.len());
            packets += transmit.contents.len().div_ceil(size) as u64;
        }
    }
    packets
}
