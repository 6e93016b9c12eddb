//! FLAC (RFC 9639): frame by frame, each of which has its own checksums and number, so that what is damaged or missing is known, and
//! tags, padding or another file behind it are no part of it.

use symphonia::core::{
    codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known::CODEC_ID_FLAC},
    packet::Packet,
    units::{Duration, Timestamp},
};
use symphonia::default::codecs::FlacDecoder;

use crate::{
    Format,
    bytes::Bytes,
    crc::{crc8, crc16},
    faults::Faults,
    reader::{Container, Next, Trouble, guarded},
    tags,
};

/// Bytes looked at for the end of a frame, at first.
const PIECE: usize = 1 << 14;

/// The most silence that stands for what is lost at once, where the file does not say how long it is.
const MOST_FILLED: u64 = 1 << 26;

/// A decoder of frames, for whichever container.
pub(crate) struct Frames {
    decoder: FlacDecoder,
    pub(crate) format: Format,
    pub(crate) total: Option<u64>,
    bits: u64,
}

impl Frames {
    /// Takes a stream's description (STREAMINFO, 34 bytes).
    pub(crate) fn new(info: &[u8]) -> Result<Self, Trouble> {
        let damaged = || Trouble::Not("its header is damaged".to_owned());
        let mut info: Box<[u8]> = info.get(..34).ok_or_else(damaged)?.into();
        let rate = u32::from(info[10]) << 12 | u32::from(info[11]) << 4 | u32::from(info[12] >> 4);
        let channels = u16::from(info[12] >> 1 & 7) + 1;
        let bits = u64::from((info[12] & 1) << 4 | info[13] >> 4) + 1;
        let total =
            u64::from(info[13] & 15) << 32 | u64::from(u32::from_be_bytes([info[14], info[15], info[16], info[17]]));
        // Lengths of blocks are said by each; some files say 0 here, and others too little.
        info[..4].copy_from_slice(&[0, 16, 0xFF, 0xFF]);
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_FLAC).with_extra_data(info);
        let decoder = guarded(|| FlacDecoder::try_new(&parameters, &AudioDecoderOptions::default()))
            .map_err(|error| Trouble::Not(error.to_string()))?;
        if rate == 0 {
            return Err(damaged());
        }
        Ok(Self { decoder, format: Format { rate, channels }, total: Some(total).filter(|&total| total > 0), bits })
    }

    /// Decodes a frame behind `out`. Gives whether it could be.
    pub(crate) fn decode(&mut self, frame: &[u8], out: &mut Vec<f32>) -> bool {
        let packet = Packet::new(0, Timestamp::ZERO, Duration::ZERO, frame);
        let (decoder, mut samples) = (&mut self.decoder, Vec::new());
        let channels = usize::from(self.format.channels);
        let decoded = guarded(|| {
            let audio = decoder.decode(&packet)?;
            let fits = audio.spec().channels().count() == channels;
            audio.copy_to_vec_interleaved::<f32>(&mut samples);
            Ok(fits)
        });
        let fits = matches!(decoded, Ok(true));
        if fits {
            out.append(&mut samples);
        }
        fits
    }
}

/// A frame's own header.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Sample frames in it.
    count: u64,
    /// Of its first sample, or of itself where all have the same length.
    number: u64,
    by_sample: bool,
    /// What is the same in all frames of a stream, as far as frames say it.
    kind: [u8; 2],
}

impl Head {
    /// The header that these bytes begin with, if its checksum is right.
    fn of(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, second @ (0xF8 | 0xF9), third, fourth, ..] = bytes else { return None };
        let (sizes, rates) = (third >> 4, third & 15);
        if sizes == 0 || rates == 15 || fourth & 1 != 0 || fourth >> 4 > 10 {
            return None;
        }
        // A number of up to 36 bits, as UTF-8 would have it.
        let first = *bytes.get(4)?;
        let more = match first.leading_ones() {
            0 => 0,
            ones @ 2..=7 => ones as usize - 1,
            _ => return None,
        };
        let mut number = u64::from(first) & if more == 0 { 0x7F } else { (1 << (6 - more.min(6))) - 1 };
        for &byte in bytes.get(5..5 + more)? {
            if byte & 0xC0 != 0x80 {
                return None;
            }
            number = number << 6 | u64::from(byte & 0x3F);
        }
        let mut at = 5 + more;
        let count = match sizes {
            1 => 192,
            2..=5 => 576 << (sizes - 2),
            6 => {
                at += 1;
                u64::from(*bytes.get(at - 1)?) + 1
            }
            7 => {
                at += 2;
                u64::from(*bytes.get(at - 2)?) << 8 | u64::from(*bytes.get(at - 1)?)
            }
            _ => 256 << (sizes - 8),
        } + u64::from(sizes == 7);
        at += match rates {
            12 => 1,
            13 | 14 => 2,
            _ => 0,
        };
        let checked = *bytes.get(at)? == crc8(&bytes[..at]);
        checked.then_some(Self { count, number, by_sample: second == 0xF9, kind: [second, rates] })
    }
}

pub(crate) struct Flac {
    bytes: Bytes,
    frames: Frames,
    /// Of the frames of one length, that length.
    length: Option<u64>,
    /// Sample frames of this stream so far.
    position: u64,
    kind: Option<[u8; 2]>,
    /// Bytes of no frame since the last one.
    lost: u64,
    /// A frame that is decoded already, behind what is lost before it.
    waiting: Vec<f32>,
    seconds: f64,
    ended: bool,
}

impl Flac {
    pub(crate) fn new(mut bytes: Bytes) -> Result<Self, Trouble> {
        let frames = header(&mut bytes)?;
        Ok(Self {
            bytes,
            frames,
            length: None,
            position: 0,
            kind: None,
            lost: 0,
            waiting: Vec::new(),
            seconds: 0.0,
            ended: false,
        })
    }

    /// The length of the frame that begins here, if it is whole.
    fn whole(&mut self) -> Result<Option<(Head, usize)>, Trouble> {
        let Some(head) = Head::of(self.bytes.peek(16)?) else { return Ok(None) };
        if self.kind.is_some_and(|kind| kind != head.kind) {
            return Ok(None);
        }
        // Longer than if it were not compressed at all, no encoder makes it.
        let subframe = head.count * (self.frames.bits + 1) / 8 + 64;
        let most = (subframe * u64::from(self.frames.format.channels) + 64) as usize;
        let (mut piece, mut from, mut crc) = (PIECE, 0, 0);
        loop {
            let bytes = self.bytes.peek(piece)?;
            let all = bytes.len() < piece;
            // Up to each place where the next frame may begin; a frame's checksum makes that of all of it 0.
            let last = bytes.len().saturating_sub(16);
            for at in from..last {
                if at > 8 && crc == 0 && ends(&bytes[at..]) {
                    return Ok(Some((head, at)));
                }
                crc = crc16(crc, bytes[at]);
            }
            if all {
                for at in last.max(from)..bytes.len() {
                    if at > 8 && crc == 0 && ends(&bytes[at..]) {
                        return Ok(Some((head, at)));
                    }
                    crc = crc16(crc, bytes[at]);
                }
                return Ok((crc == 0).then_some((head, bytes.len())));
            }
            if piece >= most {
                return Ok(None);
            }
            from = last;
            piece *= 2;
        }
    }

    fn told_end(&mut self, faults: &mut Faults) {
        let rate = f64::from(self.frames.format.rate);
        if let Some(total) = self.frames.total.filter(|&total| self.position < total) {
            let missing = (total - self.position) as f64 / rate;
            faults.add(self.seconds, &format!("it breaks off; its header promises {missing:.1} s more"));
        } else if self.lost > 0 && self.frames.total.is_none() {
            faults.add(self.seconds, "it breaks off, or its last frames are damaged");
        }
        self.lost = 0;
    }

    fn advance(&mut self, count: u64) {
        self.position += count;
        self.seconds += count as f64 / f64::from(self.frames.format.rate);
    }
}

/// Whether a frame may end before these bytes: there are none, another begins, or something that is none.
fn ends(rest: &[u8]) -> bool {
    rest.is_empty()
        || Head::of(rest).is_some()
        || [&b"fLaC"[..], b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN", b"OggS"]
            .iter()
            .any(|begin| rest.starts_with(begin))
        || rest.len() >= 4 && rest[..4] == [0; 4]
}

/// Reads up to the first frame.
fn header(bytes: &mut Bytes) -> Result<Frames, Trouble> {
    bytes.take(4);
    let (mut frames, mut last) = (None, false);
    while !last {
        let head = bytes.peek(4)?;
        let &[kind, a, b, c] = head else { return Err(Trouble::Not("it ends within its header".to_owned())) };
        // A file that lost its last block of this kind goes on with frames.
        if kind == 0xFF && frames.is_some() {
            break;
        }
        last = kind & 0x80 != 0;
        let size = u64::from(a) << 16 | u64::from(b) << 8 | u64::from(c);
        bytes.take(4);
        if kind & 0x7F == 0 && frames.is_none() {
            frames = Some(Frames::new(bytes.peek(34)?)?);
        }
        bytes.skip(size)?;
    }
    frames.ok_or_else(|| Trouble::Not("its header is damaged".to_owned()))
}

impl Container for Flac {
    fn next(&mut self, out: &mut Vec<f32>, faults: &mut Faults) -> Result<Next, Trouble> {
        if !self.waiting.is_empty() {
            out.append(&mut self.waiting);
            return Ok(Next::Sound(self.frames.format));
        }
        while !self.ended {
            let channels = u64::from(self.frames.format.channels);
            if let Some((head, size)) = self.whole()? {
                let frame = self.bytes.peek(size)?.to_vec();
                self.bytes.take(size);
                let length = *self.length.get_or_insert(head.count);
                let number = if head.by_sample { head.number } else { head.number.saturating_mul(length) };
                // Of a stream that never ends, one may have caught a part.
                if self.kind.is_none() && self.lost == 0 && self.frames.total.is_none() {
                    self.position = number;
                }
                self.kind = Some(head.kind);
                let mut missing = number.saturating_sub(self.position);
                // Numbers are believed as far as the file's own length bears them out.
                let most = self.frames.total.map_or(MOST_FILLED, |total| total.saturating_sub(self.position));
                missing = missing.min(most);
                let whole = self.frames.decode(&frame, &mut self.waiting);
                let given = if whole { self.waiting.len() as u64 / channels } else { 0 };
                if missing > 0 || self.lost > 0 {
                    let seconds = missing as f64 / f64::from(self.frames.format.rate);
                    faults.add(self.seconds, &format!("{seconds:.2} s are damaged or missing, and became silence"));
                    faults.filled(missing);
                    self.lost = 0;
                    self.advance(missing);
                }
                self.advance(given);
                if missing > 0 {
                    return Ok(Next::Silence(self.frames.format, missing));
                }
                if given > 0 {
                    out.append(&mut self.waiting);
                    return Ok(Next::Sound(self.frames.format));
                }
                // One that cannot be decoded is missed by the next one's number.
                self.lost += 1;
                continue;
            }
            if tags::skip(&mut self.bytes)? {
                continue;
            }
            if self.bytes.peek(4)? == b"fLaC" {
                // Files joined by `cat`.
                self.told_end(faults);
                self.frames = header(&mut self.bytes)?;
                (self.length, self.position, self.kind) = (None, 0, None);
                continue;
            }
            if self.bytes.peek(1)?.is_empty() || self.lost == 0 && tags::is_rest(&mut self.bytes)? {
                self.told_end(faults);
                self.ended = true;
                break;
            }
            // Up to the next byte that may begin something.
            let here = self.bytes.at_hand()?;
            let next = here.iter().skip(1).position(|byte| b"\xfffTAI".contains(byte)).map_or(here.len(), |at| at + 1);
            self.bytes.take(next);
            self.lost += next as u64;
        }
        Ok(Next::End)
    }

    fn total_frames(&self) -> Option<u64> {
        self.frames.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_believed_by_their_checksum() {
        let mut head = vec![0xFF, 0xF8, 0xC9, 0x08, 0xE1, 0x80, 0x80];
        head.push(crc8(&head));
        head.extend([0; 8]);
        let found = Head::of(&head).unwrap();
        assert_eq!((found.count, found.number, found.by_sample), (4096, 0x1000, false));
        head[3] ^= 0x10;
        assert!(Head::of(&head).is_none());
    }
}
