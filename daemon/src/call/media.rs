//! What crosses the channels between the codec threads and the network, and how each thread is told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use parlo_tokens::TokenFrame;
use tokio::sync::Notify;

/// Frames that fit a channel: over two seconds. A channel that is full means that its reader hangs.
pub(super) const CHANNEL_FRAMES: usize = 128;

/// From the capture thread to the network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) number: u64,
    pub(super) tokens: TokenFrame,
}

/// From the network to the playback thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) number: u64,
    pub(super) tokens: TokenFrame,
    pub(super) arrived: Instant,
}

/// What the threads of one call tell one another besides frames.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stop_capture: AtomicBool,
    stop_playback: AtomicBool,
    drain: AtomicBool,
    /// Wakes the network: frames are there, or a thread has ended.
    pub(super) wake: Notify,
    /// Figures of the jitter buffer, for those who watch.
    pub(super) live: Live,
}

/// Figures that the playback thread keeps up to date.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) played: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) delay_ms: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ends the capture thread.
    pub(super) fn stop_capture(&self) {
        self.stop_capture.store(true, Ordering::Release);
    }

    pub(super) fn capture_stopped(&self) -> bool {
        self.stop_capture.load(Ordering::Acquire)
    }

    /// Ends the playback thread at once.
    pub(super) fn stop_playback(&self) {
        self.stop_playback.store(true, Ordering::Release);
    }

    pub(super) fn playback_stopped(&self) -> bool {
        self.stop_playback.load(Ordering::Acquire)
    }

    /// Nothing more comes from the peer: the playback thread plays what is left, then ends.
    pub(super) fn drain(&self) {
        self.drain.store(true, Ordering::Release);
    }

    pub(super) fn draining(&self) -> bool {
        self.drain.load(Ordering::Acquire)
    }
}
