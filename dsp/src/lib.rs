//! Samples in, samples out: mixing, resampling, framing, levels, stretching, silence. No I/O, no clock, and no allocation once
//! built (but in the echo canceller, see [`Stages`]).
//!
//! [`Intake`] brings whatever a device or a file gives to the model's frames; [`Outlet`] brings the model's samples to
//! whatever a device or a file takes. Both are made of a [`Resampler`], whose measured quality stands there.
//! [`Downmix`] makes one channel of a recording's several, by what is in them.
//! [`Steer`] says how a resampler follows a sound card's clock.
//! [`Stretcher`] makes speech longer or shorter at the same pitch. [`Activity`] tells whether somebody speaks;
//! [`NoiseAnalyser`] and [`NoiseGenerator`] describe the background, and make it again at the other end.
//! [`Stages`] is what a microphone's sound passes before it is coded: high-pass, echo cancellation, noise suppression, gain
//! control. [`Gain`] changes loudness without a click; [`Limiter`] keeps a mix within full scale.

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
