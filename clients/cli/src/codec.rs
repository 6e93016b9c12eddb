//! What encoding and decoding share: the model, and a bar that shows how far it is.

use std::{
    io::stderr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parlo_archive::ArchiveError;
use parlo_model::{Bundle, ModelError, Runtime};
use parlo_protocol::ptk::Tokens;

use crate::{format::can_draw, io_path::IoPath};

/// Loads the library and the bundle in `folder`.
pub(crate) fn open(folder: &Path) -> Result<(Runtime, Bundle), ModelError> {
    let bundle = Bundle::open(folder)?;
    Ok((Runtime::load(None)?, bundle))
}

/// The folder of a bundle for the tokens of a file: the one that is named, or the best of those that are here.
pub(crate) fn folder_of(tokens: &Tokens, name: &str, bundle: Option<&Path>) -> anyhow::Result<PathBuf> {
    if bundle.is_some() {
        return Ok(parlo_model::locate_bundle(bundle)?);
    }
    let usual = parlo_model::locate_bundle(None).and_then(|folder| Bundle::open(&folder)).ok();
    let here = parlo_model::find_bundles(usual, &[]).bundles;
    let right = here.iter().find(|bundle| bundle.reads(tokens.id));
    right.map(|bundle| bundle.folder().to_owned()).with_context(|| {
        let names: Vec<String> = here.iter().map(Bundle::title).collect();
        let here = if names.is_empty() { "none is".to_owned() } else { names.join(", ") };
        let folders: Vec<String> =
            parlo_model::bundle_folders().iter().map(|folder| folder.display().to_string()).collect();
        format!(
            "{name} was made with the model {} ({}), which is not here ({here}); name its folder with --bundle, or put it into {}",
            tokens.bundle_name,
            tokens.id.short(),
            folders.join(" or ")
        )
    })
}

/// Loads a bundle for the tokens of a file; refuses one for others.
pub(crate) fn bundle_of(tokens: &Tokens, name: &str, bundle: Option<&Path>) -> anyhow::Result<Bundle> {
    let folder = folder_of(tokens, name, bundle)?;
    let bundle = Bundle::open(&folder)?;
    if !bundle.reads(tokens.id) {
        bail!(
            "{name} was made with the model {} ({}), but {} is {}; name the right one with --bundle",
            tokens.bundle_name,
            tokens.id.short(),
            folder.display(),
            bundle.title()
        );
    }
    Ok(bundle)
}

/// An error of writing there, with the name of the place.
pub(crate) fn named(error: anyhow::Error, place: &IoPath) -> anyhow::Error {
    match error.downcast::<ArchiveError>() {
        Ok(ArchiveError::Write(error)) if place.is_standard() => {
            anyhow::Error::new(error).context("cannot write to standard output")
        }
        Ok(ArchiveError::Write(error)) => anyhow::Error::new(error).context(format!("cannot write {place}")),
        Ok(ArchiveError::Model(error)) => error.into(),
        Ok(error) => error.into(),
        Err(error) => error,
    }
}

/// A bar over so many seconds of speech, or a running count where the length is not known. Shown on terminals only.
pub(crate) fn progress(verb: &'static str, seconds: Option<f64>) -> ProgressBar {
    if !can_draw(&stderr()) {
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
