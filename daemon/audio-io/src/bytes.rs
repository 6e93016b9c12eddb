//! Bytes of a file or a pipe, which can be looked at before they are taken.

use std::io::{self, Read};

/// Bytes asked for at a time.
const PIECE: usize = 1 << 16;

/// A stream of bytes from the front on.
pub(crate) struct Bytes {
    source: Box<dyn Read + Send + Sync>,
    buffer: Vec<u8>,
    /// Of the buffer, what was taken.
    start: usize,
    position: u64,
    ended: bool,
}

impl Bytes {
    pub(crate) fn new(source: impl Read + Send + Sync + 'static) -> Self {
        Self { source: Box::new(source), buffer: Vec::new(), start: 0, position: 0, ended: false }
    }

    /// Bytes taken so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next `count` bytes, fewer only at the end. Reads no further than it must, so that a pipe's bytes are had as they come.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.start < count && !self.ended {
            self.fill()?;
        }
        let end = (self.start + count).min(self.buffer.len());
        Ok(&self.buffer[self.start..end])
    }

    /// All bytes at hand, at least one unless it is at its end.
    pub(crate) fn at_hand(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(&self.buffer[self.start..])
    }

    /// Takes bytes that were looked at.
    pub(crate) fn take(&mut self, count: usize) {
        let count = count.min(self.buffer.len() - self.start);
        self.start += count;
        self.position += count as u64;
    }

    /// Passes over bytes; gives how many there were.
    pub(crate) fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut left = count;
        while left > 0 {
            let here = self.at_hand()?.len();
            if here == 0 {
                break;
            }
            let now = here.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.take(now);
            left -= now as u64;
        }
        Ok(count - left)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE, 0);
        let count = loop {
            match self.source.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(before + *count.as_ref().unwrap_or(&0));
        self.ended = count? == 0;
        Ok(())
    }
}
