//! A second socket on the media port, for what can wait a few milliseconds.
//!
//! Every receiver tells twenty times a second when its packets arrived, and once a second how many. With a
//! thousand of them that is most of what comes in, and waking two threads for each such datagram costs several
//! times what reading it does. So the kernel is asked to put this feedback aside: into a socket of
//! its own, which is emptied when media wakes us anyway, or a few milliseconds later. It carries
//! the time of its arrival, so what is made of it is the same.
//!
//! Whoever sends something else in this disguise delays himself.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, UdpSocketState};

use super::sys::{self, Instruction};

/// How long feedback waits at most, as long as little of it comes.
///
/// Receivers gather it for 50 ms and more before they send it, so this changes little in when a
/// path that became narrower is noticed.
const PATIENCE: Duration = Duration::from_millis(10);

/// How many datagrams may gather: more often is looked where more would come within
/// [`PATIENCE`]. A receive buffer of 208 KiB (Linux without tuning) holds some 250 of them.
const GATHERED: u32 = 64;

/// Shortest time between two looks: fewer than a thousand wake-ups a second, whatever comes.
const LEAST_PATIENCE: Duration = Duration::from_millis(2);

/// Most system calls that empty the socket at one time. More than that many batches within a few
/// milliseconds is a flood, and must not keep media waiting.
pub(super) const MAX_CALLS: usize = 16;

/// Loads a byte at a fixed place.
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// The media socket is bound first, this one second.
const MEDIA: u32 = 0;
const ASIDE: u32 = 1;

/// RTCP's packet type of receiver reports (RFC 3550 §6.4.2).
const RECEIVER_REPORT: u32 = 201;

/// RTCP's packet type of transport layer feedback (RFC 4585 §6.1).
const TRANSPORT_FEEDBACK: u32 = 205;

/// Its first byte, with the padding bit masked out: version 2, and the format of transport-wide
/// feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1), or that of RFC 8888 §3.1.
const WITHOUT_PADDING_BIT: u32 = 0xdf;
const TRANSPORT_WIDE: u32 = 2 << 6 | 15;
const CONGESTION_CONTROL: u32 = 2 << 6 | 11;

/// Reads the part of the first RTCP header that SRTCP leaves in the clear (RFC 3711 §3.4). A
/// request to send something again, or for a keyframe, has another format and does not wait, unless it
/// comes behind a report: clients that negotiate reduced-size RTCP (RFC 5506), as browsers do, send it alone.
const PROGRAM: [Instruction; 9] = [
    (LOAD_BYTE, 0, 0, 1),
    (JUMP_IF_EQUAL, 6, 0, RECEIVER_REPORT),
    (JUMP_IF_EQUAL, 0, 4, TRANSPORT_FEEDBACK),
    (LOAD_BYTE, 0, 0, 0),
    (AND, 0, 0, WITHOUT_PADDING_BIT),
    (JUMP_IF_EQUAL, 2, 0, TRANSPORT_WIDE),
    (JUMP_IF_EQUAL, 1, 0, CONGESTION_CONTROL),
    (RETURN, 0, 0, MEDIA),
    (RETURN, 0, 0, ASIDE),
];

/// The second socket's place in the life of the first.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) socket: UdpSocket,
    state: UdpSocketState,
    /// When to look next, while feedback keeps coming; else the socket is waited for.
    pub(super) look_at: Option<Instant>,
}

/// Binds a second socket to the address of `first`, and has the kernel put feedback there.
///
/// `first` was bound without sharing its port, so that a second server on it is still refused:
/// both would have to share from the start.
pub(super) fn open(
    first: &UdpSocket,
    bind: impl FnOnce(SocketAddr) -> io::Result<UdpSocket>,
) -> io::Result<UdpSocket> {
    sys::share_port(first.as_fd(), true)?;
    let second = bind(first.local_addr()?).and_then(|second| {
        sys::steer(first.as_fd(), &PROGRAM)?;
        Ok(second)
    });
    if second.is_err() {
        // Nobody else is there to share with.
        let _ = sys::share_port(first.as_fd(), false);
    }
    second
}

impl Aside {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            socket,
            state,
            look_at: None,
        })
    }

    /// Whether it is time to empty it: a wake-up for media shortly before is as good.
    pub(super) fn is_due(&self, is_readable: bool, now: Instant) -> bool {
        match self.look_at {
            Some(at) => now + PATIENCE / 2 >= at,
            None => is_readable,
        }
    }

    /// What one system call brings; zero if nothing is there.
    pub(super) fn receive(
        &self,
        slices: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), slices, metas)
    }

    /// So many datagrams were there.
    pub(super) fn emptied(&mut self, datagrams: u64, now: Instant) {
        let datagrams = u32::try_from(datagrams).unwrap_or(u32::MAX);
        let wait = PATIENCE * GATHERED / datagrams.max(GATHERED);
        self.look_at = (datagrams > 0).then(|| now + wait.max(LEAST_PATIENCE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::some_moment;

    #[test]
    fn much_feedback_is_looked_at_more_often_and_none_is_waited_for() {
        let t0 = some_moment();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut aside = Aside::new(socket).unwrap();
        let mut wait = |datagrams| {
            aside.emptied(datagrams, t0);
            aside.look_at.map(|at| (at - t0).as_millis())
        };
        assert_eq!([wait(1), wait(64)], [Some(10), Some(10)]);
        assert_eq!([wait(128), wait(10_000)], [Some(5), Some(2)]);
        assert_eq!(wait(0), None);
    }

    #[test]
    fn media_that_comes_shortly_before_takes_it_along() {
        let t0 = some_moment();
        let ms = |ms| t0 + Duration::from_millis(ms);
        let mut aside = Aside::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        assert!(aside.is_due(true, t0) && !aside.is_due(false, t0));
        aside.emptied(1, t0);
        assert!(!aside.is_due(false, ms(1)), "a frame comes in pieces");
        assert!(aside.is_due(false, ms(6)));
        assert!(aside.is_due(false, ms(10)));
    }
}
