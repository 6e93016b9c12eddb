//! Parlo's protocol: payloads to sealed packets and token files, and back, without I/O.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                                       ^^^^^^^^^^^^^^^
//! ```
//!
//! Nothing here reads a clock, opens a socket or a file, or draws a random number: time, datagrams and identifiers come in
//! as arguments, and datagrams, bytes and events go out. So a test turns the clock by hand, and seconds of a bad network
//! take microseconds. Payloads are opaque: the model makes them from token frames, and takes them apart.
//!
//! * [`packet`]: what is inside a sealed packet, as in `docs/wire.md`; [`ack`] and [`feedback`] ride on it.
//! * [`session`]: handshake and sealing, cookies, replay, roaming; [`identity`] has the keys, [`psk`] what two may share besides.
//! * [`offer`]: what two peers agree to speak.
//! * [`call`]: one call between two peers, from the first datagram to the last; [`acceptor`] is where callers come.
//! * [`context`]: how two peers agree upon frames that both hold, so that packets may build upon them.
//! * [`adapt`]: how much to send, and what, by what the peer tells of the path.
//! * [`jitter`]: the buffer that turns frames that come when they like into frames when they are due.
//! * [`relay`]: the one who carries sealed datagrams between two peers that cannot reach each other.
//! * [`ptk`]: token files (`.ptk`), as in `docs/file.md`.
//!
//! Datagrams have up to [`packet::MAX_DATAGRAM`] bytes. Bytes that are no packet or no file are errors
//! ([`PacketError`](packet::PacketError), [`FileError`](ptk::FileError)), whatever they are; reading takes bounded time and memory.
//!
//! ```
//! use parlo_protocol::packet::{Frames, Media, Piggyback};
//!
//! // Three frames of six codes, as a model's coder packed them. Nothing is told of what comes the other way.
//! let payload = [0x5A; 23];
//! let frames = Frames { depth: 6, count: 3, context: 0, copies: 0, copy_depth: 1, piggyback: Piggyback::default(), payload: &payload };
//! let mut body = Vec::new();
//! let header = Media::Frames(frames).encode(&mut body);
//! assert_eq!(body.len(), 1 + payload.len());
//! assert_eq!(Media::parse(header, &body), Ok(Media::Frames(frames)));
//! ```

pub mod acceptor;
pub mod ack;
pub mod adapt;
pub mod call;
pub mod context;
pub mod feedback;
pub mod identity;
pub mod jitter;
mod network;
pub mod offer;
pub mod packet;
pub mod psk;
pub mod ptk;
pub mod relay;
pub mod session;
