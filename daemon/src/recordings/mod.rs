//! Calls, kept as tokens: as they were said, and as they came.
//!
//! A recording is a token file (`docs/file.md`) with the streams "said" and "heard". Nothing is decoded to make it.
//! [`Recorder`] has a thread that writes a block of each stream about every second, so that whatever happens to the program, no more
//! than the last second is lost. Which recordings are being made is known from this process alone: no file can lie about it later.

mod decode_process;
mod names;
mod recorder;
mod sound;
mod survey;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use parlo_api::Recording;
use parlo_archive::ArchiveError;
pub use parlo_archive::Side;
use parlo_model::{Bundle, ModelError, Runtime};
use parlo_protocol::ptk::FileError;

pub use decode_process::{DecodeProcess, PLAY, Player, own_program, play};
use recorder::Making;
pub use recorder::Recorder;
pub use sound::{Plain, Source};
use survey::Summary;

/// How long what asks for a recording waits for one that is just being ended.
const ENDING: Duration = Duration::from_secs(2);

/// Why a recording cannot be made, read or removed. One sentence each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// Nowhere to keep them.
    #[error("there is no folder for recordings: neither XDG_DATA_HOME nor HOME is set; name one with --recordings DIR")]
    NoFolder,
    /// No recording of that name.
    #[error("there is no recording \"{0}\"; `parlo recordings` lists them")]
    Unknown(String),
    /// The disk.
    #[error("cannot write {}: {error}", .file.display())]
    Unwritable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The disk again.
    #[error("cannot read {}: {error}", .file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is being made.
    #[error("\"{0}\" is being recorded; stop that first")]
    Running(String),
    /// It is no recording, or not any more.
    #[error("{}: {error}", .file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        error: FileError,
    },
    /// Its tokens are not what they say.
    #[error("{} is damaged {seconds:.1} s in: {error}; what lies before is whole", .file.display())]
    Tokens {
        /// Which file.
        file: PathBuf,
        /// How much lies before.
        seconds: f64,
        /// What is wrong with them.
        error: parlo_model::CodingError,
    },
    /// Another model made it.
    #[error(
        "\"{name}\" was made with the model {made} ({made_id}), but {given} ({given_id}) is in use; start with --bundle and the folder \
         of {made}"
    )]
    OtherModel {
        /// Which recording.
        name: String,
        /// The name of its model.
        made: String,
        /// The first digits of its model's id.
        made_id: String,
        /// The name of the model that was given.
        given: String,
        /// The first digits of that one's id.
        given_id: String,
    },
    /// It is longer than a sound file can be, or has nothing for hours.
    #[error("{}: {error}", .file.display())]
    Unplayable {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        error: Box<ArchiveError>,
    },
    /// What decodes says so, or has stopped.
    #[error("{0}")]
    DecodeProcess(String),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Where recordings are kept if nobody says otherwise: `parlo/recordings` in $XDG_DATA_HOME, or in ~/.local/share.
///
/// # Errors
/// If the environment names neither.
pub fn usual_folder() -> Result<PathBuf, RecordingError> {
    let place = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = place("XDG_DATA_HOME").or_else(|| place("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("parlo/recordings")).ok_or(RecordingError::NoFolder)
}

/// A folder of recordings.
#[derive(Debug)]
pub struct Recordings {
    folder: PathBuf,
    making: Arc<Making>,
    /// What was found of files by their names, for as long as neither length nor time changes.
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    bytes: u64,
    changed: Option<SystemTime>,
    summary: Option<Summary>,
}

impl Recordings {
    /// The recordings of a folder, which need not exist yet. What broke off there is found whole up to its last second.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), making: Arc::default(), known: Mutex::default() }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of them, newest first. What cannot be read is left out. One that was ended just now is waited for, up to two seconds.
    pub fn list(&self) -> Vec<Recording> {
        self.making.settle(Instant::now() + ENDING);
        let names = fs::read_dir(&self.folder).into_iter().flatten().flatten().filter_map(|entry| {
            let file_name = entry.file_name();
            let name = names::of_file(file_name.to_str()?)?;
            entry.file_type().ok()?.is_file().then(|| name.to_owned())
        });
        let names: Vec<String> = names.collect();
        lock(&self.known).retain(|name, _| names.contains(name));
        let mut found: Vec<Recording> = names.iter().filter_map(|name| self.describe(name)).collect();
        found.sort_by(|a, b| b.began_s.total_cmp(&a.began_s).then_with(|| b.name.cmp(&a.name)));
        found
    }

    /// What is to be said of one; none if it cannot be read.
    fn describe(&self, name: &str) -> Option<Recording> {
        let file = names::file(&self.folder, name);
        let metadata = fs::metadata(&file).ok()?;
        if let Some((peer, created_ms, progress)) = self.making.of(name) {
            return Some(Recording {
                name: name.to_owned(),
                peer,
                began_s: created_ms as f64 / 1000.0,
                duration_s: f64::from(progress.duration_ms()) / 1000.0,
                bytes: metadata.len(),
                running: true,
                broken_off: false,
            });
        }
        let (bytes, changed) = (metadata.len(), metadata.modified().ok());
        let known = lock(&self.known).get(name).cloned();
        let summary = match known.filter(|known| (known.bytes, known.changed) == (bytes, changed)) {
            Some(known) => known.summary,
            None => {
                let summary = survey::survey(&file).ok();
                lock(&self.known).insert(name.to_owned(), Known { bytes, changed, summary: summary.clone() });
                summary
            }
        }?;
        Some(Recording {
            name: name.to_owned(),
            peer: summary.peer,
            began_s: summary.created_ms as f64 / 1000.0,
            duration_s: summary.duration_ms as f64 / 1000.0,
            bytes,
            running: false,
            broken_off: !summary.ended,
        })
    }

    /// The token file of a recording. That of one that is being made is whole up to the last second or two.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn tokens(&self, name: &str) -> Result<PathBuf, RecordingError> {
        let unknown = || RecordingError::Unknown(name.to_owned());
        if !names::is_name(name) {
            return Err(unknown());
        }
        self.making.settle(Instant::now() + ENDING);
        let file = names::file(&self.folder, name);
        // A link would lead out of the folder.
        let is_file = fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file());
        if is_file { Ok(file) } else { Err(unknown()) }
    }

    /// A recording as a WAV file: 16 bits, mono, at the bundle's rate, decoded as it is read, from anywhere in it. Both sides are on one
    /// clock; mixed, each is as loud as alone, and what is too loud together is bent, not cut. Where a recording broke off, the sound ends.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be decoded: it is damaged, too long, or another model made it.
    pub fn wav(
        &self,
        name: &str,
        side: Side,
        runtime: &Runtime,
        bundle: &Bundle,
    ) -> Result<Box<dyn Source>, RecordingError> {
        let file = self.tokens(name)?;
        Ok(Box::new(sound::Playing::open(name, &file, side, runtime, bundle)?))
    }

    /// Removes a recording.
    ///
    /// # Errors
    /// If there is none of that name, or it is being made, or the file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), RecordingError> {
        let file = self.tokens(name)?;
        if self.making.of(name).is_some() {
            return Err(RecordingError::Running(name.to_owned()));
        }
        fs::remove_file(&file).map_err(|error| RecordingError::Unwritable { file, error })
    }

    /// Begins to record a call with a peer of this name or address. A thread of its own writes.
    ///
    /// # Errors
    /// If the file cannot be written, or the bundle's entropy model cannot be read.
    pub fn begin(&self, peer: &str, bundle: &Bundle) -> Result<Recorder, RecordingError> {
        let (created, start) = crate::clock::wall_and_monotonic();
        self.begin_at(peer, bundle, created, start)
    }

    /// The same at a time, told by both clocks.
    fn begin_at(
        &self,
        peer: &str,
        bundle: &Bundle,
        created: SystemTime,
        start: Instant,
    ) -> Result<Recorder, RecordingError> {
        let unwritable = |file: &Path| {
            let file = file.to_owned();
            move |error| RecordingError::Unwritable { file, error }
        };
        create_folder(&self.folder).map_err(unwritable(&self.folder))?;
        let created_ms = created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let created_ms = u64::try_from(created_ms).unwrap_or(u64::MAX);
        let (name, path, file) =
            names::create(&self.folder, created_ms / 1000, peer).map_err(|(path, error)| unwritable(&path)(error))?;
        let begun = recorder::Begun { name, path: path.clone(), file, peer: peer.to_owned(), created_ms, start };
        Recorder::start(begun, bundle, &self.making).inspect_err(|_| {
            // Nothing is in it.
            let _ = fs::remove_file(&path);
        })
    }
}

/// A lock that no panic spoils: what is behind it is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Recordings are nobody else's business.
fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_folder(name in "[./a-c\\\\\u{0}~-]{0,12}|\\PC{0,30}") {
            let outside = tempfile::tempdir().unwrap();
            let folder = outside.path().join("in");
            fs::create_dir(&folder).unwrap();
            fs::write(outside.path().join("a.ptk"), b"").unwrap();
            fs::write(outside.path().join(".ptk"), b"").unwrap();
            let recordings = Recordings::new(&folder);
            prop_assert!(matches!(recordings.tokens(&name), Err(RecordingError::Unknown(_))));
            prop_assert!(matches!(recordings.remove(&name), Err(RecordingError::Unknown(_))));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_no_recording() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a.ptk")).unwrap();
        let recordings = Recordings::new(folder.path());
        assert!(recordings.tokens("a").is_err() && recordings.list().is_empty());
    }

    #[test]
    fn what_is_no_recording_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.ptk"), b"something else").unwrap();
        fs::write(folder.path().join("b.txt"), b"").unwrap();
        fs::create_dir(folder.path().join("c.ptk")).unwrap();
        assert!(Recordings::new(folder.path()).list().is_empty());
        assert!(Recordings::new(&folder.path().join("nowhere")).list().is_empty());
    }
}
