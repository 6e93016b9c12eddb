//! What crosses the channels between the codec threads and the network, and how each thread is told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Instant,
};

use parlo_tokens::Slot;
use tokio::sync::Notify;

use super::voice::Unit;

/// Frames that fit a channel: over two seconds. A channel that is full means that its reader hangs.
pub(super) const CHANNEL_FRAMES: usize = 128;

/// From the network to the playback thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) number: u64,
    pub(super) slot: Slot<Unit>,
    pub(super) arrived: Instant,
}

/// What the threads of one call tell one another besides frames.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stop_capture: AtomicBool,
    stop_playback: AtomicBool,
    drain: AtomicBool,
    total: AtomicU64,
    /// Wakes the network: frames are there, or a thread has ended.
    pub(super) wake: Notify,
    /// Figures of the jitter buffer, for those who watch.
    pub(super) live: Live,
    /// What the network asks of the encoder.
    pub(super) wish: Wish,
}

/// Figures that the playback thread keeps up to date.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) played: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) delay_ms: AtomicU64,
}

/// What the network asks of the encoder.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Depth of the plan; 0 before there is one.
    pub(super) depth: AtomicU8,
    /// Share of packets lost, percent.
    pub(super) loss: AtomicU8,
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
    /// The number after its last frame is known if it said so.
    pub(super) fn drain(&self, total: Option<u64>) {
        self.total.store(total.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.drain.store(true, Ordering::Release);
    }

    pub(super) fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed)).filter(|&total| total != u64::MAX)
    }

    pub(super) fn draining(&self) -> bool {
        self.drain.load(Ordering::Acquire)
    }
}
