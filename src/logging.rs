//! What the server says about itself, on standard error.

mod throttle;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer};

use throttle::Throttle;

/// How much is logged, and how it looks.
#[derive(Args, Clone, Debug)]
#[group(id = "logging")]
pub struct Settings {
    /// What to log: a level, or levels by module, such as "info,plenum::http=debug".
    #[arg(long = "log", env = "PLENUM_LOG", value_name = "FILTER", default_value = "info", value_parser = check_filter)]
    pub filter: String,

    /// How each line looks.
    #[arg(
        long = "log-format",
        env = "PLENUM_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: Format::Text,
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Lines that wait to be written: about a second's worth of a server under attack. More would only
/// be older when somebody reads them; fewer would lose the start of every burst.
const WAITING_LINES: usize = 8192;

/// What was left out because it could not be written in time.
static UNREAD: OnceLock<ErrorCounter> = OnceLock::new();

/// What was left out because there was too much of the same.
static REPEATED: AtomicU64 = AtomicU64::new(0);

/// Lines left out since the start: repeated ones, and those that could not be written in time.
pub fn lost_lines() -> (u64, u64) {
    let unread = UNREAD.get().map_or(0, ErrorCounter::dropped_lines);
    (REPEATED.load(Ordering::Relaxed), unread as u64)
}

/// Keeps the log going; what waits is written when it is dropped.
#[must_use = "logging ends with it"]
pub struct Logging {
    _writer: WorkerGuard,
}

/// Libraries that say as a warning what a peer did, as often as the peer does it: that is no
/// matter for who runs the server. Whoever wants it names them: `--log info,str0m=warn`.
const QUIET: &str = "str0m=error,dimpl=error,is=error,sctp_proto=error,\
    stun_types=off,stun_proto=off,turn_types=off,turn_server_proto=off,turn_client_proto=off,\
    rustls_platform_verifier=off";

/// What is logged with a filter of the operator's, who has the last word.
fn filter(operators: &str) -> EnvFilter {
    EnvFilter::new(format!("{QUIET},{operators}"))
}

/// Starts logging, for the whole process. Later calls change nothing.
///
/// Lines are written by a thread of their own: a disk that is full or a terminal that is stopped
/// must not stop media. What it cannot write in time is left out and counted.
pub fn start(settings: &Settings) -> Logging {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .finish(io::stderr());
    let unread = writer.error_counter();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal());
    let lines = match settings.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(lines)
        .with(Throttle::default())
        .with(filter(&settings.filter))
        .try_init();
    match started {
        Ok(()) => drop(UNREAD.set(unread)),
        Err(error) => tracing::debug!(%error, "logging was started already"),
    }
    Logging { _writer: guard }
}

fn check_filter(filter: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(filter).map(|_| filter.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a warning of this library is written.
    fn is_written(operators: &str) -> bool {
        let subscriber = tracing_subscriber::registry().with(filter(operators));
        tracing::subscriber::with_default(
            subscriber,
            || tracing::enabled!(target: "str0m::sctp", tracing::Level::WARN),
        )
    }

    #[test]
    fn what_peers_do_wrong_is_not_the_operators_matter_unless_asked_for() {
        assert!(!is_written("info"));
        assert!(!is_written("debug,plenum=trace"));
        assert!(is_written("info,str0m=warn"));
        assert!(is_written("info,str0m::sctp=debug"));
    }
}
