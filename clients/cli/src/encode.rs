//! `parlo encode`: sound to tokens, whole files or while it comes in.

use std::path::Path;

use parlo_dsp::Intake;
use parlo_model::{Bundle, Encoder, EncoderConfig, FrameCoder, ModelError};
use parlo_protocol::file::{Coding, FileWriter, Header, MAX_BLOCK_FRAMES};
use parlo_tokens::TokenFrame;

use crate::{
    codec,
    place::{Output, Place},
};

/// Frames in a block on its way through a pipe: 240 ms, so that the other end can play while this one runs.
const PIPE_BLOCK_FRAMES: usize = 12;

pub(crate) fn run(
    input: &Place,
    output: &Place,
    depth: usize,
    beam: usize,
    plain: bool,
    bundle: Option<&Path>,
) -> anyhow::Result<()> {
    // The input first: a mistyped name should not wait for the model.
    let mut reader = input.read_audio()?;
    let (runtime, bundle) = codec::open(&parlo_model::locate_bundle(bundle)?)?;
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig { depth, beam })?;
    let audio = bundle.manifest().audio.clone();
    let format = reader.format();
    let mut intake = Intake::new(format.rate, format.channels, audio.sample_rate, audio.frame_samples)?;
    let block = if output.is_standard() { PIPE_BLOCK_FRAMES } else { MAX_BLOCK_FRAMES };
    let mut writer = Writer::begin(&bundle, depth, plain, block, output.write_bytes()?)?;
    let seconds = reader.total_frames().map(|frames| frames as f64 / f64::from(format.rate));
    let bar = codec::progress("encoding", seconds);

    let mut buffer = vec![0.0; 4096 * usize::from(format.channels)];
    let mut heard = 0_u64;
    let mut result: Result<(), anyhow::Error> = Ok(());
    loop {
        let samples = reader.read(&mut buffer)?;
        if samples == 0 {
            break;
        }
        heard += (samples / usize::from(format.channels)) as u64;
        intake.push(&buffer[..samples], |frame| step(&mut result, || writer.push(encoder.push(frame)?)));
        std::mem::replace(&mut result, Ok(()))?;
        bar.set_position(heard / u64::from(format.rate));
    }
    intake.finish(|frame| step(&mut result, || writer.push(encoder.push(frame)?)));
    // The decoder renders the last frame's end only when it has what comes after.
    let silence = vec![0.0; audio.frame_samples];
    for _ in 0..audio.delay_samples.div_ceil(audio.frame_samples) {
        step(&mut result, || writer.push(encoder.push(&silence)?));
    }
    result?;
    writer.finish((heard * u64::from(audio.sample_rate)).div_ceil(u64::from(format.rate)))?;
    bar.finish_and_clear();
    if reader.damaged() > 0 {
        eprintln!("parlo: {} damaged packets of {} were left out", reader.damaged(), reader.name());
    }
    if intake.repaired() > 0 {
        eprintln!("parlo: {} samples of {} were no numbers, and became silence", intake.repaired(), reader.name());
    }
    Ok(())
}

/// Goes on only while all is well: the signal chain's callbacks cannot stop it.
fn step(result: &mut anyhow::Result<()>, next: impl FnOnce() -> anyhow::Result<()>) {
    if result.is_ok() {
        *result = next();
    }
}

/// Gathers frames into blocks and writes them.
struct Writer {
    file: FileWriter,
    coder: Box<dyn FrameCoder>,
    output: Output,
    block: usize,
    frames: Vec<TokenFrame>,
    payload: Vec<u8>,
    bytes: Vec<u8>,
}

impl Writer {
    fn begin(bundle: &Bundle, depth: usize, plain: bool, block: usize, output: Output) -> anyhow::Result<Self> {
        let most = bundle.layout().depth();
        let too_deep = || ModelError::Depth { asked: depth, most };
        let manifest = bundle.manifest();
        let coding = if plain { Coding::Plain } else { codec::best_coding(bundle) };
        let header = Header {
            bundle: bundle.id(),
            bundle_name: manifest.name.clone(),
            sample_rate: manifest.audio.sample_rate,
            frame_samples: u32::try_from(manifest.audio.frame_samples)?,
            depth: u8::try_from(depth).map_err(|_| too_deep())?,
            coding,
        };
        let mut bytes = Vec::new();
        let file = FileWriter::begin(&header, &mut bytes);
        let coder = codec::coder(bundle, coding)?;
        let mut writer =
            Self { file, coder, output, block, frames: Vec::with_capacity(block), payload: Vec::new(), bytes };
        writer.pass_on()?;
        Ok(writer)
    }

    fn push(&mut self, frame: TokenFrame) -> anyhow::Result<()> {
        self.frames.push(frame);
        if self.frames.len() == self.block { self.write_block() } else { Ok(()) }
    }

    fn finish(mut self, samples: u64) -> anyhow::Result<()> {
        if !self.frames.is_empty() {
            self.write_block()?;
        }
        self.file.end(samples, &mut self.bytes);
        self.output.put(&self.bytes)?;
        self.output.finish()
    }

    fn write_block(&mut self) -> anyhow::Result<()> {
        self.payload.clear();
        self.coder.encode(&self.frames, &mut self.payload)?;
        self.file.block(self.frames.len(), &self.payload, &mut self.bytes)?;
        self.frames.clear();
        self.pass_on()
    }

    fn pass_on(&mut self) -> anyhow::Result<()> {
        self.output.put(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
