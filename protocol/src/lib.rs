//! Parlo's bytes on the wire and on disk, without I/O.
//!
//! Nothing here reads a clock, opens a socket or a file, or draws a random number: time, datagrams and identifiers come in
//! as arguments, and datagrams, bytes and events go out. So a test turns the clock by hand, and seconds of a bad network
//! take microseconds.
//!
//! * [`packet`]: the layout of one datagram, as in `docs/wire.md`.
//! * [`call`]: one call between two peers, from Hello to Bye.
//! * [`context`]: how two peers agree upon frames that both hold, so that packets may build upon them.
//! * [`jitter`]: the buffer that turns frames that come when they like into frames when they are due.
//! * [`mod@file`]: token files (`.ptk`), as in `docs/file.md`.
//!
//! Payloads are opaque here: the model makes them from token frames, and takes them apart.

pub mod call;
pub mod context;
pub mod file;
pub mod jitter;
pub mod packet;
pub mod report;
