//! Published vectors: the handshakes and the cipher are those of the standards.

use aes::Aes128;
use ccm::{
    AeadInOut, Ccm, KeyInit,
    consts::{U8, U12, U13},
};
use serde_json::Value;

use super::{
    noise::{self, Draw, expand},
    seal::{Sealer, Space},
    wire::Pattern,
};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The handshake configuration that sessions use, with the vectors' keys in place of drawn ones.
#[test]
fn noise_vectors_are_met() {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/noise.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let field = |name: &str| vector[name].as_str().map(unhex);
        let pattern = match vector["protocol_name"].as_str().unwrap() {
            "Noise_IK_25519_ChaChaPoly_BLAKE2s" => Pattern::Known,
            "Noise_XX_25519_ChaChaPoly_BLAKE2s" => Pattern::Unknown,
            other => panic!("{other} is not in use"),
        };
        let [prologue, own, ephemeral] = ["init_prologue", "init_static", "init_ephemeral"].map(|f| field(f).unwrap());
        let remote = field("init_remote_static");
        let mut builder = noise::builder(pattern, &[0; 32])
            .unwrap()
            .prologue(&prologue)
            .unwrap()
            .local_private_key(&own)
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(&ephemeral);
        if let Some(remote) = &remote {
            builder = builder.remote_public_key(remote).unwrap();
        }
        let mut initiator = builder.build_initiator().unwrap();
        let [prologue, own, ephemeral] = ["resp_prologue", "resp_static", "resp_ephemeral"].map(|f| field(f).unwrap());
        let mut responder = noise::builder(pattern, &[0; 32])
            .unwrap()
            .prologue(&prologue)
            .unwrap()
            .local_private_key(&own)
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(&ephemeral)
            .build_responder()
            .unwrap();

        let messages = vector["messages"].as_array().unwrap();
        let count = if pattern == Pattern::Known { 2 } else { 3 };
        for (n, message) in messages[..count].iter().enumerate() {
            let [payload, ciphertext] = ["payload", "ciphertext"].map(|name| unhex(message[name].as_str().unwrap()));
            let (from, to) =
                if n % 2 == 0 { (&mut initiator, &mut responder) } else { (&mut responder, &mut initiator) };
            assert_eq!(noise::write(from, &payload).unwrap(), ciphertext, "message {n}");
            assert_eq!(noise::read(to, &ciphertext).unwrap(), payload, "message {n}");
        }
        if let Some(hash) = field("handshake_hash") {
            assert_eq!(initiator.get_handshake_hash(), hash);
        }
        // What both derive their keys from is what the vectors' transport messages are encrypted with.
        let keys = initiator.dangerously_get_raw_split();
        assert_eq!(keys, responder.dangerously_get_raw_split());
        let mut transport = [initiator.into_transport_mode().unwrap(), responder.into_transport_mode().unwrap()];
        for (n, message) in messages[count..].iter().enumerate() {
            let [payload, ciphertext] = ["payload", "ciphertext"].map(|name| unhex(message[name].as_str().unwrap()));
            let mut out = vec![0; 200];
            let length = transport[(count + n) % 2].write_message(&payload, &mut out).unwrap();
            assert_eq!(out[..length], ciphertext, "transport message {n}");
        }
    }
}

/// NIST SP 800-38C appendix C, example 3: AES-128, nonces of 12 bytes, tags of 8, as here.
#[test]
fn the_cipher_is_that_of_the_standard() {
    let key: [u8; 16] = unhex("40414243 44454647 48494a4b 4c4d4e4f").try_into().unwrap();
    let nonce: [u8; 12] = unhex("10111213 14151617 18191a1b").try_into().unwrap();
    let data = unhex("00010203 04050607 08090a0b 0c0d0e0f 10111213");
    let mut text = unhex("20212223 24252627 28292a2b 2c2d2e2f 30313233 34353637");
    let tag = Ccm::<Aes128, U8, U12>::new(&key.into())
        .encrypt_inout_detached(&nonce.into(), &data, text.as_mut_slice().into())
        .unwrap();
    text.extend_from_slice(&tag);
    assert_eq!(text, unhex("e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951"));
}

/// RFC 3610 section 8, packet vector 1: tags of 8 bytes, nonces of 13.
#[test]
fn the_mode_is_that_of_its_rfc() {
    let key: [u8; 16] = unhex("C0C1C2C3C4C5C6C7C8C9CACBCCCDCECF").try_into().unwrap();
    let nonce: [u8; 13] = unhex("00000003020100A0A1A2A3A4A5").try_into().unwrap();
    let mut text = unhex("08090A0B0C0D0E0F101112131415161718191A1B1C1D1E");
    let tag = Ccm::<Aes128, U8, U13>::new(&key.into())
        .encrypt_inout_detached(&nonce.into(), &unhex("0001020304050607"), text.as_mut_slice().into())
        .unwrap();
    text.extend_from_slice(&tag);
    assert_eq!(text, unhex("588C979A61C663D2F066D0C2C0F989806D5F6B61DAC38417E8D12CFDF926E0"));
}

/// RFC 5869 appendix A.1.
#[test]
fn key_derivation_is_that_of_the_standard() {
    let key = unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5").try_into().unwrap();
    let mut out = [0; 42];
    expand(&key, &unhex("f0f1f2f3f4f5f6f7f8f9"), &mut out);
    assert_eq!(
        out.to_vec(),
        unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    );
}

/// What another implementation (Python, `cryptography` 48) of the key schedule and the packets makes, from the direction key
/// 00 01 ... 1F: in the first epoch, in the third, and in the other space.
#[test]
fn sealed_packets_are_those_of_another_implementation() {
    let direction = std::array::from_fn(|n| n as u8);
    let mut media = Sealer::new(&direction, Space::Media);
    let mut out = Vec::new();
    media.seal(0x1234, 0x85, 0xBEEF, [b"", b"speech"], &mut out).unwrap();
    assert_eq!(out, unhex("85beef1234dbe06227e2cfa8820b7005439702"));
    for number in [0x8000, 0xF000, 0x1_6000, 0x1_D000] {
        media.seal(number, 0x85, 0xBEEF, [b"", b""], &mut out).unwrap();
    }
    out.clear();
    media.seal(0x2_1234, 0x85, 0xBEEF, [b"", b"speech"], &mut out).unwrap();
    assert_eq!(out, unhex("85beef12349055fa0af51442cee117dae22d7c"));
    out.clear();
    Sealer::new(&direction, Space::Control).seal(1, 0x40, 0xBEEF, [&[4], b"words"], &mut out).unwrap();
    assert_eq!(out, unhex("40beef0001ceb36060fa80917c6af5095d092e"));
}

#[test]
fn drawn_keys_differ() {
    let mut draw = Draw::new([5; 32]);
    let mut again = Draw::new([5; 32]);
    let drawn: std::collections::BTreeSet<[u8; 32]> = (0..1000).map(|_| *draw.next()).collect();
    assert_eq!(drawn.len(), 1000);
    assert!((0..1000).all(|_| drawn.contains(&*again.next())));
}
