//! Parlo's daemon as a library: calls, devices, recordings, the control API, and the threads that they run on.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//! ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
//! ```
//!
//! `parlod` is this library with a command line; `parlo call --standalone` and `parlo listen` run a call of it in their own process. The codec is
//! `parlo-model`, sound processing `parlo-dsp`, the wire `parlo-protocol`; docs/architecture.md has the way of a sample through all of them.
//!
//! * [`call`]: what a call is made with. Its [`Engine`](call::Engine) is a loaded model, a configuration and a key, and places and takes calls in this
//!   process; [`Event`](call::Event) tells of them.
//! * [`call_manager`]: all calls of a process, on one thread; [`Service`](call_manager::Service) is the daemon that stays, [`control`] its API.
//! * [`media`]: capture and playback threads for the sound of all calls; [`audio`] has devices and files, [`realtime`] their priority.
//! * [`config`]: the configuration; [`options`]: flags over it. [`keys`]: the user's key, contacts, shared secrets.
//! * [`recordings`], [`feeds`], [`nats`]: token frames kept, and told to programs. [`relay`], [`stun`]: help for peers behind address translators.
//!
//! Rates are in Hz, lengths of the configuration in the units that its fields' names say. A call that cannot be had, or breaks, is a
//! [`CallError`](call::CallError), a sentence that says what to do. `examples/call.rs` is the following as a program.
//!
//! ```no_run
//! use std::time::Instant;
//!
//! use parlod::{
//!     call::{CallError, Engine, Event, Stop},
//!     config::{Config, Endpoint},
//! };
//!
//! // SAFETY: first thing in `main`: no other thread runs yet.
//! unsafe { parlo_model::disable_telemetry() };
//! let mut config = Config::default();
//! config.audio.source = Endpoint::File("talk.wav".into());
//! config.audio.sink = Endpoint::None;
//! let engine = Engine::new(config, Instant::now(), false)?;
//! engine.call("192.0.2.7:7275", &Stop::default(), &mut |event: Event| {
//!     if let Event::Connected(peer) = event {
//!         println!("in a call with {}", peer.address);
//!     }
//! })?;
//! # Ok::<(), CallError>(())
//! ```

pub mod audio;
pub mod call;
pub mod call_manager;
pub mod clock;
pub mod config;
pub mod control;
mod error_text;
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
pub mod service;
pub mod stun;

pub use error_text::{sentence, sentence_of};
