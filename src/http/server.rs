//! The listeners: accept, serve, and stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

use super::auth::KeyError;
use super::engines::Engines;
use super::hub::Hub;
use super::settings::Settings;
use super::watched::LOOK_INTERVAL;
use super::{App, clock, operator, router};
use crate::metrics::Metrics;

/// Largest request head, in bytes: 431 beyond it. A token of 4 KiB fits well.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Longest wait for a request's head. Also ends connections that idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that acknowledges nothing for this long is gone; the kernel alone would wait for
/// a quarter of an hour.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

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
    ) -> Result<Self, StartError> {
        let app = Arc::new(App::new(settings, engines, hub, metrics)?);
        let settings = &app.settings;
        let listener = bind("--http", settings.http_listen).await?;
        let operator_listener = bind("--operator", settings.operator_listen).await?;
        let local_addr = address_of("--http", &listener, settings.http_listen)?;
        let operator_addr = address_of("--operator", &operator_listener, settings.operator_listen)?;

        let (stop, stopped) = watch::channel(false);
        let public = Service {
            router: router::router(Arc::clone(&app)),
            connections: app.settings.http_connections,
            open: app.metrics.http_connections().clone(),
            stopped: stopped.clone(),
        };
        let operator = Service {
            router: operator::router(Arc::clone(&app)),
            connections: OPERATOR_CONNECTIONS,
            open: IntGauge::new("operator", "not exported").expect("the name is valid"),
            stopped: stopped.clone(),
        };
        let tasks = vec![
            tokio::spawn(public.run(listener)),
            tokio::spawn(operator.run(operator_listener)),
            tokio::spawn(reap(Arc::clone(&app), stopped.clone())),
            tokio::spawn(watch_keys(Arc::clone(&app), stopped)),
        ];
        tracing::info!(%local_addr, %operator_addr, "HTTP is up");
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

    /// Takes no more sessions (503) and says so to load balancers; all else goes on.
    pub fn drain(&self) {
        self.app.draining.store(true, Ordering::Relaxed);
    }

    /// Stops: no more connections, readers of events get what there is, requests are
    /// finished, but none of it for longer than three seconds.
    ///
    /// To be called once the engines are shut down, so that every session's last event
    /// is out.
    pub async fn shutdown(self) {
        self.drain();
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
    while tokio::time::timeout(REAP_INTERVAL, stopped.changed())
        .await
        .is_err()
    {
        app.hub.reap(clock::now());
        app.limits.forget_idle();
    }
}

/// Reads keys again when their files change, and ends sessions whose token holds no more.
async fn watch_keys(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    while tokio::time::timeout(LOOK_INTERVAL, stopped.changed())
        .await
        .is_err()
    {
        let reading = Arc::clone(&app);
        let read = tokio::task::spawn_blocking(move || reading.auth.reload_if_changed());
        if let Err(error) = read.await {
            tracing::warn!(%error, "keys could not be read");
        }
        app.end_forfeited(clock::wall()).await;
    }
}

/// One listener's connections.
struct Service {
    router: Router,
    /// How many there may be: beyond that they wait in the kernel's backlog.
    connections: u32,
    open: IntGauge,
    stopped: watch::Receiver<bool>,
}

impl Service {
    /// Accepts until stopped, then lets the connections finish.
    async fn run(mut self, listener: TcpListener) {
        let mut serving = JoinSet::new();
        loop {
            let has_room = serving.len() < self.connections as usize;
            tokio::select! {
                _ = self.stopped.changed() => break,
                Some(_) = serving.join_next() => {}
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => drop(serving.spawn(self.connection(stream, peer))),
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

    /// Serves one connection to its end.
    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + Send + 'static {
        prepare(&stream);
        let router = self.router.clone();
        let mut stopped = self.stopped.clone();
        async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let mut request: Request<Incoming> = request;
                request.extensions_mut().insert(ConnectInfo(peer));
                router.clone().oneshot(request)
            });
            // HTTP/2 is for TLS: browsers speak it nowhere else, and to tell the two apart by
            // their first bytes means to wait for bytes that may never come.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                _ = stopped.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                // Clients come and go as they like.
                tracing::trace!(%error, %peer, "connection ended");
            }
        }
    }
}

/// Answers leave at once, and a vanished peer is noticed.
fn prepare(stream: &TcpStream) {
    // Nagle's algorithm would hold the second part of an answer back for 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT");
    }
}
