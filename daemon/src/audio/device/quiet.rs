//! Keeps what ALSA's plugins write to the error stream from the user: on machines without sound cards or JACK servers looking for
//! devices is dozens of lines of "unable to open slave", which say nothing that errors here do not say.
//!
//! ALSA's own library can be told, but the plugins' libraries (JACK's among them) write to the stream itself; so the stream leads
//! nowhere while they work. Our own lines go to where it led before ([`errors`]).

use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use cpal::{Host, HostId};

/// Does something with a host's devices; nothing that ALSA writes meanwhile is seen.
pub(super) fn about<T>(host: &Host, work: impl FnOnce() -> T) -> T {
    let quiet = (host.id() == HostId::Alsa).then(Quiet::begin);
    let done = work();
    drop(quiet);
    done
}

/// The error stream as this process was started with it, wherever it leads now.
#[derive(Debug, Clone)]
pub struct Errors(Option<Arc<File>>);

/// Where the error stream led when this was first called, which is to be before any device is looked for.
pub fn errors() -> Errors {
    static ERRORS: OnceLock<Option<Arc<File>>> = OnceLock::new();
    Errors(ERRORS.get_or_init(|| system::copy().ok().map(Arc::new)).clone())
}

impl Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(file) => (&**file).write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Threads that want quiet now.
static QUIET: Mutex<usize> = Mutex::new(0);

struct Quiet(Errors);

impl Quiet {
    fn begin() -> Self {
        let errors = errors();
        let mut wanted = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted += 1;
        if *wanted == 1 && errors.0.is_some() {
            // Where that fails, it is only not quiet.
            let _ = File::options().write(true).open("/dev/null").and_then(|nowhere| system::lead(&nowhere));
        }
        Self(errors)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let mut wanted = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted -= 1;
        if *wanted == 0
            && let Some(before) = &self.0.0
        {
            let _ = system::lead(before);
        }
    }
}

#[cfg(unix)]
mod system {
    use std::{
        fs::File,
        io,
        os::fd::{AsFd, AsRawFd},
    };

    /// Another descriptor of what the error stream leads to.
    pub(super) fn copy() -> io::Result<File> {
        io::stderr().as_fd().try_clone_to_owned().map(File::from)
    }

    /// Lets the error stream lead there.
    pub(super) fn lead(there: &File) -> io::Result<()> {
        // SAFETY: both descriptors are open, `there` by its borrow and the error stream for as long as the process runs; what number
        // 2 stands for is changed at once for all threads (dup2(2)), and nobody owns that number but the process.
        let done = unsafe { libc::dup2(there.as_raw_fd(), libc::STDERR_FILENO) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(not(unix))]
mod system {
    use std::{fs::File, io};

    pub(super) fn copy() -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn lead(_: &File) -> io::Result<()> {
        Ok(())
    }
}
