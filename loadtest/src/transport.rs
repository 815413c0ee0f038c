//! One connection's ICE and DTLS, until it has keys; then only what keeps it alive.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use dimpl::{Dtls, DtlsCertificate, Output};
use is::{Candidate, IceAgent, IceAgentEvent, IceConnectionState, IceCreds, stun};
use rand::RngExt;

use crate::{sdp::Answer, srtp::Srtp};

/// Longest DTLS record that is taken in or sent.
const DTLS_BUFFER: usize = 2048;

/// DTLS waits so long before it sends a flight again.
///
/// The default of a second would hide a server's slowness behind our own after one lost datagram.
const DTLS_FLIGHT_TIMEOUT: Duration = Duration::from_millis(250);

/// ICE's pace; small, so that a join measures the server rather than our own waiting.
const ICE_PACE: Duration = Duration::from_millis(5);

/// What all connections of a run share.
pub(crate) struct Identity {
    certificate: DtlsCertificate,
    config: Arc<dimpl::Config>,
    /// SHA-256 of the certificate, in the form that SDP wants.
    pub(crate) fingerprint: String,
}

impl Identity {
    /// Makes a certificate; one is enough, as no server compares its clients'.
    pub(crate) fn new() -> Result<Self, dimpl::certificate::CertificateError> {
        let certificate = dimpl::certificate::generate_self_signed_certificate()?;
        let config = dimpl::Config::builder()
            .use_server_cookie(false)
            .flight_start_rto(DTLS_FLIGHT_TIMEOUT)
            .build()
            .map_err(|_| dimpl::certificate::CertificateError::GenerationFailed)?;
        let fingerprint = certificate.fingerprint_str();
        Ok(Self {
            certificate,
            config: Arc::new(config),
            fingerprint,
        })
    }
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Progress {
    /// ICE found a pair: DTLS begins.
    IceConnected,
    /// The keys are there: media may flow.
    Connected,
    /// It will not work any more, and why.
    Failed(&'static str),
}

/// One connection.
pub(crate) struct Transport {
    ice: IceAgent,
    local: SocketAddr,
    /// Where media goes: the pair that ICE chose.
    pub(crate) remote: Option<SocketAddr>,
    /// Dropped as soon as it has given the keys: it is larger than all the rest.
    dtls: Option<Box<Dtls>>,
    dtls_timeout: Option<Instant>,
    fingerprint: Vec<u8>,
    /// There once the handshake is done.
    pub(crate) srtp: Option<Srtp>,
}

impl Transport {
    /// Prepares a connection from `local`, which its offer names as its candidate.
    pub(crate) fn new(local: SocketAddr) -> Self {
        let mut rng = rand::rng();
        let mut text = |len| {
            (0..len)
                .map(|_| char::from(rng.sample(rand::distr::Alphanumeric)))
                .collect::<String>()
        };
        let credentials = IceCreds {
            ufrag: text(8),
            pass: text(24),
        };
        let mut ice = IceAgent::with_hmac(credentials, &AwsHmac);
        ice.set_controlling(true);
        ice.set_timing_advance(ICE_PACE);
        if let Ok(candidate) = Candidate::host(local, "udp") {
            ice.add_local_candidate(candidate);
        }
        Self {
            ice,
            local,
            remote: None,
            dtls: None,
            dtls_timeout: None,
            fingerprint: Vec::new(),
            srtp: None,
        }
    }

    /// The ICE user fragment and password of our side.
    pub(crate) fn credentials(&self) -> (&str, &str) {
        let credentials = self.ice.local_credentials();
        (&credentials.ufrag, &credentials.pass)
    }

    /// Takes the server's side in, and begins.
    pub(crate) fn start(&mut self, answer: &Answer, identity: &Identity, now: Instant) {
        self.ice.set_remote_credentials(IceCreds {
            ufrag: answer.ufrag.clone(),
            pass: answer.password.clone(),
        });
        for address in &answer.candidates {
            if let Ok(candidate) = Candidate::host(*address, "udp") {
                self.ice.add_remote_candidate(candidate);
            }
        }
        self.fingerprint.clone_from(&answer.fingerprint);
        let mut dtls = Dtls::new_12(
            Arc::clone(&identity.config),
            identity.certificate.clone(),
            now,
        );
        dtls.set_active(!answer.server_is_active);
        self.dtls = Some(Box::new(dtls));
        self.ice.handle_timeout(now);
    }

    /// Takes in a STUN message (RFC 7983: first byte 0 to 3).
    pub(crate) fn handle_stun(&mut self, data: &[u8], source: SocketAddr, now: Instant) {
        if let Ok(message) = stun::StunMessage::parse(data) {
            let packet = stun::StunPacket {
                proto: is::Protocol::Udp,
                source,
                destination: self.local,
                message,
            };
            self.ice.handle_packet(now, packet);
            self.ice.handle_timeout(now);
        }
    }

    /// Takes in a DTLS record (first byte 20 to 63).
    pub(crate) fn handle_dtls(&mut self, data: &[u8], now: Instant) -> Option<Progress> {
        /// The content type of an alert; after the handshake the server has nothing else to tell.
        const ALERT: u8 = 21;
        match &mut self.dtls {
            Some(dtls) => {
                let ok = dtls
                    .handle_timeout(now)
                    .and_then(|()| dtls.handle_packet(data));
                ok.err().map(|_| Progress::Failed("DTLS failed"))
            }
            None if self.srtp.is_some() && data.first() == Some(&ALERT) => {
                Some(Progress::Failed("closed by the server"))
            }
            None => None,
        }
    }

    /// Lets time pass, and hands what is to be sent to `send`; gives what has changed.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) -> Option<Progress> {
        if self.ice.poll_timeout().is_some_and(|at| at <= now) {
            self.ice.handle_timeout(now);
        }
        while let Some(transmit) = self.ice.poll_transmit() {
            send(transmit.destination, &transmit.contents);
        }
        let mut progress = None;
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { destination, .. } => {
                    let first = self.remote.replace(destination).is_none();
                    progress = first.then_some(Progress::IceConnected).or(progress);
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                    return Some(Progress::Failed("ICE lost the server"));
                }
                _ => {}
            }
        }
        if self.remote.is_some() && self.dtls.is_some() {
            progress = self.poll_dtls(now, send).or(progress);
        }
        progress
    }

    fn poll_dtls(
        &mut self,
        now: Instant,
        mut send: impl FnMut(SocketAddr, &[u8]),
    ) -> Option<Progress> {
        let (dtls, remote) = (self.dtls.as_mut()?, self.remote?);
        if self.dtls_timeout.is_none_or(|at| at <= now) && dtls.handle_timeout(now).is_err() {
            return Some(Progress::Failed("DTLS took too long"));
        }
        let mut buffer = [0; DTLS_BUFFER];
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => send(remote, packet),
                Output::PeerCert(der)
                    if dimpl::certificate::calculate_fingerprint(der) != self.fingerprint =>
                {
                    return Some(Progress::Failed(
                        "the server's certificate is not the one of its answer",
                    ));
                }
                Output::KeyingMaterial(material, profile) => {
                    self.srtp = Srtp::new(&material, profile, dtls.is_active());
                }
                Output::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    break;
                }
                Output::CloseNotify => return Some(Progress::Failed("closed by the server")),
                Output::BufferTooSmall { .. } => {
                    return Some(Progress::Failed("a DTLS record of more than 2 KiB"));
                }
                _ => {}
            }
        }
        // As a client, our Finished is answered by the server's: nothing of ours can still be missing there. As a
        // server, the last flight is ours and may have to be repeated: DTLS then stays.
        if self.srtp.is_some() && dtls.is_active() {
            self.dtls = None;
            return Some(Progress::Connected);
        }
        self.srtp.is_some().then_some(Progress::Connected)
    }

    /// When [`poll`](Self::poll) has something to do without anything arriving.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let dtls = self
            .dtls
            .as_ref()
            .filter(|_| self.remote.is_some())
            .and(self.dtls_timeout);
        self.ice.poll_timeout().into_iter().chain(dtls).min()
    }
}

/// HMAC-SHA1 for STUN (RFC 8489 §14.5).
#[derive(Debug)]
struct AwsHmac;

impl is::Sha1HmacProvider for AwsHmac {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        payloads.iter().for_each(|payload| context.update(payload));
        let mut bytes = [0; 20];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }
}
