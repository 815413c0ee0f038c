//! The program as an operator runs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
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

/// What the program says when it does not serve: exit code, standard output and error.
fn ask(options: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_plenum"))
        .args(options)
        .env_clear()
        .output()
        .expect("the program runs, and says text");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program runs, and says text");
    (
        done.status.code().expect("the program runs, and says text"),
        text(done.stdout),
        text(done.stderr),
    )
}

#[test]
fn settings_are_checked_without_serving() {
    let (code, said, _) = ask(&["check"]);
    assert_eq!((code, &*said), (0, "The settings are in order.\n"));
    let (code, _, said) = ask(&["--http", "0.0.0.0:80", "check"]);
    assert!(code == 1 && said.contains("--http 0.0.0.0:80"), "{said}");
    let (code, _, said) = ask(&["--keys", "/does/not/exist", "check"]);
    assert!(
        code == 1 && said.contains("--keys /does/not/exist"),
        "{said}"
    );
    let (code, _, said) = ask(&["check", "--config", "/does/not/exist"]);
    assert!(
        code == 2 && said.contains("--config /does/not/exist"),
        "{said}"
    );
}

#[test]
fn a_recording_is_replayed_and_what_is_none_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(file.path(), "[]").unwrap();
    let (code, _, said) = ask(&["replay", path]);
    assert_eq!(code, 0, "{said}");
    std::fs::write(file.path(), "http = 1").unwrap();
    let (code, _, said) = ask(&["replay", path]);
    assert!(code == 1 && said.contains(path), "{said}");
}

#[test]
fn the_settings_in_force_are_printed_as_a_file_that_is_taken_again() {
    let (code, said, _) = ask(&["--http", "127.0.0.1:8081", "config"]);
    assert_eq!(code, 0);
    assert!(
        said.contains("http = \"127.0.0.1:8081\"  # command line\n"),
        "{said}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), said).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, said, _) = ask(&["--config", path, "config"]);
    assert!(
        code == 0 && said.contains("http = \"127.0.0.1:8081\"  # file\n"),
        "{said}"
    );
}

#[test]
fn the_doctor_finds_a_port_that_is_taken_and_says_what_to_do() {
    let free = ["--http", "127.0.0.1:0", "--operator", "127.0.0.1:0"];
    // An address that nobody else uses: what is let go is not taken by another test.
    let taken = std::net::UdpSocket::bind("127.77.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let options = [&free[..], &["--udp", &address, "doctor"]].concat();
    let (code, found, _) = ask(&options);
    assert_eq!(code, 1);
    assert!(
        found.contains(&format!("FAULT  --udp {address}")),
        "{found}"
    );
    drop(taken);
    let (code, found, said) = ask(&options);
    assert_eq!(code, 0, "{found}{said}");
    assert!(!found.contains("FAULT") && found.contains(&format!("--udp {address} can be bound")));
}

/// One request to a listener of the server's; the whole answer as it came.
fn http(address: &str, request: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the listener answers");
    write!(stream, "{request} HTTP/1.0\r\n{header}\r\n").expect("the listener answers");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the listener answers");
    answer
}

#[test]
fn an_operator_can_send_the_server_away() {
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
    let line = seen
        .lines()
        .find(|line| line.contains("operator_addr"))
        .unwrap();
    let fields: serde_json::Value = serde_json::from_str(line).unwrap();
    let operator = fields["operator_addr"].as_str().unwrap();
    assert!(http(operator, "GET /readyz", "").ends_with("ready"));
    assert!(http(operator, "POST /drain?deadline=86401", "").contains(" 400 "));
    assert!(http(operator, "POST /drain", "Origin: https://evil.example\r\n").contains(" 403 "));
    assert!(
        server.try_wait().unwrap().is_none(),
        "neither of them counts"
    );

    let answer = http(operator, "POST /drain?deadline=3600", "");
    assert!(
        answer.contains(" 202 ") && answer.contains("{\"deadline_seconds\":3600,\"sessions\":0}"),
        "{answer}"
    );
    let status = server.wait().unwrap();
    log.read_to_string(&mut seen).unwrap();
    assert!(status.success(), "{status}\n{seen}");
    assert!(seen.contains("every session has ended"), "{seen}");
}
