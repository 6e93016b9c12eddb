//! `parlo decode`: tokens to sound, whole files or while they come in.

use std::{io::Read, ops::ControlFlow, path::Path};

use anyhow::{Context, bail};
use parlo_archive::{Archive, ArchiveError, Coder, FileState, Side, Sound, TimedFrame};
use parlo_audio_io::AudioWriter;
use parlo_model::{Bundle, CodingError, Decoder, Runtime, decode_recording};
use parlo_protocol::ptk::{Block, FileError, Header, Item, Reader};
use parlo_tokens::TokenFrame;
use parlod::sentence_of;

use crate::{
    codec,
    confine::{self, Needs},
    io_path::{Anywhere, Claim, IoPath, spooled},
    tokens::TimeRange,
};

/// How much before a range is decoded with it, so that the decoder has heard what came before, milliseconds.
const WARM_MS: u64 = 1_000;

/// Where the input goes, and what of it.
struct Task<'a> {
    input: &'a IoPath,
    name: String,
    output: Claim<'a>,
    bundle: Option<&'a Path>,
    keep_going: bool,
}

pub(crate) fn run(
    input: &IoPath,
    output: &IoPath,
    bundle: Option<&Path>,
    keep_going: bool,
    range: TimeRange,
    force: bool,
) -> anyhow::Result<()> {
    confine::enter(&Needs {
        inputs: vec![input],
        output: confine::Output::File(output),
        bundle,
        runs_model: true,
        ..Needs::default()
    });
    decode(input, output, bundle, keep_going, range, force)
}

/// The same, in a sandbox already.
pub(crate) fn decode(
    input: &IoPath,
    output: &IoPath,
    bundle: Option<&Path>,
    keep_going: bool,
    range: TimeRange,
    force: bool,
) -> anyhow::Result<()> {
    let output = output.claim_sound(&[input], force)?;
    let task = Task { input, name: input.name("standard input"), output, bundle, keep_going };
    if !range.is_all() {
        return task.range(range);
    }
    let mut bytes = input.read_bytes()?;
    let (mut reader, mut player, mut read) = (Reader::new(), None, Vec::new());
    let mut buffer = vec![0; 1 << 14];
    let bar = codec::progress("decoding", None);
    let outcome = loop {
        let count = bytes.read(&mut buffer).with_context(|| format!("cannot read {input}"))?;
        if count == 0 {
            break reader.finish().map_err(Damage::File);
        }
        if player.is_none() {
            read.extend_from_slice(&buffer[..count]);
        }
        reader.push(&buffer[..count]);
        match task.drain(&mut reader, &mut player)? {
            Drained::All => {}
            Drained::Streams => {
                bar.finish_and_clear();
                return task.recording(bytes, read);
            }
            Drained::Damaged(damage) => break Err(damage),
        }
        if let Some(player) = &player {
            bar.set_position(player.seconds() as u64);
        }
    };
    bar.finish_and_clear();
    let name = &task.name;
    match (outcome, player) {
        (Ok(()), Some(player)) => player.finish(),
        (Err(damage), Some(player)) if keep_going => {
            eprintln!("parlo: {name}: {damage}");
            player.finish()
        }
        (Err(damage), player) => {
            let hint = if player.is_some() { "; --keep-going saves that" } else { "" };
            bail!("{name}: {damage}{hint}")
        }
        (Ok(()), None) => bail!("{name}: {}", FileError::Empty),
    }
}

impl Task<'_> {
    /// Plays everything that is whole by now.
    fn drain(&self, reader: &mut Reader, player: &mut Option<Player>) -> anyhow::Result<Drained> {
        loop {
            match reader.next_item() {
                Ok(None) => return Ok(Drained::All),
                Ok(Some(Item::Header(header))) if header.streams.is_empty() => {
                    *player = Some(Player::new(&header, self)?);
                }
                Ok(Some(Item::Header(_))) => return Ok(Drained::Streams),
                Ok(Some(Item::Block(block))) => {
                    if let Some(player) = player {
                        if let Err(error) = player.unpack(&block) {
                            let seconds = block.start_ms / 1000.0;
                            return Ok(Drained::Damaged(Damage::Payload { seconds, error }));
                        }
                        player.play()?;
                    }
                }
                Ok(Some(Item::End { samples, .. })) => {
                    if let (Some(player), Some(samples)) = (player.as_mut(), samples) {
                        player.trim(samples)?;
                    }
                }
                Err(damage) => return Ok(Drained::Damaged(Damage::File(damage))),
            }
        }
    }

    /// Decodes a file of several streams, all of them mixed. Of standard input `read` was read already.
    fn recording(&self, rest: Box<dyn Read>, read: Vec<u8>) -> anyhow::Result<()> {
        let source: Box<dyn Anywhere> = if self.input.is_standard() {
            Box::new(spooled(&mut std::io::Cursor::new(read).chain(rest)).context("cannot read standard input")?)
        } else {
            self.input.read_anywhere()?
        };
        let archive = Archive::open(source).map_err(|error| self.fault(&error))?;
        self.check(&archive)?;
        let (runtime, bundle) = self.model(&archive)?;
        let sound = Sound::open(archive, Side::Both, self.keep_going, &runtime, &bundle);
        let mut sound = sound.map_err(|error| self.fault(&error))?;
        let all = sound.samples();
        self.write(&mut sound, all)
    }

    /// Decodes a part of a file.
    fn range(&self, range: TimeRange) -> anyhow::Result<()> {
        let mut archive = Archive::open(self.input.read_anywhere()?).map_err(|error| self.fault(&error))?;
        self.check(&archive)?;
        let (runtime, bundle) = self.model(&archive)?;
        let rate = bundle.manifest().audio.sample_rate;
        let samples_at = |ms: u64| ms.saturating_mul(rate.into()) / 1000;
        let to = range.to_ms.min(archive.duration_ms());
        let from = range.from_ms.min(to);
        let end = samples_at(to).min(archive.samples().unwrap_or(u64::MAX));
        if bundle.whole().is_some() {
            return self.stretch_at_once(&mut archive, &runtime, &bundle, from, to);
        }
        // What is damaged elsewhere is not asked for.
        let sound = Sound::open(archive, Side::Both, true, &runtime, &bundle);
        let mut sound = sound.map_err(|error| self.fault(&error))?;
        if let Some(damage) = sound.damage().filter(|_| end > sound.samples()) {
            if !self.keep_going {
                bail!("{}: {damage}; --keep-going saves that", self.name);
            }
            eprintln!("parlo: {}: {damage}", self.name);
        }
        sound.seek(samples_at(from));
        self.write(&mut sound, end.saturating_sub(samples_at(from)))
    }

    /// The same with a model that takes nothing less than a recording.
    fn stretch_at_once<S: Anywhere>(
        &self,
        archive: &mut Archive<S>,
        runtime: &Runtime,
        bundle: &Bundle,
        from: u64,
        to: u64,
    ) -> anyhow::Result<()> {
        let audio = &bundle.manifest().audio;
        let samples_at = |ms: u64| ms.saturating_mul(audio.sample_rate.into()) / 1000;
        // Frames lie on a grid, from which the range's beginning may be off.
        let begin = from.saturating_sub(WARM_MS);
        let mut part = Vec::new();
        let mut coder = parlo_archive::coder(bundle, archive.header().tokens.coding)?;
        parlo_archive::cut(archive, Some(&mut coder), begin, to, audio.delay_samples, &mut part)
            .map_err(|error| self.fault(&error))?;
        let mut part = Archive::open(std::io::Cursor::new(part))?;
        // The cut begins with the first frame that begins in it.
        let frame = audio.frame_samples as u64;
        let first = (begin as f64 / archive.frame_ms()).ceil() as u64 * frame;
        let frames = read_all(&mut part, &mut coder)?;
        let sound = decode_recording(runtime, bundle, &frames)?;
        let most = archive.samples().unwrap_or(u64::MAX).min(samples_at(to));
        let place = |at: u64| usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        let end = place(most).min(sound.len());
        let mut out = self.output.sound(audio.sample_rate)?;
        out.write(&sound[place(samples_at(from)).min(end)..end])?;
        Ok(out.finish()?)
    }

    fn model<S: Anywhere>(&self, archive: &Archive<S>) -> anyhow::Result<(Runtime, Bundle)> {
        let bundle = codec::bundle_of(&archive.header().tokens, &self.name, self.bundle)?;
        Ok((Runtime::load(None)?, bundle))
    }

    /// Refuses a file that is not whole, or says what is wrong and goes on.
    fn check<S: Anywhere>(&self, archive: &Archive<S>) -> anyhow::Result<()> {
        let seconds = archive.duration_ms() as f64 / 1000.0;
        let damage = match archive.state() {
            FileState::Whole => return Ok(()),
            FileState::Cut { at } => FileError::Truncated { offset: *at, seconds }.to_string(),
            FileState::Damaged { reason, .. } => reason.clone(),
        };
        if !self.keep_going {
            bail!("{}: {damage}; --keep-going saves that", self.name);
        }
        eprintln!("parlo: {}: {damage}", self.name);
        Ok(())
    }

    /// Writes so many of the next samples, piece by piece.
    fn write<S: Anywhere>(&self, sound: &mut Sound<S>, mut left: u64) -> anyhow::Result<()> {
        let mut out = self.output.sound(sound.rate())?;
        let (bar, mut floats) = (codec::progress("decoding", None), Vec::new());
        while left > 0 {
            let piece = sound.read().map_err(|error| self.fault(&error))?;
            let piece = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            if piece.is_empty() {
                break;
            }
            left -= piece.len() as u64;
            floats.clear();
            floats.extend(piece.iter().map(|&sample| f32::from(sample) / 32_768.0));
            out.write(&floats)?;
            bar.set_position(out.frames() / u64::from(out.format().rate.max(1)));
        }
        bar.finish_and_clear();
        Ok(out.finish()?)
    }

    fn fault(&self, error: &ArchiveError) -> anyhow::Error {
        anyhow::anyhow!("{}: {}", self.name, sentence_of(error))
    }
}

/// Codes of all frames of a file of whole frames.
fn read_all<S: Anywhere>(archive: &mut Archive<S>, coder: &mut Coder) -> anyhow::Result<Vec<TokenFrame>> {
    let (mut frames, frame_ms) = (Vec::<TimedFrame>::new(), archive.frame_ms());
    archive.blocks(0, None, |block| {
        let decoded = coder.decode_block(block, frame_ms, &mut frames);
        decoded.map_err(|error| ArchiveError::Codes { seconds: block.start_ms / 1000.0, error })?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(frames.iter().filter_map(|frame| frame.codes).collect())
}

/// How far what has come in was played.
enum Drained {
    /// All that is whole.
    All,
    /// Nothing: it is a file of several streams.
    Streams,
    /// Up to this.
    Damaged(Damage),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error(transparent)]
    File(FileError),
    #[error("it is damaged {seconds:.1} s in: {error}; what lies before is whole")]
    Payload { seconds: f64, error: CodingError },
}

enum AnyDecoder {
    Streaming(Box<Decoder>),
    /// Decodes a recording at once, at its end.
    Whole(Runtime, Box<Bundle>),
}

/// Decodes frames into a sound file of just the length of the original.
struct Player {
    decoder: AnyDecoder,
    coder: Coder,
    out: AudioWriter,
    depth: usize,
    /// Samples at the start that are the decoder's delay, still to be left out.
    skip: usize,
    tokens: Vec<TokenFrame>,
    /// The last samples decoded, held back until it is known whether they are padding.
    held: Vec<f32>,
    hold: usize,
}

impl Player {
    fn new(header: &Header, task: &Task<'_>) -> anyhow::Result<Self> {
        let tokens = &header.tokens;
        let bundle = codec::bundle_of(tokens, &task.name, task.bundle)?;
        let runtime = Runtime::load(None)?;
        let audio = &bundle.manifest().audio;
        Ok(Self {
            decoder: match bundle.whole() {
                None => AnyDecoder::Streaming(Box::new(Decoder::new(&runtime, &bundle)?)),
                Some(_) => AnyDecoder::Whole(runtime, Box::new(bundle.clone())),
            },
            coder: parlo_archive::coder(&bundle, tokens.coding)?,
            out: task.output.sound(audio.sample_rate)?,
            depth: usize::from(tokens.depth),
            skip: audio.delay_samples,
            tokens: Vec::new(),
            held: Vec::new(),
            // A frame that is filled up with silence, the frames that flush the decoder, and one more that they flushed who made the
            // file with another decoder of the same tokens.
            hold: audio.frame_samples * (2 + audio.delay_samples.div_ceil(audio.frame_samples)),
        })
    }

    /// Takes a block's frames out of its payload.
    fn unpack(&mut self, block: &Block<'_>) -> Result<(), CodingError> {
        if matches!(self.decoder, AnyDecoder::Streaming(_)) {
            self.tokens.clear();
        }
        self.coder.decode(block.whole().unwrap_or_default(), block.count, self.depth, &mut self.tokens)
    }

    /// How much was written so far.
    fn seconds(&self) -> f64 {
        self.out.frames() as f64 / f64::from(self.out.format().rate)
    }

    /// Plays the frames that were unpacked last.
    fn play(&mut self) -> anyhow::Result<()> {
        let decoder = match &mut self.decoder {
            AnyDecoder::Streaming(decoder) => decoder,
            // All of it is kept until its end.
            AnyDecoder::Whole(_, bundle) => return Ok(bundle.takes(self.tokens.len())?),
        };
        decoder.push_many(&self.tokens, &mut self.held)?;
        let skipped = self.skip.min(self.held.len());
        self.skip -= skipped;
        self.held.drain(..skipped);
        let ready = self.held.len().saturating_sub(self.hold);
        self.out.write(&self.held[..ready])?;
        self.held.drain(..ready);
        Ok(())
    }

    /// The original had so many samples: what is held beyond them is padding.
    fn trim(&mut self, samples: u64) -> anyhow::Result<()> {
        self.render()?;
        let left = usize::try_from(samples.saturating_sub(self.out.frames()))?;
        if let AnyDecoder::Streaming(decoder) = &mut self.decoder {
            // Made with a decoder of less delay, a file ends before this one has put out its end.
            let mut missing = (left + self.skip).saturating_sub(self.held.len()).min(self.hold);
            while missing > 0 {
                let more = decoder.conceal()?;
                missing = missing.saturating_sub(more.len());
                self.held.extend_from_slice(more);
            }
            self.held.drain(..self.skip.min(self.held.len()));
            self.skip = 0;
        }
        self.held.truncate(left);
        Ok(())
    }

    /// Decodes what is decoded at once, if it is not yet.
    fn render(&mut self) -> anyhow::Result<()> {
        if let AnyDecoder::Whole(runtime, bundle) = &self.decoder
            && !self.tokens.is_empty()
        {
            self.held = decode_recording(runtime, bundle, &self.tokens)?;
            self.tokens.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.render()?;
        self.out.write(&self.held)?;
        Ok(self.out.finish()?)
    }
}
