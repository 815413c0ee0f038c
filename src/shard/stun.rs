//! A thread that does nothing but tell whoever asks the address that he asks from.

use super::clock::Moment;
use crate::net::{DropReason, NetCounters, Receiver, Recipient, StunResponder, recipient};

/// Answers until the receiver is told to stop.
pub(super) fn run(mut receiver: Receiver, mut responder: StunResponder, counters: &NetCounters) {
    while receiver.wait() {
        let moment = Moment::read();
        receiver.receive(|received| match recipient(received.contents) {
            Ok(Recipient::Server(question)) => {
                responder.ask(&question, &received, moment.received(received.at, None));
            }
            Ok(_) => counters.add_drops(DropReason::UnknownUfrag, 1),
            Err(_) => counters.add_drops(DropReason::MalformedStun, 1),
        });
        responder.send();
    }
}
