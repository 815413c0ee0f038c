//! One thread with its share of the clients: reads their sockets in batches and keeps their time.

mod cpu;
mod sockets;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::sync::mpsc as async_mpsc;

use self::{
    cpu::CpuMeter,
    sockets::{OWN_BUFFER, SHARED_BUFFER, index_of_shared_address, open_socket, shared_address},
};
use crate::{
    bridge, clock,
    delay::Delays,
    peer::{Arrival, Behaviour, Peer},
    report::PeerReport,
    scenario::Visit,
    sdp::{self, Answer, OfferSpec},
    signal::{Job, Joined},
    sys::{Poller, ReceiveBatch, SendBatch},
    transport::Identity,
};

/// The token of the stream that says that answers have come.
const WAKE: u64 = u64::MAX;

/// The token of the socket that all clients of a worker share.
const SHARED: u64 = u64::MAX - 1;

/// Longest sleep, so that a stop is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// What all workers of a run share.
pub(crate) struct Run {
    pub(crate) identity: Identity,
    pub(crate) behaviour: Behaviour,
    pub(crate) token: Option<Arc<str>>,
    /// The address that clients use, when each has a socket of its own.
    pub(crate) local: IpAddr,
    /// One socket per worker, on which each client is an address of 127.0.0.0/8.
    pub(crate) shared_sockets: bool,
    /// All media goes by TCP.
    pub(crate) tcp: bool,
    pub(crate) ssrc_base: u32,
    pub(crate) start: Instant,
    /// From here on it counts for the delays and the own load.
    pub(crate) measure_from: Instant,
    /// Publishers fall silent, and what is under way may still arrive.
    pub(crate) quiet_at: Instant,
    pub(crate) stop_at: Instant,
    pub(crate) stop: AtomicBool,
    pub(crate) live: Live,
}

impl Run {
    /// An answer with the addresses that clients send to.
    fn reached(&self, mut answer: Answer) -> Result<Answer, String> {
        if self.tcp {
            let server = answer.tcp_candidates.first();
            let server = *server.ok_or("the server has no candidate of TCP")?;
            let bridge = bridge::open(server, self.local).map_err(|error| error.to_string())?;
            answer.candidates = vec![bridge];
        }
        Ok(answer)
    }
}

/// Counts that the progress line and the server's price per packet need while the run goes on.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) asked: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) left: AtomicU64,
    /// RTP packets that receivers took in.
    pub(crate) packets: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// What one worker brings home.
pub(crate) struct WorkerReport {
    pub(crate) peers: Vec<PeerReport>,
    /// One-way delays of all receivers, in microseconds, from `measure_from` on.
    pub(crate) delays: Histogram<u64>,
    pub(crate) own: OwnLoad,
}

/// Whether the load test kept up.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnLoad {
    /// How late frames were sent.
    pub(crate) late: Delays,
    /// How long datagrams waited in our sockets.
    pub(crate) waited: Delays,
    /// Share of a core that the busiest second took.
    pub(crate) busiest: f64,
    /// Share of a core over the measured time.
    pub(crate) average: f64,
    /// Datagrams lost to full receive buffers of ours.
    pub(crate) dropped: u64,
    /// Sends that the kernel refused.
    pub(crate) refused: u64,
}

/// One client and the socket it has, unless it shares one.
struct Client {
    peer: Peer,
    socket: Option<UdpSocket>,
    dropped: u32,
    counted_connected: bool,
}

/// A thread's state.
pub(crate) struct Worker {
    number: usize,
    run: Arc<Run>,
    jobs: async_mpsc::UnboundedSender<Job>,
    answers: mpsc::Receiver<Joined>,
    wake: UnixStream,
    poller: Poller,
    /// Sorted by the time they begin.
    visits: Vec<Visit>,
    clients: Vec<Option<Box<Client>>>,
    shared: Option<UdpSocket>,
    shared_dropped: u32,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    leaves: BinaryHeap<Reverse<(Instant, usize)>>,
    receive: ReceiveBatch,
    send: SendBatch,
    report: WorkerReport,
    cpu: CpuMeter,
}

impl Worker {
    pub(crate) fn new(
        number: usize,
        run: Arc<Run>,
        mut visits: Vec<Visit>,
        jobs: async_mpsc::UnboundedSender<Job>,
        answers: mpsc::Receiver<Joined>,
        wake: UnixStream,
    ) -> io::Result<Self> {
        visits.sort_by_key(|visit| visit.join_at);
        wake.set_nonblocking(true)?;
        let poller = Poller::new()?;
        poller.add(&wake, WAKE)?;
        let shared = if run.shared_sockets {
            let socket = open_socket(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SHARED_BUFFER, true)?;
            poller.add(&socket, SHARED)?;
            Some(socket)
        } else {
            None
        };
        let delays = Histogram::new_with_bounds(1, 60_000_000, 2).map_err(io::Error::other)?;
        let cpu = CpuMeter::new(run.measure_from);
        Ok(Self {
            number,
            run,
            jobs,
            answers,
            wake,
            poller,
            clients: visits.iter().map(|_| None).collect(),
            visits,
            shared,
            shared_dropped: 0,
            timers: BinaryHeap::new(),
            leaves: BinaryHeap::new(),
            receive: ReceiveBatch::new(),
            send: SendBatch::default(),
            report: WorkerReport {
                peers: Vec::new(),
                delays,
                own: OwnLoad::default(),
            },
            cpu,
        })
    }

    /// Runs until the end of the run; gives what its clients saw.
    pub(crate) fn run(mut self) -> io::Result<WorkerReport> {
        let mut next_visit = 0;
        let mut tokens = Vec::new();
        loop {
            let now = Instant::now();
            if now >= self.run.stop_at || self.run.stop.load(Relaxed) {
                return Ok(self.finish(now));
            }
            self.cpu.tick(now);
            while let Some(visit) = self.visits.get(next_visit)
                && self.run.start + visit.join_at <= now
            {
                self.join(next_visit, now);
                next_visit += 1;
            }
            self.fire_timers(now);
            let timeout = self.sleep(next_visit, Instant::now());
            self.poller.wait(timeout, &mut tokens)?;
            let now = Instant::now();
            for &token in &tokens {
                match token {
                    WAKE => self.take_answers(now),
                    SHARED => self.read_shared(now)?,
                    client => self.read_own(client as usize, now)?,
                }
            }
        }
    }

    fn sleep(&self, next_visit: usize, now: Instant) -> Duration {
        let visit = self
            .visits
            .get(next_visit)
            .map(|visit| self.run.start + visit.join_at);
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let leave = self.leaves.peek().map(|Reverse((at, _))| *at);
        [visit, timer, leave, Some(now + LONGEST_SLEEP)]
            .into_iter()
            .flatten()
            .min()
            .map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(now))
    }

    fn join(&mut self, index: usize, now: Instant) {
        let run = Arc::clone(&self.run);
        let visit = self.visits[index].clone();
        run.live.asked.fetch_add(1, Relaxed);
        if let Some(leave_at) = visit.leave_at {
            self.leaves.push(Reverse((run.start + leave_at, index)));
        }
        let (socket, local, source) = match self.place(index) {
            Ok(place) => place,
            Err(error) => {
                run.live.failed.fetch_add(1, Relaxed);
                self.report.peers.push(PeerReport::never_started(
                    &visit,
                    format!("no socket: {error}"),
                ));
                return;
            }
        };
        let ssrc_base = run.ssrc_base.wrapping_add(visit.number.wrapping_mul(512));
        let url = Arc::clone(&visit.url);
        let peer = Peer::new(visit, run.behaviour, local, source, ssrc_base, now);
        let (ufrag, password) = peer.transport.credentials();
        let offer = sdp::offer(&OfferSpec {
            ufrag,
            password,
            fingerprint: &run.identity.fingerprint,
            cname: &peer.visit.cname(),
            address: local,
            media: peer.media(),
        });
        let job = Job::Join {
            worker: self.number,
            client: index,
            url,
            token: run.token.clone(),
            offer,
        };
        // The other end lives as long as this one.
        let _ = self.jobs.send(job);
        self.clients[index] = Some(Box::new(Client {
            peer,
            socket,
            dropped: 0,
            counted_connected: false,
        }));
    }

    /// A socket or an address of its own for a client.
    fn place(&self, index: usize) -> io::Result<(Option<UdpSocket>, SocketAddr, Option<Ipv4Addr>)> {
        if let Some(shared) = &self.shared {
            let address = shared_address(self.number, index);
            return Ok((
                None,
                SocketAddr::new(address.into(), shared.local_addr()?.port()),
                Some(address),
            ));
        }
        let socket = open_socket(self.run.local, OWN_BUFFER, false)?;
        self.poller.add(&socket, index as u64)?;
        let local = socket.local_addr()?;
        Ok((Some(socket), local, None))
    }

    fn take_answers(&mut self, now: Instant) {
        let mut bytes = [0; 256];
        while self
            .wake
            .read(&mut bytes)
            .is_ok_and(|read| read == bytes.len())
        {}
        while let Ok(joined) = self.answers.try_recv() {
            let Some(client) = &mut self.clients[joined.client] else {
                // It left before it was let in.
                if let Ok((_, url)) = joined.result {
                    let _ = self.jobs.send(Job::Leave {
                        url,
                        token: self.run.token.clone(),
                    });
                }
                continue;
            };
            let answer = joined.result.and_then(|(text, url)| {
                sdp::parse_answer(&text, client.peer.media())
                    .map_err(|error| error.to_string())
                    .and_then(|answer| self.run.reached(answer))
                    .map(|answer| (answer, url))
            });
            match answer {
                Ok((answer, url)) => {
                    client
                        .peer
                        .handle_answer(answer, url, &self.run.identity, now);
                }
                Err(error) => client.peer.failed = Some(error),
            }
            self.poll_client(joined.client, now);
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(&Reverse((at, index))) = self.leaves.peek()
            && at <= now
        {
            self.leaves.pop();
            self.leave(index, now);
        }
        while let Some(&Reverse((at, index))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            let current = self.clients[index]
                .as_ref()
                .is_some_and(|client| client.peer.wake_at == Some(at));
            if current {
                self.poll_client(index, now);
            }
        }
    }

    /// Lets a client do what is due, sends it, and sets its timer.
    fn poll_client(&mut self, index: usize, now: Instant) {
        let run = &self.run;
        let may_publish = now < run.quiet_at;
        let Some(client) = &mut self.clients[index] else {
            return;
        };
        let late = client.peer.poll(now, may_publish, &mut self.send);
        if let Some(late) = late
            && now >= run.measure_from
        {
            self.report.own.late.record(late);
        }
        if client.peer.is_connected() && !client.counted_connected {
            client.counted_connected = true;
            run.live.connected.fetch_add(1, Relaxed);
        }
        self.flush(index);
        let Some(client) = &mut self.clients[index] else {
            return;
        };
        if client.peer.failed.is_some() {
            self.leave(index, now);
            return;
        }
        if let Some(at) = client.peer.poll_timeout(may_publish) {
            client.peer.wake_at = Some(at);
            self.timers.push(Reverse((at, index)));
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(client) = self.clients[index].as_ref() else {
            return;
        };
        if self.send.is_empty() {
            return;
        }
        if let Some(socket) = client.socket.as_ref().or(self.shared.as_ref()) {
            let refused = self.send.flush(socket) as u64;
            // Before that, ICE tries candidates that cannot be reached from here.
            if client.counted_connected {
                self.report.own.refused += refused;
            }
        }
    }

    fn read_own(&mut self, index: usize, now: Instant) -> io::Result<()> {
        let Some(socket) = self.clients[index]
            .as_ref()
            .and_then(|client| client.socket.as_ref())
        else {
            return Ok(());
        };
        let count = self.receive.receive(socket)?;
        for datagram in 0..count {
            self.take(datagram, index, now);
        }
        Ok(())
    }

    fn read_shared(&mut self, now: Instant) -> io::Result<()> {
        let Some(socket) = &self.shared else {
            return Ok(());
        };
        let count = self.receive.receive(socket)?;
        for datagram in 0..count {
            let received = self.receive.get(datagram);
            if let Some(dropped) = received.dropped {
                self.shared_dropped = dropped;
            }
            let index = received
                .destination
                .map(|address| index_of_shared_address(self.number, address));
            if let Some(index) = index
                && index < self.clients.len()
            {
                self.take(datagram, index, now);
            }
        }
        Ok(())
    }

    /// Takes in one datagram of the receive batch, piece by piece.
    fn take(&mut self, datagram: usize, index: usize, now: Instant) {
        let received = self.receive.get(datagram);
        let Some(client) = &mut self.clients[index] else {
            return;
        };
        if client.socket.is_some()
            && let Some(dropped) = received.dropped
        {
            client.dropped = dropped;
        }
        let measuring = now >= self.run.measure_from && now < self.run.quiet_at;
        let wall_ns = clock::wall_ns();
        let arrival = Arrival::of(received.kernel_ns, wall_ns, now);
        if measuring {
            let waited = now.saturating_duration_since(arrival.at);
            self.report.own.waited.record(waited);
        }
        let (mut packets, mut bytes, mut wants_poll) = (0, 0, false);
        for piece in received.data.chunks_mut(received.segment) {
            let len = piece.len() as u64;
            let taken =
                client
                    .peer
                    .handle_datagram(piece, received.source, arrival, now, &mut self.send);
            wants_poll |= !taken.rtp;
            packets += u64::from(taken.rtp);
            bytes += if taken.rtp { len } else { 0 };
            if let (Some(delay), true) = (taken.delay, measuring) {
                self.report
                    .delays
                    .saturating_record(delay.as_micros() as u64);
            }
        }
        self.run.live.packets.fetch_add(packets, Relaxed);
        self.run.live.bytes.fetch_add(bytes, Relaxed);
        let urgent = client
            .peer
            .urgent_at()
            .filter(|at| client.peer.wake_at.is_none_or(|wake| *at < wake));
        if let Some(at) = urgent {
            client.peer.wake_at = Some(at);
            self.timers.push(Reverse((at, index)));
        }
        if wants_poll {
            self.poll_client(index, now);
        }
    }

    fn leave(&mut self, index: usize, now: Instant) {
        let Some(client) = self.clients[index].take() else {
            return;
        };
        let live = &self.run.live;
        live.left.fetch_add(1, Relaxed);
        if client.counted_connected {
            live.connected.fetch_sub(1, Relaxed);
        }
        if client.peer.failed.is_some() {
            live.failed.fetch_add(1, Relaxed);
        }
        self.report.own.dropped += u64::from(client.dropped);
        self.report
            .peers
            .push(PeerReport::of(&client.peer, now.min(self.run.quiet_at)));
        if let Some(url) = client.peer.session_url.filter(|url| !url.is_empty()) {
            let _ = self.jobs.send(Job::Leave {
                url,
                token: self.run.token.clone(),
            });
        }
    }

    fn finish(mut self, now: Instant) -> WorkerReport {
        for index in 0..self.clients.len() {
            self.leave(index, now);
        }
        self.report.own.dropped += u64::from(self.shared_dropped);
        self.report.own.busiest = self.cpu.busiest;
        self.report.own.average = self.cpu.average(now);
        self.report
    }
}
