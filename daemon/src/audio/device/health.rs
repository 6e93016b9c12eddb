use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use cpal::ErrorKind;

/// A stream that brings nothing for so long has lost its device. Some sound servers are silent for up to two seconds after
/// a stream's start, which is waited for once.
const STALL: Duration = Duration::from_secs(1);
const STALL_AT_START: Duration = Duration::from_secs(3);

/// A stream that has just begun draws and gives as its server likes: what it lacks then is no fault.
const STARTING: Duration = Duration::from_millis(2_500);

/// Why a stream should be left for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It stands for the default device, and that is another now.
    DefaultMoved,
    /// It stands in for a device that is back.
    Returned,
}

/// What a stream's callbacks, and whoever watches its device, tell the codec thread. All of it atomic: a callback never waits.
#[derive(Debug)]
pub(super) struct Health {
    epoch: Instant,
    lost: AtomicBool,
    cause: AtomicU8,
    /// Callbacks that found the ring full (capture) or empty (playback).
    xruns: AtomicU64,
    /// When the last callback ran, in microseconds since `epoch`; 0 if none did.
    last_callback: AtomicU64,
    /// Sample frames of the last callback.
    period: AtomicU64,
    /// How old captured sound is, or how long sound waits to be heard, as the sound system says, in microseconds.
    latency: AtomicU64,
    /// Whether a callback found less than it wanted, since it was asked.
    dry: AtomicBool,
    /// The fewest sample frames that a callback left in the ring, since it was asked.
    slack: AtomicI64,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            lost: AtomicBool::new(false),
            cause: AtomicU8::new(0),
            xruns: AtomicU64::new(0),
            last_callback: AtomicU64::new(0),
            period: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            dry: AtomicBool::new(false),
            slack: AtomicI64::new(i64::MAX),
        }
    }

    /// To be called from the data callback, once it has moved its `frames`.
    pub(super) fn called(&self, frames: usize, latency: Duration) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.period.store(frames as u64, Ordering::Relaxed);
        // Sound systems err; nothing real is two seconds away.
        self.latency.store(micros(latency).min(2_000_000), Ordering::Relaxed);
        self.last_callback.store(micros(self.epoch.elapsed()).max(1), Ordering::Release);
    }

    /// To be called from a playback callback: sample frames that it left in the ring.
    pub(super) fn left(&self, frames: usize) {
        self.slack.fetch_min(i64::try_from(frames).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// To be called from a playback callback that found less than it wanted.
    pub(super) fn ran_dry(&self) {
        self.dry.store(true, Ordering::Relaxed);
        self.slack.store(0, Ordering::Relaxed);
    }

    /// To be called from a callback that lost sound.
    pub(super) fn xrun(&self) {
        if self.age() > STARTING {
            self.xruns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// To be called from the error callback.
    pub(super) fn failed(&self, error: &cpal::Error) {
        match error.kind() {
            ErrorKind::Xrun => self.xrun(),
            // Not a fault of the stream.
            ErrorKind::RealtimeDenied | ErrorKind::DeviceChanged => {}
            _ => self.lose(),
        }
    }

    /// Says that the device is gone.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Says that another device is to be used.
    pub(super) fn leave(&self, cause: Cause) {
        let code = match cause {
            Cause::DefaultMoved => 1,
            Cause::Returned => 2,
        };
        self.cause.store(code, Ordering::Release);
    }

    /// Whether, and why, another device is to be used.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.cause.load(Ordering::Acquire) {
            1 => Some(Cause::DefaultMoved),
            2 => Some(Cause::Returned),
            _ => None,
        }
    }

    pub(super) fn xruns(&self) -> u64 {
        self.xruns.load(Ordering::Relaxed)
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency.load(Ordering::Relaxed))
    }

    /// Sample frames of the last callback.
    pub(super) fn period(&self) -> u64 {
        self.period.load(Ordering::Relaxed)
    }

    /// Time since the stream was made.
    pub(super) fn age(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Whether it is past its beginning.
    pub(super) fn has_settled(&self) -> bool {
        self.age() > STARTING
    }

    /// When the last callback ran, as time since the stream was made; none if none did.
    pub(super) fn last_callback(&self) -> Option<Duration> {
        match self.last_callback.load(Ordering::Acquire) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Whether a callback found less than it wanted since this was asked last.
    pub(super) fn take_dry(&self) -> bool {
        self.dry.swap(false, Ordering::Relaxed)
    }

    /// The fewest sample frames that a callback left since this was asked last; none if there was no callback.
    pub(super) fn take_slack(&self) -> Option<u64> {
        u64::try_from(self.slack.swap(i64::MAX, Ordering::Relaxed)).ok().filter(|&slack| slack < i64::MAX as u64)
    }

    pub(super) fn is_lost(&self) -> bool {
        if self.lost.load(Ordering::Acquire) {
            return true;
        }
        let last = self.last_callback().unwrap_or_default();
        let age = self.age();
        let patience = if age < STALL_AT_START + STALL { STALL_AT_START } else { STALL };
        age.saturating_sub(last) > patience
    }
}
