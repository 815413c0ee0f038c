//! Plenum, a selective forwarding unit: a media server that hosts conference rooms.

pub mod config;
pub mod doctor;
pub mod engine;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod shard;
pub mod sockets;
pub mod turn;
pub mod webhooks;
