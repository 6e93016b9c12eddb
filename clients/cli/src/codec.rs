//! What encoding and decoding share: the model, and a bar that shows how far it is.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parlo_model::{Bundle, ModelError, Runtime};

/// Loads the library and the bundle in `folder`.
pub(crate) fn open(folder: &Path) -> Result<(Runtime, Bundle), ModelError> {
    let bundle = Bundle::open(folder)?;
    Ok((Runtime::load(None)?, bundle))
}

/// A bar over so many seconds of speech, or a running count where the length is not known. Shown on terminals only.
pub(crate) fn progress(verb: &'static str, seconds: Option<f64>) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match seconds {
        Some(seconds) => {
            ProgressBar::new(seconds.ceil() as u64).with_style(style("{msg} {wide_bar} {pos}/{len} s of speech"))
        }
        None => ProgressBar::no_length().with_style(style("{msg} {spinner} {pos} s of speech")),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    bar.with_message(verb)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
