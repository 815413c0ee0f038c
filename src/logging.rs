//! What the server says about itself, on standard error.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

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

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging, for the whole process. Later calls change nothing.
pub fn start(settings: &Settings) {
    let filter = EnvFilter::new(&settings.filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match settings.format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started already");
    }
}

fn check_filter(filter: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(filter).map(|_| filter.to_owned())
}
