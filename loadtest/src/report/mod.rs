//! What the clients saw, client by client and in all; every name carries its unit.

mod client;
mod table;
mod totals;

use serde::Serialize;

pub(crate) use client::PeerReport;
pub(crate) use totals::{OwnReport, Spread, Totals};

use crate::meter::ServerReport;

/// A moment of the run, for the plots.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Since the run began.
    pub(crate) seconds: f64,
    pub(crate) connected: u64,
    pub(crate) packets_per_second: f64,
    pub(crate) megabits_per_second: f64,
    pub(crate) server_cpu_percent: Option<f64>,
    pub(crate) server_rss_bytes: Option<u64>,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunReport {
    pub(crate) scenario: &'static str,
    /// Of the steady part, by which rates are measured.
    pub(crate) measured_seconds: f64,
    pub(crate) totals: Totals,
    /// When the server could be looked at.
    pub(crate) server: Option<ServerReport>,
    pub(crate) load_test: OwnReport,
    /// Limits that were broken; each is why the exit code is not 0.
    pub(crate) broken_limits: Vec<String>,
    pub(crate) samples: Vec<Sample>,
    /// Share of packets, in percent, and the delay that they stayed below.
    pub(crate) delay_curve: Vec<(f64, f64)>,
    pub(crate) clients: Vec<PeerReport>,
}

impl RunReport {
    /// A run in which nothing happened.
    #[cfg(test)]
    pub(crate) fn empty(scenario: &'static str) -> Self {
        Self {
            scenario,
            measured_seconds: 0.0,
            totals: Totals::default(),
            server: None,
            load_test: OwnReport::default(),
            broken_limits: Vec::new(),
            samples: Vec::new(),
            delay_curve: Vec::new(),
            clients: Vec::new(),
        }
    }
}
