//! A socket for each client, or one for all of a thread.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
};

use crate::sys;

/// Receive buffer of a client's own socket: a keyframe of 100 packets, as the kernel counts them.
pub(super) const OWN_BUFFER: usize = 256 << 10;

/// Receive buffer of a shared socket: 50 ms of 200 000 packets per second.
pub(super) const SHARED_BUFFER: usize = 32 << 20;

/// The address of a client on its worker's shared socket: 127.{1 + worker}.x.y.
pub(super) fn shared_address(worker: usize, client: usize) -> Ipv4Addr {
    // 127.0.0.0/16 stays free for servers.
    let number = ((worker + 1) << 16) + client + 1;
    Ipv4Addr::from(0x7f00_0000 | number as u32 & 0x00ff_ffff)
}

pub(super) fn index_of_shared_address(worker: usize, address: Ipv4Addr) -> usize {
    let number = (u32::from(address) & 0x00ff_ffff) as usize;
    number.wrapping_sub(((worker + 1) << 16) + 1)
}

pub(super) fn open_socket(
    address: IpAddr,
    buffer: usize,
    want_destination: bool,
) -> io::Result<UdpSocket> {
    let domain = if address.is_ipv4() {
        socket2::Domain::IPV4
    } else {
        socket2::Domain::IPV6
    };
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    sys::set_receive_buffer(&socket, buffer);
    sys::prepare_udp(&socket, want_destination)?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_on_a_shared_socket_keep_apart() {
        for (worker, client) in [(0, 0), (0, 300), (3, 65_534)] {
            let address = shared_address(worker, client);
            assert!(address.is_loopback());
            assert_eq!(index_of_shared_address(worker, address), client);
            assert!(
                index_of_shared_address(worker + 1, address) > 1 << 20,
                "not another worker's"
            );
        }
        assert_eq!(shared_address(0, 0), Ipv4Addr::new(127, 1, 0, 1));
    }
}
