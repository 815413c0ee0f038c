//! What comes to the sockets: datagrams, STUN, and the frames of TCP.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plenum::engine::ufrag::session_of_ufrag;
use plenum::net::tcp::{Reassembler, Unframed};
use plenum::net::{AddressTable, Demux, Route, StunServer};

use crate::world::some_moment;

/// A stranger; documentation's own addresses (RFC 5737).
const STRANGER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 66)),
    6_666,
);

/// The longest answer: a refusal that names two attributes.
const MAX_ANSWER_BYTES: usize = 64;

thread_local! {
    static DEMUX: Demux<plenum::engine::SessionKey> =
        Demux::new(Arc::new(AddressTable::new(some_moment())), session_of_ufrag);
    static STUN: RefCell<(StunServer, Instant)> =
        RefCell::new((StunServer::new(some_moment()), some_moment()));
}

/// A datagram from nobody that is known: routed, and answered at most with a few bytes.
pub(crate) fn datagram(bytes: &[u8]) {
    let routed = DEMUX.with(|demux| demux.route(STRANGER, bytes, some_moment()));
    match routed {
        Ok(Route::StunServer(request)) => STUN.with_borrow_mut(|(server, now)| {
            // As slowly as the limits want it, so that each is answered.
            *now += Duration::from_secs(1);
            let mut answer = Vec::new();
            assert!(server.answer(&request, STRANGER, *now, &mut answer));
            assert!(answer.len() <= MAX_ANSWER_BYTES, "{} bytes", answer.len());
        }),
        Ok(Route::Session(_)) | Err(_) => {}
    }
    DEMUX.with(|demux| {
        let mut owner = None;
        let _ = demux.route_framed(&mut owner, bytes);
        let _ = demux.route_framed(&mut owner, bytes);
    });
}

/// A stream of TCP: in pieces it is the same datagrams as whole.
pub(crate) fn framing(bytes: &[u8]) {
    let Some((&first, stream)) = bytes.split_first() else {
        return;
    };
    let piece = usize::from(first) + 1;
    let whole = feed([stream].into_iter());
    let pieces = feed(stream.chunks(piece));
    assert_eq!(whole, pieces);
}

fn feed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), Unframed>) {
    let mut reassembler = Reassembler::default();
    let mut datagrams = Vec::new();
    let mut end = Ok(());
    for piece in pieces {
        if end.is_ok() {
            end = reassembler.feed(piece, |datagram| datagrams.push(datagram.to_vec()));
        }
    }
    (datagrams, end)
}
