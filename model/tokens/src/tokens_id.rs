use std::fmt;

use crate::digest::identity;

/// Which tokens: what two sides must share to turn bytes into codes, and codes into what they stand for.
///
/// Bundles of other encoders and decoders can be of the same tokens: what one makes the other plays. It is what calls, feeds and
/// token files name. docs/bundle.md says what it is a hash of. Shown as 64 hexadecimal digits; [`short`](Self::short) is for
/// people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokensId([u8; 32]);

identity!(TokensId);

impl TokensId {
    /// Its first half.
    pub fn prefix(&self) -> TokensPrefix {
        TokensPrefix(std::array::from_fn(|n| self.0[n]))
    }
}

/// The first half of a [`TokensId`], as token files hold it: 128 bits tell all models apart, though not ones that somebody has
/// made to be alike, of which nothing worse comes than wrong sound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokensPrefix([u8; 16]);

impl TokensPrefix {
    /// Takes the bytes as they are.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether an id begins so.
    pub fn begins(&self, id: TokensId) -> bool {
        id.prefix() == *self
    }

    /// The first eight digits, as [`TokensId::short`].
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for TokensPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokensPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokensPrefix({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BundleId;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn survives_print_and_parse(digest: [u8; 32]) {
            let (tokens, bundle) = (TokensId::from_bytes(digest), BundleId::from_bytes(digest));
            prop_assert_eq!(tokens.to_string().parse(), Ok(tokens));
            prop_assert_eq!(bundle.to_string().to_uppercase().parse(), Ok(bundle));
            prop_assert_eq!(tokens.short(), bundle.short());
        }

        #[test]
        fn a_prefix_is_how_an_id_begins(digest: [u8; 32], other: [u8; 32]) {
            let (id, other) = (TokensId::from_bytes(digest), TokensId::from_bytes(other));
            let prefix = id.prefix();
            prop_assert!(prefix.begins(id) && id.to_string().starts_with(&prefix.to_string()));
            prop_assert_eq!(prefix.begins(other), digest[..16] == other.as_bytes()[..16]);
            prop_assert_eq!(prefix.short(), id.short());
        }

        #[test]
        fn parsing_any_text_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<BundleId>();
            let _ = text.parse::<TokensId>();
        }
    }
}
