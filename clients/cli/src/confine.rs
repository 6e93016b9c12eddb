//! The sandbox in which the verbs for files work: what they read may be anybody's, and is read by much code.
//!
//! It is entered once the names are known and the library is loaded, before a byte of the input is read and before any other thread
//! starts. Then: inputs, the output's place, and bundles; no other file, no network, no other program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use parlo_model::Runtime;
use parlo_sandbox::Sandbox;

use crate::{io_path::IoPath, stop};

/// Addresses that a verb may have beside what encoding and decoding take of them: half of the machine's memory, and at least this, bytes.
const LEAST_MEMORY: u64 = 4 << 30;

/// What each further thread that runs a model may have, bytes.
const THREAD_MEMORY: u64 = 256 << 20;

/// What a verb needs.
#[derive(Debug, Default)]
pub(crate) struct Needs<'a> {
    /// What it reads: files, folders with everything in them, or standard input.
    pub(crate) inputs: Vec<&'a IoPath>,
    /// What it writes.
    pub(crate) output: Output<'a>,
    /// The bundle that was named.
    pub(crate) bundle: Option<&'a Path>,
    /// Whether it runs a model.
    pub(crate) runs_model: bool,
    /// How many threads do, beside the first.
    pub(crate) threads: usize,
}

/// What a verb writes.
#[derive(Debug, Default)]
pub(crate) enum Output<'a> {
    /// Nothing but standard output.
    #[default]
    None,
    /// A file that is whole or not there.
    File(&'a IoPath),
    /// A token file in the place of the damaged one, which gets another name.
    Mended(&'a IoPath),
    /// Files in this folder.
    Folder(&'a Path),
}

/// Enters the sandbox for a verb that needs this; from then on a request to end removes files that are not whole.
pub(crate) fn enter(needs: &Needs<'_>) {
    let inputs = || needs.inputs.iter().filter_map(|input| file(input));
    // A mistyped name should not wait for the library. Why that cannot be loaded is told when it is needed.
    if needs.runs_model && inputs().all(Path::exists) {
        let _ = Runtime::load(None);
    }
    let mut sandbox = Sandbox::new().read(Path::new("/dev/null"));
    for folder in bundles(needs.bundle) {
        sandbox = sandbox.read(&folder);
    }
    for input in inputs() {
        sandbox = sandbox.read(input);
    }
    sandbox = sandbox.memory(memory() + needs.threads as u64 * THREAD_MEMORY);
    // A request that comes before somebody watches for it waits until then.
    let held = stop::hold();
    match needs.output {
        Output::None | Output::File(IoPath::Standard) | Output::Mended(IoPath::Standard) => {}
        Output::File(IoPath::File(path)) => {
            // What is there is looked at before it is replaced.
            sandbox = sandbox.read(path);
            if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
                sandbox = sandbox.write(path);
            } else if let Some((folder, file)) = parlo_audio_io::prepare(path) {
                // Under its own name, too, it can be read: the right is the file's.
                sandbox = sandbox.rename_in(&folder).read(&file);
            }
        }
        Output::Mended(IoPath::File(path)) => {
            // The file system may have no links, so that the damaged one has to be copied.
            let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            sandbox = sandbox.all_in(real.parent().unwrap_or(Path::new("/")));
        }
        Output::Folder(folder) => sandbox = sandbox.all_in(folder),
    }
    let confinement = sandbox.enter();
    if !confinement.is_whole() && is_verbose() {
        eprintln!("parlo: sandbox: {confinement}");
    }
    stop::watch();
    drop(held);
}

fn file(place: &IoPath) -> Option<&Path> {
    match place {
        IoPath::Standard => None,
        IoPath::File(path) => Some(path),
    }
}

/// Where bundles may lie: the one that is named, and the usual folders, with what links in these point to.
fn bundles(named: Option<&Path>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = named.map(Path::to_owned).into_iter().collect();
    folders.extend(std::env::var_os("PARLO_BUNDLE").map(PathBuf::from));
    for folder in parlo_model::bundle_folders() {
        let entries = || fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())).map(|entry| entry.path()),
        );
        folders.push(folder);
    }
    folders
}

/// Whether the little that is wrong is to be told, as to `parlod`: PARLO_LOG=debug, or trace.
fn is_verbose() -> bool {
    std::env::var("PARLO_LOG").is_ok_and(|level| level.contains("debug") || level.contains("trace"))
}

/// How many bytes of addresses a verb may have.
fn memory() -> u64 {
    #[cfg(unix)]
    {
        // SAFETY: `sysconf` takes a number and gives one.
        let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        let there = u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(size).unwrap_or(0));
        LEAST_MEMORY.max(there / 2)
    }
    #[cfg(not(unix))]
    LEAST_MEMORY
}
