//! Takes a client's datagrams to the server by ICE over TCP (RFC 6544), and the server's back: one
//! connection for each client, with two threads of its own.
//!
//! The client itself speaks UDP as always, to the bridge instead of the server, so that all that it
//! measures is measured alike. What the bridge costs is this program's and not the server's.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a bridge looks whether its other half has ended.
const LOOK: Duration = Duration::from_millis(500);

/// How long the server may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// Largest datagram in either direction.
const MAX_DATAGRAM: usize = 2048;

/// Connects to the server, and gives the address that stands for it from now on. Ends when the server
/// closes the connection.
pub(crate) fn open(server: SocketAddr, local: IpAddr) -> io::Result<SocketAddr> {
    let stream = TcpStream::connect_timeout(&server, CONNECT)?;
    stream.set_nodelay(true)?;
    let socket = UdpSocket::bind((local, 0))?;
    socket.set_read_timeout(Some(LOOK))?;
    let address = socket.local_addr()?;
    let up = Up {
        socket: socket.try_clone()?,
        stream: stream.try_clone()?,
        client: Arc::default(),
        ended: Arc::default(),
    };
    let (client, ended) = (Arc::clone(&up.client), Arc::clone(&up.ended));
    thread::Builder::new()
        .name("bridge-up".into())
        .spawn(move || up.run())?;
    thread::Builder::new()
        .name("bridge-down".into())
        .spawn(move || {
            // Its end is the end of both.
            let _ = down(stream, &socket, &client);
            ended.store(true, Ordering::Relaxed);
        })?;
    Ok(address)
}

/// From the client to the server.
struct Up {
    socket: UdpSocket,
    stream: TcpStream,
    /// Where the client is: its first datagram tells.
    client: Arc<OnceLock<SocketAddr>>,
    ended: Arc<AtomicBool>,
}

impl Up {
    fn run(mut self) {
        let mut frame = [0; 2 + MAX_DATAGRAM];
        while !self.ended.load(Ordering::Relaxed) {
            let Ok((bytes, from)) = self.socket.recv_from(&mut frame[2..]) else {
                continue;
            };
            let _ = self.client.set(from);
            frame[..2].copy_from_slice(&(bytes as u16).to_be_bytes());
            if self.stream.write_all(&frame[..2 + bytes]).is_err() {
                return;
            }
        }
    }
}

/// From the server to the client (RFC 4571 §2).
fn down(stream: TcpStream, socket: &UdpSocket, client: &OnceLock<SocketAddr>) -> io::Result<()> {
    let mut stream = io::BufReader::with_capacity(1 << 16, stream);
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        let datagram = datagram
            .get_mut(..length)
            .ok_or(io::ErrorKind::InvalidData)?;
        stream.read_exact(datagram)?;
        if let Some(client) = client.get() {
            // A full buffer loses it, as UDP would.
            let _ = socket.send_to(datagram, client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn datagrams_cross_in_both_directions_one_by_one() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let server = listener.local_addr().expect("it is bound");
        let bridge = open(server, Ipv4Addr::LOCALHOST.into()).expect("it listens");
        let (mut stream, _) = listener.accept().expect("it was connected to");
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        client.set_read_timeout(Some(CONNECT)).expect("a timeout");
        client.send_to(b"up", bridge).expect("it is bound");
        let mut framed = [0; 4];
        stream.read_exact(&mut framed).expect("a frame");
        assert_eq!(&framed, b"\0\x02up");
        stream
            .write_all(b"\0\x04down\0\x05again")
            .expect("it reads");
        let mut buffer = [0; 16];
        for expected in [&b"down"[..], b"again"] {
            let (bytes, from) = client.recv_from(&mut buffer).expect("a datagram");
            assert_eq!((&buffer[..bytes], from), (expected, bridge));
        }
    }
}
