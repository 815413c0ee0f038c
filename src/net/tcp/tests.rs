//! Connections over the loopback interface.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::framing::Reassembler;
use super::*;
use crate::net::{Outgoing, some_moment};

/// Far longer than loopback takes.
const LOST_AFTER: Duration = Duration::from_secs(10);

struct World {
    streams: Streams<u32>,
    now: Instant,
    arrived: Vec<(ConnectionId, SocketAddr, Vec<u8>)>,
    _stopper: std::thread::JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        Self::with(StreamLimits::default())
    }

    fn with(limits: StreamLimits) -> Self {
        let streams = Streams::bind("127.0.0.1:0".parse().ok(), limits).unwrap();
        let stopper = streams.stopper();
        Self {
            streams,
            now: some_moment(),
            arrived: Vec::new(),
            _stopper: std::thread::spawn(move || {
                std::thread::park_timeout(LOST_AFTER);
                drop(stopper);
            }),
        }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.streams.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(LOST_AFTER)).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    fn serve_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            assert!(self.streams.wait(), "it did not happen");
            let Self {
                streams,
                arrived,
                now,
                ..
            } = self;
            streams.serve(*now, |owner, received| {
                let number = owner.get_or_insert(received.contents.len() as u32);
                assert!(*number > 0);
                let connection = received.connection.unwrap();
                arrived.push((connection, received.source, received.contents.to_vec()));
            });
        }
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.streams.connections().counters().closed(reason)
    }
}

fn frame(datagram: &[u8]) -> Vec<u8> {
    [&(datagram.len() as u16).to_be_bytes(), datagram].concat()
}

/// Reads until so many datagrams were there.
fn read(client: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    let (mut reassembler, mut all) = (Reassembler::default(), Vec::new());
    let mut buffer = [0; 4096];
    while all.len() < count {
        let bytes = client.read(&mut buffer).unwrap();
        assert!(bytes > 0, "closed after {} datagrams", all.len());
        let fed = reassembler.feed(&buffer[..bytes], |d| all.push(d.to_vec()));
        fed.unwrap();
    }
    all
}

#[test]
fn what_comes_byte_by_byte_is_answered_in_the_same_connection() {
    let mut world = World::new();
    let mut client = world.client();
    for byte in frame(b"hello") {
        client.write_all(&[byte]).unwrap();
    }
    world.serve_until(|world| world.arrived.len() == 1);
    let (connection, source, contents) = world.arrived[0].clone();
    assert_eq!(contents, b"hello");
    assert_eq!(source, client.local_addr().unwrap());

    let socket = crate::net::MediaSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let connections = world.streams.connections();
    let mut sender = socket
        .sender()
        .unwrap()
        .with_connections(connections.clone());
    let group = |connection, contents, segment_size| Outgoing {
        destination: source,
        connection,
        source: None,
        contents,
        segment_size,
    };
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let by_udp = Outgoing {
        destination: udp.local_addr().unwrap(),
        ..group(None, b"by UDP", None)
    };
    sender.send(
        [
            group(Some(connection), b"aaabbbc", Some(3)),
            by_udp,
            group(Some(connection), b"d", None),
            group(Some(ConnectionId(99)), b"nobody", None),
        ]
        .into_iter(),
    );
    assert_eq!(read(&mut client, 4), [&b"aaa"[..], b"bbb", b"c", b"d"]);
    assert_eq!(udp.recv(&mut [0; 9]).unwrap(), 6);
    let counters = connections.counters();
    assert_eq!((counters.frames_out(), counters.send_calls()), (4, 1));
    assert_eq!(counters.dropped_gone(), 1);
    assert_eq!((counters.frames_in(), counters.bytes_in()), (1, 7));
}

#[test]
fn a_client_that_stops_reading_holds_up_nobody_and_gets_the_newest_when_it_reads_again() {
    let mut world = World::new();
    let (mut stalled, mut other) = (world.client(), world.client());
    stalled.write_all(&frame(b"stalled")).unwrap();
    other.write_all(&frame(b"other")).unwrap();
    world.serve_until(|world| world.arrived.len() == 2);
    let id = |client: &TcpStream| {
        let from = client.local_addr().unwrap();
        let found = world.arrived.iter().find(|(_, source, _)| *source == from);
        found.unwrap().0
    };
    let (to_stalled, to_other) = (id(&stalled), id(&other));
    let connections = world.streams.connections();
    let packet = |n: u32| [&[0x80, 96][..], &n.to_be_bytes(), &[7; 1200]].concat();
    // More than the kernel takes for one connection at loopback, several times over.
    const PACKETS: u32 = 50_000;
    for n in 0..PACKETS {
        connections.send(to_stalled, &[&packet(n)]);
        if n % 100 == 0 {
            connections.send(to_other, &[&packet(n)]);
            assert_eq!(read(&mut other, 1), [packet(n)]);
        }
    }
    let dropped = connections.counters().dropped_slow();
    assert!(dropped > 0, "the kernel took it all");

    let reader =
        std::thread::spawn(move || read(&mut stalled, (u64::from(PACKETS) - dropped) as usize));
    world.serve_until(|_| reader.is_finished());
    let got = reader.join().unwrap();
    assert_eq!(got.last(), Some(&packet(PACKETS - 1)), "the newest");
    assert_eq!(got[0], packet(0));
    assert_eq!(connections.counters().dropped_slow(), dropped);
}

#[test]
fn who_does_not_prove_who_he_is_is_given_up() {
    let mut world = World::new();
    let (_silent, mut client) = (world.client(), world.client());
    client.write_all(&frame(b"check")).unwrap();
    let connections = world.streams.connections();
    world.serve_until(|world| world.arrived.len() == 1 && world.streams.connections().len() == 2);
    connections.checked(world.arrived[0].0, world.now);

    world.now += Duration::from_secs(11);
    world.serve_until(|world| world.closed(CloseReason::Unchecked) == 1);
    assert_eq!(connections.len(), 1, "the one that was checked stays");
    world.now += Duration::from_secs(18);
    connections.checked(world.arrived[0].0, world.now);
    world.now += Duration::from_secs(29);
    client.write_all(&frame(b"media")).unwrap();
    world.serve_until(|world| world.arrived.len() == 2);
    assert_eq!(connections.len(), 1);
    world.now += Duration::from_secs(2);
    world.serve_until(|world| world.closed(CloseReason::Unchecked) == 2);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is told");
}

#[test]
fn what_is_not_framed_ends_the_connection_and_its_client_may_leave_as_well() {
    let mut world = World::new();
    let (mut browser, client) = (world.client(), world.client());
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drop(client);
    world.serve_until(|world| {
        world.closed(CloseReason::Unframed) == 1 && world.closed(CloseReason::ByPeer) == 1
    });
    assert_eq!(browser.read(&mut [0]).unwrap_or(0), 0);
    assert!(world.streams.connections().is_empty());
}

#[test]
fn who_comes_when_there_are_too_many_is_sent_away_and_counted() {
    let mut world = World::with(StreamLimits {
        connections: 2,
        ..StreamLimits::default()
    });
    let mut clients = [world.client(), world.client(), world.client()];
    world.serve_until(|world| world.closed(CloseReason::TooMany) == 1);
    assert_eq!(clients[2].read(&mut [0]).unwrap_or(0), 0, "it is told");
    clients[0].write_all(&frame(b"still served")).unwrap();
    world.serve_until(|world| world.arrived.len() == 1);
    assert_eq!(world.arrived[0].2, b"still served");
}

#[test]
fn an_address_has_as_many_connections_as_it_may_have() {
    let mut world = World::with(StreamLimits {
        per_address: 1,
        ..StreamLimits::default()
    });
    let [first, mut second] = [world.client(), world.client()];
    world.serve_until(|world| world.closed(CloseReason::TooManyOfAddress) == 1);
    assert_eq!(second.read(&mut [0]).unwrap_or(0), 0, "it is told");
    drop(first);
    world.serve_until(|world| world.closed(CloseReason::ByPeer) == 1);
    let mut third = world.client();
    third.write_all(&frame(b"served")).unwrap();
    world.serve_until(|world| world.arrived.len() == 1);
}

#[test]
fn a_connection_that_came_to_another_port_is_served_from_its_first_byte() {
    let mut world = World::new();
    let https = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(https.local_addr().unwrap()).unwrap();
    client.write_all(&frame(b"hello")).unwrap();
    let (accepted, _) = https.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    accepted.peek(&mut [0; 1]).unwrap_or_default();
    world.streams.connections().take_over(accepted);
    world.serve_until(|world| world.arrived.len() == 1);
    assert_eq!(world.arrived[0].2, b"hello");
}
