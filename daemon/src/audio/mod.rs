//! Where sound comes from and goes to. Sound cards, files and silence stand behind the same two traits, so a codec
//! thread cannot tell a microphone from a recording.

pub mod device;
mod file;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use file::{FileSink, FileSource, SilentSink, SilentSource};
pub use parlo_audio_io::{AtomicFile, AudioError, AudioReader, Format, WavWriter};

use parlo_audio_io::output;

use crate::{
    clock::SystemClock,
    config::{AudioConfig, Endpoint},
};

/// What a call to [`Source::read`] brought.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadOutcome {
    /// `samples` values (a multiple of the channel count, at least one frame) were written to the front of the buffer.
    Samples {
        /// Values written.
        samples: usize,
        /// When the *last* of them was captured, as near as the source can tell.
        at: Instant,
    },
    /// Nothing came within [`READ_TIMEOUT`]; ask again. Lets the caller look whether it should stop.
    Nothing,
    /// The device went away and another took over: later samples have this format. Rebuild what depends on it.
    Changed {
        /// Layout of everything that follows.
        format: Format,
        /// One sentence for the user: what went away, what is used now.
        notice: String,
    },
    /// The source is at its end. It stays there.
    End,
}

/// What a call to [`Sink::write`] did.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteOutcome {
    /// Everything was taken; the first sample will be heard at `at`, as near as the sink can tell.
    At(Instant),
    /// The device went away and another took over. The samples given were dropped: they had the old format.
    Changed {
        /// Layout that later writes must have.
        format: Format,
        /// One sentence for the user: what went away, what is used now.
        notice: String,
    },
    /// There is no device now; the samples were dropped after waiting as long as they last. Keep writing: when a
    /// device comes back, [`Changed`](Self::Changed) says so.
    Away,
}

/// How long [`Source::read`] waits at most for something to happen.
pub const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// What one end of the sound has counted and measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EndFigures {
    /// Times that sound was lost because nobody took it, or that there was none to play, since it was opened.
    pub xruns: u64,
    /// Times that the owner's thread came too late: captured sound waited for 10 ms to be taken or found no room, or there was none
    /// to play because the block that was due had not been given.
    pub owner_late: u64,
    /// Times that the sound system came too late: nothing was brought for 10 ms longer than it should, or more was wanted at once
    /// than there could be, while all that was due had been given.
    pub system_late: u64,
    /// Sound that waits between the device's callbacks and the owner, on average: what the ring is held at.
    pub ring: Duration,
    /// How much faster the device's clock runs than the machine's, as learned so far, in parts per million.
    pub drift_ppm: f64,
    /// From the microphone to the owner, or from the owner to the loudspeaker, as near as the sound system tells.
    pub latency: Duration,
}

/// Somewhere sound comes from. Owned by one codec thread.
pub trait Source: Send {
    /// Layout of what the next [`read`](Self::read) brings.
    fn format(&self) -> Format;

    /// Says that from now on it is listened: sound that was captured before (a microphone is opened before its call stands)
    /// is forgotten.
    fn begin(&mut self) {}

    /// Waits until there is something, then fills as much of `buffer` as is there without waiting further.
    ///
    /// Does not allocate, except when a device changes.
    ///
    /// # Errors
    /// When the source cannot go on: a file that breaks off or is no audio, no device left that could take over.
    fn read(&mut self, buffer: &mut [f32]) -> Result<ReadOutcome, AudioError>;

    /// Says that the owner has no use for less than so many sample frames: the next [`read`](Self::read) may wait for them. One that
    /// does not know better brings what there is.
    fn want(&mut self, _frames: usize) {}

    /// What to give to [`Intake::set_ratio_ppm`](parlo_dsp::Intake::set_ratio_ppm) before the next block, so that sound keeps the house's time (the machine's
    /// monotonic clock), in parts per million; 0 for what is paced by that clock anyway (files).
    fn steer_ppm(&self) -> f64 {
        0.0
    }

    /// Whether it has a clock of its own, so that its owner must follow it by a steerable intake.
    fn is_device(&self) -> bool {
        false
    }

    /// What it is called, if it is a device that is there now.
    fn name(&self) -> Option<String> {
        None
    }

    /// What the user should know of it before it is used: one sentence, if it is not what was asked for.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// What it has counted and measured.
    fn figures(&self) -> EndFigures {
        EndFigures::default()
    }
}

/// Somewhere sound goes. Owned by one codec thread, which it paces by the machine's clock.
pub trait Sink: Send {
    /// Layout that [`write`](Self::write) takes.
    fn format(&self) -> Format;

    /// Waits until there is room, then takes all of `samples` (whole frames).
    ///
    /// Does not allocate, except when a device changes.
    ///
    /// # Errors
    /// When the sink cannot go on, such as a full disk.
    fn write(&mut self, samples: &[f32]) -> Result<WriteOutcome, AudioError>;

    /// Times that the sink ran dry since it was opened.
    fn underruns(&self) -> u64 {
        0
    }

    /// What to give to [`Outlet::set_ratio_ppm`](parlo_dsp::Outlet::set_ratio_ppm) before the next block, so that sound keeps the house's time (the machine's
    /// monotonic clock), in parts per million; 0 for what is paced by that clock anyway (files).
    fn steer_ppm(&self) -> f64 {
        0.0
    }

    /// Whether it has a clock of its own, so that its owner must follow it by a steerable outlet.
    fn is_device(&self) -> bool {
        false
    }

    /// What it is called, if it is a device that is there now.
    fn name(&self) -> Option<String> {
        None
    }

    /// What the user should know of it before it is used: one sentence, if it is not what was asked for.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// What it has counted and measured.
    fn figures(&self) -> EndFigures {
        EndFigures::default()
    }

    /// Plays or writes out what is left; a file appears under its name only now.
    ///
    /// # Errors
    /// When the rest cannot be written.
    fn finish(self: Box<Self>) -> Result<(), AudioError>;
}

/// What is done where the device that is asked for is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It is an error.
    Refused,
    /// Another one takes its place, or silence, until there is one.
    Awaited,
}

/// Opens the source that the configuration names. Silence has the rate `rate`.
///
/// # Errors
/// If there is none such, or it cannot be used; of a device whose [`Absence`] is awaited, never.
pub fn open_source(config: &AudioConfig, rate: u32, absence: Absence) -> Result<Box<dyn Source>, AudioError> {
    let clock = Arc::new(SystemClock);
    let (backend, source) = (config.backend(), &config.source);
    Ok(match (source, absence) {
        (Endpoint::None, _) => Box::new(SilentSource::new(rate, clock)),
        (Endpoint::File(path), _) => Box::new(FileSource::open(path, clock)?),
        (device, Absence::Refused) => Box::new(device::DeviceSource::open(backend, &choice(device))?),
        (device, Absence::Awaited) => Box::new(device::DeviceSource::open_or_wait(backend, &choice(device), rate)),
    })
}

/// Opens the sink that the configuration names. Files and nothing have the rate `rate`.
///
/// # Errors
/// If there is none such, or it cannot be used; of a device whose [`Absence`] is awaited, never.
pub fn open_sink(config: &AudioConfig, rate: u32, absence: Absence) -> Result<Box<dyn Sink>, AudioError> {
    let clock = Arc::new(SystemClock);
    let (backend, sink) = (config.backend(), &config.sink);
    Ok(match (sink, absence) {
        (Endpoint::None, _) => Box::new(SilentSink::new(rate, clock)),
        (Endpoint::File(path), _) => Box::new(FileSink::create(path, rate, clock)?),
        (device, Absence::Refused) => Box::new(device::DeviceSink::open(backend, &choice(device))?),
        (device, Absence::Awaited) => Box::new(device::DeviceSink::open_or_wait(backend, &choice(device), rate)),
    })
}

/// Whether the source and the sink that the configuration names are there, without opening a microphone before a call.
///
/// # Errors
/// If one is not, as opening it would say.
pub fn check(config: &AudioConfig) -> Result<(), AudioError> {
    match &config.source {
        Endpoint::None => {}
        Endpoint::File(path) => drop(AudioReader::open(path)?),
        device => device::check(config.backend(), &choice(device), device::Direction::Input)?,
    }
    match &config.sink {
        Endpoint::None => {}
        Endpoint::File(path) => {
            let source = match &config.source {
                Endpoint::File(source) => Some(source.as_path()),
                _ => None,
            };
            // A call is not recorded over the file that is played into it, nor over what is no sound.
            output::check(path, output::Kind::of_sound(path)?, source.as_slice(), output::Replace::OwnKind)?;
            let error = |error| AudioError::Unwritable { name: path.display().to_string(), error };
            drop(AtomicFile::create(path).map_err(error)?);
        }
        device => device::check(config.backend(), &choice(device), device::Direction::Output)?,
    }
    Ok(())
}

fn choice(endpoint: &Endpoint) -> device::DeviceChoice {
    match endpoint {
        Endpoint::Device(name) => device::DeviceChoice::Named(name.clone()),
        _ => device::DeviceChoice::Default,
    }
}
