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

use super::codec::CodedFrame;

/// Frames that fit a channel: over two seconds. A channel that is full means that its reader hangs.
pub const CHANNEL_FRAMES: usize = 128;

/// From the network to the playback thread.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedFrame {
    /// Number of the frame.
    pub number: u64,
    /// What there is of it.
    pub slot: Slot<CodedFrame>,
    /// When it came.
    pub arrived: Instant,
}

/// What the threads of one call tell one another besides frames.
#[derive(Debug, Default)]
pub struct Shared {
    stop_capture: AtomicBool,
    stop_playback: AtomicBool,
    drain: AtomicBool,
    failed: AtomicBool,
    total: AtomicU64,
    /// Wakes the network: frames are there, or a thread has ended.
    pub wake: Arc<Notify>,
    /// Figures of the jitter buffer, for those who watch.
    pub live: Live,
    /// What the network asks of the encoder.
    pub target: EncoderTarget,
}

/// Figures that the playback thread keeps up to date.
#[derive(Debug, Default)]
pub struct Live {
    /// Frames heard, of whatever kind.
    pub played: AtomicU64,
    /// Frames that were not there when due.
    pub lost: AtomicU64,
    /// Of those, predicted rather than faded.
    pub predicted: AtomicU64,
    /// Heard from coarse copies.
    pub coarse: AtomicU64,
    /// Heard as comfort noise.
    pub silent: AtomicU64,
    /// Lost, and came after all.
    pub late: AtomicU64,
    /// Time to encode the frames that are coded together, 99th percentile so far, microseconds; brought up to date once a second.
    pub encode_us_p99: AtomicU64,
    /// Time to decode, likewise.
    pub decode_us_p99: AtomicU64,
    /// Delay of the jitter buffer, milliseconds.
    pub delay_ms: AtomicU64,
}

/// What the network asks of the encoder.
#[derive(Debug, Default)]
pub struct EncoderTarget {
    /// Codebooks to code at most; of Opus, the depth of the plan. 0 before there is a plan.
    pub depth: AtomicU8,
    /// Frames in each packet. 0 before there is a plan.
    pub frames: AtomicU8,
    /// Share of packets lost, percent.
    pub loss: AtomicU8,
}

impl Shared {
    /// At the start of a call.
    pub fn new(wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { wake, ..Self::default() })
    }

    /// Ends the capture thread.
    pub fn stop_capture(&self) {
        self.stop_capture.store(true, Ordering::Release);
    }

    /// Whether the capture side shall end.
    pub fn capture_stopped(&self) -> bool {
        self.stop_capture.load(Ordering::Acquire)
    }

    /// Ends the playback thread at once.
    pub fn stop_playback(&self) {
        self.stop_playback.store(true, Ordering::Release);
    }

    /// Whether the playback side shall end at once.
    pub fn playback_stopped(&self) -> bool {
        self.stop_playback.load(Ordering::Acquire)
    }

    /// Nothing more comes from the peer: the playback thread plays what is left, then ends.
    /// The number after its last frame is known if it said so.
    pub fn drain(&self, total: Option<u64>) {
        self.total.store(total.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.drain.store(true, Ordering::Release);
    }

    /// The number after the peer's last frame, if it is known.
    pub fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed)).filter(|&total| total != u64::MAX)
    }

    /// A side of the sound has failed: the call ends for that reason.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether a side of the sound has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether nothing more comes from the peer.
    pub fn draining(&self) -> bool {
        self.drain.load(Ordering::Acquire)
    }
}
