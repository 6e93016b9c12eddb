//! What encoding and decoding share: the model, and a bar that shows how far it is.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parlo_model::{Bundle, EntropyCoder, FrameCoder, ModelError, PlainCoder, Runtime};
use parlo_protocol::file::Coding;

/// Loads the library and the bundle in `folder`.
pub(crate) fn open(folder: &Path) -> Result<(Runtime, Bundle), ModelError> {
    let bundle = Bundle::open(folder)?;
    Ok((Runtime::load(None)?, bundle))
}

/// The coding that takes the fewest bits with this bundle.
pub(crate) fn best_coding(bundle: &Bundle) -> Coding {
    if bundle.manifest().entropy.is_some() { Coding::Transformer } else { Coding::Plain }
}

/// What makes payloads of frames, and frames of payloads.
pub(crate) fn coder(bundle: &Bundle, coding: Coding) -> anyhow::Result<Box<dyn FrameCoder>> {
    Ok(match coding {
        Coding::Transformer => {
            let model = bundle.entropy_model()?;
            let model = model.with_context(|| {
                format!("the tokens are entropy-coded, but the model {} cannot do that", bundle.manifest().name)
            })?;
            Box::new(EntropyCoder::new(&model))
        }
        _ => Box::new(PlainCoder::new(*bundle.layout())),
    })
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
