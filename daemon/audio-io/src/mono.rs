use crate::{AudioError, AudioReader, Channel, Faults, Format};
use parlo_dsp::{Downmix, DspError, Intake};

/// Sample frames read at a time.
const FRAMES: usize = 4096;

/// One channel, at one rate, of a sound file: what the codec and everything else here wants.
///
/// Files whose rate or channels change on their way are brought to the rate that they began with.
#[derive(Debug)]
pub struct MonoReader {
    reader: AudioReader,
    channel: Channel,
    rate: u32,
    format: Format,
    downmix: Downmix,
    /// Brings what has another rate to the first one.
    intake: Option<Intake>,
    buffer: Vec<f32>,
    mixed: Vec<f32>,
    repaired: u64,
    ended: bool,
}

impl MonoReader {
    /// Of a file that is open.
    ///
    /// # Errors
    /// If it lacks the channel, or has more than 64 channels, or a rate beyond 4 to 384 kHz.
    pub fn new(reader: AudioReader, channel: Channel) -> Result<Self, AudioError> {
        let format = reader.format();
        let (downmix, _) = parts(&reader, channel, format.rate)?;
        // That the rate is possible shows now rather than when it is resampled.
        Intake::new(format.rate, 1, 48_000, 1).map_err(|error| unusable(&reader, &error))?;
        Ok(Self {
            buffer: vec![0.0; FRAMES * usize::from(format.channels)],
            reader,
            channel,
            rate: format.rate,
            format,
            downmix,
            intake: None,
            mixed: Vec::new(),
            repaired: 0,
            ended: false,
        })
    }

    /// Rate, Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The file.
    pub fn name(&self) -> &str {
        self.reader.name()
    }

    /// Length in samples, where the file says so.
    pub fn total_frames(&self) -> Option<u64> {
        self.reader.total_frames()
    }

    /// What was found damaged or missing so far.
    pub fn faults(&self) -> &Faults {
        self.reader.faults()
    }

    /// Samples so far that were no finite numbers and became silence.
    pub fn repaired(&self) -> u64 {
        self.repaired + self.downmix.repaired()
    }

    /// Appends some samples to `out`; false at the end.
    ///
    /// # Errors
    /// If the file cannot be read, or goes on with a rate or channels that are not possible.
    pub fn read(&mut self, out: &mut Vec<f32>) -> Result<bool, AudioError> {
        let before = out.len();
        while !self.ended && out.len() == before {
            let count = self.reader.read(&mut self.buffer)?;
            if count == 0 {
                self.ended = true;
                self.end_part(out);
                break;
            }
            if self.reader.format() != self.format {
                self.end_part(out);
                self.format = self.reader.format();
                self.repaired += self.downmix.repaired();
                (self.downmix, self.intake) = parts(&self.reader, self.channel, self.rate)?;
                let size = FRAMES * usize::from(self.format.channels);
                if self.buffer.len() < size {
                    self.buffer.resize(size, 0.0);
                }
            }
            self.mixed.clear();
            self.downmix.push(&self.buffer[..count], &mut self.mixed);
            match &mut self.intake {
                None => out.extend_from_slice(&self.mixed),
                Some(intake) => intake.push(&self.mixed, |sample| out.extend_from_slice(sample)),
            }
        }
        Ok(out.len() > before || !self.ended)
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(&mut self) -> Result<Vec<f32>, AudioError> {
        let mut all = Vec::new();
        while self.read(&mut all)? {}
        Ok(all)
    }

    fn end_part(&mut self, out: &mut Vec<f32>) {
        self.mixed.clear();
        self.downmix.finish(&mut self.mixed);
        match &mut self.intake {
            None => out.extend_from_slice(&self.mixed),
            Some(intake) => {
                intake.push(&self.mixed, |sample| out.extend_from_slice(sample));
                intake.finish(|sample| out.extend_from_slice(sample));
            }
        }
    }
}

fn parts(reader: &AudioReader, channel: Channel, rate: u32) -> Result<(Downmix, Option<Intake>), AudioError> {
    let format = reader.format();
    let downmix = Downmix::new(format.rate, format.channels, channel).map_err(|error| unusable(reader, &error))?;
    let intake = (format.rate != rate).then(|| Intake::new(format.rate, 1, rate, 1)).transpose();
    Ok((downmix, intake.map_err(|error| unusable(reader, &error))?))
}

fn unusable(reader: &AudioReader, error: &DspError) -> AudioError {
    AudioError::Unusable { name: reader.name().to_owned(), reason: error.to_string() }
}
