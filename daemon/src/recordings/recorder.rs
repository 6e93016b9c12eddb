//! The thread that writes a recording.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parlo_archive::{ArchiveError, Coder, Mark, TimedFrame as Frame};
use parlo_model::Bundle;
use parlo_protocol::ptk::{End, Header, Stream, Tokens, Totals, Writer};
use parlo_tokens::{CodeLayout, ComfortNoise, Slot, TokenFrame};

use super::{RecordingError, lock};
use crate::{call::CodedFrame, media::FrameEvent};

/// Numbers of the streams, which are the places of [`STREAMS`].
const SAID: usize = 0;
const HEARD: usize = 1;

/// Names of the streams.
const STREAMS: [&str; 2] = parlo_archive::CALL_STREAMS;

/// How long frames wait at most to be written: with the time that writing takes, less than a second of a recording is lost
/// with the program.
const BLOCK: Duration = Duration::from_millis(960);

/// How far a frame may lie from where it is expected before a block begins that says so, microseconds.
const ASTRAY_US: u64 = 40_000;

/// What is behind by more than that, but no more than this, after so many frames has drifted: a block begins before the one before it has
/// ended. More is a step of the device's clock.
const MOST_DRIFT_US: u64 = 100_000;
const DRIFT_FRAMES: u64 = 8;

/// How often what is written is brought to the disk itself: a loss of power costs as much.
const SYNC: Duration = Duration::from_secs(5);

/// Frames that wait for the thread at most: five seconds of both sides. If the disk hangs longer, some are left out.
const WAITING: usize = 512;

/// The most frames in a row that are marked as left out. Of more, only the clock tells.
const MOST_MARKED: u32 = 250;

/// The recordings that this process makes.
#[derive(Debug, Default)]
pub(super) struct Making(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    name: String,
    peer: String,
    created_ms: u64,
    progress: Arc<Progress>,
    thread: JoinHandle<()>,
}

impl Making {
    /// Who is recorded under this name, since when, and how far it is; none if nobody is.
    pub(super) fn of(&self, name: &str) -> Option<(String, u64, Arc<Progress>)> {
        let entries = lock(&self.0);
        let entry = entries.iter().find(|entry| entry.name == name && !entry.thread.is_finished())?;
        Some((entry.peer.clone(), entry.created_ms, Arc::clone(&entry.progress)))
    }

    /// Waits for those that are being ended.
    pub(super) fn settle(&self, until: Instant) {
        loop {
            let mut entries = lock(&self.0);
            entries.retain(|entry| !entry.thread.is_finished());
            let ending = entries.iter().any(|entry| entry.progress.ending.load(Ordering::Acquire));
            drop(entries);
            if !ending || Instant::now() >= until {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Making {
    /// Whoever leaves last, recorder or folder, waits until all is written.
    fn drop(&mut self) {
        for entry in lock(&self.0).drain(..) {
            // A thread that panicked has written what it has written.
            let _ = entry.thread.join();
        }
    }
}

/// What the thread tells.
#[derive(Debug, Default)]
pub(super) struct Progress {
    duration_ms: AtomicU32,
    ending: AtomicBool,
    failure: Mutex<Option<RecordingError>>,
}

impl Progress {
    /// When the last frame written ended, milliseconds.
    pub(super) fn duration_ms(&self) -> u32 {
        self.duration_ms.load(Ordering::Relaxed)
    }
}

/// A recording that is being made. Dropped, it is ended; its thread writes the rest meanwhile.
#[derive(Debug)]
pub struct Recorder {
    name: String,
    frame: Duration,
    notes: Option<Sender<Note>>,
    /// Frames of each side that the thread had no room for.
    missed: [AtomicU32; 2],
    progress: Arc<Progress>,
    /// Keeps the thread's handle until it is done.
    _making: Arc<Making>,
}

/// A frame on its way to the thread.
#[derive(Debug, Clone, Copy)]
struct Note {
    side: usize,
    frame: Frame,
    /// When its first sample was captured or heard.
    at: Instant,
    /// How many frames of its side right before it are missing.
    missed: u32,
}

/// What a recording begins with.
pub(super) struct Begun {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) peer: String,
    pub(super) created_ms: u64,
    pub(super) start: Instant,
}

impl Recorder {
    /// Writes the header and starts the thread.
    pub(super) fn start(begun: Begun, bundle: &Bundle, making: &Arc<Making>) -> Result<Self, RecordingError> {
        let Begun { name, path, file, peer, created_ms, start } = begun;
        let unwritable = |error| RecordingError::Unwritable { file: path.clone(), error };
        let manifest = bundle.manifest();
        let coding = parlo_archive::best_coding(bundle);
        let header = Header {
            tokens: Tokens {
                id: bundle.tokens().prefix(),
                bundle_name: manifest.name.clone(),
                sample_rate: manifest.audio.sample_rate,
                frame_samples: u32::try_from(manifest.audio.frame_samples).unwrap_or(u32::MAX),
                depth: u8::try_from(bundle.layout().depth()).unwrap_or(u8::MAX),
                coding,
            },
            created_ms: Some(created_ms),
            streams: (0..).zip(STREAMS).map(|(id, name)| Stream { id, name: name.to_owned() }).collect(),
            metadata: vec![
                ("peer".to_owned(), peer.chars().take(1000).collect()),
                ("program".to_owned(), concat!("parlo ", env!("CARGO_PKG_VERSION")).to_owned()),
            ],
        };
        let mut bytes = Vec::new();
        let writer = Writer::begin(&header, &mut bytes).map_err(|error| unwritable(io::Error::other(error)))?;
        let frame = manifest.audio.frame_duration();
        let progress = Arc::new(Progress::default());
        let mut writing = Writing {
            file,
            path: path.clone(),
            writer,
            coder: parlo_archive::coder(bundle, coding).map_err(|error| match error {
                ArchiveError::Model(error) => RecordingError::Model(error),
                error => unwritable(io::Error::other(error)),
            })?,
            payloads: Vec::new(),
            layout: *bundle.layout(),
            start,
            frame_us: (frame.as_micros() as u64).max(1),
            most: (BLOCK.as_micros() / frame.as_micros().max(1)).clamp(1, 500) as usize,
            sides: Default::default(),
            bytes,
            whole: Whole::default(),
            before: Whole::default(),
            synced: Instant::now(),
            progress: Arc::clone(&progress),
        };
        writing.write().map_err(unwritable)?;
        let (notes, taken) = crossbeam_channel::bounded(WAITING);
        let thread = thread::Builder::new().name("parlo-recorder".to_owned()).spawn(move || writing.run(&taken));
        let thread = thread.map_err(unwritable)?;
        let entry = Entry { name: name.clone(), peer, created_ms, progress: Arc::clone(&progress), thread };
        lock(&making.0).push(entry);
        let missed = Default::default();
        Ok(Self { name, frame, notes: Some(notes), missed, progress, _making: Arc::clone(making) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a frame that passed the audio engine, of whichever call: only the recorded call's are to be given. Never waits: if the disk
    /// hangs for seconds, frames are left out and marked so. Frames of Opus are not recorded.
    pub fn take(&self, event: &FrameEvent) {
        let (side, frame, at) = match event {
            FrameEvent::Sent { frame, at, .. } => {
                // Told is the end of the frame.
                let at = at.checked_sub(self.frame).unwrap_or(*at);
                let frame = match (frame.unit, frame.silence) {
                    (Some(CodedFrame::Opus(_)), _) => return,
                    (Some(CodedFrame::Tokens(tokens)), None) => frame_of(Mark::Real, Some(tokens), None),
                    (Some(CodedFrame::Tokens(tokens)), Some(_)) => frame_of(Mark::Unsent, Some(tokens), None),
                    (None, noise) => frame_of(Mark::Unsent, None, noise),
                };
                (SAID, frame, at)
            }
            FrameEvent::Played { origin, slot, at, .. } => {
                let (tokens, noise) = match slot {
                    Slot::Frame(CodedFrame::Opus(_)) | Slot::Coarse(CodedFrame::Opus(_)) => return,
                    Slot::Frame(CodedFrame::Tokens(tokens)) | Slot::Coarse(CodedFrame::Tokens(tokens)) => {
                        (Some(*tokens), None)
                    }
                    Slot::Silence(noise) => (None, Some(*noise)),
                    Slot::Missing => (None, None),
                };
                (HEARD, frame_of((*origin).into(), tokens, noise), *at)
            }
        };
        let Some(notes) = &self.notes else { return };
        let missed = self.missed[side].swap(0, Ordering::Relaxed);
        // Disconnected: writing has failed, which is told elsewhere.
        if let Err(crossbeam_channel::TrySendError::Full(_)) = notes.try_send(Note { side, frame, at, missed }) {
            self.missed[side].fetch_add(missed.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Why writing has failed, once, if it has: nothing more is recorded then, and what was written stays whole.
    pub fn failure(&self) -> Option<RecordingError> {
        lock(&self.progress.failure).take()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.progress.ending.store(true, Ordering::Release);
        // The thread finds the channel closed, writes the rest and ends.
        self.notes = None;
    }
}

/// A frame whose time is told by its place among the others.
fn frame_of(mark: Mark, codes: Option<TokenFrame>, noise: Option<ComfortNoise>) -> Frame {
    Frame { time_ms: 0.0, mark, codes, noise }
}

/// The thread's own.
struct Writing {
    file: File,
    path: PathBuf,
    writer: Writer,
    coder: Coder,
    /// Codes of a block.
    payloads: Vec<u8>,
    layout: CodeLayout,
    start: Instant,
    frame_us: u64,
    /// Frames of a block.
    most: usize,
    sides: [Pending; 2],
    bytes: Vec<u8>,
    /// What of the file is whole blocks.
    whole: Whole,
    /// The same without the last of them.
    before: Whole,
    synced: Instant,
    progress: Arc<Progress>,
}

/// How much of a file is whole blocks.
#[derive(Debug, Clone, Copy, Default)]
struct Whole {
    bytes: u64,
    totals: Totals,
}

/// Frames of a side that are not written yet.
#[derive(Default)]
struct Pending {
    frames: Vec<Frame>,
    /// When the first of them began, microseconds after the start; without any, when the last one written ended.
    at_us: u64,
    /// When they must be written; none if there are none.
    due: Option<Instant>,
}

impl Writing {
    fn run(mut self, notes: &Receiver<Note>) {
        let result = self.record(notes);
        if let Err(error) = result {
            self.save();
            *lock(&self.progress.failure) = Some(RecordingError::Unwritable { file: self.path, error });
        }
    }

    /// Half a block may have been written. Without it, and if there is not even room for an end mark without the block before it, the
    /// file is whole, and the disk has room again for others.
    fn save(&mut self) {
        for whole in [self.whole, self.before] {
            self.bytes.clear();
            End { totals: whole.totals, index: 0, padding: None }.append(&mut self.bytes);
            let ended = self.cut(whole.bytes).and_then(|()| self.file.write_all(&self.bytes));
            if ended.is_ok() && self.file.sync_data().is_ok() {
                self.progress.duration_ms.store(whole.totals.duration_ms, Ordering::Relaxed);
                return;
            }
        }
        // Then it broke off, and all before is whole.
        let _ = self.cut(self.whole.bytes);
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length)).map(|_| ())
    }

    fn record(&mut self, notes: &Receiver<Note>) -> io::Result<()> {
        loop {
            let due = self.sides.iter().filter_map(|side| side.due).min();
            let note = match due {
                Some(due) => notes.recv_deadline(due),
                None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match note {
                Ok(note) => self.take(&note)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            // Looked at after each frame too: a side that has gone quiet must not wait for one that has not.
            let now = Instant::now();
            for side in 0..self.sides.len() {
                if self.sides[side].due.is_some_and(|due| due <= now) {
                    self.flush(side)?;
                }
            }
        }
    }

    fn take(&mut self, note: &Note) -> io::Result<()> {
        let at = u64::try_from(note.at.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX);
        let marked = if note.missed > MOST_MARKED { 0 } else { note.missed };
        let gap = frame_of(Mark::Gap, None, None);
        for n in 0..marked {
            let before = u64::from(marked - n).saturating_mul(self.frame_us);
            self.put(note.side, gap, at.saturating_sub(before))?;
        }
        let fits = |tokens: &TokenFrame| self.layout.admits(tokens);
        // Codes of another model, from a peer that claimed ours, were played as a gap.
        let codes = note.frame.codes.filter(fits);
        self.put(note.side, Frame { codes, ..note.frame }, at)
    }

    fn put(&mut self, side: usize, frame: Frame, at_us: u64) -> io::Result<()> {
        let pending = &self.sides[side];
        // What is heard hurried drifts from its frames' length by little at a time, and is brought back to its clock. A device's clock may
        // also step back: its sound server stood still, or another device took over. Frames come one after another all the same: until
        // the clock has caught up, they follow upon each other.
        let count = pending.frames.len() as u64;
        let expected = pending.at_us.saturating_add(count * self.frame_us);
        let drifted = (ASTRAY_US..=MOST_DRIFT_US).contains(&expected.saturating_sub(at_us)) && count >= DRIFT_FRAMES;
        if count > 0 && (at_us > expected.saturating_add(ASTRAY_US) || drifted) {
            self.flush(side)?;
        }
        let pending = &mut self.sides[side];
        if pending.frames.is_empty() {
            pending.at_us = if drifted { at_us } else { at_us.max(pending.at_us) };
            pending.due = Some(Instant::now() + BLOCK);
        }
        pending.frames.push(frame);
        if pending.frames.len() >= self.most { self.flush(side) } else { Ok(()) }
    }

    fn flush(&mut self, side: usize) -> io::Result<()> {
        let pending = &mut self.sides[side];
        pending.due = None;
        if pending.frames.is_empty() {
            return Ok(());
        }
        let time_ms = u32::try_from(pending.at_us.saturating_add(500) / 1000)
            .map_err(|_| io::Error::other("a recording cannot be longer than 49 days; begin another"))?;
        let runs = self.coder.runs(&pending.frames, &mut self.payloads).map_err(io::Error::other)?;
        let made = self.writer.block(side as u8, time_ms, &runs, &mut self.bytes);
        pending.at_us = pending.at_us.saturating_add(pending.frames.len() as u64 * self.frame_us);
        pending.frames.clear();
        made.map_err(io::Error::other)?;
        self.write()
    }

    /// Writes what is made. From then on it is safe from the program's end.
    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.bytes)?;
        self.before = self.whole;
        self.whole = Whole { bytes: self.before.bytes + self.bytes.len() as u64, totals: self.writer.totals() };
        self.bytes.clear();
        self.progress.duration_ms.store(self.writer.duration_ms(), Ordering::Relaxed);
        if self.synced.elapsed() >= SYNC {
            self.file.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        for side in 0..self.sides.len() {
            self.flush(side)?;
        }
        self.writer.end(None, &mut self.bytes);
        self.write()?;
        self.file.sync_data()
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
