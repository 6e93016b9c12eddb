//! Work spread over threads, without the interpreter's lock, that Ctrl-C can stop.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use pyo3::prelude::*;

/// How often it is looked whether somebody pressed Ctrl-C.
const SIGNAL_CHECK_EVERY: Duration = Duration::from_millis(50);

/// Whether the work shall be left as it is: somebody pressed Ctrl-C, or other work failed.
#[derive(Debug, Default)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn want(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does all jobs on up to `threads` threads. Each makes one tool, by `begin`, does one job after the other with it by `work`, and
/// puts it away by `end`.
///
/// # Errors
/// The first that came to pass; the other jobs are given up then. What Python's handler of a signal raises.
pub(crate) fn spread<J, T>(
    py: Python<'_>,
    jobs: Vec<J>,
    threads: usize,
    begin: impl Fn() -> PyResult<T> + Sync,
    work: impl Fn(&mut T, J, &Stop) -> PyResult<()> + Sync,
    end: impl Fn(T) + Sync,
) -> PyResult<()>
where
    J: Send,
{
    let threads = threads.clamp(1, jobs.len().max(1));
    let (jobs, stop) = (Mutex::new(jobs.into_iter()), Stop::default());
    let one = || -> PyResult<()> {
        let mut tool = begin()?;
        loop {
            // Not in the loop's condition: the lock would be held while working.
            let job = held(&jobs).next();
            match job {
                Some(job) if !stop.is_wanted() => work(&mut tool, job, &stop)?,
                _ => break,
            }
        }
        end(tool);
        Ok(())
    };
    let (one, stop) = (&one, &stop);
    py.detach(|| {
        let (failed, failures) = mpsc::channel::<PyErr>();
        thread::scope(|scope| {
            for _ in 0..threads {
                let failed = failed.clone();
                scope.spawn(move || {
                    if let Err(error) = one() {
                        stop.want();
                        // The other end waits for all threads.
                        let _ = failed.send(error);
                    }
                });
            }
            drop(failed);
            let mut first = None;
            loop {
                match failures.recv_timeout(SIGNAL_CHECK_EVERY) {
                    Ok(error) => first = first.or(Some(error)),
                    Err(mpsc::RecvTimeoutError::Disconnected) => break first.map_or(Ok(()), Err),
                    Err(mpsc::RecvTimeoutError::Timeout) if !stop.is_wanted() => {
                        if let Some(Err(error)) = Python::try_attach(|py| py.check_signals()) {
                            stop.want();
                            first = Some(error);
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                }
            }
        })
    })
}

/// Tools that wait for work, by what they were made for.
#[derive(Debug)]
pub(crate) struct Pool<K, T>(Mutex<Vec<(K, T)>>);

impl<K: PartialEq, T> Pool<K, T> {
    /// The most that wait: a tool is some megabytes.
    const MOST: usize = 64;

    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// One that was made for this, if one waits.
    pub(crate) fn take(&self, key: &K) -> Option<T> {
        let mut waiting = held(&self.0);
        let at = waiting.iter().position(|(found, _)| found == key)?;
        Some(waiting.swap_remove(at).1)
    }

    /// Puts one back.
    pub(crate) fn put(&self, key: K, tool: T) {
        let mut waiting = held(&self.0);
        if waiting.len() < Self::MOST {
            waiting.push((key, tool));
        }
    }
}

/// The lock. A thread that died while it held it has left nothing half done: what is locked is taken or put as a whole.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
