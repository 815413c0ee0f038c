//! Takes datagrams in: many in one system call, and many of one sender in one piece (GRO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};

use super::aside::{self, Aside};
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
    /// Where feedback is put that can wait.
    aside: Option<Aside>,
    /// Whether the socket has something, and whether that has.
    readable: [bool; 2],
    /// When that was asked last.
    now: Option<Instant>,
    buffer: Buffer,
}

/// [`BATCH_SIZE`] pieces; pages that no datagram ever reached take no memory.
#[derive(Debug)]
struct Buffer(Vec<u8>);

impl Receiver {
    pub(super) fn new(
        socket: UdpSocket,
        state: Arc<UdpSocketState>,
        counters: Arc<NetCounters>,
        stop: Stop,
        aside: Option<Aside>,
    ) -> Self {
        Self {
            socket,
            state,
            counters,
            stop,
            aside,
            readable: [false; 2],
            now: None,
            buffer: Buffer(vec![0; BATCH_SIZE * PIECE_BYTES]),
        }
    }

    /// Waits until there is something to receive; says `false` when it is told to stop.
    pub fn wait(&mut self) -> bool {
        let (mut watched, mut timeout) = (None, None);
        if let Some(aside) = &self.aside {
            // Since `now`, what was received was handed on: this is a little too long.
            timeout = aside.look_at.zip(self.now).map(|(at, now)| at - now);
            watched = timeout.is_none().then(|| aside.socket.as_fd());
        }
        let sockets = [Some(self.socket.as_fd()), watched];
        match sys::wait_readable(sockets, self.stop.stream.as_fd(), timeout) {
            Ok(Some(readable)) => {
                self.readable = readable;
                true
            }
            Ok(None) => false,
            // Out of memory for a list of three: to go on would be to spin, to stop to be deaf.
            Err(error) => panic!("cannot wait for datagrams: {error}"),
        }
    }

    /// Hands on what one system call receives, and returns without waiting. Says whether that was all
    /// there was.
    pub fn receive(&mut self, handle: impl FnMut(Received<'_>)) -> bool {
        if !std::mem::take(&mut self.readable[0]) {
            // Nothing was there when it was looked for; by now there may be.
            return false;
        }
        let received = self.buffer.receive(
            |slices, metas| self.state.recv((&self.socket).into(), slices, metas),
            &self.counters,
            handle,
        );
        self.counters
            .add_received(received.datagrams, received.bytes);
        received.pieces < BATCH_SIZE
    }

    /// Hands on what was put aside, if it is time for that; `now` is the time of the call. Says whether
    /// that was done, and all there was.
    pub fn receive_aside(&mut self, now: Instant, mut handle: impl FnMut(Received<'_>)) -> bool {
        self.now = Some(now);
        let is_readable = std::mem::take(&mut self.readable[1]);
        let aside = self.aside.as_mut();
        let Some(aside) = aside.filter(|aside| aside.is_due(is_readable, now)) else {
            return false;
        };
        let mut all = Counted::default();
        let mut is_all = false;
        for _ in 0..aside::MAX_CALLS {
            let received = self.buffer.receive(
                |slices, metas| aside.receive(slices, metas),
                &self.counters,
                &mut handle,
            );
            all.datagrams += received.datagrams;
            all.bytes += received.bytes;
            is_all = received.pieces < BATCH_SIZE;
            if is_all {
                break;
            }
        }
        self.counters.add_received(all.datagrams, all.bytes);
        aside.emptied(all.datagrams, now);
        is_all
    }
}

/// How much a system call received.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    pieces: usize,
    datagrams: u64,
    bytes: u64,
}

impl Buffer {
    /// Hands on what one system call receives.
    fn receive(
        &mut self,
        call: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> io::Result<usize>,
        counters: &NetCounters,
        mut handle: impl FnMut(Received<'_>),
    ) -> Counted {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut rest = self.0.chunks_exact_mut(PIECE_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().expect("one piece per slice")));
        let mut counted = Counted::default();
        match call(&mut slices, &mut metas) {
            Ok(pieces) => counted.pieces = pieces,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(%error, "receiving failed");
                counters.add_receive_error();
            }
        }
        let pieces = self.0.chunks_exact(PIECE_BYTES);
        for (meta, piece) in metas[..counted.pieces].iter().zip(pieces) {
            for contents in split(&piece[..meta.len], meta.stride) {
                counted.datagrams += 1;
                counted.bytes += contents.len() as u64;
                handle(Received {
                    source: canonical(meta.addr),
                    connection: None,
                    local_ip: meta.dst_ip.map(|ip| ip.to_canonical()),
                    at: meta.timestamp.and_then(wall_clock),
                    contents,
                });
            }
        }
        counted
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

    #[test]
    fn a_call_that_fails_is_counted_and_one_that_finds_nothing_is_not() {
        let counters = NetCounters::default();
        let mut buffer = Buffer(vec![0; BATCH_SIZE * PIECE_BYTES]);
        let mut fails = |kind: io::ErrorKind| {
            let call = |_: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]| Err(kind.into());
            let nothing = |_: Received<'_>| panic!("nothing was received");
            buffer.receive(call, &counters, nothing).datagrams
        };
        assert_eq!(fails(io::ErrorKind::WouldBlock), 0);
        assert_eq!(counters.receive_errors(), 0);
        assert_eq!(fails(io::ErrorKind::OutOfMemory), 0);
        assert_eq!(counters.receive_errors(), 1);
    }
}
