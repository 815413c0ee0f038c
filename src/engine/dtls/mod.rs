//! DTLS for a session (RFC 6347), and the keys for media that come out of it (RFC 5764).
//!
//! The handshake is `dimpl`'s, driven by `str0m` through a provider of ours. The provider exists
//! for what neither offers: it hands the keys for media to the session, which seals its own
//! packets; it takes RSA certificates; it repeats lost flights sooner; and it lets no
//! certificate through that `str0m` cannot hold.

mod certificate_request;
mod client_certificate;
mod connection;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use str0m::crypto::dtls::{DtlsCert, DtlsInstance, DtlsProvider, DtlsVersion};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};
use str0m::{Rtc, RtcConfig};

use super::srtp::{LazyCiphers, SrtpKeys};
use connection::{Configs, Connection};

/// How long the first flight of a handshake waits for an answer before it is sent again.
///
/// RFC 6347 §4.2.4.1 suggests a second, for paths unknown. Here ICE has just measured the path:
/// an answer takes a round trip, and 250 ms holds for most of the world. A lost packet, or a
/// peer that was not ready (FFmpeg loses the first `ClientHello` each time), costs the viewer
/// this wait. Shorter would send flights twice on slow links.
const FLIGHT_START_RTO: Duration = Duration::from_millis(250);

/// How often a flight is sent again, with doubled waits: 64 s in all.
///
/// As DTLS client we start when ICE is done on our side, which may be long before the peer is;
/// four retries gave up on FFmpeg after 8 s.
const FLIGHT_RETRIES: usize = 7;

/// Datagrams of a handshake that wait for those before them, on either side.
///
/// A chain of certificates in small pieces needs some; more than this is not a handshake.
const MAX_QUEUED_DATAGRAMS: usize = 30;

/// The certificate that this server shows to every peer.
///
/// One for the process: making one costs about a millisecond of a handshake's time, and there is
/// nothing to gain from many, as its fingerprint is in every answer. It lives in memory only.
#[derive(Clone)]
pub struct Certificate(DtlsCert);

impl Certificate {
    /// Makes a self-signed certificate with a new ECDSA P-256 key (RFC 8827 §6.5), valid for a
    /// year.
    ///
    /// # Panics
    ///
    /// If the system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .expect("a P-256 key and a certificate can be made");
        Self(certificate)
    }

    /// For [`RtcConfig::set_dtls_cert`].
    #[must_use]
    pub fn to_dtls_cert(&self) -> DtlsCert {
        self.0.clone()
    }
}

impl fmt::Debug for Certificate {
    /// The private key never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(..)")
    }
}

/// Where the keys for media appear when a session's handshake is done.
#[derive(Debug)]
pub struct KeyTap {
    /// `None` once the keys were taken.
    slot: Option<KeySlot>,
}

/// Shared with the DTLS connection inside of the session's `Rtc`.
type KeySlot = Arc<Mutex<Option<SrtpKeys>>>;

impl KeyTap {
    /// The keys, once, after the handshake.
    ///
    /// They are there when `Event::Connected` is. Wait for that event before they are used: it
    /// says that the peer has the certificate that its offer announced.
    pub fn take(&mut self) -> Option<SrtpKeys> {
        let slot = self.slot.as_ref()?;
        let keys = slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.slot = None;
        Some(keys)
    }
}

/// Makes a session's `Rtc`, and the tap at which its media keys will appear.
pub fn build(config: RtcConfig, now: Instant) -> (Rtc, KeyTap) {
    build_with(config, now, None)
}

/// [`build`] for tests in virtual time: what a handshake draws by chance follows from `seed`.
///
/// That is the timing of repeated flights, the hello randoms and the record nonces. Key exchange
/// and signatures stay random, so packets keep their number and order but not their bytes, and
/// an ECDSA signature may be an octet longer or shorter. Predictable nonces are no protection:
/// this must never meet a network.
#[doc(hidden)]
pub fn build_predictable(config: RtcConfig, now: Instant, seed: u64) -> (Rtc, KeyTap) {
    build_with(config, now, Some(seed))
}

fn build_with(config: RtcConfig, now: Instant, seed: Option<u64>) -> (Rtc, KeyTap) {
    static CRYPTO: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            dtls_provider: &TappedDtls::INSTANCE,
            srtp_provider: &LazyCiphers,
            ..from_feature_flags()
        })
    });
    let slot = KeySlot::default();
    ORDER.set(Some(Order {
        slot: Arc::clone(&slot),
        seed,
    }));
    let rtc = config.set_crypto_provider(Arc::clone(&CRYPTO)).build(now);
    debug_assert!(
        ORDER.take().is_none(),
        "building an Rtc makes its DTLS connection"
    );
    (rtc, KeyTap { slot: Some(slot) })
}

/// What [`build`] tells the provider, which `str0m` calls from within without knowing of it.
struct Order {
    slot: KeySlot,
    seed: Option<u64>,
}

thread_local! {
    static ORDER: RefCell<Option<Order>> = const { RefCell::new(None) };
}

/// Makes the DTLS connections of all sessions.
#[derive(Debug)]
struct TappedDtls;

impl TappedDtls {
    const INSTANCE: Self = Self;
}

impl DtlsProvider for TappedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        Some(Certificate::generate().0)
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // With DTLS 1.3 the client's order of SRTP profiles counts, and browsers put the slow
        // one first; and the certificate request is encrypted.
        if version != DtlsVersion::Dtls12 {
            return Err(CryptoError::Other(format!("{version} is not offered")));
        }
        let (slot, seed) = match ORDER.take() {
            Some(Order { slot, seed }) => (Some(slot), seed),
            None => (None, None),
        };
        let configs = Configs::get(mtu.unwrap_or(str0m::DATAGRAM_MTU_TARGET), seed)
            .map_err(|error| CryptoError::Other(error.to_string()))?;
        Ok(Box::new(Connection::new(configs, certificate, now, slot)))
    }
}
