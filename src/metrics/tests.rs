use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::engine::event::Kind;

fn busy() -> String {
    busy_as(Format::Prometheus)
}

/// Metrics of two shards that have seen some of everything.
fn busy_as(format: Format) -> String {
    let metrics = Metrics::new();
    let net = Arc::new(NetCounters::default());
    net.add_drops(crate::net::DropReason::UnknownUfrag, 3);
    metrics.set_source(Box::new(move || {
        let load = Load {
            busy: Duration::from_millis(1500),
            ..Load::default()
        };
        let thread = Thread {
            load,
            queued_commands: 5,
            queued_batches: 0,
        };
        Reading {
            threads: vec![Thread::default(), thread],
            net: Arc::clone(&net),
            kernel_drops: 7,
            log: LostLines {
                repeated: 1,
                unread: 0,
            },
            tcp: None,
            turn: Arc::default(),
            webhooks: Arc::default(),
        }
    }));
    metrics.count_request("GET", "/whip/{room}", 204, Duration::from_millis(3));
    metrics.count_join(Duration::from_millis(1));
    let mut shard = Counters {
        sessions: 2,
        ..Counters::default()
    };
    shard.packets_in.add(Kind::Video, 10);
    shard.drop(DropReason::Duplicate);
    shard.sessions_closed.insert(CloseReason::Left, 4);
    shard.forward_delay.observe(Duration::from_micros(150), 3);
    shard.forward_delay.observe(Duration::from_secs(60), 1);
    metrics.set_load(1, 0.25);
    metrics.set_video_share(1, 70);
    metrics.set_memory_limit(Some(1 << 30));
    metrics.set_memory_allocated(Some(1 << 20));
    metrics.set_certificate_end(Some(UNIX_EPOCH + Duration::from_secs(1_900_000_000)));
    metrics.encode(&[shard.clone(), shard], 1, format)
}

#[test]
fn shards_are_added_up() {
    let text = busy();
    for line in [
        "plenum_sessions 4",
        "plenum_shards 2",
        "plenum_shards_unanswered 1",
        "plenum_packets_total{direction=\"in\",kind=\"video\"} 20",
        "plenum_drops_total{reason=\"duplicate\"} 2",
        "plenum_drops_total{reason=\"oversized\"} 0",
        "plenum_sessions_closed_total{reason=\"left\"} 8",
        "plenum_udp_datagrams_total{direction=\"in\"} 0",
        "plenum_udp_drops_total{reason=\"unknown_ufrag\"} 3",
        "plenum_udp_drops_total{reason=\"receive_buffer_full\"} 7",
        "plenum_log_lines_lost_total{reason=\"repeated\"} 1",
        "plenum_shard_load_ratio{shard=\"1\"} 0.25",
        "plenum_shard_video_share_ratio{shard=\"1\"} 0.7",
        "plenum_tls_certificate_end_timestamp_seconds 1900000000",
        "plenum_auth_failures_total{reason=\"expired\"} 0",
        "plenum_shard_busy_seconds_total{shard=\"1\"} 1.5",
        "plenum_shard_queued_commands{shard=\"1\"} 5",
        "plenum_http_requests_total{method=\"GET\",route=\"/whip/{room}\",status=\"204\"} 1",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn durations_are_cumulative_and_in_seconds() {
    let text = busy();
    for line in [
        "plenum_forward_delay_seconds_bucket{le=\"0.0001\"} 0",
        "plenum_forward_delay_seconds_bucket{le=\"0.0002\"} 6",
        "plenum_forward_delay_seconds_bucket{le=\"10\"} 6",
        "plenum_forward_delay_seconds_bucket{le=\"+Inf\"} 8",
        "plenum_forward_delay_seconds_sum 120.0009",
        "plenum_forward_delay_seconds_count 8",
        "plenum_join_seconds_bucket{stage=\"http\",le=\"0.001\"} 1",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn openmetrics_is_the_same_with_other_names_for_counters_and_an_end() {
    let text = busy_as(Format::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    assert!(text.contains("# TYPE plenum_drops counter\n"), "{text}");
    assert!(
        text.contains("\nplenum_drops_total{reason=\"duplicate\"} 2\n"),
        "{text}"
    );
    assert!(text.contains("# TYPE plenum_sessions gauge\n"), "{text}");
    let samples = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        // The process is measured anew each time.
        lines
            .filter(|line| !line.starts_with("process_"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(samples(&text), samples(&busy()));
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1";
    assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    assert_eq!(Format::accepted("text/plain"), Format::Prometheus);
}

/// What the text exports: names with their types.
fn exported() -> BTreeMap<String, String> {
    let text = busy();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| line.split_once(' ').expect("name and type"))
        .map(|(n, t)| (n.into(), t.into()))
        .collect()
}

#[test]
fn the_documentation_lists_what_is_exported_and_nothing_else() {
    let page = include_str!("../../docs/operations.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeMap<String, String> = rows
        .filter(|row| row.starts_with("plenum_") || row.starts_with("process_"))
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_end_matches('`'));
            let name = cells
                .next()
                .expect("a name")
                .split('{')
                .next()
                .expect("before labels");
            (
                name.trim_end_matches('`').to_owned(),
                cells.next().expect("a type").to_owned(),
            )
        })
        .collect();
    assert_eq!(documented, exported());
}

#[test]
fn every_reason_of_a_drop_is_explained() {
    let page = include_str!("../../docs/operations.md");
    let (_, table) = page.split_once("### Reasons of drops").expect("a table");
    let (table, _) = table.split_once("\n## ").expect("it ends");
    let engines = DropReason::ALL.map(DropReason::label);
    let sockets = crate::net::DropReason::ALL.map(crate::net::DropReason::label);
    for reason in engines.into_iter().chain(sockets) {
        assert!(table.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn names_follow_the_conventions() {
    for (name, kind) in exported() {
        assert!(
            name.starts_with("plenum_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            kind == "counter",
            "{name} is a {kind}"
        );
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
        for unit in ["_ms", "_us", "_milliseconds", "_bits", "_kb", "_percent"] {
            assert!(!name.contains(unit), "{name}");
        }
    }
}
