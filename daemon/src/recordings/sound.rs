//! From a recording to sound, as it was heard.

use std::{
    fs::File,
    io::{self, Read, Seek},
    ops::ControlFlow,
    path::Path,
};

use parlo_archive::{Archive, ArchiveError, Coder, State, TimedFrame as Frame};
use parlo_dsp::{NoiseGenerator, Pace, Stretcher};
use parlo_model::{Bundle, CodingError, Decoder, ModelError, Runtime};
use parlo_protocol::file::{Coding, FileError, Mark, Tokens};
use parlo_tokens::{ComfortNoise, Slot};

use super::{RecordingError, Side, recorder::STREAMS};

/// How far a stream's sound may lag behind its clock before silence is put in, seconds; below that it is slowed down.
const HOLE: f64 = 0.06;

/// How far it may be off before it is slowed down or hurried.
const OFF: f64 = 0.01;

/// Bytes of a WAV file's header.
const WAV_HEADER: usize = 44;

/// The most samples that a WAV file holds, whose lengths are of 32 bits.
const MOST_SAMPLES: usize = (u32::MAX as usize - WAV_HEADER) / 2;

/// Where two sides that are loud together begin to be bent, full scale being 1.
const KNEE: f32 = 0.7;

/// Why rendering stopped.
enum Stopped {
    Read(io::Error),
    File(FileError),
    Tokens { seconds: f64, error: CodingError },
    Model(ModelError),
    OtherModel(Box<Tokens>),
    TooLong,
}

impl From<ArchiveError> for Stopped {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Read(error) => Self::Read(error),
            ArchiveError::File(error) => Self::File(error),
            ArchiveError::Codes { seconds, error } => Self::Tokens { seconds, error },
            ArchiveError::Model(error) => Self::Model(error),
            error => Self::Read(io::Error::other(error)),
        }
    }
}

impl From<ModelError> for Stopped {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

/// The WAV file of a recording. `keep_going`: damage ends it as if it had broken off there.
pub(super) fn wav(
    name: &str,
    path: &Path,
    side: Side,
    keep_going: bool,
    runtime: &Runtime,
    bundle: &Bundle,
) -> Result<Vec<u8>, RecordingError> {
    let opened = File::open(path).map_err(ArchiveError::Read).and_then(Archive::open);
    let mut archive = opened.map_err(|error| told(Stopped::from(error), name, path, bundle))?;
    let sound = render(&mut archive, side, keep_going, runtime, bundle);
    Ok(file_of(&sound.map_err(|stopped| told(stopped, name, path, bundle))?, bundle.manifest().audio.sample_rate))
}

/// The sound of an open file of this name.
pub(super) fn sound<S: Read + Seek>(
    name: &str,
    archive: &mut Archive<S>,
    side: Side,
    keep_going: bool,
    runtime: &Runtime,
    bundle: &Bundle,
) -> Result<Vec<i16>, RecordingError> {
    let sound = render(archive, side, keep_going, runtime, bundle);
    sound.map_err(|stopped| told(stopped, name, Path::new(name), bundle))
}

/// Why rendering stopped, in a sentence for people.
fn told(stopped: Stopped, name: &str, path: &Path, bundle: &Bundle) -> RecordingError {
    let file = path.to_owned();
    match stopped {
        Stopped::Read(error) => RecordingError::Unreadable { file, error },
        Stopped::File(error) => RecordingError::Damaged { file, error },
        Stopped::Tokens { seconds, error } => RecordingError::Tokens { file, seconds, error },
        Stopped::Model(error) => RecordingError::Model(error),
        Stopped::TooLong => RecordingError::TooLong(name.to_owned()),
        Stopped::OtherModel(tokens) => RecordingError::OtherModel {
            name: name.to_owned(),
            made: tokens.bundle_name,
            made_id: tokens.id.short(),
            given: bundle.manifest().name.clone(),
            given_id: bundle.tokens().short(),
        },
    }
}

/// The sound of a side, from the start of the clock on, 16 bits. A file that broke off gives what is whole of it.
fn render<S: Read + Seek>(
    archive: &mut Archive<S>,
    side: Side,
    keep_going: bool,
    runtime: &Runtime,
    bundle: &Bundle,
) -> Result<Vec<i16>, Stopped> {
    if !bundle.reads(archive.header().tokens.id) {
        return Err(Stopped::OtherModel(Box::new(archive.header().tokens.clone())));
    }
    // Damage where there is no end mark is where it broke off: a loss of power leaves anything there.
    let whole = !keep_going && archive.has_end_mark();
    if whole && let (State::Damaged { .. }, Some(error)) = (archive.state(), archive.damage()) {
        return Err(Stopped::File(error.clone()));
    }
    let wanted = match side {
        Side::Said => Some(STREAMS[0]),
        Side::Heard => Some(STREAMS[1]),
        Side::Both => None,
    };
    let streams = archive.header().streams.clone();
    let mut sound: Option<Vec<i16>> = None;
    for stream in streams.iter().filter(|stream| wanted.is_none_or(|wanted| wanted == stream.name)) {
        // What was heard had come out of a decoder; all else had not.
        let delayed = stream.name != STREAMS[1];
        let mut renderer = Renderer::new(runtime, bundle, archive.header().tokens.coding, delayed)?;
        let (frame_ms, mut frames, mut stopped) = (archive.frame_ms(), Vec::new(), None);
        let done = archive.blocks(0, Some(stream.number), |block| {
            frames.clear();
            let decoded = renderer.coder.decode_block(block, frame_ms, &mut frames);
            decoded.map_err(|error| ArchiveError::Codes { seconds: block.start_ms / 1000.0, error })?;
            stopped = renderer.block(block.start_ms, &frames).err();
            Ok(if stopped.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        match (done, stopped) {
            (_, Some(stopped)) => return Err(stopped),
            (Err(ArchiveError::File(_)), None) if !whole => {}
            (done, None) => done?,
        }
        sound = Some(match sound {
            Some(sound) => mix(sound, &renderer.sound),
            None => renderer.sound,
        });
    }
    Ok(sound.unwrap_or_default())
}

/// Makes a stream's sound, as [`Player`](crate::call::Player) did when it was heard.
struct Renderer {
    coder: Coder,
    decoder: Decoder,
    stretcher: Stretcher,
    noise: NoiseGenerator,
    /// The noise that was played last, if it was.
    silence: Option<ComfortNoise>,
    frame: Vec<f32>,
    background: Vec<f32>,
    rate: f64,
    /// Samples that the decoder is late, as far as the stream's clock does not have it in it.
    delay: f64,
    /// Samples at the start that lie before the clock's.
    early: usize,
    sound: Vec<i16>,
}

impl Renderer {
    fn new(runtime: &Runtime, bundle: &Bundle, coding: Coding, delayed: bool) -> Result<Self, ArchiveError> {
        let audio = &bundle.manifest().audio;
        Ok(Self {
            coder: parlo_archive::coder(bundle, coding)?,
            decoder: Decoder::new(runtime, bundle)?,
            stretcher: Stretcher::new(audio.sample_rate, audio.frame_samples),
            noise: NoiseGenerator::new(1),
            silence: None,
            frame: vec![0.0; audio.frame_samples],
            background: vec![0.0; audio.frame_samples],
            rate: f64::from(audio.sample_rate),
            delay: if delayed { audio.delay_samples as f64 } else { 0.0 },
            early: 0,
            sound: Vec::new(),
        })
    }

    /// Appends frames of which the first began at this time, milliseconds.
    fn block(&mut self, time_ms: f64, frames: &[Frame]) -> Result<(), Stopped> {
        let mut due = time_ms / 1000.0 * self.rate - self.delay;
        if self.sound.is_empty() && due < 0.0 && self.early == 0 {
            self.early = (-due).round() as usize;
        }
        if due - self.sound.len() as f64 > HOLE * self.rate || (self.sound.is_empty() && due > 0.0) {
            let start = due.round() as usize;
            if start > MOST_SAMPLES {
                return Err(Stopped::TooLong);
            }
            self.sound.resize(start, 0);
        }
        for frame in frames {
            if self.sound.len() + 2 * self.frame.len() > MOST_SAMPLES {
                return Err(Stopped::TooLong);
            }
            self.play(frame)?;
            let behind = due + self.early as f64 - self.sound.len() as f64;
            // What was heard faster or slower is so again.
            let pace = match behind / self.rate {
                behind if behind > OFF => Pace::Slower,
                behind if behind < -OFF => Pace::Faster,
                _ => Pace::Normal,
            };
            let (sound, early) = (&mut self.sound, &mut self.early);
            self.stretcher.push(&self.frame, pace, |part| {
                let left_out = (*early).min(part.len());
                *early -= left_out;
                // A cast of NaN gives 0, and the clamp keeps the rest in range.
                let sample = |sample: &f32| (sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16;
                sound.extend(part[left_out..].iter().map(sample));
            });
            due += self.frame.len() as f64;
        }
        Ok(())
    }

    /// Makes a frame's sound. Between speech and comfort noise one is faded into the other.
    fn play(&mut self, frame: &Frame) -> Result<(), ModelError> {
        if frame.mark == Mark::Waiting {
            self.frame.fill(0.0);
            return Ok(());
        }
        let before = self.silence;
        let now = match (frame.codes, frame.noise) {
            (None, Some(noise)) => Some(noise),
            // A gap in silence is silence: only speech is predicted.
            (None, None) => before,
            (Some(_), _) => None,
        };
        self.silence = now;
        if let Some(noise) = now.or(before) {
            self.noise.render(noise.level(), noise.reflection(), &mut self.background);
        }
        if before.is_some() && now.is_some() {
            self.frame.copy_from_slice(&self.background);
            return Ok(());
        }
        let slot = frame.codes.map_or(Slot::Missing, Slot::Frame);
        self.frame.copy_from_slice(self.decoder.play(&slot)?);
        if before.is_some() || now.is_some() {
            let step = 1.0 / self.frame.len() as f32;
            for (n, (sample, noise)) in self.frame.iter_mut().zip(&self.background).enumerate() {
                let share = (n + 1) as f32 * step;
                let share = if now.is_some() { share } else { 1.0 - share };
                *sample += share * (noise - *sample);
            }
        }
        Ok(())
    }
}

/// Both, one over the other, as loud as they are alone.
fn mix(mut one: Vec<i16>, other: &[i16]) -> Vec<i16> {
    if one.len() < other.len() {
        one.resize(other.len(), 0);
    }
    for (sample, &other) in one.iter_mut().zip(other) {
        if *sample != 0 && other != 0 {
            let sum = (f32::from(*sample) + f32::from(other)) / 32768.0;
            *sample = (32767.0 * bent(sum)).round() as i16;
        } else {
            *sample = sample.saturating_add(other);
        }
    }
    one
}

/// As it is up to the knee, then ever closer to full scale, without an edge.
fn bent(sum: f32) -> f32 {
    let (loud, room) = (sum.abs(), 1.0 - KNEE);
    if loud <= KNEE { sum } else { sum.signum() * (KNEE + room * ((loud - KNEE) / room).tanh()) }
}

/// A WAV file of 16 bits, mono.
fn file_of(sound: &[i16], rate: u32) -> Vec<u8> {
    let data = (2 * sound.len()) as u32;
    let mut file = Vec::with_capacity(WAV_HEADER + 2 * sound.len());
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(data + WAV_HEADER as u32 - 8).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    // PCM, mono.
    file.extend_from_slice(&[1, 0, 1, 0]);
    file.extend_from_slice(&rate.to_le_bytes());
    file.extend_from_slice(&rate.saturating_mul(2).to_le_bytes());
    file.extend_from_slice(&[2, 0, 16, 0]);
    file.extend_from_slice(b"data");
    file.extend_from_slice(&data.to_le_bytes());
    file.extend(sound.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loud_together_is_bent_and_nothing_else() {
        let mixed = mix(vec![100, 30_000, -30_000, 32_767, 0], &[200, 30_000, -30_000, 0, -32_768, 7]);
        assert_eq!((mixed[0], mixed[3], mixed[4], mixed[5]), (300, 32_767, -32_768, 7));
        assert!((29_000..32_768).contains(&i32::from(mixed[1])) && mixed[2] == -mixed[1]);
        let steps: Vec<f32> = (0..2000).map(|n| bent(n as f32 / 1000.0)).collect();
        assert!(steps.windows(2).all(|pair| (0.0..=0.0011).contains(&(pair[1] - pair[0]))));
        assert!(steps[1999] < 1.0);
    }

    #[test]
    fn the_file_can_be_read() {
        let file = file_of(&[1, -2, 3], 16_000);
        let mut reader = hound::WavReader::new(&file[..]).unwrap();
        assert_eq!((reader.spec().sample_rate, reader.spec().channels, reader.spec().bits_per_sample), (16_000, 1, 16));
        assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), [1, -2, 3]);
    }
}
