//! What became of a folder: a line of JSON for each file, for programs that go on with the tokens.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context;
use parlod::audio::AtomicFile;
use serde::{Deserialize, Serialize};

/// Name of the list of token files, in the folder where they are.
pub(super) const MANIFEST: &str = "manifest.jsonl";
/// Name of the list of what failed, beside it.
pub(super) const FAILURES: &str = "failures.jsonl";

/// A token file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The sound, relative to the folder that was encoded.
    pub(super) sound: PathBuf,
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
}

/// A sound file that has no tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// The sound, relative to the folder that was encoded.
    pub(super) sound: PathBuf,
    /// Why.
    pub(super) reason: String,
}

/// Writes the list at once: whoever reads it sees the old one or the new one.
pub(super) fn write<T: Serialize>(folder: &Path, name: &str, lines: &[T]) -> anyhow::Result<()> {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{}", serde_json::to_string(line)?)?;
    }
    let file = folder.join(name);
    let unwritable = || format!("cannot write {}", file.display());
    let mut out = AtomicFile::create(&file).with_context(unwritable)?;
    out.write_all(text.as_bytes()).with_context(unwritable)?;
    out.commit().with_context(unwritable)
}
