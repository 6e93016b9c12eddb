//! What the daemon tells by itself, over the WebSocket `/api/v1/events`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{audio::Meters, status::Status};

/// A message of the event stream: JSON text, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// Everything: first of all, whenever something has changed, and at least once a second during calls.
    Status(Box<Status>),
    /// Sound, about 12 times a second during calls. Only with `?live=true`.
    Live(Live),
    /// A sentence for the user.
    Notice {
        /// The call that it is about, if it is about one.
        call: Option<u64>,
        /// The sentence.
        text: String,
    },
    /// This client was too slow, and missed so many messages.
    Missed {
        /// How many.
        messages: u64,
    },
}

/// What was said and heard since the last message of this kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Live {
    /// Seconds since the daemon began.
    pub at_s: f64,
    /// Levels now.
    pub meters: Meters,
    /// What is heard, all calls mixed: one row for each 20 ms, oldest first, each of 64 numbers: the energy in bands that lie
    /// evenly on the mel scale from 50 Hz to half the sample rate, from 0 (-100 dBFS and less) to 255 (0 dBFS).
    pub spectrogram: Vec<Vec<u8>>,
    /// Per call.
    pub calls: Vec<Voice>,
}

/// Frames of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Voice {
    /// Which.
    pub call: u64,
    /// Level of the peer's voice, dBFS.
    pub level_dbfs: f32,
    /// Heard, oldest first.
    pub heard: Vec<HeardFrame>,
    /// Said, oldest first.
    pub said: Vec<SaidFrame>,
}

/// What a frame that was heard was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The frame as it was coded.
    Real,
    /// A coarse copy.
    Coarse,
    /// What was to be expected: the frame was lost.
    Predicted,
    /// Nothing: too many were lost.
    Faded,
    /// Comfort noise: nobody spoke.
    Silent,
    /// What was to be expected, while the frame might still have come.
    Held,
}

/// A frame that was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeardFrame {
    /// Its number; none if play-out held.
    pub number: Option<u64>,
    /// What it was made of.
    pub mark: Mark,
    /// Its codes, coarsest first; empty if it has none.
    pub codes: Vec<u16>,
}

/// A frame that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SaidFrame {
    /// Its number.
    pub number: u64,
    /// Whether nobody spoke: then it was not sent.
    pub silent: bool,
    /// Its codes, coarsest first; empty if it has none.
    pub codes: Vec<u16>,
}
