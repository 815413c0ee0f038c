//! Whether the ports can be had, and what the kernel gives with them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::{Finding, Verdict};
use crate::config::Config;
use crate::net::MediaSocket;
use crate::sockets::SUFFICIENT_BUFFER_BYTES;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    // Held until all have been tried: two settings may want the same port.
    let mut held = Held::default();
    let mut findings = vec![
        held.tcp("--http", config.http.http_listen),
        held.tcp("--operator", config.http.operator_listen),
    ];
    let tcp = config
        .tcp_address()
        .filter(|tcp| *tcp != config.http.http_listen);
    findings.extend(tcp.map(|address| match held.tcp("--tcp", address) {
        // Nobody asked for this port: the server does what it can.
        taken if taken.verdict == Verdict::Fault && config.net.tcp.is_none() => Finding::hint(
            format!("{}: nobody without UDP gets through", taken.seen),
            "name a free port with --tcp, or say --tcp off",
        ),
        other => other,
    }));
    let turn = &config.turn;
    findings.extend(
        turn.turn_listen
            .map(|at| held.tcp("--turn-listen (TCP)", at)),
    );
    findings.extend(
        turn.turn_tls_listen
            .map(|at| held.tcp("--turn-tls-listen", at)),
    );
    findings.extend(
        turn.turn_listen
            .map(|at| held.udp("--turn-listen (UDP)", at)),
    );
    findings.extend(config.net.stun.map(|at| held.udp("--stun", at)));
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

/// Ports that were free.
#[derive(Default)]
struct Held {
    listeners: Vec<TcpListener>,
    sockets: Vec<MediaSocket>,
}

impl Held {
    fn tcp(&mut self, setting: &str, address: SocketAddr) -> Finding {
        let bound = TcpListener::bind(address);
        finding(setting, address, bound, &mut self.listeners)
    }

    fn udp(&mut self, setting: &str, address: SocketAddr) -> Finding {
        let bound = MediaSocket::bind(address);
        finding(setting, address, bound, &mut self.sockets)
    }
}

fn finding<T>(
    setting: &str,
    address: SocketAddr,
    bound: io::Result<T>,
    held: &mut Vec<T>,
) -> Finding {
    match bound {
        Ok(bound) => {
            held.push(bound);
            Finding::good(format!("{setting} {address} can be bound"))
        }
        Err(error) => refused(setting, address, &error),
    }
}

fn refused(setting: &str, address: SocketAddr, error: &io::Error) -> Finding {
    let port = address.port();
    let is_udp = matches!(setting, "--udp" | "--stun") || setting.contains("UDP");
    let protocol = if is_udp { 'u' } else { 't' };
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has the port (or this server runs already, or another setting names it, too): \
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
    use clap::Parser;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_a_fault_that_says_how_to_find_who_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let finding = Held::default().tcp("--http", address);
        assert_eq!(finding.verdict, Verdict::Fault);
        assert!(finding.seen.contains(&address.to_string()), "{finding}");
        let command = format!("ss -lntp 'sport = :{}'", address.port());
        assert!(finding.advice.contains(&command), "{finding}");
        drop(taken);
        assert_eq!(
            Held::default().tcp("--http", address).verdict,
            Verdict::Good
        );
    }

    #[test]
    fn the_ports_of_tcp_stun_and_the_relay_are_tried_and_two_settings_do_not_share_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::parse_from(["plenum"]);
        config.http.http_listen = free;
        config.http.operator_listen = free;
        config.net.udp = Some(free);
        let about = |config: &Config, setting: &str| {
            let mut findings = examine(config).into_iter();
            findings
                .find(|finding| finding.seen.starts_with(setting))
                .unwrap()
        };
        config.net.tcp = format!("{address}").parse().ok();
        assert_eq!(about(&config, "--tcp").verdict, Verdict::Fault);
        config.net.tcp = None;
        config.net.udp = Some(address);
        assert_eq!(
            about(&config, "--tcp").verdict,
            Verdict::Hint,
            "not asked for"
        );

        config.net.tcp = "off".parse().ok();
        config.turn.turn_listen = Some(address);
        assert_eq!(
            about(&config, "--turn-listen (TCP)").verdict,
            Verdict::Fault
        );
        drop(taken);
        config.net.stun = Some(address);
        assert_eq!(about(&config, "--turn-listen (TCP)").verdict, Verdict::Good);
        let twice = about(&config, "--stun");
        assert_eq!(twice.verdict, Verdict::Fault, "the relay has that port");
        assert!(twice.advice.contains("ss -lnup"), "{twice}");
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
