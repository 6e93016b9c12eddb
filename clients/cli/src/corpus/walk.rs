//! Which files of a folder hold sound, and what their token files shall be called.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// What the names of sound files end in, without regard to case.
const ENDINGS: [&str; 7] = ["wav", "flac", "mp3", "ogg", "oga", "opus", "wave"];

/// A sound file and where its tokens go. Both relative to their folders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Task {
    pub(super) sound: PathBuf,
    pub(super) tokens: PathBuf,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// In the order of their names, so that every run has the same.
    pub(super) tasks: Vec<Task>,
    /// Folders that could not be read, and why.
    pub(super) unread: Vec<(PathBuf, io::Error)>,
}

/// Finds all sound files under `folder`. Links to folders are not followed: they may lead in circles.
pub(super) fn walk(folder: &Path) -> Walk {
    let mut found = Walk::default();
    let (mut sounds, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(inside) = folders.pop() {
        let read = fs::read_dir(folder.join(&inside)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = match read {
            Ok(entries) => entries,
            Err(error) => {
                found.unread.push((inside, error));
                continue;
            }
        };
        for entry in entries {
            let path = inside.join(entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if is_sound(&path) && (kind.is_file() || folder.join(&path).is_file()) {
                sounds.push(path);
            }
        }
    }
    sounds.sort();
    found.unread.sort_by(|a, b| a.0.cmp(&b.0));
    found.tasks = named(sounds);
    found
}

fn is_sound(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    // What begins with a point is somebody's temporary file.
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// `a.wav` becomes `a.ptk`; where `a.flac` lies beside it, `a.wav.ptk` and `a.flac.ptk`.
fn named(sounds: Vec<PathBuf>) -> Vec<Task> {
    let mut claims: HashMap<PathBuf, usize> = HashMap::new();
    for sound in &sounds {
        *claims.entry(sound.with_extension("ptk")).or_default() += 1;
    }
    let task = |sound: PathBuf| {
        let short = sound.with_extension("ptk");
        let tokens = if claims[&short] == 1 {
            short
        } else {
            let mut whole = sound.clone().into_os_string();
            whole.push(".ptk");
            whole.into()
        };
        Task { sound, tokens }
    };
    sounds.into_iter().map(task).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_found_at_any_depth_in_a_fixed_order_and_no_name_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/deep")).unwrap();
        for name in ["z.WAV", "b/a.flac", "b/a.wav", "b/deep/talk.mp3", "b/notes.txt", ".tmp.wav", "b/x.ptk", "wav"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/circle")).unwrap();
        let found = walk(folder.path());
        let pairs: Vec<_> =
            found.tasks.iter().map(|task| (task.sound.to_str().unwrap(), task.tokens.to_str().unwrap())).collect();
        assert_eq!(
            pairs,
            [
                ("b/a.flac", "b/a.flac.ptk"),
                ("b/a.wav", "b/a.wav.ptk"),
                ("b/deep/talk.mp3", "b/deep/talk.ptk"),
                ("z.WAV", "z.ptk"),
            ]
        );
        assert!(found.unread.is_empty());
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let found = walk(&folder.path().join("nowhere"));
        assert!(found.tasks.is_empty() && found.unread.len() == 1);
    }
}
