//! Whether the loop goes round: for the log, and for systemd's watchdog.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::service::SystemdWatchdog;

/// The loop goes round at least so often.
pub(super) const BEAT: Duration = Duration::from_millis(500);

/// A loop that has not gone round for so long stands.
const STANDS: Duration = Duration::from_secs(2);

/// How often that is looked at.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Watches the loop, from a thread of its own that ends with this.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    _alive: Sender<()>,
    /// Told by the loop itself: once it stands, nobody is told any more.
    systemd: Option<SystemdWatchdog>,
    told: Option<Instant>,
}

struct Shared {
    began: Instant,
    /// When the loop last went round, milliseconds after that.
    beat: AtomicU64,
    /// Resident memory, KiB: it is read from a file, for which the loop does not wait.
    resident: AtomicU64,
}

impl Shared {
    fn age(&self, now: Instant) -> Duration {
        let beat = self.began + Duration::from_millis(self.beat.load(Relaxed));
        now.saturating_duration_since(beat)
    }
}

impl Watchdog {
    /// Begins to watch. What is to be known is told to `say`.
    pub(super) fn start(say: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { began: Instant::now(), beat: AtomicU64::new(0), resident: AtomicU64::new(0) });
        let (alive, ended) = bounded::<()>(0);
        let watched = Arc::clone(&shared);
        thread::Builder::new().name("parlo-watch".into()).spawn(move || {
            let mut judge = Judge::default();
            loop {
                watched.resident.store((1024.0 * super::status::resident_mib()) as u64, Relaxed);
                if ended.recv_timeout(CHECK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let now = Instant::now();
                if let Some(line) = judge.look(now, watched.age(now)) {
                    say(&line);
                }
            }
        })?;
        Ok(Self { shared, _alive: alive, systemd: SystemdWatchdog::from_environment(), told: None })
    }

    /// The loop goes round.
    pub(super) fn beat(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.shared.began);
        self.shared.beat.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Relaxed);
        if let Some(systemd) = &self.systemd
            && self.told.is_none_or(|told| now.saturating_duration_since(told) >= BEAT)
        {
            systemd.alive();
            self.told = Some(now);
        }
    }

    /// Resident memory of this process, MiB, as it was measured last.
    pub(super) fn resident_mib(&self) -> f64 {
        self.shared.resident.load(Relaxed) as f64 / 1024.0
    }
}

/// Says when the loop stands, once, and when it goes on.
#[derive(Debug, Default)]
struct Judge {
    looked: Option<Instant>,
    stands: Option<Instant>,
}

impl Judge {
    fn look(&mut self, now: Instant, age: Duration) -> Option<String> {
        let last = self.looked.replace(now);
        // A process that was stopped, or a machine that slept, stopped both threads.
        if last.is_some_and(|last| now.saturating_duration_since(last) >= CHECK_EVERY + STANDS / 2) {
            return None;
        }
        match self.stands {
            None if age >= STANDS => {
                self.stands = now.checked_sub(age).or(Some(now));
                Some(format!(
                    "the network thread has stood still for {:.1} s: nothing is sent or heard in any call; please report this",
                    age.as_secs_f64()
                ))
            }
            Some(since) if age < STANDS => {
                self.stands = None;
                let stood = now.saturating_duration_since(since).as_secs_f64();
                Some(format!("the network thread goes on, after {stood:.1} s"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_for_two_seconds_is_told_of_once_and_a_process_that_was_stopped_is_not() {
        let start = Instant::now();
        let mut judge = Judge::default();
        let mut said = Vec::new();
        let mut at = |ms: u64, beat: u64| {
            let line = judge.look(start + Duration::from_millis(ms), Duration::from_millis(ms - beat));
            said.extend(line.map(|line| (ms, line)));
        };
        for ms in (0..10_000).step_by(250) {
            // It stands from 3000 to 8000.
            at(ms, if (3000..8000).contains(&ms) { 3000 } else { ms });
        }
        // All threads are stopped for a minute; the loop goes on a little later than the one that looks.
        at(70_000, 9750);
        at(70_250, 70_100);
        let (when, lines): (Vec<u64>, Vec<String>) = said.into_iter().unzip();
        assert_eq!(when, [5000, 8000], "{lines:?}");
        assert!(lines[0].contains("stood still for 2.0 s") && lines[1].contains("after 5.0 s"), "{lines:?}");
    }

    #[test]
    fn a_watch_sees_a_loop_that_stands() {
        let (tell, told) = bounded(8);
        let mut watch = Watchdog::start(move |line| tell.send(line.to_owned()).unwrap()).unwrap();
        for _ in 0..10 {
            watch.beat(Instant::now());
            thread::sleep(Duration::from_millis(100));
        }
        assert!(watch.resident_mib() > 0.5 && told.is_empty());
        assert!(told.recv_timeout(Duration::from_secs(20)).unwrap().contains("stood still"));
        watch.beat(Instant::now());
        assert!(told.recv_timeout(Duration::from_secs(20)).unwrap().contains("goes on"));
    }
}
