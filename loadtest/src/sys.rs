//! The system calls that the standard library has no words for: batched datagrams and fine timers.
//!
//! One socket may carry thousands of receivers, so datagrams come with the address they were sent to
//! (`IP_PKTINFO`), the time the kernel took them in (`SO_TIMESTAMPNS`), the length of their pieces (`UDP_GRO`)
//! and how many were lost to a full buffer (`SO_RXQ_OVFL`).
#![allow(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and epoll_pwait2 have no safe counterpart; all of it is in this file"
)]

use std::{
    io, mem,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    time::Duration,
};

/// Datagrams (after coalescing) taken in by one call.
///
/// A receiver's socket seldom holds more than two; a shared one holds hundreds, and 32 calls' worth of overhead
/// saved is where the gain flattens. Costs 64 KiB of address space each, of which only what arrives is touched.
const RECEIVE_BATCH: usize = 32;

/// The longest datagram, and so the longest run of coalesced ones.
const MAX_DATAGRAM: usize = 65_535;

/// Room for the four control messages asked for (28 + 32 + 24 + 24 bytes, aligned).
const CONTROL_BYTES: usize = 160;

/// The most segments that the kernel takes in one send (`UDP_MAX_SEGMENTS` is 64 before Linux 6.9).
const MAX_SEGMENTS: usize = 64;

/// Asks the kernel for all that [`ReceiveBatch`] reads: pieces, time of arrival, losses, and the address sent to.
pub(crate) fn prepare_udp(socket: &impl AsRawFd, want_destination: bool) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    set_flag(fd, libc::SOL_UDP, libc::UDP_GRO)?;
    set_flag(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    set_flag(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
    if want_destination {
        set_flag(fd, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    }
    Ok(())
}

fn set_flag(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option value is a c_int that outlives the call, and its length is given.
    let done = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            ptr::from_ref(&on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    check(done).map(drop)
}

/// CPU time of a process of this machine, of all its threads, those included that have ended.
pub(crate) fn process_cpu_time(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: it writes one clock id.
    let found = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    if found != 0 {
        return None;
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes one timespec.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) }).ok()?;
    Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Enlarges the receive buffer, beyond `rmem_max` where this process may.
pub(crate) fn set_receive_buffer(socket: &socket2::Socket, bytes: usize) {
    let wanted = bytes as libc::c_int;
    // SAFETY: as in `set_flag`.
    let forced = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            ptr::from_ref(&wanted).cast(),
            mem::size_of_val(&wanted) as libc::socklen_t,
        )
    };
    if forced != 0 {
        // The kernel caps this silently: losses are then seen through SO_RXQ_OVFL.
        let _ = socket.set_recv_buffer_size(bytes);
    }
}

/// Memory for one batched receive, reused from call to call.
pub(crate) struct ReceiveBatch {
    data: Box<[u8]>,
    control: Box<[Control]>,
    names: Box<[libc::sockaddr_storage]>,
    meta: Vec<Meta>,
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

#[derive(Clone, Copy)]
struct Meta {
    len: usize,
    segment: usize,
    source: SocketAddr,
    destination: Option<Ipv4Addr>,
    kernel_ns: u64,
    dropped: Option<u32>,
}

/// One received datagram, or several of equal length from one source.
pub(crate) struct Received<'a> {
    /// The bytes; pieces of `segment` bytes each, the last may be shorter.
    pub(crate) data: &'a mut [u8],
    /// Length of one piece.
    pub(crate) segment: usize,
    /// Who sent it.
    pub(crate) source: SocketAddr,
    /// The local address it was sent to, when asked for.
    pub(crate) destination: Option<Ipv4Addr>,
    /// When the kernel took it in, nanoseconds of the wall clock; 0 when unknown.
    pub(crate) kernel_ns: u64,
    /// Datagrams that this socket lost to a full buffer since it was opened, when the kernel says.
    pub(crate) dropped: Option<u32>,
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: sockaddr_storage is plain bytes, for which zero is valid.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            data: vec![0; RECEIVE_BATCH * MAX_DATAGRAM].into_boxed_slice(),
            control: vec![Control([0; CONTROL_BYTES]); RECEIVE_BATCH].into_boxed_slice(),
            names: vec![name; RECEIVE_BATCH].into_boxed_slice(),
            meta: Vec::with_capacity(RECEIVE_BATCH),
        }
    }

    /// Takes in what waits on the socket, without blocking; returns how many, 0 when nothing waits.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        self.meta.clear();
        // SAFETY: both are plain C structures, for which zero is valid.
        let mut iov: [libc::iovec; RECEIVE_BATCH] = unsafe { mem::zeroed() };
        let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { mem::zeroed() };
        for (index, header) in headers.iter_mut().enumerate() {
            iov[index].iov_base = self.data[index * MAX_DATAGRAM..].as_mut_ptr().cast();
            iov[index].iov_len = MAX_DATAGRAM;
            header.msg_hdr.msg_iov = &raw mut iov[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
            header.msg_hdr.msg_namelen =
                mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_control = (&raw mut self.control[index]).cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        // SAFETY: every pointer in `headers` refers to memory of `self` or `iov`, of the lengths given, and all of
        // it outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = match check(count) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // An ICMP answer to an earlier send: the next call reads on.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        for (header, name) in headers.iter().zip(&self.names).take(count) {
            self.meta.push(read_meta(header, name));
        }
        Ok(count)
    }

    /// The `index`-th datagram of the last [`receive`](Self::receive).
    pub(crate) fn get(&mut self, index: usize) -> Received<'_> {
        let meta = self.meta[index];
        let start = index * MAX_DATAGRAM;
        Received {
            data: &mut self.data[start..start + meta.len],
            segment: meta.segment,
            source: meta.source,
            destination: meta.destination,
            kernel_ns: meta.kernel_ns,
            dropped: meta.dropped,
        }
    }
}

fn read_meta(header: &libc::mmsghdr, name: &libc::sockaddr_storage) -> Meta {
    let len = header.msg_len as usize;
    let mut meta = Meta {
        len,
        segment: len.max(1),
        source: read_address(name),
        destination: None,
        kernel_ns: 0,
        dropped: None,
    };
    // SAFETY: the kernel filled the control buffer that `msg_control` points to, of `msg_controllen` bytes; the
    // macros walk it within that length, and each message is read as the type that its level and type announce.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header.msg_hdr);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = ptr::read_unaligned(data.cast::<libc::c_int>());
                    meta.segment = usize::try_from(segment).unwrap_or(len).max(1);
                }
                (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                    let time = ptr::read_unaligned(data.cast::<libc::timespec>());
                    meta.kernel_ns = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    meta.dropped = Some(ptr::read_unaligned(data.cast::<u32>()));
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
                    meta.destination = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(&raw const header.msg_hdr, message);
        }
    }
    meta
}

fn read_address(name: &libc::sockaddr_storage) -> SocketAddr {
    if libc::c_int::from(name.ss_family) == libc::AF_INET6 {
        // SAFETY: the family says that the storage holds a sockaddr_in6.
        let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
        SocketAddrV6::new(
            v6.sin6_addr.s6_addr.into(),
            u16::from_be(v6.sin6_port),
            0,
            v6.sin6_scope_id,
        )
        .into()
    } else {
        // SAFETY: the socket is an Internet socket, so what is not IPv6 is a sockaddr_in, which the storage is
        // large enough for in any case.
        let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
        SocketAddrV4::new(
            u32::from_be(v4.sin_addr.s_addr).into(),
            u16::from_be(v4.sin_port),
        )
        .into()
    }
}

/// Datagrams on their way out, sent in as few calls as the kernel allows.
#[derive(Default)]
pub(crate) struct SendBatch {
    arena: Vec<u8>,
    messages: Vec<Outgoing>,
}

struct Outgoing {
    start: usize,
    end: usize,
    segment: usize,
    segments: usize,
    destination: socket2::SockAddr,
    to: SocketAddr,
    source: Option<Ipv4Addr>,
    /// A piece shorter than the others ends the run.
    closed: bool,
}

impl SendBatch {
    /// Queues one datagram, written by `write` at the end of the buffer it is given.
    ///
    /// It travels in one send with the one before it when both go the same way and the lengths allow.
    pub(crate) fn push(
        &mut self,
        to: SocketAddr,
        source: Option<Ipv4Addr>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.arena.len();
        write(&mut self.arena);
        let len = self.arena.len() - start;
        if len == 0 {
            return;
        }
        if let Some(last) = self.messages.last_mut()
            && last.to == to
            && last.source == source
            && !last.closed
            && len <= last.segment
            && last.segments < MAX_SEGMENTS
            && self.arena.len() - last.start < MAX_DATAGRAM - 100
        {
            last.end = self.arena.len();
            last.segments += 1;
            last.closed = len < last.segment;
            return;
        }
        self.messages.push(Outgoing {
            start,
            end: self.arena.len(),
            segment: len,
            segments: 1,
            destination: to.into(),
            to,
            source,
            closed: false,
        });
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Sends all that is queued; returns how many sends the kernel refused (a full buffer, an unreachable peer).
    pub(crate) fn flush(&mut self, socket: &impl AsRawFd) -> usize {
        let mut refused = 0;
        let mut first = 0;
        while first < self.messages.len() {
            let last = (first + 64).min(self.messages.len());
            match self.send_some(socket.as_raw_fd(), first..last) {
                Ok(sent) => first += sent.max(1),
                Err(_) => {
                    // The first of the rest is what failed: the others deserve their try.
                    refused += 1;
                    first += 1;
                }
            }
        }
        self.arena.clear();
        self.messages.clear();
        refused
    }

    fn send_some(&mut self, fd: RawFd, range: std::ops::Range<usize>) -> io::Result<usize> {
        let count = range.len();
        // SAFETY: plain C structures, for which zero is valid.
        let mut iov: [libc::iovec; 64] = unsafe { mem::zeroed() };
        let mut headers: [libc::mmsghdr; 64] = unsafe { mem::zeroed() };
        let mut control = [Control([0; CONTROL_BYTES]); 64];
        for (index, message) in self.messages[range].iter().enumerate() {
            iov[index].iov_base = self.arena[message.start..].as_mut_ptr().cast();
            iov[index].iov_len = message.end - message.start;
            let header = &mut headers[index].msg_hdr;
            header.msg_iov = &raw mut iov[index];
            header.msg_iovlen = 1;
            header.msg_name = message.destination.as_ptr().cast_mut().cast();
            header.msg_namelen = message.destination.len();
            write_control(header, &mut control[index], message);
        }
        // SAFETY: every pointer in `headers` refers to memory of `self`, `iov` or `control`, of the lengths given,
        // and all of it outlives the call.
        let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count as libc::c_uint, 0) };
        check(sent).map(|sent| sent as usize)
    }
}

/// Says how a run is to be cut, and which of the socket's addresses it leaves from.
fn write_control(header: &mut libc::msghdr, control: &mut Control, message: &Outgoing) {
    let mut used = 0;
    header.msg_control = (&raw mut *control).cast();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the buffer is aligned for cmsghdr and its 160 bytes hold both messages (24 and 32 bytes), which are
    // written one after the other at the places that CMSG_SPACE gives.
    unsafe {
        let mut place = libc::CMSG_FIRSTHDR(header);
        if message.segments > 1 {
            (*place).cmsg_level = libc::SOL_UDP;
            (*place).cmsg_type = libc::UDP_SEGMENT;
            (*place).cmsg_len = libc::CMSG_LEN(2) as _;
            ptr::write_unaligned(libc::CMSG_DATA(place).cast::<u16>(), message.segment as u16);
            used += libc::CMSG_SPACE(2) as usize;
            place = ptr::from_mut(control).cast::<u8>().add(used).cast();
        }
        if let Some(source) = message.source {
            let mut info: libc::in_pktinfo = mem::zeroed();
            info.ipi_spec_dst.s_addr = u32::from(source).to_be();
            let len = mem::size_of::<libc::in_pktinfo>() as libc::c_uint;
            (*place).cmsg_level = libc::IPPROTO_IP;
            (*place).cmsg_type = libc::IP_PKTINFO;
            (*place).cmsg_len = libc::CMSG_LEN(len) as _;
            ptr::write_unaligned(libc::CMSG_DATA(place).cast(), info);
            used += libc::CMSG_SPACE(len) as usize;
        }
    }
    header.msg_controllen = used as _;
    if used == 0 {
        header.msg_control = ptr::null_mut();
    }
}

/// Tells which sockets have something to read, with a timeout finer than a millisecond.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor returned is ours alone.
        let epoll =
            unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self {
            epoll,
            events: Vec::with_capacity(1024),
        })
    }

    /// Watches a socket, which is closed to stop watching; `token` names it in [`wait`](Self::wait).
    pub(crate) fn add(&self, socket: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: the event outlives the call.
        let done = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        check(done).map(drop)
    }

    /// Waits until a socket is readable or the time is up, and gives the tokens of those that are.
    pub(crate) fn wait(&mut self, timeout: Duration, tokens: &mut Vec<u64>) -> io::Result<()> {
        tokens.clear();
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos() as _,
        };
        // SAFETY: the event buffer has room for the 1024 announced, of which the kernel fills `count`.
        unsafe {
            let count = libc::epoll_pwait2(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.capacity() as libc::c_int,
                &raw const timeout,
                ptr::null(),
            );
            match check(count) {
                Ok(count) => self.events.set_len(count as usize),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.set_len(0),
                Err(error) => return Err(error),
            }
        }
        tokens.extend(self.events.iter().map(|event| event.u64));
        Ok(())
    }
}

/// Lets this process open as many sockets as it may at all: the usual limit of 1024 is for programs with few.
pub(crate) fn raise_open_file_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives the call, which fills it.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the structure outlives the call, which reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn equal_datagrams_leave_in_one_run_and_arrive_as_they_were() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
        prepare_udp(&receiver, true).expect("this kernel has the options");
        let sender = UdpSocket::bind("0.0.0.0:0").expect("loopback has ports");
        let to = receiver.local_addr().expect("it is bound");
        let from = Ipv4Addr::new(127, 3, 2, 1);

        let mut batch = SendBatch::default();
        for (byte, len) in [(1, 1000), (2, 1000), (3, 400), (4, 1000)] {
            batch.push(to, Some(from), |buffer| {
                buffer.resize(buffer.len() + len, byte);
            });
        }
        assert_eq!(batch.messages.len(), 2, "the short one ends the first run");
        assert_eq!(batch.flush(&sender), 0);

        let mut received = ReceiveBatch::new();
        let mut pieces = Vec::new();
        while pieces.len() < 4 {
            for index in 0..received.receive(&receiver).expect("the socket is sound") {
                let datagram = received.get(index);
                assert_eq!(datagram.source.ip(), from);
                assert_eq!(datagram.destination, Some(Ipv4Addr::LOCALHOST));
                assert!(datagram.kernel_ns > 0);
                pieces.extend(
                    datagram
                        .data
                        .chunks(datagram.segment)
                        .map(|piece| (piece[0], piece.len())),
                );
            }
        }
        assert_eq!(pieces, [(1, 1000), (2, 1000), (3, 400), (4, 1000)]);
    }
}
