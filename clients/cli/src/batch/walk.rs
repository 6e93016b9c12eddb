//! Which files of a folder hold sound, and what their token files shall be called.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use super::manifest::text;

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

/// `a.wav` becomes `a.ptk`; where `a.flac` lies beside it, `a.wav.ptk` and `a.flac.ptk`. No two have the same name, whatever lies
/// there, nor names that differ in the case of letters only. Names are UTF-8, so that lists can hold them: other bytes become `%`
/// and two digits.
fn named(sounds: Vec<PathBuf>) -> Vec<Task> {
    let short: Vec<PathBuf> = sounds.iter().map(|sound| text(sound.with_extension("ptk")).into()).collect();
    let whole: Vec<PathBuf> = sounds.iter().map(|sound| format!("{}.ptk", text(sound)).into()).collect();
    let folded = |name: &PathBuf| name.to_string_lossy().to_lowercase();
    let mut is_short = vec![true; sounds.len()];
    // Each round makes at least one name longer, or is the last.
    loop {
        let mut claims: HashMap<String, Vec<usize>> = HashMap::new();
        for n in 0..sounds.len() {
            claims.entry(folded(if is_short[n] { &short[n] } else { &whole[n] })).or_default().push(n);
        }
        let clashes = claims.values().filter(|names| names.len() > 1).flatten().copied();
        let longer: Vec<usize> = clashes.filter(|&n| is_short[n]).collect();
        if longer.is_empty() {
            break;
        }
        longer.into_iter().for_each(|n| is_short[n] = false);
    }
    let mut taken = HashSet::new();
    let task = |(n, sound): (usize, PathBuf)| {
        let mut tokens = if is_short[n] { short[n].clone() } else { whole[n].clone() };
        // Of names that differ in case only, or in what `%` stands for, the later ones are numbered.
        let mut number = 2;
        while !taken.insert(folded(&tokens)) {
            tokens = format!("{}.{number}.ptk", text(&sound)).into();
            number += 1;
        }
        Task { sound, tokens }
    };
    sounds.into_iter().enumerate().map(task).collect()
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
    fn every_sound_has_a_name_of_its_own() {
        let names = |sounds: &[&str]| -> Vec<String> {
            let tasks = named(sounds.iter().map(PathBuf::from).collect());
            tasks.iter().map(|task| task.tokens.to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&["a.flac", "a.wav", "a.wav.wav"]), ["a.flac.ptk", "a.wav.ptk", "a.wav.wav.ptk"]);
        assert_eq!(names(&["a.wav", "a.wav.wav"]), ["a.ptk", "a.wav.ptk"]);
        assert_eq!(names(&["A.wav", "a.wav"]), ["A.wav.ptk", "a.wav.2.ptk"]);
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let odd = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
            let tasks = named(vec![odd(b"M\xFCn/a.wav"), odd(b"M\xFCn.wav"), odd(b"M%FCn.wav")]);
            let tokens: Vec<_> = tasks.iter().map(|task| task.tokens.to_str().unwrap()).collect();
            assert_eq!(tokens, ["M%FCn/a.ptk", "M%FCn.wav.ptk", "M%FCn.wav.2.ptk"]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_two_sounds_share_a_name(
            stems in proptest::collection::btree_set("[abA%]{1,2}(\\.(wav|flac|ptk|2)){0,2}\\.(wav|mp3|WAV)", 1..12),
        ) {
            let tasks = named(stems.iter().map(PathBuf::from).collect());
            let names: HashSet<String> = tasks.iter().map(|task| task.tokens.to_string_lossy().to_lowercase()).collect();
            proptest::prop_assert_eq!(names.len(), stems.len());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let found = walk(&folder.path().join("nowhere"));
        assert!(found.tasks.is_empty() && found.unread.len() == 1);
    }
}
