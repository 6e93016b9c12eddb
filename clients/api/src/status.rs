//! The daemon itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{audio::Audio, calls::Call};

/// A model that calls can be made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bundle {
    /// Its name.
    pub name: String,
    /// Its identity: a hash of its bytes, in hexadecimal.
    pub id: String,
    /// Identity of its tokens, in hexadecimal: peers of the same tokens understand each other, whatever bundles they have.
    #[serde(default)]
    pub tokens: String,
    /// Sample rate, Hz.
    pub sample_rate: u32,
    /// Length of a frame, ms.
    pub frame_ms: f64,
    /// How much later than a frame's own span the decoder renders it, ms.
    pub algorithmic_delay_ms: f64,
    /// Codes that each codebook has, coarsest first: a code is 0 to one less.
    pub codebooks: Vec<u32>,
}

/// Whether calls are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Callers are told that the line is busy.
    pub do_not_disturb: bool,
}

/// The daemon, as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Since it began, seconds.
    pub uptime_s: f64,
    /// Its public key.
    pub key: String,
    /// The key, short, for people to compare.
    pub fingerprint: String,
    /// Where it waits for calls, `ADDRESS:PORT`; none if it does not.
    pub listening: Option<String>,
    /// Where its page is served, `ADDRESS:PORT`; none if it is not.
    #[serde(default)]
    pub page: Option<String>,
    /// Whether calls are wanted.
    pub presence: Presence,
    /// The model that calls are made with, where the peer has its tokens.
    pub bundle: Bundle,
    /// More models, for peers who have other tokens, best first.
    #[serde(default)]
    pub others: Vec<Bundle>,
    /// Sound.
    pub audio: Audio,
    /// Calls, oldest first, those that ended within the last minute among them.
    pub calls: Vec<Call>,
    /// Resident memory, MiB.
    pub resident_mib: f64,
}

/// Somebody the user knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contact {
    /// What the user calls the peer.
    pub name: String,
    /// Where it is, `HOST:PORT`; none if it has no fixed address.
    pub address: Option<String>,
    /// Its public key.
    pub key: String,
    /// The key, short.
    pub fingerprint: String,
    /// Whether its calls are answered without asking.
    pub auto_answer: bool,
    /// Whether a secret is shared with it (a pre-shared key), without which there is no call with it.
    #[serde(default)]
    pub psk: bool,
}

/// A secret to be shared with a contact, as the other side was told it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PskEntry {
    /// `parlo-psk:` and 56 letters and digits.
    pub psk: String,
}

impl std::fmt::Debug for PskEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PskEntry { .. }")
    }
}

/// Adds a contact, or changes the one of that name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactEntry {
    /// See [`Contact::address`].
    #[serde(default)]
    pub address: Option<String>,
    /// See [`Contact::key`].
    pub key: String,
    /// See [`Contact::auto_answer`].
    #[serde(default)]
    pub auto_answer: bool,
}

/// A recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// Its name: letters, digits, `-`, `_` and `.`, for the paths `/api/v1/recordings/NAME.wav` and `NAME.ptk`.
    pub name: String,
    /// Who was there, for people.
    pub peer: String,
    /// When it began, seconds since 1970-01-01 UTC.
    pub began_s: f64,
    /// How long it is, seconds.
    pub duration_s: f64,
    /// Bytes of the token file.
    pub bytes: u64,
    /// Whether it is being made now.
    pub running: bool,
    /// Whether it broke off: what is there is whole.
    pub broken_off: bool,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// One sentence for people: what, where, what to do.
    pub error: String,
}
