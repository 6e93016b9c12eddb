//! Discontinuous transmission: where nobody speaks.

mod preroll;
mod voice_activity;

pub(crate) use preroll::{Preroll, Silent};
pub use voice_activity::VoiceActivity;
