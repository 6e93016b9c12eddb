//! Memory with keys in it.

use std::{
    fmt, io,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Bytes that are locked.
static LOCKED: AtomicUsize = AtomicUsize::new(0);

/// Why memory could not be locked.
#[derive(Debug)]
pub struct LockError {
    /// Bytes that this process may lock, if it is known.
    pub limit: Option<u64>,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys cannot be kept from being swapped out: {}", self.error)?;
        match self.limit {
            Some(limit) => write!(f, " (this process may lock {limit} bytes: `ulimit -l` or LimitMEMLOCK= raises it)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Keeps this process's memory out of core files and crash reports, and from being read by others of the same user (`ptrace`,
/// `/proc/PID/mem`). Root is not kept out. For the whole process, from now on.
///
/// # Errors
/// If the system refuses.
#[cfg(target_os = "linux")]
pub fn keep_from_dumps() -> io::Result<()> {
    // SAFETY: numbers only; it changes a flag of this process.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps this process's memory out of core files: this system has no such thing.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn keep_from_dumps() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Keeps the pages that a value lies in from being swapped out, for as long as this process runs: for values that live as long, at a place
/// of their own that they do not leave.
///
/// # Errors
/// If the system refuses, or the limit of `RLIMIT_MEMLOCK` is reached.
#[cfg(target_os = "linux")]
pub fn lock<T: ?Sized>(value: &T) -> Result<(), LockError> {
    let bytes = size_of_val(value);
    // SAFETY: a range of memory that `value` borrows; locking it changes nothing in it.
    if unsafe { libc::mlock(std::ptr::from_ref(value).cast(), bytes) } != 0 {
        return Err(LockError { error: io::Error::last_os_error(), limit: lockable_bytes() });
    }
    LOCKED.fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}

/// Keeps a value from being swapped out: this system has no such thing.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn lock<T: ?Sized>(_value: &T) -> Result<(), LockError> {
    Err(LockError { error: io::ErrorKind::Unsupported.into(), limit: None })
}

/// How many bytes were locked by [`lock`].
pub fn locked_bytes() -> usize {
    LOCKED.load(Ordering::Relaxed)
}

/// How many bytes this process may lock; `None` if there is no limit, or none is known.
pub fn lockable_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: it writes into `limit`, which outlives the call.
        let got = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
        (got == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Limits the addresses that this process can have. A limit that is there and lower stays.
#[cfg(target_os = "linux")]
pub(crate) fn limit_memory(bytes: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both read or write `limit`, which outlives the calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) == 0 && bytes < limit.rlim_cur {
            limit.rlim_cur = bytes;
            libc::setrlimit(libc::RLIMIT_AS, &raw const limit);
        }
    }
}
