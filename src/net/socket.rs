//! The one socket that all media goes through.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn_udp::UdpSocketState;
use socket2::{Domain, Protocol, Socket, Type};

use super::aside::{self, Aside};
use super::counters::NetCounters;
use super::receive::{Receiver, Stop};
use super::send::Sender;
use super::sys;

/// What is asked of the kernel for each direction, in bytes.
///
/// Inbound: 64 ms at 1 Gbit/s, so that a receiving thread that is not scheduled for a moment
/// loses nothing. Outbound: a keyframe to a thousand receivers at once. Linux grants no more
/// than `net.core.rmem_max` and `wmem_max`; what was granted stands in [`BufferSizes`].
pub(super) const BUFFER_BYTES: usize = 8 << 20;

/// What the kernel granted of the 8 MiB that each direction asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// For datagrams that wait to be received, in bytes.
    pub receive: usize,
    /// For datagrams that wait to be sent, in bytes.
    pub send: usize,
}

/// A UDP socket, set up for media: non-blocking, never fragmenting, telling local addresses,
/// receive times and many datagrams at a time (GRO), and sending many at a time (GSO).
///
/// Addresses are plain on this side: a peer that talks IPv4 to a dual-stack socket has an IPv4
/// address here, not a mapped one.
#[derive(Debug)]
pub struct MediaSocket {
    socket: UdpSocket,
    state: Arc<UdpSocketState>,
    shared: Arc<Shared>,
    local: SocketAddr,
    buffers: BufferSizes,
    /// Where feedback is put that can wait.
    aside: Option<UdpSocket>,
}

/// What the socket's users share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) counters: Arc<NetCounters>,
    gso: AtomicBool,
}

impl Shared {
    pub(super) fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    pub(super) fn disable_gso(&self) {
        self.gso.store(false, Ordering::Relaxed);
    }
}

impl MediaSocket {
    /// Binds the socket.
    ///
    /// `[::]` takes both families; on a machine without IPv6 it becomes `0.0.0.0`.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = match bind(address) {
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
                bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))?
            }
            bound => bound?,
        };
        ask_for_buffers(&socket);
        // Linux tells twice what it grants: the other half is for its own bookkeeping.
        let buffers = BufferSizes {
            receive: socket.recv_buffer_size()? / 2,
            send: socket.send_buffer_size()? / 2,
        };
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        let shared = Shared {
            counters: Arc::default(),
            gso: AtomicBool::new(state.max_gso_segments() > 1),
        };
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            state: Arc::new(state),
            shared: Arc::new(shared),
            buffers,
            aside: None,
        })
    }

    /// Puts transport feedback aside from now on, so that it wakes its receiver less often; as
    /// before where the kernel does not know how.
    #[must_use]
    pub fn with_feedback_aside(mut self) -> Self {
        let second = aside::open(&self.socket, |address| {
            let second = unbound(address)?;
            second.set_reuse_port(true)?;
            ask_for_buffers(&second);
            second.bind(&address.into())?;
            Ok(second.into())
        });
        match second {
            Ok(second) => self.aside = Some(second),
            Err(error) => {
                tracing::info!(%error, "feedback is not put aside: each one wakes the server");
            }
        }
        self
    }

    /// The address that it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How large its buffers are.
    pub fn buffers(&self) -> BufferSizes {
        self.buffers
    }

    /// A receiver, which waits until there is something to receive or `stop` is given.
    pub fn receiver(&self, stop: Stop) -> io::Result<Receiver> {
        let aside = self.aside.as_ref();
        let aside = aside.map(|second| Aside::new(second.try_clone()?));
        Ok(Receiver::new(
            self.socket.try_clone()?,
            self.state.clone(),
            self.shared.counters.clone(),
            stop,
            aside.transpose()?,
        ))
    }

    /// A sender of its own for each thread that sends.
    pub fn sender(&self) -> io::Result<Sender> {
        Ok(Sender::new(
            self.socket.try_clone()?,
            self.shared.clone(),
            self.local.ip(),
        ))
    }

    /// What was counted.
    pub fn counters(&self) -> &Arc<NetCounters> {
        &self.shared.counters
    }

    /// Datagrams that the kernel threw away because they were not received in time.
    pub fn kernel_drops(&self) -> io::Result<u64> {
        let aside = self.aside.as_ref().map(|second| second.as_fd());
        let sockets = std::iter::once(self.socket.as_fd()).chain(aside);
        sockets
            .map(|socket| sys::kernel_drops(socket).map(u64::from))
            .sum()
    }

    /// Whether datagrams of one destination leave as one (GSO, `UDP_SEGMENT`).
    pub fn gso(&self) -> bool {
        self.shared.gso()
    }

    /// Sends every datagram on its own from now on, as it would be where segmentation fails.
    pub fn disable_gso(&self) {
        self.shared.disable_gso();
    }

    #[cfg(test)]
    pub(super) fn refuse_segmentation(&self) {
        sys::refuse_segmentation(self.socket.as_fd()).unwrap();
    }
}

/// Listens for connections, without waiting for them; `[::]` as with UDP.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match bind_tcp(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            bind_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))?
        }
        bound => bound?,
    };
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that the kernel completes before they are accepted; Linux grants no more than
/// `net.core.somaxconn`, which is 4096.
const BACKLOG: i32 = 1024;

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    // Old connections in TIME_WAIT do not keep a server from starting again.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = unbound(address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What is granted is seen in [`BufferSizes`].
fn ask_for_buffers(socket: &Socket) {
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
}

fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    Ok(socket)
}

/// Whether this machine was built or booted without IPv6, or has no IPv6 address at all.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// A peer's address as it is known everywhere else: IPv4 where it is IPv4, and without the flow
/// label, which may change from datagram to datagram (RFC 6437 §2).
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::from((ip, v6.port())),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id())),
        },
        SocketAddr::V4(_) => address,
    }
}

/// A peer's address as an IPv6 socket wants it (RFC 4291 §2.5.5.2).
pub(super) fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_one_address_however_the_kernel_writes_it() {
        let plain: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let as_mapped: SocketAddr = "[::ffff:192.0.2.1]:5000".parse().unwrap();
        assert_eq!(canonical(as_mapped), plain);
        assert_eq!(canonical(plain), plain);
        assert_eq!(mapped(plain), as_mapped);

        let ip: Ipv6Addr = "fe80::1".parse().unwrap();
        let with_flow = SocketAddr::V6(SocketAddrV6::new(ip, 5000, 0xBEEF, 2));
        assert_eq!(
            canonical(with_flow),
            SocketAddr::V6(SocketAddrV6::new(ip, 5000, 0, 2))
        );
        assert_eq!(mapped(with_flow), with_flow);
    }

    #[test]
    fn a_port_in_use_is_said_to_be_in_use() {
        let first = MediaSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = MediaSocket::bind(first.local_addr()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_buffers_that_were_granted_are_reported() {
        let socket = MediaSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let BufferSizes { receive, send } = socket.buffers();
        assert!((1..=BUFFER_BYTES).contains(&receive), "{receive}");
        assert!((1..=BUFFER_BYTES).contains(&send), "{send}");
    }
}
