//! Whether a server does what WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-03) ask for, as far as
//! HTTP shows it, row by row.
//!
//! The rows are those of the server's documentation. What the texts leave open is not judged:
//! where they want "a 4xx status", any will do. An extension that a server does not offer is not
//! applicable.

mod probe;
mod whep;
mod whip;

use std::fmt;

use serde::Serialize;

use crate::{run::RunError, settings::ConformanceSettings};
use probe::{Fault, Probe};

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Kept,
    Broken,
    NotApplicable,
}

/// A row and what came of it.
#[derive(Debug, Serialize)]
struct Row {
    row: &'static str,
    what: &'static str,
    verdict: Verdict,
    /// Why it is not kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    /// The request and response that showed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    exchange: String,
}

/// All rows of a server.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Whether no row is broken.
    pub(crate) fn is_kept(&self) -> bool {
        self.count(Verdict::Broken) == 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count()
    }

    fn add(
        &mut self,
        row: &'static str,
        what: &'static str,
        probe: &Probe,
        came: Result<(), Fault>,
    ) {
        let (verdict, why, exchange) = match came {
            Ok(()) => (Verdict::Kept, String::new(), String::new()),
            Err(Fault::Broken(why)) => (Verdict::Broken, why, probe.last_exchange().to_owned()),
            Err(Fault::NotApplicable(why)) => {
                (Verdict::NotApplicable, why.to_owned(), String::new())
            }
        };
        self.rows.push(Row {
            row,
            what,
            verdict,
            why,
            exchange,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let verdict = match row.verdict {
                Verdict::Kept => "kept",
                Verdict::Broken => "BROKEN",
                Verdict::NotApplicable => "n/a",
            };
            writeln!(f, "{:5} {verdict:7} {}", row.row, row.what)?;
            if !row.why.is_empty() {
                writeln!(f, "              {}", row.why)?;
            }
            if !row.exchange.is_empty() {
                writeln!(f, "              {}", row.exchange)?;
            }
        }
        writeln!(
            f,
            "{} kept, {} broken, {} not applicable",
            self.count(Verdict::Kept),
            self.count(Verdict::Broken),
            self.count(Verdict::NotApplicable)
        )
    }
}

/// Asks a server, one request after the other.
pub(crate) fn run(settings: &ConformanceSettings) -> Result<Report, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut report = Report { rows: Vec::new() };
    runtime.block_on(async {
        let token = settings.token.clone();
        if let Some(door) = &settings.whip {
            let mut probe = Probe::new(door, token.clone(), true)?;
            whip::check(&mut probe, &mut report).await;
            probe.end().await;
        }
        if let Some(door) = &settings.whep {
            let mut probe = Probe::new(door, token, false)?;
            whep::check(&mut probe, &mut report).await;
            probe.end().await;
        }
        Ok(report)
    })
}
