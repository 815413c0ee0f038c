//! Whether the ports can be had, and what the kernel gives with them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::Finding;
use crate::config::Config;
use crate::net::MediaSocket;
use crate::sockets::SUFFICIENT_BUFFER_BYTES;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![
        tcp("--http", config.http.http_listen),
        tcp("--operator", config.http.operator_listen),
    ];
    let udp = config.udp_address();
    match MediaSocket::bind(udp) {
        Ok(socket) => {
            findings.push(Finding::good(format!("--udp {udp} can be bound")));
            let receive = socket.buffers().receive.min(socket.buffers().send);
            findings.push(buffers(receive));
            findings.push(segmentation(socket.gso()));
        }
        Err(error) => findings.push(refused("--udp", udp, &error)),
    }
    findings
}

fn tcp(setting: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::good(format!("{setting} {address} can be bound")),
        Err(error) => refused(setting, address, &error),
    }
}

fn refused(setting: &str, address: SocketAddr, error: &io::Error) -> Finding {
    let port = address.port();
    let protocol = if setting == "--udp" { 'u' } else { 't' };
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has the port (or this server runs already): \
             `ss -ln{protocol}p 'sport = :{port}'` says which; end it, or choose another port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE: choose a port above, put a \
             proxy in front, or give it with `setcap` or systemd's AmbientCapabilities (port {port})"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "no interface of this machine has {}: `ip address` lists them; behind NAT bind 0.0.0.0 \
             and name the outside address with --public-ip",
            address.ip()
        ),
        _ => "choose another address".to_owned(),
    };
    Finding::fault(format!("{setting} {address}: {error}"), advice)
}

fn buffers(bytes: usize) -> Finding {
    let seen = format!("the kernel grants UDP buffers of {} KiB", bytes >> 10);
    if bytes >= SUFFICIENT_BUFFER_BYTES {
        return Finding::good(seen);
    }
    Finding::hint(
        seen,
        "bursts will be lost: `sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608`, and \
         the same in /etc/sysctl.d to keep it",
    )
}

fn segmentation(gso: bool) -> Finding {
    if gso {
        return Finding::good("the kernel segments datagrams (GSO)");
    }
    Finding::hint(
        "the kernel does not segment datagrams (GSO)",
        "sending costs several times as much: use Linux 4.18 or newer, and no sandbox that hides it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_port_that_is_taken_is_a_fault_that_says_how_to_find_who_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let finding = tcp("--http", address);
        assert_eq!(finding.verdict, Verdict::Fault);
        assert!(finding.seen.contains(&address.to_string()), "{finding}");
        let command = format!("ss -lntp 'sport = :{}'", address.port());
        assert!(finding.advice.contains(&command), "{finding}");
        drop(taken);
        assert_eq!(tcp("--http", address).verdict, Verdict::Good);
    }

    #[test]
    fn an_address_of_another_machine_and_a_port_for_the_privileged_are_told_apart() {
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let advice = |kind: io::ErrorKind| refused("--udp", address, &kind.into()).advice;
        assert!(advice(io::ErrorKind::AddrNotAvailable).contains("192.0.2.1"));
        assert!(advice(io::ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
        assert!(advice(io::ErrorKind::AddrInUse).contains("ss -lnup"));
    }

    #[test]
    fn small_buffers_are_pointed_out_with_the_command_that_helps() {
        let small = buffers(SUFFICIENT_BUFFER_BYTES - 1);
        assert_eq!(small.verdict, Verdict::Hint);
        assert!(small.advice.contains("net.core.rmem_max"), "{small}");
        assert_eq!(buffers(SUFFICIENT_BUFFER_BYTES).verdict, Verdict::Good);
        assert_eq!(segmentation(false).verdict, Verdict::Hint);
    }
}
