//! A flood of ICE checks that nobody asked for, and what it costs the server to ignore them.
//!
//! It comes from as many addresses as loopback lends it, so that no limit for one address can be what helps, and
//! it goes to loopback alone: a tool that measures a server is not to be one that harms somebody's.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;

use crate::{
    settings::FloodSettings,
    sys::{ReceiveBatch, SendBatch, process_cpu_time},
};

/// Addresses that it comes from, one after the other, so that no two neighbours could travel as one.
const SOURCES: u32 = 1000;

/// Checks that are due are sent so often: a millisecond's worth is no burst that overruns the server's socket.
const TICK: Duration = Duration::from_millis(1);

/// Characters of the user fragments that are made up; as long as a server's own.
const UFRAG_CHARACTERS: usize = 8;

/// RFC 8489 §5: a Binding request, and the word that marks STUN.
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// What was sent, what came back, and what it cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct FloodReport {
    pub(crate) sent: u64,
    pub(crate) per_second: f64,
    /// Datagrams that the server sent to those who flood.
    pub(crate) answers: u64,
    /// Sends that the kernel would not take.
    pub(crate) refused_sends: u64,
    /// CPU time of the server during the flood, in percent of one core.
    pub(crate) cpu_percent: Option<f64>,
    /// Whether the limits were kept.
    pub(crate) kept: bool,
}

/// Sends checks at an even rate, and counts what comes back.
pub(crate) fn run(settings: &FloodSettings) -> io::Result<FloodReport> {
    let SocketAddr::V4(to) = settings.to else {
        return Err(io::Error::other("a flood goes to an IPv4 address"));
    };
    if !to.ip().is_loopback() {
        return Err(io::Error::other("a flood goes to 127.0.0.0/8 alone"));
    }
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    let mut flood = Flood {
        to: to.into(),
        ufrag: settings.ufrag.clone(),
        random: StdRng::seed_from_u64(settings.seed),
        batch: SendBatch::default(),
        received: ReceiveBatch::new(),
        sent: 0,
        refused: 0,
        answers: 0,
    };

    let cpu_before = settings.pid.and_then(process_cpu_time);
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < settings.seconds {
        let due = begun.elapsed().as_secs_f64() * f64::from(settings.per_second);
        flood.send_until(due as u64, &socket);
        flood.count_answers(&socket);
        std::thread::sleep(TICK);
    }
    let lasted = begun.elapsed();
    let cpu = settings.pid.and_then(process_cpu_time).zip(cpu_before);
    let cpu_percent =
        cpu.map(|(after, before)| 100.0 * (after - before).as_secs_f64() / lasted.as_secs_f64());
    Ok(FloodReport {
        sent: flood.sent,
        per_second: flood.sent as f64 / lasted.as_secs_f64(),
        answers: flood.answers,
        refused_sends: flood.refused,
        cpu_percent,
        kept: flood.answers <= settings.max_answers && !over(cpu_percent, settings.max_cpu_percent),
    })
}

fn over(found: Option<f64>, limit: Option<f64>) -> bool {
    matches!((found, limit), (Some(found), Some(limit)) if found > limit)
}

struct Flood {
    to: SocketAddr,
    /// The user fragment that is asked for; another one each time where there is none.
    ufrag: Option<String>,
    random: StdRng,
    batch: SendBatch,
    received: ReceiveBatch,
    sent: u64,
    refused: u64,
    answers: u64,
}

impl Flood {
    fn send_until(&mut self, due: u64, socket: &UdpSocket) {
        while self.sent < due {
            let source = Ipv4Addr::from_bits(
                Ipv4Addr::new(127, 1, 0, 1).to_bits() + (self.sent % u64::from(SOURCES)) as u32,
            );
            let check = self.check();
            self.batch
                .push(self.to, Some(source), |buffer| buffer.extend(check));
            self.sent += 1;
        }
        self.refused += self.batch.flush(socket) as u64;
    }

    /// A check as a browser sends it, by whoever does not know the password.
    fn check(&mut self) -> Vec<u8> {
        let ufrag = self.ufrag.clone().unwrap_or_else(|| {
            (0..UFRAG_CHARACTERS)
                .map(|_| self.random.random_range(b'a'..=b'z') as char)
                .collect()
        });
        let username = format!("{ufrag}:4ZcD");
        let mut attributes = Vec::with_capacity(80);
        let mut attribute = |kind: u16, value: &[u8]| {
            attributes.extend(kind.to_be_bytes());
            attributes.extend((value.len() as u16).to_be_bytes());
            attributes.extend(value);
            attributes.resize(attributes.len().next_multiple_of(4), 0);
        };
        // USERNAME, PRIORITY, ICE-CONTROLLING, MESSAGE-INTEGRITY, FINGERPRINT (RFC 8445 §7.1).
        attribute(0x0006, username.as_bytes());
        attribute(0x0024, &[0x6e, 0x7f, 0x1e, 0xff]);
        attribute(0x802A, &[7; 8]);
        attribute(0x0008, &[0; 20]);
        attribute(0x8028, &[0; 4]);

        let mut check = Vec::with_capacity(100);
        check.extend(BINDING_REQUEST);
        check.extend((attributes.len() as u16).to_be_bytes());
        check.extend(MAGIC_COOKIE);
        check.extend(self.random.random::<[u8; 12]>());
        check.extend(attributes);
        check
    }

    fn count_answers(&mut self, socket: &UdpSocket) {
        while let Ok(count @ 1..) = self.received.receive(socket) {
            self.answers += count as u64;
        }
    }
}

impl fmt::Display for FloodReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} checks sent, {:.0} per second, from {SOURCES} addresses; {} sends refused by the kernel",
            self.sent, self.per_second, self.refused_sends
        )?;
        writeln!(out, "{} answers", self.answers)?;
        if let Some(percent) = self.cpu_percent {
            writeln!(out, "{percent:.1} % of a core was the server's")?;
        }
        if !self.kept {
            writeln!(out, "a limit was broken")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(to: &str) -> FloodSettings {
        FloodSettings {
            to: to.parse().expect("an address"),
            ufrag: None,
            per_second: 2000,
            seconds: 0.2,
            seed: 1,
            pid: None,
            max_answers: 0,
            max_cpu_percent: None,
            json: false,
        }
    }

    #[test]
    fn a_flood_goes_to_loopback_alone() {
        assert!(run(&settings("192.0.2.1:3478")).is_err());
        assert!(run(&settings("[::1]:3478")).is_err());
    }

    #[test]
    fn a_server_that_answers_strangers_breaks_the_limit() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
        let to = server.local_addr().expect("it is bound").to_string();
        let echo = std::thread::spawn(move || {
            let mut buffer = [0; 200];
            let (length, from) = server.recv_from(&mut buffer).expect("a check comes");
            server
                .send_to(&buffer[..length], from)
                .expect("it goes back");
            buffer[..length].to_vec()
        });
        let report = run(&settings(&to)).expect("the flood can be made");
        let check = echo.join().expect("the server did not panic");
        assert_eq!(check[..2], BINDING_REQUEST);
        assert_eq!(usize::from(check[3]) + 20, check.len());
        assert_eq!(report.answers, 1);
        assert!(!report.kept && report.sent > 0);
    }
}
