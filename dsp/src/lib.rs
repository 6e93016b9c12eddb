//! Samples in, samples out: mixing, resampling, framing, levels, stretching, silence. No I/O, no clock, and no allocation once
//! built.
//!
//! [`Intake`] brings whatever a device or a file gives to the model's frames; [`Outlet`] brings the model's samples to
//! whatever a device or a file takes. Both are made of a [`Resampler`], whose measured quality stands there.
//! [`Stretcher`] makes speech longer or shorter at the same pitch. [`Activity`] tells whether somebody speaks;
//! [`NoiseAnalyser`] and [`NoiseGenerator`] describe the background, and make it again at the other end.

mod activity;
mod comfort;
mod error;
mod intake;
mod meter;
mod outlet;
mod resampler;
mod stretch;
#[cfg(test)]
mod synthetic;

pub use activity::Activity;
pub use comfort::{NOISE_ORDER, NoiseAnalyser, NoiseGenerator};
pub use error::DspError;
pub use intake::Intake;
pub use meter::{Level, Meter};
pub use outlet::Outlet;
pub use resampler::Resampler;
pub use stretch::{Pace, Stretcher};
