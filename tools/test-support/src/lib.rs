//! What tests of several crates share: bundles and graphs made on the spot, and a daemon that is played. Nothing that is shipped uses it.
//!
//! * [`formats`], [`foreign`]: bundles of both formats, and such as an importer makes of other projects' codecs, out of [`onnx`] graphs.
//! * [`synthetic`]: entropy models of random weights.
//! * With the feature `api`, `samples`: a daemon's words; `played`: a server that says them.
//!
//! A crate's own tests cannot use what is here of that crate's types, as they are compiled with another copy of it: only its `tests/` can.

#![allow(clippy::unwrap_used, missing_docs, reason = "a panic is how a test fails, and only tests read it")]

pub mod foreign;
pub mod formats;
pub mod onnx;
#[cfg(all(unix, feature = "api"))]
pub mod played;
#[cfg(feature = "api")]
pub mod samples;
pub mod synthetic;
