//! When someone wants the program to end.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Requests to end: Ctrl-C, a request to terminate, and a terminal that goes. From when it is made on, they end nothing by
/// themselves, and none is missed.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next request. Safe to cancel.
    pub(crate) async fn next(&mut self) {
        self.which().await;
    }

    /// The same; gives the signal's number.
    async fn which(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.hang_up.recv() => libc::SIGHUP,
        }
    }
}

/// Whether the first request is somebody's who ends by and by; the next one, or any without that, ends the program.
static PATIENT: AtomicBool = AtomicBool::new(false);
/// Whether there was such a request.
static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on a request to end removes files that are not whole, and ends the program at once.
#[cfg(unix)]
pub(crate) fn watch() {
    let (ready, listens) = std::sync::mpsc::channel();
    let listen = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let Ok(mut signals) = Signals::new() else { return };
            let _ = ready.send(());
            loop {
                let signal = signals.which().await;
                if !PATIENT.swap(false, Ordering::AcqRel) {
                    end(signal);
                }
                ASKED.store(true, Ordering::Release);
                eprintln!(
                    "parlo: ending what has begun, and going on with the same command later; once more ends at once"
                );
            }
        });
    };
    // Without the thread a request ends the program as it would any other, and may leave a file that is not whole.
    if std::thread::Builder::new().name("parlo-stop".to_owned()).spawn(listen).is_ok() {
        let _ = listens.recv();
    }
}

#[cfg(not(unix))]
pub(crate) fn watch() {}

/// Holds requests to end back until it is dropped.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Held(libc::sigset_t);

/// Holds requests to end back, in this thread and those that it starts meanwhile.
#[cfg(unix)]
#[allow(unsafe_code, reason = "the C library's signals")]
pub(crate) fn hold() -> Held {
    // SAFETY: sets of signals are plain numbers, for which zeros are a value; the calls read and write these two, which outlive them.
    unsafe {
        let (mut requests, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&raw mut requests);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut requests, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const requests, &raw mut before);
        Held(before)
    }
}

#[cfg(unix)]
impl Drop for Held {
    #[allow(unsafe_code, reason = "the C library's signals")]
    fn drop(&mut self) {
        // SAFETY: it reads the set that `hold` was given; nobody wants the one that it replaces.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

#[cfg(not(unix))]
pub(crate) fn hold() {}

/// Takes the first request for itself, from now on: [`is_asked`] tells of it.
pub(crate) fn be_patient() {
    PATIENT.store(true, Ordering::Release);
}

/// Whether there was a request since [`be_patient`].
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Acquire)
}

/// Ends the program as this signal ends any other.
#[cfg(unix)]
#[allow(unsafe_code, reason = "the C library's signals")]
fn end(signal: i32) -> ! {
    parlo_audio_io::remove_temporary();
    // SAFETY: both take a signal's number, which it is; the default action needs no handler of ours.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    // Only if it is blocked.
    std::process::exit(128 + signal)
}

/// Waits for a request to end.
pub(crate) async fn asked() -> io::Result<()> {
    #[cfg(unix)]
    Signals::new()?.next().await;
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
