//! Starts and stops the server.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use plenum::config::{Config, ConfigError};
use plenum::engine::event::SessionEvent;
use plenum::engine::{Certificate, Limits};
use plenum::logging;
use plenum::net::{MediaSocket, interfaces};
use plenum::shard::{EventSink, Shards, ShardsConfig};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// How long the end of every session may take to be told.
///
/// It is a few packets each; container runtimes kill after ten seconds.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Smallest receive buffer that does without a word: 64 ms at 125 Mbit/s.
const SUFFICIENT_BUFFER_BYTES: usize = 1 << 20;

/// Why the server cannot run.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot use UDP {address}: {error}")]
    Udp {
        address: std::net::SocketAddr,
        error: io::Error,
    },
    #[error(
        "no network interface is up that clients could send to; name an address with --public-ip"
    )]
    NoAddress,
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

fn main() -> ExitCode {
    let config = Config::parse();
    logging::start(&config.log);
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> Result<(), Failure> {
    config.check()?;
    let events: Arc<dyn EventSink> = Arc::new(EventLog);
    let shards = start_shards(config, &events)?;
    Runtime::new()?.block_on(until_told_to_stop())?;
    tracing::info!("stopping");
    shards.shutdown(SHUTDOWN_PATIENCE);
    tracing::info!("stopped");
    Ok(())
}

fn start_shards(config: &Config, events: &Arc<dyn EventSink>) -> Result<Shards, Failure> {
    let address = config.udp_address();
    let socket = MediaSocket::bind(address).map_err(|error| Failure::Udp { address, error })?;
    let bound = socket.local_addr();
    let advertised =
        interfaces::advertised(bound, &config.net.public_ips, &interfaces::addresses()?);
    if advertised.is_empty() {
        return Err(Failure::NoAddress);
    }
    let shards = config.shard.count();
    tracing::info!(udp = %bound, ?advertised, shards, gso = socket.gso(), "media");
    let granted = socket.buffers();
    if granted.receive < SUFFICIENT_BUFFER_BYTES && !bound.ip().is_loopback() {
        tracing::warn!(
            ?granted,
            "UDP buffers are small: bursts will be lost; raise net.core.rmem_max and wmem_max"
        );
    }
    let config = ShardsConfig {
        shards,
        advertised,
        limits: Limits::default(),
    };
    Ok(Shards::start(
        &config,
        socket,
        &Certificate::generate(),
        events,
    )?)
}

/// Waits for SIGINT (someone at a keyboard) or SIGTERM (whoever runs services).
async fn until_told_to_stop() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tracing::info!("ready");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Writes what rooms tell their sessions to the log.
struct EventLog;

impl EventSink for EventLog {
    fn publish(&self, event: SessionEvent) {
        tracing::debug!(session = ?event.session, version = event.version, change = ?event.change);
    }
}
