//! Files, and nothing, as sources and sinks that keep time as a sound card does.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parlo_audio_io::{AudioWriter, Channel, MonoReader, output};

use super::{AudioError, AudioReader, Format, ReadOutcome, Sink, Source, WriteOutcome};
use crate::clock::Clock;

/// Samples become available in steps of so much time, as a sound card's periods.
const PERIOD: Duration = Duration::from_millis(10);

/// Sound that a sink holds before it is heard, as a sound card's buffer.
const BUFFER: Duration = Duration::from_millis(20);

/// The time of a sample frame, by the rate, from a fixed start: pauses do not add up.
#[derive(Debug, Clone, Copy)]
struct FileClock {
    start: Instant,
    rate: u32,
}

impl FileClock {
    fn at(&self, frame: u64) -> Instant {
        let whole = frame / u64::from(self.rate);
        let rest = frame % u64::from(self.rate) * 1_000_000_000 / u64::from(self.rate);
        self.start + Duration::from_secs(whole) + Duration::from_nanos(rest)
    }

    fn frames_until(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start);
        passed.as_secs() * u64::from(self.rate)
            + u64::from(passed.subsec_nanos()) * u64::from(self.rate) / 1_000_000_000
    }
}

/// A sound file that speaks at the pace of a microphone, its channels as one.
pub struct FileSource {
    reader: MonoReader,
    /// What was read, of which so much was given.
    waiting: Vec<f32>,
    taken: usize,
    clock: Arc<dyn Clock>,
    pace: Option<FileClock>,
    given: u64,
}

impl FileSource {
    /// Opens the file. It begins to speak with the first read.
    ///
    /// # Errors
    /// If it cannot be read, or is no sound file.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, AudioError> {
        let reader = MonoReader::new(AudioReader::open(path)?, Channel::Auto)?;
        Ok(Self { reader, waiting: Vec::new(), taken: 0, clock, pace: None, given: 0 })
    }
}

impl Source for FileSource {
    fn format(&self) -> Format {
        Format { rate: self.reader.rate(), channels: 1 }
    }

    fn read(&mut self, buffer: &mut [f32]) -> Result<ReadOutcome, AudioError> {
        let format = self.format();
        let pace = *self.pace.get_or_insert(FileClock { start: self.clock.now(), rate: format.rate.max(1) });
        let period = (PERIOD.as_secs_f64() * f64::from(format.rate)).ceil().max(1.0) as usize;
        if self.taken == self.waiting.len() {
            self.taken = 0;
            self.waiting.clear();
            while self.waiting.is_empty() {
                if !self.reader.read(&mut self.waiting)? && self.waiting.is_empty() {
                    return Ok(ReadOutcome::End);
                }
            }
        }
        let samples = buffer.len().min(period).min(self.waiting.len() - self.taken);
        buffer[..samples].copy_from_slice(&self.waiting[self.taken..self.taken + samples]);
        self.taken += samples;
        self.given += samples as u64;
        // A sample is there when it is over.
        let at = pace.at(self.given);
        self.clock.sleep_until(at);
        Ok(ReadOutcome::Samples { samples, at })
    }
}

/// Silence at the pace of a microphone.
pub struct SilentSource {
    format: Format,
    clock: Arc<dyn Clock>,
    pace: FileClock,
    given: u64,
}

impl SilentSource {
    /// Silence from now on.
    pub fn new(rate: u32, clock: Arc<dyn Clock>) -> Self {
        let pace = FileClock { start: clock.now(), rate: rate.max(1) };
        Self { format: Format { rate: rate.max(1), channels: 1 }, clock, pace, given: 0 }
    }
}

impl Source for SilentSource {
    fn format(&self) -> Format {
        self.format
    }

    fn read(&mut self, buffer: &mut [f32]) -> Result<ReadOutcome, AudioError> {
        let period = (PERIOD.as_secs_f64() * f64::from(self.format.rate)).ceil().max(1.0) as usize;
        let samples = buffer.len().min(period);
        buffer[..samples].fill(0.0);
        self.given += samples as u64;
        let at = self.pace.at(self.given);
        self.clock.sleep_until(at);
        Ok(ReadOutcome::Samples { samples, at })
    }
}

/// Keeps a sink's time: when a block is heard, and how long its writer must wait for room.
struct Playing {
    clock: Arc<dyn Clock>,
    pace: Option<FileClock>,
    /// Sample frames taken, silence put in between included.
    taken: u64,
    underruns: u64,
}

impl Playing {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, pace: None, taken: 0, underruns: 0 }
    }

    /// Waits until `frames` more have room. How much silence was heard because they come too late, and when they are heard.
    fn wait(&mut self, frames: u64, rate: u32) -> (u64, Instant) {
        let now = self.clock.now();
        // What is written first is heard when the buffer before it is.
        let pace = *self.pace.get_or_insert(FileClock { start: now + BUFFER, rate: rate.max(1) });
        let heard = pace.frames_until(now);
        let silence = heard.saturating_sub(self.taken);
        if silence > 0 {
            self.underruns += 1;
            self.taken = heard;
        }
        let at = pace.at(self.taken);
        self.taken += frames;
        // There is room once no more than the buffer is ahead.
        self.clock.sleep_until(pace.at(self.taken).checked_sub(BUFFER).unwrap_or(now));
        (silence, at)
    }
}

/// A sound file that is written at the pace of a loudspeaker: its time is the clock's. Where its writer was late there is
/// silence, as there would be from a loudspeaker.
pub struct FileSink {
    writer: AudioWriter,
    playing: Playing,
    silence: Vec<f32>,
}

impl FileSink {
    /// Begins the file, of one channel at `rate` Hz: WAV, FLAC or Opus, as its name says.
    ///
    /// # Errors
    /// If it cannot be written, or there is something else than such sound.
    pub fn create(path: &Path, rate: u32, clock: Arc<dyn Clock>) -> Result<Self, AudioError> {
        output::check(path, output::Kind::of_sound(path)?, &[], output::Replace::OwnKind)?;
        let writer = AudioWriter::create(path, Format { rate, channels: 1 })?;
        Ok(Self { writer, playing: Playing::new(clock), silence: vec![0.0; 4096] })
    }
}

impl Sink for FileSink {
    fn format(&self) -> Format {
        self.writer.format()
    }

    fn write(&mut self, samples: &[f32]) -> Result<WriteOutcome, AudioError> {
        let (mut silence, at) = self.playing.wait(samples.len() as u64, self.writer.format().rate);
        while silence > 0 {
            let now = usize::try_from(silence).unwrap_or(usize::MAX).min(self.silence.len());
            self.writer.write(&self.silence[..now])?;
            silence -= now as u64;
        }
        self.writer.write(samples)?;
        Ok(WriteOutcome::At(at))
    }

    fn underruns(&self) -> u64 {
        self.playing.underruns
    }

    fn finish(self: Box<Self>) -> Result<(), AudioError> {
        self.writer.finish()
    }
}

/// A loudspeaker that nobody hears.
pub struct SilentSink {
    format: Format,
    playing: Playing,
}

impl SilentSink {
    /// A sink for one channel at `rate` Hz.
    pub fn new(rate: u32, clock: Arc<dyn Clock>) -> Self {
        Self { format: Format { rate, channels: 1 }, playing: Playing::new(clock) }
    }
}

impl Sink for SilentSink {
    fn format(&self) -> Format {
        self.format
    }

    fn write(&mut self, samples: &[f32]) -> Result<WriteOutcome, AudioError> {
        Ok(WriteOutcome::At(self.playing.wait(samples.len() as u64, self.format.rate).1))
    }

    fn underruns(&self) -> u64 {
        self.playing.underruns
    }

    fn finish(self: Box<Self>) -> Result<(), AudioError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn an_hour_of_silence_ends_when_an_hour_has_passed() {
        let start = Instant::now();
        let clock = Arc::new(ManualClock::new(start));
        let mut source = SilentSource::new(44_100, clock.clone());
        let mut buffer = [1.0; 1000];
        let (mut frames, mut last) = (0, start);
        while frames < 3600 * 44_100 {
            let Ok(ReadOutcome::Samples { samples, at }) = source.read(&mut buffer) else { panic!("it never ends") };
            assert_eq!((samples, at), (441, clock.now()));
            (frames, last) = (frames + samples, at);
        }
        assert_eq!(last - start, Duration::from_secs(3600));
    }

    #[test]
    fn a_sink_that_is_fed_late_has_silence_where_time_went_by() {
        let clock = Arc::new(ManualClock::new(Instant::now()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.wav");
        let mut sink = Box::new(FileSink::create(&path, 8000, clock.clone()).unwrap());
        let start = clock.now();
        for _ in 0..10 {
            sink.write(&[0.5; 160]).unwrap();
        }
        // Ten blocks of 20 ms, of which one is still to be heard.
        assert_eq!(clock.now() - start, Duration::from_millis(200));
        assert_eq!(sink.underruns(), 0);
        clock.advance(Duration::from_millis(120));
        let WriteOutcome::At(at) = sink.write(&[0.25; 160]).unwrap() else { panic!("files do not go away") };
        assert_eq!((sink.underruns(), at - start), (1, Duration::from_millis(320)));
        assert!(!path.exists(), "no half file under the final name");
        sink.finish().unwrap();
        let samples: Vec<i16> = hound::WavReader::open(&path).unwrap().samples().map(Result::unwrap).collect();
        assert_eq!(samples.len(), 1600 + 800 + 160);
        assert!(samples[..1600].iter().all(|&s| s == 16384) && samples[1600..2400].iter().all(|&s| s == 0));
        assert!(samples[2400..].iter().all(|&s| s == 8192));
    }
}
