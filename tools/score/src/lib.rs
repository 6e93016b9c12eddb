//! Measures of speech that arrived against the speech that was sent.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                  ^^^^^^
//! ```
//!
//! Both are mono `f32` samples, at a rate in Hz. For measures and tests; nothing here runs in a call.
//!
//! * [`align`]: how many samples later it came, as an [`Alignment`]; [`overlap`]: the parts of both that lie over each other.
//! * [`estoi`]: how well it can be understood, 0 to 1 (ESTOI).
//! * [`spectrogram_png`]: both as spectrograms, a [`Panel`] each. [`resample`]: another rate for a whole signal.
//!
//! Signals that are too short, silent or no numbers have no result, but a [`ScoreError`].
//!
//! ```
//! use parlo_score::{ScoreError, align, estoi, overlap};
//!
//! /// How well `received` can be understood, which came up to a second later than `sent`.
//! fn intelligibility(sent: &[f32], received: &[f32], rate: u32) -> Result<f64, ScoreError> {
//!     let alignment = align(sent, received, rate, 1.0)?;
//!     let (sent, received) = overlap(sent, received, alignment);
//!     estoi(sent, received, rate)
//! }
//!
//! assert!(intelligibility(&[0.0; 16_000], &[0.0; 16_000], 16_000).is_err(), "silence says nothing");
//! ```

mod align;
mod error;
mod estoi;
mod picture;
mod resample;

pub use align::{Alignment, align, overlap};
pub use error::ScoreError;
pub use estoi::estoi;
pub use picture::{Panel, spectrogram_png};
pub use resample::resample;
