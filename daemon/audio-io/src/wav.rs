//! WAV in: RIFF, RIFX (big-endian), RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088), with the lengths that programs write who did not know
//! them, or died.
//!
//! A length is believed as far as the file bears it out: what lies behind it and is neither a chunk nor a tag is sound.

use std::io;

use crate::{
    Format,
    bytes::Bytes,
    faults::Faults,
    mp3::Mp3,
    reader::{Container, Next, Trouble},
    tags,
};

/// Lengths from here on mean "until the end": sox writes 2 GiB less a little, arecord 2 GiB, ffmpeg 4 GiB.
const OPEN_END: u64 = 0x7FFF_0000;

/// Samples decoded at a time, all channels.
const PIECE: usize = 1 << 14;

/// Bytes at the end that may be an ID3v1 tag, where no length says that the sound ended before.
const TAG: usize = 128;

/// A chunk behind the sound that claims more is no chunk.
const MOST_BEHIND: u64 = 1 << 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    Unsigned8,
    Signed {
        bytes: usize,
    },
    Float32,
    Float64,
    ALaw,
    MuLaw,
    /// An MP3 stream.
    Mp3,
}

/// How much of the sound is left.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// So many bytes. `firm`: whether something is missing if there are fewer.
    Known {
        bytes: u64,
        odd: bool,
        firm: bool,
    },
    /// Until the end.
    Open,
    /// Between chunks: after one of an odd length or not.
    Walk {
        odd: bool,
    },
    Ended,
}

pub(crate) struct Wav {
    bytes: Bytes,
    big: bool,
    format: Format,
    sample: Sample,
    /// Bytes of a sample frame.
    block: usize,
    left: Left,
    /// Where the RIFF chunk ends, if its length can be meant.
    riff_end: Option<u64>,
    /// Length of the sound by RF64's own chunk.
    long: Option<u64>,
    /// Chunks of sound that have begun.
    data: u32,
    total: Option<u64>,
    /// Sample frames that a chunk says are silent.
    silence: u64,
    frames: u64,
    mp3: Option<Mp3>,
}

/// Whether a file of this kind begins so.
pub(crate) fn begins(head: &[u8]) -> bool {
    head.len() >= 12
        && [&b"RIFF"[..], b"RIFX", b"RF64", b"BW64"].iter().any(|magic| head.starts_with(magic))
        && &head[8..12] == b"WAVE"
}

impl Wav {
    /// Reads up to where the sound begins.
    pub(crate) fn new(bytes: Bytes) -> Result<Self, Trouble> {
        let mut wav = Self {
            bytes,
            big: false,
            format: Format { rate: 0, channels: 0 },
            sample: Sample::Unsigned8,
            block: 0,
            left: Left::Walk { odd: false },
            riff_end: None,
            long: None,
            data: 0,
            total: None,
            silence: 0,
            frames: 0,
            mp3: None,
        };
        wav.riff()?;
        while wav.data == 0 && !matches!(wav.left, Left::Ended) {
            wav.walk(&mut Faults::default())?;
        }
        if wav.data == 0 {
            return Err(Trouble::Not("it ends before any sound begins".to_owned()));
        }
        if wav.sample == Sample::Mp3 {
            let rest = std::mem::replace(&mut wav.bytes, Bytes::new(io::empty()));
            wav.mp3 = Some(Mp3::new(rest)?);
        }
        Ok(wav)
    }

    fn u16(&self, bytes: &[u8]) -> u16 {
        let two = [bytes[0], bytes[1]];
        if self.big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }
    }

    fn u32(&self, bytes: &[u8]) -> u32 {
        let four = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }

    /// Takes the first twelve bytes.
    fn riff(&mut self) -> io::Result<()> {
        let begin = self.bytes.position();
        let head = self.bytes.peek(12)?.to_vec();
        self.big = head.starts_with(b"RIFX");
        let size = u64::from(self.u32(&head[4..8]));
        self.riff_end = (size > 4 && size < OPEN_END).then_some(begin + 8 + size);
        self.long = None;
        self.bytes.take(12);
        self.left = Left::Walk { odd: false };
        Ok(())
    }

    /// Takes the next chunk's head and, if it is no sound, all of it.
    fn walk(&mut self, faults: &mut Faults) -> Result<(), Trouble> {
        let Left::Walk { odd } = self.left else { return Ok(()) };
        if odd {
            // Chunks have even lengths, by a byte that some leave out.
            let head = self.bytes.peek(5)?;
            if !(head.len() >= 4 && is_name(&head[..4])) || head.first() == Some(&0) {
                self.bytes.take(1);
            }
        }
        self.left = Left::Walk { odd: false };
        let head = self.bytes.peek(12)?.to_vec();
        if head.is_empty() {
            self.left = Left::Ended;
            return Ok(());
        }
        if begins(&head) {
            // Files joined by `cat`.
            return Ok(self.riff()?);
        }
        let size = if head.len() >= 8 { u64::from(self.u32(&head[4..8])) } else { 0 };
        let behind = self.data > 0;
        let is_chunk =
            head.len() >= 8 && is_name(&head[..4]) && (!behind || size < MOST_BEHIND || &head[..4] == b"data");
        if !is_chunk {
            return self.no_chunk(behind, faults);
        }
        match &head[..4] {
            b"fmt " => {
                self.bytes.take(8);
                let body = self.bytes.peek(usize::try_from(size.min(64)).unwrap_or(64))?.to_vec();
                self.describe(&body)?;
                self.pass(size)?;
            }
            b"ds64" => {
                self.bytes.take(8);
                let body = self.bytes.peek(16)?;
                if let Some(data) = body.get(8..16) {
                    let data = data.try_into().map(u64::from_le_bytes).unwrap_or(0);
                    self.long = Some(data).filter(|&data| data > 0);
                }
                self.pass(size)?;
            }
            b"data" => {
                self.bytes.take(8);
                if self.block == 0 {
                    return Err(Trouble::Not("its sound begins before it says of which kind it is".to_owned()));
                }
                self.begin(size)?;
            }
            b"LIST" if head.get(8..12) == Some(b"wavl") => self.bytes.take(12),
            b"slnt" if self.block > 0 => {
                self.bytes.take(8);
                let frames = self.bytes.peek(4)?.to_vec();
                let frames = if frames.len() == 4 { u64::from(self.u32(&frames)) } else { 0 };
                self.pass(size)?;
                self.data += 1;
                self.silence = frames;
            }
            _ => {
                self.bytes.take(8);
                self.pass(size)?;
            }
        }
        Ok(())
    }

    /// Passes over a chunk's body.
    fn pass(&mut self, size: u64) -> io::Result<()> {
        self.bytes.skip(size)?;
        self.left = Left::Walk { odd: size % 2 == 1 };
        Ok(())
    }

    /// Where a chunk should begin and none does.
    fn no_chunk(&mut self, behind: bool, faults: &mut Faults) -> Result<(), Trouble> {
        if tags::skip(&mut self.bytes)? {
            return Ok(());
        }
        if !behind {
            return Err(Trouble::Not("its header is damaged".to_owned()));
        }
        let rest = self.bytes.peek(self.block)?.len();
        if rest < self.block || tags::is_rest(&mut self.bytes)? {
            self.left = Left::Ended;
        } else {
            faults.add(self.seconds(), "by its header the sound ends here; what follows is read as sound");
            self.left = Left::Open;
        }
        Ok(())
    }

    /// The sound begins, and has this length by its chunk.
    fn begin(&mut self, size: u64) -> io::Result<()> {
        self.data += 1;
        let here = self.bytes.position();
        let size = match self.long.take() {
            Some(long) if size >= OPEN_END => long,
            _ => size,
        };
        let to_riff_end = self.riff_end.and_then(|end| end.checked_sub(here)).filter(|&left| left > 0);
        self.left = if size == 0 {
            let head = self.bytes.peek(12)?;
            let empty = head.len() < self.block.min(8) || is_name(&head[..4.min(head.len())]) && head.len() >= 8;
            match to_riff_end {
                _ if empty => Left::Walk { odd: false },
                Some(bytes) => Left::Known { bytes, odd: bytes % 2 == 1, firm: false },
                None => Left::Open,
            }
        } else if (OPEN_END..=u64::from(u32::MAX)).contains(&size) {
            let bytes = to_riff_end.unwrap_or(size);
            Left::Known { bytes, odd: bytes % 2 == 1, firm: false }
        } else {
            Left::Known { bytes: size, odd: size % 2 == 1, firm: true }
        };
        if let (Left::Known { bytes, firm: true, .. }, 1) = (self.left, self.data) {
            self.total = Some(bytes / self.block as u64);
        }
        Ok(())
    }

    /// Takes what `fmt ` says.
    fn describe(&mut self, body: &[u8]) -> Result<(), Trouble> {
        if body.len() < 14 {
            return Err(Trouble::Not("its header is damaged".to_owned()));
        }
        let (mut tag, channels, rate) = (self.u16(body), self.u16(&body[2..]), self.u32(&body[4..]));
        let block = usize::from(self.u16(&body[12..]));
        let bits = if body.len() >= 16 { usize::from(self.u16(&body[14..])) } else { 8 };
        if tag == 0xFFFE && body.len() >= 26 {
            tag = self.u16(&body[24..]);
        }
        if channels == 0 || rate == 0 {
            let what = if channels == 0 { "no channels" } else { "no sample rate" };
            return Err(Trouble::Not(format!("it has {what} by its header")));
        }
        // Some say fewer bits than they take; those lie at the top.
        let even = block % usize::from(channels) == 0;
        let bytes = if even && block > 0 { block / usize::from(channels) } else { bits.div_ceil(8) };
        self.sample = match (tag, bytes) {
            (1, 1) => Sample::Unsigned8,
            (1, 2..=4) => Sample::Signed { bytes },
            (3, 4) => Sample::Float32,
            (3, 8) => Sample::Float64,
            (6, 1) => Sample::ALaw,
            (7, 1) => Sample::MuLaw,
            (0x50 | 0x55, _) => Sample::Mp3,
            (1 | 3 | 6 | 7, _) => return Err(Trouble::Not(format!("samples of {bits} bits are none that are known"))),
            (tag, _) => {
                let name = match tag {
                    2 => " (Microsoft ADPCM)",
                    0x11 => " (IMA ADPCM)",
                    0x31 => " (GSM 6.10)",
                    0x161..=0x163 => " (Windows Media Audio)",
                    _ => "",
                };
                return Err(Trouble::Not(format!("it is a WAV file of kind {tag:#06x}{name}, not of samples")));
            }
        };
        self.block = if self.sample == Sample::Mp3 { 1 } else { bytes * usize::from(channels) };
        self.format = Format { rate, channels };
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.format.rate.max(1))
    }

    /// Decodes whole sample frames of what is at hand, `most` bytes and `keep` less than all.
    fn decode(&mut self, most: u64, keep: usize, out: &mut Vec<f32>) -> io::Result<usize> {
        self.bytes.peek(self.block + keep)?;
        let here = self.bytes.at_hand()?.len().saturating_sub(keep);
        let here = here.min(usize::try_from(most).unwrap_or(usize::MAX)).min(PIECE.max(1) * 8);
        let count = here / self.block * self.block;
        let bytes = &self.bytes.at_hand()?[..count];
        convert(bytes, self.sample, self.big, out);
        self.bytes.take(count);
        self.frames += (count / self.block) as u64;
        Ok(count)
    }
}

impl Container for Wav {
    fn next(&mut self, out: &mut Vec<f32>, faults: &mut Faults) -> Result<Next, Trouble> {
        if let Some(mp3) = &mut self.mp3 {
            return mp3.next(out, faults);
        }
        loop {
            if self.silence > 0 {
                let frames = std::mem::take(&mut self.silence);
                self.frames += frames;
                return Ok(Next::Silence(self.format, frames));
            }
            match self.left {
                Left::Ended => return Ok(Next::End),
                Left::Walk { .. } => self.walk(faults)?,
                Left::Known { bytes, odd, firm } => {
                    let count = self.decode(bytes, 0, out)? as u64;
                    let left = bytes - count;
                    self.left = Left::Known { bytes: left, odd, firm };
                    if count > 0 {
                        return Ok(Next::Sound(self.format));
                    }
                    let rest = self.bytes.peek(self.block)?.len() as u64;
                    if rest < self.block as u64 && rest < left {
                        if firm {
                            let frames = self.frames + left.div_ceil(self.block as u64);
                            let promised = frames as f64 / f64::from(self.format.rate);
                            faults.add(self.seconds(), &format!("it breaks off; its header promises {promised:.1} s"));
                        }
                        self.left = Left::Ended;
                    } else {
                        // A part of a sample frame is none.
                        self.bytes.take(left as usize);
                        self.left = Left::Walk { odd };
                    }
                }
                Left::Open => {
                    if self.decode(u64::MAX, TAG, out)? > 0 {
                        return Ok(Next::Sound(self.format));
                    }
                    // All that is left is here.
                    let rest = self.bytes.peek(TAG + self.block)?;
                    let tag = rest.len() >= TAG && rest[rest.len() - TAG..].starts_with(b"TAG");
                    let most = if tag { rest.len() - TAG } else { rest.len() };
                    self.left = Left::Ended;
                    if self.decode(most as u64, 0, out)? > 0 {
                        return Ok(Next::Sound(self.format));
                    }
                }
            }
        }
    }

    fn total_frames(&self) -> Option<u64> {
        self.total.filter(|_| self.mp3.is_none())
    }
}

/// Whether a chunk may have this name.
fn is_name(name: &[u8]) -> bool {
    name.iter().all(|&byte| byte.is_ascii_alphanumeric() || b" _-".contains(&byte))
        && name != b"    "
        && !name.starts_with(b"TAG")
}

fn convert(bytes: &[u8], sample: Sample, big: bool, out: &mut Vec<f32>) {
    match sample {
        Sample::Unsigned8 => out.extend(bytes.iter().map(|&byte| (f32::from(byte) - 128.0) / 128.0)),
        Sample::ALaw => out.extend(bytes.iter().map(|&byte| a_law(byte))),
        Sample::MuLaw => out.extend(bytes.iter().map(|&byte| mu_law(byte))),
        Sample::Signed { bytes: size } => out.extend(bytes.chunks_exact(size).map(|sample| {
            // At the top of 32 bits, whatever the size.
            let top = |value: u32, byte: &u8| value >> 8 | u32::from(*byte) << 24;
            let value = if big { sample.iter().rev().fold(0, top) } else { sample.iter().fold(0, top) };
            (f64::from(value as i32) / 2_147_483_648.0) as f32
        })),
        Sample::Float32 => out.extend(bytes.chunks_exact(4).map(|s| {
            let four = [s[0], s[1], s[2], s[3]];
            if big { f32::from_be_bytes(four) } else { f32::from_le_bytes(four) }
        })),
        Sample::Float64 => out.extend(bytes.chunks_exact(8).map(|s| {
            let eight = [s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]];
            (if big { f64::from_be_bytes(eight) } else { f64::from_le_bytes(eight) }) as f32
        })),
        Sample::Mp3 => {}
    }
}

/// ITU-T G.711, A-law.
fn a_law(byte: u8) -> f32 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = (byte >> 4 & 7, i32::from(byte & 15));
    let value = match exponent {
        0 => mantissa << 4 | 8,
        _ => (mantissa << 4 | 0x108) << (exponent - 1),
    };
    (if byte & 0x80 != 0 { value } else { -value }) as f32 / 32_768.0
}

/// ITU-T G.711, mu-law.
fn mu_law(byte: u8) -> f32 {
    let byte = !byte;
    let value = ((i32::from(byte & 15) << 3 | 0x84) << (byte >> 4 & 7)) - 0x84;
    (if byte & 0x80 != 0 { -value } else { value }) as f32 / 32_768.0
}
