//! A shard's loop: take in what waits, let the engine seal, give out, wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use crossbeam_utils::sync::Parker;
use tokio::sync::oneshot;

use super::batch::Batch;
use super::load::Load;
use super::relay::Relays;
use super::{EventSink, clock};
use crate::engine::command::{Command, CommandError, Reply};
use crate::engine::{AddressChange, Engine, SessionKey, Transport};
use crate::net::{self, AddressTable, ConnectionId, Connections};

/// Datagrams that are taken in before their consequences are given out, give or take a batch.
///
/// Each may become a copy for everyone in its room, and the first copy waits until the last
/// datagram of the turn was handled.
const DATAGRAMS_PER_TURN: usize = 64;

/// Messages of other shards that are taken in before their consequences are given out, for the
/// same reason, give or take a hand-over.
const RELAYED_PER_TURN: usize = 64;

/// How soon a hand-over to a shard that was behind is tried again: it has a queue of a tenth of
/// a second to work off.
const RELAY_RETRY: Duration = Duration::from_millis(5);

/// Commands between two turns of media. A join takes about a millisecond, and a pause of more
/// than a few can be heard.
const COMMANDS_PER_TURN: usize = 4;

/// What waits in a shard's mailbox.
pub(super) enum Mail {
    /// For the engine.
    Command {
        command: Command,
        reply: oneshot::Sender<Result<Reply, CommandError>>,
    },
    /// End every session, and then the thread: when all was said, or at the deadline.
    Stop { deadline: Instant },
}

/// What connects a shard's thread to the others.
pub(super) struct Wiring {
    /// Where the thread waits. Whoever puts something into one of its queues wakes it.
    pub(super) parker: Parker,
    pub(super) mailbox: Receiver<Mail>,
    pub(super) datagrams: Receiver<Batch>,
    /// Where emptied batches go.
    pub(super) recycle: Sender<Batch>,
    pub(super) sender: net::Sender,
    pub(super) addresses: Arc<AddressTable<SessionKey>>,
    pub(super) connections: Option<Connections>,
    pub(super) events: Arc<dyn EventSink>,
    pub(super) load: Arc<Mutex<Load>>,
    pub(super) relays: Relays,
}

/// What a shard's thread owns.
pub(super) struct Worker {
    engine: Engine,
    wiring: Wiring,
    /// The latest time that the engine was told: for it, time never goes back.
    told: Instant,
    /// When to end at the latest, once stopping.
    stopping: Option<Instant>,
    /// When the datagrams of this turn arrived.
    arrivals: Vec<Instant>,
}

impl Worker {
    pub(super) fn new(engine: Engine, wiring: Wiring) -> Self {
        Self {
            engine,
            wiring,
            told: clock::now(),
            stopping: None,
            arrivals: Vec::new(),
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        loop {
            self.wait();
            let woke = clock::now();
            self.take_datagrams(woke);
            self.take_relayed(woke);
            self.take_mail(woke);
            self.serve_timers(woke);
            let now = self.tell(woke);
            self.relay();
            self.give_out(now);
            self.account(woke, clock::now());
            if self
                .stopping
                .is_some_and(|deadline| self.engine.is_drained() || woke >= deadline)
            {
                break;
            }
        }
    }

    /// Waits for datagrams, mail, or the time that the engine asked for.
    ///
    /// Asleep at once: turning in circles for a while, as a selection from channels does, costs a
    /// server with few receivers more than its media.
    fn wait(&self) {
        let Wiring {
            parker,
            mailbox,
            datagrams,
            relays,
            ..
        } = &self.wiring;
        let held_up = relays.is_held_up().then(|| clock::now() + RELAY_RETRY);
        let timers = self.engine.poll_timeout();
        let deadline = timers.into_iter().chain(self.stopping).chain(held_up).min();
        // Which of them it is does not matter, nor whether it was seen already: a turn looks at all.
        if datagrams.is_empty() && mailbox.is_empty() && relays.incoming.is_empty() {
            match deadline {
                Some(deadline) => parker.park_deadline(deadline),
                None => parker.park(),
            }
        }
    }

    fn take_datagrams(&mut self, woke: Instant) {
        while self.arrivals.len() < DATAGRAMS_PER_TURN {
            let mut batch = match self.wiring.datagrams.try_recv() {
                Ok(batch) => batch,
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    // The receiving thread has ended. This queue must not wake us any more.
                    self.wiring.datagrams = crossbeam_channel::never();
                    return;
                }
            };
            for (place, datagram) in batch.datagrams().enumerate() {
                // Memory answers while two are read.
                let ahead = [2, 4].map(|ahead| batch.session(place + ahead));
                self.engine.expect_datagrams(ahead);
                self.arrivals.push(datagram.at);
                self.told = self.told.max(datagram.at.min(woke));
                self.engine.handle_datagram(datagram, self.told);
            }
            batch.clear();
            // If there are plenty already, this one goes.
            let _ = self.wiring.recycle.try_send(batch);
        }
    }

    fn take_relayed(&mut self, woke: Instant) {
        let mut taken = 0;
        while taken < RELAYED_PER_TURN
            && let Ok(parcel) = self.wiring.relays.incoming.try_recv()
        {
            taken += parcel.messages.len();
            self.arrivals.extend(parcel.since);
            let now = self.tell(woke);
            for message in parcel.messages {
                self.engine.handle_relay(parcel.from, message, now);
            }
        }
    }

    /// Hands over what other shards are to do, so that they do it beside us.
    fn relay(&mut self) {
        let mut any = false;
        while let Some((shard, message)) = self.engine.poll_relay() {
            self.wiring.relays.push(shard, message);
            any = true;
        }
        if any || self.wiring.relays.is_held_up() {
            let since = self.arrivals.iter().min().copied();
            let lost = self.wiring.relays.hand_over(since);
            if lost > 0 {
                self.engine.relays_lost(lost as u64);
            }
        }
    }

    fn take_mail(&mut self, woke: Instant) {
        for _ in 0..COMMANDS_PER_TURN {
            match self.wiring.mailbox.try_recv() {
                Ok(Mail::Command { command, reply }) => self.carry_out(command, reply, woke),
                Ok(Mail::Stop { deadline }) => self.stop(deadline, woke),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    // Nobody can reach this shard or stop it any more.
                    self.wiring.mailbox = crossbeam_channel::never();
                    return self.stop(woke, woke);
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        command: Command,
        reply: oneshot::Sender<Result<Reply, CommandError>>,
        woke: Instant,
    ) {
        // Nobody would know of a session whose joiner has gone.
        if reply.is_closed() && matches!(command, Command::Join(_)) {
            return;
        }
        let now = self.tell(woke);
        let result = self.engine.handle_command(command, now);
        // Whoever asked may have gone meanwhile; what was done stays done.
        let _ = reply.send(result);
    }

    fn stop(&mut self, deadline: Instant, woke: Instant) {
        self.stopping = Some(deadline);
        let now = self.tell(woke);
        if let Err(error) = self.engine.handle_command(Command::Shutdown, now) {
            tracing::warn!(%error, "the engine does not shut down in order");
        }
    }

    fn serve_timers(&mut self, woke: Instant) {
        let Some(due) = self.engine.poll_timeout().filter(|due| *due <= woke) else {
            return;
        };
        let now = self.tell(woke);
        self.engine.handle_timeout(now);
        self.load(|load| load.timer_lag.observe(woke - due, 1));
    }

    /// Addresses first: what is sent may be answered before the next line runs.
    fn give_out(&mut self, now: Instant) {
        let Wiring {
            sender,
            addresses,
            connections,
            events,
            ..
        } = &mut self.wiring;
        while let Some(change) = self.engine.poll_address() {
            match change {
                AddressChange::Learned(session, address) => {
                    let learned = addresses.learn(address, session, now);
                    tracing::trace!(?session, %address, ?learned, "address");
                }
                AddressChange::Checked(_, connection) => {
                    if let Some(connections) = connections {
                        connections.checked(ConnectionId(connection), now);
                    }
                }
                AddressChange::Forgotten(session) => addresses.forget(session),
            }
        }
        // Receivers compare when a packet came with when it was sent: the time of sending is taken
        // anew for each batch, or a long turn would look like a queue on their paths. What arrives
        // meanwhile is not later for that.
        loop {
            self.engine.flush(self.told.max(clock::now()));
            let Some(batch) = self.engine.poll_batch() else {
                break;
            };
            sender.send(batch.map(|transmit| net::Outgoing {
                destination: transmit.destination,
                connection: match transmit.transport {
                    Transport::Udp => None,
                    Transport::Tcp(connection) => Some(ConnectionId(connection)),
                },
                source: transmit.local_ip,
                contents: transmit.contents,
                segment_size: transmit.segment_size,
            }));
        }
        while let Some(event) = self.engine.poll_event() {
            events.publish(event);
        }
        while let Some(notice) = self.engine.poll_notice() {
            events.announce(notice);
        }
    }

    fn account(&mut self, woke: Instant, done: Instant) {
        let arrivals = std::mem::take(&mut self.arrivals);
        self.load(|load| {
            load.wake_ups += 1;
            load.busy += done - woke;
            for at in &arrivals {
                load.turnaround
                    .observe(done.saturating_duration_since(*at), 1);
            }
        });
        self.arrivals = arrivals;
        self.arrivals.clear();
    }

    /// Held for a few additions here and for a copy elsewhere.
    fn load(&self, change: impl FnOnce(&mut Load)) {
        change(
            &mut self
                .wiring
                .load
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// What time the engine is told, when it is `now`.
    fn tell(&mut self, now: Instant) -> Instant {
        self.told = self.told.max(now);
        self.told
    }
}
