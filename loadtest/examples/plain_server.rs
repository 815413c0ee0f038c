//! The tests' server, by itself: a plain str0m SFU to try the load test on, and to compare others with.
//!
//! `cargo run -p loadtest --example plain_server` prints its URL and its process id.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write;

fn main() -> std::io::Result<()> {
    let server = support::Server::start(support::Fault::default());
    let mut out = std::io::stdout();
    writeln!(out, "{} {}", server.url, std::process::id())?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}
