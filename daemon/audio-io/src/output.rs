//! What may be written where: one rule for everything that writes a file.
//!
//! - Nothing is written over what it is made from, under whatever name or link.
//! - Nothing is written under a suffix that says it is something else.
//! - A file is replaced only by one of its own kind; where a person typed its name, only if they say so (`--force`).
//!
//! Devices and pipes are written to as they are. A file without a byte holds nothing that could be lost, and is replaced.

use std::{
    fs::{self, File, Metadata},
    io::Read,
    path::{Path, PathBuf},
};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A token file.
    Tokens,
    /// RIFF/WAVE.
    Wav,
    /// FLAC.
    Flac,
    /// Opus, in Ogg.
    Opus,
    /// NumPy's archive of arrays.
    Npz,
    /// JSON, in lines or whole.
    Json,
    /// Comma-separated values.
    Csv,
}

/// What stands in the way of writing a file. One sentence: what, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Input and output are the same.
    #[error("{} is what is read: write to another file", .0.display())]
    Same(PathBuf),
    /// A suffix of something else.
    #[error("{} would be {kind}, which its name denies: name it {}", .path.display(), .kind.suffixes())]
    Suffix {
        /// The file.
        path: PathBuf,
        /// What it would be.
        kind: Kind,
    },
    /// A suffix that sound is not written as.
    #[error("{}: sound is written as .wav, .flac, .opus or .ogg, not as {}", .0.display(), .0.extension().unwrap_or_default().display())]
    Sound(PathBuf),
    /// There is something else.
    #[error("{} is there and is not {kind}: it is left as it is; name another file, or remove it", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What would replace it.
        kind: Kind,
    },
    /// There is one already.
    #[error("{} is there already", .0.display())]
    There(PathBuf),
}

/// Whether a file that is there may be replaced by one of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// A person typed its name, and did not say that it may.
    No,
    /// Its name comes from a program, or a person said so.
    OwnKind,
}

impl Kind {
    /// What suffixes say, without regard to case; none if they say nothing that is known.
    pub fn of_suffix(path: &Path) -> Option<Self> {
        let suffix = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match suffix.as_str() {
            "ptk" => Self::Tokens,
            "wav" | "wave" => Self::Wav,
            "flac" => Self::Flac,
            "opus" | "ogg" | "oga" => Self::Opus,
            "npz" => Self::Npz,
            "json" | "jsonl" => Self::Json,
            "csv" => Self::Csv,
            _ => return None,
        })
    }

    /// The kind of sound that a file of this name is to be: by its suffix; without one, and of devices and pipes, WAV.
    ///
    /// # Errors
    /// If the suffix is that of something else.
    pub fn of_sound(path: &Path) -> Result<Self, OutputError> {
        match Self::of_suffix(path) {
            Some(kind @ (Self::Wav | Self::Flac | Self::Opus)) => Ok(kind),
            None if path.extension().is_none() || is_special(path) => Ok(Self::Wav),
            _ => Err(OutputError::Sound(path.to_owned())),
        }
    }

    fn suffixes(self) -> &'static str {
        match self {
            Self::Tokens => ".ptk",
            Self::Wav => ".wav",
            Self::Flac => ".flac",
            Self::Opus => ".opus or .ogg",
            Self::Npz => ".npz",
            Self::Json => ".json or .jsonl",
            Self::Csv => ".csv",
        }
    }

    /// Whether a file begins as one of this kind does.
    fn begins(self, head: &[u8]) -> bool {
        match self {
            Self::Tokens => head.starts_with(b"\x89PTK"),
            Self::Wav => crate::wav::begins(head),
            Self::Flac => head.starts_with(b"fLaC"),
            Self::Opus => head.starts_with(b"OggS") && head.windows(8).any(|window| window == b"OpusHead"),
            Self::Npz => head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06"),
            Self::Json => matches!(head.trim_ascii_start(), [] | [b'{' | b'[', ..]),
            // Text, of which nothing more is known.
            Self::Csv => head.iter().all(|&byte| byte >= b' ' || b"\t\r\n".contains(&byte)) && head.contains(&b','),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tokens => "a token file",
            Self::Wav => "a WAV file",
            Self::Flac => "a FLAC file",
            Self::Opus => "an Opus file",
            Self::Npz => "a NumPy archive",
            Self::Json => "JSON",
            Self::Csv => "CSV",
        })
    }
}

/// Whether `output`, to be of this kind, may be written while `inputs` are read.
///
/// # Errors
/// If it is one of them, has a suffix of something else, or there is a file that is to be kept.
pub fn check(output: &Path, kind: Kind, inputs: &[&Path], replace: Replace) -> Result<(), OutputError> {
    apart(output, inputs)?;
    if is_special(output) {
        return Ok(());
    }
    let other_sound = ["mp3", "m4a", "aac", "aif", "aiff", "wma", "amr", "mp4", "webm"];
    let suffix = output.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_ascii_lowercase();
    if Kind::of_suffix(output).is_some_and(|said| said != kind) || other_sound.contains(&suffix.as_str()) {
        return Err(OutputError::Suffix { path: output.to_owned(), kind });
    }
    // What cannot be looked at (a folder, no permission) is told when it is to be written.
    let Some((there, head)) = beginning(output) else { return Ok(()) };
    if there.len() == 0 {
        return Ok(());
    }
    if !kind.begins(&head) {
        return Err(OutputError::Other { path: output.to_owned(), kind });
    }
    match replace {
        Replace::No => Err(OutputError::There(output.to_owned())),
        Replace::OwnKind => Ok(()),
    }
}

/// Whether `output` is none of `inputs`, under whatever name.
///
/// # Errors
/// If it is.
pub fn apart(output: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    match inputs.iter().any(|input| is_same(output, input)) {
        true => Err(OutputError::Same(output.to_owned())),
        false => Ok(()),
    }
}

/// Whether both are one file, by links of either sort.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let (Ok(first), Ok(second)) = (fs::metadata(a), fs::metadata(b)) else { return false };
    if !first.is_file() || !second.is_file() {
        return false;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (first.dev(), first.ino()) == (second.dev(), second.ino())
    }
    #[cfg(not(unix))]
    {
        matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
    }
}

/// Whether it is there and is neither a file nor a folder.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn beginning(path: &Path) -> Option<(Metadata, Vec<u8>)> {
    let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(256).read_to_end(&mut head)).ok()?;
    Some((metadata, head))
}
