//! Parlo's control API: the JSON of its requests, answers and streams, as types; and a client.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//! ```
//!
//! The daemon does all of this; a client asks it to, over HTTP, and is told of it, over WebSockets. docs/control.md has the API, and the daemon itself
//! an [OpenAPI](https://spec.openapis.org/oas/v3.1.0) description at `/api/v1/openapi.json`, made of these types.
//!
//! * [`Client`], on Unix: asks the daemon of this user over its Unix socket ([`place::socket`]); every request is a method of it, and what goes wrong
//!   is a [`ClientError`], a sentence that says what to do.
//! * [`Status`]: everything; [`Call`], [`CallChange`], [`Dial`]: calls; [`Audio`], [`AudioChange`], [`Device`]: sound; [`Contact`] and [`Recording`].
//! * [`Message`]: what happens, as it happens. [`FeedMessage`]: the token frames of one call, live; `examples/feed.rs` prints them.
//!
//! Fields have units in their names where they have any; times are seconds or milliseconds as the
//! name says, levels decibels relative to full scale, bitrates kilobits (1000 bits) per second.
//!
//! ```no_run
//! # #[cfg(unix)]
//! # async fn example() -> Result<(), parlo_api::ClientError> {
//! use parlo_api::{Client, Dial, place};
//!
//! let client = Client::connect(&place::socket()).await?;
//! let call = client.dial(&Dial { peer: "192.0.2.7".into(), ..Dial::default() }).await?;
//! println!("call {}: {:?}", call.id, call.state);
//! client.hang_up(call.id).await?;
//! # Ok(())
//! # }
//! ```

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
