use proptest::prelude::*;

use super::*;

const PROFILES: [Profile; 3] = [
    Profile::Aes128CmHmacSha1_80,
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
];

pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    let octet = |pair: &[char]| {
        u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two hex digits")
    };
    digits.chunks(2).map(octet).collect()
}

/// The two ends of one session, as a handshake leaves them.
fn ends(profile: Profile) -> (SrtpKeys, SrtpKeys) {
    let material: Vec<u8> = (0..88).collect();
    let len = match profile {
        Profile::Aes128CmHmacSha1_80 => 60,
        Profile::AeadAes128Gcm => 56,
        Profile::AeadAes256Gcm => 88,
    };
    let end = |active| {
        SrtpKeys::from_keying_material(profile, &material[..len], active).expect("right length")
    };
    (end(true), end(false))
}

/// RFC 7714 §16 and §17: session keys, salt and "Gallia est omnis divisa in partes tres".
mod rfc7714 {
    pub(super) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    pub(super) const SALT: &str = "517569642070726f2071756f";
    pub(super) const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e6973206469\
        7669736120696e207061727465732074726573";
    pub(super) const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e\
        61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
    pub(super) const SRTP_128: &str = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe\
        633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce";
    pub(super) const SRTP_256: &str = "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab1\
        8012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13";
    pub(super) const SRTCP_128: &str = "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76\
        c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4";
    pub(super) const SRTCP_256: &str = "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5db\
        ffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4";
    pub(super) const RTCP_INDEX: u32 = 0x5d4;
}

fn gcm_session(profile: Profile) -> SessionCipher {
    let key_len = if profile == Profile::AeadAes256Gcm {
        32
    } else {
        16
    };
    SessionCipher::new(
        profile,
        &hex(rfc7714::KEY)[..key_len],
        &hex(rfc7714::SALT),
        &[],
    )
}

#[test]
fn gcm_packets_are_those_of_the_standard() {
    for (profile, expected) in [
        (Profile::AeadAes128Gcm, rfc7714::SRTP_128),
        (Profile::AeadAes256Gcm, rfc7714::SRTP_256),
    ] {
        let sealer = RtpSealer {
            cipher: gcm_session(profile),
        };
        let mut arena = hex(rfc7714::RTP);
        sealer.seal(&mut arena, 0, 12, 0xf17b);
        assert_eq!(arena, hex(expected), "{profile:?}");
    }
}

#[test]
fn gcm_reports_are_those_of_the_standard() {
    for (profile, expected) in [
        (Profile::AeadAes128Gcm, rfc7714::SRTCP_128),
        (Profile::AeadAes256Gcm, rfc7714::SRTCP_256),
    ] {
        let mut sealer = RtcpSealer {
            cipher: gcm_session(profile),
            next_index: rfc7714::RTCP_INDEX,
        };
        let mut arena = hex(rfc7714::RTCP);
        sealer.seal(&mut arena, 0).expect("indices are left");
        assert_eq!(arena, hex(expected), "{profile:?}");
        let mut opener = RtcpOpener {
            cipher: gcm_session(profile),
            replay: ReplayGuard::default(),
            plaintext: Vec::new(),
        };
        assert_eq!(
            opener.open(&arena),
            Ok(&hex(rfc7714::RTCP)[..]),
            "{profile:?}"
        );
    }
}

/// RFC 3711 appendix B.2: the key stream of packet 0 of SSRC 0.
#[test]
fn the_counter_mode_key_stream_is_that_of_the_standard() {
    let sealer = RtpSealer {
        cipher: SessionCipher::new(
            Profile::Aes128CmHmacSha1_80,
            &hex("2B7E151628AED2A6ABF7158809CF4F3C"),
            &hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
            &[0; 20],
        ),
    };
    let mut arena = vec![0; 12 + 48];
    arena[0] = 0x80;
    sealer.seal(&mut arena, 0, 12, 0);
    let key_stream = hex(
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0",
    );
    assert_eq!(arena[12..60], key_stream[..]);
}

/// Keying material and a compound packet from the tests of `str0m`.
#[test]
fn reports_of_another_implementation_open_in_counter_mode() {
    let material = hex(
        "2CB02346B42276A672CFD143AEC2D5EEDDDE55F0AD7BCAC22666F1C6386173ED\
        6EB25CB7D26A61A1EE2C210ADAE760AAA2FD67B672C41AED105F9D36",
    );
    let sealed = hex(
        "80C800063CD7CC13B7C831DCB776CD8DC26FDA1D9BFC8EE6589A1A8A49289CAEB264200C\
        37D2D0A4AFAC6385FFC60DEC7D06D4873DD3A8CC80000001B7BB526521D1E73C0FC0",
    );
    let report = hex(
        "80c800063cd7cc13e2ee35c8604e618c26f32734000000430000140781ca00063cd7cc13\
        0110386e467532685766724d44724766346f0000",
    );
    let keys =
        SrtpKeys::from_keying_material(Profile::Aes128CmHmacSha1_80, &material, false).expect("60");
    assert_eq!(keys.rtcp_opener().open(&sealed), Ok(&report[..]));
}

#[test]
fn packets_are_sealed_where_they_stand() {
    for profile in PROFILES {
        let (ours, _) = ends(profile);
        let sealer = ours.rtp_sealer();
        let packet = hex(rfc7714::RTP);
        let mut alone = packet.clone();
        sealer.seal(&mut alone, 0, 12, 0xf17b);

        let mut arena = b"a datagram that is ready".to_vec();
        let start = arena.len();
        arena.extend_from_slice(&packet);
        arena.reserve(sealer.overhead());
        let place = arena.as_ptr();
        sealer.seal(&mut arena, start, 12, 0xf17b);
        assert_eq!(&arena[..start], b"a datagram that is ready");
        assert_eq!(&arena[start..], alone);
        assert_eq!(arena.len() - start, packet.len() + sealer.overhead());
        assert_eq!(arena.as_ptr(), place, "nothing was allocated");
    }
}

#[test]
fn the_rollover_counter_is_part_of_the_seal() {
    for profile in PROFILES {
        let (ours, _) = ends(profile);
        let sealer = ours.rtp_sealer();
        let seal = |index| {
            let mut arena = hex(rfc7714::RTP);
            sealer.seal(&mut arena, 0, 12, index);
            arena
        };
        let (before, after) = (seal(0xf17b), seal(0x1_f17b));
        assert_eq!(before[..12], after[..12], "the header stays readable");
        assert_ne!(before[12..50], after[12..50], "{profile:?}");
        assert_ne!(before[50..], after[50..], "{profile:?}");
    }
}

#[test]
fn our_reports_open_at_the_other_end_and_once() {
    for profile in PROFILES {
        let (ours, theirs) = ends(profile);
        let (mut sealer, mut opener) = (ours.rtcp_sealer(), theirs.rtcp_opener());
        let report = hex(rfc7714::RTCP);
        for _ in 0..3 {
            let mut arena = report.clone();
            sealer.seal(&mut arena, 0).expect("indices are left");
            assert_eq!(arena.len(), report.len() + sealer.overhead());
            assert_eq!(opener.open(&arena), Ok(&report[..]), "{profile:?}");
            assert_eq!(opener.open(&arena), Err(OpenError::Replayed), "{profile:?}");
        }
    }
}

#[test]
fn a_report_with_any_bit_flipped_is_refused_and_leaves_no_trace() {
    for profile in PROFILES {
        let (ours, theirs) = ends(profile);
        let mut sealed = hex(rfc7714::RTCP);
        ours.rtcp_sealer()
            .seal(&mut sealed, 0)
            .expect("indices are left");
        let mut opener = theirs.rtcp_opener();
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = opener.open(&damaged).expect_err("damaged");
            assert!(
                matches!(error, OpenError::Forged | OpenError::NotEncrypted),
                "{error}"
            );
        }
        for len in 0..sealed.len() {
            assert!(opener.open(&sealed[..len]).is_err());
        }
        assert!(
            opener.open(&sealed).is_ok(),
            "{profile:?}: no forgery moved the window"
        );
    }
}

#[test]
fn an_unencrypted_report_is_refused_even_with_a_right_tag() {
    // RFC 7714 §17.3: tagged, and not encrypted.
    let tagged = hex(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefde\
        adbeefdeadbeefdeadbeefdeadbeef841dd9683dd78ec92ae58790125f62b3000005d4",
    );
    let mut opener = RtcpOpener {
        cipher: gcm_session(Profile::AeadAes128Gcm),
        replay: ReplayGuard::default(),
        plaintext: Vec::new(),
    };
    assert_eq!(opener.open(&tagged), Err(OpenError::NotEncrypted));
}

#[test]
fn a_key_is_given_up_when_its_indices_are_used() {
    let (ours, _) = ends(Profile::AeadAes128Gcm);
    let mut sealer = ours.rtcp_sealer();
    sealer.next_index = (1 << 31) - 1;
    let mut arena = hex(rfc7714::RTCP);
    assert_eq!(sealer.seal(&mut arena, 0), Ok(()));
    let mut arena = hex(rfc7714::RTCP);
    assert_eq!(sealer.seal(&mut arena, 0), Err(IndexExhausted));
    assert_eq!(arena, hex(rfc7714::RTCP), "left as it was");
}

proptest! {
    #[test]
    fn any_bytes_at_all_are_refused_in_peace(
        profile in prop::sample::select(PROFILES.to_vec()),
        datagram in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (_, theirs) = ends(profile);
        prop_assert!(theirs.rtcp_opener().open(&datagram).is_err());
    }
}
