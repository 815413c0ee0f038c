//! The socket, its receiver and its senders, over the loopback interface.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::*;

/// A receiver that ends every wait after a while, as its socket may have lost something.
struct Listener {
    receiver: Receiver,
    _stopper: std::thread::JoinHandle<()>,
}

/// Far longer than loopback takes, so that only a lost datagram is waited for in vain.
const LOST_AFTER: Duration = Duration::from_secs(10);

impl Listener {
    fn new(socket: &MediaSocket) -> Self {
        let (stopper, stop) = Stop::pair().unwrap();
        let receiver = socket.receiver(stop).unwrap();
        let _stopper = std::thread::spawn(move || {
            std::thread::park_timeout(LOST_AFTER);
            drop(stopper);
        });
        Self { receiver, _stopper }
    }

    /// The next `count` datagrams: source, local address, contents.
    fn take(&mut self, count: usize) -> Vec<(SocketAddr, Option<IpAddr>, Vec<u8>)> {
        let mut taken = Vec::new();
        while taken.len() < count {
            assert!(
                self.receiver.wait(),
                "only {} of {count} arrived",
                taken.len()
            );
            let mut take = |received: Received<'_>| {
                assert!(received.at.is_some(), "the kernel tells when it received");
                taken.push((
                    received.source,
                    received.local_ip,
                    received.contents.to_vec(),
                ));
            };
            self.receiver.receive(&mut take);
            self.receiver.receive_aside(some_moment(), &mut take);
        }
        taken
    }

    fn contents(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.take(count)
            .into_iter()
            .map(|(_, _, contents)| contents)
            .collect()
    }
}

fn socket(address: &str) -> MediaSocket {
    MediaSocket::bind(address.parse().unwrap()).unwrap()
}

/// The address of a socket as clients on this machine reach it.
fn reached_by(ip: &str, socket: &MediaSocket) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), socket.local_addr().port())
}

/// `count` datagrams of 1200 bytes, each with its number in front, one after the other.
fn numbered(count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..count {
        bytes.extend(n.to_be_bytes());
        bytes.resize((n as usize + 1) * 1200, 0xAB);
    }
    bytes
}

fn outgoing(to: SocketAddr, contents: &[u8], segment_size: Option<usize>) -> Outgoing<'_> {
    Outgoing {
        destination: to,
        connection: None,
        source: None,
        contents,
        segment_size,
    }
}

#[test]
fn a_thousand_datagrams_arrive_in_order_and_in_few_system_calls() {
    let (server, client) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let mut listener = Listener::new(&client);
    let mut sender = server.sender().unwrap();
    let all = numbered(1000);
    // In portions, as the receive buffer that this machine grants may be small.
    for portion in all.chunks(50 * 1200) {
        let to = client.local_addr();
        sender.send(
            portion
                .chunks(5 * 1200)
                .map(|frame| outgoing(to, frame, Some(1200))),
        );
        let arrived = listener.contents(50);
        assert_eq!(arrived.concat(), portion);
    }
    let counters = server.counters();
    assert_eq!(
        (counters.datagrams_out(), counters.bytes_out()),
        (1000, 1_200_000)
    );
    assert_eq!(counters.send_calls(), 20);
    let counters = client.counters();
    assert_eq!(
        (counters.datagrams_in(), counters.bytes_in()),
        (1000, 1_200_000)
    );
    assert_eq!(client.kernel_drops().unwrap(), 0);
    if server.gso() {
        assert!(
            counters.receive_calls() <= 200,
            "{} calls",
            counters.receive_calls()
        );
    }
}

#[test]
fn one_flush_serves_many_receivers_each_with_its_own_sizes() {
    let server = socket("127.0.0.1:0");
    let clients: Vec<_> = (0..100)
        .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    let mut sender = server.sender().unwrap();
    let frames: Vec<_> = (0..100).map(|n| vec![n as u8; 3 * (100 + n) + 7]).collect();
    let each = frames.iter().zip(&clients).enumerate();
    sender.send(
        each.map(|(n, (frame, client))| {
            outgoing(client.local_addr().unwrap(), frame, Some(100 + n))
        }),
    );
    for (n, client) in clients.iter().enumerate() {
        client.set_read_timeout(Some(LOST_AFTER)).unwrap();
        let mut buffer = [0; 2048];
        for size in [100 + n, 100 + n, 100 + n, 7] {
            assert_eq!(client.recv(&mut buffer).unwrap(), size);
            assert!(buffer[..size].iter().all(|byte| *byte == n as u8));
        }
    }
    assert_eq!(server.counters().datagrams_out(), 400);
}

#[test]
fn large_frames_are_cut_where_the_kernel_would_refuse_them() {
    let (server, client) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let mut sender = server.sender().unwrap();
    // More than 64 small segments, and more than 64 KiB in large ones.
    let to = client.local_addr();
    let frames = [(&[1; 150 * 10 + 3][..], 10), (&[2; 60 * 1400 + 5], 1400)];
    sender.send(
        frames
            .into_iter()
            .map(|(frame, size)| outgoing(to, frame, Some(size))),
    );
    let arrived = Listener::new(&client).contents(151 + 61);
    let sizes: Vec<_> = arrived.iter().map(Vec::len).collect();
    let expected = [vec![10; 150], vec![3], vec![1400; 60], vec![5]].concat();
    assert_eq!(sizes, expected);
    assert!(server.gso(), "nothing of this was refused");
}

#[test]
fn without_segmentation_everything_arrives_as_well() {
    let (server, client) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    server.disable_gso();
    let mut sender = server.sender().unwrap();
    let all = numbered(50);
    sender.send([outgoing(client.local_addr(), &all, Some(1200))].into_iter());
    assert_eq!(Listener::new(&client).contents(50).concat(), all);
    assert_eq!(server.counters().send_calls(), 1);
}

#[test]
fn a_network_that_refuses_segmentation_is_asked_only_once() {
    let (server, client) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    if !server.gso() {
        return; // A kernel without it: the test above is all there is.
    }
    server.refuse_segmentation();
    let (mut first, mut second) = (server.sender().unwrap(), server.sender().unwrap());
    let all = numbered(5);
    first.send([outgoing(client.local_addr(), &all, Some(1200))].into_iter());
    assert!(!server.gso());
    second.send([outgoing(client.local_addr(), &all, Some(1200))].into_iter());

    let arrived = Listener::new(&client).contents(10);
    assert_eq!(arrived.concat(), [all.clone(), all].concat());
    let counters = server.counters();
    assert_eq!(counters.datagrams_out(), 10);
    assert_eq!(counters.send_calls(), 5 + 1, "one by one, then together");
    assert!(
        SendError::ALL
            .iter()
            .all(|kind| counters.send_errors(*kind) == 0)
    );
}

#[test]
fn a_dual_stack_socket_answers_each_family_from_the_address_that_was_asked() {
    let server = socket("[::]:0");
    if server.local_addr().is_ipv4() {
        return; // A machine without IPv6.
    }
    let mut listener = Listener::new(&server);
    let mut sender = server.sender().unwrap();
    for (ip, from) in [
        ("127.0.0.1", "127.0.0.1:0"),
        ("127.0.0.9", "127.0.0.1:0"),
        ("::1", "[::1]:0"),
    ] {
        let client = UdpSocket::bind(from).unwrap();
        client.set_read_timeout(Some(LOST_AFTER)).unwrap();
        client.send_to(b"ping", reached_by(ip, &server)).unwrap();
        let (source, local_ip, contents) = listener.take(1).remove(0);
        assert_eq!(source, client.local_addr().unwrap(), "not a mapped address");
        assert_eq!((local_ip, &contents[..]), (ip.parse().ok(), &b"ping"[..]));

        let answer = Outgoing {
            source: local_ip,
            ..outgoing(source, b"pongpo", Some(4))
        };
        sender.send([answer].into_iter());
        let mut buffer = [0; 16];
        assert_eq!(
            client.recv_from(&mut buffer).unwrap(),
            (4, reached_by(ip, &server))
        );
        assert_eq!(
            client.recv_from(&mut buffer).unwrap(),
            (2, reached_by(ip, &server))
        );
    }
}

#[test]
fn an_empty_datagram_is_seen_and_does_not_end_the_batch() {
    let server = socket("127.0.0.1:0");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for contents in [&b"a"[..], b"", b"b"] {
        client.send_to(contents, server.local_addr()).unwrap();
    }
    assert_eq!(Listener::new(&server).contents(3), [&b"a"[..], b"", b"b"]);
}

#[test]
fn a_send_that_fails_is_counted_and_the_others_leave() {
    let server = socket("127.0.0.1:0");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LOST_AFTER)).unwrap();
    let mut sender = server.sender().unwrap();
    let to = client.local_addr().unwrap();
    let messages = [
        (to, &b"first"[..]),
        (to, &[0; 65_535]),
        ("[::1]:9".parse().unwrap(), b"another family"),
        ("255.255.255.255:9".parse().unwrap(), b"broadcast"),
        (to, b"last"),
    ];
    sender.send(
        messages
            .into_iter()
            .map(|(to, contents)| outgoing(to, contents, None)),
    );

    let mut buffer = [0; 16];
    for expected in [&b"first"[..], b"last"] {
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], expected);
    }
    let counters = server.counters();
    assert_eq!(counters.datagrams_out(), 2);
    assert_eq!(counters.send_errors(SendError::TooBig), 1);
    assert_eq!(counters.send_errors(SendError::Forbidden), 1);
    assert_eq!(counters.send_errors(SendError::Other), 1);
}

#[test]
fn a_receiver_that_is_told_to_stop_stops_although_datagrams_wait() {
    let server = socket("127.0.0.1:0");
    let (stopper, stop) = Stop::pair().unwrap();
    let mut receiver = server.receiver(stop).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"a", server.local_addr()).unwrap();
    assert!(receiver.wait());
    drop(stopper);
    assert!(!receiver.wait());
}

/// Transport-wide feedback, that of RFC 8888, a receiver report, and what must not wait with them: a request to send
/// something again, a sender report, media, and a check.
const FEEDBACK: [&[u8]; 3] = [&[0x8f, 205, 0, 1], &[0xab, 205, 0, 1], &[0x81, 201, 0, 7]];
const URGENT: [&[u8]; 5] = [
    &[0x81, 205, 0, 1],
    &[0x80, 200, 0, 6],
    &[0x8f, 96, 0, 1],
    &[0, 1],
    &[0x8f],
];

#[test]
fn feedback_is_put_aside_and_arrives_all_the_same() {
    for address in ["127.0.0.1:0", "[::]:0"] {
        let server = socket(address).with_feedback_aside();
        let port = server.local_addr().port();
        let mut listener = Listener::new(&server);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |contents: &[u8]| {
            client.send_to(contents, ("127.0.0.1", port)).unwrap();
        };

        send(FEEDBACK[0]);
        assert_eq!(listener.contents(1), [FEEDBACK[0]], "nothing else wakes");
        // Some has just come: more of it is no reason to wake up, and comes after all else.
        FEEDBACK.into_iter().for_each(send);
        URGENT.into_iter().for_each(send);
        let all = listener.contents(URGENT.len() + FEEDBACK.len());
        assert_eq!(all[..URGENT.len()], URGENT);
        assert_eq!(all[URGENT.len()..], FEEDBACK);
        assert_eq!(server.counters().datagrams_in(), 9);
    }
}

#[test]
fn a_port_whose_feedback_is_put_aside_is_not_shared_with_a_second_server() {
    let first = socket("127.0.0.1:0").with_feedback_aside();
    let error = MediaSocket::bind(first.local_addr()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn a_receiver_whose_port_is_closed_costs_nobody_else_a_datagram() {
    let server = socket("127.0.0.1:0");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LOST_AFTER)).unwrap();
    let to = client.local_addr().unwrap();
    let gone = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut sender = server.sender().unwrap();
    // To each of these, the kernel answers with an ICMP error.
    for n in 0..50u8 {
        let messages = [(gone, [n; 200]), (to, [n; 200]), (gone, [n; 200])];
        sender.send(
            messages
                .iter()
                .map(|(to, contents)| outgoing(*to, contents, Some(100))),
        );
    }
    let mut buffer = [0; 200];
    for n in 0..50u8 {
        for _ in 0..2 {
            assert_eq!(client.recv(&mut buffer).unwrap(), 100);
            assert_eq!(buffer[0], n);
        }
    }
    let counters = server.counters();
    assert_eq!(counters.datagrams_out(), 300);
    assert_eq!(counters.send_errors(SendError::Unreachable), 0);
    assert!(server.gso(), "that has nothing to do with segmentation");
}
