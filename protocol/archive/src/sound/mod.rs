//! From a token file to sound, as it was heard, a piece at a time.
//!
//! A file's clock is cut into segments of half a minute. Each is rendered alone, from a second before it, and faded into the next, so that a
//! sample is the same whether the file is played from its start or from anywhere else, and no more than one segment is ever held, however
//! long the file is or says it is.

mod stream;
mod wav;

use std::{
    io::{Read, Seek},
    ops::ControlFlow,
};

use parlo_model::{Bundle, Decoder, Runtime};
use parlo_protocol::ptk::FileError;

pub use wav::{WAV_HEADER_BYTES, Wav};

use crate::{coder::Coder, error::ArchiveError, reader::Archive};
use stream::Renderer;

/// How long a segment is, seconds.
const SEGMENT_S: u64 = 30;

/// How much before a segment is rendered with it, so that the decoder has heard what came before, milliseconds.
const WARM_MS: u64 = 1_000;

/// How long a segment goes on after its end, milliseconds. Somewhere in that time, where both are quietest, it is faded into the next: a decoder
/// that begins anew makes the same sound, but not the same waveform, and in most half seconds of speech there is a pause or a stop.
const OVERLAP_MS: u64 = 600;

/// How long the fade takes, milliseconds.
const FADE_MS: u64 = 10;

/// The longest time in which a file that is played has nothing, milliseconds: 4 hours. A call may be held for long; beyond that it is a
/// damaged clock, or a file that wants to fill the disk.
const MAX_HOLE_MS: u32 = 4 * 3_600_000;

/// The most samples that are rendered of a file: as many as a WAV file of 16 bits holds, whose lengths are of 32 bits.
const MAX_SAMPLES: u64 = (u32::MAX as u64 - WAV_HEADER_BYTES as u64) / 2;

/// Where two sides that are loud together begin to be bent, full scale being 1.
const KNEE: f32 = 0.7;

/// The names of a recorded call's streams: what was said here, and what was heard from the peer.
pub const CALL_STREAMS: [&str; 2] = ["said", "heard"];

/// Which side of a recorded call is to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What was said here.
    Said,
    /// What was heard from the peer.
    Heard,
    /// Both, mixed; of other files, all streams.
    Both,
}

/// A file's sound: mono, 16 bits, at the bundle's rate, on the file's clock. Holds a decoder and one segment.
///
/// Both sides are on one clock; mixed, each is as loud as alone, and what is too loud together is bent, not cut.
#[derive(Debug)]
pub struct Sound<S> {
    archive: Archive<S>,
    renderer: Renderer,
    chosen: Vec<Chosen>,
    /// A file that broke off, or is played up to its damage, ends where it cannot be read on.
    lenient: bool,
    rate: u64,
    samples: u64,
    /// What ends it before its end.
    damage: Option<FileError>,
    /// The next sample.
    at: u64,
    /// The segment that was rendered last.
    segment: Option<Segment>,
    /// One stream's sound of a segment.
    scratch: Vec<i16>,
}

/// Half a minute of sound, and what is faded into the next.
#[derive(Debug)]
struct Segment {
    number: u64,
    sound: Vec<i16>,
    /// Whether its start was faded in.
    faded: bool,
}

/// A stream that is played.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    number: u8,
    /// Samples that its sound comes later than its clock says.
    delay: u64,
    /// When its first frame begins and its last ends, milliseconds; the first is later if it has none.
    span_ms: (u32, u32),
}

impl<S: Read + Seek> Sound<S> {
    /// The sound of a side of a file. Reads all of the file once, to know how long it is, and decodes nothing yet. `keep_going`: damage
    /// ends it as if it had broken off there.
    ///
    /// # Errors
    /// If the bundle is not for these tokens, or cannot stream; the file cannot be read or is damaged; it is longer than 4 GiB of samples
    /// or has nothing for more than 4 hours.
    pub fn open(
        mut archive: Archive<S>,
        side: Side,
        keep_going: bool,
        runtime: &Runtime,
        bundle: &Bundle,
    ) -> Result<Self, ArchiveError> {
        let header = archive.header();
        if !bundle.reads(header.tokens.id) {
            return Err(ArchiveError::OtherModel {
                made: header.tokens.bundle_name.clone(),
                made_id: header.tokens.id.short(),
                given: bundle.manifest().name.clone(),
                given_id: bundle.tokens().short(),
            });
        }
        let audio = &bundle.manifest().audio;
        let wanted = match side {
            Side::Said => Some(CALL_STREAMS[0]),
            Side::Heard => Some(CALL_STREAMS[1]),
            Side::Both => None,
        };
        let chosen = header.streams.iter().filter(|stream| wanted.is_none_or(|wanted| wanted == stream.name));
        let mut chosen: Vec<Chosen> = chosen
            .map(|stream| {
                // What was heard had come out of a decoder; all else had not.
                let delay = if stream.name == CALL_STREAMS[1] { 0 } else { audio.delay_samples as u64 };
                Chosen { number: stream.number, delay, span_ms: (u32::MAX, 0) }
            })
            .collect();
        // Damage where there is no end mark is where it broke off: a loss of power leaves anything there.
        let lenient = keep_going || !archive.has_end_mark();
        let rate = u64::from(audio.sample_rate);
        let (samples, damage) = measure(&mut archive, &mut chosen, rate)?;
        if let Some(damage) = damage.as_ref().filter(|_| !lenient) {
            return Err(damage.clone().into());
        }
        let coder = crate::coder(bundle, archive.header().tokens.coding)?;
        let renderer = Renderer::new(coder, Decoder::new(runtime, bundle)?, audio);
        Ok(Self {
            archive,
            renderer,
            chosen,
            lenient,
            rate,
            samples,
            damage,
            at: 0,
            segment: None,
            scratch: Vec::new(),
        })
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        // It came from 32 bits.
        self.rate as u32
    }

    /// How many samples there are, whatever was read so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The damage that the sound ends at, of a file that is played up to it.
    pub fn damage(&self) -> Option<&FileError> {
        self.damage.as_ref()
    }

    /// Goes on with this sample. Nothing is decoded yet.
    pub fn seek(&mut self, sample: u64) {
        self.at = sample.min(self.samples);
    }

    /// The next samples, in order: up to half a minute of them; none at the end.
    ///
    /// # Errors
    /// If the file cannot be read, or what lies there is damaged. What was given before is good.
    pub fn read(&mut self) -> Result<&[i16], ArchiveError> {
        let length = SEGMENT_S * self.rate;
        let number = self.at / length;
        if self.at >= self.samples {
            return Ok(&[]);
        }
        self.render(number)?;
        let begin = number * length;
        let end = (begin + length).min(self.samples);
        let part = (self.at - begin) as usize..(end - begin) as usize;
        self.at = end;
        Ok(self.segment.as_ref().map_or(&[], |segment| &segment.sound[part]))
    }

    /// Sees to it that `segment` is that of this number, from the next sample on.
    fn render(&mut self, number: u64) -> Result<(), ArchiveError> {
        let (overlap, length) = (OVERLAP_MS * self.rate / 1000, SEGMENT_S * self.rate);
        let needs_fade = number > 0 && self.at - number * length < overlap;
        // What the one before it goes on with, which is faded out.
        let before = match self.segment.take() {
            Some(last) if last.number == number && (last.faded || !needs_fade) => {
                self.segment = Some(last);
                return Ok(());
            }
            Some(last) if last.number + 1 == number => Some(last.sound),
            _ if needs_fade => Some(self.alone(number - 1)?),
            _ => None,
        };
        let mut sound = self.alone(number)?;
        let tail = before.as_deref().and_then(|before| before.get(length as usize..)).unwrap_or_default();
        fade(tail, &mut sound, (FADE_MS * self.rate / 1000).max(1) as usize);
        self.segment = Some(Segment { number, sound, faded: before.is_some() || number == 0 });
        Ok(())
    }

    /// A segment's sound as it is alone, and as much more as is faded into the next.
    fn alone(&mut self, number: u64) -> Result<Vec<i16>, ArchiveError> {
        let begin = number * SEGMENT_S * self.rate;
        let length =
            ((SEGMENT_S * self.rate) + OVERLAP_MS * self.rate / 1000).min(self.samples.saturating_sub(begin)) as usize;
        // Where both lie in the file, with room for what rounding and the delay move.
        let from_ms = (begin * 1000 / self.rate).saturating_sub(if number == 0 { 0 } else { WARM_MS });
        let mut mixed = Vec::new();
        let to_ms = (begin + length as u64) * 1000 / self.rate + 1;
        for chosen in self.chosen.clone() {
            // The delay moves sound to the front by less than a second.
            let (first_ms, last_ms) = (u64::from(chosen.span_ms.0), u64::from(chosen.span_ms.1));
            if first_ms > to_ms + 1_000 || last_ms <= from_ms {
                continue;
            }
            self.scratch.clear();
            self.renderer.begin(begin, chosen.delay);
            let (renderer, scratch, frame_ms) = (&mut self.renderer, &mut self.scratch, self.archive.frame_ms());
            let done = self.archive.blocks(from_ms, Some(chosen.number), |block| {
                if u64::from(block.end_ms) <= from_ms {
                    return Ok(ControlFlow::Continue(()));
                }
                scratch.resize(length, 0);
                renderer.block(block, frame_ms, from_ms as f64, scratch)
            });
            match done {
                Err(ArchiveError::File(_)) if self.lenient => {}
                done => done?,
            }
            if mixed.is_empty() {
                mixed.clone_from(&self.scratch);
            } else {
                mix(&mut mixed, &self.scratch);
            }
        }
        mixed.resize(length, 0);
        Ok(mixed)
    }
}

/// How many samples the streams have, up to the end of the last frame that can be read; and the damage behind it, if there is any.
fn measure<S: Read + Seek>(
    archive: &mut Archive<S>,
    chosen: &mut [Chosen],
    rate: u64,
) -> Result<(u64, Option<FileError>), ArchiveError> {
    let (mut reached_ms, mut samples) = (0_u32, 0_u64);
    let done = archive.blocks_without_index(|block| {
        if block.time_ms.saturating_sub(reached_ms) > MAX_HOLE_MS {
            return Err(ArchiveError::Hole { from_ms: reached_ms, to_ms: block.time_ms, most_ms: MAX_HOLE_MS });
        }
        reached_ms = reached_ms.max(block.end_ms);
        if let Some(chosen) = chosen.iter_mut().find(|chosen| chosen.number == block.stream) {
            chosen.span_ms = (chosen.span_ms.0.min(block.time_ms), chosen.span_ms.1.max(block.end_ms));
            let end = u64::from(block.end_ms) * rate / 1000;
            samples = samples.max(end.saturating_sub(chosen.delay));
        }
        Ok(ControlFlow::Continue(()))
    });
    let damage = match done {
        Err(ArchiveError::File(damage)) => Some(damage),
        done => done.map(|()| archive.damage().cloned())?,
    };
    if samples > MAX_SAMPLES {
        return Err(ArchiveError::TooLong { seconds: samples / rate });
    }
    Ok((samples, damage))
}

/// Puts what came before in front of the sound that it goes on as: where both are quietest together, one is faded into the other, over so
/// many samples.
fn fade(before: &[i16], sound: &mut [i16], length: usize) {
    let both = before.len().min(sound.len());
    let power = |n: usize| [before[n], sound[n]].iter().map(|&s| i64::from(s) * i64::from(s)).sum::<i64>();
    let mut sum: i64 = (0..length.min(both)).map(power).sum();
    let (mut least, mut at) = (sum, 0);
    for n in length..both {
        sum += power(n) - power(n - length);
        if sum < least {
            (least, at) = (sum, n + 1 - length);
        }
    }
    let step = 1.0 / (length + 1) as f32;
    for (n, (sample, &old)) in sound.iter_mut().zip(before).take(at + length).enumerate() {
        let share = (n + 1).saturating_sub(at) as f32 * step;
        let old = f32::from(old);
        *sample = (old + share * (f32::from(*sample) - old)).round() as i16;
    }
}

/// The second over the first, each as loud as it is alone.
fn mix(one: &mut [i16], other: &[i16]) {
    for (sample, &other) in one.iter_mut().zip(other) {
        if *sample != 0 && other != 0 {
            let sum = (f32::from(*sample) + f32::from(other)) / 32768.0;
            *sample = (32767.0 * bent(sum)).round() as i16;
        } else {
            *sample = sample.saturating_add(other);
        }
    }
}

/// As it is up to the knee, then ever closer to full scale, without an edge.
fn bent(sum: f32) -> f32 {
    let (loud, room) = (sum.abs(), 1.0 - KNEE);
    if loud <= KNEE { sum } else { sum.signum() * (KNEE + room * ((loud - KNEE) / room).tanh()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_faded_into_the_other_where_both_are_quiet() {
        // Quiet from 40 on for a while.
        let loud = |n: usize, level: i16| if (40..60).contains(&n) { level / 100 } else { level };
        let before: Vec<i16> = (0..100).map(|n| loud(n, 1000)).collect();
        let mut sound: Vec<i16> = (0..200).map(|n| loud(n, -2000)).collect();
        fade(&before, &mut sound, 10);
        assert_eq!(sound[..40], before[..40]);
        assert!(sound[40..50].windows(2).all(|pair| pair[0] > pair[1]) && (sound[39], sound[50]) == (1000, -20));
        assert_eq!(sound[60..], [-2000; 140]);
        // A file that ends before there is room for it.
        let mut short = [5; 4];
        fade(&[9; 4], &mut short, 10);
        assert!(short[0] > short[3] && short[3] > 5);
        fade(&[], &mut short, 10);
    }

    #[test]
    fn what_is_loud_together_is_bent_and_nothing_else() {
        let mut mixed = [100, 30_000, -30_000, 32_767, 0, 0];
        mix(&mut mixed, &[200, 30_000, -30_000, 0, -32_768, 7]);
        assert_eq!((mixed[0], mixed[3], mixed[4], mixed[5]), (300, 32_767, -32_768, 7));
        assert!((29_000..32_768).contains(&i32::from(mixed[1])) && mixed[2] == -mixed[1]);
        let steps: Vec<f32> = (0..2000).map(|n| bent(n as f32 / 1000.0)).collect();
        assert!(steps.windows(2).all(|pair| (0.0..=0.0011).contains(&(pair[1] - pair[0]))));
        assert!(steps[1999] < 1.0);
    }
}
