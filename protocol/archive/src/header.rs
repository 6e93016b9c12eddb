use parlo_protocol::ptk::{AUDIO, Header, Mark, Tokens, VERSION};
use parlo_tokens::{ComfortNoise, TokenFrame};

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// Version of the format.
    pub version: u8,
    /// The model, its rates, the depth, the coding.
    pub tokens: Tokens,
    /// When the clock of the streams began, milliseconds since 1970-01-01 UTC, if it is said.
    pub created_ms: Option<u64>,
    /// The streams, at least one. Of files that name none it is number 0, "audio", of whole frames without gaps.
    pub streams: Vec<StreamName>,
    /// Keys and values, in the order of the file.
    pub metadata: Vec<(String, String)>,
}

/// A stream of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    /// Its number.
    pub number: u8,
    /// What it is: "audio"; of calls "said" and "heard".
    pub name: String,
}

impl FileHeader {
    pub(crate) fn of(header: &Header) -> Self {
        let mut names: Vec<StreamName> =
            header.streams.iter().map(|s| StreamName { number: s.id, name: s.name.clone() }).collect();
        if names.is_empty() {
            names.push(StreamName { number: 0, name: AUDIO.to_owned() });
        }
        Self {
            version: VERSION,
            tokens: header.tokens.clone(),
            created_ms: header.created_ms,
            streams: names,
            metadata: header.metadata.clone(),
        }
    }

    /// How long a frame is, milliseconds.
    pub fn frame_ms(&self) -> f64 {
        f64::from(self.tokens.frame_samples) * 1000.0 / f64::from(self.tokens.sample_rate.max(1))
    }
}

/// Whether a file is whole, as far as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It has its end mark. Blocks are checked when they are read.
    Whole,
    /// It breaks off: all before is whole.
    Cut {
        /// Bytes of whole parts.
        at: u64,
    },
    /// All before is whole, and what follows is not read.
    Damaged {
        /// The byte at which the damage begins.
        at: u64,
        /// A sentence, to follow the file's name.
        reason: String,
    },
}

/// A frame of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimedFrame {
    /// When it began, milliseconds after the clock of the streams began.
    pub time_ms: f64,
    /// What became of it.
    pub mark: Mark,
    /// Its codes, if there are any.
    pub codes: Option<TokenFrame>,
    /// What the background was like, if it was said.
    pub noise: Option<ComfortNoise>,
}

impl TimedFrame {
    /// Whether the same is to be said of both, up to their time and codes.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let depth = |frame: &Self| frame.codes.map(|codes| codes.depth());
        (self.mark, self.noise, depth(self)) == (other.mark, other.noise, depth(other))
    }
}
