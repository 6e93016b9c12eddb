//! Sound processing: samples in, samples out. No I/O, no clock, and no allocation once built (but in the echo canceller, see [`Stages`]).
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                  ^^^^^^
//! ```
//!
//! Samples are `f32`, nominally -1 to 1; rates are in Hz, levels in dB relative to full scale.
//!
//! * [`Intake`]: from a device's or a file's interleaved channels at any rate to mono frames at the model's rate; [`Outlet`]: back. Both use a
//!   [`Resampler`], whose measured quality stands there.
//! * [`Downmix`]: one channel of a recording's several, by what is in them.
//! * [`Stages`]: what a microphone's sound passes before it is encoded: high-pass, echo canceller, noise suppression, gain control.
//! * [`Activity`]: whether somebody speaks. [`NoiseAnalyser`] and [`NoiseGenerator`]: comfort noise, described and made.
//! * [`Stretcher`]: speech longer or shorter at the same pitch. [`Steer`]: by how much a resampler follows a sound card's clock.
//! * [`Gain`]: loudness without clicks. [`Limiter`]: a mix within full scale. [`Meter`]: levels.
//!
//! Rates, channels and lengths that cannot be are refused when something is built, by a [`DspError`]; processing does not fail.
//!
//! ```
//! use parlo_dsp::Intake;
//!
//! // A second of stereo at 48 kHz becomes mono frames of 320 samples at 16 kHz.
//! let mut intake = Intake::new(48_000, 2, 16_000, 320)?;
//! let mut samples = Vec::<f32>::new();
//! intake.push(&vec![0.0; 2 * 48_000], |frame| samples.extend_from_slice(frame));
//! intake.finish(|frame| samples.extend_from_slice(frame));
//! assert_eq!(samples.len(), 50 * 320);
//! # Ok::<(), parlo_dsp::DspError>(())
//! ```

mod activity;
mod comfort;
mod downmix;
mod error;
mod gain;
mod intake;
mod limiter;
mod meter;
mod outlet;
mod resampler;
mod stages;
mod steer;
#[cfg(test)]
mod steer_tests;
mod stretch;
#[cfg(test)]
mod synthetic;

pub use activity::Activity;
pub use comfort::{NOISE_ORDER, NoiseAnalyser, NoiseGenerator};
pub use downmix::{Channel, Downmix};
pub use error::DspError;
pub use gain::Gain;
pub use intake::Intake;
pub use limiter::Limiter;
pub use meter::{Level, Meter};
pub use outlet::Outlet;
pub use resampler::Resampler;
pub use stages::{Readings, Stages, Switches};
pub use steer::Steer;
pub use stretch::{Pace, Stretcher};
