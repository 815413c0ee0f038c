//! Whose is this datagram?
//!
//! STUN requests name the session in their user fragment, which we chose; all else is told by
//! the address that it comes from. Either way the answer costs the same for one session as for
//! ten thousand, and proves nothing: whether a message is genuine, its session checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::addresses::AddressTable;
use super::counters::DropReason;
use super::stun::BindingRequest;

/// What a datagram is, by its first byte (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 0 to 3.
    Stun,
    /// 20 to 63.
    Dtls,
    /// 128 to 191: RTP or RTCP, which differ in the second byte (RFC 5761 §4).
    Media,
}

impl Protocol {
    /// The protocol that a first byte stands for; `None` for those that nobody speaks here.
    pub fn of(first_byte: u8) -> Option<Self> {
        match first_byte {
            0..=3 => Some(Protocol::Stun),
            20..=63 => Some(Protocol::Dtls),
            128..=191 => Some(Protocol::Media),
            _ => None,
        }
    }
}

/// Who is to have a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<K> {
    /// A session.
    Session(K),
    /// Nobody in particular: somebody asks for his own address.
    StunServer(BindingRequest),
}

/// Finds whose a datagram is. `K` is whatever tells sessions apart.
pub struct Demux<K> {
    addresses: Arc<AddressTable<K>>,
    key_of_ufrag: fn(&str) -> Option<K>,
}

impl<K: Copy + Eq + std::hash::Hash> Demux<K> {
    /// A demultiplexer over this table; `key_of_ufrag` reads a local ICE user fragment.
    pub fn new(addresses: Arc<AddressTable<K>>, key_of_ufrag: fn(&str) -> Option<K>) -> Self {
        Self {
            addresses,
            key_of_ufrag,
        }
    }

    /// Whose this datagram is, or why it is nobody's.
    pub fn route(
        &self,
        source: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<Route<K>, DropReason> {
        let &first_byte = datagram.first().ok_or(DropReason::Empty)?;
        let owner = match Protocol::of(first_byte).ok_or(DropReason::Unrecognized)? {
            Protocol::Stun => return self.route_stun(source, datagram),
            Protocol::Dtls => self.addresses.owner(source),
            Protocol::Media => self.addresses.media_from(source, now),
        };
        owner.map(Route::Session).ok_or(DropReason::UnknownAddress)
    }

    /// Whose a datagram is that came in a connection of its own, `owner` being whose those
    /// before it were: a connection serves one session, and no stranger can put in a word.
    pub fn route_framed(&self, owner: &mut Option<K>, datagram: &[u8]) -> Result<K, DropReason> {
        let &first_byte = datagram.first().ok_or(DropReason::Empty)?;
        if Protocol::of(first_byte).ok_or(DropReason::Unrecognized)? == Protocol::Stun {
            match recipient(datagram).map_err(|Malformed| DropReason::MalformedStun)? {
                Recipient::Ufrag(ufrag) => *owner = Some(self.key_of(ufrag)?),
                Recipient::Server(_) => return Err(DropReason::UnknownUfrag),
                Recipient::OwnerOfAddress => {}
            }
        }
        owner.ok_or(DropReason::UnknownAddress)
    }

    fn route_stun(&self, source: SocketAddr, datagram: &[u8]) -> Result<Route<K>, DropReason> {
        match recipient(datagram).map_err(|Malformed| DropReason::MalformedStun)? {
            Recipient::Ufrag(ufrag) => self.key_of(ufrag).map(Route::Session),
            Recipient::Server(request) => Ok(Route::StunServer(request)),
            Recipient::OwnerOfAddress => {
                let owner = self.addresses.owner(source);
                owner.map(Route::Session).ok_or(DropReason::UnknownAddress)
            }
        }
    }

    fn key_of(&self, ufrag: &str) -> Result<K, DropReason> {
        (self.key_of_ufrag)(ufrag).ok_or(DropReason::UnknownUfrag)
    }
}

/// Whom a STUN message addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// A request to this local user fragment.
    Ufrag(&'a str),
    /// An indication or response, which carries no user fragment (RFC 8445 §11).
    OwnerOfAddress,
    /// A Binding request without credentials: a question for the STUN server.
    Server(BindingRequest),
}

/// A STUN message that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Type, length, magic cookie and transaction id (RFC 8489 §5).
pub(super) const HEADER_BYTES: usize = 20;
pub(super) const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// The two bits of the type that tell request, indication, success and error (RFC 8489 §5).
const CLASS_MASK: u16 = 0x0110;
const CLASS_REQUEST: u16 = 0x0000;
const BINDING_REQUEST: u16 = 0x0001;
/// RFC 8489 §14.3.
const USERNAME: u16 = 0x0006;
/// From here on attributes may be passed over (RFC 8489 §14).
const OPTIONAL_ATTRIBUTES: u16 = 0x8000;

/// Longest `USERNAME` value (RFC 8489 §14.3: fewer than 509 bytes).
const MAX_USERNAME_BYTES: usize = 508;

/// Most attributes looked at before the user name is given up.
///
/// Browsers send it first or second. Walking on would let one datagram of empty attributes cost
/// hundreds of steps.
const MAX_ATTRIBUTES: usize = 16;

/// Reads just enough of a STUN message to know who should look at the rest of it.
pub fn recipient(message: &[u8]) -> Result<Recipient<'_>, Malformed> {
    let (header, attributes) = message.split_at_checked(HEADER_BYTES).ok_or(Malformed)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let consistent = header[4..8] == MAGIC_COOKIE && length == attributes.len() && length % 4 == 0;
    if !consistent {
        return Err(Malformed);
    }
    if kind & CLASS_MASK != CLASS_REQUEST {
        return Ok(Recipient::OwnerOfAddress);
    }

    match credentials(header, attributes)? {
        Credentials::None(request) if kind == BINDING_REQUEST => Ok(Recipient::Server(request)),
        Credentials::None(_) => Err(Malformed),
        // RFC 8445 §7.2.2: the receiver's user fragment, a colon, the sender's.
        Credentials::Username(username) => {
            let username = std::str::from_utf8(username).map_err(|_| Malformed)?;
            let (local_ufrag, _) = username.split_once(':').ok_or(Malformed)?;
            Ok(Recipient::Ufrag(local_ufrag))
        }
    }
}

/// Who a request claims to be from.
enum Credentials<'a> {
    Username(&'a [u8]),
    None(BindingRequest),
}

/// The value of the `USERNAME` attribute, if there is one among the first.
fn credentials<'a>(header: &[u8], mut attributes: &'a [u8]) -> Result<Credentials<'a>, Malformed> {
    let mut request = BindingRequest::new(header);
    for _ in 0..MAX_ATTRIBUTES {
        if attributes.is_empty() {
            return Ok(Credentials::None(request));
        }
        let (head, rest) = attributes.split_at_checked(4).ok_or(Malformed)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if kind == USERNAME {
            let value = rest
                .get(..length)
                .filter(|_| length <= MAX_USERNAME_BYTES)
                .ok_or(Malformed)?;
            return Ok(Credentials::Username(value));
        }
        if kind < OPTIONAL_ATTRIBUTES {
            request.note_unknown(kind);
        }
        // Values are padded to multiples of four bytes (RFC 8489 §14).
        attributes = rest.get(length.next_multiple_of(4)..).ok_or(Malformed)?;
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::some_moment;

    const BINDING_INDICATION: u16 = 0x0011;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn stun(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = attributes.concat();
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(MAGIC_COOKIE);
        bytes.extend([7; 12]);
        bytes.extend(body);
        bytes
    }

    /// User fragments are numbers in these tests.
    fn demux() -> Demux<u32> {
        Demux::new(Arc::new(AddressTable::new(some_moment())), |ufrag| {
            ufrag.parse().ok()
        })
    }

    fn source() -> SocketAddr {
        "192.0.2.7:4000".parse().unwrap()
    }

    #[test]
    fn a_connectivity_check_finds_its_session_by_user_fragment() {
        let priority = attribute(0x0024, &[0, 0, 0, 1]);
        let check = stun(
            BINDING_REQUEST,
            &[priority, attribute(USERNAME, b"42:abcd")],
        );
        let route = demux().route(source(), &check, some_moment());
        assert_eq!(route, Ok(Route::Session(42)));
    }

    #[test]
    fn a_question_without_credentials_is_for_the_stun_server() {
        let software = attribute(0x8022, b"somebody's");
        for question in [
            stun(BINDING_REQUEST, &[]),
            stun(BINDING_REQUEST, &[software]),
        ] {
            let route = demux().route(source(), &question, some_moment());
            assert!(matches!(route, Ok(Route::StunServer(_))), "{route:?}");
        }
    }

    #[test]
    fn a_connection_is_of_the_session_that_its_check_names() {
        let demux = demux();
        let mut owner = None;
        let rtp = [0x80, 96];
        assert_eq!(
            demux.route_framed(&mut owner, &rtp),
            Err(DropReason::UnknownAddress)
        );
        let check = stun(BINDING_REQUEST, &[attribute(USERNAME, b"42:abcd")]);
        assert_eq!(demux.route_framed(&mut owner, &check), Ok(42));
        assert_eq!(demux.route_framed(&mut owner, &rtp), Ok(42));
        let foreign = stun(BINDING_REQUEST, &[attribute(USERNAME, b"x:abcd")]);
        assert_eq!(
            demux.route_framed(&mut owner, &foreign),
            Err(DropReason::UnknownUfrag)
        );
        assert_eq!(
            demux.route_framed(&mut owner, &stun(BINDING_REQUEST, &[])),
            Err(DropReason::UnknownUfrag),
            "no STUN server here"
        );
        assert_eq!(demux.route_framed(&mut owner, &[22]), Ok(42));
    }

    #[test]
    fn what_is_not_for_us_is_dropped_with_its_reason() {
        let request = |name: &[u8]| stun(BINDING_REQUEST, &[attribute(USERNAME, name)]);
        let mut other_cookie = request(b"42:abcd");
        other_cookie[4] ^= 1;
        let mut trailing = request(b"42:abcd");
        trailing.push(0);
        let many = vec![attribute(0x8000, &[]); MAX_ATTRIBUTES];
        let late = stun(
            BINDING_REQUEST,
            &[many.concat(), attribute(USERNAME, b"42:abcd")],
        );
        let too_long = request(&[b"42:".as_slice(), &[b'x'; 600]].concat());

        let cases: [(&str, &[u8], DropReason); 13] = [
            ("nothing", b"", DropReason::Empty),
            (
                "TURN channel data",
                &[0x40, 0, 0, 0],
                DropReason::Unrecognized,
            ),
            ("QUIC", &[0xC0, 0, 0, 1], DropReason::Unrecognized),
            (
                "DTLS from nowhere",
                &[22, 0xFE, 0xFD],
                DropReason::UnknownAddress,
            ),
            ("RTP from nowhere", &[0x80, 96], DropReason::UnknownAddress),
            (
                "half a header",
                &request(b"42:abcd")[..12],
                DropReason::MalformedStun,
            ),
            ("a foreign cookie", &other_cookie, DropReason::MalformedStun),
            ("a byte too much", &trailing, DropReason::MalformedStun),
            (
                "an allocation without user name",
                &stun(0x0003, &[]),
                DropReason::MalformedStun,
            ),
            ("no colon", &request(b"42"), DropReason::MalformedStun),
            (
                "a user name behind a wall",
                &late,
                DropReason::MalformedStun,
            ),
            ("an endless user name", &too_long, DropReason::MalformedStun),
            (
                "a foreign user fragment",
                &request(b"x:abcd"),
                DropReason::UnknownUfrag,
            ),
        ];
        let demux = demux();
        for (what, datagram, reason) in cases {
            assert_eq!(
                demux.route(source(), datagram, some_moment()),
                Err(reason),
                "{what}"
            );
        }
    }

    #[test]
    fn everything_but_checks_goes_to_the_owner_of_the_address() {
        let demux = demux();
        let now = some_moment();
        demux.addresses.learn(source(), 9, now);
        for datagram in [
            &[22, 0xFE, 0xFD][..],
            &[0x80, 96],
            &[0x81, 201],
            &stun(BINDING_INDICATION, &[]),
        ] {
            let route = demux.route(source(), datagram, now);
            assert_eq!(route, Ok(Route::Session(9)), "{datagram:?}");
        }
        let check_of_another = stun(BINDING_REQUEST, &[attribute(USERNAME, b"42:abcd")]);
        let route = demux.route(source(), &check_of_another, now);
        assert_eq!(route, Ok(Route::Session(42)));
    }

    proptest! {
        #[test]
        fn no_datagram_does_harm(datagram in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let _ = demux().route(source(), &datagram, some_moment());
        }

        /// Consistent headers, so that the walk over the attributes is reached every time.
        #[test]
        fn no_attributes_do_harm(
            kind in 0u16..0x4000,
            mut attributes in proptest::collection::vec(any::<u8>(), 0..1400),
        ) {
            attributes.truncate(attributes.len() / 4 * 4);
            let _ = recipient(&stun(kind, &[attributes]));
        }

        #[test]
        fn a_user_name_is_found_among_other_attributes(
            others in proptest::collection::vec(
                (0x0007u16.., proptest::collection::vec(any::<u8>(), 0..40)), 0..MAX_ATTRIBUTES),
            local in "[a-z2-7]{4,32}", remote in "[a-zA-Z0-9+/]{4,32}",
        ) {
            let mut attributes: Vec<_> = others.iter().map(|(kind, value)| attribute(*kind, value)).collect();
            attributes.push(attribute(USERNAME, format!("{local}:{remote}").as_bytes()));
            let check = stun(BINDING_REQUEST, &attributes);
            prop_assert_eq!(recipient(&check), Ok(Recipient::Ufrag(local.as_str())));
            // A check that is cut short anywhere is refused, not misread.
            for end in 0..check.len() {
                prop_assert_eq!(recipient(&check[..end]), Err(Malformed));
            }
        }
    }
}
