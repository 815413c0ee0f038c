//! Starts and stops the server.
fn main() {}
