//! What the sockets have counted.

use prometheus::proto::MetricFamily;

use super::family::{counter, counters, gauge};
use crate::net::tcp::{CloseReason, TcpCounters};
use crate::net::{Connections, DropReason, NetCounters, SendError};

/// The UDP socket.
pub(super) fn udp(net: &NetCounters) -> Vec<MetricFamily> {
    let both = |incoming: u64, outgoing: u64| {
        [
            ([("direction", "in")], incoming as f64),
            ([("direction", "out")], outgoing as f64),
        ]
    };
    vec![
        counters(
            "plenum_udp_datagrams_total",
            "UDP datagrams received and sent.",
            both(net.datagrams_in(), net.datagrams_out()),
        ),
        counters(
            "plenum_udp_bytes_total",
            "UDP payload received and sent.",
            both(net.bytes_in(), net.bytes_out()),
        ),
        counters(
            "plenum_udp_calls_total",
            "System calls that received or sent datagrams.",
            both(net.receive_calls(), net.send_calls()),
        ),
        counters(
            "plenum_udp_drops_total",
            "Datagrams thrown away before any session saw them, by reason.",
            DropReason::ALL.map(|reason| ([("reason", reason.label())], net.drops(reason) as f64)),
        ),
        counters(
            "plenum_udp_send_errors_total",
            "Datagrams that were not sent, by kind of failure.",
            SendError::ALL.map(|kind| ([("reason", kind.label())], net.send_errors(kind) as f64)),
        ),
        counter(
            "plenum_stun_answers_total",
            "Clients that were told their address by the STUN server.",
            net.stun_answers() as f64,
        ),
        counter(
            "plenum_udp_receive_errors_total",
            "System calls that should have received and failed.",
            net.receive_errors() as f64,
        ),
    ]
}

/// The TCP connections; all zeros where there can be none.
pub(super) fn tcp(connections: Option<&Connections>) -> Vec<MetricFamily> {
    let none = TcpCounters::default();
    let counted = connections.map_or(&none, Connections::counters);
    let both = |incoming: u64, outgoing: u64| {
        [
            ([("direction", "in")], incoming as f64),
            ([("direction", "out")], outgoing as f64),
        ]
    };
    let closed = CloseReason::ALL
        .map(|reason| ([("reason", reason.label())], counted.closed(reason) as f64));
    let dropped = [
        ([("reason", "slow_receiver")], counted.dropped_slow() as f64),
        ([("reason", "gone")], counted.dropped_gone() as f64),
    ];
    vec![
        gauge(
            "plenum_tcp_connections",
            "Open connections with media.",
            connections.map_or(0, Connections::len) as f64,
        ),
        counter(
            "plenum_tcp_accepted_total",
            "Connections with media that were accepted.",
            counted.accepted() as f64,
        ),
        counters(
            "plenum_tcp_closed_total",
            "Connections with media that ended or were refused, by reason.",
            closed,
        ),
        counters(
            "plenum_tcp_datagrams_total",
            "Datagrams received and sent in connections.",
            both(counted.frames_in(), counted.frames_out()),
        ),
        counters(
            "plenum_tcp_bytes_total",
            "Bytes received and sent in connections, framing included.",
            both(counted.bytes_in(), counted.bytes_out()),
        ),
        counters(
            "plenum_tcp_calls_total",
            "System calls that received or sent in connections.",
            both(counted.receive_calls(), counted.send_calls()),
        ),
        counters(
            "plenum_tcp_drops_total",
            "Datagrams thrown away instead of sent in a connection, by reason.",
            dropped,
        ),
    ]
}
