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
mod media;
mod network;
mod playback;
mod timeline;

pub use engine::{CallError, DEFAULT_PORT, Engine, Event, Finished, Peer, Stop};
pub use timeline::{Moment, Timeline};
