//! Files, or standard input and output, by the name `-`.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, IsTerminal, Read, Seek, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use parlo_audio_io::{
    AtomicFile, AudioReader, AudioWriter, Channel, Format, MonoReader, WavWriter,
    output::{self, Kind, Replace},
};

use crate::scratch::Scratch;

/// What can be read and sought.
pub(crate) trait Anywhere: Read + Seek {}

impl<S: Read + Seek> Anywhere for S {}

/// Where a command reads from or writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IoPath {
    /// Standard input or output.
    Standard,
    /// A file.
    File(PathBuf),
}

impl From<OsString> for IoPath {
    fn from(text: OsString) -> Self {
        if text == "-" { Self::Standard } else { Self::File(text.into()) }
    }
}

impl fmt::Display for IoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl IoPath {
    /// Whether it is a pipe or the like: whoever is at its other end wants bytes soon rather than in large blocks.
    pub(crate) fn is_standard(&self) -> bool {
        *self == Self::Standard
    }

    /// Sound from here, one channel of it.
    pub(crate) fn read_audio(&self, channel: Channel) -> anyhow::Result<MonoReader> {
        let reader = match self {
            Self::Standard => {
                refuse_terminal(&io::stdin(), "sound", "standard input")?;
                AudioReader::from_stream(io::stdin(), "standard input")?
            }
            Self::File(path) => AudioReader::open(path)?,
        };
        Ok(MonoReader::new(reader, channel)?)
    }

    /// Bytes from here.
    pub(crate) fn read_bytes(&self) -> anyhow::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Standard => {
                refuse_terminal(&io::stdin(), "a token file", "standard input")?;
                Box::new(io::stdin())
            }
            Self::File(path) => {
                let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    bail!("cannot read {}: it is a folder", path.display());
                }
                Box::new(file)
            }
        })
    }

    /// All bytes from here, to be read in any order: a file as it is, standard input out of a file without a name.
    pub(crate) fn read_anywhere(&self) -> anyhow::Result<Box<dyn Anywhere>> {
        let mut bytes = self.read_bytes()?;
        Ok(match self {
            Self::Standard => Box::new(spooled(&mut bytes).context("cannot read standard input")?),
            Self::File(path) => Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?),
        })
    }

    /// What it is called in messages.
    pub(crate) fn name(&self, standard: &str) -> String {
        if self.is_standard() { standard.to_owned() } else { self.to_string() }
    }

    /// The right to write a file of this kind here, made from `inputs`. Asked for before anything that takes long.
    ///
    /// # Errors
    /// If it is one of the inputs, its name says something else, or there is a file that is to be kept: one of another kind, and any
    /// without `force`.
    pub(crate) fn claim(&self, kind: Kind, inputs: &[&Self], force: bool) -> anyhow::Result<Claim<'_>> {
        let inputs: Vec<&Path> = inputs.iter().map(|input| input.path("/dev/stdin")).collect();
        match self {
            Self::Standard => output::apart(self.path("/dev/stdout"), &inputs)?,
            Self::File(path) => {
                let replace = if force { Replace::OwnKind } else { Replace::No };
                output::check(path, kind, &inputs, replace)?;
            }
        }
        Ok(Claim(self))
    }

    /// The same for a file that is read itself, by whoever keeps what it was.
    pub(crate) fn claim_in_place(&self) -> Claim<'_> {
        Claim(self)
    }

    /// The same for sound of the kind that its name says.
    pub(crate) fn claim_sound(&self, inputs: &[&Self], force: bool) -> anyhow::Result<Claim<'_>> {
        let kind = match self {
            Self::Standard => Kind::Wav,
            Self::File(path) => Kind::of_sound(path)?,
        };
        self.claim(kind, inputs, force)
    }

    fn path<'a>(&'a self, standard: &'static str) -> &'a Path {
        match self {
            Self::Standard => Path::new(standard),
            Self::File(path) => path,
        }
    }
}

/// All bytes of a stream, in a file that has no name and is gone with the program: nobody knows how many they are.
pub(crate) fn spooled(bytes: &mut impl Read) -> io::Result<Scratch> {
    let mut file = Scratch::new()?;
    io::copy(bytes, &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// A place that may be written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a>(&'a IoPath);

impl Claim<'_> {
    /// Sound to there, of one channel.
    pub(crate) fn sound(&self, rate: u32) -> anyhow::Result<AudioWriter> {
        let format = Format { rate, channels: 1 };
        Ok(match self.0 {
            IoPath::Standard => {
                refuse_terminal(&io::stdout(), "sound", "the terminal")?;
                AudioWriter::Wav(WavWriter::stream(io::stdout(), "standard output", format)?)
            }
            IoPath::File(path) => AudioWriter::create(path, format)?,
        })
    }

    /// Bytes to there.
    pub(crate) fn bytes(&self) -> anyhow::Result<Output> {
        Ok(match self.0 {
            IoPath::Standard => {
                refuse_terminal(&io::stdout(), "a file like this", "the terminal")?;
                Output::Standard(io::stdout())
            }
            IoPath::File(path) => Output::File(AtomicFile::create(path).with_context(|| unwritable(path))?),
        })
    }
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn refuse_terminal(stream: &impl IsTerminal, what: &str, place: &str) -> anyhow::Result<()> {
    if stream.is_terminal() {
        bail!("{place} is a terminal, which is no place for {what}; name a file, or use a pipe");
    }
    Ok(())
}

impl Write for Output {
    /// Writes all of the bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write_all(bytes)?,
            Self::File(file) => file.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            // All of it is brought to the disk at the end.
            Self::File(_) => Ok(()),
        }
    }
}

/// Bytes on their way out. A file has its name only once it is finished.
#[derive(Debug)]
pub(crate) enum Output {
    Standard(io::Stdout),
    File(AtomicFile),
}

impl Output {
    /// Writes all of the bytes; to a pipe at once.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Standard(out) => {
                let written = out.write_all(bytes).and_then(|()| out.flush());
                written.context("cannot write to standard output")
            }
            Self::File(file) => file.write_all(bytes).with_context(|| unwritable(file.path())),
        }
    }

    /// Ends it.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Standard(mut out) => out.flush().context("cannot write to standard output"),
            Self::File(file) => {
                let path = file.path().to_owned();
                file.commit().with_context(|| unwritable(&path))
            }
        }
    }
}
