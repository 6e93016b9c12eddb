//! Blocks from file to file: as they are where that is possible.

use std::io::Write;

use parlo_protocol::ptk::{self, AUDIO, Block, Header, Run, Stream, Totals};
use parlo_tokens::TokenFrame;

use crate::{coder::Coder, error::ArchiveError, header::TimedFrame, writer::pass_on};

/// Writes blocks of other files.
pub(crate) struct Copier<W> {
    out: W,
    file: ptk::Writer,
    whole: bool,
    bytes: Vec<u8>,
    written: u64,
    payloads: Vec<u8>,
}

impl<W: Write> Copier<W> {
    /// Begins a file.
    pub(crate) fn begin(out: W, header: &Header) -> Result<Self, ArchiveError> {
        let mut bytes = Vec::new();
        let (file, whole) = (ptk::Writer::begin(header, &mut bytes)?, header.streams.is_empty());
        Ok(Self { out, file, whole, bytes, written: 0, payloads: Vec::new() })
    }

    /// Writes a block as it is, as one of this stream; of a file of streams, at this time, milliseconds.
    pub(crate) fn copy(&mut self, block: &Block<'_>, stream: u8, time_ms: f64) -> Result<(), ArchiveError> {
        match block.whole() {
            Some(payload) if self.whole => self.file.whole(block.count, payload, &mut self.bytes)?,
            _ => {
                let runs: Vec<Run<'_>> = block.runs().collect();
                self.file.block(stream, rounded(time_ms), &runs, &mut self.bytes)?;
            }
        }
        self.pass_on()
    }

    /// Writes up to 500 frames as a block, coded anew without a loss; of a file of streams, the first at this time.
    pub(crate) fn code(
        &mut self,
        frames: &[TimedFrame],
        stream: u8,
        time_ms: f64,
        coder: &mut Coder,
    ) -> Result<(), ArchiveError> {
        if self.whole {
            let tokens: Vec<TokenFrame> = frames.iter().filter_map(|frame| frame.codes).collect();
            self.payloads.clear();
            coder.encode(&tokens, &mut self.payloads)?;
            self.file.whole(tokens.len(), &self.payloads, &mut self.bytes)?;
        } else {
            let runs = coder.runs(frames, &mut self.payloads)?;
            self.file.block(stream, rounded(time_ms), &runs, &mut self.bytes)?;
        }
        self.pass_on()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.file.totals()
    }

    /// Ends the file; gives its length in bytes.
    pub(crate) fn finish(mut self, samples: Option<u64>) -> Result<u64, ArchiveError> {
        self.file.end(samples, &mut self.bytes);
        self.pass_on()?;
        self.out.flush().map_err(ArchiveError::Write)?;
        Ok(self.written)
    }

    fn pass_on(&mut self) -> Result<(), ArchiveError> {
        pass_on(&mut self.out, &mut self.bytes, &mut self.written)
    }
}

/// The header of the same file with these streams instead of none.
pub(crate) fn with_streams(header: &Header) -> Header {
    let mut header = header.clone();
    if header.streams.is_empty() {
        header.streams.push(Stream { id: 0, name: AUDIO.to_owned() });
    }
    header
}

/// A time as blocks say it.
fn rounded(time_ms: f64) -> u32 {
    time_ms.round().clamp(0.0, f64::from(u32::MAX)) as u32
}
