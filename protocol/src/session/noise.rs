//! The Noise handshakes (<https://noiseprotocol.org/noise.html>, revision 34), with `snow`.
//!
//! `Noise_IK_25519_ChaChaPoly_BLAKE2s` where the responder's key is known, `Noise_XX_25519_ChaChaPoly_BLAKE2s` where it is
//! not, and `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` where the two share a secret besides. The ephemeral keys come from a seed, so that a test's handshake is the same every time; and secret keys are
//! overwritten when a handshake is dropped, which `snow` leaves out.

use hkdf::Hkdf;
use sha2::Sha256;
use snow::{
    Builder, Error, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice, NoiseParams},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use zeroize::Zeroizing;

use crate::{
    identity::{Identity, PublicKey},
    session::{
        VERSION,
        wire::{COOKIE, Pattern},
    },
};

const KNOWN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const SHARED: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const UNKNOWN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";

/// A generator of key material from a seed. Each draw replaces the state, so that earlier draws cannot be worked out from a
/// later state.
#[derive(Clone)]
pub(super) struct Draw(Zeroizing<[u8; 32]>);

impl Draw {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The next 32 bytes.
    pub(super) fn next(&mut self) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0_u8; 64]);
        expand(&self.0, b"parlo draw", &mut *out);
        let mut drawn = Zeroizing::new([0; 32]);
        self.0.copy_from_slice(&out[..32]);
        drawn.copy_from_slice(&out[32..]);
        drawn
    }
}

impl Random for Draw {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for part in out.chunks_mut(32) {
            part.copy_from_slice(&self.next()[..part.len()]);
        }
        Ok(())
    }
}

/// HKDF-Expand with SHA-256 (RFC 5869 section 2.3) of a uniformly random key, which needs no extraction (section 3.3).
pub(crate) fn expand(key: &[u8; 32], label: &[u8], out: &mut [u8]) {
    // Neither can fail: the key is as long as the hash, and `out` shorter than 255 of them.
    let done = Hkdf::<Sha256>::from_prk(key).is_ok_and(|hkdf| hkdf.expand(label, out).is_ok());
    debug_assert!(done, "at most 8160 bytes are derived from one key");
}

/// HKDF with SHA-256 (RFC 5869) of a secret that need not be uniform, as an agreed one is not.
pub(super) fn extract_and_expand(salt: &[u8; 32], secret: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    let done = Hkdf::<Sha256>::new(Some(&salt[..]), secret).expand_multi_info(info, out).is_ok();
    debug_assert!(done, "at most 8160 bytes are derived from one key");
}

/// What X25519 makes of one side's secret and the other's public key; none of a public key of small order, with which it would be
/// known to all.
pub(super) fn agree(own: &Identity, theirs: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let mut curve = Curve(DefaultResolver.resolve_dh(&DHChoice::Curve25519)?);
    curve.set(own.secret());
    let mut secret = Zeroizing::new([0; 32]);
    curve.dh(theirs, &mut *secret).ok()?;
    (*secret != [0; 32]).then_some(secret)
}

/// X25519 that overwrites its secret in the end.
struct Curve(Box<dyn Dh>);

impl Drop for Curve {
    fn drop(&mut self) {
        self.0.set(&[0; 32]);
    }
}

impl Dh for Curve {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, secret: &[u8]) {
        self.0.set(secret);
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        self.0.generate(random)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.0.dh(public, out)
    }
}

struct Resolver(Draw);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(self.0.clone()))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(Curve(DefaultResolver.resolve_dh(choice)?)))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// A builder as both sides use it. `seed` must serve for one handshake only.
pub(super) fn builder(pattern: Pattern, seed: &[u8; 32]) -> Result<Builder<'static>, Error> {
    let name = match pattern {
        Pattern::Known => KNOWN,
        Pattern::Shared => SHARED,
        Pattern::Unknown => UNKNOWN,
    };
    Ok(Builder::with_resolver(name.parse::<NoiseParams>()?, Box::new(Resolver(Draw::new(*seed)))))
}

/// Both sides mix in the version, and the cookie: so an initiation is worth nothing elsewhere or later.
fn prologue(cookie: &[u8; COOKIE]) -> [u8; 6 + COOKIE] {
    let mut prologue = [0; 6 + COOKIE];
    prologue[..5].copy_from_slice(b"parlo");
    prologue[5] = VERSION;
    prologue[6..].copy_from_slice(cookie);
    prologue
}

/// In place of a secret where the two share none, or not the same: only refusals are sealed with it.
pub(super) const NO_PSK: [u8; 32] = [0; 32];

/// Where the secret is mixed in.
const PSK_PLACE: u8 = 2;

/// Gives a handshake of IKpsk2 its secret.
pub(super) fn set_psk(noise: &mut HandshakeState, psk: &[u8; 32]) -> Result<(), Error> {
    noise.set_psk(PSK_PLACE.into(), psk)
}

/// The initiator's side, before its first message. IK if `peer` is given, IKpsk2 if a secret is too.
pub(super) fn initiator(
    identity: &Identity,
    peer: Option<PublicKey>,
    psk: Option<&[u8; 32]>,
    cookie: &[u8; COOKIE],
    seed: &[u8; 32],
) -> Result<HandshakeState, Error> {
    let (prologue, key) = (prologue(cookie), peer.unwrap_or(PublicKey::from_bytes([0; 32])));
    let pattern = Pattern::of(peer.is_some(), psk.is_some());
    let mut builder = builder(pattern, seed)?.local_private_key(identity.secret())?.prologue(&prologue)?;
    if peer.is_some() {
        builder = builder.remote_public_key(key.as_bytes())?;
        if let Some(psk) = psk {
            builder = builder.psk(PSK_PLACE, psk)?;
        }
    }
    builder.build_initiator()
}

/// The responder's side, before the first message.
pub(super) fn responder(
    identity: &Identity,
    pattern: Pattern,
    cookie: &[u8; COOKIE],
    seed: &[u8; 32],
) -> Result<HandshakeState, Error> {
    let prologue = prologue(cookie);
    builder(pattern, seed)?.local_private_key(identity.secret())?.prologue(&prologue)?.build_responder()
}

/// The next message, with a payload of at most 256 bytes.
pub(super) fn write(noise: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut message = vec![0; payload.len() + 96];
    let length = noise.write_message(payload, &mut message)?;
    message.truncate(length);
    Ok(message)
}

/// The payload of the peer's message. After an error the handshake waits for another one.
pub(super) fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut payload = vec![0; message.len()];
    let length = noise.read_message(message, &mut payload)?;
    payload.truncate(length);
    Ok(payload)
}

/// The peer's key, once it has been read.
pub(super) fn peer(noise: &HandshakeState) -> Option<PublicKey> {
    Some(PublicKey::from_bytes(noise.get_remote_static()?.try_into().ok()?))
}
