//! Loads any WHIP/WHEP server, and says what its viewers saw.
//!
//! It speaks HTTP and UDP only: clients connect as browsers do (ICE, DTLS, SRTP), publishers send media whose
//! packets carry the time they left, and receivers count what arrived, when, and what a player would have shown.

mod bridge;
mod clock;
mod compare;
mod conformance;
mod delay;
mod flood;
mod floor;
mod frames;
mod html;
mod inbound;
mod limits;
mod loss;
mod meter;
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
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::Parser;
use serde::Serialize;

use crate::{
    run::RunError,
    scenario::Plan,
    settings::{
        Command, CommonSettings, CompareSettings, ConformanceSettings, FloodSettings,
        LimitSettings, Settings,
    },
};

fn main() -> ExitCode {
    match execute(&Settings::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives whether all limits were kept.
fn execute(settings: &Settings) -> Result<bool, RunError> {
    sys::raise_open_file_limit()?;
    match &settings.command {
        Command::Broadcast(scenario) => run_scenario(scenario.plan(), &scenario.common),
        Command::Conference(scenario) => run_scenario(scenario.plan(), &scenario.common),
        Command::AudioRoom(scenario) => run_scenario(scenario.plan(), &scenario.common),
        Command::Churn(scenario) => run_scenario(scenario.plan(), &scenario.common),
        Command::JoinStorm(scenario) => run_scenario(scenario.plan(), &scenario.common),
        Command::Limit(limit) => measure_limit(limit),
        Command::Compare(compare) => compare_servers(compare),
        Command::Conformance(conformance) => check_conformance(conformance),
        Command::Flood(flood) => flood_server(flood),
    }
}

fn run_scenario(plan: Plan, common: &CommonSettings) -> Result<bool, RunError> {
    let mut report = run::run(plan, &common.options(), &stop_on_signal()?)?;
    report.broken_limits = common.limits.broken_by(&report);
    if let Some(path) = &common.html {
        std::fs::write(path, html::page(&report))?;
    }
    print(&report, &report, common.json)?;
    Ok(report.broken_limits.is_empty())
}

fn measure_limit(settings: &LimitSettings) -> Result<bool, RunError> {
    let lasting = Duration::from_secs_f64(settings.seconds.max(0.1));
    let report = floor::limit(settings.mix(), lasting, settings.rounds)?;
    print(&report, &report, settings.json)?;
    Ok(true)
}

fn compare_servers(settings: &CompareSettings) -> Result<bool, RunError> {
    let comparison = compare::compare(settings, &stop_on_signal()?)?;
    print(&comparison, &comparison, settings.common.json)?;
    Ok(comparison.broken_limits.is_empty())
}

fn check_conformance(settings: &ConformanceSettings) -> Result<bool, RunError> {
    let report = conformance::run(settings)?;
    print(&report, &report, settings.json)?;
    Ok(report.is_kept())
}

fn flood_server(settings: &FloodSettings) -> Result<bool, RunError> {
    let report = flood::run(settings)?;
    print(&report, &report, settings.json)?;
    Ok(report.kept)
}

fn print(
    table: &impl std::fmt::Display,
    report: &impl Serialize,
    json: bool,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)
    } else {
        write!(out, "{table}")
    }
}

/// Set by an interrupt: the run then ends early, leaves its sessions and reports what there was.
fn stop_on_signal() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let set = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                set.store(true, Relaxed);
            }
        })?;
    Ok(stop)
}
