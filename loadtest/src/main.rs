//! Loads any WHIP/WHEP server, and says what its viewers saw.
//!
//! It speaks HTTP and UDP only: clients connect as browsers do (ICE, DTLS, SRTP), publishers send media whose
//! packets carry the time they left, and receivers count what arrived, when, and what a player would have shown.

mod clock;
mod delay;
mod frames;
mod inbound;
mod outbound;
mod payload;
mod peer;
mod report;
mod rtcp;
mod rtp;
mod run;
mod scenario;
mod sdp;
mod settings;
mod signal;
mod srtp;
mod sys;
mod transport;
mod worker;

use std::{
    io::Write,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::Parser;

use crate::settings::{Command, Settings};

fn main() -> ExitCode {
    let settings = Settings::parse();
    match execute(&settings) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives whether all limits were kept.
fn execute(settings: &Settings) -> Result<bool, run::RunError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (plan, common) = match &settings.command {
        Command::Broadcast(broadcast) => (broadcast.plan(), &broadcast.common),
        Command::Conference(conference) => (conference.plan(), &conference.common),
    };
    let mut report = run::run(plan, &common.options(), &stop)?;
    report.broken_limits = common.limits.broken_by(&report);
    let mut out = std::io::stdout().lock();
    if common.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(report.broken_limits.is_empty())
}
