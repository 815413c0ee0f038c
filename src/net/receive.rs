//! Takes datagrams in: many in one system call, and many of one sender in one piece (GRO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};

use super::counters::NetCounters;
use super::socket::canonical;
use super::sys;
use super::tcp::ConnectionId;

/// The largest piece that the kernel can hand out, as its length has 16 bits: one datagram, or
/// up to 64 that it put together.
const PIECE_BYTES: usize = 1 << 16;

/// A datagram as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// The TCP connection that it came in, if it did.
    pub connection: Option<ConnectionId>,
    /// The local address that it was sent to, where the kernel tells.
    pub local_ip: Option<IpAddr>,
    /// When the kernel received it, where the kernel tells.
    pub at: Option<SystemTime>,
    /// What it says.
    pub contents: &'a [u8],
}

/// Ends the wait of the [`Receiver`] that has its [`Stop`], when dropped.
#[derive(Debug)]
pub struct Stopper {
    _stream: UnixStream,
}

/// What a [`Receiver`] listens to besides its socket.
#[derive(Debug)]
pub struct Stop {
    stream: UnixStream,
}

impl Stop {
    /// A connected pair.
    pub fn pair() -> io::Result<(Stopper, Stop)> {
        let (mine, theirs) = UnixStream::pair()?;
        Ok((Stopper { _stream: mine }, Stop { stream: theirs }))
    }
}

/// The receiving end of a [`MediaSocket`](super::MediaSocket).
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
    state: Arc<UdpSocketState>,
    counters: Arc<NetCounters>,
    stop: Stop,
    /// [`BATCH_SIZE`] pieces; pages that no datagram ever reached take no memory.
    buffer: Vec<u8>,
}

impl Receiver {
    pub(super) fn new(
        socket: UdpSocket,
        state: Arc<UdpSocketState>,
        counters: Arc<NetCounters>,
        stop: Stop,
    ) -> Self {
        let buffer = vec![0; BATCH_SIZE * PIECE_BYTES];
        Self {
            socket,
            state,
            counters,
            stop,
            buffer,
        }
    }

    /// Waits until there is something to receive; says `false` when it is told to stop.
    pub fn wait(&self) -> bool {
        match sys::wait_readable(self.socket.as_fd(), self.stop.stream.as_fd()) {
            Ok(goes_on) => goes_on,
            // Out of memory for a list of two: to go on would be to spin, to stop to be deaf.
            Err(error) => panic!("cannot wait for datagrams: {error}"),
        }
    }

    /// Hands on everything that one system call receives, and returns without waiting.
    pub fn receive(&mut self, mut handle: impl FnMut(Received<'_>)) {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let pieces = {
            let mut rest = self.buffer.chunks_exact_mut(PIECE_BYTES);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(rest.next().expect("one piece per slice")));
            match self
                .state
                .recv((&self.socket).into(), &mut slices, &mut metas)
            {
                Ok(pieces) => pieces,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!(%error, "receiving failed");
                    return self.counters.add_receive_error();
                }
            }
        };

        let (mut datagrams, mut bytes) = (0, 0);
        for (meta, piece) in metas[..pieces]
            .iter()
            .zip(self.buffer.chunks_exact(PIECE_BYTES))
        {
            for contents in split(&piece[..meta.len], meta.stride) {
                datagrams += 1;
                bytes += contents.len() as u64;
                handle(Received {
                    source: canonical(meta.addr),
                    connection: None,
                    local_ip: meta.dst_ip.map(|ip| ip.to_canonical()),
                    at: meta.timestamp.and_then(wall_clock),
                    contents,
                });
            }
        }
        self.counters.add_received(datagrams, bytes);
    }
}

/// The datagrams in a piece. An empty datagram is one, too.
fn split(piece: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = piece.is_empty().then_some(piece);
    empty.into_iter().chain(piece.chunks(stride.max(1)))
}

fn wall_clock(since_unix_epoch: Duration) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(since_unix_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_comes_apart_into_the_datagrams_that_it_was_put_together_from() {
        let parts = |piece, stride| split(piece, stride).collect::<Vec<_>>();
        assert_eq!(parts(b"aaabbbc", 3), [&b"aaa"[..], b"bbb", b"c"]);
        assert_eq!(parts(b"aaa", 3), [b"aaa"]);
        assert_eq!(parts(b"", 0), [b""]);
    }
}
