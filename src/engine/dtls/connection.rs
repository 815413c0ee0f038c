//! One session's DTLS connection.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, KeyingMaterial, ProtocolVersion, SrtpProfile,
};

use super::certificate_request::{GROWTH, widen_datagram};
use super::{FLIGHT_RETRIES, FLIGHT_START_RTO, KeySlot, MAX_QUEUED_DATAGRAMS, client_certificate};
use crate::engine::srtp::{Profile, SrtpKeys};

/// The longest datagram of a handshake that is looked at.
///
/// Nothing on the Internet delivers one beyond an Ethernet frame without fragments; this leaves
/// room. With the limit on how many are queued it bounds what a peer can make us hold.
const MAX_HANDSHAKE_DATAGRAM: usize = 2048;

/// Room for whatever a peer can send in one handshake message.
///
/// `dimpl` panics where its caller's buffer is too small for the peer's certificate, and `str0m`
/// offers 2000 octets. So the handshake is polled into this, and we look at the size.
const SCRATCH_LEN: usize = 64 * 1024;
const _: () = assert!(MAX_QUEUED_DATAGRAMS * MAX_HANDSHAKE_DATAGRAM < SCRATCH_LEN);

thread_local! {
    /// One for all handshakes of a thread, as none keeps anything in it.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_LEN]);
}

/// How long a refused connection sleeps: until something else ends its session.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `dimpl`'s settings for both roles.
///
/// Made once and shared, as `dimpl` tests its cryptography whenever it makes some, which takes
/// longer than a handshake.
#[derive(Clone)]
pub(super) struct Configs {
    server: Arc<Config>,
    client: Arc<Config>,
}

/// What settings are made for: the longest datagram, and the seed of a test.
type ConfigKey = (usize, Option<u64>);

/// How many settings are kept. A server has one path MTU; a test may have some seeds.
const MAX_CACHED_CONFIGS: usize = 8;

impl Configs {
    /// For a test that plays the client with settings of its own.
    #[cfg(test)]
    pub(super) fn of_client(client: Config) -> Self {
        let client = Arc::new(client);
        Self {
            server: Arc::clone(&client),
            client,
        }
    }

    pub(super) fn get(mtu: usize, seed: Option<u64>) -> Result<Self, DtlsImplError> {
        static CACHE: Mutex<Vec<(ConfigKey, Configs)>> = Mutex::new(Vec::new());
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, configs)) = cache.iter().find(|(key, _)| *key == (mtu, seed)) {
            return Ok(configs.clone());
        }
        let configs = Self::new(mtu, seed)?;
        if cache.len() >= MAX_CACHED_CONFIGS {
            cache.remove(0);
        }
        cache.push(((mtu, seed), configs.clone()));
        Ok(configs)
    }

    fn new(mtu: usize, seed: Option<u64>) -> Result<Self, DtlsImplError> {
        let config = |mtu| {
            let builder = Config::builder()
                .mtu(mtu)
                // ICE has seen the peer answer from its address (RFC 8445 §7), which is all that
                // a cookie could show.
                .use_server_cookie(false)
                .flight_start_rto(FLIGHT_START_RTO)
                .flight_retries(FLIGHT_RETRIES)
                .max_queue_rx(MAX_QUEUED_DATAGRAMS)
                .max_queue_tx(MAX_QUEUED_DATAGRAMS);
            match seed {
                Some(seed) => builder.dangerously_set_rng_seed(seed),
                None => builder,
            }
        };
        let server = config(mtu.saturating_sub(GROWTH))
            .with_crypto_provider(client_certificate::crypto_provider());
        Ok(Self {
            server: Arc::new(server.build()?),
            client: Arc::new(config(mtu).build()?),
        })
    }
}

/// A DTLS connection that hands its media keys to the session.
pub(super) struct Connection {
    dtls: Dtls,
    stage: Stage,
    /// What a client is made of, until the role is known.
    client: Option<(Arc<Config>, DtlsCert)>,
    slot: Option<KeySlot>,
    now: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    /// Keys have been handed out; from here on nothing is looked at.
    Established,
    /// The peer's certificate cannot be checked. Nothing that it says will be heard again.
    Refused,
}

impl Connection {
    pub(super) fn new(
        configs: Configs,
        certificate: &DtlsCert,
        now: Instant,
        slot: Option<KeySlot>,
    ) -> Self {
        Self {
            dtls: Dtls::new_12(configs.server, certificate.clone(), now),
            stage: Stage::Handshake,
            client: Some((configs.client, certificate.clone())),
            slot,
            now,
        }
    }

    /// Moves what the handshake put out into the caller's buffer.
    fn pass<'a>(&mut self, output: DtlsOutput<'_>, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        match output {
            DtlsOutput::Packet(packet) if self.dtls.is_active() => {
                copy(packet, buf).map_or_else(too_small, DtlsOutput::Packet)
            }
            DtlsOutput::Packet(packet) => {
                copy(&widen_datagram(packet), buf).map_or_else(too_small, DtlsOutput::Packet)
            }
            DtlsOutput::PeerCert(certificate) => match copy(certificate, buf) {
                Ok(certificate) => DtlsOutput::PeerCert(certificate),
                Err(needed) => {
                    self.stage = Stage::Refused;
                    too_small(needed)
                }
            },
            DtlsOutput::KeyingMaterial(material, profile) => {
                self.hand_over(&material, profile);
                DtlsOutput::KeyingMaterial(material, profile)
            }
            DtlsOutput::ApplicationData(data) => {
                copy(data, buf).map_or_else(too_small, DtlsOutput::ApplicationData)
            }
            DtlsOutput::BufferTooSmall { needed } => too_small(needed),
            DtlsOutput::Timeout(at) => DtlsOutput::Timeout(at),
            DtlsOutput::Connected => DtlsOutput::Connected,
            DtlsOutput::CloseNotify => DtlsOutput::CloseNotify,
            _ => unreachable!("dimpl is pinned to a version that has no other output"),
        }
    }

    fn hand_over(&mut self, material: &KeyingMaterial, profile: SrtpProfile) {
        self.stage = Stage::Established;
        let profile = match profile {
            SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmHmacSha1_80,
            SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            _ => unreachable!("dimpl is pinned to a version that has no other profile"),
        };
        if let Some(slot) = self.slot.take() {
            let keys = SrtpKeys::from_keying_material(profile, material, self.dtls.is_active());
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }

    fn refused(&self) -> Result<(), DtlsImplError> {
        if self.stage == Stage::Refused {
            Err(DtlsImplError::ConnectionClosed)
        } else {
            Ok(())
        }
    }
}

/// Copies to the front of a buffer, or says how long it would have to be.
fn copy<'a>(bytes: &[u8], buf: &'a mut [u8]) -> Result<&'a [u8], usize> {
    let place = buf.get_mut(..bytes.len()).ok_or(bytes.len())?;
    place.copy_from_slice(bytes);
    Ok(place)
}

fn too_small<'a>(needed: usize) -> DtlsOutput<'a> {
    DtlsOutput::BufferTooSmall { needed }
}

impl DtlsInstance for Connection {
    fn set_active(&mut self, active: bool) {
        if let Some((config, certificate)) = self.client.take()
            && active
        {
            self.dtls = Dtls::new_12(config, certificate, self.now);
        }
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.refused()?;
        if self.stage == Stage::Handshake && packet.len() > MAX_HANDSHAKE_DATAGRAM {
            return Ok(());
        }
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.stage {
            Stage::Established => self.dtls.poll_output(buf),
            Stage::Refused => DtlsOutput::Timeout(self.now + NEVER),
            Stage::Handshake => SCRATCH.with_borrow_mut(|scratch| {
                let output = self.dtls.poll_output(scratch);
                self.pass(output, buf)
            }),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        self.refused()?;
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.refused()?;
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
