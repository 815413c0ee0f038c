//! The program as its user starts it, against a small server whose faults are known.

mod support;

use std::{
    process::Command,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use support::{Fault, Server};

/// What is measured here in real time must not be disturbed by the test next door.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs the load test and gives its exit code and its report.
fn loadtest(arguments: &[&str]) -> (Option<i32>, Value) {
    // A test that failed has done no harm to this.
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .args(["--json", "--seconds", "2"])
        .output()
        .expect("the program was built");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}; {errors}"));
    (output.status.code(), report)
}

fn number(report: &Value, name: &str) -> f64 {
    report["totals"][name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {}", report["totals"]))
}

#[test]
fn a_broadcast_without_faults_is_found_without_faults() {
    let server = Server::start(Fault::default());
    let (whip, whep) = (
        format!("{}/whip/p{{n}}", server.url),
        format!("{}/whep/p{{n}}", server.url),
    );
    let (code, report) = loadtest(&[
        "broadcast",
        "--whip",
        &whip,
        "--whep",
        &whep,
        "--publishers",
        "2",
        "--subscribers",
        "4",
    ]);
    assert_eq!(
        report["broken_limits"],
        serde_json::json!([]),
        "{}",
        report["totals"]
    );
    assert_eq!(code, Some(0));
    assert_eq!(number(&report, "connected"), 6.0);
    assert_eq!(number(&report, "without_picture"), 0.0);
    for fault in [
        "lost_packets",
        "duplicate_packets",
        "malformed_packets",
        "unauthentic_packets",
        "undecodable_frames",
    ] {
        assert_eq!(number(&report, fault), 0.0, "{fault}");
    }
    // Four receivers of 25 frames a second for two seconds and more.
    assert!(number(&report, "frames") > 4.0 * 40.0);
    assert!(
        report["totals"]["delay"]["p50_ms"]
            .as_f64()
            .is_some_and(|delay| delay > 0.0)
    );
}

#[test]
fn packets_that_come_again_are_not_lost() {
    let server = Server::start(Fault {
        lose_one_in: Some(50),
        no_recovery: false,
    });
    let (whip, whep) = (
        format!("{}/whip/p", server.url),
        format!("{}/whep/p", server.url),
    );
    let (_, report) = loadtest(&[
        "broadcast",
        "--whip",
        &whip,
        "--whep",
        &whep,
        "--subscribers",
        "1",
        "--max-loss",
        "2",
    ]);
    assert!(
        number(&report, "recovered_packets") > 0.0,
        "{}",
        report["totals"]
    );
    assert_eq!(
        number(&report, "undecodable_frames"),
        0.0,
        "{}",
        report["totals"]
    );
}

#[test]
fn what_is_lost_for_good_sets_the_exit_code() {
    let server = Server::start(Fault {
        lose_one_in: Some(50),
        no_recovery: true,
    });
    let (whip, whep) = (
        format!("{}/whip/p", server.url),
        format!("{}/whep/p", server.url),
    );
    let (code, report) = loadtest(&[
        "broadcast",
        "--whip",
        &whip,
        "--whep",
        &whep,
        "--subscribers",
        "1",
    ]);
    assert_eq!(code, Some(2));
    let lost = number(&report, "lost_percent");
    assert!((0.5..4.0).contains(&lost), "{lost} % of 2 % were found");
    assert!(number(&report, "undecodable_frames") > 0.0);
    assert!(
        number(&report, "keyframe_requests") > 0.0,
        "a picture that stands still is asked for"
    );
}

#[test]
fn people_in_a_room_see_each_other() {
    let server = Server::start(Fault::default());
    let (code, report) = loadtest(&[
        "conference",
        "--url",
        &server.url,
        "--rooms",
        "2",
        "--people",
        "3",
        "--slots",
        "2",
        "--audio-slots",
        "2",
        "--shared-sockets",
    ]);
    assert_eq!(code, Some(0), "{}", report["totals"]);
    for client in report["clients"]
        .as_array()
        .expect("every client is told of")
    {
        let streams = client["streams"].as_array().expect("with its streams");
        assert_eq!(streams.len(), 4);
        assert!(
            streams
                .iter()
                .all(|stream| stream["packets"].as_u64() > Some(20)),
            "{client}"
        );
    }
}

#[test]
fn a_page_and_the_servers_costs_are_written() {
    let server = Server::start(Fault::default());
    let page = std::env::temp_dir().join(format!("loadtest-{}.html", std::process::id()));
    let (code, report) = loadtest(&[
        "join-storm",
        "--url",
        &server.url,
        "--subscribers",
        "5",
        "--within",
        "0.2",
        "--video",
        "h264",
        "--no-decrypt",
        "--pid",
        &std::process::id().to_string(),
        "--html",
        &page.to_string_lossy(),
    ]);
    assert_eq!(code, Some(0), "{}", report["totals"]);
    assert!(report["server"]["cpu_ns_per_packet"].as_f64() > Some(0.0));
    assert_eq!(number(&report, "undecodable_frames"), 0.0);
    assert!(number(&report, "frames") > 5.0 * 40.0);
    let text = std::fs::read_to_string(&page).expect("it was written");
    std::fs::remove_file(&page).expect("it is ours");
    assert!(text.contains("Server CPU") && text.contains("join-storm"));
}

#[test]
fn who_comes_and_goes_leaves_no_trace_in_the_count_of_failures() {
    let server = Server::start(Fault::default());
    let (code, report) = loadtest(&[
        "churn",
        "--url",
        &server.url,
        "--subscribers",
        "2",
        "--churn-per-second",
        "5",
        "--shortest-stay",
        "0.5",
        "--longest-stay",
        "1",
    ]);
    assert_eq!(code, Some(0), "{}", report["totals"]);
    assert!(number(&report, "clients") > 10.0);
}

#[test]
fn a_server_that_is_not_there_is_a_failure_of_every_client() {
    let (code, report) = loadtest(&[
        "broadcast",
        "--url",
        "http://127.0.0.1:1",
        "--subscribers",
        "2",
    ]);
    assert_eq!(code, Some(2));
    assert_eq!(number(&report, "failed"), 3.0);
}

#[test]
fn loss_on_both_ways_is_recovered_by_asking_again() {
    let server = Server::start(Fault::default());
    let (_, report) = loadtest(&[
        "broadcast",
        "--url",
        &server.url,
        "--subscribers",
        "2",
        "--lose-up",
        "2",
        "--lose-down",
        "2",
    ]);
    let sent = &report["totals"]["sent"];
    assert!(sent["resent_packets"].as_u64() > Some(0), "{sent}");
    assert!(number(&report, "recovered_packets") > 0.0);
    // Audio is not asked for again.
    let audio = number(&report, "lost_audio_percent");
    assert!((1.0..8.0).contains(&audio), "{audio} % of 4 %");
    let video = number(&report, "lost_video_percent");
    assert!(video < 0.5, "{video} %");
}

#[test]
fn a_server_that_does_not_conform_is_told_where_and_how() {
    let server = Server::start(Fault::default());
    let (whip, whep) = (
        format!("{}/whip/a", server.url),
        format!("{}/whep/a", server.url),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["conformance", "--whip", &whip, "--whep", &whep, "--json"])
        .output()
        .expect("the program was built");
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let row = |name: &str| {
        let rows = report["rows"].as_array().expect("a list");
        rows.iter()
            .find(|row| row["row"] == name)
            .expect("it is there")
            .clone()
    };
    // It answers offers, and knows neither types nor tags nor the events of WHEP.
    assert_eq!(row("W1")["verdict"], "kept");
    assert_eq!(row("W2")["verdict"], "broken");
    let exchange = row("W2")["exchange"].as_str().expect("text").to_owned();
    assert!(
        exchange.contains("POST") && exchange.contains("-> 201"),
        "{exchange}"
    );
    assert_eq!(row("W10")["why"], "201 without ETag");
    assert_eq!(row("E12")["verdict"], "not-applicable");
}
