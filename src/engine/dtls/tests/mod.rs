//! Whole handshakes in virtual time, over a path that may lose and change things.

mod call;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512};
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{CryptoError as DimplCryptoError, CryptoOperation};
use rand::{RngExt, SeedableRng};
use str0m::crypto::dtls::DtlsOutput;

use super::*;
use crate::engine::srtp::{Profile, SrtpKeys};
use crate::engine::tests::some_moment;

const MTU: usize = 1150;

/// More than any handshake here needs.
const MAX_ROUNDS: usize = 200;

const MESSAGE_CERTIFICATE: u8 = 11;
const MESSAGE_CERTIFICATE_REQUEST: u8 = 13;
const MESSAGE_CERTIFICATE_VERIFY: u8 = 15;

/// What GStreamer has.
pub(super) struct RsaCertificate {
    pub(super) certificate: DtlsCert,
    pub(super) key_pair: rcgen::KeyPair,
}

impl RsaCertificate {
    /// The same one for all tests, as finding primes takes a while.
    pub(super) fn generate() -> &'static Self {
        static CERTIFICATE: OnceLock<RsaCertificate> = OnceLock::new();
        CERTIFICATE.get_or_init(|| Self::with_padding(0))
    }

    /// With a name that makes the certificate longer.
    fn with_padding(padding: usize) -> Self {
        let key_pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("RSA key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "x".repeat(padding));
        let certificate = params.self_signed(&key_pair).expect("self-signed");
        let certificate = DtlsCert {
            certificate: certificate.der().to_vec(),
            private_key: key_pair.serialize_der(),
        };
        Self {
            certificate,
            key_pair,
        }
    }

    pub(super) fn sign(&self, message: &[u8], hash: HashAlgorithm) -> Vec<u8> {
        sign_rsa(&self.certificate.private_key, message, hash)
    }
}

fn sign_rsa(private_key: &[u8], message: &[u8], hash: HashAlgorithm) -> Vec<u8> {
    let key = rsa::KeyPair::from_pkcs8(private_key).expect("an RSA key");
    let encoding = match hash {
        HashAlgorithm::SHA256 => &RSA_PKCS1_SHA256,
        HashAlgorithm::SHA384 => &RSA_PKCS1_SHA384,
        _ => &RSA_PKCS1_SHA512,
    };
    let mut signature = vec![0; key.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    key.sign(encoding, &random, message, &mut signature)
        .expect("signed");
    signature
}

/// Lets `dimpl`'s client, which knows of ECDSA alone, authenticate itself as OpenSSL does.
#[derive(Debug)]
struct RsaKeys;

impl KeyProvider for RsaKeys {
    fn load_private_key(&self, key: &[u8]) -> Result<Box<dyn SigningKey>, DimplCryptoError> {
        Ok(Box::new(RsaKey {
            private_key: key.to_vec(),
            is_to_sign: AtomicBool::new(false),
        }))
    }
}

/// Claims ECDSA while cipher suites are chosen, which are all for ECDSA servers. The question for
/// the hash comes after that, and then the algorithm is asked for once more, to be sent.
#[derive(Debug)]
struct RsaKey {
    private_key: Vec<u8>,
    is_to_sign: AtomicBool,
}

impl SigningKey for RsaKey {
    fn sign(
        &mut self,
        data: &[u8],
        hash: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), DimplCryptoError> {
        if !self.is_to_sign.load(Ordering::Relaxed) {
            return Err(DimplCryptoError::OperationFailed(CryptoOperation::Sign));
        }
        out.clear();
        out.extend_from_slice(&sign_rsa(&self.private_key, data, hash));
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        if self.is_to_sign.load(Ordering::Relaxed) {
            SignatureAlgorithm::RSA
        } else {
            SignatureAlgorithm::ECDSA
        }
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.is_to_sign.store(true, Ordering::Relaxed);
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

/// One end of a handshake.
struct End {
    connection: Box<dyn DtlsInstance>,
    tap: KeyTap,
    peer_certificate: Option<Vec<u8>>,
    is_connected: bool,
    errors: usize,
    timeout: Option<Instant>,
}

impl End {
    fn new(certificate: &DtlsCert, active: bool, mtu: usize, now: Instant) -> Self {
        let configs = Configs::get(mtu, Some(7)).expect("settings");
        Self::with_configs(configs, certificate, active, now)
    }

    /// A client with an RSA certificate.
    fn rsa_client(certificate: &DtlsCert, mtu: usize, now: Instant) -> Self {
        let mut provider = dimpl::crypto::aws_lc_rs::default_provider();
        provider.key_provider = &RsaKeys;
        let config = dimpl::Config::builder()
            .mtu(mtu)
            .dangerously_set_rng_seed(7)
            .flight_start_rto(FLIGHT_START_RTO)
            .flight_retries(FLIGHT_RETRIES)
            .with_crypto_provider(provider);
        let configs = Configs::of_client(config.build().expect("settings"));
        Self::with_configs(configs, certificate, true, now)
    }

    fn with_configs(configs: Configs, certificate: &DtlsCert, active: bool, now: Instant) -> Self {
        let slot = KeySlot::default();
        let mut connection = Connection::new(configs, certificate, now, Some(Arc::clone(&slot)));
        connection.set_active(active);
        Self {
            connection: Box::new(connection),
            tap: KeyTap { slot: Some(slot) },
            peer_certificate: None,
            is_connected: false,
            errors: 0,
            timeout: Some(now),
        }
    }

    /// All that this end has to send now. The buffer is as long as `str0m`'s.
    fn poll(&mut self) -> Vec<Vec<u8>> {
        let mut buf = [0; 2000];
        let mut datagrams = Vec::new();
        loop {
            match self.connection.poll_output(&mut buf) {
                DtlsOutput::Packet(datagram) => datagrams.push(datagram.to_vec()),
                DtlsOutput::Connected => self.is_connected = true,
                DtlsOutput::PeerCert(certificate) => {
                    self.peer_certificate = Some(certificate.to_vec());
                }
                DtlsOutput::BufferTooSmall { .. } => self.errors += 1,
                DtlsOutput::Timeout(at) => {
                    self.timeout = Some(at);
                    return datagrams;
                }
                _ => {}
            }
        }
    }
}

/// Two ends and the path between them, which may do something to each datagram.
struct Pair {
    client: End,
    server: End,
    started: Instant,
    now: Instant,
}

impl Pair {
    /// Runs until nothing more happens, or a virtual minute is over.
    fn run(&mut self, mut path: impl FnMut(Vec<u8>) -> Option<Vec<u8>>) {
        let deadline = self.started + Duration::from_secs(60);
        // A failed connection may ask for the same moment again and again.
        for _ in 0..MAX_ROUNDS {
            if self.now >= deadline || self.is_connected() {
                break;
            }
            for end in [&mut self.client, &mut self.server] {
                if end.timeout.is_some_and(|at| at <= self.now) {
                    end.timeout = None;
                    end.errors += usize::from(end.connection.handle_timeout(self.now).is_err());
                }
            }
            if self.exchange(&mut path) || self.is_connected() {
                continue;
            }
            let timeouts = [self.client.timeout, self.server.timeout];
            self.now = timeouts
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(deadline)
                .max(self.now);
        }
    }

    fn exchange(&mut self, path: &mut impl FnMut(Vec<u8>) -> Option<Vec<u8>>) -> bool {
        let to_server = Self::deliver(&mut self.client, &mut self.server, path);
        let to_client = Self::deliver(&mut self.server, &mut self.client, path);
        to_server + to_client > 0
    }

    fn deliver(
        from: &mut End,
        to: &mut End,
        path: &mut impl FnMut(Vec<u8>) -> Option<Vec<u8>>,
    ) -> usize {
        let datagrams = from.poll();
        let sent = datagrams.len();
        for datagram in datagrams.into_iter().filter_map(path) {
            to.errors += usize::from(to.connection.handle_packet(&datagram).is_err());
        }
        sent
    }

    fn elapsed(&self) -> Duration {
        self.now - self.started
    }

    fn is_connected(&self) -> bool {
        self.client.is_connected && self.server.is_connected
    }

    /// Both ends have keys, and they fit.
    fn assert_keys(&mut self) -> Profile {
        let client = self.client.tap.take().expect("the client has keys");
        let server = self.server.tap.take().expect("the server has keys");
        assert_understands(&client, &server);
        assert_understands(&server, &client);
        assert!(self.server.tap.take().is_none(), "keys are handed out once");
        client.profile
    }
}

fn assert_understands(receiver: &SrtpKeys, sender: &SrtpKeys) {
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let mut sealed = report.to_vec();
    sender
        .rtcp_sealer()
        .seal(&mut sealed, 0)
        .expect("indices are left");
    assert_eq!(receiver.rtcp_opener().open(&sealed), Ok(&report[..]));
}

fn pair(client: impl FnOnce(Instant) -> End, mtu: usize) -> Pair {
    let started = some_moment();
    let server = End::new(&Certificate::generate().to_dtls_cert(), false, mtu, started);
    Pair {
        client: client(started),
        server,
        started,
        now: started,
    }
}

/// The handshake messages in a datagram that are not encrypted yet: kind, and where the body is.
fn messages(datagram: &[u8]) -> Vec<(u8, usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 13 <= datagram.len() {
        let len = usize::from(u16::from_be_bytes([datagram[at + 11], datagram[at + 12]]));
        if datagram[at] == 22 && datagram[at + 3..at + 5] == [0, 0] {
            found.push((datagram[at + 13], at + 25, at + 13 + len));
        }
        at += 13 + len;
    }
    found
}

#[test]
fn both_roles_end_with_the_same_keys_and_the_fastest_profile_that_all_browsers_have() {
    let certificate = Certificate::generate().to_dtls_cert();
    let mut pair = pair(|now| End::new(&certificate, true, MTU, now), MTU);
    pair.run(Some);
    assert!(pair.is_connected());
    assert_eq!(pair.elapsed(), Duration::ZERO, "nothing was waited for");
    assert_eq!(pair.server.peer_certificate, Some(certificate.certificate));
    assert_eq!(pair.assert_keys(), Profile::AeadAes256Gcm);
}

#[test]
fn a_gstreamer_publisher_with_an_rsa_certificate_gets_in() {
    let rsa = &RsaCertificate::generate().certificate;
    let mut pair = pair(|now| End::rsa_client(rsa, MTU, now), MTU);
    pair.run(Some);
    assert!(pair.is_connected());
    assert_eq!(
        pair.server.peer_certificate.as_ref(),
        Some(&rsa.certificate)
    );
    pair.assert_keys();
}

#[test]
fn an_rsa_certificate_works_at_every_mtu() {
    let rsa = &RsaCertificate::generate().certificate;
    let mut pieces_seen = Vec::new();
    let mut kept_company = false;
    // From where the certificate request is cut at its end to where it travels whole.
    for mtu in (250..=420).step_by(3).chain([576, 1150, 1200]) {
        let mut pair = pair(|now| End::rsa_client(rsa, mtu, now), mtu);
        let mut pieces = 0;
        pair.run(|datagram| {
            assert!(datagram.len() <= mtu, "{} octets", datagram.len());
            let messages = messages(&datagram);
            let requests = messages
                .iter()
                .filter(|(kind, ..)| *kind == MESSAGE_CERTIFICATE_REQUEST)
                .count();
            pieces += requests;
            kept_company |= requests > 0 && messages.len() > requests;
            Some(datagram)
        });
        assert!(pair.is_connected(), "mtu {mtu}");
        pair.assert_keys();
        pieces_seen.push(pieces);
    }
    assert!(kept_company, "it travelled with other messages");
    assert!(
        pieces_seen.contains(&1) && pieces_seen.contains(&2),
        "{pieces_seen:?}"
    );
}

#[test]
fn somebody_elses_rsa_certificate_does_not_get_in() {
    let rsa = &RsaCertificate::generate().certificate;
    let mut pair = pair(|now| End::rsa_client(rsa, MTU, now), MTU);
    let mut tampered = 0;
    pair.run(|mut datagram| {
        for (kind, _, end) in messages(&datagram) {
            if kind == MESSAGE_CERTIFICATE_VERIFY {
                datagram[end - 1] ^= 1;
                tampered += 1;
            }
        }
        Some(datagram)
    });
    assert!(tampered > 0);
    assert!(!pair.server.is_connected && pair.server.errors > 0);
    assert!(pair.server.tap.take().is_none());
}

#[test]
fn a_question_that_was_narrowed_on_the_way_ends_the_handshake() {
    let rsa = &RsaCertificate::generate().certificate;
    let mut pair = pair(|now| End::rsa_client(rsa, MTU, now), MTU);
    let mut tampered = 0;
    pair.run(|mut datagram| {
        for (kind, body, end) in messages(&datagram) {
            if kind == MESSAGE_CERTIFICATE_REQUEST {
                assert_eq!(
                    datagram[body..body + 3],
                    [2, 64, 1],
                    "both kinds are asked for"
                );
                // The last algorithm, RSA with SHA-512, becomes RSA with SHA-1.
                assert_eq!(datagram[end - 4..end], [6, 1, 0, 0]);
                datagram[end - 4] = 2;
                tampered += 1;
            }
        }
        Some(datagram)
    });
    assert!(tampered > 0);
    assert!(!pair.server.is_connected);
    assert!(pair.server.tap.take().is_none());
}

#[test]
fn a_lost_flight_is_sent_again_after_a_quarter_of_a_second() {
    let certificate = Certificate::generate().to_dtls_cert();
    let mut pair = pair(|now| End::new(&certificate, true, MTU, now), MTU);
    let mut lost = 0;
    pair.run(|datagram| {
        lost += 1;
        (lost > 1).then_some(datagram)
    });
    assert!(pair.is_connected());
    let expected = Duration::from_millis(187)..Duration::from_millis(313);
    assert!(expected.contains(&pair.elapsed()), "{:?}", pair.elapsed());
}

#[test]
fn a_peer_that_is_silent_for_ten_seconds_is_still_welcome() {
    let certificate = Certificate::generate().to_dtls_cert();
    let mut pair = pair(|now| End::new(&certificate, true, MTU, now), MTU);
    let mut flights = 0;
    pair.run(|datagram| {
        flights += 1;
        (flights > FLIGHT_RETRIES - 1).then_some(datagram)
    });
    assert!(pair.is_connected());
    assert!(
        pair.elapsed() > Duration::from_secs(10),
        "{:?}",
        pair.elapsed()
    );
}

#[test]
fn a_fifth_of_all_datagrams_may_be_lost() {
    let rsa = &RsaCertificate::generate().certificate;
    for seed in 1..=10 {
        let mut pair = pair(|now| End::rsa_client(rsa, MTU, now), MTU);
        let mut chance = rand::rngs::StdRng::seed_from_u64(seed);
        pair.run(|datagram| chance.random_bool(0.8).then_some(datagram));
        assert!(pair.is_connected(), "seed {seed}");
        pair.assert_keys();
    }
}

#[test]
fn a_handshake_in_a_test_takes_the_same_time_twice() {
    let certificate = Certificate::generate().to_dtls_cert();
    let run = || {
        let mut pair = pair(|now| End::new(&certificate, true, MTU, now), MTU);
        let mut count = 0;
        pair.run(|datagram| {
            count += 1;
            (count > 2).then_some(datagram)
        });
        pair.elapsed()
    };
    let first = run();
    assert!(first > Duration::ZERO);
    assert_eq!(first, run());
}

#[test]
fn a_certificate_too_long_to_be_checked_ends_its_handshake_and_nothing_else() {
    let rsa = RsaCertificate::with_padding(2000);
    assert!(rsa.certificate.certificate.len() > 2000);
    let mut pair = pair(|now| End::rsa_client(&rsa.certificate, MTU, now), MTU);
    let mut was_shown = false;
    pair.run(|datagram| {
        was_shown |= messages(&datagram)
            .iter()
            .any(|(kind, ..)| *kind == MESSAGE_CERTIFICATE);
        Some(datagram)
    });
    assert!(was_shown);
    assert!(!pair.server.is_connected && pair.server.errors > 0);
    assert_eq!(pair.server.peer_certificate, None);
    assert!(pair.server.tap.take().is_none());
}

#[test]
fn two_sessions_made_in_turn_have_taps_of_their_own() {
    let now = some_moment();
    let certificate = Certificate::generate();
    let config = || RtcConfig::default().set_dtls_cert(certificate.to_dtls_cert());
    let (_first, mut first_keys) = build(config(), now);
    let (_second, mut second_keys) = build(config(), now);
    assert!(first_keys.take().is_none() && second_keys.take().is_none());
    let slots = [
        first_keys.slot.expect("waiting"),
        second_keys.slot.expect("waiting"),
    ];
    assert!(!Arc::ptr_eq(&slots[0], &slots[1]));
    assert!(
        slots.iter().all(|slot| Arc::strong_count(slot) == 2),
        "each is in its own Rtc"
    );
}

#[test]
fn the_private_key_stays_out_of_logs() {
    assert_eq!(format!("{:?}", Certificate::generate()), "Certificate(..)");
}
