//! Ciphers for `str0m` that are made when they are first used.
//!
//! It makes four for each session, of a kilobyte and more each. A receiver's are never used: what it
//! is sent is sealed by our own egress, and what it reports is opened by ourselves.

use std::sync::LazyLock;

use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, SrtpProvider,
    SupportedAeadAes128Gcm, SupportedAeadAes256Gcm, SupportedAes128CmSha1_80, from_feature_flags,
};

/// The stock provider, with ciphers that are made late.
#[derive(Debug)]
pub(in crate::engine) struct LazyCiphers;

fn stock() -> &'static dyn SrtpProvider {
    static STOCK: LazyLock<&'static dyn SrtpProvider> =
        LazyLock::new(|| from_feature_flags().srtp_provider);
    *STOCK
}

impl SrtpProvider for LazyCiphers {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Self
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Self
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Self
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        stock().srtp_aes_128_ecb_round(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        stock().srtp_aes_256_ecb_round(key, input, output);
    }
}

impl SupportedAes128CmSha1_80 for LazyCiphers {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(Lazy::<_, dyn Aes128CmSha1_80Cipher>::new(key, encrypt))
    }
}

impl SupportedAeadAes128Gcm for LazyCiphers {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Lazy::<_, dyn AeadAes128GcmCipher>::new(key, encrypt))
    }
}

impl SupportedAeadAes256Gcm for LazyCiphers {
    fn create_cipher(&self, key: [u8; 32], encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Lazy::<_, dyn AeadAes256GcmCipher>::new(key, encrypt))
    }
}

/// A cipher, and until it is used only what it takes to make it.
struct Lazy<K, C: ?Sized> {
    key: K,
    encrypt: bool,
    made: Option<Box<C>>,
}

impl<K: Copy, C: ?Sized> Lazy<K, C> {
    const fn new(key: K, encrypt: bool) -> Self {
        Self {
            key,
            encrypt,
            made: None,
        }
    }

    fn made(&mut self, make: impl FnOnce(K, bool) -> Box<C>) -> &mut C {
        self.made
            .get_or_insert_with(|| make(self.key, self.encrypt))
    }
}

/// Keys are nobody's business.
impl<K, C: ?Sized> std::fmt::Debug for Lazy<K, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lazy")
            .field("made", &self.made.is_some())
            .finish_non_exhaustive()
    }
}

impl Aes128CmSha1_80Cipher for Lazy<[u8; 16], dyn Aes128CmSha1_80Cipher> {
    fn encrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.made(|key, encrypt| stock().aes_128_cm_sha1_80().create_cipher(key, encrypt))
            .encrypt(iv, input, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.made(|key, encrypt| stock().aes_128_cm_sha1_80().create_cipher(key, encrypt))
            .decrypt(iv, input, output)
    }
}

macro_rules! lazy_gcm {
    ($cipher:ident, $key:ty, $factory:ident) => {
        impl $cipher for Lazy<$key, dyn $cipher> {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.made(|key, encrypt| stock().$factory().create_cipher(key, encrypt))
                    .encrypt(iv, aad, input, output)
            }

            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                self.made(|key, encrypt| stock().$factory().create_cipher(key, encrypt))
                    .decrypt(iv, aads, input, output)
            }
        }
    };
}

lazy_gcm!(AeadAes128GcmCipher, [u8; 16], aead_aes_128_gcm);
lazy_gcm!(AeadAes256GcmCipher, [u8; 32], aead_aes_256_gcm);
