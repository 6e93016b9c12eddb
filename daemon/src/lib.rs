//! Parlo's daemon: wires the model, the protocol and the signal code to sockets, sound cards, files and clocks.
//!
//! `parlod` is this library with a command line; `parlo call` and `parlo listen` run the same [`call`] engine in the
//! foreground. What the codec knows is in `parlo-model`, what the wire knows in `parlo-protocol`; here are threads.

pub mod audio;
pub mod call;
pub mod call_manager;
pub mod clock;
pub mod config;
pub mod control;
pub mod feeds;
pub mod generate;
pub mod keys;
pub mod logging;
pub mod media;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(not(feature = "nats"))]
#[path = "nats/absent.rs"]
pub mod nats;
pub mod options;
pub mod realtime;
pub mod recordings;
pub mod relay;
pub mod report;
mod sentence;
pub mod service;
pub mod stun;

pub use sentence::sentence;
