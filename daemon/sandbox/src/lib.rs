//! A sandbox for code that reads strangers' bytes, and memory that is neither dumped nor swapped.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//! ```
//!
//! It is no step of this path: programs enter it before they read strangers' files and bundles.
//!
//! A [`Sandbox`] lists the files that are needed, and is entered before the first foreign byte is read. From then on the kernel refuses
//! this thread, and all that it starts, everything else:
//!
//! - files, by Landlock (Linux 5.13): nothing is opened, made, renamed or removed but what is listed;
//! - system calls, by seccomp: no socket, no other program, no other process, no new code in memory, no keystroke put into the terminal;
//! - memory, by `RLIMIT_AS`, in bytes, where that is asked for.
//!
//! What is refused is an error (`EACCES`, `EPERM`), not the end of the process. What was open before stays open. Threads that ran before
//! are not held by it, and share memory with those that are: it holds only if it is entered before any other thread starts.
//!
//! Where a kernel has none of this, the program goes on without, and [`Confinement`] says so.
//!
//! [`lock`] keeps a secret out of swap, or says why not ([`LockError`]); [`keep_from_dumps`] keeps the process out of core files.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use parlo_sandbox::Sandbox;
//!
//! let confinement = Sandbox::new().read(Path::new("talk.ptk")).memory(1 << 32).enter();
//! if !confinement.is_whole() {
//!     eprintln!("not all is refused that could be: {confinement}");
//! }
//! // Of files, only that one can be opened from here on.
//! let talk = std::fs::read("talk.ptk")?;
//! # Ok::<(), std::io::Error>(())
//! ```

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod calls;
/// Of other processors no list of system calls is kept.
#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))))]
mod calls {
    pub(crate) fn restrict() -> Result<(), String> {
        Err("there is no filter for this processor".to_owned())
    }
}
#[cfg(target_os = "linux")]
mod files;
mod secret;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use secret::{LockError, keep_from_dumps, lock, lockable_bytes, locked_bytes};

/// What may be done with a file, or with what is in a folder and in the folders therein.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Read; of folders, list too.
    Read,
    /// Write to what is there: a device, a named pipe.
    Write,
    /// Give files another name in the same folder, replace and remove them.
    Rename,
    /// Read, write, make, rename and remove.
    All,
}

/// What code that reads strangers' bytes needs. Everything else is refused from [`enter`](Self::enter) on.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is refused before it is entered"]
pub struct Sandbox {
    rules: Vec<(PathBuf, Right)>,
    memory: Option<u64>,
}

impl Sandbox {
    /// Nothing is allowed but what every program reads: the kernel's description of processors and memory.
    pub fn new() -> Self {
        let mut sandbox = Self::default();
        let usual = [
            "/proc/cpuinfo",
            "/proc/meminfo",
            "/proc/self/cgroup",
            "/proc/sys/vm/overcommit_memory",
            "/sys/devices/system/cpu",
            "/sys/fs/cgroup",
        ];
        sandbox.rules.extend(usual.map(|path| (path.into(), Right::Read)));
        sandbox
    }

    /// Lets a file be read, or everything in a folder. What is not there when the sandbox is entered cannot be read later.
    pub fn read(self, path: &Path) -> Self {
        self.with(path, Right::Read)
    }

    /// Lets a device or a named pipe be written to.
    pub fn write(self, path: &Path) -> Self {
        self.with(path, Right::Write)
    }

    /// Lets files that are open take their names in this folder: files are renamed and removed in it and in the folders therein, never
    /// from one into another, and none is opened.
    pub fn rename_in(self, folder: &Path) -> Self {
        self.with(folder, Right::Rename)
    }

    /// Lets everything be done in a folder.
    pub fn all_in(self, folder: &Path) -> Self {
        self.with(folder, Right::All)
    }

    /// Limits the addresses that this process can have, in bytes. What is mapped already counts.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    fn with(mut self, path: &Path, right: Right) -> Self {
        self.rules.push((path.to_owned(), right));
        self
    }

    /// Enters it: this thread, and all threads that it will start, for as long as they run. The limit of memory holds the whole process.
    #[cfg(target_os = "linux")]
    pub fn enter(&self) -> Confinement {
        if let Some(bytes) = self.memory {
            secret::limit_memory(bytes);
        }
        Confinement { files: files::restrict(&self.rules).err(), calls: calls::restrict().err() }
    }

    /// Enters it: this system has nothing of the kind.
    #[cfg(not(target_os = "linux"))]
    pub fn enter(&self) -> Confinement {
        let reason = || Some("this system has nothing of the kind".to_owned());
        Confinement { files: reason(), calls: reason() }
    }

    /// What this system can refuse. It is tried, by a thread that ends.
    pub fn support() -> Confinement {
        let tried = std::thread::spawn(|| Self::new().enter()).join();
        tried.unwrap_or_else(|_| {
            let reason = || Some("it could not be tried".to_owned());
            Confinement { files: reason(), calls: reason() }
        })
    }
}

/// What a sandbox that was entered holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a system may have no sandbox, which somebody may want to know"]
pub struct Confinement {
    /// Why files are not refused, or not all; `None` if they are.
    pub files: Option<String>,
    /// Why system calls are not refused; `None` if they are.
    pub calls: Option<String>,
}

impl Confinement {
    /// Whether all is refused that was not asked for.
    pub fn is_whole(&self) -> bool {
        self.files.is_none() && self.calls.is_none()
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.files, &self.calls) {
            (None, None) => f.write_str("Landlock refuses files, seccomp system calls"),
            (Some(files), None) => write!(f, "seccomp refuses system calls, but files are not refused: {files}"),
            (None, Some(calls)) => write!(f, "Landlock refuses files, but system calls are not refused: {calls}"),
            (Some(files), Some(calls)) => write!(f, "there is none: {files}; {calls}"),
        }
    }
}
