//! `parlo encode`: sound to tokens, whole files or while it comes in.

use std::{fs, io::Write, num::NonZero, path::PathBuf, thread};

use anyhow::{Context, bail};
use parlo_archive::Options;
use parlo_audio_io::{Channel, Faults, MonoReader, output::Kind};
use parlo_dsp::Intake;
use parlo_model::{Bundle, Encoder, EncoderConfig, ModelError, Runtime, WholeEncoder};
use parlo_tokens::TokenFrame;

use crate::{
    Incomplete, batch, codec,
    confine::{self, Needs},
    io_path::IoPath,
};

/// Frames in a block on its way through a pipe: 240 ms, so that the other end can play while this one runs.
const PIPE_BLOCK_FRAMES: usize = 12;

/// Frames that are encoded at once, where nobody waits for them. The Python package does the same from the start of a recording on, and
/// so gets the same codes: near ties depend on how many frames are in a run.
const RUN_FRAMES: usize = 32;

/// What `parlo encode` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct EncodeOptions {
    /// Sound file; - is standard input. With --recursive a folder
    input: IoPath,
    /// Token file; - is standard output. With --recursive a folder, by default the same
    #[arg(required_unless_present = "recursive")]
    output: Option<IoPath>,
    /// Codebooks to use, each adds its bits: 0.5 kbps each, and 1 to 12, with the bundle that ships; by default 6, or all if there are less
    #[arg(long, short = 'k', value_name = "K")]
    depth: Option<usize>,
    /// Candidates of the search for codes, 1 to 32; more are slower and leave less error
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    beam: u8,
    /// Pack the codes as they are, without entropy coding: longer, and simple to read for other programs
    #[arg(long)]
    plain: bool,
    /// Something to note in the file; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    metadata: Vec<(String, String)>,
    /// Encode all sound in a folder. What is there already is left alone, so that the same command goes on where it was ended
    #[arg(long, short)]
    recursive: bool,
    /// Of a sound with several channels: auto (by what is in them), mix (their mean), left, right, or a number from 1 on
    #[arg(long, value_name = "CHANNEL", default_value_t)]
    channel: Channel,
    /// Replace a token file that is there. With --recursive token files of other sounds are replaced without it
    #[arg(long, short)]
    force: bool,
    /// Files to encode at the same time; by default one for each core
    #[arg(long, short, value_name = "N", requires = "recursive", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Model bundle, a folder or a name
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
}

/// The model, loaded: encodes one file after another.
#[derive(Debug)]
pub(crate) struct Model {
    bundle: Bundle,
    encoder: AnyEncoder,
    depth: usize,
}

#[derive(Debug)]
enum AnyEncoder {
    Streaming(Encoder),
    /// Takes a recording at once.
    Whole(WholeEncoder),
}

impl Model {
    /// Loads what encoding needs of a bundle. Without a depth it is the usual one, or what the bundle has.
    pub(crate) fn new(
        runtime: &Runtime,
        bundle: Bundle,
        depth: Option<usize>,
        beam: usize,
    ) -> Result<Self, ModelError> {
        let depth = depth.unwrap_or_else(|| EncoderConfig::usual(&bundle).depth);
        let config = EncoderConfig { depth, beam };
        let encoder = match bundle.whole() {
            None => AnyEncoder::Streaming(Encoder::new(runtime, &bundle, config)?),
            Some(_) => AnyEncoder::Whole(WholeEncoder::new(runtime, &bundle, config)?),
        };
        Ok(Self { bundle, encoder, depth })
    }

    /// Codes of each frame.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Which model it is.
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    /// Length of the sound.
    pub(crate) seconds: f64,
    /// Token frames made of it.
    pub(crate) frames: u64,
    /// Bytes of the token file.
    pub(crate) bytes: u64,
    /// What of the sound file was damaged or missing.
    pub(crate) faults: Faults,
    /// Samples that were no numbers, and became silence.
    pub(crate) repaired: u64,
}

pub(crate) fn run(asked: &EncodeOptions) -> anyhow::Result<()> {
    let EncodeOptions { input, output, depth, beam, plain, metadata, bundle, .. } = asked;
    let options = |model: &Model| Options {
        depth: model.depth(),
        plain: *plain,
        metadata: metadata.clone(),
        ..Options::default()
    };
    let load = || -> anyhow::Result<(Runtime, Model)> {
        let (runtime, bundle) = codec::open(&parlo_model::locate_bundle(bundle.as_deref())?)?;
        let model = Model::new(&runtime, bundle, *depth, usize::from(*beam))?;
        Ok((runtime, model))
    };
    let output = match output {
        Some(output) if !asked.recursive => output,
        output => {
            let cores = || thread::available_parallelism().map_or(1, NonZero::get);
            let jobs = asked.jobs.map_or_else(cores, usize::from);
            let IoPath::File(sounds) = input else { bail!("standard input is no folder; name one") };
            let tokens = match output {
                None => sounds,
                Some(IoPath::File(folder)) => folder,
                Some(IoPath::Standard) => bail!("a folder of token files cannot go to standard output; name a folder"),
            };
            // Before the model: a mistyped name should not wait for it.
            let found = batch::find(sounds)?;
            fs::create_dir_all(tokens).with_context(|| format!("cannot make the folder {}", tokens.display()))?;
            confine::enter(&Needs {
                inputs: vec![input],
                output: confine::Output::Folder(tokens),
                bundle: bundle.as_deref(),
                runs_model: true,
                threads: jobs,
            });
            let (runtime, model) = load()?;
            let (options, depth) = (options(&model), model.depth());
            // That one has shown that what is asked for is possible; each thread has its own.
            let bundle = model.bundle().clone();
            drop(model);
            let again = || Model::new(&runtime, bundle.clone(), Some(depth), usize::from(*beam));
            let request = batch::Request { sounds, tokens, jobs, channel: asked.channel };
            return batch::run(found, request, &options, &bundle, &again);
        }
    };
    confine::enter(&Needs {
        inputs: vec![input],
        output: confine::Output::File(output),
        bundle: bundle.as_deref(),
        runs_model: true,
        ..Needs::default()
    });
    // Both names first: a mistyped one should not wait for the model.
    let mut reader = input.read_audio(asked.channel)?;
    let claim = output.claim(Kind::Tokens, &[input], asked.force)?;
    let (_, mut model) = load()?;
    let mut options = options(&model);
    if output.is_standard() {
        options.block_frames = PIPE_BLOCK_FRAMES;
    }
    let seconds = reader.total_frames().map(|frames| frames as f64 / f64::from(reader.rate()));
    let bar = codec::progress("encoding", seconds);
    let mut out = claim.bytes()?;
    let summary = encode_file(&mut reader, &mut out, &mut model, &options, &mut |seconds| {
        bar.set_position(seconds as u64);
    })
    .map_err(|error| codec::named(error, output))?;
    out.finish()?;
    bar.finish_and_clear();
    if summary.tell(reader.name()) { Ok(()) } else { Err(Incomplete.into()) }
}

impl Summary {
    /// Says what was wrong with the sound of this name; gives whether nothing was.
    pub(crate) fn tell(&self, name: &str) -> bool {
        self.faults.sentences().for_each(|sentence| eprintln!("parlo: {name}: {sentence}"));
        if self.repaired > 0 {
            eprintln!("parlo: {} samples of {name} were no numbers, and became silence", self.repaired);
        }
        self.faults.is_empty()
    }
}

/// Encodes a sound as a token file. Prints nothing; tells `progress` how many seconds were read so far.
pub(crate) fn encode_file(
    reader: &mut MonoReader,
    out: impl Write,
    model: &mut Model,
    options: &Options,
    progress: &mut dyn FnMut(f64),
) -> anyhow::Result<Summary> {
    let Model { bundle, encoder, depth } = model;
    if let AnyEncoder::Streaming(encoder) = encoder {
        encoder.reset();
        encoder.set_depth(*depth)?;
    }
    let audio = bundle.manifest().audio.clone();
    let rate = reader.rate();
    let mut intake = Intake::new(rate, 1, audio.sample_rate, audio.frame_samples)?;
    let mut writer = parlo_archive::Writer::begin(out, bundle, options)?;
    let run = options.block_frames.min(RUN_FRAMES) * audio.frame_samples;
    let (mut waiting, mut tokens) = (Vec::with_capacity(run), Vec::<TokenFrame>::new());
    let (mut samples, mut heard, mut frames) = (Vec::new(), 0_u64, 0_u64);
    let mut pass_on = |tokens: &mut Vec<TokenFrame>| -> anyhow::Result<()> {
        frames += tokens.len() as u64;
        tokens.drain(..).try_for_each(|frame| Ok(writer.push(&frame)?))
    };
    loop {
        samples.clear();
        if !reader.read(&mut samples)? {
            break;
        }
        heard += samples.len() as u64;
        intake.push(&samples, |frame| waiting.extend_from_slice(frame));
        if let AnyEncoder::Streaming(encoder) = encoder {
            let ready = waiting.len() / run * run;
            encoder.push_many(&waiting[..ready], &mut tokens)?;
            waiting.drain(..ready);
            pass_on(&mut tokens)?;
        }
        progress(heard as f64 / f64::from(rate));
    }
    intake.finish(|frame| waiting.extend_from_slice(frame));
    // The decoder renders the last frame's end only when it has what comes after.
    let flush = audio.delay_samples.div_ceil(audio.frame_samples) * audio.frame_samples;
    waiting.resize(waiting.len() + flush, 0.0);
    match encoder {
        AnyEncoder::Streaming(encoder) => encoder.push_many(&waiting, &mut tokens)?,
        AnyEncoder::Whole(encoder) => tokens = encoder.encode(&waiting)?,
    }
    pass_on(&mut tokens)?;
    let samples = (heard * u64::from(audio.sample_rate)).div_ceil(u64::from(rate));
    let bytes = writer.end(Some(samples))?;
    Ok(Summary {
        seconds: heard as f64 / f64::from(rate),
        frames,
        bytes,
        faults: reader.faults().clone(),
        repaired: reader.repaired() + intake.repaired(),
    })
}

/// `KEY=VALUE`, as options take it.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && key.len() <= 255 => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE, the key of 1 to 255 bytes".to_owned()),
    }
}
