//! How close is the speech that arrived to the speech that was sent?
//!
//! [`estoi`] says how well it can be understood, [`align`] finds out how much later it came, and [`spectrogram_png`] shows
//! it to the eye. For measures and tests; nothing here runs in a call.

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
