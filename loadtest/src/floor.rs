//! The floor: what it costs on this machine to copy, seal and send the same packets, and nothing else.
//!
//! No server can be cheaper on it. It has no WebRTC, no timers and no feedback: a key per receiver, a header and a
//! payload copied and sealed, and the runs of a frame handed to the kernel in as few calls as it allows.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use dimpl::SrtpProfile;
use serde::Serialize;

use crate::{
    meter::thread_cpu_time,
    outbound::MediaRate,
    report::Spread,
    rtp::HeaderSpec,
    srtp::Srtp,
    sys::{self, Poller, ReceiveBatch, SendBatch},
};

/// Bytes of a video packet's payload: with header and tag it is 1200 on the wire.
const VIDEO_PAYLOAD: usize = 1200 - 12 - 16;

/// Bytes of an audio packet's payload: with header and tag it is 100 on the wire.
const AUDIO_PAYLOAD: usize = 100 - 12 - 16;

/// Receivers that are sent to between two calls into the kernel.
///
/// More saves nothing (the call is not the cost), and what was sealed would leave the cache before it is sent.
const RECEIVERS_PER_FLUSH: usize = 32;

/// What each receiver is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) receivers: usize,
    /// Streams of each receiver.
    pub(crate) video: usize,
    pub(crate) audio: usize,
    pub(crate) rate: MediaRate,
}

/// What it cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct FloorReport {
    pub(crate) receivers: usize,
    pub(crate) packets: u64,
    /// Without a pause, and with the sleep between frames that the scenario has.
    pub(crate) flat_out_ns_per_packet: Option<f64>,
    pub(crate) paced_ns_per_packet: Option<f64>,
    /// Paced: how much of the time was slept.
    pub(crate) idle_percent: f64,
    /// Sends that the kernel would not take.
    pub(crate) refused: u64,
}

/// Several measurements of one mix, alternating, with their spread.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LimitReport {
    pub(crate) receivers: usize,
    pub(crate) flat_out_ns: Spread,
    pub(crate) paced_ns: Spread,
    pub(crate) idle_percent: f64,
    /// Sends that the kernel would not take: these packets cost less than they should.
    pub(crate) refused_sends: u64,
    /// Nanoseconds per packet, flat out and paced.
    pub(crate) rounds: Vec<[f64; 2]>,
}

/// Sends the mix for `lasting`, once flat out and once paced, in each of `rounds`.
pub(crate) fn limit(mix: Mix, lasting: Duration, rounds: usize) -> io::Result<LimitReport> {
    let mut all = Vec::new();
    let (mut idle_percent, mut refused_sends) = (0.0, 0);
    for _ in 0..rounds.max(1) {
        let flat_out = measure(mix, lasting, false)?;
        let paced = measure(mix, lasting, true)?;
        idle_percent = paced.idle_percent;
        refused_sends += flat_out.refused + paced.refused;
        all.push([
            flat_out.flat_out_ns_per_packet.unwrap_or_default(),
            paced.paced_ns_per_packet.unwrap_or_default(),
        ]);
    }
    Ok(LimitReport {
        receivers: mix.receivers,
        flat_out_ns: Spread::of(all.iter().map(|round| round[0])),
        paced_ns: Spread::of(all.iter().map(|round| round[1])),
        idle_percent,
        refused_sends,
        rounds: all,
    })
}

/// One measurement; only the sending thread's CPU time counts.
pub(crate) fn measure(mix: Mix, lasting: Duration, paced: bool) -> io::Result<FloorReport> {
    let (readers, addresses) = Readers::start(mix.receivers)?;
    let result = std::thread::Builder::new()
        .name("floor".to_owned())
        .spawn(move || send(mix, &addresses, lasting, paced))?
        .join()
        .map_err(|_| io::Error::other("the floor's thread panicked"))?;
    readers.stop();
    result
}

struct Receiver {
    address: SocketAddr,
    srtp: Srtp,
    sequence: u64,
}

fn send(
    mix: Mix,
    addresses: &[SocketAddr],
    lasting: Duration,
    paced: bool,
) -> io::Result<FloorReport> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut receivers: Vec<Receiver> = addresses
        .iter()
        .enumerate()
        .map(|(number, address)| {
            let mut material = [0; 56];
            rand::fill(&mut material);
            let srtp = Srtp::new(&material, SrtpProfile::AEAD_AES_128_GCM, true)
                .expect("56 bytes are two keys and two salts of this profile");
            Receiver {
                address: *address,
                srtp,
                sequence: number as u64,
            }
        })
        .collect();
    let frame = Duration::from_secs(1) / mix.rate.frames_per_second.max(1);
    let per_frame =
        (mix.rate.video_kbps as usize * 1000 / 8 / mix.rate.frames_per_second.max(1) as usize
            + 600)
            / 1200;
    // Audio comes every 20 ms: at 25 frames per second twice per frame.
    let audio_per_frame = frame.as_secs_f64() / 0.020;
    let payload: Vec<u8> = (0..VIDEO_PAYLOAD).map(|at| at as u8).collect();
    let mut batch = SendBatch::default();
    let (mut packets, mut refused, mut audio_owed) = (0_u64, 0_u64, 0.0);
    let (start, cpu) = (Instant::now(), thread_cpu_time());
    let mut next = start;
    while start.elapsed() < lasting {
        audio_owed += audio_per_frame * mix.audio as f64;
        let audio = audio_owed as usize;
        audio_owed -= audio as f64;
        // As on a server: video and audio come at different moments, and leave in different runs.
        let mut parts = vec![(per_frame, VIDEO_PAYLOAD); mix.video];
        parts.extend(std::iter::repeat_n((1, AUDIO_PAYLOAD), audio));
        let count = parts.len() as u32;
        for (count_of, len) in parts {
            for chunk in receivers.chunks_mut(RECEIVERS_PER_FLUSH) {
                for receiver in chunk {
                    receiver.queue(count_of, &payload[..len], &mut batch);
                }
                refused += batch.flush(&socket) as u64;
            }
            packets += (count_of * mix.receivers) as u64;
            if paced {
                next += frame / count.max(1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
        if mix.receivers == 0 {
            break;
        }
    }
    let (wall, cpu) = (start.elapsed(), thread_cpu_time().saturating_sub(cpu));
    let ns = Some(cpu.as_nanos() as f64 / packets.max(1) as f64);
    Ok(FloorReport {
        receivers: mix.receivers,
        packets,
        flat_out_ns_per_packet: ns.filter(|_| !paced),
        paced_ns_per_packet: ns.filter(|_| paced),
        idle_percent: 100.0 * (1.0 - cpu.as_secs_f64() / wall.as_secs_f64()).max(0.0),
        refused,
    })
}

impl Receiver {
    /// Copies and seals a frame's packets.
    fn queue(&mut self, count: usize, payload: &[u8], batch: &mut SendBatch) {
        for packet in 0..count {
            let index = self.sequence;
            self.sequence += 1;
            let srtp = &self.srtp;
            batch.push(self.address, None, |out| {
                let start = out.len();
                let header = HeaderSpec {
                    marker: packet + 1 == count,
                    payload_type: 96,
                    sequence: index as u16,
                    timestamp: index as u32,
                    ssrc: 1,
                    extensions: &[],
                };
                let header_len = header.write(out);
                out.extend_from_slice(payload);
                srtp.seal_rtp(out, start, header_len, index);
            });
        }
    }
}

/// Real sockets, emptied by a thread of its own, whose time does not count.
struct Readers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Readers {
    fn start(count: usize) -> io::Result<(Self, Vec<SocketAddr>)> {
        let mut poller = Poller::new()?;
        let mut sockets = Vec::with_capacity(count);
        let mut addresses = Vec::with_capacity(count);
        for token in 0..count {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            sys::prepare_udp(&socket, false)?;
            poller.add(&socket, token as u64)?;
            addresses.push(socket.local_addr()?);
            sockets.push(socket);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("floor-readers".to_owned())
            .spawn(move || {
                let mut batch = ReceiveBatch::new();
                let mut tokens = Vec::new();
                while !stopped.load(Relaxed) {
                    poller.wait(Duration::from_millis(50), &mut tokens)?;
                    for &token in &tokens {
                        batch.receive(&sockets[token as usize])?;
                    }
                }
                Ok(())
            })?;
        Ok((Self { stop, thread }, addresses))
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        // What it read is of no interest, and how it ended neither.
        let _ = self.thread.join();
    }
}

impl fmt::Display for LimitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, ns: &Spread| {
            writeln!(
                f,
                "  {name:<10} median {:.0}, at most {:.0} ns per packet ({} rounds)",
                ns.p50, ns.max, ns.count
            )
        };
        row("flat out", &self.flat_out_ns)?;
        row("paced", &self.paced_ns)?;
        if self.refused_sends > 0 {
            writeln!(
                f,
                "  DOUBT: the kernel refused {} sends",
                self.refused_sends
            )?;
        }
        writeln!(
            f,
            "  {} receivers; paced, the sending thread was idle for {:.0} %",
            self.receivers, self.idle_percent
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_has_a_price_in_both_ways_of_sending() {
        let rate = MediaRate {
            video_kbps: 1200,
            frames_per_second: 25,
        };
        let mix = Mix {
            receivers: 3,
            video: 1,
            audio: 1,
            rate,
        };
        let report = limit(mix, Duration::from_millis(200), 1).expect("loopback works");
        assert!(report.flat_out_ns.p50 > 0.0 && report.paced_ns.p50 > 0.0);
        assert!(report.idle_percent > 10.0, "it sleeps between frames");
    }
}
