use std::{fmt, str::FromStr};

/// Which model: the SHA-256 of the bundle's manifest, which in turn holds the SHA-256 of every other file.
///
/// Two peers with equal ids hold the same bytes. Shown as 64 hexadecimal digits; [`short`](Self::short) is for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId([u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bundle id is 64 hexadecimal digits, not \"{0}\"")]
pub struct ParseBundleIdError(pub String);

impl BundleId {
    /// Takes the digest as it is.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its first half.
    pub fn prefix(&self) -> BundlePrefix {
        BundlePrefix(std::array::from_fn(|n| self.0[n]))
    }

    /// The first eight digits: enough for people to tell their few bundles apart, not for programs.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

/// The first half of a [`BundleId`], as token files hold it: 128 bits tell all models apart, though not ones that somebody has
/// made to be alike, of which nothing worse comes than wrong sound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundlePrefix([u8; 16]);

impl BundlePrefix {
    /// Takes the bytes as they are.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether an id begins so.
    pub fn begins(&self, id: BundleId) -> bool {
        id.prefix() == *self
    }

    /// The first eight digits, as [`BundleId::short`].
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for BundlePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BundlePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundlePrefix({self})")
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleId({self})")
    }
}

impl FromStr for BundleId {
    type Err = ParseBundleIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseBundleIdError(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn survives_print_and_parse(digest: [u8; 32]) {
            let id = BundleId::from_bytes(digest);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn a_prefix_is_how_an_id_begins(digest: [u8; 32], other: [u8; 32]) {
            let (id, other) = (BundleId::from_bytes(digest), BundleId::from_bytes(other));
            let prefix = id.prefix();
            prop_assert!(prefix.begins(id) && id.to_string().starts_with(&prefix.to_string()));
            prop_assert_eq!(prefix.begins(other), digest[..16] == other.as_bytes()[..16]);
            prop_assert_eq!(prefix.short(), id.short());
        }

        #[test]
        fn parsing_any_text_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<BundleId>();
        }
    }
}
