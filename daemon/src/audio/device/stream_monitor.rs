use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use cpal::ErrorKind;

/// A stream that brings nothing for so long has lost its device. Some sound servers are silent for up to two seconds after
/// a stream's start, which is waited for once.
const STALL: Duration = Duration::from_secs(1);
const STALL_AT_START: Duration = Duration::from_secs(3);

/// A stream that has just begun draws and gives as its server likes: what it lacks then is no fault.
const STARTING: Duration = Duration::from_millis(2_500);

/// A thread that is so much later than it should be is late: what the ring between holds makes up for less.
const LATE: Duration = Duration::from_millis(10);

/// A thread that should have given its block so long ago is why there is none.
const OVERDUE: Duration = Duration::from_millis(1);

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
pub(super) struct StreamMonitor {
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
    /// Who waits for captured sound, and for how many sample frames.
    sleeper: OnceLock<Thread>,
    wanted: AtomicUsize,
    /// When so many were there, in microseconds since `epoch`; 0 if they are not.
    ready: AtomicU64,
    /// When the next block to be played is due, in microseconds since `epoch`; `u64::MAX` if none is.
    due: AtomicU64,
    /// Times that the owner's thread came too late, and that the sound system did.
    owner_late: AtomicU64,
    system_late: AtomicU64,
}

impl StreamMonitor {
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
            sleeper: OnceLock::new(),
            wanted: AtomicUsize::new(0),
            ready: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            owner_late: AtomicU64::new(0),
            system_late: AtomicU64::new(0),
        }
    }

    fn micros(&self) -> u64 {
        micros(self.epoch.elapsed()).max(1)
    }

    /// To be called by the owner of captured sound before it looks whether so many sample frames are there: else it is woken when
    /// they are. The first thread that calls this is.
    pub(super) fn want(&self, frames: usize) {
        self.sleeper.get_or_init(std::thread::current);
        self.wanted.store(frames, Ordering::Relaxed);
        // Either the callback sees what is wanted, or its sound is seen.
        fence(Ordering::SeqCst);
    }

    /// To be called by the owner before [`want`](Self::want) if less is there than is wanted: nothing waits for it.
    pub(super) fn lacks(&self) {
        self.ready.store(0, Ordering::Relaxed);
    }

    /// To be called by the owner when it takes captured sound: counts if that waited for too long.
    pub(super) fn taken(&self) {
        let ready = self.ready.swap(0, Ordering::Relaxed);
        if ready > 0 && self.micros().saturating_sub(ready) > micros(LATE) {
            self.late(&self.owner_late);
        }
    }

    /// To be called from a capture callback, with the sample frames that are in the ring now.
    pub(super) fn holds(&self, frames: usize) {
        fence(Ordering::SeqCst);
        if frames >= self.wanted.load(Ordering::Relaxed)
            && let Some(sleeper) = self.sleeper.get()
        {
            // Who takes nothing since an earlier callback is late by that one.
            let _ = self.ready.compare_exchange(0, self.micros(), Ordering::Relaxed, Ordering::Relaxed);
            sleeper.unpark();
        }
    }

    /// To be called by the owner when it has given a block: the next is due in so long.
    pub(super) fn due_in(&self, wait: Duration) {
        self.due.store(self.micros() + micros(wait), Ordering::Relaxed);
    }

    /// Times that the owner's thread was too late: captured sound waited for 10 ms to be taken or found no room, or a callback found
    /// too little because the block that was due had not been given.
    pub(super) fn owner_late(&self) -> u64 {
        self.owner_late.load(Ordering::Relaxed)
    }

    /// Times that the sound system was too late: it brought nothing for 10 ms longer than what it brought had lasted, or it wanted
    /// more at once than there could be while everything that was due had been given.
    pub(super) fn system_late(&self) -> u64 {
        self.system_late.load(Ordering::Relaxed)
    }

    fn late(&self, whose: &AtomicU64) {
        if self.has_settled() {
            whose.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// To be called from the data callback, once it has moved its `frames`.
    pub(super) fn called(&self, frames: usize, latency: Duration) {
        self.period.store(frames as u64, Ordering::Relaxed);
        // Sound systems err; nothing real is two seconds away.
        self.latency.store(micros(latency).min(2_000_000), Ordering::Relaxed);
        self.last_callback.store(self.micros(), Ordering::Release);
    }

    /// To be called from a capture callback before [`called`](Self::called), with the device's rate: counts if it comes too late.
    pub(super) fn comes(&self, rate: u32) {
        if let Some(last) = self.last_callback() {
            let lasted = Duration::from_secs_f64(self.period() as f64 / f64::from(rate.max(1)));
            if self.age().saturating_sub(last) > lasted + LATE {
                self.late(&self.system_late);
            }
        }
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

    /// Whether the owner should have given its next block by now.
    pub(super) fn is_overdue(&self) -> bool {
        self.micros() > self.due.load(Ordering::Relaxed).saturating_add(micros(OVERDUE))
    }

    /// To be called from a callback that lost sound, which the owner's thread is to blame for, or the sound system.
    pub(super) fn lost_sound(&self, owner: bool) {
        self.late(if owner { &self.owner_late } else { &self.system_late });
        self.xrun();
    }

    /// Counts sound that was lost.
    fn xrun(&self) {
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a stream that is past its beginning.
    fn settled() -> StreamMonitor {
        let mut health = StreamMonitor::new();
        health.epoch = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        health
    }

    #[test]
    fn captured_sound_that_waits_too_long_is_the_owners_fault_and_the_rest_is_not() {
        let health = settled();
        health.want(160);
        health.holds(159);
        assert_eq!(health.ready.load(Ordering::Relaxed), 0, "less is there than is wanted");
        health.holds(160);
        let ready = health.ready.load(Ordering::Relaxed);
        assert!(ready > 0);
        health.taken();
        assert_eq!(health.owner_late(), 0);
        // It has been there for 11 ms, and later sound does not make that later.
        health.ready.store(ready - 11_000, Ordering::Relaxed);
        health.holds(480);
        health.taken();
        assert_eq!((health.owner_late(), health.system_late()), (1, 0));
        // Seen before the callback said so, and gone: nothing waits.
        health.holds(160);
        health.lacks();
        health.taken();
        assert_eq!(health.owner_late(), 1);
    }

    #[test]
    fn a_callback_that_comes_late_is_the_sound_systems_fault() {
        let health = settled();
        health.comes(48_000);
        health.called(240, Duration::ZERO);
        health.comes(48_000);
        assert_eq!(health.system_late(), 0);
        for (ago, late) in [(14_000, 0), (16_000, 1)] {
            health.last_callback.store(health.micros() - ago, Ordering::Relaxed);
            health.comes(48_000);
            assert_eq!((health.owner_late(), health.system_late()), (0, late), "5 ms of sound came {ago} us ago");
        }
    }

    #[test]
    fn a_loudspeaker_runs_dry_by_whoever_owes_it_sound() {
        let health = settled();
        assert!(!health.is_overdue(), "nothing is due yet");
        health.due_in(Duration::from_secs(5));
        assert!(!health.is_overdue());
        health.lost_sound(health.is_overdue());
        assert_eq!((health.owner_late(), health.system_late(), health.xruns()), (0, 1, 1));
        health.due.store(health.micros() - 2_000, Ordering::Relaxed);
        assert!(health.is_overdue());
        health.lost_sound(health.is_overdue());
        assert_eq!((health.owner_late(), health.system_late(), health.xruns()), (1, 1, 2));
        let fresh = StreamMonitor::new();
        fresh.lost_sound(true);
        assert_eq!((fresh.owner_late(), fresh.xruns()), (0, 0), "what a stream lacks at its start is no fault");
    }
}
