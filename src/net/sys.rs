//! The system calls that no crate of ours wraps: `sendmmsg`, `poll`, and a few socket options; and
//! the one word to the allocator.
//!
//! All `unsafe` code of the server is in this file. Receiving is `quinn-udp`'s, which does it
//! well; it has no `sendmmsg`, which lets one call serve many receivers.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use smallvec::SmallVec;
use socket2::SockAddr;

/// Most messages in one `sendmmsg`.
///
/// Sixty-four take the cost of the call itself below one per cent of what sending costs; more
/// gains nothing that could be measured and delays the first one.
pub(super) const MAX_MESSAGES: usize = 64;

/// One message to send: one datagram, or several of one size to one destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Where to, in the family of the socket.
    pub(super) destination: SocketAddr,
    /// The local address to send from.
    pub(super) source: Option<IpAddr>,
    /// One datagram, or several.
    pub(super) contents: &'a [u8],
    /// The size of each but the last, where there are several.
    pub(super) segment_bytes: Option<u16>,
}

/// The headers of one `sendmmsg`, kept to be used again.
#[derive(Default)]
pub(super) struct Headers {
    destinations: Vec<SockAddr>,
    controls: Vec<Control>,
    contents: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in it are written and read within one call of `send`, never across.
unsafe impl Send for Headers {}

impl Headers {
    /// Sends the first [`MAX_MESSAGES`] messages, and returns how many the kernel took.
    ///
    /// An error is about the first message; none was sent then.
    pub(super) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        self.destinations.clear();
        self.controls.clear();
        self.contents.clear();
        self.headers.clear();
        for message in messages.take(MAX_MESSAGES) {
            self.destinations.push(SockAddr::from(message.destination));
            self.controls.push(Control::of(&message));
            self.contents.push(libc::iovec {
                iov_base: message.contents.as_ptr().cast_mut().cast(),
                iov_len: message.contents.len(),
            });
        }
        // Only now, as the vectors may have moved while they grew.
        let parts = self
            .destinations
            .iter()
            .zip(&mut self.controls)
            .zip(&mut self.contents);
        for ((destination, control), contents) in parts {
            self.headers.push(header(destination, control, contents));
        }
        // SAFETY: every header points to a destination, control data and contents that are
        // initialized, are not changed, and outlive the call: the first two are ours, the
        // contents are borrowed for `'a`. The kernel only reads what the headers point to.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn header(
    destination: &SockAddr,
    control: &mut Control,
    contents: &mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: all zeros is a valid `mmsghdr` (its pointers null), on every libc, whatever padding
    // fields it has.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_name = destination.as_ptr().cast_mut().cast();
    header.msg_hdr.msg_namelen = destination.len();
    header.msg_hdr.msg_iov = contents;
    header.msg_hdr.msg_iovlen = 1;
    if control.len > 0 {
        header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control.len as _;
    }
    header
}

/// Room for a segment size and a source address, with their headers, on any 64-bit Linux.
const CONTROL_BYTES: usize = 64;

/// Control messages that go with one message.
#[repr(C, align(8))]
struct Control {
    bytes: [u8; CONTROL_BYTES],
    len: usize,
}

impl Control {
    fn of(message: &Message<'_>) -> Self {
        let mut control = Self {
            bytes: [0; CONTROL_BYTES],
            len: 0,
        };
        if let Some(segment_bytes) = message.segment_bytes {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment_bytes);
        }
        match message.source {
            Some(IpAddr::V4(ip)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(ip.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(ip)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        control
    }

    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let value_bytes = size_of::<T>() as libc::c_uint;
        // SAFETY: these two only compute.
        let (space, length) =
            unsafe { (libc::CMSG_SPACE(value_bytes), libc::CMSG_LEN(value_bytes)) };
        assert!(
            self.len + space as usize <= CONTROL_BYTES,
            "control messages exceed their room"
        );
        // SAFETY: `space` bytes from `len` on lie within `bytes`, as just checked, and hold a
        // header and the value. `bytes` is aligned for a header, and `CMSG_SPACE` is a multiple
        // of that alignment. The value is written without regard to its own alignment.
        unsafe {
            let header = self
                .bytes
                .as_mut_ptr()
                .add(self.len)
                .cast::<libc::cmsghdr>();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = length as _;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast::<T>(), value);
        }
        self.len += space as usize;
    }
}

/// Waits until one of `sockets` has something to read, or the other end of `stop` is closed, or
/// the time is over; says which of the sockets have, or `None` where it was `stop`.
pub(super) fn wait_readable<const N: usize>(
    sockets: [Option<BorrowedFd<'_>>; N],
    stop: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> io::Result<Option<[bool; N]>> {
    let watched = |socket: Option<BorrowedFd<'_>>| match socket {
        Some(socket) => pollfd(socket, libc::POLLIN),
        // The kernel passes over negative ones.
        None => libc::pollfd {
            fd: -1,
            events: 0,
            revents: 0,
        },
    };
    let mut waiting: SmallVec<[libc::pollfd; 4]> = sockets.into_iter().map(watched).collect();
    waiting.push(pollfd(stop, libc::POLLIN));
    poll(&mut waiting, timeout.map_or(-1, timeout_ms))?;
    let readable = std::array::from_fn(|place| waiting[place].revents != 0);
    Ok((waiting[N].revents == 0).then_some(readable))
}

/// Waits until `socket` takes something again, or the time is over.
pub(super) fn wait_writable(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let mut waiting = [pollfd(socket, libc::POLLOUT)];
    Ok(poll(&mut waiting, timeout_ms(timeout))? > 0)
}

fn timeout_ms(timeout: Duration) -> libc::c_int {
    libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX)
}

fn pollfd(fd: BorrowedFd<'_>, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}

fn poll(waiting: &mut [libc::pollfd], timeout_ms: libc::c_int) -> io::Result<usize> {
    // SAFETY: pointer and length are those of one slice that is ours for the time of the call.
    let ready = unsafe {
        libc::poll(
            waiting.as_mut_ptr(),
            waiting.len() as libc::nfds_t,
            timeout_ms,
        )
    };
    match usize::try_from(ready) {
        Ok(ready) => Ok(ready),
        Err(_) => match io::Error::last_os_error() {
            interrupted if interrupted.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
    }
}

/// Lets a second socket be bound to the same address, and share what comes there.
pub(super) fn share_port(socket: BorrowedFd<'_>, share: bool) -> io::Result<()> {
    set_option(socket, libc::SO_REUSEPORT, &libc::c_int::from(share))
}

/// One instruction of classic BPF: what to do, where to go if a comparison holds and if not, and
/// with which number.
pub(super) type Instruction = (u32, u8, u8, u32);

/// Has this program choose for each datagram which of the sockets that share a port gets it, by
/// their order of coming; it reads the datagram from its first byte on.
pub(super) fn steer(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        })
        .collect();
    // The kernel copies the program before the call returns.
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    set_option(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_option<T>(socket: BorrowedFd<'_>, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads a value of the given size, and what it points to, which lives as
    // long as the caller's borrow.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `SO_MEMINFO` (Linux 4.12), which `libc` does not name; the same on x86, ARM and RISC-V.
const SO_MEMINFO: libc::c_int = 55;

/// Datagrams that the kernel threw away because the socket's receive buffer was full.
///
/// The same number that `SO_RXQ_OVFL` attaches to datagrams, but it can be asked for when the
/// metrics are, costs nothing per datagram, and is up to date when no datagram follows.
pub(super) fn kernel_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = [0u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`, and any bytes are
    // valid numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info[libc::SK_MEMINFO_DROPS as usize])
}

/// Gives memory that was freed, and that the allocator keeps for later, back to the system.
///
/// glibc returns by itself only what lies at the end of its heap, and sessions that come and go
/// leave holes. Other allocators see to it themselves.
pub(super) fn release_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's own locks, and touches only what nobody has allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What this process has allocated and not freed, in bytes, with what each thread keeps for its next
/// allocations. `None` where the allocator does not tell: glibc does from 2.33 on, and is asked
/// whether it can, so that the server runs with older ones.
pub(super) fn allocated_bytes() -> Option<u64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: what has this name is glibc's function of this type (mallinfo(3)), as is checked by name
        // below; the name is a string that ends in zero.
        type Mallinfo2 = unsafe extern "C" fn() -> libc::mallinfo2;
        let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
        if function.is_null() {
            return None;
        }
        // SAFETY: it is that function, and takes the allocator's own locks.
        let info = unsafe { mem::transmute::<*mut libc::c_void, Mallinfo2>(function)() };
        Some((info.uordblks + info.hblkhd) as u64)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// Makes the kernel refuse segmentation on this socket with `EINVAL`, as it does where a network
/// card cannot compute checksums: segments without checksums are not allowed.
#[cfg(test)]
pub(super) fn refuse_segmentation(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    set_option(socket, libc::SO_NO_CHECK, &on)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn message(contents: &[u8], destination: SocketAddr) -> Message<'_> {
        Message {
            destination,
            source: None,
            contents,
            segment_bytes: None,
        }
    }

    #[test]
    fn one_call_sends_to_many_and_no_more_than_it_may() {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let receivers: Vec<_> = (0..3)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let destinations: Vec<_> = receivers.iter().map(|r| r.local_addr().unwrap()).collect();
        let messages = destinations
            .iter()
            .map(|to| message(b"hello", *to))
            .cycle()
            .take(100);
        let sent = Headers::default().send(sender.as_fd(), messages).unwrap();
        assert_eq!(sent, MAX_MESSAGES);
        for receiver in receivers {
            let mut buffer = [0; 16];
            assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
            assert_eq!(&buffer[..5], b"hello");
        }
    }

    #[test]
    fn the_longest_control_data_fits_its_room() {
        let full = Message {
            source: Some("::1".parse().unwrap()),
            segment_bytes: Some(1200),
            ..message(b"", "[::1]:9".parse().unwrap())
        };
        assert!(Control::of(&full).len <= CONTROL_BYTES);
    }

    #[test]
    fn the_kernel_tells_how_many_datagrams_it_threw_away() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&receiver)
            .set_recv_buffer_size(4096)
            .unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(kernel_drops(receiver.as_fd()).unwrap(), 0);
        for _ in 0..100 {
            sender
                .send_to(&[0; 1200], receiver.local_addr().unwrap())
                .unwrap();
        }
        assert!(kernel_drops(receiver.as_fd()).unwrap() >= 90);
    }
}
