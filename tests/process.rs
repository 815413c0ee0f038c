//! The program as an operator runs it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

/// The server on ports of its own, with what it logs.
fn start(options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_plenum"))
        .args([
            "--http",
            "127.0.0.1:0",
            "--operator",
            "127.0.0.1:0",
            "--udp",
            "127.0.0.1:0",
        ])
        .args(options)
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server was built")
}

fn signal(server: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &server.id().to_string()])
        .status()
        .expect("kill is part of every system");
    assert!(sent.success());
}

#[test]
fn the_server_ends_cleanly_when_told_to() {
    for name in ["-INT", "-TERM"] {
        let mut server = start(&["--log-format", "json"]);
        let mut log = BufReader::new(server.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("\"ready\"") {
            assert_ne!(
                log.read_line(&mut seen).unwrap(),
                0,
                "it ended early: {seen}"
            );
        }
        signal(&server, name);
        log.read_to_string(&mut seen).unwrap();
        let status = server.wait().unwrap();
        assert!(status.success(), "{name}: {status}\n{seen}");
        assert!(seen.contains("\"stopped\""), "{seen}");
    }
}

#[test]
fn a_server_that_others_would_reach_does_not_start_unasked() {
    let refused = Command::new(env!("CARGO_BIN_EXE_plenum"))
        .args(["--http", "0.0.0.0:0", "--udp", "127.0.0.1:0"])
        .env_clear()
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("--http 0.0.0.0:0") && said.contains("--insecure"),
        "{said}"
    );
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = Command::new(env!("CARGO_BIN_EXE_plenum"))
        .args(["--udp", &address])
        .env_clear()
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains(&address), "{said}");
}

#[test]
fn a_token_is_all_that_is_printed() {
    let made = Command::new(env!("CARGO_BIN_EXE_plenum"))
        .args(["token", "--room", "demo", "--identity", "ada", "--publish"])
        .env_clear()
        .env("PLENUM_KEY", "0123456789abcdef0123456789abcdef")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let token = String::from_utf8(made.stdout).unwrap();
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
    assert_eq!(token.lines().count(), 1);
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let refused = Command::new(env!("CARGO_BIN_EXE_plenum"))
        .args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"])
        .args(["--keys", "/does/not/exist"])
        .env_clear()
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--keys /does/not/exist"), "{said}");
}
