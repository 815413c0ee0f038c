//! SRTP as this server sends it, and SRTCP in both directions (RFC 3711, RFC 7714).
//!
//! Outgoing media is where an SFU spends its time: one packet in becomes hundreds out, and each
//! is sealed under its receiver's own key. So sealing works in place on a packet that already
//! stands at the end of the buffer it will be sent from, with keys that were expanded once, and
//! allocates nothing.
//!
//! Incoming media is decrypted once, elsewhere; of what comes in, only SRTCP is opened here.

mod keys;
mod lazy;
mod replay;
#[cfg(test)]
mod tests;

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use subtle::ConstantTimeEq;
use thiserror::Error;

pub use keys::{MasterKey, Profile, SrtpKeys};
pub(super) use lazy::LazyCiphers;
use replay::ReplayGuard;

/// Octets of an AES-GCM authentication tag (RFC 7714 §13.2).
const GCM_TAG_LEN: usize = 16;

/// Octets of the truncated HMAC-SHA1 tag of `AES128_CM_HMAC_SHA1_80` (RFC 5764 §4.1.2).
const HMAC_TAG_LEN: usize = 10;

/// The shortest RTP header (RFC 3550 §5.1).
const MIN_RTP_HEADER_LEN: usize = 12;

/// Octets at the start of a compound RTCP packet that stay readable: the first header and the
/// sender's SSRC (RFC 3711 §3.4).
const RTCP_CLEAR_LEN: usize = 8;

/// Octets of the E flag and the SRTCP index (RFC 3711 §3.4).
const RTCP_INDEX_LEN: usize = 4;

/// The E flag: this SRTCP packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Where our count of sent SRTCP packets begins.
///
/// `str0m` seals its own reports under the same master key and counts from zero. The nonce is
/// made of the SSRC and this index, and one repeated GCM nonce gives the authentication key
/// away; with the two counts in separate halves of the 31 bits, not even a shared SSRC can
/// repeat one. Receivers accept any jump forward. What remains is 2^30 packets: 124 days at a
/// hundred a second.
const FIRST_RTCP_INDEX: u32 = 1 << 30;

/// Seals the RTP packets of one session.
#[derive(Debug)]
pub struct RtpSealer {
    cipher: SessionCipher,
}

impl RtpSealer {
    /// Octets that [`seal`](Self::seal) appends to every packet.
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.cipher.tag_len()
    }

    /// Encrypts and authenticates the RTP packet that stands in `arena` from `start` to its end,
    /// and appends the tag.
    ///
    /// `header_len` counts CSRCs and extensions. `index` is the rollover counter and the
    /// packet's sequence number, `ROC << 16 | SEQ`. The same SSRC and index must never be sealed
    /// twice with different contents (RFC 7714 §5.1.1); a verbatim repeat is harmless.
    ///
    /// Allocates only where `arena` lacks room for [`overhead`](Self::overhead) more octets.
    ///
    /// # Panics
    ///
    /// If the packet is shorter than `header_len`, or `header_len` than an RTP header: we made
    /// the packet.
    #[inline]
    pub fn seal(&self, arena: &mut Vec<u8>, start: usize, header_len: usize, index: u64) {
        let packet = &mut arena[start..];
        assert!(
            header_len >= MIN_RTP_HEADER_LEN,
            "an RTP packet has a header"
        );
        debug_assert_eq!(
            packet[2..4],
            (index as u16).to_be_bytes(),
            "index is for this packet"
        );
        debug_assert!(index < 1 << 48, "the rollover counter has 32 bits");
        let ssrc = be_u32(&packet[8..12]);
        let (header, payload) = packet.split_at_mut(header_len);
        match &self.cipher.kind {
            CipherKind::Gcm(key) => {
                let nonce = self.cipher.gcm_nonce(ssrc, index);
                let tag = gcm_seal(key, nonce, header, payload);
                arena.extend_from_slice(&tag);
            }
            CipherKind::CounterMode(keys) => {
                apply_counter_mode(
                    &keys.encryption,
                    self.cipher.counter_block(ssrc, index),
                    payload,
                );
                let roc = (index >> 16) as u32;
                let tag = hmac_tag(&keys.authentication, &[packet, &roc.to_be_bytes()]);
                arena.extend_from_slice(&tag);
            }
        }
    }
}

/// All SRTCP indices of this key have been used: the session must end (RFC 3711 §9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no SRTCP index is left under this key")]
pub struct IndexExhausted;

/// Seals the RTCP packets of one session.
///
/// One counter serves all SSRCs that the session sends from; a receiver sees gaps, which it
/// must take for loss.
#[derive(Debug)]
pub struct RtcpSealer {
    cipher: SessionCipher,
    next_index: u32,
}

impl RtcpSealer {
    /// Octets that [`seal`](Self::seal) appends to every compound packet.
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.cipher.tag_len() + RTCP_INDEX_LEN
    }

    /// Encrypts and authenticates the compound RTCP packet that stands in `arena` from `start`
    /// to its end, and appends the index and the tag.
    ///
    /// # Errors
    ///
    /// [`IndexExhausted`] when the key may not be used any further; the packet is left as it is
    /// and must not be sent.
    ///
    /// # Panics
    ///
    /// If the packet is shorter than one RTCP header and SSRC: we made it.
    pub fn seal(&mut self, arena: &mut Vec<u8>, start: usize) -> Result<(), IndexExhausted> {
        let index = self.next_index;
        if index >= RTCP_ENCRYPTED {
            return Err(IndexExhausted);
        }
        self.next_index += 1;
        seal_rtcp(&self.cipher, arena, start, index);
        Ok(())
    }
}

fn seal_rtcp(cipher: &SessionCipher, arena: &mut Vec<u8>, start: usize, index: u32) {
    let packet = &mut arena[start..];
    let ssrc = be_u32(&packet[4..8]);
    let trailer = (RTCP_ENCRYPTED | index).to_be_bytes();
    let (clear, body) = packet.split_at_mut(RTCP_CLEAR_LEN);
    match &cipher.kind {
        CipherKind::Gcm(key) => {
            let nonce = cipher.gcm_nonce(ssrc, u64::from(index));
            let tag = gcm_seal(key, nonce, &rtcp_aad(clear, trailer), body);
            arena.extend_from_slice(&tag);
            arena.extend_from_slice(&trailer);
        }
        CipherKind::CounterMode(keys) => {
            let block = cipher.counter_block(ssrc, u64::from(index));
            apply_counter_mode(&keys.encryption, block, body);
            arena.extend_from_slice(&trailer);
            let tag = hmac_tag(&keys.authentication, &[&arena[start..]]);
            arena.extend_from_slice(&tag);
        }
    }
}

/// Why an SRTCP packet was not opened. Nothing about the session has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It cannot hold a header, an index and a tag.
    #[error("too short for SRTCP")]
    TooShort,
    /// Its E flag is clear. WebRTC has no way to agree on that (RFC 8827 §6.5).
    #[error("SRTCP that is not encrypted")]
    NotEncrypted,
    /// Its index was seen before, or is too old to tell.
    #[error("replayed SRTCP")]
    Replayed,
    /// Its tag is wrong.
    #[error("forged or damaged SRTCP")]
    Forged,
    /// It is authentic, and one sender SSRC more than a session may report from.
    #[error("SRTCP from too many sources")]
    TooManySources,
}

/// Opens the SRTCP packets that come from one session's peer.
#[derive(Debug)]
pub struct RtcpOpener {
    cipher: SessionCipher,
    replay: ReplayGuard,
    /// The opened packet; holds at most one datagram, and keeps its capacity.
    plaintext: Vec<u8>,
}

impl RtcpOpener {
    /// Authenticates and decrypts an SRTCP packet into a buffer of its own; `datagram` stays as
    /// it is, for another reader.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says why the packet is to be dropped. A packet that fails leaves no trace.
    pub fn open(&mut self, datagram: &[u8]) -> Result<&[u8], OpenError> {
        let sealed = SealedRtcp::parse(datagram, &self.cipher)?;
        self.replay.check(sealed.ssrc, sealed.index())?;
        self.plaintext.clear();
        self.plaintext.extend_from_slice(sealed.clear);
        self.plaintext.resize(RTCP_CLEAR_LEN + sealed.body.len(), 0);
        sealed.open(&self.cipher, &mut self.plaintext[RTCP_CLEAR_LEN..])?;
        self.replay.accept(sealed.ssrc, sealed.index())?;
        Ok(&self.plaintext)
    }
}

/// An SRTCP packet taken apart, and not yet believed.
struct SealedRtcp<'a> {
    /// The first RTCP header and the sender's SSRC.
    clear: &'a [u8],
    ssrc: u32,
    /// The encrypted part.
    body: &'a [u8],
    /// The E flag and the index.
    trailer: [u8; RTCP_INDEX_LEN],
    tag: &'a [u8],
    /// What HMAC covers: all but the tag. (GCM composes its own.)
    authenticated: &'a [u8],
}

impl<'a> SealedRtcp<'a> {
    fn parse(datagram: &'a [u8], cipher: &SessionCipher) -> Result<Self, OpenError> {
        let tag_len = cipher.tag_len();
        if datagram.len() < RTCP_CLEAR_LEN + RTCP_INDEX_LEN + tag_len {
            return Err(OpenError::TooShort);
        }
        let body_end = datagram.len() - RTCP_INDEX_LEN - tag_len;
        let (clear, body) = datagram[..body_end].split_at(RTCP_CLEAR_LEN);
        // RFC 7714 §9.3 puts the index after the tag, RFC 3711 §3.4 the tag after the index.
        let (trailer_at, tag_at) = match cipher.kind {
            CipherKind::Gcm(_) => (body_end + tag_len, body_end),
            CipherKind::CounterMode(_) => (body_end, body_end + RTCP_INDEX_LEN),
        };
        let trailer = be_u32(&datagram[trailer_at..trailer_at + RTCP_INDEX_LEN]);
        if trailer & RTCP_ENCRYPTED == 0 {
            return Err(OpenError::NotEncrypted);
        }
        Ok(Self {
            clear,
            ssrc: be_u32(&clear[4..8]),
            body,
            trailer: trailer.to_be_bytes(),
            tag: &datagram[tag_at..tag_at + tag_len],
            authenticated: &datagram[..tag_at],
        })
    }

    fn index(&self) -> u32 {
        u32::from_be_bytes(self.trailer) & !RTCP_ENCRYPTED
    }

    fn open(&self, cipher: &SessionCipher, plaintext: &mut [u8]) -> Result<(), OpenError> {
        let index = u64::from(self.index());
        match &cipher.kind {
            CipherKind::Gcm(key) => {
                let nonce = cipher.gcm_nonce(self.ssrc, index);
                let aad = Aad::from(rtcp_aad(self.clear, self.trailer));
                key.open_separate_gather(nonce, aad, self.body, self.tag, plaintext)
                    .map_err(|_| OpenError::Forged)
            }
            CipherKind::CounterMode(keys) => {
                let expected = hmac_tag(&keys.authentication, &[self.authenticated]);
                if !bool::from(expected.ct_eq(self.tag)) {
                    return Err(OpenError::Forged);
                }
                plaintext.copy_from_slice(self.body);
                apply_counter_mode(
                    &keys.encryption,
                    cipher.counter_block(self.ssrc, index),
                    plaintext,
                );
                Ok(())
            }
        }
    }
}

/// One direction's session key for RTP or for RTCP, expanded and ready (RFC 3711 §4.3).
#[derive(Debug)]
struct SessionCipher {
    kind: CipherKind,
    /// The session salt as a number: 96 bits for GCM, 112 for counter mode.
    salt: u128,
}

enum CipherKind {
    Gcm(LessSafeKey),
    /// Boxed: these keys are expanded in place, to more than a kilobyte.
    CounterMode(Box<CounterModeKeys>),
}

struct CounterModeKeys {
    encryption: EncryptingKey,
    authentication: hmac::Key,
}

impl std::fmt::Debug for CipherKind {
    /// Names the kind and keeps the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gcm(_) => "Gcm",
            Self::CounterMode(_) => "CounterMode",
        })
    }
}

impl SessionCipher {
    fn tag_len(&self) -> usize {
        match self.kind {
            CipherKind::Gcm(_) => GCM_TAG_LEN,
            CipherKind::CounterMode(_) => HMAC_TAG_LEN,
        }
    }

    /// SSRC and packet index laid over the salt.
    ///
    /// All four forms of the standards (RFC 3711 §4.1.1, RFC 7714 §8.1 and §9.1) are this one
    /// sum, as the index has 48 bits for RTP and 31 for RTCP; they differ in where it is put.
    #[inline]
    fn salted(&self, ssrc: u32, index: u64) -> u128 {
        self.salt ^ (u128::from(ssrc) << 48) ^ u128::from(index)
    }

    #[inline]
    fn gcm_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&self.salted(ssrc, index).to_be_bytes()[4..]);
        Nonce::assume_unique_for_key(nonce)
    }

    /// The low 16 bits are left to count the blocks of one packet.
    #[inline]
    fn counter_block(&self, ssrc: u32, index: u64) -> [u8; 16] {
        (self.salted(ssrc, index) << 16).to_be_bytes()
    }
}

#[inline]
fn gcm_seal(key: &LessSafeKey, nonce: Nonce, aad: &[u8], in_out: &mut [u8]) -> [u8; GCM_TAG_LEN] {
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), in_out)
        .expect("AES-GCM seals anything that fits a datagram");
    let mut bytes = [0; GCM_TAG_LEN];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn apply_counter_mode(key: &EncryptingKey, counter_block: [u8; 16], in_out: &mut [u8]) {
    let context = EncryptionContext::Iv128(FixedLength::from(counter_block));
    key.less_safe_encrypt(in_out, context)
        .expect("counter mode takes any length");
}

fn hmac_tag(key: &hmac::Key, parts: &[&[u8]]) -> [u8; HMAC_TAG_LEN] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut tag = [0; HMAC_TAG_LEN];
    tag.copy_from_slice(&context.sign().as_ref()[..HMAC_TAG_LEN]);
    tag
}

/// What GCM authenticates besides the encrypted part of SRTCP (RFC 7714 §9.2).
fn rtcp_aad(clear: &[u8], trailer: [u8; RTCP_INDEX_LEN]) -> [u8; RTCP_CLEAR_LEN + RTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(clear);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&trailer);
    aad
}

fn be_u32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}
