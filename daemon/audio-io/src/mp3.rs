//! MPEG audio, layer III (ISO 11172-3, 13818-3): frame by frame, with whatever lies between frames.
//!
//! Each Xing, Info or VBRI frame begins a recording of its own, whose encoder's delay and padding are left out (as LAME notes them); so
//! files joined by `cat` have the samples of all of them.

use symphonia::core::{
    codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known::CODEC_ID_MP3},
    packet::Packet,
    units::{Duration, Timestamp},
};
use symphonia::default::codecs::MpaDecoder;

use crate::{
    Format,
    bytes::Bytes,
    faults::Faults,
    reader::{Container, Next, Trouble, guarded},
    tags,
};

/// Bytes looked through for a frame that nothing announces.
const REACH: usize = 1 << 18;

/// The longest frame.
const MOST: usize = 2_881;

/// What a decoder is later than what was encoded.
const DECODER_DELAY: u32 = 529;

/// The most silence that stands for bytes that are no frames.
const MOST_FILLED: u64 = 1 << 22;

/// What a frame's first four bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Version, layer and rate, by which frames of one stream are alike.
    kind: [u8; 2],
    format: Format,
    size: usize,
    samples: u32,
    /// Bytes of side information.
    side: usize,
}

impl Head {
    fn of(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, b, c, d, ..] = bytes else { return None };
        // Layer III only; version 1 is reserved.
        if b & 0xE6 != 0xE2 || b & 0x18 == 0x08 {
            return None;
        }
        let (version, rate, bits) = (b >> 3 & 3, usize::from(c >> 2 & 3), usize::from(c >> 4));
        if rate == 3 || bits == 0 || bits == 15 {
            return None;
        }
        let first = version == 3;
        const FIRST: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        const SECOND: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let kbps = if first { FIRST[bits] } else { SECOND[bits] };
        let rate_hz = [44_100, 48_000, 32_000][rate] / [4, 1, 2, 1][usize::from(version)];
        let samples = if first { 1_152 } else { 576 };
        let size = samples / 8 * kbps * 1000 / rate_hz + u32::from(c >> 1 & 1);
        let mono = d >> 6 == 3;
        let side = match (first, mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        let format = Format { rate: rate_hz, channels: if mono { 1 } else { 2 } };
        Some(Self { kind: [b & 0xFE, c & 0x0C], format, size: size as usize, samples, side })
    }

    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.format == other.format
    }
}

/// What the first frame of a recording says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Info {
    /// Frames that follow.
    frames: Option<u64>,
    delay: u32,
    padding: u32,
}

impl Info {
    /// What this frame says, if it is one that says something instead of sounding.
    fn of(frame: &[u8], head: &Head) -> Option<Self> {
        let be = |at: usize| frame.get(at..at + 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
        if frame.get(36..40) == Some(b"VBRI") {
            return Some(Self { frames: be(50).map(u64::from), ..Self::default() });
        }
        let named = |at: &usize| matches!(frame.get(*at..at + 4), Some(b"Xing" | b"Info"));
        let at = [4 + head.side, 6 + head.side].into_iter().find(named)?;
        let flags = be(at + 4)?;
        let mut info = Self::default();
        let mut next = at + 8;
        if flags & 1 != 0 {
            info.frames = be(next).map(u64::from).filter(|&frames| frames > 0);
            next += 4;
        }
        next +=
            [(2, 4), (4, 100), (8, 4)].iter().filter(|(bit, _)| flags & bit != 0).map(|(_, size)| size).sum::<usize>();
        if let Some(encoder) = frame.get(next..next + 24)
            && [&b"LAME"[..], b"Lavf", b"Lavc"].iter().any(|name| encoder.starts_with(name))
        {
            let trim = u32::from_be_bytes([0, encoder[21], encoder[22], encoder[23]]);
            info.delay = (trim >> 12) + DECODER_DELAY;
            info.padding = (trim & 0xFFF).saturating_sub(DECODER_DELAY);
        }
        Some(info)
    }
}

pub(crate) struct Mp3 {
    bytes: Bytes,
    decoder: Option<(MpaDecoder, Head)>,
    info: Info,
    /// Frames of this recording so far.
    frames: u64,
    /// Frames that were decoded, of all recordings, and their bytes.
    seen: (u64, u64),
    /// Sample frames at its start that are still to be left out.
    skip: usize,
    /// Its last sample frames, which may be padding.
    held: Vec<f32>,
    /// Sample frames given, of the format at hand.
    given: u64,
    seconds: f64,
    scratch: Vec<f32>,
    /// Whether its end was told to be missing.
    cut: bool,
}

/// Whether a stream begins here: a frame, and another behind it, or the end.
pub(crate) fn begins(bytes: &[u8], is_all: bool) -> bool {
    let Some(head) = Head::of(bytes) else { return false };
    match bytes.get(head.size..) {
        Some([]) => is_all,
        Some(rest) => Head::of(rest).is_some_and(|next| next.is_like(&head)) || is_all && is_tag(rest),
        None => false,
    }
}

fn is_tag(bytes: &[u8]) -> bool {
    [&b"TAG"[..], b"APETAGEX", b"ID3", b"LYRICSBEGIN"].iter().any(|tag| bytes.starts_with(tag))
}

impl Mp3 {
    pub(crate) fn new(bytes: Bytes) -> Result<Self, Trouble> {
        Ok(Self {
            bytes,
            decoder: None,
            info: Info::default(),
            frames: 0,
            seen: (0, 0),
            skip: 0,
            held: Vec::new(),
            given: 0,
            seconds: 0.0,
            scratch: Vec::new(),
            cut: false,
        })
    }

    /// The frame that begins here, or may: one in its place needs no witness, another is only believed if the next one follows.
    fn head(&mut self, in_place: bool) -> Result<Option<Head>, Trouble> {
        let bytes = self.bytes.peek(4)?;
        let Some(head) = Head::of(bytes) else { return Ok(None) };
        if in_place && self.decoder.as_ref().is_some_and(|(_, known)| known.is_like(&head)) {
            return Ok(Some(head));
        }
        let both = self.bytes.peek(head.size + 4)?;
        let is_all = both.len() < head.size + 4;
        Ok(begins(both, is_all).then_some(head))
    }

    /// Goes to the next frame, over tags, padding, and what is damaged. Gives it, and how many bytes were neither.
    fn seek(&mut self) -> Result<Option<(Head, u64)>, Trouble> {
        let (mut lost, mut in_place) = (0, true);
        loop {
            if let Some(head) = self.head(in_place)? {
                return Ok(Some((head, lost)));
            }
            if tags::skip(&mut self.bytes)? {
                continue;
            }
            if in_place && tags::is_rest(&mut self.bytes)? {
                return Ok(None);
            }
            in_place = false;
            let here = self.bytes.peek(MOST + 4)?;
            if here.is_empty() {
                return Ok((lost > 0).then_some((NONE, lost)));
            }
            // Up to the next byte that may begin a frame or a tag.
            let next = here.iter().skip(1).position(|byte| b"\xffAITL".contains(byte)).map_or(here.len(), |at| at + 1);
            lost += here[..next].iter().filter(|&&byte| byte != 0).count() as u64;
            self.bytes.take(next);
        }
    }

    /// Ends a recording: what is held was sound unless it is padding.
    fn end(&mut self, out: &mut Vec<f32>, faults: &mut Faults) {
        let channels = self.decoder.as_ref().map_or(1, |(_, head)| usize::from(head.format.channels));
        if let Some(promised) = self.info.frames.filter(|&promised| self.frames < promised) {
            let (missing, samples) =
                (promised - self.frames, self.decoder.as_ref().map_or(0, |(_, head)| head.samples));
            let rate = self.decoder.as_ref().map_or(1, |(_, head)| head.format.rate);
            let seconds = missing as f64 * f64::from(samples) / f64::from(rate);
            if !self.cut {
                faults.add(self.seconds, &format!("it breaks off; its header promises {seconds:.1} s more"));
            }
        } else {
            let padding = (self.info.padding as usize * channels).min(self.held.len());
            self.held.truncate(self.held.len() - padding);
        }
        self.give(usize::MAX, out);
        (self.info, self.frames, self.skip, self.cut) = (Info::default(), 0, 0, false);
        if let Some((decoder, _)) = &mut self.decoder {
            decoder.reset();
        }
    }

    /// Gives what is held, up to so many samples.
    fn give(&mut self, most: usize, out: &mut Vec<f32>) {
        let count = most.min(self.held.len());
        out.extend(self.held.drain(..count));
        if let Some((_, head)) = &self.decoder {
            let frames = count / usize::from(head.format.channels);
            self.given += frames as u64;
            self.seconds += frames as f64 / f64::from(head.format.rate);
        }
    }

    /// Decodes the frame at hand behind what is held.
    fn decode(&mut self, head: &Head, faults: &mut Faults) -> Result<(), Trouble> {
        let frame = self.bytes.peek(head.size)?.to_vec();
        let channels = usize::from(head.format.channels);
        if frame.len() < head.size {
            self.bytes.take(frame.len());
            self.cut = true;
            faults.add(self.seconds, "it breaks off in the middle of a frame");
            return Ok(());
        }
        if self.decoder.is_none() {
            let mut parameters = AudioCodecParameters::new();
            parameters.for_codec(CODEC_ID_MP3);
            let decoder = guarded(|| MpaDecoder::try_new(&parameters, &AudioDecoderOptions::default()))
                .map_err(|error| Trouble::Not(error.to_string()))?;
            self.decoder = Some((decoder, *head));
        }
        let Some((decoder, _)) = &mut self.decoder else { return Ok(()) };
        let packet = Packet::new(0, Timestamp::ZERO, Duration::from(u64::from(head.samples)), frame);
        let scratch = &mut self.scratch;
        scratch.clear();
        let decoded = guarded(|| {
            decoder.decode(&packet)?.copy_to_vec_interleaved::<f32>(scratch);
            Ok(())
        });
        self.bytes.take(head.size);
        self.frames += 1;
        self.seen = (self.seen.0 + 1, self.seen.1 + head.size as u64);
        if decoded.is_err() {
            faults.add(self.seconds, "a frame is damaged and became silence");
            faults.filled(head.samples.into());
            self.scratch.clear();
            self.scratch.resize(head.samples as usize * channels, 0.0);
        }
        let skipped = (self.skip * channels).min(self.scratch.len());
        self.skip -= skipped / channels;
        self.held.extend_from_slice(&self.scratch[skipped..]);
        Ok(())
    }
}

/// No frame: only junk was left.
const NONE: Head = Head { kind: [0; 2], format: Format { rate: 0, channels: 0 }, size: 0, samples: 0, side: 0 };

impl Container for Mp3 {
    fn next(&mut self, out: &mut Vec<f32>, faults: &mut Faults) -> Result<Next, Trouble> {
        loop {
            let format = self.decoder.as_ref().map_or(NONE.format, |(_, head)| head.format);
            let found = self.seek()?;
            let Some((head, lost)) = found else {
                self.end(out, faults);
                return Ok(if out.is_empty() { Next::End } else { Next::Sound(format) });
            };
            if lost > 0 && self.decoder.is_some() {
                // Silence for about as many frames as they were.
                let known = self.decoder.as_ref().map_or(NONE, |(_, head)| *head);
                let size = self.seen.1 as f64 / self.seen.0.max(1) as f64;
                let frames = if head.size == 0 { 0 } else { (lost as f64 / size.max(1.0)).round() as u64 };
                let room = self.info.frames.map_or(u64::MAX, |all| all.saturating_sub(self.frames));
                let silence = (frames.min(room) * u64::from(known.samples)).min(MOST_FILLED);
                let what = if silence > 0 { "; silence stands for them" } else { "" };
                faults.add(self.seconds, &format!("{lost} bytes are no sound{what}"));
                if silence > 0 {
                    faults.filled(silence);
                    self.frames += frames.min(room);
                    self.held.resize(self.held.len() + silence as usize * usize::from(format.channels), 0.0);
                    if let Some((decoder, _)) = &mut self.decoder {
                        decoder.reset();
                    }
                }
            }
            if head.size == 0 {
                continue;
            }
            let frame = self.bytes.peek(head.size)?;
            let info = Info::of(frame, &head);
            let changes = self.decoder.as_ref().is_some_and(|(_, known)| !known.is_like(&head));
            let complete = self.info.frames.is_some_and(|all| self.frames >= all);
            if self.decoder.is_some() && (info.is_some() || changes || complete) {
                self.end(out, faults);
                if changes {
                    self.decoder = None;
                }
            }
            if let Some(info) = info {
                self.bytes.take(head.size);
                (self.info, self.skip) = (info, info.delay as usize);
                // So that the next recording's end is told even if nothing of it is there.
                if !out.is_empty() {
                    return Ok(Next::Sound(format));
                }
                continue;
            }
            if !out.is_empty() {
                return Ok(Next::Sound(format));
            }
            self.decode(&head, faults)?;
            let hold = self.info.padding as usize * usize::from(head.format.channels);
            self.give(self.held.len().saturating_sub(hold), out);
            if !out.is_empty() {
                return Ok(Next::Sound(head.format));
            }
        }
    }
}

/// Where a stream begins in the first bytes that are something else.
pub(crate) fn find(bytes: &[u8], is_all: bool) -> Option<usize> {
    (0..bytes.len().min(REACH)).find(|&at| {
        let rest = &bytes[at..];
        // By chance two heads fit now and then; three do not.
        Head::of(rest)
            .is_some_and(|head| begins(rest, is_all) && rest.get(head.size..).is_some_and(|next| begins(next, is_all)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_tell_lengths() {
        // 128 kbps, 44.1 kHz, stereo, padded; 64 kbps, 24 kHz, mono.
        let head = Head::of(&[0xFF, 0xFB, 0x92, 0x64]).unwrap();
        assert_eq!((head.size, head.samples, head.format), (418, 1152, Format { rate: 44_100, channels: 2 }));
        let head = Head::of(&[0xFF, 0xF3, 0x84, 0xC4]).unwrap();
        assert_eq!((head.size, head.samples, head.format), (192, 576, Format { rate: 24_000, channels: 1 }));
        for no in
            [[0xFF, 0xFB, 0xF2, 0x64], [0xFF, 0xFB, 0x9E, 0x64], [0xFF, 0xFD, 0x92, 0x64], [0xFF, 0xEB, 0x92, 0x64]]
        {
            assert_eq!(Head::of(&no), None, "{no:x?}");
        }
    }
}
