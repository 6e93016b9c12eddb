//! What became of a folder: a line of JSON for each file, for programs that go on with the tokens.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context;
use parlo_audio_io::{
    AtomicFile,
    output::{self, Kind, Replace},
};
use serde::{Deserialize, Serialize};

/// Name of the list of token files, in the folder where they are.
pub(super) const MANIFEST: &str = "manifest.jsonl";
/// Name of the list of what failed, beside it.
pub(super) const FAILURES: &str = "failures.jsonl";

/// A token file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The sound, relative to the folder that was encoded. Bytes of its name that are not UTF-8 are `%` and two digits.
    pub(super) sound: String,
    /// The tokens, relative to the folder of the manifest.
    pub(super) tokens: PathBuf,
    /// How long the sound is, s.
    pub(super) seconds: f64,
    /// Frames of tokens.
    pub(super) frames: u64,
    /// Codes in each.
    pub(super) depth: usize,
    /// Length of the token file.
    pub(super) bytes: u64,
    /// What the tokens are: 64 hexadecimal digits.
    pub(super) tokens_id: String,
    /// Length of the sound file.
    #[serde(default)]
    pub(super) sound_bytes: u64,
    /// When the sound file was changed, microseconds since 1970-01-01 UTC.
    #[serde(default)]
    pub(super) sound_changed_us: i64,
}

/// A sound file that has no tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// The sound, relative to the folder that was encoded. Bytes of its name that are not UTF-8 are `%` and two digits.
    pub(super) sound: String,
    /// Why it could not be encoded.
    pub(super) reason: String,
}

/// What an earlier run listed; nothing if there is no list, or none of ours.
pub(super) fn read(folder: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(folder.join(MANIFEST)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A time as the list has it.
pub(super) fn time(time: SystemTime) -> i64 {
    let (since, sign) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (since, 1),
        Err(before) => (before.duration(), -1),
    };
    sign * i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A name as text: bytes that are not UTF-8 as `%` and two hexadecimal digits.
pub(super) fn text(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

/// Writes the list at once: whoever reads it sees the old one or the new one.
pub(super) fn write<T: Serialize>(folder: &Path, name: &str, lines: &[T]) -> anyhow::Result<()> {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{}", serde_json::to_string(line)?)?;
    }
    let file = folder.join(name);
    let unwritable = || format!("cannot write {}", file.display());
    output::check(&file, Kind::Json, &[], Replace::OwnKind)?;
    let mut out = AtomicFile::create(&file).with_context(unwritable)?;
    out.write_all(text.as_bytes()).with_context(unwritable)?;
    out.commit().with_context(unwritable)
}
