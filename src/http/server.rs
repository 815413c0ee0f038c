//! The listeners: accept, serve, and stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::admission::SAMPLE_INTERVAL;
use super::auth::{Auth, KeyError};
use super::connection::{Answering, Connection};
use super::drain::Drained;
use super::engines::{Engines, TakeStream};
use super::hub::Hub;
use super::memory::Leftovers;
use super::settings::Settings;
use super::spare::{self, Spare};
use super::tls::{Tls, TlsError};
use super::watched::LOOK_INTERVAL;
use super::{App, clock, operator, router};
use crate::engine::command::{Command, Headroom, Reply};
use crate::metrics::Metrics;
use crate::turn::Relay;

/// Pause after a failed accept: without file descriptors the next one fails as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Operators have a scraper or two and a few probes.
const OPERATOR_CONNECTIONS: u32 = 64;

/// How often closed sessions and idle addresses are forgotten.
const REAP_INTERVAL: Duration = Duration::from_secs(5);

/// How long open requests may take after [`Server::shutdown`]: readers of events get their
/// last event, everything else is shorter than that.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{setting} {address}: {error}")]
    Listen {
        /// The option.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Keys or tokens cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Reads every file that the settings name, as a start would, and binds nothing.
pub fn check(settings: &Settings) -> Result<(), StartError> {
    Tls::new(&settings.tls)?;
    Auth::new(&settings.auth)?;
    Ok(())
}

/// The relay that is part of this server.
pub struct OwnRelay {
    /// It takes what comes to the port of HTTPS and begins like TURN.
    pub relay: Relay,
    /// A further port for TURN over TLS.
    pub tls: Option<std::net::TcpListener>,
}

/// The running HTTP interface.
pub struct Server {
    pub(super) app: Arc<App>,
    local_addr: SocketAddr,
    operator_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Binds both listeners and serves from now on. `hub` is what the engines publish into.
    /// To be called within a tokio runtime.
    pub async fn start(
        settings: Settings,
        engines: Arc<dyn Engines>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        relay: Option<OwnRelay>,
    ) -> Result<Self, StartError> {
        let tls = Tls::new(&settings.tls)?;
        let (relay, relay_listener) = match relay {
            Some(OwnRelay { relay, tls }) => (Some(relay), tls),
            None => (None, None),
        };
        let app = Arc::new(App::new(settings, engines, hub, metrics, relay.clone())?);
        let memory_limit = app.admission.memory_limit_bytes();
        app.metrics.set_memory_limit(memory_limit);
        app.metrics
            .set_certificate_end(tls.as_ref().and_then(Tls::end));
        let settings = &app.settings;
        let listener = bind("--http", settings.http_listen).await?;
        let operator_listener = bind("--operator", settings.operator_listen).await?;
        let local_addr = address_of("--http", &listener, settings.http_listen)?;
        let operator_addr = address_of("--operator", &operator_listener, settings.operator_listen)?;

        let (stop, stopped) = watch::channel(false);
        let answering = |router, stays_open| Answering {
            router,
            stays_open,
            head_bytes: app.settings.head_bytes as usize,
            head_patience: app.settings.request_patience(),
            metrics: Arc::clone(&app.metrics),
        };
        let public = Service {
            answering: Some(answering(router::router(Arc::clone(&app)), true)),
            last: Some(answering(
                router::without_descriptors(Arc::clone(&app)),
                false,
            )),
            tls: tls.as_ref().map(Tls::acceptor),
            streams: app.engines.streams(),
            relay: relay.clone(),
            connections: app.settings.http_connections,
            open: app.metrics.http_connections().clone(),
            stopped: stopped.clone(),
        };
        let of_operator = operator::router(Arc::clone(&app));
        let operator = Service {
            answering: Some(answering(of_operator.clone(), true)),
            // Whoever asks whether the server lives ends it if nobody answers.
            last: Some(answering(of_operator, false)),
            tls: None,
            streams: None,
            relay: None,
            connections: OPERATOR_CONNECTIONS,
            open: IntGauge::new("operator", "not exported").expect("the name is valid"),
            stopped: stopped.clone(),
        };
        let relayed = match relay_listener {
            Some(listener) => Some((public.for_relay(), from_std(listener)?)),
            None => None,
        };
        let acme = tls.as_ref().and_then(Tls::acme);
        let mut tasks = vec![
            tokio::spawn(public.run(listener)),
            tokio::spawn(operator.run(operator_listener)),
            tokio::spawn(reap(Arc::clone(&app), stopped.clone())),
            tokio::spawn(measure(Arc::clone(&app), stopped.clone())),
            tokio::spawn(watch_files(Arc::clone(&app), tls, stopped.clone())),
        ];
        tasks.extend(acme.map(|acme| tokio::spawn(acme.run(stopped))));
        tasks.extend(relayed.map(|(service, listener)| tokio::spawn(service.run(listener))));
        tracing::info!(%local_addr, %operator_addr, https = app.settings.tls.is_used(), "HTTP is up");
        if app.settings.auth.is_required()
            && !app.settings.tls.is_used()
            && !local_addr.ip().to_canonical().is_loopback()
        {
            tracing::warn!("tokens come in the clear, unless a proxy with HTTPS is in front");
        }
        Ok(Self {
            app,
            local_addr,
            operator_addr,
            stop,
            tasks,
        })
    }

    /// Where clients reach it.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where the operator's probes and metrics are.
    pub fn operator_addr(&self) -> SocketAddr {
        self.operator_addr
    }

    /// Takes no more sessions (503), says so to load balancers, and tells every participant to
    /// reconnect; all else goes on until `within` has passed. To be called within a tokio runtime.
    pub fn drain(&self, within: Duration) {
        self.app.begin_drain(within);
    }

    /// Whether a drain has begun, here or by an operator's request.
    pub fn is_draining(&self) -> bool {
        self.app.is_draining()
    }

    /// Waits until a drain has begun, here or by an operator's request, and then until every
    /// session has ended, or the deadline has come.
    pub async fn drained(&self) -> Drained {
        self.app.drained().await
    }

    /// Stops: no more connections, readers of events get what there is, requests are
    /// finished, but none of it for longer than three seconds.
    ///
    /// To be called once the engines are shut down, so that every session's last event
    /// is out.
    pub async fn shutdown(self) {
        self.drain(Duration::ZERO);
        self.app.hub.end_readers();
        // Nobody listens any more only if the tasks have ended already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::warn!(%error, "an HTTP listener failed");
            }
        }
    }
}

async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen {
            setting,
            address,
            error,
        })
}

fn from_std(listener: std::net::TcpListener) -> Result<TcpListener, StartError> {
    let address = listener.local_addr();
    TcpListener::from_std(listener).map_err(|error| StartError::Listen {
        setting: "--turn-tls-listen",
        address: address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))),
        error,
    })
}

fn address_of(
    setting: &'static str,
    listener: &TcpListener,
    address: SocketAddr,
) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen {
        setting,
        address,
        error,
    })
}

/// Forgets, now and then, what is no longer needed.
async fn reap(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut leftovers = Leftovers::default();
    let mut round = 0u32;
    while tokio::time::timeout(REAP_INTERVAL, stopped.changed())
        .await
        .is_err()
    {
        let forgotten = app.hub.reap(clock::now());
        app.limits.forget_idle();
        app.idempotency.forget(clock::now());
        let is_short = app.admission.is_memory_short();
        let is_due = leftovers.is_due((forgotten, app.hub.len()), is_short, clock::now());
        let is_asked = round.is_multiple_of(REAPS_PER_QUESTION);
        round += 1;
        if is_due || is_asked {
            let app = Arc::clone(&app);
            let tidy = move || tidy_memory(&app, is_due, is_asked);
            let _ = tokio::task::spawn_blocking(tidy).await;
        }
    }
}

/// Every so many looks at what may be forgotten the allocator is asked what is left: 30 s. It counts
/// free pieces, 0.15 µs each, and whoever allocates may have to wait.
const REAPS_PER_QUESTION: u32 = 6;

/// Gives back what nobody uses, and notes what is left; on no thread that anybody waits for.
fn tidy_memory(app: &App, is_due: bool, is_asked: bool) {
    if is_due {
        app.engines.release_memory();
    }
    if is_asked {
        app.metrics
            .set_memory_allocated(app.engines.allocated_bytes());
    }
}

/// Measures how busy the engines are.
async fn measure(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut shares = vec![100; app.engines.count()];
    (0..shares.len()).for_each(|shard| app.metrics.set_video_share(shard, 100));
    while tokio::time::timeout(SAMPLE_INTERVAL, stopped.changed())
        .await
        .is_err()
    {
        app.admission.sample(&*app.engines, clock::now());
        for (shard, share) in shares.iter_mut().enumerate() {
            app.metrics.set_load(shard, app.admission.load(shard));
            *share = tell_headroom(&app, shard, *share).await;
        }
    }
}

/// How long a shard may take to be told what it has left. It may be behind by more, and is told
/// again with the next measurement.
const HEADROOM_PATIENCE: Duration = Duration::from_millis(300);

/// Tells a shard what its thread has left, where that may change how much video it forwards.
/// Gives that share, in percent.
async fn tell_headroom(app: &App, shard: usize, share: u8) -> u8 {
    let headroom = app.admission.headroom(shard);
    if headroom == Headroom::Enough && share == 100 {
        return share;
    }
    let told = app.engines.command(shard, Command::Headroom(headroom));
    let Ok(Ok(Reply::VideoShare { percent })) = tokio::time::timeout(HEADROOM_PATIENCE, told).await
    else {
        return share;
    };
    if percent < share {
        tracing::warn!(
            shard,
            percent,
            "the machine does not keep up: part of the video is forwarded"
        );
    } else if percent > share {
        tracing::info!(
            shard,
            percent,
            "the machine keeps up: more of the video is forwarded"
        );
    }
    app.metrics.set_video_share(shard, percent);
    percent
}

/// Reads keys and certificates again when their files change, and ends sessions whose token
/// holds no more.
async fn watch_files(app: Arc<App>, tls: Option<Tls>, mut stopped: watch::Receiver<bool>) {
    let tls = tls.map(Arc::new);
    while tokio::time::timeout(LOOK_INTERVAL, stopped.changed())
        .await
        .is_err()
    {
        let (reading, tls) = (Arc::clone(&app), tls.clone());
        let read = tokio::task::spawn_blocking(move || {
            reading.auth.reload_if_changed();
            if let Some(tls) = tls {
                tls.reload_if_changed();
                reading.metrics.set_certificate_end(tls.end());
            }
        });
        if let Err(error) = read.await {
            tracing::warn!(%error, "files could not be read");
        }
        app.end_forfeited(clock::wall()).await;
    }
}

/// One listener's connections.
struct Service {
    /// Answers requests; without it there is only the relay.
    answering: Option<Answering>,
    /// Answers those for which there is no file descriptor left.
    last: Option<Answering>,
    /// Encrypts its connections.
    tls: Option<TlsAcceptor>,
    /// Takes those of its connections that carry media.
    streams: Option<TakeStream>,
    /// Takes those that carry TURN.
    relay: Option<Relay>,
    /// How many there may be: beyond that they wait in the kernel's backlog.
    connections: u32,
    open: IntGauge,
    stopped: watch::Receiver<bool>,
}

impl Service {
    /// The same for TURN alone, on a port of its own.
    fn for_relay(&self) -> Self {
        Self {
            answering: None,
            last: None,
            tls: self.tls.clone(),
            streams: None,
            relay: self.relay.clone(),
            connections: self.connections,
            open: IntGauge::new("relay", "not exported").expect("the name is valid"),
            stopped: self.stopped.clone(),
        }
    }

    /// Accepts until stopped, then lets the connections finish.
    async fn run(mut self, listener: TcpListener) {
        let mut serving = JoinSet::new();
        let mut spare = Spare::new();
        loop {
            let has_room = serving.len() < self.connections as usize;
            tokio::select! {
                _ = self.stopped.changed() => break,
                Some(_) = serving.join_next() => spare.take_back(),
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) if spare.is_kept() => {
                        serving.spawn(self.connection(stream, peer).serve());
                    }
                    Ok((stream, peer)) => {
                        self.serve_last(stream, peer).await;
                        spare.take_back();
                    }
                    // The next one has it: Linux says so before it looks whether anybody waits.
                    Err(error) if spare::is_wanted(&error) && spare.give_up() => {}
                    Err(error) => {
                        tracing::debug!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
            self.open.set(serving.len() as i64);
        }
        drop(listener);
        let finish = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finish)
            .await
            .is_err()
        {
            serving.shutdown().await;
        }
        self.open.set(0);
    }

    /// Serves one connection with the descriptor that was kept for it, and no other meanwhile.
    async fn serve_last(&self, stream: TcpStream, peer: SocketAddr) {
        tracing::warn!("no file descriptor is left: raise LimitNOFILE (`ulimit -n`)");
        let connection = Connection {
            answering: self.last.clone(),
            streams: None,
            relay: None,
            ..self.connection(stream, peer)
        };
        let served = tokio::time::timeout(spare::PATIENCE, connection.serve());
        if served.await.is_err() {
            tracing::debug!(%peer, "a connection without a descriptor of its own was closed");
        }
    }

    fn connection(&self, stream: TcpStream, peer: SocketAddr) -> Connection {
        Connection {
            stream,
            peer,
            tls: self.tls.clone(),
            streams: self.streams.clone(),
            relay: self.relay.clone(),
            answering: self.answering.clone(),
            stopped: self.stopped.clone(),
        }
    }
}
