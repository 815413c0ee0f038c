//! Starts and stops the server.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use plenum::config::{Action, Config, ConfigError};
use plenum::engine::{Certificate, Limits};
use plenum::http::{Hub, MintError, Server, StartError, TokenRequest};
use plenum::logging;
use plenum::metrics::{Metrics, Reading};
use plenum::shard::{EventSink, Shards, ShardsConfig};
use plenum::sockets::{self, SocketError};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

/// How long the end of every session may take to be told.
///
/// It is a few packets each; container runtimes kill after ten seconds.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Why the server cannot run.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot serve: {0}")]
    Http(#[from] StartError),
    #[error(transparent)]
    Token(#[from] MintError),
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

fn main() -> ExitCode {
    let config = Config::parse();
    logging::start(&config.log);
    let done = match &config.action {
        Some(Action::Token(request)) => print_token(request),
        None => run(&config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Prints nothing else, so that a script can take it.
fn print_token(request: &TokenRequest) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "a token begins when it is made")]
    let token = request.mint(SystemTime::now())?;
    Ok(writeln!(io::stdout(), "{token}")?)
}

fn run(config: &Config) -> Result<(), Failure> {
    config.check()?;
    let hub = Arc::<Hub>::default();
    let events: Arc<dyn EventSink> = hub.clone();
    let shards = start_shards(config, &events)?;
    Runtime::new()?.block_on(serve(config, &shards, hub))?;
    tracing::info!("stopped");
    Ok(())
}

/// Serves HTTP until told to stop, then ends every session, and HTTP once they all know.
async fn serve(config: &Config, shards: &Shards, hub: Arc<Hub>) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::new());
    let read = shards.clone();
    metrics.set_source(Box::new(move || Reading::of(&read)));
    let server = Server::start(config.http.clone(), Arc::new(shards.clone()), hub, metrics).await?;
    until_told_to_stop().await?;
    tracing::info!("stopping");
    server.drain();
    let shards = shards.clone();
    spawn_blocking(move || shards.shutdown(SHUTDOWN_PATIENCE))
        .await
        .map_err(io::Error::other)?;
    server.shutdown().await;
    Ok(())
}

fn start_shards(config: &Config, events: &Arc<dyn EventSink>) -> Result<Shards, Failure> {
    let shards = config.shard.count();
    let opened = sockets::open(config)?;
    let config = ShardsConfig {
        shards,
        advertised: opened.advertised,
        advertised_tcp: opened.advertised_tcp,
        limits: Limits {
            viewers_per_shard: config.shard.viewers_per_shard,
            ..Limits::default()
        },
    };
    Ok(Shards::start(
        &config,
        opened.sockets,
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
