//! From what DTLS agreed on to keys that seal and open (RFC 5764 §4.2, RFC 3711 §4.3).

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;

use super::apply_counter_mode;
use super::replay::ReplayGuard;
use super::{
    CipherKind, CounterModeKeys, FIRST_RTCP_INDEX, RtcpOpener, RtcpSealer, RtpSealer, SessionCipher,
};

/// The longest master key, of AES-256.
const MAX_KEY_LEN: usize = 32;

/// The longest master salt, of counter mode.
const MAX_SALT_LEN: usize = 14;

/// Octets of an HMAC-SHA1 key (RFC 3711 §5.2).
const HMAC_KEY_LEN: usize = 20;

/// How a session protects its media, agreed on in the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764 §4.1.2): every WebRTC endpoint has it.
    Aes128CmHmacSha1_80,
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714 §14.2).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714 §14.2).
    AeadAes256Gcm,
}

impl Profile {
    /// Octets of a master key.
    const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of a master salt, and of a session salt.
    const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmHmacSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }
}

/// The master key and salt of one direction.
#[derive(Clone)]
pub struct MasterKey {
    key: [u8; MAX_KEY_LEN],
    /// Shorter salts stand at the left, as RFC 7714 §11 pads them.
    salt: [u8; MAX_SALT_LEN],
}

impl MasterKey {
    fn new(key: &[u8], salt: &[u8]) -> Self {
        let mut master = Self {
            key: [0; MAX_KEY_LEN],
            salt: [0; MAX_SALT_LEN],
        };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        master
    }

    /// Fills `output` with the session key, salt or authentication key of `label`.
    fn derive(&self, profile: Profile, label: u8, output: &mut [u8]) {
        let algorithm = if profile.key_len() == 32 {
            &AES_256
        } else {
            &AES_128
        };
        let key = UnboundCipherKey::new(algorithm, &self.key[..profile.key_len()])
            .and_then(EncryptingKey::ctr)
            .expect("the key is as long as its algorithm says");
        let mut block = [0; 16];
        block[..MAX_SALT_LEN].copy_from_slice(&self.salt);
        // The label stands above the 48 bits of an index that is always zero, as no key
        // derivation rate can be agreed on through DTLS.
        block[7] ^= label;
        output.fill(0);
        apply_counter_mode(&key, block, output);
    }

    fn session_cipher(&self, profile: Profile, labels: Labels) -> SessionCipher {
        let mut key = [0; MAX_KEY_LEN];
        let mut salt = [0; MAX_SALT_LEN];
        let mut authentication = [0; HMAC_KEY_LEN];
        let key = &mut key[..profile.key_len()];
        let salt = &mut salt[..profile.salt_len()];
        self.derive(profile, labels.encryption, key);
        self.derive(profile, labels.salt, salt);
        self.derive(profile, labels.authentication, &mut authentication);
        SessionCipher::new(profile, key, salt, &authentication)
    }
}

impl fmt::Debug for MasterKey {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// The labels of the key derivation (RFC 3711 §4.3.1 and §4.3.2).
#[derive(Clone, Copy)]
struct Labels {
    encryption: u8,
    authentication: u8,
    salt: u8,
}

const RTP: Labels = Labels {
    encryption: 0,
    authentication: 1,
    salt: 2,
};
const RTCP: Labels = Labels {
    encryption: 3,
    authentication: 4,
    salt: 5,
};

/// What a DTLS handshake left for media: the master keys of both directions.
#[derive(Clone, Debug)]
pub struct SrtpKeys {
    /// What both sides agreed to use.
    pub profile: Profile,
    /// Protects what we send.
    pub local: MasterKey,
    /// Protects what the peer sends.
    pub remote: MasterKey,
}

impl SrtpKeys {
    /// Splits exported keying material (RFC 5764 §4.2): client key, server key, client salt,
    /// server salt. `active` says that we were the DTLS client.
    ///
    /// `None` if the length is not what the profile needs.
    #[must_use]
    pub fn from_keying_material(profile: Profile, material: &[u8], active: bool) -> Option<Self> {
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        if material.len() != 2 * (key_len + salt_len) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key_len);
        let (client_key, server_key) = keys.split_at(key_len);
        let (client_salt, server_salt) = salts.split_at(salt_len);
        let client = MasterKey::new(client_key, client_salt);
        let server = MasterKey::new(server_key, server_salt);
        let (local, remote) = if active {
            (client, server)
        } else {
            (server, client)
        };
        Some(Self {
            profile,
            local,
            remote,
        })
    }

    /// For the RTP that we send.
    #[must_use]
    pub fn rtp_sealer(&self) -> RtpSealer {
        RtpSealer {
            cipher: self.local.session_cipher(self.profile, RTP),
        }
    }

    /// For the RTCP that we send. One per session: two would repeat each other's nonces.
    #[must_use]
    pub fn rtcp_sealer(&self) -> RtcpSealer {
        RtcpSealer {
            cipher: self.local.session_cipher(self.profile, RTCP),
            next_index: FIRST_RTCP_INDEX,
        }
    }

    /// For the RTCP that the peer sends.
    #[must_use]
    pub fn rtcp_opener(&self) -> RtcpOpener {
        RtcpOpener {
            cipher: self.remote.session_cipher(self.profile, RTCP),
            replay: ReplayGuard::default(),
            plaintext: Vec::new(),
        }
    }
}

impl SessionCipher {
    pub(super) fn new(profile: Profile, key: &[u8], salt: &[u8], authentication: &[u8]) -> Self {
        let gcm = |algorithm| {
            let key = UnboundKey::new(algorithm, key).expect("the key is as long as it must be");
            CipherKind::Gcm(LessSafeKey::new(key))
        };
        let kind = match profile {
            Profile::AeadAes128Gcm => gcm(&AES_128_GCM),
            Profile::AeadAes256Gcm => gcm(&AES_256_GCM),
            Profile::Aes128CmHmacSha1_80 => CipherKind::CounterMode(Box::new(CounterModeKeys {
                encryption: UnboundCipherKey::new(&AES_128, key)
                    .and_then(EncryptingKey::ctr)
                    .expect("the key is as long as it must be"),
                authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication),
            })),
        };
        let salt = salt
            .iter()
            .fold(0, |salt, octet| salt << 8 | u128::from(*octet));
        Self { kind, salt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::srtp::tests::hex;

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_those_of_the_standard() {
        let master = MasterKey::new(
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        );
        let derive = |label, len| {
            let mut output = vec![0xAA; len];
            master.derive(Profile::Aes128CmHmacSha1_80, label, &mut output);
            output
        };
        assert_eq!(derive(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derive(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(
            derive(1, 20),
            hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
    }

    /// RFC 6188 §7.2: the same derivation under a 256-bit key.
    #[test]
    fn session_keys_of_256_bits_are_those_of_the_standard() {
        let master = MasterKey::new(
            &hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6"),
            &hex("3b04803de51ee7c96423ab5b78d2"),
        );
        let mut key = [0; 32];
        master.derive(Profile::AeadAes256Gcm, 0, &mut key);
        let expected = hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4");
        assert_eq!(key[..], expected[..]);
    }

    #[test]
    fn keying_material_is_split_by_role() {
        let material: Vec<u8> = [(16, 1), (16, 2), (12, 3), (12, 4)]
            .into_iter()
            .flat_map(|(len, octet)| std::iter::repeat_n(octet, len))
            .collect();
        let profile = Profile::AeadAes128Gcm;
        let passive = SrtpKeys::from_keying_material(profile, &material, false).expect("fits");
        assert_eq!((passive.local.key[0], passive.local.salt[0]), (2, 4));
        assert_eq!((passive.remote.key[15], passive.remote.salt[11]), (1, 3));
        let active = SrtpKeys::from_keying_material(profile, &material, true).expect("fits");
        assert_eq!((active.local.key[0], active.remote.salt[0]), (1, 4));
        assert!(SrtpKeys::from_keying_material(profile, &material[1..], true).is_none());
        let wide = Profile::AeadAes256Gcm;
        assert!(SrtpKeys::from_keying_material(wide, &material, true).is_none());
    }

    #[test]
    fn keys_stay_out_of_logs() {
        let material = [0xAB; 56];
        let keys =
            SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, &material, false).expect("fits");
        let printed = format!("{keys:?} {:?} {:?}", keys.rtp_sealer(), keys.rtcp_opener());
        assert!(
            !printed.contains("171") && !printed.to_lowercase().contains("ab, "),
            "{printed}"
        );
    }
}
