//! Looks for what commonly goes wrong on a machine before anybody calls, and says what to do.
//!
//! Each examination is a function of the settings and of what was seen on the machine, and gives
//! findings. A fault keeps people out; a hint is something that costs, or that only whoever runs
//! the server can judge.

mod addresses;
mod certificate;
mod clock;
mod descriptors;
pub mod reach;
mod sockets;
mod turn;

use std::fmt;
use std::time::SystemTime;

use crate::config::Config;
use crate::net::interfaces::{self, InterfaceAddress};

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do about it; empty where all is well.
    pub advice: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, but may not be what is wanted.
    Hint,
    /// Somebody will not get through.
    Fault,
}

impl Finding {
    fn good(seen: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Good,
            seen: seen.into(),
            advice: String::new(),
        }
    }

    fn hint(seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Hint,
            seen: seen.into(),
            advice: advice.into(),
        }
    }

    fn fault(seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fault,
            ..Self::hint(seen, advice)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Good => "good ",
            Verdict::Hint => "hint ",
            Verdict::Fault => "FAULT",
        };
        write!(f, "{verdict}  {}", self.seen)?;
        if !self.advice.is_empty() {
            write!(f, "\n       -> {}", self.advice)?;
        }
        Ok(())
    }
}

/// Examines this machine for a server with these settings. Binds its ports for a moment, so that a
/// server that runs with the same ones counts as a port taken.
pub fn examine(config: &Config, now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    match interfaces::addresses() {
        Ok(machine) => findings.extend(reachability(config, &machine)),
        Err(error) => findings.push(Finding::fault(
            format!("the network interfaces cannot be listed: {error}"),
            "name the address that clients can send to with --public-ip",
        )),
    }
    findings.extend(sockets::examine(config));
    findings.push(clock::examine(now));
    findings.extend(certificate::examine(&config.http.tls, now));
    findings.extend(turn::examine(config));
    findings.extend(descriptors::examine(config.http.http_connections));
    findings
}

fn reachability(config: &Config, machine: &[InterfaceAddress]) -> Vec<Finding> {
    let public = match config.net.public(config.udp_address()) {
        Ok(public) => public,
        Err(error) => {
            return vec![Finding::fault(
                format!("--discover finds no public address: {error}"),
                "see that UDP is let out to that server, or name the address with --public-ip",
            )];
        }
    };
    let place = addresses::Place {
        http: config.http.http_listen,
        udp: config.udp_address(),
        public: &public,
        private: config.net.private_ips,
        machine,
        in_container: interfaces::is_in_container(),
    };
    place.examine()
}
