//! A secret that two people share besides their keys (a pre-shared key, PSK, as WireGuard has): 32 random bytes, told over another way.
//!
//! It is mixed into the handshake (Noise section 9), so that who recorded their calls cannot open them by breaking X25519 alone,
//! whatever machine comes.
//!
//! Text form: `parlo-psk:` and 56 letters and digits, as a [public key](crate::identity) has them, of the 32 bytes and the first
//! three of SHA-256("parlo psk" || bytes).

use std::{fmt, str::FromStr};

use zeroize::{Zeroize, Zeroizing};

use crate::{
    identity::{CHECK, LETTERS, PublicKey, from_letters, hash, push_letters},
    session::expand,
};

/// What the text form begins with.
const PREFIX: &str = "parlo-psk:";

/// Bytes by which who calls shows that it has the secret.
pub(crate) const PROOF: usize = 16;

/// A secret shared with one peer. Overwritten when it is dropped; its debug form shows nothing of it.
#[derive(Clone)]
pub struct Psk(Zeroizing<[u8; 32]>);

impl Psk {
    /// The secret of 32 bytes, which must come from the operating system's generator.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The text that the other side is to be told, over a way that nobody else hears.
    pub fn to_text(&self) -> Zeroizing<String> {
        // Room for all at once: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + LETTERS));
        text.push_str(PREFIX);
        let check = hash(b"parlo psk", &self.0);
        push_letters(&mut text, &self.0, &check);
        text
    }

    /// What shows the listener that a caller has the same secret, in an initiation with this cookie.
    pub(crate) fn proof(&self, caller: &PublicKey, listener: &PublicKey, cookie: &[u8]) -> [u8; PROOF] {
        let mut proof = [0; PROOF];
        let label = [&b"parlo psk"[..], caller.as_bytes(), listener.as_bytes(), cookie].concat();
        expand(&self.0, &label, &mut proof);
        proof
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

impl PartialEq for Psk {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Psk {}

/// Whether bytes are the same, in a time that does not tell where they differ.
pub(crate) fn same<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
}

/// Why a text is no shared secret. Says nothing of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PskError {
    /// It does not begin as they do.
    #[error("a shared secret begins with \"parlo-psk:\"")]
    Prefix,
    /// It is not whole, or has other letters, or is mistyped.
    #[error("the shared secret is mistyped somewhere, or not whole: it has 56 letters and digits after \"parlo-psk:\"")]
    Mistyped,
}

impl FromStr for Psk {
    type Err = PskError;

    /// Reads what [`to_text`](Self::to_text) gives, in lower or upper case, with blanks and hyphens between letters where people
    /// have put some.
    fn from_str(text: &str) -> Result<Self, PskError> {
        let letters = match text.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            _ => return Err(PskError::Prefix),
        };
        let mut plain = Zeroizing::new(String::with_capacity(letters.len()));
        letters.chars().filter(|&c| !c.is_whitespace() && c != '-').for_each(|c| plain.push(c));
        let mut bytes = Zeroizing::new(from_letters(&plain).map_err(|_| PskError::Mistyped)?);
        let mut secret = [0; 32];
        secret.copy_from_slice(&bytes[..32]);
        let psk = Self::from_bytes(secret);
        secret.zeroize();
        let is_right = hash(b"parlo psk", &psk.0)[..CHECK] == bytes[32..];
        bytes.zeroize();
        if is_right { Ok(psk) } else { Err(PskError::Mistyped) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_of_it_is_shown() {
        let psk = Psk::from_bytes([0x5A; 32]);
        assert_eq!(format!("{psk:?}"), "Psk(..)");
        assert_eq!("parlo:abc".parse::<Psk>(), Err(PskError::Prefix));
        assert_eq!("parlo-psk:abc".parse::<Psk>(), Err(PskError::Mistyped));
        assert_eq!("".parse::<Psk>(), Err(PskError::Prefix));
    }

    proptest! {
        #[test]
        fn secrets_survive_their_text_and_slips_do_not(bytes: [u8; 32], at in 10..66_usize, slip in 1..32_usize) {
            let psk = Psk::from_bytes(bytes);
            let text = psk.to_text();
            prop_assert_eq!(text.parse::<Psk>(), Ok(psk.clone()));
            prop_assert_eq!(text.to_uppercase().parse::<Psk>(), Ok(psk.clone()));
            let spaced = format!("{} {}-{}", &text[..20], &text[20..40], &text[40..]);
            prop_assert_eq!(spaced.parse::<Psk>(), Ok(psk.clone()));
            let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
            let mut wrong = text.as_bytes().to_vec();
            let old = alphabet.iter().position(|&letter| letter == wrong[at]).unwrap();
            wrong[at] = alphabet[(old + slip) % 32];
            prop_assert_eq!(std::str::from_utf8(&wrong).unwrap().parse::<Psk>(), Err(PskError::Mistyped));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Psk>();
            let _ = format!("parlo-psk:{text}").parse::<Psk>();
        }
    }
}
