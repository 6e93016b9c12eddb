//! Samples in, samples out: mixing, resampling, framing, levels. No I/O, no clock, and no allocation once built.
//!
//! [`Intake`] brings whatever a device or a file gives to the model's frames; [`Outlet`] brings the model's samples to
//! whatever a device or a file takes. Both are made of a [`Resampler`], whose measured quality stands there.

mod error;
mod intake;
mod meter;
mod outlet;
mod resampler;

pub use error::DspError;
pub use intake::Intake;
pub use meter::{Level, Meter};
pub use outlet::Outlet;
pub use resampler::Resampler;
