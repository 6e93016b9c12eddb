//! Who a peer is: an X25519 key pair (RFC 7748). The public half is the peer's name, and is what others pin.
//!
//! Text form of a public key: `parlo:` and 56 letters and digits, lower-case base32 (RFC 4648 section 6, no padding) of the
//! key's 32 bytes and the first three of SHA-256("parlo key" || key), so that a mistyped key is told from another one.

use std::{fmt, str::FromStr, sync::Arc};

use sha2::{Digest, Sha256};
use snow::{
    params::DHChoice,
    resolvers::{CryptoResolver, DefaultResolver},
};
use zeroize::Zeroizing;

/// What the text form of a key begins with.
const PREFIX: &str = "parlo:";

/// Letters of the text form after [`PREFIX`].
pub(crate) const LETTERS: usize = 56;

/// Check bytes after the key's own.
pub(crate) const CHECK: usize = 3;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A key pair. The secret half is there once, whoever has a clone, and is overwritten when the last is dropped; its debug form shows the
/// public half only.
#[derive(Clone)]
pub struct Identity {
    secret: Arc<Zeroizing<[u8; 32]>>,
    public: PublicKey,
}

impl Identity {
    /// The identity of 32 secret bytes, which must come from the operating system's generator or a file that holds such.
    /// Any bytes are a key: X25519 clamps them.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        let secret = Zeroizing::new(secret);
        let mut public = [0; 32];
        // The resolver is compiled with this curve: there is always one.
        if let Some(mut curve) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
            curve.set(&*secret);
            public.copy_from_slice(curve.pubkey());
            curve.set(&[0; 32]);
        }
        Self { secret: Arc::new(secret), public: PublicKey(public) }
    }

    /// The secret bytes, to be kept in a file that nobody else can read.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::clone(&self.secret)
    }

    /// The secret bytes where they are, for as long as there is a clone: for who keeps that place from being swapped out.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The half that others may know.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public half of an [`Identity`]: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key of these bytes, least significant first (RFC 7748 section 5).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A short form, like `7f3a-91c2-5e08-b6d4`, for people to compare: 64 bits of SHA-256("parlo fingerprint" || key).
    /// Programs compare whole keys.
    pub fn fingerprint(&self) -> String {
        let hash = hash(b"parlo fingerprint", &self.0);
        let group = |n: usize| u16::from_be_bytes([hash[2 * n], hash[2 * n + 1]]);
        format!("{:04x}-{:04x}-{:04x}-{:04x}", group(0), group(1), group(2), group(3))
    }
}

/// Whether a text looks as [`PublicKey::fingerprint`]s do.
fn is_fingerprint(text: &str) -> bool {
    let group = |group: &str| group.len() == 4 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('-').count() == 4 && text.split('-').all(group)
}

pub(crate) fn hash(label: &[u8], bytes: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(label).chain_update(bytes).finalize().into()
}

/// Appends 32 bytes and the first of their check bytes in base32.
pub(crate) fn push_letters(text: &mut String, bytes: &[u8; 32], check: &[u8; 32]) {
    let (mut bits, mut count) = (0_u32, 0);
    for &byte in bytes.iter().chain(&check[..CHECK]) {
        bits = bits << 8 | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(ALPHABET[(bits >> count) as usize & 31]));
        }
    }
}

/// Reads what [`push_letters`] writes.
pub(crate) fn from_letters(text: &str) -> Result<[u8; LETTERS * 5 / 8], KeyError> {
    let count = text.chars().count();
    if count != LETTERS {
        return Err(KeyError::Length(count));
    }
    let mut bytes = [0_u8; LETTERS * 5 / 8];
    for (n, symbol) in text.chars().enumerate() {
        let value = match symbol.to_ascii_lowercase() {
            letter @ 'a'..='z' => letter as u8 - b'a',
            digit @ '2'..='7' => digit as u8 - b'2' + 26,
            _ => return Err(KeyError::Symbol(symbol)),
        };
        // The five bits lie in one byte, or across two.
        let spread = u16::from(value) << 11 >> (n * 5 % 8);
        bytes[n * 5 / 8] |= (spread >> 8) as u8;
        if let Some(next) = bytes.get_mut(n * 5 / 8 + 1) {
            *next |= spread as u8;
        }
    }
    Ok(bytes)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(PREFIX.len() + LETTERS);
        text.push_str(PREFIX);
        push_letters(&mut text, &self.0, &hash(b"parlo key", &self.0));
        f.pad(&text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Why a text is not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is the short form of one.
    #[error("that is a fingerprint, which is for comparing only; the key itself begins with \"parlo:\"")]
    Fingerprint,
    /// It does not begin as keys do.
    #[error("a key begins with \"parlo:\"")]
    Prefix,
    /// Letters are missing, or there are too many.
    #[error("a key has 56 letters and digits after \"parlo:\", not {0}: copy it again, whole")]
    Length(usize),
    /// A character that no key has.
    #[error("{0:?} is in no key: they have the letters a to z and the digits 2 to 7")]
    Symbol(char),
    /// The check bytes are wrong.
    #[error("the key is mistyped somewhere: copy it again")]
    Check,
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// Reads what `Display` writes, in lower or upper case.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = match text.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            _ if is_fingerprint(text) => return Err(KeyError::Fingerprint),
            _ => return Err(KeyError::Prefix),
        };
        let bytes = from_letters(text)?;
        let mut key = [0; 32];
        key.copy_from_slice(&bytes[..32]);
        if hash(b"parlo key", &key)[..CHECK] != bytes[32..] {
            return Err(KeyError::Check);
        }
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> [u8; 32] {
        std::array::from_fn(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
    }

    /// RFC 7748 section 6.1.
    #[test]
    fn public_keys_are_those_of_the_standard() {
        let identity = Identity::from_bytes(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let public = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(identity.public().as_bytes(), &public);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let identity = Identity::from_bytes([0x5A; 32]);
        let shown = format!("{identity:?}");
        assert!(shown.contains(&identity.public().to_string()), "{shown}");
        assert!(!shown.contains("90") && !shown.to_lowercase().contains("5a5a"), "{shown}");
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_reason() {
        let key = Identity::from_bytes([7; 32]).public();
        let text = key.to_string();
        assert_eq!(text.len(), 62);
        assert_eq!(text.to_uppercase().parse(), Ok(key));
        assert_eq!(text[6..].parse::<PublicKey>(), Err(KeyError::Prefix));
        assert_eq!(text[..61].parse::<PublicKey>(), Err(KeyError::Length(55)));
        assert_eq!(text.replacen(&text[20..21], "1", 1).parse::<PublicKey>(), Err(KeyError::Symbol('1')));
        assert_eq!("".parse::<PublicKey>(), Err(KeyError::Prefix));
        assert_eq!("päölo:".parse::<PublicKey>(), Err(KeyError::Prefix));
        assert_ne!(key.fingerprint(), Identity::from_bytes([8; 32]).public().fingerprint());
        assert_eq!(key.fingerprint().len(), 19);
        assert_eq!(key.fingerprint().parse::<PublicKey>(), Err(KeyError::Fingerprint));
        assert_eq!(key.fingerprint().to_uppercase().parse::<PublicKey>(), Err(KeyError::Fingerprint));
        assert_eq!("7f3a-91c2-5e08".parse::<PublicKey>(), Err(KeyError::Prefix));
    }

    proptest! {
        #[test]
        fn keys_survive_their_text_and_slips_do_not(key: [u8; 32], at in 6..62_usize, slip in 1..32_usize) {
            let key = PublicKey::from_bytes(key);
            let mut text = key.to_string().into_bytes();
            prop_assert_eq!(std::str::from_utf8(&text).unwrap().parse(), Ok(key));
            let old = ALPHABET.iter().position(|&letter| letter == text[at]).unwrap();
            text[at] = ALPHABET[(old + slip) % 32];
            // One slip in sixteen million is not seen.
            prop_assert_eq!(std::str::from_utf8(&text).unwrap().parse::<PublicKey>(), Err(KeyError::Check));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<PublicKey>();
            let _ = format!("parlo:{text}").parse::<PublicKey>();
        }
    }
}
