//! `parlo decode`: tokens to sound, whole files or while they come in.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use parlo_model::{CodingError, Decoder, FrameCoder};
use parlo_protocol::file::{FileError, FileReader, Header, Item, streams};
use parlo_tokens::TokenFrame;
use parlod::audio::{Format, WavWriter};

use crate::{codec, place::Place};

pub(crate) fn run(input: &Place, output: &Place, bundle: Option<&Path>, keep_going: bool) -> anyhow::Result<()> {
    let mut bytes = input.read_bytes()?;
    let mut reader = FileReader::new();
    let mut player: Option<Player> = None;
    let mut buffer = vec![0; 1 << 14];
    let bar = codec::progress("decoding", None);
    let outcome = loop {
        let count = bytes.read(&mut buffer).with_context(|| format!("cannot read {input}"))?;
        if count == 0 {
            break reader.finish().map_err(Damage::File);
        }
        reader.push(&buffer[..count]);
        match drain(&mut reader, &mut player, input, output, bundle)? {
            Ok(()) => {}
            Err(Damage::File(FileError::OtherVersion(_))) => return recording(input, output, bundle, keep_going),
            Err(damage) => break Err(damage),
        }
        if let Some(player) = &player {
            bar.set_position(player.frames * u64::from(player.frame_ms) / 1000);
        }
    };
    bar.finish_and_clear();
    let name = if input.is_standard() { "standard input".to_owned() } else { input.to_string() };
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

/// Decodes a recording of a call, both sides mixed.
fn recording(input: &Place, output: &Place, bundle: Option<&Path>, keep_going: bool) -> anyhow::Result<()> {
    let Place::File(path) = input else {
        bail!("standard input is a recording of a call, which is read twice, so it must be a file: save it first");
    };
    let (header, end) = walk(input)?;
    let name = input.to_string();
    let header = match (header, end) {
        (Some(header), Ok(())) => header,
        (Some(header), Err(damage)) if keep_going => {
            eprintln!("parlo: {name}: {damage}");
            header
        }
        (Some(_), Err(damage)) => bail!("{name}: {damage}; --keep-going saves that"),
        (None, end) => bail!("{name}: {}", end.err().unwrap_or(FileError::Empty)),
    };
    let folder = match bundle {
        Some(_) => parlo_model::locate_bundle(bundle)?,
        None => find(&header, input)?,
    };
    let (runtime, bundle) = codec::open(&folder)?;
    let wav = parlod::recordings::wav(path, parlod::recordings::Side::Both, keep_going, &runtime, &bundle)?;
    let mut output = output.write_bytes()?;
    output.put(&wav)?;
    output.finish()
}

/// What a recording's header says, and whether it is whole. Nothing is decoded.
fn walk(input: &Place) -> anyhow::Result<(Option<Header>, Result<(), FileError>)> {
    let mut bytes = input.read_bytes()?;
    let (mut reader, mut buffer, mut header) = (streams::Reader::new(), vec![0; 1 << 16], None);
    loop {
        let count = bytes.read(&mut buffer).with_context(|| format!("cannot read {input}"))?;
        if count == 0 {
            return Ok((header, reader.finish()));
        }
        reader.push(&buffer[..count]);
        loop {
            match reader.next_item() {
                Ok(Some(streams::Item::Header(found))) => header = Some(found.tokens),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return Ok((header, Err(error))),
            }
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error(transparent)]
    File(FileError),
    #[error("it is damaged {seconds:.1} s in: {error}; what lies before is whole")]
    Payload { seconds: f64, error: CodingError },
}

/// Plays everything that is whole by now. The inner error is damage to the file, the outer one anything else.
fn drain(
    reader: &mut FileReader,
    player: &mut Option<Player>,
    input: &Place,
    output: &Place,
    bundle: Option<&Path>,
) -> anyhow::Result<Result<(), Damage>> {
    loop {
        match reader.next_item() {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(Item::Header(header))) => *player = Some(Player::new(&header, input, output, bundle)?),
            Ok(Some(Item::Frames { first, count, payload })) => {
                if let Some(player) = player
                    && let Err(error) = player.unpack(count, payload)
                {
                    return Ok(Err(Damage::Payload { seconds: player.seconds(first), error }));
                }
                if let Some(player) = player {
                    player.play()?;
                }
            }
            Ok(Some(Item::End { samples })) => {
                if let Some(player) = player {
                    player.trim(samples)?;
                }
            }
            Err(damage) => return Ok(Err(Damage::File(damage))),
        }
    }
}

/// Decodes frames into a WAV file of just the length of the original.
struct Player {
    decoder: Decoder,
    coder: Box<dyn FrameCoder>,
    wav: WavWriter,
    depth: usize,
    frame_ms: u32,
    /// Samples at the start that are the decoder's delay, still to be left out.
    skip: usize,
    frames: u64,
    tokens: Vec<TokenFrame>,
    /// The last samples decoded, held back until it is known whether they are padding.
    held: Vec<f32>,
    hold: usize,
}

impl Player {
    fn new(header: &Header, input: &Place, output: &Place, bundle: Option<&Path>) -> anyhow::Result<Self> {
        let folder = match bundle {
            Some(_) => parlo_model::locate_bundle(bundle)?,
            None => find(header, input)?,
        };
        let (runtime, bundle) = codec::open(&folder)?;
        if bundle.id() != header.bundle {
            bail!(
                "{input} was made with the model {} ({}), but {} is {} ({}); name the right one with --bundle",
                header.bundle_name,
                header.bundle.short(),
                folder.display(),
                bundle.manifest().name,
                bundle.id().short()
            );
        }
        let audio = &bundle.manifest().audio;
        let format = Format { rate: audio.sample_rate, channels: 1 };
        Ok(Self {
            decoder: Decoder::new(&runtime, &bundle)?,
            coder: codec::coder(&bundle, header.coding)?,
            wav: output.write_wav(format)?,
            depth: usize::from(header.depth),
            frame_ms: (1000 * header.frame_samples).div_ceil(header.sample_rate),
            skip: audio.delay_samples,
            frames: 0,
            tokens: Vec::new(),
            held: Vec::new(),
            // A frame that is filled up with silence, and the frames that flush the decoder.
            hold: audio.frame_samples * (1 + audio.delay_samples.div_ceil(audio.frame_samples)),
        })
    }

    /// Takes a block's frames out of its payload.
    fn unpack(&mut self, count: usize, payload: &[u8]) -> Result<(), CodingError> {
        self.tokens.clear();
        self.coder.decode(payload, count, self.depth, &mut self.tokens)
    }

    /// How far into the file this frame is.
    fn seconds(&self, frame: u64) -> f64 {
        frame as f64 * f64::from(self.frame_ms) / 1000.0
    }

    /// Plays the frames that were unpacked last.
    fn play(&mut self) -> anyhow::Result<()> {
        for tokens in &self.tokens {
            let audio = self.decoder.push(tokens)?;
            let skipped = self.skip.min(audio.len());
            self.skip -= skipped;
            self.held.extend_from_slice(&audio[skipped..]);
            self.frames += 1;
        }
        let ready = self.held.len().saturating_sub(self.hold);
        self.wav.write(&self.held[..ready])?;
        self.held.drain(..ready);
        Ok(())
    }

    /// The original had so many samples: what is held beyond them is padding.
    fn trim(&mut self, samples: u64) -> anyhow::Result<()> {
        let left = usize::try_from(samples.saturating_sub(self.wav.frames()))?;
        self.held.truncate(left);
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.wav.write(&self.held)?;
        Ok(self.wav.finish()?)
    }
}

/// The bundle that a file was made with, among those that are here.
fn find(header: &Header, input: &Place) -> anyhow::Result<PathBuf> {
    if let Ok(folder) = parlo_model::locate_bundle(None)
        && parlo_model::Bundle::open(&folder).is_ok_and(|bundle| bundle.id() == header.bundle)
    {
        return Ok(folder);
    }
    parlo_model::find_bundle(header.bundle).with_context(|| {
        let folders: Vec<String> = parlo_model::bundle_folders().iter().map(|f| f.display().to_string()).collect();
        format!(
            "{input} was made with the model {} ({}), which is not here; name its folder with --bundle, or put it into {}",
            header.bundle_name,
            header.bundle.short(),
            folders.join(" or ")
        )
    })
}
