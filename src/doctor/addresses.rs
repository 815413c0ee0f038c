//! Whether clients can reach the addresses that they are told.

use std::net::{IpAddr, SocketAddr};

use super::Finding;
use crate::net::interfaces::{self, InterfaceAddress};

/// Where the server is, as its settings and the machine have it.
pub(super) struct Place<'a> {
    pub(super) http: SocketAddr,
    pub(super) udp: SocketAddr,
    pub(super) public: &'a [SocketAddr],
    pub(super) private: bool,
    pub(super) machine: &'a [InterfaceAddress],
    pub(super) in_container: bool,
}

impl Place<'_> {
    pub(super) fn examine(&self) -> Vec<Finding> {
        let told = interfaces::advertised(self.udp, self.public, self.private, self.machine);
        let Some(first) = told.first() else {
            return vec![Finding::fault(
                "no network interface is up that clients could send media to",
                "bring one up, or name the address that they can send to with --public-ip",
            )];
        };
        let names: Vec<String> = told.iter().map(ToString::to_string).collect();
        let seen = format!("clients are told to send media to {}", names.join(", "));
        let mut findings = vec![self.judge(seen, &told, *first)];
        findings.extend(self.missing());
        findings
    }

    /// The addresses that clients are told.
    fn judge(&self, seen: String, told: &[SocketAddr], first: SocketAddr) -> Finding {
        let all = |is: fn(IpAddr) -> bool| told.iter().all(|address| is(canonical(*address)));
        let is_local = canonical(self.http).is_loopback();
        if all(|ip| ip.is_loopback()) {
            return match is_local {
                true => Finding::hint(
                    format!("{seen}: only this machine is served"),
                    "to serve others: --http 0.0.0.0:8080, with a certificate or a proxy, and tokens",
                ),
                false => Finding::fault(
                    format!("{seen}, but HTTP listens on {}", self.http),
                    "media would reach nobody elsewhere: leave --udp out or set it to an address \
                     that they reach, or name one with --public-ip",
                ),
            };
        }
        if told
            .iter()
            .any(|address| canonical(*address).is_unspecified())
        {
            return Finding::fault(
                seen,
                "an unspecified address leads nowhere; use --public-ip",
            );
        }
        if self.public.is_empty() && interfaces::lead_nowhere(told, self.in_container) {
            return Finding::fault(
                format!("{seen}, which is an address of the container network"),
                format!(
                    "run with `--network host`, or publish the port with `-p {0}:{0}/udp` and name \
                     the host's address with --public-ip",
                    first.port()
                ),
            );
        }
        if all(is_private) {
            return Finding::hint(
                format!("{seen}, which is private"),
                format!(
                    "people outside of this network hear and see nothing: forward UDP port {} to \
                     this machine and name the outside address with --public-ip",
                    first.port()
                ),
            );
        }
        Finding::good(seen)
    }

    /// Addresses that the server is told to have and that no interface has.
    fn missing(&self) -> Vec<Finding> {
        let has = |ip: IpAddr| self.machine.iter().any(|address| address.ip == ip);
        let foreign = self.public.iter().filter(|address| !has(address.ip()));
        foreign
            .map(|address| {
                let port = match address.port() {
                    0 => self.udp.port(),
                    port => port,
                };
                Finding::hint(
                    format!("--public-ip {} is on no interface here", address.ip()),
                    format!(
                        "that is right behind NAT: see that it passes UDP port {port} on to this \
                         machine, also for people on this side of it"
                    ),
                )
            })
            .collect()
    }
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Not routed in the internet: RFC 1918, RFC 6598 (carriers' NAT) and RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    struct Setup {
        http: &'static str,
        udp: &'static str,
        public: &'static [&'static str],
        machine: &'static [&'static str],
        in_container: bool,
    }

    const HOME: Setup = Setup {
        http: "0.0.0.0:8080",
        udp: "0.0.0.0:3478",
        public: &[],
        machine: &["127.0.0.1", "192.168.1.5"],
        in_container: false,
    };

    fn findings(setup: &Setup) -> Vec<Finding> {
        let machine: Vec<_> = (0..)
            .zip(setup.machine)
            .map(|(n, ip)| InterfaceAddress {
                interface: format!("eth{n}"),
                ip: ip.parse().unwrap(),
                up: true,
            })
            .collect();
        let parse = |text: &&str| -> SocketAddr { text.parse().unwrap() };
        let public: Vec<_> = setup.public.iter().map(parse).collect();
        let place = Place {
            http: parse(&setup.http),
            udp: parse(&setup.udp),
            public: &public,
            private: false,
            machine: &machine,
            in_container: setup.in_container,
        };
        place.examine()
    }

    fn first(setup: &Setup) -> (Verdict, String) {
        let finding = findings(setup).remove(0);
        (
            finding.verdict,
            format!("{} {}", finding.seen, finding.advice),
        )
    }

    #[test]
    fn media_on_loopback_behind_a_page_that_all_can_open_is_a_fault() {
        let (verdict, text) = first(&Setup {
            udp: "127.0.0.1:3478",
            ..HOME
        });
        assert_eq!(verdict, Verdict::Fault);
        assert!(
            text.contains("--udp") && text.contains("--public-ip"),
            "{text}"
        );
        let local = Setup {
            http: "127.0.0.1:8080",
            udp: "127.0.0.1:3478",
            ..HOME
        };
        assert_eq!(
            first(&local).0,
            Verdict::Hint,
            "nobody else is to be served"
        );
    }

    #[test]
    fn a_container_that_tells_its_own_address_is_a_fault_and_the_same_address_elsewhere_is_not() {
        let docker = Setup {
            machine: &["127.0.0.1", "172.17.0.2"],
            in_container: true,
            ..HOME
        };
        let (verdict, text) = first(&docker);
        assert_eq!(verdict, Verdict::Fault);
        assert!(
            text.contains("--network host") && text.contains("3478:3478/udp"),
            "{text}"
        );
        assert_eq!(
            first(&Setup {
                in_container: false,
                ..docker
            })
            .0,
            Verdict::Hint
        );
        let named = Setup {
            public: &["203.0.113.5:0"],
            ..docker
        };
        assert_eq!(first(&named).0, Verdict::Good);
    }

    #[test]
    fn a_private_address_is_pointed_out_and_a_public_one_is_not() {
        let (verdict, text) = first(&HOME);
        assert_eq!(verdict, Verdict::Hint);
        assert!(text.contains("forward UDP port 3478"), "{text}");
        let public = Setup {
            machine: &["127.0.0.1", "10.0.0.2", "203.0.113.9"],
            ..HOME
        };
        assert_eq!(findings(&public).len(), 1);
        assert_eq!(first(&public).0, Verdict::Good);
    }

    #[test]
    fn an_outside_address_is_a_reminder_of_the_port_that_must_come_through() {
        let nat = Setup {
            public: &["203.0.113.5:0", "203.0.113.6:443"],
            ..HOME
        };
        let findings = findings(&nat);
        assert_eq!(findings.len(), 3);
        assert!(findings[1].advice.contains("3478"), "{findings:?}");
        assert!(findings[2].advice.contains("443"), "{findings:?}");
    }

    #[test]
    fn a_machine_without_network_is_a_fault() {
        let none = Setup {
            machine: &[],
            ..HOME
        };
        assert_eq!(first(&none).0, Verdict::Fault);
    }
}
