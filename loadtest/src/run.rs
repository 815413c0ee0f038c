//! A run from its plan to its report: threads are started, watched and gathered.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    floor::{self, Mix},
    meter::{Meter, Reading, ServerReport},
    outbound::MediaRate,
    payload::Codec,
    peer::Behaviour,
    report::{OwnReport, RunReport, Sample, Totals},
    scenario::{Plan, Visit},
    signal::{self, Mailbox},
    transport::Identity,
    worker::{Live, Run, Worker, WorkerReport},
};

/// After the last client joined, so long passes before measuring: handshakes, first keyframes, filled queues.
const SETTLE: Duration = Duration::from_secs(1);

/// Publishers are silent so long before the end, so that what is under way, or asked for again, arrives.
const DRAIN: Duration = Duration::from_millis(700);

/// How a plan is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Length of the measured part.
    pub(crate) measured: Duration,
    pub(crate) threads: usize,
    pub(crate) behaviour: Behaviour,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) shared_sockets: bool,
    /// All media goes by TCP.
    pub(crate) tcp: bool,
    pub(crate) progress: bool,
    pub(crate) meter: Meter,
    /// Measures the floor before and after.
    pub(crate) floor: bool,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the scenario has no clients: give a URL and a number of clients")]
    NothingToDo,
    #[error("{0} is no http URL of a host that can be reached")]
    BadUrl(String),
    #[error("shared sockets need a server on 127.0.0.0/8, and at most 65000 clients per thread")]
    CannotShare,
    #[error("no certificate could be made")]
    NoCertificate,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a thread of the load test panicked")]
    Panicked,
}

/// Runs a plan to its end, or until `stop` is set.
pub(crate) fn run(
    plan: Plan,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<RunReport, RunError> {
    let first = plan.visits.first().ok_or(RunError::NothingToDo)?;
    let local = local_address(&first.url)?;
    let threads = options.threads.clamp(1, plan.visits.len());
    if options.shared_sockets
        && (!local.is_loopback() || !local.is_ipv4() || plan.visits.len() / threads > 65_000)
    {
        return Err(RunError::CannotShare);
    }
    let mix = mix_of(&plan.visits, options.behaviour.rate);
    let mix = Some(mix).filter(|mix| options.floor && mix.receivers > 0);
    let before = mix.map(paced_floor).transpose()?;
    let idle = options.meter.read();
    let start = Instant::now() + Duration::from_millis(50);
    let measure_from = start + plan.joined_by + SETTLE;
    let quiet_at = measure_from + options.measured;
    let run = Arc::new(Run {
        identity: Identity::new().map_err(|_| RunError::NoCertificate)?,
        behaviour: options.behaviour,
        token: options.token.clone(),
        local,
        shared_sockets: options.shared_sockets,
        tcp: options.tcp,
        ssrc_base: rand::random(),
        start,
        measure_from,
        quiet_at,
        stop_at: quiet_at + DRAIN,
        stop: AtomicBool::new(false),
        live: Live::default(),
    });
    let (workers, http) = start_workers(&run, plan.visits, threads)?;
    let window = watch(&run, options, stop);
    let mut reports = Vec::with_capacity(threads);
    for worker in workers {
        reports.push(worker.join().map_err(|_| RunError::Panicked)??);
    }
    http.join().map_err(|_| RunError::Panicked)?;
    let mut report = gather(plan.name, reports, &window);
    if options.meter.is_set() {
        let (seconds, packets, clients) = (window.seconds, window.packets, window.clients);
        let mut server =
            ServerReport::of(&idle, &window.start, &window.end, seconds, packets, clients);
        if let (Some(mix), Some(before)) = (mix, before) {
            server.set_floor((before + paced_floor(mix)?) / 2.0);
        }
        report.server = Some(server);
    }
    report.samples = window.samples;
    Ok(report)
}

/// What the receivers of a plan are sent, as far as it can be told: every slot shows a source.
fn mix_of(visits: &[Visit], rate: MediaRate) -> Mix {
    let receivers = visits
        .iter()
        .filter(|visit| visit.media.iter().any(|wish| !wish.sends));
    let slots = |visit: &Visit, audio: bool| {
        visit
            .media
            .iter()
            .filter(|wish| !wish.sends && (wish.codec == Codec::Opus) == audio)
            .count()
    };
    let first = receivers.clone().next();
    Mix {
        receivers: receivers.count(),
        video: first.map_or(0, |visit| slots(visit, false)),
        audio: first.map_or(0, |visit| slots(visit, true)),
        rate,
    }
}

/// Nanoseconds per packet.
fn paced_floor(mix: Mix) -> std::io::Result<f64> {
    /// Long enough for fifty frames.
    const LASTING: Duration = Duration::from_secs(2);
    Ok(floor::measure(mix, LASTING, true)?
        .paced_ns_per_packet
        .unwrap_or_default())
}

type WorkerThread = std::thread::JoinHandle<std::io::Result<WorkerReport>>;

fn start_workers(
    run: &Arc<Run>,
    visits: Vec<Visit>,
    threads: usize,
) -> Result<(Vec<WorkerThread>, std::thread::JoinHandle<()>), RunError> {
    let mut shares: Vec<Vec<Visit>> = vec![Vec::new(); threads];
    for visit in visits {
        let share = visit.number as usize % threads;
        shares[share].push(visit);
    }
    let mut mailboxes = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..threads {
        let (answers, receiver) = mpsc::channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        mailboxes.push(Mailbox { answers, wake });
        ends.push((receiver, woken));
    }
    let (jobs, http) = signal::start(mailboxes)?;
    let mut workers = Vec::new();
    for (number, (visits, (answers, woken))) in shares.into_iter().zip(ends).enumerate() {
        let (run, jobs) = (Arc::clone(run), jobs.clone());
        let thread = std::thread::Builder::new().name(format!("clients-{number}"));
        workers.push(
            thread.spawn(move || Worker::new(number, run, visits, jobs, answers, woken)?.run())?,
        );
    }
    Ok((workers, http))
}

/// What was counted while measuring.
#[derive(Default)]
struct Window {
    seconds: f64,
    packets: u64,
    bytes: u64,
    /// Connected at the end of it.
    clients: u64,
    start: Reading,
    end: Reading,
    samples: Vec<Sample>,
}

/// Between two samples; what a plot of some minutes can show.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Shows how it goes, and reads the counts at both ends of the measured part.
fn watch(run: &Run, options: &Options, stop: &AtomicBool) -> Window {
    let bar = if options.progress {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let live = &run.live;
    let counted = || (live.packets.load(Relaxed), live.bytes.load(Relaxed));
    let mut window = Window::default();
    let mut began: Option<(Instant, (u64, u64))> = None;
    let mut last = Look {
        at: Instant::now(),
        packets: 0,
        bytes: 0,
        server: options.meter.glance(),
    };
    let mut now = last.at;
    while now < run.quiet_at {
        if stop.load(Relaxed) {
            run.stop.store(true, Relaxed);
            break;
        }
        if began.is_none() && now >= run.measure_from {
            window.start = options.meter.read();
            now = Instant::now();
            began = Some((now, counted()));
        }
        if now >= last.at + SAMPLE_INTERVAL {
            let sample = last.next(run, options, now);
            bar.set_message(format!(
                "{} connected, {} failed, {} left of {} asked; {:.0} packets/s",
                sample.connected,
                live.failed.load(Relaxed),
                live.left.load(Relaxed),
                live.asked.load(Relaxed),
                sample.packets_per_second,
            ));
            bar.tick();
            window.samples.push(sample);
        }
        let next = if began.is_none() {
            run.measure_from
        } else {
            run.quiet_at
        };
        let nap = next.saturating_duration_since(now);
        std::thread::sleep(nap.clamp(Duration::from_millis(1), Duration::from_millis(100)));
        now = Instant::now();
    }
    let (packets, bytes) = counted();
    window.clients = live.connected.load(Relaxed);
    window.end = options.meter.read();
    bar.finish_and_clear();
    if let Some((at, start)) = began {
        window.seconds = (now - at).as_secs_f64();
        window.packets = packets - start.0;
        window.bytes = bytes - start.1;
    }
    window
}

/// The counts at the last sample.
struct Look {
    at: Instant,
    packets: u64,
    bytes: u64,
    server: Reading,
}

impl Look {
    /// What has changed since, as rates.
    fn next(&mut self, run: &Run, options: &Options, now: Instant) -> Sample {
        let live = &run.live;
        let (packets, bytes) = (live.packets.load(Relaxed), live.bytes.load(Relaxed));
        let server = options.meter.glance();
        let seconds = (now - self.at).as_secs_f64();
        let used = server
            .cpu
            .zip(self.server.cpu)
            .map(|(now, before)| now.saturating_sub(before));
        let sample = Sample {
            seconds: now.saturating_duration_since(run.start).as_secs_f64(),
            connected: live.connected.load(Relaxed),
            packets_per_second: (packets - self.packets) as f64 / seconds,
            megabits_per_second: (bytes - self.bytes) as f64 * 8e-6 / seconds,
            server_cpu_percent: used.map(|used| 100.0 * used.as_secs_f64() / seconds),
            server_rss_bytes: server.rss_bytes,
        };
        *self = Self {
            at: now,
            packets,
            bytes,
            server,
        };
        sample
    }
}

/// The shares of packets, in percent, for which the delay is plotted.
const DELAY_CURVE: [f64; 14] = [
    1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.0, 98.0, 99.0, 99.5, 99.9, 99.99,
];

fn gather(scenario: &'static str, workers: Vec<WorkerReport>, window: &Window) -> RunReport {
    let mut clients = Vec::new();
    let mut own = Vec::new();
    let mut delays: Option<Histogram<u64>> = None;
    for worker in workers {
        clients.extend(worker.peers);
        own.push(worker.own);
        match &mut delays {
            // All workers' histograms have the same bounds: adding cannot fail.
            Some(all) => drop(all.add(&worker.delays)),
            None => delays = Some(worker.delays),
        }
    }
    clients.sort_by_key(|client| client.number);
    let delays = delays
        .unwrap_or_else(|| Histogram::new_with_bounds(1, 2, 1).expect("the bounds are valid"));
    let mut totals = Totals::of(&clients, &delays);
    if window.seconds > 0.0 {
        totals.packets_per_second = window.packets as f64 / window.seconds;
        totals.megabits_per_second = window.bytes as f64 * 8e-6 / window.seconds;
    }
    RunReport {
        scenario,
        measured_seconds: window.seconds,
        totals,
        server: None,
        load_test: OwnReport::of(&own),
        broken_limits: Vec::new(),
        samples: Vec::new(),
        delay_curve: DELAY_CURVE
            .iter()
            .filter(|_| !delays.is_empty())
            .map(|share| (*share, delays.value_at_quantile(share / 100.0) as f64 / 1e3))
            .collect(),
        clients,
    }
}

/// The address of this machine from which the server of `url` is reached.
fn local_address(url: &str) -> Result<IpAddr, RunError> {
    let bad = || RunError::BadUrl(url.to_owned());
    let parsed = reqwest::Url::parse(url).map_err(|_| bad())?;
    let host = parsed.host_str().ok_or_else(bad)?.trim_matches(['[', ']']);
    let port = parsed.port_or_known_default().ok_or_else(bad)?;
    let server: SocketAddr = (host, port)
        .to_socket_addrs()
        .map_err(|_| bad())?
        .next()
        .ok_or_else(bad)?;
    let any: IpAddr = if server.is_ipv4() {
        [0_u8; 4].into()
    } else {
        [0_u8; 16].into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}
