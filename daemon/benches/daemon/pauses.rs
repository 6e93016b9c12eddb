//! When the machine itself stood still: a virtual one does when its host gives its time to others, whatever runs in it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often each processor is looked at; later by so much, it stood still.
const EVERY: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(3);

/// Above the daemon's threads, which have 10, and the sound server's.
const PRIORITY: libc::c_int = 60;

/// A thread on each processor that does nothing but wake, before any other: what wakes it late is not another thread.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    pauses: Arc<Mutex<Vec<(Instant, Duration)>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch. None where the system refuses the priority.
    pub(crate) fn start() -> Option<Self> {
        let (stop, pauses) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut watch = Self { stop, pauses, threads: Vec::new() };
        for processor in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let (stop, pauses) = (Arc::clone(&watch.stop), Arc::clone(&watch.pauses));
            let (told, ready) = std::sync::mpsc::channel();
            watch.threads.push(std::thread::spawn(move || {
                let _ = told.send(take(processor));
                while !stop.load(Ordering::Relaxed) {
                    let due = Instant::now() + EVERY;
                    std::thread::sleep(EVERY);
                    let late = due.elapsed();
                    if late > LONG {
                        pauses.lock().unwrap_or_else(PoisonError::into_inner).push((due, late));
                    }
                }
            }));
            if !ready.recv().unwrap_or(false) {
                return None;
            }
        }
        Some(watch)
    }

    /// VoiceActivity so far: when each began, and how long it was.
    pub(crate) fn pauses(&self) -> Vec<(Instant, Duration)> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Binds the calling thread to this processor, at the priority. Whether both are so.
fn take(processor: usize) -> bool {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: a `cpu_set_t` is plain bits, for which zeros are valid, and `CPU_SET` ignores processors beyond it; both calls read
    // structures that are whole and live, of the sizes that are told, and keep nothing of them; 0 is the calling thread.
    unsafe {
        let mut processors: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut processors);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const processors) == 0
            && libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) == 0
    }
}

/// When a count went up, and by how much: between these two looks.
pub(crate) type Step = (Instant, Instant, u64);

/// How many of the misses had no pause beside them. A miss is known a little later than it was: it is counted when the late work is
/// done, and told with the next packet.
pub(crate) fn without(steps: &[Step], pauses: &[(Instant, Duration)]) -> u64 {
    const AFTER: Duration = Duration::from_millis(150);
    let beside = |from: Instant, to: Instant| pauses.iter().any(|&(at, long)| at <= to && at + long + AFTER >= from);
    steps.iter().filter(|&&(from, to, _)| !beside(from, to)).map(|step| step.2).sum()
}
