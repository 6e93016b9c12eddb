//! `parlo verify` and `parlo repair`.

use std::{
    fs,
    io::{self, Seek as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use parlo_archive::{Archive, Coder, Loss, survey};
use parlo_audio_io::output::{self, Kind, Replace};
use parlod::{sentence, sentence_of};

use super::Opened;
use crate::{
    Incomplete, codec,
    daemon_verbs::print,
    format::{bytes, clock},
    io_path::IoPath,
    scratch::Scratch,
};

/// Losses of one file that are told each.
const MOST_TOLD: usize = 20;

pub(super) fn verify(inputs: &[IoPath]) -> anyhow::Result<()> {
    let mut bad = 0;
    for input in inputs {
        let name = input.name("standard input");
        let faults = match Opened::new(input) {
            Ok(mut opened) => {
                let tokens = opened.archive.header().tokens.clone();
                let bundle = codec::bundle_of(&tokens, &name, None);
                let coder = bundle.map(|bundle| parlo_archive::coder(&bundle, tokens.coding));
                let mut coder = coder.ok().and_then(Result::ok);
                let found = survey(&mut opened.archive, coder.as_mut())?;
                if found.faults.is_empty() {
                    let what = if coder.is_some() {
                        ""
                    } else {
                        "; its model is not here, so that its codes were not decoded"
                    };
                    let length = clock(opened.archive.duration_ms() as f64 / 1000.0);
                    print(&format!("{name}: whole, {length}, {} blocks{what}\n", found.blocks))?;
                }
                found.faults.iter().map(|fault| sentence_of(fault)).collect()
            }
            Err(error) if inputs.len() == 1 => return Err(error),
            Err(error) => vec![error.to_string().trim_start_matches(&format!("{name}: ")).to_owned()],
        };
        bad += usize::from(!faults.is_empty());
        if let [fault] = &faults[..]
            && inputs.len() == 1
        {
            bail!("{name}: {fault}");
        }
        faults.iter().for_each(|fault| eprintln!("parlo: {name}: {fault}"));
    }
    match bad {
        0 => Ok(()),
        _ => bail!("{bad} of {} files are damaged; `parlo repair` saves what is whole", inputs.len()),
    }
}

pub(super) fn repair(input: &IoPath, output: Option<&IoPath>, force: bool) -> anyhow::Result<()> {
    let mut opened = Opened::new(input)?;
    let Some(output) = output.or_else(|| (!input.is_standard()).then_some(input)) else {
        bail!("standard input cannot be mended in its place; name a file with --output, or - for standard output");
    };
    let in_place = match (input, output) {
        (IoPath::File(input), IoPath::File(output)) => input == output || output::is_same(input, output),
        _ => false,
    };
    // The damaged file is kept under another name.
    let claim = match (in_place, output) {
        (true, IoPath::File(path)) => {
            output::check(path, Kind::Tokens, &[], Replace::OwnKind)?;
            output.claim_in_place()
        }
        _ => output.claim(Kind::Tokens, &[input], force)?,
    };
    let name = opened.name.clone();
    // Damage behind an index shows only when all is read.
    let whole = opened.archive.has_end_mark() && survey(&mut opened.archive, None)?.faults.is_empty();
    if whole && in_place {
        return print(&format!("{name} is whole: nothing to repair\n"));
    }
    let tokens = opened.archive.header().tokens.clone();
    let bundle = codec::bundle_of(&tokens, &name, None);
    let coder = bundle.map_err(|error| sentence(&error));
    let coder =
        coder.and_then(|bundle| parlo_archive::coder(&bundle, tokens.coding).map_err(|error| sentence_of(&error)));
    let (mut coder, without) = match coder {
        Ok(coder) => (Some(coder), None),
        Err(reason) => (None, Some(reason)),
    };
    // Kept in a file without a name until it is known to be right.
    let mut made = Scratch::new().context("cannot keep what is saved in a temporary file")?;
    let repair = parlo_archive::repair(&mut opened.archive, coder.as_mut(), io::BufWriter::new(&mut made));
    let repair = repair.map_err(|error| codec::named(error.into(), output))?;
    let broken = |fault: String| {
        anyhow::anyhow!("{name}: what was saved of it is not whole ({fault}), so that nothing was written")
    };
    verified(&mut made, coder.as_mut()).map_err(broken)?;
    let mut out = claim.bytes()?;
    made.rewind().and_then(|()| io::copy(&mut made, &mut out)).map_err(|error| codec::named(error.into(), output))?;
    let kept = match input {
        IoPath::File(path) if in_place => Some(keep(path)?),
        _ => None,
    };
    out.finish()?;
    // Of what lies there now, not of what was to be written.
    if let IoPath::File(path) = output
        && path.is_file()
    {
        let written = fs::File::open(path).map_err(|error| error.to_string());
        written.and_then(|mut written| verified(&mut written, coder.as_mut())).map_err(|fault| {
            let kept = kept
                .as_ref()
                .map_or_else(String::new, |kept| format!("; the damaged file is kept as {}", kept.display()));
            anyhow::anyhow!(
                "{}: it was written, but does not read back whole ({fault}): the disk may be failing{kept}",
                path.display()
            )
        })?;
    }
    let mut said = format!(
        "{name}: saved {} of speech ({} frames, {})\n",
        clock(repair.made.duration_ms as f64 / 1000.0),
        repair.made.frames,
        bytes(repair.made.bytes)
    );
    if repair.mended > 0 {
        said.push_str(&format!("{name}: {} damaged blocks are again as they were\n", repair.mended));
    }
    repair.losses.iter().take(MOST_TOLD).for_each(|loss| said.push_str(&format!("{name}: {}\n", told(loss))));
    if let Some(more @ 1..) = repair.losses.len().checked_sub(MOST_TOLD) {
        said.push_str(&format!("{name}: and {more} more losses\n"));
    }
    if let (Some(reason), false) = (without, repair.losses.is_empty()) {
        said.push_str(&format!("{name}: more could be saved with its model: {reason}\n"));
    }
    if let Some(kept) = kept {
        said.push_str(&format!("{name}: the damaged file is kept as {}\n", kept.display()));
    }
    if output.is_standard() {
        eprint!("{said}");
    } else {
        print(&said)?;
    }
    if repair.losses.is_empty() { Ok(()) } else { Err(Incomplete.into()) }
}

/// Whether a file that was made is whole, all of it read and decoded; if not, the first fault.
fn verified<S: io::Read + io::Seek>(made: &mut S, coder: Option<&mut Coder>) -> Result<(), String> {
    let mut archive = Archive::open(made).map_err(|error| sentence_of(&error))?;
    let found = survey(&mut archive, coder).map_err(|error| sentence_of(&error))?;
    found.faults.first().map_or(Ok(()), |fault| Err(sentence_of(fault)))
}

/// Gives a file another name beside its own, which no other file has: `talk.damaged.ptk`.
fn keep(file: &Path) -> anyhow::Result<PathBuf> {
    // What a link points to is what is replaced.
    let own = file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
    for number in 1..10_000 {
        let mut name = own.file_stem().unwrap_or_default().to_owned();
        name.push(if number == 1 { ".damaged".to_owned() } else { format!(".damaged-{number}") });
        if let Some(suffix) = own.extension() {
            name.push(".");
            name.push(suffix);
        }
        let kept = own.with_file_name(name);
        let done = match fs::hard_link(&own, &kept) {
            // Some file systems have no links.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => copy_new(&own, &kept),
            done => done,
        };
        match done {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot keep the damaged file as {}", kept.display()));
            }
        }
    }
    bail!("there are too many damaged files beside {}", file.display())
}

fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut to = fs::File::create_new(to)?;
    io::copy(&mut fs::File::open(from)?, &mut to)?;
    to.sync_all()
}

fn told(loss: &Loss) -> String {
    let frames = match loss.frames {
        Some(1) => "1 frame".to_owned(),
        Some(frames) => format!("{frames} frames"),
        None => "it is not known how much".to_owned(),
    };
    let saved = if loss.saved > 0 { format!("; {} frames before it are saved", loss.saved) } else { String::new() };
    format!("lost {} at byte {}, {:.1} s in ({frames}{saved})", bytes(loss.bytes), loss.at, loss.seconds)
}
