//! What the relay has counted.

use prometheus::proto::MetricFamily;

use super::family::{counters, gauge};
use crate::turn::{Counters, Refusal, Transport};

pub(super) fn families(turn: &Counters) -> Vec<MetricFamily> {
    let (incoming, outgoing) = (turn.relayed_in(), turn.relayed_out());
    let both = |incoming: u64, outgoing: u64| {
        [
            ([("direction", "in")], incoming as f64),
            ([("direction", "out")], outgoing as f64),
        ]
    };
    vec![
        gauge(
            "plenum_turn_allocations",
            "Clients of the relay that have an allocation.",
            turn.allocations() as f64,
        ),
        counters(
            "plenum_turn_allocations_total",
            "Allocations made, by how clients speak with the relay.",
            Transport::ALL.map(|way| ([("transport", way.label())], turn.made(way) as f64)),
        ),
        counters(
            "plenum_turn_datagrams_total",
            "Datagrams relayed from clients and to them.",
            both(incoming.0, outgoing.0),
        ),
        counters(
            "plenum_turn_bytes_total",
            "Payload relayed from clients and to them.",
            both(incoming.1, outgoing.1),
        ),
        counters(
            "plenum_turn_refusals_total",
            "Requests and datagrams that the relay refused, by reason.",
            Refusal::ALL.map(|reason| ([("reason", reason.label())], turn.refused(reason) as f64)),
        ),
    ]
}
