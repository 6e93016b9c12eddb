//! `parlo encode --recursive`: a whole folder of speech to tokens, on all cores, again and again until all is done.

mod manifest;
mod pool;
mod walk;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime},
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parlo_archive::{Archive, Coding, FileState, Options};
use parlo_audio_io::{
    AtomicFile, Channel,
    output::{self, Kind, Replace},
};
use parlo_model::{Bundle, ModelError};
use parlod::sentence;

use crate::{
    Incomplete,
    encode::{Model, encode_file},
    format::can_draw,
    io_path::IoPath,
    stop,
};
use manifest::{Entry, FAILURES, Failure, MANIFEST};
use walk::{Task, Walk, walk};

/// Failures that are shown; all of them are in a file.
const SHOWN: usize = 10;

/// Finds the sound under a folder.
///
/// # Errors
/// If it is no folder, or there is no sound.
pub(crate) fn find(sounds: &Path) -> anyhow::Result<Walk> {
    if !sounds.is_dir() {
        bail!("{} is not a folder; without --recursive one file is encoded", sounds.display());
    }
    let found = walk(sounds);
    for (folder, error) in &found.unread {
        eprintln!("parlo: cannot look into {}: {error}", sounds.join(folder).display());
    }
    if found.tasks.is_empty() {
        bail!("there is no sound in {}: WAV, FLAC, MP3 and Ogg are looked for", sounds.display());
    }
    Ok(found)
}

/// From which folder to which, and how.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) sounds: &'a Path,
    pub(crate) tokens: &'a Path,
    /// How many threads encode.
    pub(crate) jobs: usize,
    pub(crate) channel: Channel,
}

/// Encodes the sound that was found under the folder of sounds into that of tokens, which becomes like it. `load` makes what each
/// thread works with.
///
/// What is there, whole, of this model and depth, and of just this sound, is left alone: so a run that was ended or killed is gone on
/// with by the next. That it is of this sound is known by the time that the sound was changed, which its token file is given, and by
/// the manifest.
///
/// The folder of tokens is there already.
///
/// # Errors
/// If it cannot be written, the model cannot be loaded, or a file failed; the others are encoded then. [`Incomplete`] if
/// something was missing of a sound.
pub(crate) fn run(
    found: Walk,
    request: Request<'_>,
    options: &Options,
    bundle: &Bundle,
    load: &(dyn Fn() -> Result<Model, ModelError> + Sync),
) -> anyhow::Result<()> {
    let Request { sounds, tokens, jobs, channel } = request;
    let mut report =
        BatchReport { tokens, entries: Vec::new(), failures: Vec::new(), there: 0, fresh_s: 0.0, damaged: 0 };
    let known: HashMap<PathBuf, Entry> =
        manifest::read(tokens).into_iter().map(|entry| (entry.tokens.clone(), entry)).collect();
    let mut open = Vec::new();
    for task in found.tasks {
        match there(&task, sounds, tokens, bundle, options, &known) {
            Some(entry) => {
                report.there += 1;
                report.entries.push(entry);
            }
            None => open.push(task),
        }
    }
    stop::be_patient();
    let started = Instant::now();
    let bar = progress(open.len() as u64);
    let centiseconds = AtomicU64::new(0);
    pool::run(
        &open,
        jobs,
        &stop::is_asked,
        || Ok(load()?),
        |model, task| {
            let made = encode(model, task, sounds, tokens, channel, options)?;
            centiseconds.fetch_add((made.0.seconds * 100.0) as u64, Ordering::Relaxed);
            Ok(made)
        },
        |task, result| {
            let speech = centiseconds.load(Ordering::Relaxed) as f64 / 100.0;
            bar.set_message(format!("{:.0} x real time", speech / started.elapsed().as_secs_f64().max(0.01)));
            bar.inc(1);
            report.take(task, result);
        },
    )?;
    bar.finish_and_clear();
    let left = open.len() - report.done(&open);
    report.write()?;
    report.tell(started.elapsed().as_secs_f64(), jobs, left);
    match (report.failures.len() + found.unread.len(), left) {
        (0, 0) if report.damaged > 0 => Err(Incomplete.into()),
        (0, 0) => Ok(()),
        (0, _) => bail!("ended before all was done; the same command goes on"),
        (failed, _) => {
            bail!("{failed} could not be encoded; {} says why", tokens.join(FAILURES).display())
        }
    }
}

/// Encodes a sound; gives whether all of it was there.
fn encode(
    model: &mut Model,
    task: &Task,
    sounds: &Path,
    tokens: &Path,
    channel: Channel,
    options: &Options,
) -> anyhow::Result<(Entry, bool)> {
    let (sound, output) = (sounds.join(&task.sound), tokens.join(&task.tokens));
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    output::check(&output, Kind::Tokens, &[&sound], Replace::OwnKind)?;
    // Before it is read: what is changed meanwhile is encoded again by the next run.
    let (sound_bytes, changed) = about(&sound)?;
    let mut reader = IoPath::File(sound.clone()).read_audio(channel)?;
    let unwritable = || format!("cannot write {}", output.display());
    let mut out = AtomicFile::create(&output).with_context(unwritable)?;
    let summary = encode_file(&mut reader, &mut out, model, options, &mut |_| {})?;
    out.set_modified(changed).and_then(|()| out.commit()).with_context(unwritable)?;
    let whole = summary.tell(&sound.display().to_string());
    let entry = Entry {
        sound: manifest::text(&task.sound),
        tokens: task.tokens.clone(),
        seconds: summary.seconds,
        frames: summary.frames,
        depth: options.depth,
        bytes: summary.bytes,
        tokens_id: model.bundle().tokens().to_string(),
        sound_bytes,
        sound_changed_us: manifest::time(changed),
    };
    Ok((entry, whole))
}

/// Length of a file, and when it was changed.
fn about(file: &Path) -> anyhow::Result<(u64, SystemTime)> {
    let unread = || format!("cannot read {}", file.display());
    let metadata = fs::metadata(file).with_context(unread)?;
    Ok((metadata.len(), metadata.modified().with_context(unread)?))
}

/// The entry of what an earlier run has made, if it is as this one would make it.
fn there(
    task: &Task,
    sounds: &Path,
    tokens: &Path,
    bundle: &Bundle,
    options: &Options,
    known: &HashMap<PathBuf, Entry>,
) -> Option<Entry> {
    let output = tokens.join(&task.tokens);
    let (bytes, written) = about(&output).ok()?;
    let (sound_bytes, changed) = about(&sounds.join(&task.sound)).ok()?;
    let (sound, sound_changed_us) = (manifest::text(&task.sound), manifest::time(changed));
    // Newer or older: a sound that has another time is another sound. Where files were copied without their times, the manifest tells;
    // where a run was killed before it wrote that, their times do.
    let same_time = manifest::time(written) == sound_changed_us;
    let of_this = known.get(&task.tokens).map_or(same_time, |entry| {
        entry.sound == sound
            && (same_time || (entry.sound_bytes, entry.sound_changed_us) == (sound_bytes, sound_changed_us))
    });
    if !of_this {
        return None;
    }
    let archive = Archive::open(BufReader::new(File::open(&output).ok()?)).ok()?;
    let header = &archive.header().tokens;
    let coding = if options.plain { Coding::Plain } else { parlo_archive::best_coding(bundle) };
    let same = bundle.reads(header.id) && usize::from(header.depth) == options.depth && header.coding == coding;
    if !same || *archive.state() != FileState::Whole {
        return None;
    }
    Some(Entry {
        sound,
        tokens: task.tokens.clone(),
        seconds: archive.samples()? as f64 / f64::from(header.sample_rate),
        frames: archive.frames(archive.header().streams.first()?.number),
        depth: options.depth,
        bytes,
        tokens_id: bundle.tokens().to_string(),
        sound_bytes,
        sound_changed_us,
    })
}

/// What became of all files.
struct BatchReport<'a> {
    tokens: &'a Path,
    entries: Vec<Entry>,
    failures: Vec<Failure>,
    there: usize,
    /// Speech that this run has encoded, s.
    fresh_s: f64,
    /// Sounds of which something was missing.
    damaged: usize,
}

impl BatchReport<'_> {
    fn take(&mut self, task: &Task, result: anyhow::Result<(Entry, bool)>) {
        match result {
            Ok((entry, whole)) => {
                self.damaged += usize::from(!whole);
                self.fresh_s += entry.seconds;
                self.entries.push(entry);
            }
            Err(error) => {
                self.failures.push(Failure { sound: manifest::text(&task.sound), reason: sentence(&error) });
            }
        }
    }

    /// How many of these have an end, good or bad.
    fn done(&self, open: &[Task]) -> usize {
        (self.entries.len() - self.there + self.failures.len()).min(open.len())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        self.entries.sort_by(|a, b| a.sound.cmp(&b.sound));
        self.failures.sort_by(|a, b| a.sound.cmp(&b.sound));
        manifest::write(self.tokens, MANIFEST, &self.entries)?;
        if self.failures.is_empty() {
            // Those of an earlier run are mended.
            let _ = fs::remove_file(self.tokens.join(FAILURES));
            return Ok(());
        }
        manifest::write(self.tokens, FAILURES, &self.failures)
    }

    fn tell(&self, seconds: f64, jobs: usize, left: usize) {
        let fresh = self.entries.len() - self.there;
        eprintln!(
            "{fresh} files, {} of speech, in {}: {:.0} x real time on {jobs} thread{}",
            span(self.fresh_s),
            span(seconds),
            self.fresh_s / seconds.max(0.001),
            if jobs == 1 { "" } else { "s" },
        );
        if self.there > 0 {
            eprintln!("{} were there already", self.there);
        }
        if self.damaged > 0 {
            eprintln!("{} are damaged: what was there of them is encoded", self.damaged);
        }
        if left > 0 {
            eprintln!("{left} are still to be done");
        }
        for failure in self.failures.iter().take(SHOWN) {
            eprintln!("failed: {}: {}", failure.sound, failure.reason);
        }
        if self.failures.len() > SHOWN {
            eprintln!("... and {} more", self.failures.len() - SHOWN);
        }
        eprintln!("all are listed in {}", self.tokens.join(MANIFEST).display());
    }
}

/// `2 h 05 min`, `3 min 20 s`, `8.4 s`.
fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        3600.. => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        60.. => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{seconds:.1} s"),
    }
}

fn progress(files: u64) -> ProgressBar {
    if !can_draw(&std::io::stderr()) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files);
    let style = ProgressStyle::with_template("encoding {wide_bar} {pos}/{len} files, {msg}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_people_would() {
        for (seconds, told) in [(0.0, "0.0 s"), (8.44, "8.4 s"), (61.0, "1 min 01 s"), (7500.0, "2 h 05 min")] {
            assert_eq!(span(seconds), told);
        }
    }
}
