//! What Parlo's daemon and its clients say to each other: the JSON of the control API, as types.
//!
//! The daemon serves them ([OpenAPI](https://spec.openapis.org/oas/v3.1.0) at `/api/v1/openapi.json`), the command line and
//! the tests use them. All fields have units in their names where they have any; times are seconds or milliseconds as the
//! name says, levels decibels relative to full scale, bitrates kilobits (1000 bits) per second.

pub mod audio;
pub mod calls;
#[cfg(unix)]
pub mod client;
pub mod events;
pub mod feed;
pub mod place;
pub mod status;

pub use audio::{Audio, AudioChange, Device, Endpoints, Meters, SoundFigures, StageSwitches};
pub use calls::{
    Bitrates, Budget, Call, CallChange, CallFigures, CallSettings, CallState, Dial, Direction, FrameCounts, Peer,
    Refusal, RefusalReason,
};
#[cfg(unix)]
pub use client::{Client, ClientError};
pub use events::{HeardFrame, Live, Mark, Message, SaidFrame, Voice};
pub use feed::{FeedFrame, FeedMark, FeedMessage, FeedStart, FeedStream};
pub use status::{Bundle, Contact, ContactEntry, Failure, Presence, PskEntry, Recording, Status};
