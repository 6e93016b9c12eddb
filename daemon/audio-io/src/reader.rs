//! Sound files of any usual kind to samples.

use std::{
    fs::File,
    io::{self, Read, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::OnceLock,
};

use symphonia::core::{
    codecs::{
        CodecParameters,
        audio::{AudioDecoder, AudioDecoderOptions},
        registry::CodecRegistry,
    },
    errors::Error as SymphoniaError,
    formats::{FormatOptions, FormatReader, TrackType, probe::Hint},
    io::{MediaSource, MediaSourceStream, ReadOnlySource},
    meta::MetadataOptions,
};

use super::{AudioError, Format};

/// Damaged packets that are passed over before a file is given up.
const TOLERATED_DAMAGE: u32 = 100;

/// The most sample frames of silence that stand in for lost ones at a time.
const MAX_SILENCE: u64 = 1 << 18;

/// Lengths in bytes from here on mean "until the end": sox writes 2 GiB less a little, ffmpeg 4 GiB.
const OPEN_END: u64 = 0x7FFF_0000;

/// Reads WAV, FLAC, MP3, Ogg Vorbis and Ogg Opus as interleaved 32-bit floats, from files or, as they arrive, from pipes.
pub struct AudioReader {
    name: String,
    format: Format,
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    /// Decoded samples, of which those before `given` were given out.
    samples: Vec<f32>,
    given: usize,
    /// Sample frames decoded so far.
    frames: u64,
    /// Sample frames that the file says it has, if it can be trusted on that.
    promised: Option<u64>,
    damaged: u32,
    /// Whether packets are numbered by their first sample, without gaps.
    numbered: bool,
    scratch: Vec<f32>,
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
            let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_owned);
            return Self::probe(Box::new(file), name, extension.as_deref());
        }
        // A named pipe or a device: as standard input.
        Self::from_stream(file, &name)
    }

    /// Reads from a stream that cannot be gone back in. Samples come out as their bytes come in.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_stream(stream: impl Read + Send + Sync + 'static, name: &str) -> Result<Self, AudioError> {
        let mut stream = stream;
        let mut first = [0];
        let unreadable = |error| AudioError::Unreadable { name: name.to_owned(), error };
        if stream.read(&mut first).map_err(unreadable)? == 0 {
            return Err(AudioError::Empty(name.to_owned()));
        }
        Self::probe(Box::new(ReadOnlySource::new(io::Cursor::new(first).chain(stream))), name.to_owned(), None)
    }

    fn probe(source: Box<dyn MediaSource>, name: String, extension: Option<&str>) -> Result<Self, AudioError> {
        let not_audio = |reason: String| AudioError::NotAudio { name: name.clone(), reason };
        let mut hint = Hint::new();
        if let Some(extension) = extension {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(source, Default::default());
        let reader = guarded(|| {
            symphonia::default::get_probe().probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        })
        .map_err(|error| not_audio(explain(&error)))?;
        let no_track = || not_audio("it has no sound track".to_owned());
        let track = reader.default_track(TrackType::Audio).ok_or_else(no_track)?;
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { return Err(no_track()) };
        let decoder = guarded(|| codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()))
            .map_err(|error| not_audio(explain(&error)))?;
        // MP3 lengths are estimates, and whoever writes WAV into a pipe does not know the length: as large as can be.
        let exact = ["wave", "flac"].contains(&reader.format_info().short_name);
        let numbered = reader.format_info().short_name == "flac";
        let known = (parameters.sample_rate, parameters.channels.as_ref().map(|c| c.count()));
        let sample_bytes = u64::from(parameters.bits_per_sample.unwrap_or(8).div_ceil(8));
        let frame_bytes = sample_bytes * known.1.unwrap_or(1) as u64;
        let promised =
            track.num_frames.filter(|&frames| exact && frames > 0 && frames.saturating_mul(frame_bytes) < OPEN_END);
        let track = track.id;
        let mut reader = Self {
            format: Format { rate: known.0.unwrap_or(0), channels: known.1.unwrap_or(0) as u16 },
            name,
            reader,
            decoder,
            track,
            samples: Vec::new(),
            given: 0,
            frames: 0,
            promised,
            damaged: 0,
            numbered,
            scratch: Vec::new(),
            ended: false,
        };
        // The first packet decides the format (some headers leave it open), and shows that there is any sound at all.
        if !reader.decode_some()? {
            return Err(AudioError::NoSamples(reader.name));
        }
        Ok(reader)
    }

    /// Rate and channels.
    pub fn format(&self) -> Format {
        self.format
    }

    /// File, or whatever name the stream was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in sample frames, where the file says so exactly.
    pub fn total_frames(&self) -> Option<u64> {
        self.promised
    }

    /// Damaged packets that were passed over so far.
    pub fn damaged(&self) -> u32 {
        self.damaged
    }

    /// Fills `buffer`, which must hold at least one sample frame, with as many samples as are at hand; 0 at the end.
    ///
    /// # Errors
    /// If the file breaks off, or is damaged beyond repair. The samples before that have been given.
    pub fn read(&mut self, buffer: &mut [f32]) -> Result<usize, AudioError> {
        if self.given == self.samples.len() && !self.decode_some()? {
            return Ok(0);
        }
        let whole = buffer.len() - buffer.len() % usize::from(self.format.channels.max(1));
        let count = whole.min(self.samples.len() - self.given);
        buffer[..count].copy_from_slice(&self.samples[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }

    /// Decodes packets until there are samples; false at the end.
    fn decode_some(&mut self) -> Result<bool, AudioError> {
        self.samples.clear();
        self.given = 0;
        while !self.ended {
            let packet = match guarded(|| self.reader.next_packet()) {
                Ok(Some(packet)) => packet,
                Ok(None) => {
                    self.ended = true;
                    return self.check_end().map(|()| false);
                }
                Err(error) => {
                    self.ended = true;
                    // A pipe that ends where its length was not known ends as it should.
                    if is_end(&error) {
                        return self.check_end().map(|()| false);
                    }
                    return Err(self.truncated(explain(&error)));
                }
            };
            if packet.track_id != self.track {
                continue;
            }
            // FLAC numbers its samples: a jump shows how many were lost with damaged frames, even where no error is seen.
            let lost = if self.numbered {
                u64::try_from(packet.pts.get()).unwrap_or(0).saturating_sub(self.frames)
            } else {
                0
            };
            if lost > 0 && self.damaged < TOLERATED_DAMAGE {
                self.damaged += 1;
                self.fill(lost);
            }
            let Self { decoder, samples, scratch, .. } = self;
            let before = samples.len();
            let decoded = guarded(|| {
                let audio = decoder.decode(&packet)?;
                let spec = audio.spec();
                let format = (spec.rate(), spec.channels().count());
                scratch.clear();
                audio.copy_to_vec_interleaved::<f32>(scratch);
                samples.extend_from_slice(scratch);
                Ok(format)
            });
            match decoded {
                Ok((rate, channels)) => {
                    let format = Format { rate, channels: u16::try_from(channels).unwrap_or(u16::MAX) };
                    if self.frames == 0 {
                        self.format = format;
                    } else if format != self.format && !self.samples.is_empty() {
                        self.ended = true;
                        self.samples.clear();
                        return Err(self.truncated("the sample rate or the channels change there".to_owned()));
                    }
                    self.frames += ((self.samples.len() - before) / channels.max(1)) as u64;
                    if !self.samples.is_empty() {
                        return Ok(true);
                    }
                }
                Err(SymphoniaError::DecodeError(_)) if self.damaged < TOLERATED_DAMAGE => {
                    self.damaged += 1;
                    self.samples.truncate(before);
                    if before > 0 {
                        return Ok(true);
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Err(self.truncated(explain(&error)));
                }
            }
        }
        Ok(false)
    }

    /// Puts silence in the place of lost samples, which keeps the time of what follows.
    fn fill(&mut self, frames: u64) {
        let frames = frames.min(MAX_SILENCE);
        let values = frames as usize * usize::from(self.format.channels);
        self.samples.resize(self.samples.len() + values, 0.0);
        self.frames += frames;
    }

    fn check_end(&self) -> Result<(), AudioError> {
        match self.promised {
            Some(promised) if self.frames < promised => {
                let seconds = promised as f64 / f64::from(self.format.rate.max(1));
                Err(self.truncated(format!("its header promises {seconds:.1} s")))
            }
            _ => Ok(()),
        }
    }

    fn truncated(&self, reason: String) -> AudioError {
        let seconds = self.frames as f64 / f64::from(self.format.rate.max(1));
        AudioError::Truncated { name: self.name.clone(), seconds, reason }
    }
}

impl std::fmt::Debug for AudioReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioReader").field("name", &self.name).field("format", &self.format).finish_non_exhaustive()
    }
}

/// Symphonia's codecs, and Opus by libopus, which it lacks.
fn codecs() -> &'static CodecRegistry {
    static CODECS: OnceLock<CodecRegistry> = OnceLock::new();
    CODECS.get_or_init(|| {
        let mut registry = CodecRegistry::new();
        symphonia::default::register_enabled_codecs(&mut registry);
        registry.register_audio_decoder::<symphonia_adapter_libopus::OpusDecoder>();
        registry
    })
}

/// Runs a parser over bytes that may be anything. A panic in it becomes an error: the parser is dropped after any error,
/// so whatever state it was left in is not seen again.
fn guarded<T>(run: impl FnOnce() -> Result<T, SymphoniaError>) -> Result<T, SymphoniaError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(SymphoniaError::Unsupported("the parser gave up on it")))
}

fn is_end(error: &SymphoniaError) -> bool {
    matches!(error, SymphoniaError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

fn explain(error: &SymphoniaError) -> String {
    match error {
        error if is_end(error) => "it ends too soon".to_owned(),
        SymphoniaError::ResetRequired => "another stream begins there, which is not followed".to_owned(),
        error => error.to_string(),
    }
}
