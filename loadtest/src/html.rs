//! The report as one page that needs nothing else: tables, and plots drawn as SVG.

use std::fmt::Write;

use crate::report::{PeerReport, RunReport, Sample};

/// Size of a plot, in CSS pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 180.0;

/// Left of it stand the numbers of the axis.
const MARGIN: f64 = 56.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:48rem;padding:0 1rem}\
    pre{overflow-x:auto;background:#8881;padding:1rem;border-radius:.5rem}svg{width:100%;height:auto}\
    polyline{fill:none;stroke:#2563eb;stroke-width:2}text{font-size:11px;fill:currentColor}\
    line{stroke:currentColor;opacity:.25}:root{color-scheme:light dark}";

/// Writes the page.
pub(crate) fn page(report: &RunReport) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style>\
         <h1>{0}</h1><pre>{1}</pre>",
        escape(&format!("Load test: {}", report.scenario)),
        escape(&report.to_string()),
    );
    let over_time = |title: &str, value: fn(&Sample) -> Option<f64>| {
        let points: Vec<(f64, f64)> = report
            .samples
            .iter()
            .filter_map(|sample| Some((sample.seconds, value(sample)?)))
            .collect();
        plot(title, "s", &points)
    };
    let plots = [
        over_time("Connected clients", |sample| Some(sample.connected as f64)),
        over_time("Packets received per second", |sample| {
            Some(sample.packets_per_second)
        }),
        over_time("Mbit/s received", |sample| Some(sample.megabits_per_second)),
        over_time("Server CPU, percent of a core", |sample| {
            sample.server_cpu_percent
        }),
        over_time("Server memory, MiB", |sample| {
            Some(sample.server_rss_bytes? as f64 / f64::from(1 << 20))
        }),
        plot(
            "One-way delay, ms, by share of packets",
            "%",
            &report.delay_curve,
        ),
        curve("First packet, ms, by share of clients", report, |client| {
            client.first_packet_ms
        }),
        curve(
            "First keyframe, ms, by share of clients",
            report,
            |client| client.first_keyframe_ms,
        ),
    ];
    page.extend(plots);
    page
}

/// The clients' values in order, as a curve over their share.
fn curve(title: &str, report: &RunReport, value: fn(&PeerReport) -> Option<f64>) -> String {
    let mut values: Vec<f64> = report.clients.iter().filter_map(value).collect();
    values.sort_by(f64::total_cmp);
    let count = values.len().max(1) as f64;
    let points: Vec<(f64, f64)> = values
        .iter()
        .enumerate()
        .map(|(index, value)| (100.0 * (index + 1) as f64 / count, *value))
        .collect();
    plot(title, "%", &points)
}

/// One line over one axis; nothing when there is nothing to draw.
fn plot(title: &str, unit: &str, points: &[(f64, f64)]) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    if points.len() < 2 {
        return String::new();
    }
    let top = points
        .iter()
        .map(|point| point.1)
        .fold(0.0, f64::max)
        .max(1e-9);
    let span = (last.0 - first.0).max(1e-9);
    let x = |value: f64| MARGIN + (value - first.0) / span * (WIDTH - MARGIN - 8.0);
    let y = |value: f64| HEIGHT - 20.0 - value / top * (HEIGHT - 32.0);
    let mut svg = format!(
        "<h2>{}</h2><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">",
        escape(title)
    );
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text x=\"4\" y=\"{1:.1}\">{2}</text>",
            y(value),
            y(value) + 4.0,
            short(value),
        );
    }
    let line: Vec<String> = points
        .iter()
        .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
        .collect();
    let _ = write!(svg, "<polyline points=\"{}\"/>", line.join(" "));
    for at in [first.0, (first.0 + last.0) / 2.0, last.0] {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"end\">{} {unit}</text>",
            x(at),
            HEIGHT - 4.0,
            short(at)
        );
    }
    svg + "</svg>"
}

fn short(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_alone_and_shows_what_was_seen() {
        let mut report = RunReport::empty("broadcast");
        report.delay_curve = vec![(50.0, 0.3), (99.0, 2.0)];
        report.totals.errors.push(("<script>".to_owned(), 1));
        let page = page(&report);
        assert!(page.contains("One-way delay") && page.contains("<polyline"));
        assert!(!page.contains("Server CPU"), "nothing was measured there");
        assert!(
            !page.contains("<script>") && !page.contains("http"),
            "neither from the server nor from elsewhere"
        );
    }
}
