//! A conversation in turns, made of one reader's clip: what each of two microphones hears of it.

use std::path::{Path, PathBuf};

use parlo_dsp::Resampler;
use parlod::audio::{AudioReader, Format, WavWriter};

/// Seconds from the end of each turn to the start of the next, over and over: about 0.2 s in most cases, as people of ten languages leave
/// between them (T. Stivers et al., PNAS 106(26), 2009), now and then a thoughtful pause, and now and then one who begins early.
const GAPS: [f64; 8] = [0.2, 0.5, -0.2, 0.8, 0.3, -0.1, 1.0, 0.4];

/// The second voice is the first, a sixth slower and lower.
const SLOWER: u32 = 6;

/// Writes both sides of eight turns, a clip each, into the folder: two WAV files of one length, 16 bit, mono, at the clip's rate.
///
/// # Errors
/// If the clip cannot be read, or the files not be written.
pub(crate) fn write(clip: &Path, folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let (first, rate) = read(clip)?;
    let mut slow = Resampler::new(rate, rate + rate / SLOWER)?;
    let mut second = Vec::new();
    slow.push(&first, |samples| second.extend_from_slice(samples));
    slow.finish(|samples| second.extend_from_slice(samples));

    let voices = [first, second];
    let mut sides = [Vec::new(), Vec::new()];
    let mut at = 0_usize;
    for (turn, gap) in GAPS.iter().enumerate() {
        let (voice, side) = (&voices[turn % 2], &mut sides[turn % 2]);
        // Nobody has spoken here since the own last turn.
        side.resize(at, 0.0);
        side.extend_from_slice(voice);
        at = (at + voice.len()).saturating_add_signed((gap * f64::from(rate)) as isize);
    }
    let mut files = [folder.join("first.wav"), folder.join("second.wav")];
    for (side, file) in sides.iter_mut().zip(&mut files) {
        side.resize(at, 0.0);
        let mut writer = WavWriter::create(file, Format { rate, channels: 1 })?;
        writer.write(side)?;
        writer.finish()?;
    }
    Ok(files)
}

/// A clip's samples, of its first channel, and their rate.
fn read(clip: &Path) -> anyhow::Result<(Vec<f32>, u32)> {
    let mut reader = AudioReader::open(clip)?;
    let format = reader.format();
    let channels = usize::from(format.channels.max(1));
    let (mut samples, mut buffer) = (Vec::new(), vec![0.0; 4096 * channels]);
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok((samples, format.rate));
        }
        samples.extend(buffer[..count].iter().step_by(channels));
    }
}
