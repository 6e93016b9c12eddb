//! One call at a time: the threads, the channels between them, and the socket.
//!
//! ```text
//! source -> [capture thread: mix, resample, frame, encode] -> channel -> [network: pack, UDP]
//! sink   <- [playback thread: jitter buffer, decode, resample] <- channel <- [network: unpack]
//! ```
//!
//! The codec threads wait only for sound; the network runs on the caller's thread. Channels are bounded and hold plain
//! values: nothing on the way of a frame allocates.

mod capture;
mod engine;
mod error;
mod inbound;
mod line;
pub mod media;
mod meeting;
mod network;
mod outbound;
mod playback;
mod player;
mod socket;
mod timeline;
mod voice;

pub use capture::Pauses;
pub use engine::{Engine, Event, Finished, Peer, Stop};
pub use error::{CallError, DEFAULT_PORT};
pub use inbound::Inbound;
pub use outbound::{Captured, Outbound, OutboundStats, Packing, Transmit, transmit};
pub use player::{Heard, Kind, Player, PlayerStats};
pub use timeline::{Moment, Timeline};
pub use voice::{Listener, OPUS_RATES, Speaker, Unit, VoiceError};
