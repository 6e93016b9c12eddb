//! What is heard of Opus when packets are lost: several ways to send and to repair, over given clips and given losses.
//!
//! ```text
//! cargo run --release -p parlo-opus --example loss -- assets/speech.flac --random 20 --seed 1 --out heard/
//! cargo run --release -p parlo-opus --example loss -- clip.wav --trace lost.txt
//! ```
//!
//! A packet is one frame of 20 ms. A trace is a text file with the numbers of the lost ones, from 0, separated by blanks or lines;
//! it begins anew with every clip. Every way that repairs waits for the packets it repairs from: `wait` says how long,
//! on top of what the codec and the path take. `kbps` is the frames' bytes alone; 24 bytes more each are IPv4, UDP and
//! so on.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{collections::HashSet, fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use parlo_opus::{FRAME_SAMPLES, OpusDecoder, OpusEncoder, OpusFrame, Protection, RATE};
use parlo_tokens::Slot;
use support::Dice;

#[derive(Parser)]
struct Options {
    /// Sound files: WAV, FLAC, MP3, Ogg Vorbis, or raw floats at 16 kHz (`.f32`).
    #[arg(required = true)]
    clips: Vec<PathBuf>,
    /// A file with the numbers of the lost packets.
    #[arg(long, conflicts_with = "random")]
    trace: Option<PathBuf>,
    /// Percent of the packets lost at random.
    #[arg(long, default_value_t = 20)]
    random: u8,
    /// What the losses at random follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Loss in percent that the encoders are told; else what is lost in truth.
    #[arg(long)]
    told: Option<u8>,
    /// A folder for what is heard, as WAV.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A way to send.
struct Way {
    name: &'static str,
    bitrate: u32,
    protection: Protection,
    /// Each packet has the frame before as a whole too (as RFC 2198 does).
    twice: bool,
    /// How many packets the receiver waits for.
    wait: usize,
}

const DRED: Protection = Protection::Dred { duration_10ms: 100 };

const WAYS: [Way; 11] = [
    Way { name: "6k", bitrate: 6_000, protection: Protection::None, twice: false, wait: 0 },
    Way { name: "6k FEC", bitrate: 6_000, protection: Protection::Fec, twice: false, wait: 1 },
    Way { name: "6k twice", bitrate: 6_000, protection: Protection::None, twice: true, wait: 1 },
    Way { name: "9k", bitrate: 9_000, protection: Protection::None, twice: false, wait: 0 },
    Way { name: "9k FEC", bitrate: 9_000, protection: Protection::Fec, twice: false, wait: 1 },
    Way { name: "9k twice", bitrate: 9_000, protection: Protection::None, twice: true, wait: 1 },
    Way { name: "24k", bitrate: 24_000, protection: Protection::None, twice: false, wait: 0 },
    Way { name: "24k FEC", bitrate: 24_000, protection: Protection::Fec, twice: false, wait: 1 },
    Way { name: "20k DRED", bitrate: 20_000, protection: DRED, twice: false, wait: 1 },
    Way { name: "24k DRED", bitrate: 24_000, protection: DRED, twice: false, wait: 1 },
    Way { name: "24k DRED wait 3", bitrate: 24_000, protection: DRED, twice: false, wait: 3 },
];

/// What one clip came to.
#[derive(Default)]
struct Sum {
    bytes: usize,
    frames: usize,
    lost: usize,
    repaired: usize,
    most: usize,
    score: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let trace = options.trace.as_ref().map(read_trace).transpose()?;
    if let Some(folder) = &options.out {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let clips: Vec<_> = options.clips.iter().map(|path| Ok((path, support::read(path)?))).collect::<Result<_>>()?;
    println!(
        "{:<16} {:>6} {:>7} {:>5} {:>6} {:>9} {:>8} {:>6}",
        "way", "kbps", "largest", "wait", "lost", "repaired", "unhelped", "ESTOI"
    );
    for way in &WAYS {
        let mut sum = Sum::default();
        for (number, (path, signal)) in clips.iter().enumerate() {
            let frames = signal.len().div_ceil(FRAME_SAMPLES);
            let lost: Vec<bool> = match &trace {
                Some(trace) => (0..frames).map(|frame| trace.contains(&frame)).collect(),
                None => {
                    let mut dice = Dice(options.seed.wrapping_add(number as u64));
                    (0..frames).map(|_| dice.percent(options.random)).collect()
                }
            };
            let told = options.told.unwrap_or_else(|| {
                let count = lost.iter().filter(|lost| **lost).count();
                (100 * count / frames.max(1)) as u8
            });
            let heard = render(way, signal, &lost, told, &mut sum)?;
            sum.score += parlo_score::estoi(&signal[..heard.len().min(signal.len())], &heard, RATE)?;
            if let Some(folder) = &options.out {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let file = folder.join(format!("{stem}.{}.wav", way.name.replace(' ', "-")));
                write_wav(&file, &heard)?;
            }
        }
        println!(
            "{:<16} {:>6.2} {:>7} {:>2} ms {:>6} {:>9} {:>8} {:>6.3}",
            way.name,
            sum.bytes as f64 * 0.4 / sum.frames as f64,
            sum.most,
            20 * way.wait,
            sum.lost,
            sum.repaired,
            sum.lost - sum.repaired,
            sum.score / clips.len() as f64,
        );
    }
    Ok(())
}

/// What is heard of a signal, as long as it and in time with it.
fn render(way: &Way, signal: &[f32], lost: &[bool], told: u8, sum: &mut Sum) -> Result<Vec<f32>> {
    let mut encoder = OpusEncoder::new(way.bitrate, way.protection)?;
    encoder.set_loss(told)?;
    let mut padded = signal.to_vec();
    // The codec's delay is let run out, so that the end is heard too.
    padded.resize((signal.len() + encoder.delay_samples()).next_multiple_of(FRAME_SAMPLES), 0.0);
    let frames: Vec<OpusFrame> =
        padded.chunks_exact(FRAME_SAMPLES).map(|frame| encoder.push(frame)).collect::<Result<_, _>>()?;
    let copies = if way.twice { 2 } else { 1 };
    sum.bytes += copies * frames.iter().map(|frame| frame.as_bytes().len()).sum::<usize>();
    sum.frames += frames.len();
    sum.most = sum.most.max(frames.iter().map(|frame| frame.as_bytes().len()).max().unwrap_or(0));
    let is_lost = |number: usize| lost.get(number).copied().unwrap_or(false);
    let mut decoder = OpusDecoder::new()?;
    let mut heard = Vec::with_capacity(padded.len());
    for (number, frame) in frames.iter().enumerate() {
        if !is_lost(number) {
            heard.extend_from_slice(decoder.play(&Slot::Frame(*frame))?);
            continue;
        }
        sum.lost += 1;
        // The first that came of those that are waited for.
        let later = (number + 1..=number + way.wait).find(|&later| later < frames.len() && !is_lost(later));
        let repaired = match later {
            Some(later) if way.twice && later == number + 1 => Some(decoder.play(&Slot::Frame(*frame))?),
            Some(later) => decoder.repair(&frames[later], (later - number) as u32)?,
            None => None,
        };
        if let Some(audio) = repaired {
            sum.repaired += 1;
            heard.extend_from_slice(audio);
        } else {
            heard.extend_from_slice(decoder.play(&Slot::Missing)?);
        }
    }
    heard.drain(..encoder.delay_samples());
    heard.truncate(signal.len());
    Ok(heard)
}

fn read_trace(file: &PathBuf) -> Result<HashSet<usize>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.split_whitespace()
        .map(|word| word.parse().with_context(|| format!("{}: {word:?} is no packet's number", file.display())))
        .collect()
}

fn write_wav(file: &PathBuf, signal: &[f32]) -> Result<()> {
    let format =
        hound::WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer =
        hound::WavWriter::create(file, format).with_context(|| format!("cannot write {}", file.display()))?;
    for sample in signal {
        writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0) as i16)?;
    }
    Ok(writer.finalize()?)
}
