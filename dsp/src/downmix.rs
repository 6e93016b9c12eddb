use std::{fmt, str::FromStr};

use crate::error::{DspError, check_channels, check_rate};

/// Blocks in a second: how often the mix is decided anew.
const BLOCKS: u32 = 10;

/// What is kept of a channel's past from block to block: half of it is forgotten in 0.7 s.
const KEPT: f64 = 0.9;

/// A channel that is like the others turned over, more than so, is turned back.
const TURNED: f64 = -0.3;

/// How much the mix may become louder from block to block, after it would have clipped.
const RECOVERY: f32 = 1.1;

/// Which channel of a recording is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Channel {
    /// All of them, by what is in them: see [`Downmix`].
    #[default]
    Auto,
    /// The mean of all.
    Mix,
    /// This one, from 1 on.
    One(u16),
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "mix" => Ok(Self::Mix),
            "left" => Ok(Self::One(1)),
            "right" => Ok(Self::One(2)),
            number => match number.parse() {
                Ok(number @ 1..=64) => Ok(Self::One(number)),
                _ => Err(format!("\"{text}\" is no channel; auto, mix, left, right and 1 to 64 are")),
            },
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Mix => f.write_str("mix"),
            Self::One(number) => number.fmt(f),
        }
    }
}

/// Makes one channel of a recording's interleaved channels.
///
/// The plain mean of channels makes a voice that is in one of them faint, and loses one that is turned over (inverted) in the other.
/// [`Channel::Auto`] decides ten times a second by what was in the channels during the last second: one that is like the others turned
/// over is turned back; then all are added, and the sum is scaled by how much of it they have in common. So what is in all channels
/// alike, in one only, or in each something else, comes out as loud as it was there, and never beyond full scale.
///
/// Samples that are no finite numbers become 0 and are counted; those beyond -1 to 1 are brought there.
#[derive(Debug)]
pub struct Downmix {
    channels: usize,
    channel: Channel,
    /// Sample frames of a block.
    block: usize,
    waiting: Vec<f32>,
    /// Sums of products of each two channels.
    powers: Vec<f64>,
    weights: Vec<f32>,
    next: Vec<f32>,
    turned: Vec<bool>,
    limit: f32,
    begun: bool,
    repaired: u64,
}

impl Downmix {
    /// A mix of so many channels at `rate` Hz.
    ///
    /// # Errors
    /// If the rate is not within 4 to 384 kHz, there are not 1 to 64 channels, or not the one that is meant.
    pub fn new(rate: u32, channels: u16, channel: Channel) -> Result<Self, DspError> {
        check_rate(rate)?;
        check_channels(channels)?;
        if let Channel::One(asked) = channel
            && !(1..=channels).contains(&asked)
        {
            return Err(DspError::NoChannel { asked, there: channels });
        }
        let count = usize::from(channels);
        Ok(Self {
            channels: count,
            channel,
            block: (rate / BLOCKS) as usize,
            waiting: Vec::new(),
            powers: vec![0.0; count * count],
            weights: vec![1.0 / count as f32; count],
            next: vec![1.0 / count as f32; count],
            turned: vec![false; count],
            limit: 1.0,
            begun: false,
            repaired: 0,
        })
    }

    /// Takes interleaved samples, whole frames; appends what is mixed to `out`. Of several channels up to a tenth of a second waits.
    pub fn push(&mut self, interleaved: &[f32], out: &mut Vec<f32>) {
        let channels = self.channels;
        match self.channel {
            _ if channels == 1 => {
                for &sample in interleaved {
                    let sample = self.mended(sample);
                    out.push(sample);
                }
            }
            Channel::One(number) => {
                for frame in interleaved.chunks_exact(channels) {
                    let sample = self.mended(frame[usize::from(number) - 1]);
                    out.push(sample);
                }
            }
            Channel::Mix => {
                for frame in interleaved.chunks_exact(channels) {
                    let sum: f32 = frame.iter().map(|&sample| self.mended(sample)).sum();
                    out.push(sum / channels as f32);
                }
            }
            Channel::Auto => {
                for &sample in interleaved {
                    let sample = self.mended(sample);
                    self.waiting.push(sample);
                    if self.waiting.len() == self.block * channels {
                        self.mix(out);
                    }
                }
            }
        }
    }

    /// Ends the recording: appends what waits.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        self.mix(out);
    }

    /// Samples so far that were no finite numbers.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    fn mended(&mut self, sample: f32) -> f32 {
        if sample.is_finite() {
            return sample.clamp(-1.0, 1.0);
        }
        self.repaired += 1;
        0.0
    }

    /// Mixes what waits.
    fn mix(&mut self, out: &mut Vec<f32>) {
        let channels = self.channels;
        let frames = self.waiting.len() / channels;
        if frames == 0 {
            return;
        }
        self.powers.iter_mut().for_each(|power| *power *= KEPT);
        for frame in self.waiting.chunks_exact(channels) {
            for (n, &a) in frame.iter().enumerate() {
                for (power, &b) in self.powers[n * channels..][..=n].iter_mut().zip(frame) {
                    *power += f64::from(a * b);
                }
            }
        }
        self.weigh();
        // What was decided for the block before goes over into what is decided now; at the beginning there is nothing before.
        let over = if self.begun { frames.min(self.block / 5).max(1) } else { 1 };
        for (n, frame) in self.waiting.chunks_exact(channels).enumerate() {
            let share = ((n + 1) as f32 / over as f32).min(1.0);
            let weights = self.weights.iter().zip(&self.next).map(|(&old, &new)| old + (new - old) * share);
            let sum: f32 = frame.iter().zip(weights).map(|(&sample, weight)| sample * weight).sum();
            out.push(sum.clamp(-1.0, 1.0));
        }
        self.weights.copy_from_slice(&self.next);
        self.begun = true;
        self.waiting.clear();
    }

    fn power(&self, a: usize, b: usize) -> f64 {
        self.powers[a.max(b) * self.channels + a.min(b)]
    }

    /// Decides how the channels are added.
    fn weigh(&mut self) {
        let channels = self.channels;
        let mut order: Vec<usize> = (0..channels).collect();
        order.sort_by(|&a, &b| self.power(b, b).total_cmp(&self.power(a, a)));
        let apart: f64 = (0..channels).map(|n| self.power(n, n)).sum();
        // Nothing but silence so far, or again.
        if apart < 1e-9 {
            return;
        }
        let sign = |turned: bool| if turned { -1.0 } else { 1.0 };
        let mut together = 0.0;
        for (place, &n) in order.iter().enumerate() {
            let own = self.power(n, n);
            let common: f64 = order[..place].iter().map(|&m| sign(self.turned[m]) * self.power(n, m)).sum();
            let likeness = common / (own * together).sqrt().max(1e-12);
            // Once turned it stays so until it is clearly not.
            self.turned[n] = place > 0 && (likeness < TURNED || self.turned[n] && likeness < 0.0);
            together += own + 2.0 * sign(self.turned[n]) * common;
        }
        let scale = (apart / together.max(1e-12)).min(1.0) as f32;
        let turned = &self.turned;
        let peak = self.waiting.chunks_exact(channels).fold(0.0_f32, |peak, frame| {
            let sum: f32 = frame.iter().zip(turned).map(|(&s, &turned)| if turned { -s } else { s }).sum();
            peak.max(sum.abs())
        });
        self.limit = (self.limit * RECOVERY).min(1.0).min(1.0 / peak.max(1.0));
        let scale = scale.min(self.limit);
        for (weight, &turned) in self.next.iter_mut().zip(turned) {
            *weight = if turned { -scale } else { scale };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: u32 = 16_000;

    fn voice(seed: u32, frames: usize) -> Vec<f32> {
        let mut state = seed | 1;
        let mut last = 0.0;
        (0..frames)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                last = last * 0.7 + (state >> 8) as f32 / (1 << 24) as f32 * 0.3 - 0.15;
                last
            })
            .collect()
    }

    fn mixed(columns: &[Vec<f32>], channel: Channel) -> Vec<f32> {
        let mut mix = Downmix::new(RATE, columns.len() as u16, channel).unwrap();
        let all: Vec<f32> = (0..columns[0].len()).flat_map(|n| columns.iter().map(move |column| column[n])).collect();
        let mut out = Vec::new();
        for part in all.chunks(columns.len() * 777) {
            mix.push(part, &mut out);
        }
        mix.finish(&mut out);
        out
    }

    fn db(a: &[f32], b: &[f32]) -> f32 {
        let power = |x: &[f32]| x.iter().map(|s| s * s).sum::<f32>();
        10.0 * (power(a) / power(b)).log10()
    }

    #[test]
    fn a_voice_is_as_loud_as_it_was_wherever_it_is() {
        let (voice, nothing) = (voice(1, 32_000), vec![0.0; 32_000]);
        let turned: Vec<f32> = voice.iter().map(|s| -s).collect();
        let cases = [
            ("alike", vec![voice.clone(), voice.clone()]),
            ("turned over", vec![voice.clone(), turned.clone()]),
            ("left", vec![voice.clone(), nothing.clone()]),
            ("right", vec![nothing.clone(), voice.clone()]),
            ("centre of 5.1", [&nothing, &nothing, &voice, &nothing, &nothing, &nothing].map(Clone::clone).to_vec()),
            (
                "six, half of them turned",
                [&voice, &turned, &voice, &turned, &voice, &turned].map(Clone::clone).to_vec(),
            ),
        ];
        for (name, columns) in cases {
            let out = mixed(&columns, Channel::Auto);
            assert_eq!(out.len(), voice.len(), "{name}");
            assert!(db(&out, &voice).abs() < 0.1, "{name}: {} dB", db(&out, &voice));
        }
    }

    #[test]
    fn two_voices_are_both_there() {
        let (a, b) = (voice(1, 32_000), voice(99, 32_000));
        let out = mixed(&[a.clone(), b.clone()], Channel::Auto);
        for voice in [&a, &b] {
            let common: f32 = out.iter().zip(voice).map(|(x, y)| x * y).sum();
            let power: f32 = voice.iter().map(|y| y * y).sum();
            assert!((0.85..1.15).contains(&(common / power)), "{}", common / power);
        }
    }

    #[test]
    fn what_is_asked_for_is_given() {
        let (a, b) = (voice(1, 1_000), voice(99, 1_000));
        let columns = [a.clone(), b.clone()];
        assert_eq!(mixed(&columns, "left".parse().unwrap()), a);
        assert_eq!(mixed(&columns, "2".parse().unwrap()), b);
        let mean = mixed(&columns, "mix".parse().unwrap());
        assert!(mean.iter().zip(a.iter().zip(&b)).all(|(m, (a, b))| (m - (a + b) / 2.0).abs() < 1e-6));
        assert_eq!(Downmix::new(RATE, 2, Channel::One(3)).unwrap_err(), DspError::NoChannel { asked: 3, there: 2 });
        for text in ["", "0", "65", "middle", "-1"] {
            assert!(text.parse::<Channel>().is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn as_many_come_out_as_went_in_and_none_beyond_full_scale(
            samples in prop::collection::vec(prop_oneof![any::<f32>(), -1.0_f32..1.0], 0..4000), channels in 1_u16..7, cut in 1_usize..500,
        ) {
            let whole = samples.len() / usize::from(channels) * usize::from(channels);
            let run = |piece: usize| {
                let mut mix = Downmix::new(4_000, channels, Channel::Auto).unwrap();
                let mut out = Vec::new();
                samples[..whole].chunks(piece * usize::from(channels)).for_each(|part| mix.push(part, &mut out));
                mix.finish(&mut out);
                out
            };
            let out = run(cut);
            prop_assert_eq!(out.len(), whole / usize::from(channels));
            prop_assert!(out.iter().all(|sample| sample.abs() <= 1.0));
            prop_assert_eq!(out, run(1_000), "however it comes in");
        }
    }
}
