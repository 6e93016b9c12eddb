//! Live tokens of one call, over the WebSocket `/api/v1/calls/{id}/feed` and over NATS.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::events::Mark;

/// A message of a feed: JSON text, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedMessage {
    /// What the codes are, first of all; once both sides may speak.
    Start(FeedStart),
    /// A frame. Each comes once; those of a stream in their order.
    Frame(FeedFrame),
    /// So many frames are missing here: this client was too slow, and the oldest that waited for it were dropped.
    Missed {
        /// How many.
        frames: u64,
    },
    /// The call is over.
    End,
}

/// What there is to know of a feed's codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedStart {
    /// Number of the call.
    pub call: u64,
    /// The peer's name among the contacts, else its address.
    pub peer: String,
    /// Identity of the bundle that the call is made with: a hash, 64 digits of hexadecimal.
    pub bundle: String,
    /// Its name.
    pub bundle_name: String,
    /// Identity of the tokens, which other bundles may understand too: 64 digits of hexadecimal.
    #[serde(default)]
    pub tokens: String,
    /// Its sample rate, Hz.
    pub sample_rate: u32,
    /// Samples of a frame at that rate.
    pub frame_samples: u32,
    /// Codes that each codebook has, coarsest first: a code is 0 to one less. Frames may have codes of fewer books.
    pub sizes: Vec<u32>,
    /// The call's time 0, ms since 1970-01-01 UTC. A recording of the call counts from its own `created`, by the same clock.
    pub created_ms: u64,
}

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedStream {
    /// It came from the peer.
    Heard,
    /// It was said here.
    Said,
}

impl FeedStream {
    /// Its name in messages, subjects and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heard => "heard",
            Self::Said => "said",
        }
    }
}

/// What a frame was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedMark {
    /// The frame as it was coded.
    Real,
    /// Said, while nobody spoke: coded, and not sent.
    Unsent,
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

impl FeedMark {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Unsent => "unsent",
            Self::Coarse => "coarse",
            Self::Predicted => "predicted",
            Self::Faded => "faded",
            Self::Silent => "silent",
            Self::Held => "held",
        }
    }
}

impl From<Mark> for FeedMark {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Real => Self::Real,
            Mark::Coarse => Self::Coarse,
            Mark::Predicted => Self::Predicted,
            Mark::Faded => Self::Faded,
            Mark::Silent => Self::Silent,
            Mark::Held => Self::Held,
        }
    }
}

/// A frame of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedFrame {
    /// Which way it went.
    pub stream: FeedStream,
    /// Its number, the sender's; none if play-out held, and the frame that was due may still come. Numbers that are left out were
    /// never there: the call was held.
    pub number: Option<u64>,
    /// When its first sample was captured, or is heard: ms since the call's time 0.
    pub time_ms: u64,
    /// What it was made of.
    pub mark: FeedMark,
    /// Its codes, coarsest first, as many as came; empty if none did.
    pub codes: Vec<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_documented() {
        let frame = FeedFrame {
            stream: FeedStream::Heard,
            number: Some(812),
            time_ms: 16240,
            mark: FeedMark::Real,
            codes: vec![3, 1023],
        };
        let start = FeedStart {
            call: 1,
            peer: "ada".into(),
            bundle: "ab".repeat(32),
            bundle_name: "small".into(),
            tokens: "cd".repeat(32),
            sample_rate: 16_000,
            frame_samples: 320,
            sizes: vec![1024, 1024],
            created_ms: 1_700_000_000_000,
        };
        let held = FeedFrame { number: None, mark: FeedMark::Held, codes: vec![], ..frame.clone() };
        for (message, text) in [
            (
                FeedMessage::Frame(frame),
                r#"{"type":"frame","stream":"heard","number":812,"time_ms":16240,"mark":"real","codes":[3,1023]}"#,
            ),
            (
                FeedMessage::Frame(held),
                r#"{"type":"frame","stream":"heard","number":null,"time_ms":16240,"mark":"held","codes":[]}"#,
            ),
            (FeedMessage::Missed { frames: 37 }, r#"{"type":"missed","frames":37}"#),
            (FeedMessage::End, r#"{"type":"end"}"#),
        ] {
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
            assert_eq!(serde_json::from_str::<FeedMessage>(text).unwrap(), message);
        }
        let text = serde_json::to_string(&FeedMessage::Start(start)).unwrap();
        assert!(text.starts_with(r#"{"type":"start","call":1,"peer":"ada","bundle":"abab"#), "{text}");
        assert!(text.ends_with(r#""sizes":[1024,1024],"created_ms":1700000000000}"#), "{text}");
    }

    #[test]
    fn names_are_those_of_the_messages() {
        use FeedMark::{Coarse, Faded, Held, Predicted, Real, Silent, Unsent};
        for mark in [Real, Unsent, Coarse, Predicted, Faded, Silent, Held] {
            assert_eq!(serde_json::to_string(&mark).unwrap(), format!("\"{}\"", mark.name()));
        }
        for stream in [FeedStream::Heard, FeedStream::Said] {
            assert_eq!(serde_json::to_string(&stream).unwrap(), format!("\"{}\"", stream.name()));
        }
    }
}
