//! When someone wants the program to end.

use std::io;

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
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Waits for a request to end.
pub(crate) async fn asked() -> io::Result<()> {
    #[cfg(unix)]
    Signals::new()?.next().await;
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
