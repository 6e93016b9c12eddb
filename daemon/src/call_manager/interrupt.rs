//! What the user wants by signals, or from elsewhere in this process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::call::Stop;

/// All that is waited for. Caught from when this is made: before anybody is told that the program is ready, as a signal that comes before it
/// is caught would end the program with nothing said goodbye to.
pub(crate) struct Signals<'a> {
    pub(super) interrupt: Interrupt<'a>,
    pub(super) talk: TalkKey,
}

impl<'a> Signals<'a> {
    pub(crate) fn new(stop: &'a Stop) -> io::Result<Self> {
        Ok(Self { interrupt: Interrupt::new(stop)?, talk: TalkKey::new()? })
    }
}

/// The user's wishes.
pub(super) struct Interrupt<'a> {
    stop: &'a Stop,
    interrupt: Signal,
    terminate: Signal,
}

impl<'a> Interrupt<'a> {
    fn new(stop: &'a Stop) -> io::Result<Self> {
        Ok(Self { stop, interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// To end: SIGINT, SIGTERM, or asked by the program itself.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            () = self.stop.requested() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The key to talk, for window managers and scripts: each SIGUSR1 presses it, or lets it go.
pub(super) struct TalkKey(Signal);

impl TalkKey {
    fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::user_defined1())?))
    }

    pub(super) async fn pressed(&mut self) {
        self.0.recv().await;
    }
}
