//! Checks the signature of a peer that authenticates itself to us as a DTLS server.
//!
//! Whose certificate it is, the fingerprint in the offer decides (RFC 8122 §5), so nothing else
//! in the certificate is looked at but its key.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey,
};
use dimpl::crypto::{
    Buf, CryptoProvider, HashAlgorithm, HashContext, HashProvider, SignatureAlgorithm,
    SignatureVerifier, aws_lc_rs as stock,
};
use dimpl::{CryptoError, CryptoOperation};

use super::certificate_request::widen_transcript;

/// The stock provider, with transcripts as they were on the wire and RSA besides ECDSA.
pub(super) fn crypto_provider() -> CryptoProvider {
    CryptoProvider {
        hash_provider: &TranscriptHashes,
        signature_verification: &ClientSignatures,
        ..stock::default_provider()
    }
}

#[derive(Debug)]
struct TranscriptHashes;

impl HashProvider for TranscriptHashes {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        let inner = stock::default_provider()
            .hash_provider
            .create_hash(algorithm);
        Box::new(TranscriptHash { inner })
    }
}

#[derive(Debug)]
struct TranscriptHash {
    inner: Box<dyn HashContext>,
}

impl HashContext for TranscriptHash {
    /// `dimpl` gives the whole transcript at once.
    fn update(&mut self, transcript: &[u8]) {
        self.inner.update(&widen_transcript(transcript));
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        self.inner.clone_and_finalize(out);
    }
}

#[derive(Debug)]
struct ClientSignatures;

impl SignatureVerifier for ClientSignatures {
    fn verify_signature(
        &self,
        certificate: &[u8],
        transcript: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let transcript = widen_transcript(transcript);
        if algorithm == SignatureAlgorithm::RSA {
            return verify_rsa(certificate, &transcript, signature, hash);
        }
        stock::default_provider()
            .signature_verification
            .verify_signature(certificate, &transcript, signature, hash, algorithm)
    }
}

/// Keys from 2048 to 8192 bits; shorter ones can be broken, longer ones cost us time.
fn verify_rsa(
    certificate: &[u8],
    transcript: &[u8],
    signature: &[u8],
    hash: HashAlgorithm,
) -> Result<(), CryptoError> {
    let parameters = match hash {
        HashAlgorithm::SHA256 => &RSA_PKCS1_2048_8192_SHA256,
        HashAlgorithm::SHA384 => &RSA_PKCS1_2048_8192_SHA384,
        HashAlgorithm::SHA512 => &RSA_PKCS1_2048_8192_SHA512,
        _ => {
            return Err(CryptoError::UnsupportedSignatureAlgorithm(
                SignatureAlgorithm::RSA,
            ));
        }
    };
    let key = subject_public_key_info(certificate).ok_or(CryptoError::CertificateParseFailed)?;
    UnparsedPublicKey::new(parameters, key)
        .verify(transcript, signature)
        .map_err(|_| CryptoError::OperationFailed(CryptoOperation::VerifySignature))
}

const DER_SEQUENCE: u8 = 0x30;

/// `[0] EXPLICIT`, the version of a certificate that is not version 1.
const DER_VERSION: u8 = 0xa0;

/// The key of an X.509 certificate, as the structure around it names its kind (RFC 5280 §4.1).
fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = Element::split(certificate)?;
    let (to_be_signed, _) = Element::split(certificate.contents_of(DER_SEQUENCE)?)?;
    let (first, mut rest) = Element::split(to_be_signed.contents_of(DER_SEQUENCE)?)?;
    if first.tag == DER_VERSION {
        (_, rest) = Element::split(rest)?;
    }
    // The serial number is behind us; these are the algorithm, issuer, validity and subject.
    for _ in 0..4 {
        (_, rest) = Element::split(rest)?;
    }
    let (key, _) = Element::split(rest)?;
    key.contents_of(DER_SEQUENCE)?;
    Some(key.encoding)
}

/// One element of DER (X.690 §8.1), with a tag of one octet and a definite length.
struct Element<'a> {
    tag: u8,
    encoding: &'a [u8],
    contents: &'a [u8],
}

impl<'a> Element<'a> {
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&short_len, rest) = rest.split_first()?;
        let (len, rest) = match short_len {
            0..=0x7f => (usize::from(short_len), rest),
            // A certificate fits two octets of length: it came through a handshake message.
            0x81 | 0x82 => {
                let (len, rest) = rest.split_at_checked(usize::from(short_len & 0x7f))?;
                (
                    len.iter()
                        .fold(0, |len, octet| len << 8 | usize::from(*octet)),
                    rest,
                )
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        let encoding = &bytes[..bytes.len() - rest.len()];
        Some((
            Self {
                tag,
                encoding,
                contents,
            },
            rest,
        ))
    }

    fn contents_of(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.contents)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::PublicKeyData;

    use super::*;
    use crate::engine::dtls::tests::RsaCertificate;

    #[test]
    fn the_key_of_a_certificate_is_found() {
        let rsa = RsaCertificate::generate();
        let key = subject_public_key_info(&rsa.certificate.certificate).expect("well-formed");
        assert_eq!(key, rsa.key_pair.subject_public_key_info());
    }

    #[test]
    fn signatures_are_checked_with_each_hash_and_against_the_whole_transcript() {
        let rsa = RsaCertificate::generate();
        let certificate = &rsa.certificate.certificate;
        for hash in [
            HashAlgorithm::SHA256,
            HashAlgorithm::SHA384,
            HashAlgorithm::SHA512,
        ] {
            let signature = rsa.sign(b"what was said", hash);
            assert_eq!(
                verify_rsa(certificate, b"what was said", &signature, hash),
                Ok(())
            );
            assert!(verify_rsa(certificate, b"what was sald", &signature, hash).is_err());
            assert!(verify_rsa(&certificate[1..], b"what was said", &signature, hash).is_err());
            let mut damaged = signature.clone();
            damaged[100] ^= 1;
            assert!(verify_rsa(certificate, b"what was said", &damaged, hash).is_err());
        }
        let signature = rsa.sign(b"what was said", HashAlgorithm::SHA256);
        let other = HashAlgorithm::SHA384;
        assert!(verify_rsa(certificate, b"what was said", &signature, other).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            subject_public_key_info(&bytes);
        }

        #[test]
        fn a_damaged_certificate_is_survived(at in 0_usize..200, octet: u8) {
            let mut certificate =
                dimpl::certificate::generate_self_signed_certificate().expect("made").certificate;
            certificate[at] = octet;
            subject_public_key_info(&certificate);
        }
    }
}
