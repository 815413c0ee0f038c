//! The smallest server that the load test can load: str0m, one UDP socket, one thread, a few lines of HTTP.
//!
//! A path is a room: `/whip/x`, `/whep/x` and `/rooms/x/sessions` meet in `x`. What a client sends is forwarded to
//! the slots of all others in the order in which they came.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc::{self, Receiver, Sender},
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::SdpOffer,
    media::{Direction, KeyframeRequestKind, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::RtpWrite,
};

/// What the server does to the media on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fault {
    /// Of every so many packets one is left out, though its number is used up.
    pub(crate) lose_one_in: Option<u64>,
    /// Retransmission is refused.
    pub(crate) no_recovery: bool,
}

/// A running server; ends with its process.
pub(crate) struct Server {
    pub(crate) url: String,
}

struct Join {
    room: String,
    offer: String,
    answer: Sender<Result<String, String>>,
}

struct Session {
    room: String,
    rtc: Rtc,
    mids: Vec<(Mid, MediaKind, Direction)>,
    /// The source that each slot shows: session and MID, and what to add to its sequence numbers.
    bindings: HashMap<Mid, (usize, Mid)>,
    /// When it wants to be woken.
    wake_at: Instant,
}

impl Server {
    pub(crate) fn start(fault: Fault) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let url = format!("http://{}", http.local_addr().expect("it is bound"));
        let (joins, inbox) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in http.incoming().flatten() {
                let joins = joins.clone();
                std::thread::spawn(move || serve(stream, &joins));
            }
        });
        std::thread::spawn(move || forward(fault, &inbox));
        Self { url }
    }
}

/// Answers requests on one connection until it ends.
fn serve(stream: TcpStream, joins: &Sender<Join>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let path = head.split_ascii_whitespace().nth(1)?;
        let room = path
            .trim_end_matches("/sessions")
            .rsplit('/')
            .next()?
            .to_owned();
        let response = if head.starts_with("POST") {
            let (answer, answered) = mpsc::channel();
            joins
                .send(Join {
                    room,
                    offer: String::from_utf8(body).ok()?,
                    answer,
                })
                .ok()?;
            match answered.recv().ok()? {
                Ok(sdp) => format!(
                    "HTTP/1.1 201 Created\r\nLocation: /sessions/1\r\nContent-Type: application/sdp\r\n\
                     Content-Length: {}\r\n\r\n{sdp}",
                    sdp.len()
                ),
                Err(error) => {
                    format!(
                        "HTTP/1.1 422 Unprocessable Content\r\nContent-Length: {}\r\n\r\n{error}",
                        error.len()
                    )
                }
            }
        } else {
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        stream.write_all(response.as_bytes()).ok()?;
    }
}

fn forward(fault: Fault, inbox: &Receiver<Join>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    let local = socket.local_addr().expect("it is bound");
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .expect("it is not zero");
    let mut sessions: Vec<Session> = Vec::new();
    let mut addresses: HashMap<SocketAddr, usize> = HashMap::new();
    let mut buffer = [0; 2048];
    let mut forwarded = 0;
    loop {
        while let Ok(join) = inbox.try_recv() {
            let joined = accept(&join, local);
            let answer = joined.map(|(session, sdp)| {
                sessions.push(session);
                sdp
            });
            // The client may have gone.
            let _ = join.answer.send(answer);
        }
        let now = Instant::now();
        if let Ok((len, source)) = socket.recv_from(&mut buffer) {
            let Ok(receive) = Receive::new(Protocol::Udp, source, local, &buffer[..len]) else {
                continue;
            };
            let input = Input::Receive(now, receive);
            let index = addresses.get(&source).copied();
            let index = index.or_else(|| {
                sessions
                    .iter()
                    .position(|session| session.rtc.accepts(&input))
            });
            if let Some(index) = index {
                addresses.insert(source, index);
                sessions[index]
                    .rtc
                    .handle_input(input)
                    .expect("the clients behave");
                drain(&mut sessions, index, &socket, fault, &mut forwarded, now);
            }
        }
        for index in 0..sessions.len() {
            if sessions[index].wake_at > now {
                continue;
            }
            let _ = sessions[index].rtc.handle_input(Input::Timeout(now));
            drain(&mut sessions, index, &socket, fault, &mut forwarded, now);
        }
    }
}

fn accept(join: &Join, local: SocketAddr) -> Result<(Session, String), String> {
    let mut rtc = RtcConfig::new()
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp").expect("a socket's address"));
    let offer = SdpOffer::from_sdp_string(&join.offer).map_err(|error| error.to_string())?;
    let answer = rtc
        .sdp_api()
        .accept_offer(offer)
        .map_err(|error| error.to_string())?
        .to_sdp_string();
    Ok((
        Session {
            room: join.room.clone(),
            rtc,
            mids: Vec::new(),
            bindings: HashMap::new(),
            wake_at: Instant::now(),
        },
        answer,
    ))
}

/// Gives every empty slot the next source of its kind that it does not show yet.
fn bind_slots(sessions: &mut [Session]) {
    for index in 0..sessions.len() {
        let sources: Vec<_> = sessions
            .iter()
            .enumerate()
            .filter(|(other, session)| *other != index && session.room == sessions[index].room)
            .flat_map(|(other, session)| {
                let sends = session
                    .mids
                    .iter()
                    .filter(|(_, _, direction)| direction.is_receiving());
                sends.map(move |(mid, kind, _)| (other, *mid, *kind))
            })
            .collect();
        let session = &mut sessions[index];
        for (mid, kind, direction) in session.mids.clone() {
            if !direction.is_sending() || session.bindings.contains_key(&mid) {
                continue;
            }
            let free = sources.iter().find(|(other, source, of)| {
                *of == kind && !session.bindings.values().any(|b| *b == (*other, *source))
            });
            if let Some((other, source, _)) = free {
                session.bindings.insert(mid, (*other, *source));
            }
        }
    }
}

/// Sends what a session has to say, and passes on what it published.
fn drain(
    sessions: &mut [Session],
    index: usize,
    socket: &UdpSocket,
    fault: Fault,
    forwarded: &mut u64,
    now: Instant,
) {
    loop {
        match sessions[index].rtc.poll_output() {
            Ok(Output::Transmit(transmit)) => {
                let _ = socket.send_to(&transmit.contents, transmit.destination);
            }
            Ok(Output::Event(Event::RtpPacket(packet))) => {
                let mut direct = sessions[index].rtc.direct_api();
                let Some(mid) = direct
                    .stream_rx(&packet.header.ssrc)
                    .map(|stream| stream.mid())
                else {
                    continue;
                };
                for session in sessions.iter_mut() {
                    let slots: Vec<Mid> = session
                        .bindings
                        .iter()
                        .filter(|(_, b)| **b == (index, mid))
                        .map(|(slot, _)| *slot)
                        .collect();
                    for slot in slots {
                        *forwarded += 1;
                        let lose = fault
                            .lose_one_in
                            .is_some_and(|n| forwarded.is_multiple_of(n));
                        let header = &packet.header;
                        let payload = packet.payload.to_vec();
                        let write = RtpWrite::new(
                            header.payload_type,
                            packet.seq_no,
                            header.timestamp,
                            now,
                            payload,
                        )
                        .marker(header.marker)
                        .nackable(!fault.no_recovery);
                        if let Some(stream) = session.rtc.direct_api().stream_tx_by_mid(slot, None)
                        {
                            stream.write_rtp(write);
                        }
                        let _ = session.rtc.handle_input(Input::Timeout(now));
                        send_all(&mut session.rtc, socket, lose);
                    }
                }
            }
            Ok(Output::Event(Event::MediaAdded(added))) => {
                sessions[index]
                    .mids
                    .push((added.mid, added.kind, added.direction));
                bind_slots(sessions);
            }
            Ok(Output::Event(Event::KeyframeRequest(request))) => {
                if let Some((source, mid)) = sessions[index].bindings.get(&request.mid).copied()
                    && let Some(stream) = sessions[source]
                        .rtc
                        .direct_api()
                        .stream_rx_by_mid(mid, None)
                {
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
            }
            Ok(Output::Event(_)) => {}
            Ok(Output::Timeout(at)) => {
                sessions[index].wake_at = at;
                return;
            }
            Err(_) => {
                sessions[index].wake_at = now + Duration::from_secs(1);
                return;
            }
        }
    }
}

/// Sends what waits; media gets lost on the way if `lose`: it was sent, and can be asked for again.
fn send_all(rtc: &mut Rtc, socket: &UdpSocket, lose: bool) {
    while let Ok(output) = rtc.poll_output() {
        match output {
            Output::Transmit(transmit) if lose && (128..=191).contains(&transmit.contents[0]) => {}
            Output::Transmit(transmit) => {
                let _ = socket.send_to(&transmit.contents, transmit.destination);
            }
            Output::Timeout(_) => return,
            Output::Event(_) => {}
        }
    }
}
