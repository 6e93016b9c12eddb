use crate::digest::identity;

/// Which bundle: the SHA-256 of its manifest, which in turn holds the SHA-256 of every other file.
///
/// Two bundles with equal ids are the same bytes. Whether two sides understand each other's tokens is another question: see
/// [`TokensId`](crate::TokensId). Shown as 64 hexadecimal digits; [`short`](Self::short) is for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId([u8; 32]);

identity!(BundleId);
