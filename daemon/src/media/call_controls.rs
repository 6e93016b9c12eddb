//! What a call's place and the two threads tell one another.

use std::sync::atomic::{AtomicBool, Ordering};

use super::metrics::Float;

/// A call's switches and measurements.
#[derive(Debug)]
pub(super) struct CallControls {
    held: AtomicBool,
    conference: AtomicBool,
    finished: AtomicBool,
    /// How loud it is heard, dB.
    pub(super) volume_db: Float,
    /// Its voice's RMS over 300 ms, dBFS.
    pub(super) level_dbfs: Float,
}

impl CallControls {
    pub(super) fn new() -> Self {
        Self {
            held: AtomicBool::new(false),
            conference: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            volume_db: Float::new(0.0),
            level_dbfs: Float::new(-120.0),
        }
    }

    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    pub(super) fn held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn confer(&self, conference: bool) {
        self.conference.store(conference, Ordering::Relaxed);
    }

    /// Whether it hears and is heard by the others of the conference now.
    pub(super) fn confers(&self) -> bool {
        self.conference.load(Ordering::Relaxed) && !self.held()
    }

    /// Nothing more is played.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    pub(super) fn finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}
