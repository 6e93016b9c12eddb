//! What a file begins with.

use parlo_tokens::{MAX_DEPTH, TokensPrefix};

use super::{
    AUDIO, FileError, MAX_HEADER_BYTES, VERSION,
    frame::{CHECKSUM, append_checksum, checksum_fits},
    number::{Length, append_number, length, split_number, split_small},
};

/// First bytes of every file.
const MAGIC: [u8; 4] = *b"\x89PTK";

/// What follows in files of before the first release.
const EARLY: [u8; 4] = *b"\r\n\x1a\n";

const FIELD_CREATED: u8 = 1;
const FIELD_STREAM: u8 = 2;
const FIELD_METADATA: u8 = 3;

/// How payloads are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Coding {
    /// Codes packed as they are.
    Plain = 0,
    /// Codes in the bits that the bundle's entropy model gives them, each block alone.
    Transformer = 1,
}

impl TryFrom<u8> for Coding {
    type Error = FileError;

    fn try_from(number: u8) -> Result<Self, FileError> {
        match number {
            0 => Ok(Self::Plain),
            1 => Ok(Self::Transformer),
            other => Err(FileError::Coding(other)),
        }
    }
}

/// What all tokens of a file have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Which they are: the first half of the identity that two sides must share to understand them.
    pub id: TokensPrefix,
    /// Name of the bundle that made them, for messages; up to 255 bytes.
    pub bundle_name: String,
    /// Their sample rate, Hz, 4000 to 192000.
    pub sample_rate: u32,
    /// Samples that each frame stands for, up to a second.
    pub frame_samples: u32,
    /// Codes in each frame, 1 to 32; where they differ, the most that any frame has.
    pub depth: u8,
    /// How payloads are coded.
    pub coding: Coding,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What its tokens are.
    pub tokens: Tokens,
    /// When the clock of the streams began, milliseconds since 1970-01-01 UTC, if it is said.
    pub created_ms: Option<u64>,
    /// The streams. If none is named there is one, [`AUDIO`], of whole frames without gaps.
    pub streams: Vec<Stream>,
    /// Whatever else there is to say: keys, and values.
    pub metadata: Vec<(String, String)>,
}

/// One of the streams of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its number, by which blocks name it.
    pub id: u8,
    /// What it is. In calls: "said" and "heard".
    pub name: String,
}

/// A header that says more than fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header of {bytes} bytes of fields is not possible; {MAX_HEADER_BYTES} are")]
pub struct HeaderTooLarge {
    /// Bytes of its fields.
    pub bytes: usize,
}

impl Header {
    /// The value of this key, if there is one; of several the first.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// The number of the stream of this name, if there is one.
    pub fn stream(&self, name: &str) -> Option<u8> {
        if self.streams.is_empty() {
            return (name == AUDIO).then_some(0);
        }
        self.streams.iter().find(|stream| stream.name == name).map(|stream| stream.id)
    }

    /// Whether the file has one stream of whole frames.
    pub(super) fn is_whole(&self) -> bool {
        self.streams.is_empty()
    }

    /// The numbers of all streams, each once, ascending.
    pub(super) fn ids(&self) -> Vec<u8> {
        let mut ids: Vec<u8> = self.streams.iter().map(|stream| stream.id).collect();
        if ids.is_empty() {
            ids.push(0);
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Appends its bytes to `out`, checksum and all; a bundle's name longer than 255 bytes is cut.
    ///
    /// # Errors
    /// If there is more to say than fits. `out` is then as before.
    pub(super) fn append(&self, out: &mut Vec<u8>) -> Result<(), HeaderTooLarge> {
        let fields = self.fields();
        if fields.len() > MAX_HEADER_BYTES {
            return Err(HeaderTooLarge { bytes: fields.len() });
        }
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        append_number(fields.len() as u64, out);
        out.extend_from_slice(&fields);
        append_checksum(start, out);
        Ok(())
    }

    fn fields(&self) -> Vec<u8> {
        let Tokens { id, bundle_name, sample_rate, frame_samples, depth, coding } = &self.tokens;
        let mut fields = id.as_bytes().to_vec();
        append_number((*sample_rate).into(), &mut fields);
        append_number((*frame_samples).into(), &mut fields);
        let name = &bundle_name[..bundle_name.floor_char_boundary(255)];
        fields.extend_from_slice(&[*depth, *coding as u8, name.len() as u8]);
        fields.extend_from_slice(name.as_bytes());
        let mut content = Vec::new();
        let mut append = |tag, content: &mut Vec<u8>| {
            fields.push(tag);
            append_number(content.len() as u64, &mut fields);
            fields.append(content);
        };
        if let Some(created_ms) = self.created_ms {
            append_number(created_ms, &mut content);
            append(FIELD_CREATED, &mut content);
        }
        for stream in &self.streams {
            content.push(stream.id);
            content.extend_from_slice(stream.name.as_bytes());
            append(FIELD_STREAM, &mut content);
        }
        for (key, value) in &self.metadata {
            append_number(key.len() as u64, &mut content);
            content.extend_from_slice(key.as_bytes());
            content.extend_from_slice(value.as_bytes());
            append(FIELD_METADATA, &mut content);
        }
        fields
    }

    /// The header that a file begins with and how many bytes it takes, once all of it is there.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, FileError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(FileError::NotTokens);
        }
        let Some((&version, rest)) = bytes[known..].split_first() else { return Ok(None) };
        if version != VERSION {
            let early = rest.len().min(EARLY.len() - 1);
            let is_early = version == EARLY[0] && rest[..early] == EARLY[1..=early];
            return Err(if is_early { FileError::Early } else { FileError::Version(version) });
        }
        let (length, start) = match length(rest) {
            Length::Of(length, bytes) if length <= MAX_HEADER_BYTES => (length, known + 1 + bytes),
            Length::Unfinished => return Ok(None),
            _ => return Err(FileError::Header("its length is not possible")),
        };
        let size = start + length + CHECKSUM;
        let Some(whole) = bytes.get(..size) else { return Ok(None) };
        if !checksum_fits(whole) {
            return Err(FileError::Header("the checksum differs"));
        }
        Ok(Some((Self::of_fields(&whole[start..start + length])?, size)))
    }

    fn of_fields(fields: &[u8]) -> Result<Self, FileError> {
        let short = || FileError::Header("its fields are cut short");
        let possible = || FileError::Header("its sample rate or frame length is not possible");
        let (id, rest) = fields.split_first_chunk::<16>().ok_or_else(short)?;
        let (sample_rate, rest) = split_small::<u32>(rest).ok_or_else(possible)?;
        let (frame_samples, rest) = split_small::<u32>(rest).ok_or_else(possible)?;
        let (&[depth, coding, name], rest) = rest.split_first_chunk::<3>().ok_or_else(short)?;
        let (name, rest) = rest.split_at_checked(name.into()).ok_or_else(short)?;
        if !(4_000..=192_000).contains(&sample_rate) || !(1..=sample_rate).contains(&frame_samples) {
            return Err(possible());
        }
        if !(1..=MAX_DEPTH).contains(&usize::from(depth)) {
            return Err(FileError::Header("its depth is not possible"));
        }
        let coding = Coding::try_from(coding)?;
        let bundle_name = text(name, "its model's name is no text")?;
        let id = TokensPrefix::from_bytes(*id);
        let tokens = Tokens { id, bundle_name, sample_rate, frame_samples, depth, coding };
        let mut header = Self { tokens, created_ms: None, streams: Vec::new(), metadata: Vec::new() };
        header.take_more(rest)?;
        Ok(header)
    }

    /// The fields that need not be. Those with tags of later versions are passed over.
    fn take_more(&mut self, mut more: &[u8]) -> Result<(), FileError> {
        const NO_TEXT: &str = "a stream's name or its metadata are no text";
        let short = || FileError::Header("its fields are cut short");
        while let Some((&tag, rest)) = more.split_first() {
            let (length, rest) = split_small::<usize>(rest).ok_or_else(short)?;
            let (field, rest) = rest.split_at_checked(length).ok_or_else(short)?;
            more = rest;
            match tag {
                FIELD_CREATED => self.created_ms = Some(split_number(field).ok_or_else(short)?.0),
                FIELD_STREAM => {
                    let (&id, name) = field.split_first().ok_or_else(short)?;
                    self.streams.push(Stream { id, name: text(name, NO_TEXT)? });
                }
                FIELD_METADATA => {
                    let (length, rest) = split_small::<usize>(field).ok_or_else(short)?;
                    let (key, value) = rest.split_at_checked(length).ok_or_else(short)?;
                    self.metadata.push((text(key, NO_TEXT)?, text(value, NO_TEXT)?));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8], otherwise: &'static str) -> Result<String, FileError> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| FileError::Header(otherwise))
}

/// Why a file without an end mark is not whole: `bytes` are what was not used, after `before` others.
pub(super) fn not_whole(bytes: &[u8], before: u64, seconds: f64) -> FileError {
    let there = before + bytes.len() as u64;
    if there == 0 {
        return FileError::Empty;
    }
    if there < MAGIC.len() as u64 && !MAGIC.starts_with(bytes) {
        return FileError::NotTokens;
    }
    FileError::Truncated { offset: there, seconds }
}
