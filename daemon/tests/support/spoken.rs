//! Speech, coded and ready to be spoken in simulated calls.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use parlo_dsp::Intake;
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, PacketCoder, Runtime};
use parlo_netem::PathConfig;
use parlo_opus::{OpusDecoder, OpusEncoder, Protection};
use parlo_protocol::{
    adapt::{Costs, Limits},
    offer::Codec,
};
use parlo_score::estoi;
use parlod::{
    audio::AudioReader,
    call::{
        EncodedFrame, FrameDecoder, FrameEncoder, OPUS_RATES, PayloadCoder,
        dtx::{Dtx, Transmission},
    },
};

use super::simulation::{Outcome, Script, run};

/// One way of the simulated path takes this long.
pub(crate) const DELAY: Duration = Duration::from_millis(40);

/// Speech, coded by the bundle that ships at depth 6 or as asked.
pub(crate) struct Speech {
    runtime: Runtime,
    bundle: Bundle,
    pub(crate) samples: Vec<f32>,
    /// What the capture thread gives when each frame is whole.
    pub(crate) frames: Vec<Vec<EncodedFrame>>,
    silence: bool,
}

/// What a call's capture thread gives of sound, frame by frame: it is coded where [`Dtx`] finds it spoken, and described elsewhere. Where
/// packets end depends upon the path, and is told while the call runs.
fn captured(
    samples: &[f32],
    (rate, size): (u32, usize),
    encoder: &mut FrameEncoder,
    silence: bool,
) -> Vec<Vec<EncodedFrame>> {
    let (mut tokens, mut units) = (Vec::new(), Vec::new());
    let mut code = |encoder: &mut FrameEncoder, frame: &[f32], number| {
        encoder.push_many(frame, size, &mut tokens, &mut units).unwrap();
        EncodedFrame { number, unit: units.pop(), silence: None, ends_packet: false }
    };
    let mut dtx = Dtx::new(rate, size);
    let mut each = |number, frame: &[f32]| {
        if let Transmission::Described { noise, .. } = dtx.push(number, frame, Instant::now(), silence) {
            return vec![EncodedFrame { number, unit: None, silence: Some(noise), ends_packet: false }];
        }
        let mut said = Vec::new();
        for place in 0..dtx.preroll.kept() {
            match dtx.preroll.get(place).unwrap() {
                (frame, Some(silent)) => said.push(code(encoder, frame, silent.number)),
                (frame, None) => encoder.warm_up(frame).unwrap(),
            }
        }
        dtx.preroll.clear();
        said.push(code(encoder, frame, number));
        said
    };
    (0..).zip(samples.chunks_exact(size)).map(|(number, frame)| each(number, frame)).collect()
}

/// Opus as it is compared with: bits per second, what protects it, the loss that it is told of in percent, and frames a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpusWay {
    pub(crate) bitrate: u32,
    pub(crate) protection: Protection,
    pub(crate) told: u8,
    pub(crate) frames: u8,
    /// Least delay of the jitter buffer: what later packets tell of a lost one is of use only if play-out waits for them, and
    /// the buffer does not know of it.
    pub(crate) least: Duration,
}

/// Least delay of the jitter buffer, as calls have it.
pub(crate) const LEAST: Duration = Duration::from_millis(10);

impl Speech {
    /// The files one after another, and again from the beginning, up to a length. `silence`: whether pauses are told rather
    /// than sent.
    pub(crate) fn new(files: &[&Path], seconds: usize, depth: usize, silence: bool) -> Self {
        let bundle = shipped();
        let (rate, size) = (bundle.manifest().audio.sample_rate, bundle.manifest().audio.frame_samples);
        let mut samples = Vec::new();
        for file in files {
            let mut reader = AudioReader::open(file).unwrap();
            let format = reader.format();
            let mut intake = Intake::new(format.rate, format.channels, rate, size).unwrap();
            let mut buffer = vec![0.0; 4096];
            while let count @ 1.. = reader.read(&mut buffer).unwrap() {
                intake.push(&buffer[..count], |frame| samples.extend_from_slice(frame));
            }
        }
        let once = samples.clone();
        while samples.len() < seconds * rate as usize {
            samples.extend_from_slice(&once);
        }
        samples.truncate(seconds * rate as usize);
        Self::of(samples, depth, silence)
    }

    /// Of any samples, at the bundle's rate.
    pub(crate) fn of(samples: Vec<f32>, depth: usize, silence: bool) -> Self {
        let (runtime, bundle) = (Runtime::load(None).unwrap(), shipped());
        let audio = (bundle.manifest().audio.sample_rate, bundle.manifest().audio.frame_samples);
        let encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth, beam: 4 }).unwrap();
        let frames = captured(&samples, audio, &mut FrameEncoder::Tokens(Box::new(encoder)), silence);
        Self { runtime, bundle, samples, frames, silence }
    }

    /// A call in tokens, with whatever `change` makes of the script: without that, over a path of 40 ms each way without any
    /// fault.
    pub(crate) fn call(&self, change: impl FnOnce(&mut Script<'_>)) -> Outcome {
        let audio = &self.bundle.manifest().audio;
        let layout = *self.bundle.layout();
        let entropy = self.bundle.entropy_model().unwrap();
        let packing = || PayloadCoder::Tokens(PacketCoder::new(layout, entropy.as_ref()));
        let mut script = Script {
            codec: Codec::Tokens(self.bundle.tokens()),
            speech: &self.frames,
            samples: &self.samples,
            packing: &packing,
            listener: FrameDecoder::Tokens(Box::new(Decoder::new(&self.runtime, &self.bundle).unwrap())),
            limits: Limits::new(6, 3),
            costs: Costs::tokens((0..layout.depth()).map(|book| layout.bits(book))),
            adapts: true,
            there: path(1),
            back: path(2),
            skew_ppm: 0.0,
            moves: None,
            audio: (audio.sample_rate, audio.frame_samples),
            delay: audio.delay(),
            least: LEAST,
            junk: 0,
        };
        change(&mut script);
        run(script)
    }

    /// The same call in Opus.
    pub(crate) fn opus(&self, way: OpusWay, change: impl FnOnce(&mut Script<'_>)) -> Outcome {
        let mut encoder = OpusEncoder::new(way.bitrate, way.protection).unwrap();
        encoder.set_loss(way.told).unwrap();
        let delay = Duration::from_micros(1_000_000 * encoder.delay_samples() as u64 / u64::from(parlo_opus::RATE));
        let audio = (parlo_opus::RATE, parlo_opus::FRAME_SAMPLES);
        let frames = captured(&self.samples, audio, &mut FrameEncoder::Opus(Box::new(encoder), 1), self.silence);
        let packing = || PayloadCoder::Opus;
        let mut script = Script {
            codec: Codec::Opus,
            speech: &frames,
            samples: &self.samples,
            packing: &packing,
            listener: FrameDecoder::Opus(Box::new(OpusDecoder::new().unwrap())),
            limits: Limits::new(1, way.frames),
            costs: Costs {
                bits: OPUS_RATES.map(f64::from).to_vec(),
                damage: vec![0.1; OPUS_RATES.len()],
                copies: false,
            },
            adapts: false,
            there: path(1),
            back: path(2),
            skew_ppm: 0.0,
            moves: None,
            audio,
            delay,
            least: way.least,
            junk: 0,
        };
        change(&mut script);
        run(script)
    }

    /// ESTOI of what was heard, each frame at its own time.
    pub(crate) fn estoi(&self, outcome: &Outcome) -> f64 {
        let audio = &self.bundle.manifest().audio;
        self.estoi_after(outcome, audio.delay_samples)
    }

    /// The same where the codec renders what it gets so many samples later.
    pub(crate) fn estoi_after(&self, outcome: &Outcome, delay: usize) -> f64 {
        let count = self.samples.len().min(outcome.heard.len()) - delay;
        let rate = self.bundle.manifest().audio.sample_rate;
        estoi(&self.samples[..count], &outcome.heard[delay..][..count], rate).unwrap()
    }
}

/// The bundle that ships.
fn shipped() -> Bundle {
    Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap()
}

/// A path without faults.
pub(crate) fn path(seed: u64) -> PathConfig {
    PathConfig { delay: DELAY, seed, ..PathConfig::default() }
}
