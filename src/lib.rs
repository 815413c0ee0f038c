//! Plenum, a selective forwarding unit: a media server that hosts conference rooms.

pub mod config;
pub mod engine;
pub mod logging;
pub mod net;
pub mod shard;
