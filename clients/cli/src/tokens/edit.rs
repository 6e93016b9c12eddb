//! `parlo cut` and `parlo cat`.

use std::path::Path;

use anyhow::bail;
use parlo_archive::{Archive, ArchiveError};
use parlo_audio_io::output::Kind;
use parlod::sentence_of;

use super::{Opened, TimeRange};
use crate::{
    codec,
    io_path::{Anywhere, IoPath},
};

pub(super) fn cut(
    input: &IoPath,
    output: &IoPath,
    range: TimeRange,
    bundle: Option<&Path>,
    keep_going: bool,
    force: bool,
) -> anyhow::Result<()> {
    let claim = output.claim(Kind::Tokens, &[input], force)?;
    let mut opened = Opened::new(input)?;
    opened.check(keep_going)?;
    range.check(opened.archive.duration_ms())?;
    let (name, archive) = (&opened.name, &mut opened.archive);
    let tokens = archive.header().tokens.clone();
    // Without the model, blocks can still be taken whole.
    let found = codec::bundle_of(&tokens, name, bundle);
    let mut out = claim.bytes()?;
    let made = match &found {
        Ok(bundle) => {
            let mut coder = parlo_archive::coder(bundle, tokens.coding)?;
            let delay = bundle.manifest().audio.delay_samples;
            parlo_archive::cut(archive, Some(&mut coder), range.from_ms, range.to_ms, delay, &mut out)
        }
        Err(_) => parlo_archive::cut(archive, None, range.from_ms, range.to_ms, 0, &mut out),
    };
    match (made, found) {
        (Err(ArchiveError::NeedsModel), Err(error)) => Err(error),
        (Err(error @ ArchiveError::Write(_)), _) => Err(codec::named(error.into(), output)),
        (Err(error), _) => bail!("{name}: {}", sentence_of(&error)),
        (Ok(_), _) => out.finish(),
    }
}

pub(super) fn cat(inputs: &[IoPath], output: &IoPath, keep_going: bool, force: bool) -> anyhow::Result<()> {
    let claim = output.claim(Kind::Tokens, &inputs.iter().collect::<Vec<_>>(), force)?;
    let mut archives: Vec<Archive<Box<dyn Anywhere>>> = Vec::new();
    for input in inputs {
        let opened = Opened::new(input)?;
        opened.check(keep_going)?;
        archives.push(opened.archive);
    }
    let mut out = claim.bytes()?;
    match parlo_archive::join(&mut archives, &mut out) {
        Ok(_) => out.finish(),
        Err(error @ ArchiveError::Write(_)) => Err(codec::named(error.into(), output)),
        Err(ArchiveError::OtherModel { made, made_id, given, given_id }) => {
            bail!(
                "these files cannot be joined: one is of the model {given} ({given_id}), another of {made} ({made_id})"
            )
        }
        Err(error) => bail!("these files cannot be joined: {}", sentence_of(&error)),
    }
}
