//! SRTP and SRTCP with the keys of one session (RFC 3711, RFC 7714).
//!
//! Sealing and opening happen in place and without allocation: a load test does little else.

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    hmac,
    iv::FixedLength,
};
use dimpl::SrtpProfile;

/// Bytes of authentication that AES-GCM appends (RFC 7714 §13.2).
pub(crate) const GCM_TAG: usize = 16;

/// Bytes of authentication under `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764 §4.1.2).
const CM_TAG: usize = 10;

/// The bit of the SRTCP index that says that the packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED: u32 = 0x8000_0000;

/// Both directions of one session's protection.
pub(crate) struct Srtp {
    send: Direction,
    receive: Direction,
    /// Index of the next SRTCP packet that we send.
    rtcp_index: u32,
}

struct Direction {
    rtp: Cipher,
    rtcp: Cipher,
}

enum Cipher {
    Gcm {
        key: Box<LessSafeKey>,
        salt: [u8; 12],
    },
    Cm {
        key: Box<EncryptingKey>,
        authentication: Box<hmac::Key>,
        salt: [u8; 14],
    },
}

impl Srtp {
    /// Takes the keys out of DTLS's keying material (RFC 5764 §4.2); `None` when its length does not fit the
    /// profile, or when the profile is unknown.
    pub(crate) fn new(material: &[u8], profile: SrtpProfile, is_client: bool) -> Option<Self> {
        let (key_len, salt_len) = match profile {
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            _ => return None,
        };
        if material.len() < 2 * (key_len + salt_len) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key_len);
        let client = Direction::new(&keys[..key_len], &salts[..salt_len], profile)?;
        let server = Direction::new(&keys[key_len..], &salts[salt_len..2 * salt_len], profile)?;
        let (send, receive) = if is_client {
            (client, server)
        } else {
            (server, client)
        };
        Some(Self {
            send,
            receive,
            rtcp_index: 0,
        })
    }

    /// Seals the RTP packet that starts at `start` of `buffer` and appends its tag.
    pub(crate) fn seal_rtp(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        index: u64,
    ) {
        let ssrc = read_ssrc(&buffer[start..], 8);
        let tag = {
            let (header, payload) = buffer[start..].split_at_mut(header_len);
            self.send.rtp.seal(
                header,
                payload,
                ssrc,
                index,
                &((index >> 16) as u32).to_be_bytes(),
            )
        };
        tag.append_to(buffer);
    }

    /// Opens an RTP packet in place; gives the length of its payload, or `None` when it is not authentic.
    pub(crate) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        index: u64,
    ) -> Option<usize> {
        let ssrc = read_ssrc(packet, 8);
        let (header, sealed) = packet.split_at_mut_checked(header_len)?;
        self.receive.rtp.open(
            header,
            sealed,
            ssrc,
            index,
            &((index >> 16) as u32).to_be_bytes(),
        )
    }

    /// Seals the compound RTCP packet that starts at `start` of `buffer`; appends tag and index.
    pub(crate) fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) {
        let index = self.rtcp_index;
        self.rtcp_index = (index + 1) & !ENCRYPTED;
        let trailer = (index | ENCRYPTED).to_be_bytes();
        let ssrc = read_ssrc(&buffer[start..], 4);
        match &self.send.rtcp {
            Cipher::Gcm { .. } => {
                // The index is authenticated after the header (RFC 7714 §9.2).
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&buffer[start..start + 8]);
                aad[8..].copy_from_slice(&trailer);
                let payload = &mut buffer[start + 8..];
                let tag = self
                    .send
                    .rtcp
                    .seal(&aad, payload, ssrc, u64::from(index), &[]);
                tag.append_to(buffer);
                buffer.extend_from_slice(&trailer);
            }
            Cipher::Cm { .. } => {
                let (header, payload) = buffer[start..].split_at_mut(8);
                let tag = self
                    .send
                    .rtcp
                    .seal(header, payload, ssrc, u64::from(index), &trailer);
                buffer.extend_from_slice(&trailer);
                tag.append_to(buffer);
            }
        }
    }

    /// Opens a compound RTCP packet in place; gives the length of what is inside, header included.
    pub(crate) fn open_rtcp(&self, packet: &mut [u8]) -> Option<usize> {
        if packet.len() < 8 + 4 + CM_TAG {
            return None;
        }
        let ssrc = read_ssrc(packet, 4);
        match &self.receive.rtcp {
            Cipher::Gcm { .. } => {
                let (body, trailer) = packet.split_at_mut(packet.len() - 4);
                let index = read_ssrc(trailer, 0) & !ENCRYPTED;
                let (header, sealed) = body.split_at_mut(8);
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(header);
                aad[8..].copy_from_slice(trailer);
                let opened = self
                    .receive
                    .rtcp
                    .open(&aad, sealed, ssrc, u64::from(index), &[])?;
                Some(8 + opened)
            }
            Cipher::Cm { .. } => {
                let at = packet.len() - CM_TAG - 4;
                let mut trailer = [0; 4];
                trailer.copy_from_slice(&packet[at..at + 4]);
                let index = u32::from_be_bytes(trailer) & !ENCRYPTED;
                // The tag moves up to the payload, where `open` looks for it: the index stands between them.
                packet.copy_within(at + 4.., at);
                let end = packet.len() - 4;
                let (header, sealed) = packet[..end].split_at_mut(8);
                let opened =
                    self.receive
                        .rtcp
                        .open(header, sealed, ssrc, u64::from(index), &trailer)?;
                Some(8 + opened)
            }
        }
    }
}

impl Direction {
    fn new(master_key: &[u8], master_salt: &[u8], profile: SrtpProfile) -> Option<Self> {
        Some(Self {
            rtp: Cipher::new(master_key, master_salt, profile, 0)?,
            rtcp: Cipher::new(master_key, master_salt, profile, 3)?,
        })
    }
}

impl Cipher {
    /// Derives the session keys (RFC 3711 §4.3); `label` is the first of three: 0 for RTP, 3 for RTCP.
    fn new(master_key: &[u8], master_salt: &[u8], profile: SrtpProfile, label: u8) -> Option<Self> {
        let mut key = [0; 32];
        let key = &mut key[..master_key.len()];
        derive(master_key, master_salt, label, key)?;
        if profile == SrtpProfile::AES128_CM_SHA1_80 {
            let mut authentication = [0; 20];
            derive(master_key, master_salt, label + 1, &mut authentication)?;
            let mut salt = [0; 14];
            derive(master_key, master_salt, label + 2, &mut salt)?;
            let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, key).ok()?).ok()?;
            let authentication =
                hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &authentication);
            return Some(Self::Cm {
                key: Box::new(key),
                authentication: Box::new(authentication),
                salt,
            });
        }
        let mut salt = [0; 12];
        derive(master_key, master_salt, label + 2, &mut salt)?;
        let algorithm = if key.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self::Gcm {
            key: Box::new(key),
            salt,
        })
    }

    /// Encrypts `payload` and gives the tag over header, payload and `trailer` (the latter under AES-CM only).
    fn seal(
        &self,
        header: &[u8],
        payload: &mut [u8],
        ssrc: u32,
        index: u64,
        trailer: &[u8],
    ) -> Tag {
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(header), payload)
                    .expect("a datagram is far shorter than the cipher's limit");
                Tag::new(tag.as_ref())
            }
            Self::Cm {
                key,
                authentication,
                salt,
            } => {
                apply_keystream(key, salt, ssrc, index, payload);
                Tag::new(&authenticate(authentication, header, payload, trailer)[..CM_TAG])
            }
        }
    }

    fn open(
        &self,
        header: &[u8],
        sealed: &mut [u8],
        ssrc: u32,
        index: u64,
        trailer: &[u8],
    ) -> Option<usize> {
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place(nonce, Aad::from(header), sealed)
                    .ok()
                    .map(|opened| opened.len())
            }
            Self::Cm {
                key,
                authentication,
                salt,
            } => {
                let len = sealed.len().checked_sub(CM_TAG)?;
                let (payload, tag) = sealed.split_at_mut(len);
                if authenticate(authentication, header, payload, trailer)[..CM_TAG] != *tag {
                    return None;
                }
                apply_keystream(key, salt, ssrc, index, payload);
                Some(len)
            }
        }
    }
}

/// An authentication tag of either length.
struct Tag {
    bytes: [u8; GCM_TAG],
    len: usize,
}

impl Tag {
    fn new(tag: &[u8]) -> Self {
        let mut bytes = [0; GCM_TAG];
        bytes[..tag.len()].copy_from_slice(tag);
        Self {
            bytes,
            len: tag.len(),
        }
    }

    fn append_to(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.bytes[..self.len]);
    }
}

/// The nonce of RTP (RFC 7714 §8.1) and RTCP (§9.1): both are padding, SSRC and a 48-bit index, salted.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// AES in counter mode from `(salt || 0^16) ^ (SSRC << 64) ^ (index << 16)` (RFC 3711 §4.1.1).
fn apply_keystream(key: &EncryptingKey, salt: &[u8; 14], ssrc: u32, index: u64, data: &mut [u8]) {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    for (byte, ssrc) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= ssrc;
    }
    for (byte, index) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *byte ^= index;
    }
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .expect("counter mode takes any length");
}

fn authenticate(key: &hmac::Key, header: &[u8], payload: &[u8], trailer: &[u8]) -> [u8; 20] {
    let mut context = hmac::Context::with_key(key);
    context.update(header);
    context.update(payload);
    context.update(trailer);
    let mut bytes = [0; 20];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

/// The key derivation of RFC 3711 §4.3.1, with a derivation rate of zero.
fn derive(master_key: &[u8], master_salt: &[u8], label: u8, out: &mut [u8]) -> Option<()> {
    let algorithm = if master_key.len() == 16 {
        &AES_128
    } else {
        &AES_256
    };
    let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, master_key).ok()?).ok()?;
    let mut iv = [0; 16];
    iv[..master_salt.len()].copy_from_slice(master_salt);
    iv[7] ^= label;
    out.fill(0);
    key.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(iv)))
        .ok()
        .map(drop)
}

fn read_ssrc(packet: &[u8], at: usize) -> u32 {
    let bytes = packet
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or_default();
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [SrtpProfile; 3] = [
        SrtpProfile::AES128_CM_SHA1_80,
        SrtpProfile::AEAD_AES_128_GCM,
        SrtpProfile::AEAD_AES_256_GCM,
    ];

    /// Both ends of one session.
    fn pair(profile: SrtpProfile) -> (Srtp, Srtp) {
        let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
        let end =
            |client| Srtp::new(&material, profile, client).expect("the length is the profile's");
        (end(true), end(false))
    }

    #[test]
    fn what_one_end_seals_the_other_opens_and_nobody_changes() {
        for profile in PROFILES {
            let (client, server) = pair(profile);
            let mut packet = vec![0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2];
            packet.extend_from_slice(b"a payload");
            // Over the first wrap: the roll-over counter is part of it.
            let index = 3 << 16 | 7;
            client.seal_rtp(&mut packet, 0, 12, index);
            assert!(!packet.windows(9).any(|part| part == b"a payload"));

            let mut copy = packet.clone();
            assert_eq!(
                server.open_rtp(&mut copy, 12, index),
                Some(9),
                "{profile:?}"
            );
            assert_eq!(&copy[12..21], b"a payload");
            assert_eq!(
                server.open_rtp(&mut packet.clone(), 12, 7),
                None,
                "another roll-over"
            );
            assert_eq!(
                client.open_rtp(&mut packet.clone(), 12, index),
                None,
                "its own direction"
            );
            packet[1] ^= 0x80;
            assert_eq!(
                server.open_rtp(&mut packet, 12, index),
                None,
                "a changed marker"
            );
        }
    }

    #[test]
    fn feedback_is_protected_and_counted() {
        for profile in PROFILES {
            let (mut client, server) = pair(profile);
            let mut plain = Vec::new();
            crate::rtcp::write_pli(&mut plain, 1, 2);
            for index in 0..3_u8 {
                let mut packet = vec![0xff];
                packet.extend_from_slice(&plain);
                client.seal_rtcp(&mut packet, 1);
                let trailer = if profile == SrtpProfile::AES128_CM_SHA1_80 {
                    CM_TAG
                } else {
                    0
                };
                let at = packet.len() - trailer - 4;
                assert_eq!(
                    packet[at..at + 4],
                    [0x80, 0, 0, index],
                    "the index and the encryption bit"
                );
                assert_eq!(
                    server.open_rtcp(&mut packet[1..]),
                    Some(plain.len()),
                    "{profile:?}"
                );
                assert_eq!(packet[1..=plain.len()], plain);
            }
            assert_eq!(server.open_rtcp(&mut [0; 40]), None);
        }
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_those_of_the_standard() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|at| {
                    u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("it is hexadecimal")
                })
                .collect()
        };
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        for (label, wanted) in [
            (0, "C61E7A93744F39EE10734AFE3FF7A087"),
            (1, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
            (2, "30CBBC08863D8C85D49DB34A9AE1"),
        ] {
            let wanted = hex(wanted);
            let mut found = vec![0; wanted.len()];
            derive(&key, &salt, label, &mut found).expect("the key has a valid length");
            assert_eq!(found, wanted, "label {label}");
        }
    }
}
