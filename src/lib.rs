//! Plenum, a selective forwarding unit: a media server that hosts conference rooms.

pub mod engine;
pub mod http;
pub mod metrics;
