//! Starts and stops the server.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use plenum::config::{Action, Config, ConfigError, DoctorRequest, LoadError};
use plenum::doctor::reach::Reach;
use plenum::doctor::{self, Finding, Verdict};
use plenum::engine::tape::Recording;
use plenum::engine::{Certificate, replay};
use plenum::http::{Drained, Hub, MintError, OwnRelay, Server, StartError, TokenRequest};
use plenum::logging;
use plenum::metrics::{LostLines, Metrics, Reading};
use plenum::shard::{EventSink, Shards, ShardsConfig};
use plenum::sockets::{self, OpenedRelay, SocketError};
use plenum::webhooks::{self, Webhooks};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

/// How long the end of every session may take to be told.
///
/// It is a few packets each; container runtimes kill after ten seconds.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// The exit code of a command line or file that cannot be used, as clap has it.
const BAD_USAGE: u8 = 2;

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
    Webhooks(#[from] webhooks::StartError),
    #[error(transparent)]
    Token(#[from] MintError),
    #[error("cannot read {path}: {reason}")]
    Recording { path: String, reason: String },
    #[error("layers are chosen differently now, {times} time(s)")]
    Differs { times: usize },
    #[error("{faults} fault(s) found: this server would not serve everybody")]
    Unwell { faults: usize },
    #[error("no call would work from here")]
    Unreached,
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

fn main() -> ExitCode {
    let loaded = match Config::load(std::env::args_os()) {
        Ok(loaded) => loaded,
        // As clap ends it: help and version are no failure.
        Err(LoadError::Usage(usage)) => usage.exit(),
        Err(error) => {
            let _log = logging::start(&logging::Settings::default());
            tracing::error!("{error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let config = &loaded.config;
    let _log = logging::start(&config.log);
    let done = match &config.action {
        None => run(config),
        Some(Action::Check) => check(config),
        Some(Action::Config) => print(&loaded.show()),
        Some(Action::Doctor(request)) => match &request.reach {
            Some(url) => reach(url, request),
            None => examine(config),
        },
        Some(Action::Replay { recording }) => replay(recording),
        Some(Action::Token(request)) => print_token(request),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether a server would start with these settings, as far as settings go.
fn check(config: &Config) -> Result<(), Failure> {
    config.check()?;
    plenum::http::check(&config.http)?;
    print("The settings are in order.\n")
}

/// Prints which ways lead to a server from here; none is a failure.
fn reach(url: &str, request: &DoctorRequest) -> Result<(), Failure> {
    let DoctorRequest { room, token, .. } = request;
    let token = token.as_deref();
    let findings = Runtime::new()?.block_on(doctor::reach::examine(&Reach { url, room, token }));
    match report_findings(&findings)? {
        0 => Ok(()),
        _ => Err(Failure::Unreached),
    }
}

/// Prints findings, and says how many are faults.
fn report_findings(findings: &[Finding]) -> Result<usize, Failure> {
    let text: String = findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect();
    print(&text)?;
    let is_fault = |finding: &&Finding| finding.verdict == Verdict::Fault;
    Ok(findings.iter().filter(is_fault).count())
}

/// Prints what was found on this machine; a fault is a failure.
fn examine(config: &Config) -> Result<(), Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates end by the wall clock"
    )]
    let findings = doctor::examine(config, SystemTime::now());
    match report_findings(&findings)? {
        0 => Ok(check(config)?),
        faults => Err(Failure::Unwell { faults }),
    }
}

/// Prints how layers were chosen in a recording, and how they are chosen now.
fn replay(file: &Path) -> Result<(), Failure> {
    let unreadable = |reason: String| Failure::Recording {
        path: file.display().to_string(),
        reason,
    };
    let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let recordings: Vec<Recording> =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let mut times = 0;
    for (number, recording) in recordings.iter().enumerate() {
        #[expect(
            clippy::disallowed_methods,
            reason = "a replay may begin at any moment"
        )]
        let replayed = replay::replay(recording, Instant::now());
        times += replayed.iter().filter(|review| review.differs()).count();
        print(&format!(
            "recording {}\n{}",
            number + 1,
            replay::table(&replayed)
        ))?;
    }
    match times {
        0 => Ok(()),
        times => Err(Failure::Differs { times }),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Prints nothing else, so that a script can take it.
fn print_token(request: &TokenRequest) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "a token begins when it is made")]
    let token = request.mint(SystemTime::now())?;
    print(&format!("{token}\n"))
}

fn run(config: &Config) -> Result<(), Failure> {
    config.check()?;
    let hub = Arc::<Hub>::default();
    let (webhooks, events) = Webhooks::new(&config.webhooks, hub.clone())?;
    let (shards, relay) = start_shards(config, &events)?;
    Runtime::new()?.block_on(serve(config, &shards, hub, webhooks, relay))?;
    tracing::info!("stopped");
    Ok(())
}

/// Serves HTTP until told to stop, then ends every session, and HTTP once they all know.
async fn serve(
    config: &Config,
    shards: &Shards,
    hub: Arc<Hub>,
    webhooks: Webhooks,
    relay: Option<OpenedRelay>,
) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::new());
    let (read, posted) = (shards.clone(), Arc::clone(webhooks.counters()));
    let relayed = relay
        .as_ref()
        .map(|opened| Arc::clone(opened.relay.counters()));
    let relayed = relayed.unwrap_or_default();
    metrics.set_source(Box::new(move || {
        let (repeated, unread) = logging::lost_lines();
        Reading::of(&read, LostLines { repeated, unread }, &relayed, &posted)
    }));
    let webhooks = webhooks.start();
    let (relay, _relaying) = match relay {
        Some(OpenedRelay {
            relay,
            listening,
            tls,
        }) => {
            let running = relay.start(listening)?;
            (Some(OwnRelay { relay, tls }), Some(running))
        }
        None => (None, None),
    };
    let engines = Arc::new(shards.clone());
    let server = Server::start(config.http.clone(), engines, hub, metrics, relay).await?;
    until_the_end(
        &server,
        Duration::from_secs(config.http.drain_deadline.into()),
    )
    .await?;
    tracing::info!("stopping");
    server.drain(Duration::ZERO);
    let shards = shards.clone();
    spawn_blocking(move || shards.shutdown(SHUTDOWN_PATIENCE))
        .await
        .map_err(io::Error::other)?;
    tokio::join!(server.shutdown(), webhooks.finish());
    Ok(())
}

fn start_shards(
    config: &Config,
    events: &Arc<dyn EventSink>,
) -> Result<(Shards, Option<OpenedRelay>), Failure> {
    let shards = config.shard.count();
    let opened = sockets::open(config)?;
    let config = ShardsConfig {
        shards,
        advertised: opened.advertised,
        advertised_tcp: opened.advertised_tcp,
        limits: config.shard.limits(),
    };
    let certificate = Certificate::generate();
    let shards = Shards::start(&config, opened.sockets, &certificate, events)?;
    Ok((shards, opened.relay))
}

/// Waits for the time to go: SIGINT (someone at a keyboard) at once; after SIGTERM (whoever runs
/// services) or an operator's request when every session has ended, at the deadline, or at the
/// next signal.
async fn until_the_end(server: &Server, drain_deadline: Duration) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tracing::info!("ready");
    tokio::select! {
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => {
            // What an operator asked for before stands: orchestrators send the signal anyway.
            if !server.is_draining() {
                server.drain(drain_deadline);
            }
        }
        drained = server.drained() => {
            report(drained);
            return Ok(());
        }
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        drained = server.drained() => report(drained),
    }
    Ok(())
}

fn report(drained: Drained) {
    match drained.sessions {
        0 => tracing::info!("every session has ended"),
        sessions => tracing::warn!(sessions, "the deadline came before the end of all sessions"),
    }
}
