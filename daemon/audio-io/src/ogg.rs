//! Ogg (RFC 3533): pages with Opus (RFC 7845), Vorbis or FLAC, one stream after another where files are chained, and what pages say of
//! time, by which the place of what is lost is known.

use crate::{
    Format,
    bytes::Bytes,
    crc,
    faults::Faults,
    flac,
    opus::Opus,
    reader::{Container, Next, Trouble},
    vorbis::Vorbis,
};

/// The longest page.
const MOST: usize = 27 + 255 + 255 * 255;

/// The longest packet that is put together of several pages.
const MOST_PACKET: usize = 1 << 24;

/// The most silence that stands for what is lost at once, seconds.
const MOST_FILLED: u64 = 3600;

/// What makes samples of packets.
pub(crate) trait Codec: Send {
    /// Takes a packet; appends its samples to `out`. Those that cannot be decoded give their length as silence, as far as it is known,
    /// and are an error.
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<(), ()>;

    /// Forgets what came before: something is missing.
    fn gap(&mut self);

    fn format(&self) -> Format;

    /// Packets at the beginning that are no sound, the first included.
    fn headers(&self) -> u32;

    /// Takes the others of them.
    fn header(&mut self, _packet: &[u8]) -> Result<(), Trouble> {
        Ok(())
    }

    /// Sample frames at the beginning that are left out.
    fn skip(&self) -> u64 {
        0
    }

    /// Whether a stream whose first page has more than its time says has too much at its beginning.
    fn trims_start(&self) -> bool {
        false
    }
}

fn codec(packet: &[u8]) -> Result<Option<Box<dyn Codec>>, Trouble> {
    Ok(if packet.starts_with(b"OpusHead") {
        Some(Box::new(Opus::new(packet)?))
    } else if packet.starts_with(b"\x01vorbis") {
        Some(Box::new(Vorbis::new(packet)?))
    } else if packet.starts_with(b"\x7FFLAC") {
        Some(Box::new(Flac {
            frames: flac::Frames::new(packet.get(17..).unwrap_or_default())?,
            headers: u32::from(u16::from_be_bytes([packet[7], packet[8]])) + 1,
        }))
    } else {
        None
    })
}

/// FLAC in Ogg.
struct Flac {
    frames: flac::Frames,
    headers: u32,
}

impl Codec for Flac {
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<(), ()> {
        if self.frames.decode(packet, out) { Ok(()) } else { Err(()) }
    }

    fn gap(&mut self) {}

    fn format(&self) -> Format {
        self.frames.format
    }

    fn headers(&self) -> u32 {
        self.headers
    }
}

/// A page whose checksum is right.
struct Page {
    continued: bool,
    begins: bool,
    ends: bool,
    /// Where its last whole packet ends, if it says so.
    granule: Option<i64>,
    serial: u32,
    sequence: u32,
    /// Its pieces of packets, and whether the last one goes on.
    pieces: Vec<Vec<u8>>,
    unfinished: bool,
}

/// One stream.
struct OggStream {
    serial: u32,
    codec: Box<dyn Codec>,
    /// Packets of its header that were taken.
    headers: u32,
    sequence: u32,
    /// A packet that goes on, if its beginning is there.
    partial: Option<Vec<u8>>,
    /// Where the next sample lies; none before the first page of sound.
    position: Option<i64>,
    /// Something was lost since the last page.
    lost: bool,
    /// Sample frames that are still to be left out.
    skip: u64,
    ended: bool,
}

pub(crate) struct Ogg {
    bytes: Bytes,
    stream: Option<OggStream>,
    /// What decoded behind a silence.
    waiting: Vec<f32>,
    seconds: f64,
    /// Names of streams that are none of sound, for the message.
    foreign: Option<&'static str>,
    /// Bytes since the last page that were none.
    junk: u64,
    scratch: Vec<f32>,
}

impl Ogg {
    /// Reads up to the header of the first stream of sound.
    pub(crate) fn new(bytes: Bytes) -> Result<Self, Trouble> {
        let mut ogg = Self {
            bytes,
            stream: None,
            waiting: Vec::new(),
            seconds: 0.0,
            foreign: None,
            junk: 0,
            scratch: Vec::new(),
        };
        let mut faults = Faults::default();
        while ogg.stream.is_none() {
            let Some(page) = ogg.page(&mut faults)? else {
                let what = ogg.foreign.unwrap_or("nothing that is known");
                return Err(Trouble::Not(format!("it is an Ogg file with {what}")));
            };
            ogg.begin(&page)?;
        }
        Ok(ogg)
    }

    /// The next page that is whole.
    fn page(&mut self, faults: &mut Faults) -> Result<Option<Page>, Trouble> {
        loop {
            let head = self.bytes.peek(27)?;
            if head.is_empty() {
                if self.junk > 0 {
                    faults.add(self.seconds, "what follows is damaged, or breaks off");
                }
                return Ok(None);
            }
            if head.starts_with(b"OggS\0") && head.len() == 27 {
                let count = usize::from(head[26]);
                let table = self.bytes.peek(27 + count)?;
                let size = table.get(27..).unwrap_or_default().iter().map(|&part| usize::from(part)).sum::<usize>();
                let all = self.bytes.peek((27 + count + size).min(MOST))?;
                if all.len() == 27 + count + size
                    && crc::ogg(all) == u32::from_le_bytes([all[22], all[23], all[24], all[25]])
                {
                    let page = Page::of(all);
                    self.bytes.take(27 + count + size);
                    return Ok(Some(page));
                }
            } else if self.junk == 0 && (crate::tags::skip(&mut self.bytes)? || crate::tags::is_rest(&mut self.bytes)?)
            {
                if self.bytes.peek(4)?.iter().all(|&byte| byte == 0) {
                    let zeros = self.bytes.at_hand()?.iter().take_while(|&&byte| byte == 0).count();
                    self.bytes.take(zeros);
                }
                continue;
            }
            let here = self.bytes.at_hand()?;
            let next = here.iter().skip(1).position(|&byte| byte == b'O').map_or(here.len(), |at| at + 1);
            self.bytes.take(next);
            self.junk += next as u64;
        }
    }

    /// Takes a page that begins a stream.
    fn begin(&mut self, page: &Page) -> Result<(), Trouble> {
        if !page.begins {
            return Ok(());
        }
        let first = page.pieces.first().map(Vec::as_slice).unwrap_or_default();
        let Some(codec) = codec(first)? else {
            self.foreign = match first {
                [b'S', b'p', b'e', b'e', b'x', ..] => Some("Speex, which is not read"),
                [0x80, b't', b'h', ..] => Some("a picture and no sound that is known"),
                _ => self.foreign,
            };
            return Ok(());
        };
        let skip = codec.skip();
        self.stream = Some(OggStream {
            serial: page.serial,
            codec,
            headers: 1,
            sequence: page.sequence.wrapping_add(1),
            partial: None,
            position: None,
            lost: false,
            skip,
            ended: page.ends,
        });
        Ok(())
    }

    /// Takes a page of the stream; appends its samples to `out`. Gives the frames of silence that lie before them.
    fn take(&mut self, page: Page, out: &mut Vec<f32>, faults: &mut Faults) -> Result<u64, Trouble> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        if page.sequence != stream.sequence {
            stream.lost = true;
            stream.partial = None;
            stream.codec.gap();
        } else if self.junk > 0 {
            faults.add(self.seconds, &format!("{} bytes are no part of it", self.junk));
        }
        self.junk = 0;
        stream.sequence = page.sequence.wrapping_add(1);
        let gap = stream.lost;
        let (count, mut damaged) = (page.pieces.len(), 0);
        let mut whole = 0_u32;
        for (n, piece) in page.pieces.into_iter().enumerate() {
            let first = n == 0 && page.continued;
            let packet = match (first, stream.partial.take()) {
                // Its beginning is lost.
                (true, None) => continue,
                (true, Some(mut partial)) if partial.len() + piece.len() <= MOST_PACKET => {
                    partial.extend_from_slice(&piece);
                    partial
                }
                (true, Some(_)) => continue,
                (false, _) => piece,
            };
            if n + 1 == count && page.unfinished {
                stream.partial = Some(packet);
            } else if stream.headers < stream.codec.headers() {
                stream.headers += 1;
                stream.codec.header(&packet)?;
            } else {
                whole += 1;
                damaged += u32::from(stream.codec.decode(&packet, out).is_err());
            }
        }
        stream.ended |= page.ends;
        if damaged > 0 {
            faults.add(self.seconds, &format!("{damaged} packets are damaged"));
        }
        let format = stream.codec.format();
        let channels = usize::from(format.channels.max(1));
        let frames = (out.len() / channels) as i64;
        if stream.headers < stream.codec.headers() || whole == 0 && !page.ends {
            return Ok(0);
        }
        let mut missing = 0;
        match (page.granule, stream.position) {
            (None, _) => stream.position = Some(stream.position.unwrap_or(0).saturating_add(frames)),
            (Some(granule), None) => {
                let begin = granule.saturating_sub(frames);
                stream.position = Some(granule);
                if begin < 0 && stream.codec.trims_start() && !page.ends {
                    out.drain(..(begin.unsigned_abs() as usize).saturating_mul(channels).min(out.len()));
                } else if begin < 0 && page.ends {
                    out.truncate(usize::try_from(granule).unwrap_or(0).saturating_mul(channels));
                } else if gap && begin > 0 {
                    missing = begin.unsigned_abs();
                }
            }
            (Some(granule), Some(position)) => {
                let begin = granule.saturating_sub(frames);
                stream.position = Some(granule);
                if begin > position {
                    missing = begin.abs_diff(position);
                } else if page.ends && begin < position {
                    let left = usize::try_from(granule.saturating_sub(position)).unwrap_or(0);
                    out.truncate(left.saturating_mul(channels).min(out.len()));
                }
            }
        }
        missing = missing.min(MOST_FILLED * u64::from(format.rate));
        if page.ends && frames == 0 {
            // An end without any sound says no more than that.
            missing = 0;
        }
        if missing > 0 || gap {
            let seconds = missing as f64 / f64::from(format.rate);
            faults.add(self.seconds, &format!("{seconds:.2} s are damaged or missing, and became silence"));
            stream.lost = false;
        }
        // What is left out at the beginning may be missing too.
        let skipped = stream.skip.min(missing);
        stream.skip -= skipped;
        missing -= skipped;
        let skipped = usize::try_from(stream.skip).unwrap_or(usize::MAX).min(out.len() / channels);
        stream.skip -= skipped as u64;
        out.drain(..skipped * channels);
        faults.filled(missing);
        self.seconds += (missing as f64 + (out.len() / channels) as f64) / f64::from(format.rate);
        Ok(missing)
    }

    fn format(&self) -> Format {
        self.stream.as_ref().map_or(Format { rate: 0, channels: 0 }, |stream| stream.codec.format())
    }
}

impl Page {
    fn of(all: &[u8]) -> Self {
        let count = usize::from(all[26]);
        let (mut pieces, mut open, mut at) = (Vec::<Vec<u8>>::new(), false, 27 + count);
        for &size in &all[27..27 + count] {
            let part = &all[at..at + usize::from(size)];
            at += usize::from(size);
            match pieces.last_mut().filter(|_| open) {
                Some(piece) => piece.extend_from_slice(part),
                None => pieces.push(part.to_vec()),
            }
            open = size == 255;
        }
        let granule = all[6..14].iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte)) as i64;
        let le = |at: usize| u32::from_le_bytes([all[at], all[at + 1], all[at + 2], all[at + 3]]);
        Self {
            continued: all[5] & 1 != 0,
            begins: all[5] & 2 != 0,
            ends: all[5] & 4 != 0,
            granule: (granule >= 0).then_some(granule),
            serial: le(14),
            sequence: le(18),
            pieces,
            unfinished: open,
        }
    }
}

impl Container for Ogg {
    fn next(&mut self, out: &mut Vec<f32>, faults: &mut Faults) -> Result<Next, Trouble> {
        if !self.waiting.is_empty() {
            out.append(&mut self.waiting);
            return Ok(Next::Sound(self.format()));
        }
        loop {
            let before = faults.places();
            let Some(page) = self.page(faults)? else {
                // Whoever lost the last page lost perhaps more; the end of a stream says that it is one.
                if let Some(stream) = self.stream.as_mut().filter(|stream| !stream.ended) {
                    stream.ended = true;
                    if faults.places() == before {
                        faults.add(self.seconds, "it has no last page: it may have broken off");
                    }
                }
                return Ok(Next::End);
            };
            let own = self.stream.as_ref().map(|stream| stream.serial);
            if page.begins {
                // Others begin beside the first; behind its sound, another file does.
                if self.stream.as_ref().is_none_or(|stream| stream.ended || stream.position.is_some()) {
                    let old = self.stream.take();
                    self.begin(&page)?;
                    self.stream = self.stream.take().or(old);
                }
                continue;
            }
            if own != Some(page.serial) {
                continue;
            }
            let mut samples = std::mem::take(&mut self.scratch);
            samples.clear();
            let missing = self.take(page, &mut samples, faults)?;
            if missing > 0 {
                self.waiting = samples;
                return Ok(Next::Silence(self.format(), missing));
            }
            let some = !samples.is_empty();
            out.append(&mut samples);
            self.scratch = samples;
            if some {
                return Ok(Next::Sound(self.format()));
            }
        }
    }
}
