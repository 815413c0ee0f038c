//! Which addresses clients are told to send media to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Most addresses that are told. Each becomes a candidate in every answer, and every client
/// checks each of them.
pub const MAX_ADVERTISED: usize = 16;

/// An address of one of this machine's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface, such as `eth0`.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// Whether the interface is up.
    pub up: bool,
}

/// The addresses that this machine has now.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let address = |interface: if_addrs::Interface| InterfaceAddress {
        ip: interface.ip(),
        up: interface.is_oper_up(),
        interface: interface.name,
    };
    Ok(interfaces.into_iter().map(address).collect())
}

/// The addresses to tell, for a socket that is bound to `bound`.
///
/// * `public` addresses come first, and replace all others unless `private` ones are wanted, too: behind
///   NAT nobody else knows them. A port of zero stands for the socket's own.
/// * A socket bound to one address is told as that.
/// * A socket bound to all addresses is told as those of the interfaces that are up, except
///   link-local ones, which mean nothing without an interface name, and those of bridges to
///   containers of this machine, which look alike on every machine and lead nowhere from
///   others. Loopback only where there is nothing else.
pub fn advertised(
    bound: SocketAddr,
    public: &[SocketAddr],
    private: bool,
    addresses: &[InterfaceAddress],
) -> Vec<SocketAddr> {
    let own_port = |address: &SocketAddr| match address.port() {
        0 => SocketAddr::new(address.ip(), bound.port()),
        _ => *address,
    };
    let public = public.iter().map(own_port);
    if public.len() > 0 && !private {
        return limited(public);
    }
    limited(public.chain(own(bound, addresses)))
}

/// The addresses of this machine by which others reach a socket.
fn own(bound: SocketAddr, addresses: &[InterfaceAddress]) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let usable = |wanted: fn(&InterfaceAddress) -> bool| {
        let of_family = |address: &&InterfaceAddress| bound.is_ipv6() || address.ip.is_ipv4();
        let candidates = addresses
            .iter()
            .filter(of_family)
            .filter(|address| address.up && wanted(address));
        limited(candidates.map(|address| SocketAddr::new(address.ip, bound.port())))
    };
    let of_network =
        usable(|address| !is_local(address.ip) && !is_container_bridge(&address.interface));
    if of_network.is_empty() {
        usable(|address| address.ip.is_loopback())
    } else {
        of_network
    }
}

/// Where Docker's and Podman's own networks begin: 172.16.0.0/12 and 10.88.0.0/16.
pub fn is_container_network(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            (a == 172 && (16..32).contains(&b)) || (a == 10 && b == 88)
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// Files that container engines leave in every container.
const CONTAINER_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Whether this process runs in a container.
pub fn is_in_container() -> bool {
    CONTAINER_MARKS.iter().any(|mark| Path::new(mark).exists())
}

/// Whether everything that clients are told is an address of a container's own network, which
/// leads nowhere from other machines.
pub fn lead_nowhere(told: &[SocketAddr], in_container: bool) -> bool {
    let is_inner = |address: &SocketAddr| is_container_network(address.ip().to_canonical());
    in_container && !told.is_empty() && told.iter().all(is_inner)
}

fn limited(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut told = Vec::new();
    for address in addresses {
        if told.len() < MAX_ADVERTISED && !told.contains(&address) {
            told.push(address);
        }
    }
    told
}

fn is_local(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    link_local || ip.is_loopback() || ip.is_unspecified()
}

/// `docker0` and Docker's further networks, which are named `br-` and twelve hexadecimal digits
/// (`br-lan` is a router's own network); Podman's and libvirt's.
fn is_container_bridge(interface: &str) -> bool {
    let docker_network = interface
        .strip_prefix("br-")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let numbered = |prefix| {
        interface
            .strip_prefix(prefix)
            .is_some_and(|number: &str| number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    docker_network
        || interface == "docker_gwbridge"
        || ["docker", "podman", "cni-podman", "virbr"]
            .into_iter()
            .any(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, ip: &str) -> InterfaceAddress {
        InterfaceAddress {
            interface: interface.into(),
            ip: ip.parse().unwrap(),
            up: true,
        }
    }

    fn machine() -> Vec<InterfaceAddress> {
        vec![
            address("lo", "127.0.0.1"),
            address("lo", "::1"),
            address("eth0", "192.0.2.2"),
            address("eth0", "2001:db8::2"),
            address("eth0", "fe80::1"),
            address("usb0", "169.254.7.7"),
            InterfaceAddress {
                up: false,
                ..address("wlan0", "198.51.100.9")
            },
            address("docker0", "172.17.0.1"),
            address("br-0123456789ab", "172.18.0.1"),
            address("br-lan", "10.0.0.1"),
        ]
    }

    fn told(bound: &str, public: &[&str], addresses: &[InterfaceAddress]) -> Vec<String> {
        let public: Vec<_> = public
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        let told = advertised(bound.parse().unwrap(), &public, false, addresses);
        told.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_server_on_all_addresses_is_told_by_those_that_lead_to_it() {
        let both = ["192.0.2.2:3478", "[2001:db8::2]:3478", "10.0.0.1:3478"];
        assert_eq!(told("[::]:3478", &[], &machine()), both);
        assert_eq!(
            told("0.0.0.0:3478", &[], &machine()),
            ["192.0.2.2:3478", "10.0.0.1:3478"]
        );
    }

    #[test]
    fn a_server_on_one_address_is_told_by_it() {
        assert_eq!(told("127.0.0.1:3478", &[], &machine()), ["127.0.0.1:3478"]);
        assert_eq!(told("[fe80::1]:3478", &[], &machine()), ["[fe80::1]:3478"]);
    }

    #[test]
    fn public_addresses_replace_all_others() {
        let public = ["203.0.113.5:0", "203.0.113.6:443", "203.0.113.5:3478"];
        assert_eq!(
            told("[::]:3478", &public, &machine()),
            ["203.0.113.5:3478", "203.0.113.6:443"]
        );
        assert_eq!(
            told("127.0.0.1:3478", &public[..1], &machine()),
            ["203.0.113.5:3478"]
        );
    }

    #[test]
    fn clients_on_this_side_of_a_nat_are_told_the_inner_addresses_where_that_is_wanted() {
        let public = ["203.0.113.5:0".parse().unwrap()];
        let bound = "0.0.0.0:3478".parse().unwrap();
        let told = advertised(bound, &public, true, &machine());
        let expected = ["203.0.113.5:3478", "192.0.2.2:3478", "10.0.0.1:3478"];
        assert_eq!(told, expected.map(|address| address.parse().unwrap()));
    }

    #[test]
    fn a_containers_own_network_leads_nowhere() {
        let told = ["172.17.0.2:3478".parse().unwrap()];
        assert!(lead_nowhere(&told, true));
        assert!(
            !lead_nowhere(&told, false),
            "the same address elsewhere does"
        );
        assert!(!lead_nowhere(&["203.0.113.5:3478".parse().unwrap()], true));
        assert!(!lead_nowhere(&[], true));
    }

    #[test]
    fn a_machine_without_a_network_is_told_by_loopback() {
        let alone = [
            address("lo", "127.0.0.1"),
            address("lo", "::1"),
            address("docker0", "172.17.0.1"),
        ];
        assert_eq!(
            told("[::]:3478", &[], &alone),
            ["127.0.0.1:3478", "[::1]:3478"]
        );
        assert_eq!(told("[::]:3478", &[], &[]), Vec::<String>::new());
    }

    #[test]
    fn a_machine_with_very_many_addresses_does_not_fill_every_answer() {
        let many: Vec<_> = (0..100)
            .map(|n| address("eth0", &format!("192.0.2.{n}")))
            .collect();
        assert_eq!(told("[::]:3478", &[], &many).len(), MAX_ADVERTISED);
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let found = addresses().unwrap();
        assert!(
            found
                .iter()
                .any(|address| address.ip.is_loopback() && address.up),
            "{found:?}"
        );
    }
}
