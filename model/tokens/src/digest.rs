//! Identities: 32 bytes, shown as 64 hexadecimal digits.

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identity is 64 hexadecimal digits, not \"{0}\"")]
pub struct ParseIdError(pub String);

/// Reads 64 hexadecimal digits.
pub(crate) fn parse(text: &str) -> Result<[u8; 32], ParseIdError> {
    let wrong = || ParseIdError(text.to_owned());
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

/// What every identity can do: be taken from a digest and given back as one, be shown, and be read.
macro_rules! identity {
    ($name:ident) => {
        impl $name {
            /// Takes the digest as it is.
            pub const fn from_bytes(digest: [u8; 32]) -> Self {
                Self(digest)
            }

            /// The digest.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight digits: enough for people to tell their few bundles apart, not for programs.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::digest::parse(text).map(Self)
            }
        }
    };
}
pub(crate) use identity;
