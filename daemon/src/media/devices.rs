//! Sources and sinks, opened, with what brings their sound to the engine's form and back.

use std::time::{Duration, Instant};

use parlo_dsp::{DspError, Intake, Outlet};

use super::{
    Settings, StreamFormat,
    stages::{Stages, Switches},
};
use crate::{
    audio::{self, Absence, AudioError, EndFigures, Format, ReadOutcome, Sink, Source, WriteOutcome, device::Backend},
    config::{AudioConfig, Endpoint},
};

/// Where devices come from: those of the machine, or what a test brings.
pub trait Devices: Send + Sync {
    /// Opens the source that is set. Silence has the rate `rate`.
    ///
    /// # Errors
    /// If there is none such, or it cannot be used.
    fn source(&self, settings: &Settings, rate: u32) -> Result<Box<dyn Source>, AudioError>;

    /// Opens the sink that is set. Files and nothing have the rate `rate`.
    ///
    /// # Errors
    /// If there is none such, or it cannot be used.
    fn sink(&self, settings: &Settings, rate: u32) -> Result<Box<dyn Sink>, AudioError>;

    /// Whether both are there, without opening a microphone.
    ///
    /// # Errors
    /// If one is not, as opening it would say.
    fn check(&self, settings: &Settings) -> Result<(), AudioError>;
}

/// Those of this machine.
#[derive(Debug)]
pub(super) struct System(pub(super) Absence);

impl Devices for System {
    fn source(&self, settings: &Settings, rate: u32) -> Result<Box<dyn Source>, AudioError> {
        audio::open_source(&config(settings), rate, self.0)
    }

    fn sink(&self, settings: &Settings, rate: u32) -> Result<Box<dyn Sink>, AudioError> {
        audio::open_sink(&config(settings), rate, self.0)
    }

    fn check(&self, settings: &Settings) -> Result<(), AudioError> {
        audio::check(&config(settings))
    }
}

fn config(settings: &Settings) -> AudioConfig {
    let backend = match settings.backend {
        Backend::Auto => "auto",
        Backend::Pulse => "pulse",
        Backend::Alsa => "alsa",
    };
    AudioConfig {
        source: settings.source.clone(),
        sink: settings.sink.clone(),
        backend: backend.to_owned(),
        ..AudioConfig::default()
    }
}

/// What an endpoint is called in messages.
pub(super) fn word(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Default => "default".to_owned(),
        Endpoint::None => "none".to_owned(),
        Endpoint::File(path) => path.display().to_string(),
        Endpoint::Device(name) => name.clone(),
    }
}

/// Why sound of this format cannot be used, as an error of the device.
pub(super) fn unusable(direction: &'static str, endpoint: &Endpoint, error: &DspError) -> AudioError {
    AudioError::Device { direction, name: word(endpoint), reason: error.to_string() }
}

/// Values in 20 ms of this format, at least one sample frame.
fn values(format: Format) -> usize {
    (format.rate as usize).div_ceil(50).max(1) * usize::from(format.channels.max(1))
}

/// What a block may lack without sound being waited for, seconds: nothing must wait for a piece of sound more than it needs.
const MARGIN: f64 = 0.001;

/// What came of a read.
pub(super) enum Read {
    Samples,
    Nothing,
    End,
    /// Another device took over; nothing was captured.
    Changed(String),
}

/// A source, and what brings its sound to the engine's blocks of 10 ms.
pub(super) struct Input {
    source: Box<dyn Source>,
    format: Format,
    intake: Intake,
    internal: StreamFormat,
    block: usize,
    buffer: Vec<f32>,
    samples: usize,
    /// What a microphone's sound passes; files, and rates that they do not work at, have none.
    pub(super) stages: Option<Stages>,
    pub(super) is_device: bool,
    /// Seconds of sound read, as long as they are to the engine; and given to it.
    heard: f64,
    given: f64,
    /// When the last sample that was read was captured.
    at: Instant,
}

impl Input {
    pub(super) fn new(source: Box<dyn Source>, internal: StreamFormat, switches: Switches) -> Result<Self, DspError> {
        let block = (internal.sample_rate as usize / 100).max(1);
        let (format, is_device) = (source.format(), source.is_device());
        let stages = if is_device { Stages::new(internal.sample_rate, switches).ok() } else { None };
        Ok(Self {
            intake: intake(format, internal, block, is_device)?,
            buffer: vec![0.0; values(format)],
            samples: 0,
            source,
            format,
            internal,
            block,
            stages,
            is_device,
            heard: 0.0,
            given: 0.0,
            at: Instant::now(),
        })
    }

    pub(super) fn name(&self) -> Option<String> {
        self.source.name()
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.source.trouble()
    }

    /// From now on it is listened.
    pub(super) fn begin(&mut self) {
        self.source.begin();
    }

    pub(super) fn figures(&self) -> EndFigures {
        self.source.figures()
    }

    /// By how much the conversion delays sound.
    pub(super) fn delay(&self) -> Duration {
        self.intake.delay()
    }

    /// Waits for sound, as long as the next block lacks it.
    pub(super) fn read(&mut self) -> Result<Read, AudioError> {
        let lacks = self.intake.lacks() as f64 / f64::from(self.internal.sample_rate) - MARGIN;
        self.source.want((lacks * f64::from(self.format.rate)) as usize);
        Ok(match self.source.read(&mut self.buffer)? {
            ReadOutcome::Nothing => Read::Nothing,
            ReadOutcome::End => {
                self.at = Instant::now();
                Read::End
            }
            ReadOutcome::Samples { samples, at } => {
                self.samples = samples.min(self.buffer.len());
                self.at = at;
                Read::Samples
            }
            ReadOutcome::Changed { format, notice } => {
                // The only place that allocates: a device has gone.
                self.intake = intake(format, self.internal, self.block, self.is_device)
                    .map_err(|error| unusable("input", &Endpoint::Default, &error))?;
                self.buffer = vec![0.0; values(format)];
                (self.format, self.heard, self.given) = (format, 0.0, 0.0);
                Read::Changed(notice)
            }
        })
    }

    /// Gives what was read to `each` in blocks, with when the last sample of the block was captured.
    pub(super) fn blocks(&mut self, mut each: impl FnMut(&[f32], Instant, &mut Option<Stages>)) {
        let ppm = self.source.steer_ppm();
        self.intake.set_ratio_ppm(ppm);
        let frames = self.samples / usize::from(self.format.channels.max(1));
        self.heard += frames as f64 / f64::from(self.format.rate.max(1)) * (1.0 + ppm * 1e-6);
        let Self { intake, buffer, samples, stages, heard, given, at, internal, .. } = self;
        intake.push(&buffer[..*samples], |block| {
            *given += block.len() as f64 / f64::from(internal.sample_rate);
            let ago = Duration::from_secs_f64((*heard - *given).clamp(0.0, 60.0));
            each(block, at.checked_sub(ago).unwrap_or(*at), stages);
        });
        *samples = 0;
    }

    /// Gives what is left.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[f32], Instant, &mut Option<Stages>)) {
        let Self { intake, stages, at, .. } = self;
        intake.finish(|block| each(block, *at, stages));
    }
}

fn intake(format: Format, internal: StreamFormat, block: usize, is_device: bool) -> Result<Intake, DspError> {
    let new = if is_device { Intake::steerable } else { Intake::new };
    new(format.rate, format.channels, internal.sample_rate, block)
}

/// What came of a write.
pub(super) enum Written {
    Fine,
    Failed(AudioError),
    /// Another device took over; the block, or some of it, was lost.
    Changed(String),
}

/// A sink, and what brings the engine's blocks to its format.
pub(super) struct Output {
    sink: Box<dyn Sink>,
    format: Format,
    outlet: Outlet,
    internal: StreamFormat,
    block: usize,
    pub(super) endpoint: Endpoint,
    /// Seconds of sound given before the block at hand, and with it, as long as they are to the sink.
    begins: f64,
    ends: f64,
    /// Sample frames that the sink has taken.
    written: u64,
    /// When the sample at this time of the sound that was written is heard.
    anchor: Option<(Instant, f64)>,
}

impl Output {
    pub(super) fn new(sink: Box<dyn Sink>, internal: StreamFormat, endpoint: Endpoint) -> Result<Self, DspError> {
        let block = (internal.sample_rate as usize / 100).max(1);
        let format = sink.format();
        Ok(Self {
            outlet: outlet(internal, sink.as_ref(), block)?,
            sink,
            format,
            internal,
            block,
            endpoint,
            begins: 0.0,
            ends: 0.0,
            written: 0,
            anchor: None,
        })
    }

    pub(super) fn name(&self) -> Option<String> {
        self.sink.name()
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.sink.trouble()
    }

    pub(super) fn figures(&self) -> EndFigures {
        self.sink.figures()
    }

    /// Times that it ran dry.
    pub(super) fn underruns(&self) -> u64 {
        self.sink.underruns().max(self.sink.figures().xruns)
    }

    /// By how much the conversion delays sound.
    pub(super) fn delay(&self) -> Duration {
        self.outlet.delay()
    }

    /// Gives it a block; waits until there is room.
    pub(super) fn write(&mut self, block: &[f32]) -> Written {
        let ppm = self.sink.steer_ppm();
        self.outlet.set_ratio_ppm(ppm);
        self.begins = self.ends;
        self.ends += block.len() as f64 / f64::from(self.internal.sample_rate) * (1.0 + ppm * 1e-6);
        let Self { sink, outlet, format, written, anchor, .. } = self;
        let mut outcome = Written::Fine;
        outlet.push(block, |samples| {
            if matches!(outcome, Written::Fine) {
                outcome = give(sink.as_mut(), samples, *format, written, anchor);
            }
        });
        let Written::Changed(_) = &outcome else { return outcome };
        // The only place that allocates: a device has gone.
        self.format = self.sink.format();
        (self.begins, self.ends, self.written, self.anchor) = (0.0, 0.0, 0, None);
        match self::outlet(self.internal, self.sink.as_ref(), self.block) {
            Ok(outlet) => self.outlet = outlet,
            Err(error) => return Written::Failed(unusable("output", &self.endpoint, &error)),
        }
        outcome
    }

    /// When the sample so many samples of the engine after the start of the block that was written last is heard; none if there is
    /// no device now.
    pub(super) fn heard_at(&self, offset: f64) -> Option<Instant> {
        let (at, position) = self.anchor?;
        let ahead = self.begins + offset / f64::from(self.internal.sample_rate) - position;
        let shift = Duration::from_secs_f64(ahead.abs().min(60.0));
        if ahead >= 0.0 { Some(at + shift) } else { at.checked_sub(shift) }
    }

    /// Gives what the conversion still holds.
    pub(super) fn flush(&mut self) -> Written {
        let Self { sink, outlet, format, written, anchor, .. } = self;
        let mut outcome = Written::Fine;
        outlet.finish(|samples| {
            if matches!(outcome, Written::Fine) {
                outcome = give(sink.as_mut(), samples, *format, written, anchor);
            }
        });
        outcome
    }

    /// Plays or writes out what is left, and closes it.
    pub(super) fn close(self) -> Result<(), AudioError> {
        self.sink.finish()
    }
}

fn give(
    sink: &mut dyn Sink,
    samples: &[f32],
    format: Format,
    written: &mut u64,
    anchor: &mut Option<(Instant, f64)>,
) -> Written {
    match sink.write(samples) {
        Err(error) => return Written::Failed(error),
        Ok(WriteOutcome::Changed { notice, .. }) => return Written::Changed(notice),
        Ok(WriteOutcome::Away) => *anchor = None,
        Ok(WriteOutcome::At(at)) => *anchor = Some((at, *written as f64 / f64::from(format.rate.max(1)))),
    }
    *written += samples.len() as u64 / u64::from(format.channels.max(1));
    Written::Fine
}

fn outlet(internal: StreamFormat, sink: &dyn Sink, block: usize) -> Result<Outlet, DspError> {
    let new = if sink.is_device() { Outlet::steerable } else { Outlet::new };
    let format = sink.format();
    new(internal.sample_rate, format.rate, format.channels, block)
}

/// The same error for another call: each has its own.
pub(super) fn again(error: &AudioError) -> AudioError {
    use AudioError as E;
    let io = |error: &std::io::Error| match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::new(error.kind(), error.to_string()),
    };
    match error {
        E::Unreadable { name, error } => E::Unreadable { name: name.clone(), error: io(error) },
        E::Empty(name) => E::Empty(name.clone()),
        E::NotAudio { name, reason } => E::NotAudio { name: name.clone(), reason: reason.clone() },
        E::NoSamples(name) => E::NoSamples(name.clone()),
        E::Unusable { name, reason } => E::Unusable { name: name.clone(), reason: reason.clone() },
        E::Output(error) => E::Output(error.clone()),
        E::NoDevice { direction, reason } => E::NoDevice { direction, reason: reason.clone() },
        E::UnknownDevice { direction, name, near, all } => {
            E::UnknownDevice { direction, name: name.clone(), near: near.clone(), all: all.clone() }
        }
        E::Device { direction, name, reason } => E::Device { direction, name: name.clone(), reason: reason.clone() },
        E::Unwritable { name, error } => E::Unwritable { name: name.clone(), error: io(error) },
        E::TooLong(path) => E::TooLong(path.clone()),
        // Another crate may have more kinds one day.
        error => E::Unusable { name: "sound".to_owned(), reason: error.to_string() },
    }
}
