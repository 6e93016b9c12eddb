//! Where bundles and the ONNX Runtime library are looked for.

use std::{
    cmp::Reverse,
    env,
    path::{Path, PathBuf},
};

use crate::{
    bundle::{Bundle, MANIFEST},
    error::ModelError,
};

/// Folder of the bundle that is used when none is named.
const DEFAULT_BUNDLE: &str = "parlo-16k";

/// The folder of the bundle to use: `named` if given, else the one that the environment variable `PARLO_BUNDLE` names,
/// else the default bundle in the first of [`bundle_folders`] that has it. A name without a slash is looked for in those
/// folders too.
///
/// # Errors
/// If there is none; the message lists where it was looked for.
pub fn locate_bundle(named: Option<&Path>) -> Result<PathBuf, ModelError> {
    let wanted = named.map(Path::to_owned).or_else(|| env::var_os("PARLO_BUNDLE").map(PathBuf::from));
    let wanted = match wanted {
        // A path is taken as it is: if it is wrong, the error shall name it.
        Some(path) if path.components().count() > 1 || path.join("manifest.toml").exists() => return Ok(path),
        Some(name) => name,
        None => DEFAULT_BUNDLE.into(),
    };
    let looked: Vec<PathBuf> = bundle_folders().into_iter().map(|folder| folder.join(&wanted)).collect();
    match looked.iter().find(|folder| folder.join("manifest.toml").exists()) {
        Some(found) => Ok(found.clone()),
        None => Err(ModelError::NoBundle { looked }),
    }
}

/// What bundles are here.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that can be used, best first, none twice.
    pub bundles: Vec<Bundle>,
    /// Why others cannot.
    pub faults: Vec<ModelError>,
}

/// Every bundle that is here: `first`, which [`locate_bundle`] finds if none is named, and those in [`bundle_folders`] and `more`,
/// of the newest format first, then in the order of the folders and of their names.
///
/// Unless `PARLO_BUNDLE` names one, those of a newer format for the same tokens come before `first`: they play better what it plays.
pub fn find_bundles(first: Option<Bundle>, more: &[PathBuf]) -> Found {
    let is_named = env::var_os("PARLO_BUNDLE").is_some();
    let ours = usize::from(first.is_some());
    let mut found = Found { bundles: first.into_iter().collect(), faults: Vec::new() };
    let folders = bundle_folders();
    for folder in folders.iter().chain(more).filter_map(|folder| std::fs::read_dir(folder).ok()) {
        let mut here: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        here.retain(|folder| folder.join(MANIFEST).exists());
        here.sort();
        for folder in here {
            if found.bundles.iter().any(|bundle| bundle.folder() == folder) {
                continue;
            }
            match Bundle::open(&folder) {
                Ok(bundle) if found.bundles.iter().any(|other| other.id() == bundle.id()) => {}
                Ok(bundle) => found.bundles.push(bundle),
                Err(error) => found.faults.push(error),
            }
        }
    }
    let newest = |bundle: &Bundle| Reverse(bundle.manifest().format);
    found.bundles[ours..].sort_by_key(newest);
    if ours == 1 && !is_named {
        let tokens = found.bundles[0].identities().to_vec();
        let shares = |bundle: &Bundle| tokens.iter().any(|&id| bundle.speaks(id));
        found.bundles.sort_by_key(|bundle| if shares(bundle) { (false, newest(bundle)) } else { (true, Reverse(0)) });
    }
    found
}

/// Folders that hold bundles, best first: the user's own (`$XDG_DATA_HOME/parlo/bundles`), those of the installation
/// (`share/parlo/bundles` under its prefix), those of the installation that `PARLO_HOME` names, those beside the program (`bundles`), and those
/// of the source tree that the program was built in.
pub fn bundle_folders() -> Vec<PathBuf> {
    let home = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")));
    let mut folders: Vec<PathBuf> = home.into_iter().map(|data| data.join("parlo/bundles")).collect();
    folders.extend(bundles_installed(program_folder().as_deref(), parlo_home().as_deref()));
    folders
}

fn bundles_installed(program: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = prefixes(program, home).map(|prefix| prefix.join("share/parlo/bundles")).collect();
    if let Some(program) = program {
        folders.push(program.join("bundles"));
        folders.extend(program.ancestors().map(|up| up.join("model/bundles")).find(|folder| folder.is_dir()));
    }
    folders
}

/// A file that may be the ONNX Runtime library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) file: PathBuf,
    /// Whether it lies where an installation puts the one that this program was made with, and must be that.
    pub(crate) pinned: bool,
}

/// Files that may be the ONNX Runtime library, best first, when nobody named one: in the places of [`bundle_folders`], `lib/parlo`
/// under a prefix; folders above the program's only in a debug build. The last is not a path, but a name for the system's loader.
pub(crate) fn library_candidates() -> Vec<Library> {
    let mut candidates = libraries_installed(program_folder().as_deref(), parlo_home().as_deref());
    candidates.push(Library { file: PathBuf::from("libonnxruntime.so.1"), pinned: false });
    candidates
}

fn libraries_installed(program: Option<&Path>, home: Option<&Path>) -> Vec<Library> {
    const NAME: &str = "libonnxruntime.so";
    let installed = prefixes(program, home).map(|prefix| prefix.join("lib/parlo").join(NAME));
    let mut files: Vec<Library> = installed.map(|file| Library { file, pinned: true }).collect();
    if let Some(program) = program {
        files.push(Library { file: program.join(NAME), pinned: false });
        // The source tree's own, for whoever works on it. A program that is given to others loads nothing from wherever it lies in.
        if cfg!(debug_assertions) {
            let vendored = program.ancestors().map(|up| up.join("vendor/onnxruntime").join(NAME));
            files.extend(vendored.filter(|file| file.exists()).take(1).map(|file| Library { file, pinned: false }));
        }
    }
    files
}

/// Folders that Parlo may be installed in: that whose `bin` the program is in, and that which `PARLO_HOME` names.
fn prefixes<'a>(program: Option<&'a Path>, home: Option<&'a Path>) -> impl Iterator<Item = &'a Path> {
    let own = program.filter(|folder| folder.ends_with("bin")).and_then(Path::parent);
    own.into_iter().chain(home)
}

/// The folder that `PARLO_HOME` names.
fn parlo_home() -> Option<PathBuf> {
    env::var_os("PARLO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

fn program_folder() -> Option<PathBuf> {
    env::current_exe().ok()?.canonicalize().ok()?.parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_comes_before_parlo_home_and_that_before_what_is_beside_the_program() {
        let (program, home) = (Path::new("/nowhere/prefix/bin"), Path::new("/nowhere/home"));
        let paths = |found: Vec<PathBuf>| found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            paths(bundles_installed(Some(program), Some(home))),
            ["/nowhere/prefix/share/parlo/bundles", "/nowhere/home/share/parlo/bundles", "/nowhere/prefix/bin/bundles"]
        );
        let files = |found: Vec<Library>| paths(found.into_iter().map(|library| library.file).collect());
        let pinned =
            libraries_installed(Some(program), Some(home)).iter().map(|library| library.pinned).collect::<Vec<_>>();
        assert_eq!(pinned, [true, true, false]);
        assert_eq!(
            files(libraries_installed(Some(program), Some(home))),
            [
                "/nowhere/prefix/lib/parlo/libonnxruntime.so",
                "/nowhere/home/lib/parlo/libonnxruntime.so",
                "/nowhere/prefix/bin/libonnxruntime.so"
            ]
        );
        // A program that lies in no `bin` was not installed under a prefix.
        assert_eq!(paths(bundles_installed(Some(Path::new("/opt/parlo")), None)), ["/opt/parlo/bundles"]);
        assert_eq!(files(libraries_installed(None, Some(home))), ["/nowhere/home/lib/parlo/libonnxruntime.so"]);
    }

    #[test]
    fn in_the_source_tree_the_trees_own_are_found() {
        let tree = tempfile::tempdir().unwrap();
        let program = tree.path().join("target/debug");
        for folder in ["target/debug", "model/bundles", "vendor/onnxruntime"] {
            std::fs::create_dir_all(tree.path().join(folder)).unwrap();
        }
        std::fs::write(tree.path().join("vendor/onnxruntime/libonnxruntime.so"), "").unwrap();
        let bundles = bundles_installed(Some(&program), None);
        assert_eq!(bundles, [program.join("bundles"), tree.path().join("model/bundles")]);
        let libraries = libraries_installed(Some(&program), None);
        let vendored = Library { file: tree.path().join("vendor/onnxruntime/libonnxruntime.so"), pinned: false };
        assert_eq!(libraries.contains(&vendored), cfg!(debug_assertions), "only in a debug build");
    }
}
