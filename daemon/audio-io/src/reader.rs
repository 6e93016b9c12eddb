//! Sound files of any usual kind to samples.

use std::{
    fs::File,
    io::{self, Read, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use symphonia::core::errors::Error as SymphoniaError;

use crate::{AudioError, Faults, Format, bytes::Bytes, flac::Flac, mp3, mp3::Mp3, ogg::Ogg, tags, wav, wav::Wav};

/// How far the beginning of a sound file is looked for behind what is none.
const REACH: usize = 1 << 18;

/// Silence given at a time, samples of all channels.
const PIECE: usize = 1 << 14;

/// What a container gives next.
pub(crate) enum Next {
    /// Samples were appended, of this format.
    Sound(Format),
    /// So many sample frames are missing.
    Silence(Format, u64),
    End,
}

/// Why a container cannot go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The system's reason.
    Read(io::Error),
    /// It is none of its kind, or of a kind that is not read.
    Not(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// A kind of sound file. What is damaged is told to `faults` and passed over.
pub(crate) trait Container: Send {
    /// Appends some samples to `out`, which is empty.
    fn next(&mut self, out: &mut Vec<f32>, faults: &mut Faults) -> Result<Next, Trouble>;

    /// Length in sample frames, where the file says so.
    fn total_frames(&self) -> Option<u64> {
        None
    }
}

/// Reads WAV, FLAC, MP3, Ogg Vorbis, Ogg Opus and Ogg FLAC as interleaved 32-bit floats, from files or, as they arrive, from pipes.
pub struct AudioReader {
    name: String,
    container: Box<dyn Container>,
    format: Format,
    /// Decoded samples, of which those before `given` were given out.
    samples: Vec<f32>,
    given: usize,
    /// Sample frames of silence that are next.
    silence: u64,
    faults: Faults,
    ended: bool,
}

impl AudioReader {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or is no sound file.
    pub fn open(path: &Path) -> Result<Self, AudioError> {
        let name = path.display().to_string();
        let unreadable = |error| AudioError::Unreadable { name: name.clone(), error };
        let mut file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        if metadata.is_file() {
            // One byte tells an empty file from another, and a file that cannot be read from one that can.
            if file.read(&mut [0]).map_err(unreadable)? == 0 {
                return Err(AudioError::Empty(name));
            }
            file.rewind().map_err(unreadable)?;
        }
        Self::from_stream(file, &name)
    }

    /// Reads from a stream that cannot be gone back in. Samples come out as their bytes come in.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_stream(stream: impl Read + Send + Sync + 'static, name: &str) -> Result<Self, AudioError> {
        let mut bytes = Bytes::new(stream);
        let told = |trouble| told(trouble, name);
        if bytes.peek(1).map_err(|error| told(error.into()))?.is_empty() {
            return Err(AudioError::Empty(name.to_owned()));
        }
        let mut reader = Self {
            name: name.to_owned(),
            container: probe(bytes).map_err(told)?,
            format: Format { rate: 0, channels: 0 },
            samples: Vec::new(),
            given: 0,
            silence: 0,
            faults: Faults::default(),
            ended: false,
        };
        // The first samples decide the format (some headers leave it open), and show that there is any sound at all.
        if !reader.more()? {
            return Err(AudioError::NoSamples(reader.name));
        }
        Ok(reader)
    }

    /// Rate and channels of the samples that [`read`](Self::read) gave last, and at first of those that it will give. They change where
    /// files of several kinds are joined.
    pub fn format(&self) -> Format {
        self.format
    }

    /// File, or whatever name the stream was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in sample frames, where the file says so.
    pub fn total_frames(&self) -> Option<u64> {
        self.container.total_frames()
    }

    /// What was found damaged or missing so far.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Fills `buffer`, which must hold at least one sample frame, with as many samples as are at hand; 0 at the end.
    ///
    /// # Errors
    /// If the file cannot be read. What is damaged or missing is no error: see [`faults`](Self::faults).
    pub fn read(&mut self, buffer: &mut [f32]) -> Result<usize, AudioError> {
        if self.given == self.samples.len() && !self.more()? {
            return Ok(0);
        }
        let whole = buffer.len() - buffer.len() % usize::from(self.format.channels.max(1));
        let count = whole.min(self.samples.len() - self.given);
        buffer[..count].copy_from_slice(&self.samples[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }

    /// Decodes until there are samples; false at the end.
    fn more(&mut self) -> Result<bool, AudioError> {
        self.samples.clear();
        self.given = 0;
        while !self.ended {
            if self.silence > 0 {
                let channels = usize::from(self.format.channels.max(1));
                let frames = self.silence.min((PIECE / channels).max(1) as u64);
                self.silence -= frames;
                self.samples.resize(frames as usize * channels, 0.0);
                return Ok(true);
            }
            match self.container.next(&mut self.samples, &mut self.faults) {
                Ok(Next::Sound(format)) if !self.samples.is_empty() => {
                    self.format = format;
                    return Ok(true);
                }
                Ok(Next::Sound(_)) => {}
                Ok(Next::Silence(format, frames)) => (self.format, self.silence) = (format, frames),
                Ok(Next::End) => self.ended = true,
                Err(trouble) => {
                    self.ended = true;
                    self.samples.clear();
                    match trouble {
                        // Another file behind the first, of a kind that is not read.
                        Trouble::Not(reason) if self.format.rate > 0 => {
                            self.faults.add(0.0, &format!("what follows is not sound that can be read ({reason})"));
                        }
                        trouble => return Err(told(trouble, &self.name)),
                    }
                }
            }
        }
        Ok(false)
    }
}

fn told(trouble: Trouble, name: &str) -> AudioError {
    let name = name.to_owned();
    match trouble {
        Trouble::Read(error) => AudioError::Unreadable { name, error },
        Trouble::Not(reason) => AudioError::NotAudio { name, reason },
    }
}

/// Finds out by its first bytes what a file is, over tags, padding, and a little of anything else.
fn probe(mut bytes: Bytes) -> Result<Box<dyn Container>, Trouble> {
    let unknown = || Trouble::Not("nothing in it is known".to_owned());
    loop {
        tags::skip(&mut bytes)?;
        let head = bytes.peek(12)?;
        if wav::begins(head) {
            return Ok(Box::new(Wav::new(bytes)?));
        }
        if head.starts_with(b"fLaC") {
            return Ok(Box::new(Flac::new(bytes)?));
        }
        if head.starts_with(b"OggS") {
            return Ok(Box::new(Ogg::new(bytes)?));
        }
        if let Some(kind) = foreign(head) {
            return Err(Trouble::Not(format!("it is {kind}")));
        }
        let first = bytes.peek(1 << 13)?;
        let is_all = first.len() < 1 << 13;
        if mp3::begins(first, is_all) {
            return Ok(Box::new(Mp3::new(bytes)?));
        }
        // Behind something else.
        let first = bytes.peek(REACH)?;
        let is_all = first.len() < REACH;
        let magic = |at: &usize| {
            let rest = &first[*at..];
            wav::begins(rest)
                || rest.starts_with(b"fLaC\0\0\0\x22")
                || rest.starts_with(b"fLaC\x80\0\0\x22")
                || rest.starts_with(b"OggS\0\x02")
                || tags::id3v2(rest).is_some_and(|size| size > 10 && rest[3] < 5)
        };
        let known = (1..first.len()).find(magic);
        let at = known.into_iter().chain(mp3::find(first, is_all)).min().filter(|&at| at > 0).ok_or_else(unknown)?;
        bytes.skip(at as u64)?;
        if known != Some(at) {
            return Ok(Box::new(Mp3::new(bytes)?));
        }
    }
}

/// What other kinds of files begin with.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let at_four = head.get(4..8).unwrap_or_default();
    match head {
        _ if at_four == b"ftyp" => Some("an MP4 file (M4A, AAC or ALAC)"),
        [b'F', b'O', b'R', b'M', ..] => Some("an AIFF file"),
        [b'c', b'a', b'f', b'f', ..] => Some("a CAF file"),
        [b'.', b's', b'n', b'd', ..] => Some("an AU file"),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => Some("a Matroska or WebM file"),
        [0x30, 0x26, 0xB2, 0x75, ..] => Some("a Windows Media file"),
        [b'#', b'!', b'A', b'M', b'R', ..] => Some("an AMR file"),
        [b'r', b'i', b'f', b'f', ..] => Some("a Wave64 file"),
        [0x89, b'P', b'T', b'K', ..] => Some("a token file"),
        _ => None,
    }
}

impl std::fmt::Debug for AudioReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioReader").field("name", &self.name).field("format", &self.format).finish_non_exhaustive()
    }
}

/// Runs a parser over bytes that may be anything. A panic in it becomes an error.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, SymphoniaError>) -> Result<T, SymphoniaError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(SymphoniaError::Unsupported("the parser gave up on it")))
}
