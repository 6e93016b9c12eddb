use std::io::Write;

use parlo_model::{Bundle, ModelError};
use parlo_protocol::ptk::{self, Coding, Header, MAX_BLOCK_FRAMES, Tokens};
use parlo_tokens::TokenFrame;

use crate::{
    coder::{Coder, best_coding, coder},
    error::ArchiveError,
};

/// What a file of one stream begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Codes of each frame, from 1 to the bundle's.
    pub depth: usize,
    /// Pack codes as they are, though the bundle has an entropy model.
    pub plain: bool,
    /// Frames of a block, 1 to 500. Longer ones take fewer bits; shorter ones arrive sooner.
    pub block_frames: usize,
    /// When the first sample was recorded, milliseconds since 1970-01-01 UTC, if it shall be said.
    pub created_ms: Option<u64>,
    /// Keys and values.
    pub metadata: Vec<(String, String)>,
}

impl Default for Options {
    /// Depth 6, entropy-coded where possible, blocks of 500 frames, and nothing else said.
    fn default() -> Self {
        Self { depth: 6, plain: false, block_frames: MAX_BLOCK_FRAMES, created_ms: None, metadata: Vec::new() }
    }
}

/// Makes a file of one stream of whole frames, of one depth: what `parlo encode` writes.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    file: ptk::Writer,
    coder: Coder,
    block: usize,
    frames: Vec<TokenFrame>,
    payload: Vec<u8>,
    bytes: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file: writes its header.
    ///
    /// # Errors
    /// If the depth is beyond the bundle's, its entropy model cannot be read, the metadata is too much for a header, or `out` cannot
    /// be written.
    pub fn begin(out: W, bundle: &Bundle, options: &Options) -> Result<Self, ArchiveError> {
        let coding = if options.plain { Coding::Plain } else { best_coding(bundle) };
        Self::with_coder(out, bundle, options, coder(bundle, coding)?)
    }

    /// The same with a coder at hand, which must be of this bundle and of the coding that the options ask for.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn with_coder(out: W, bundle: &Bundle, options: &Options, coder: Coder) -> Result<Self, ArchiveError> {
        let (manifest, most) = (bundle.manifest(), bundle.layout().depth());
        if options.depth == 0 || options.depth > most {
            return Err(ModelError::Depth { asked: options.depth, most }.into());
        }
        let tokens = Tokens {
            id: bundle.tokens().prefix(),
            bundle_name: manifest.name.clone(),
            sample_rate: manifest.audio.sample_rate,
            frame_samples: u32::try_from(manifest.audio.frame_samples).unwrap_or(u32::MAX),
            depth: options.depth as u8,
            coding: if options.plain { Coding::Plain } else { best_coding(bundle) },
        };
        let (created_ms, metadata) = (options.created_ms, options.metadata.clone());
        let header = Header { tokens, created_ms, streams: Vec::new(), metadata };
        let mut bytes = Vec::new();
        let file = ptk::Writer::begin(&header, &mut bytes)?;
        let block = options.block_frames.clamp(1, MAX_BLOCK_FRAMES);
        let frames = Vec::with_capacity(block);
        let mut writer = Self { out, file, coder, block, frames, payload: Vec::new(), bytes, written: 0 };
        writer.pass_on()?;
        Ok(writer)
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// If it does not fit the model, or has another depth than the file; or `out` cannot be written.
    pub fn push(&mut self, frame: &TokenFrame) -> Result<(), ArchiveError> {
        self.frames.push(*frame);
        if self.frames.len() >= self.block { self.write_block() } else { Ok(()) }
    }

    /// Ends the file. `samples` is the length of the original at the bundle's rate; without it all frames are heard to their end.
    /// Gives back what was written to, flushed.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(mut self, samples: Option<u64>) -> Result<W, ArchiveError> {
        self.end(samples)?;
        Ok(self.out)
    }

    /// The same, for those who want the length of the file in bytes. Nothing can be pushed after.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn end(&mut self, samples: Option<u64>) -> Result<u64, ArchiveError> {
        self.write_block()?;
        self.file.end(samples, &mut self.bytes);
        self.pass_on()?;
        Ok(self.written)
    }

    fn write_block(&mut self) -> Result<(), ArchiveError> {
        if self.frames.is_empty() {
            return Ok(());
        }
        self.payload.clear();
        self.coder.encode(&self.frames, &mut self.payload)?;
        self.file.whole(self.frames.len(), &self.payload, &mut self.bytes)?;
        self.frames.clear();
        self.pass_on()
    }

    fn pass_on(&mut self) -> Result<(), ArchiveError> {
        pass_on(&mut self.out, &mut self.bytes, &mut self.written)?;
        // Whoever is at the other end of a pipe can play on.
        self.out.flush().map_err(ArchiveError::Write)
    }
}

/// Writes what is made, and counts it.
pub(crate) fn pass_on(out: &mut impl Write, bytes: &mut Vec<u8>, written: &mut u64) -> Result<(), ArchiveError> {
    out.write_all(bytes).map_err(ArchiveError::Write)?;
    *written += bytes.len() as u64;
    bytes.clear();
    Ok(())
}
