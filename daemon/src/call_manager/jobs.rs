//! Work that may wait, on threads of its own.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// Starts a thread for each piece of work. What the system has no thread for is kept, and tried again: it may be a call's
/// sound that is to be closed.
#[derive(Default)]
pub(super) struct JobThreads {
    kept: VecDeque<Job>,
}

impl JobThreads {
    /// Does it on another thread, now or when there is one.
    pub(super) fn run(&mut self, job: impl FnOnce() + Send + 'static) {
        self.kept.push_back(Box::new(job));
        self.retry();
    }

    /// Starts what is kept.
    pub(super) fn retry(&mut self) {
        self.start(|run| thread::Builder::new().name("parlo-job".into()).spawn(run).map(drop));
    }

    fn start(&mut self, spawn: impl Fn(Job) -> io::Result<()>) {
        while let Some(job) = self.kept.pop_front() {
            // A thread that cannot be started drops what it was to run, so the work itself stays here until it has begun.
            let place = Arc::new(Mutex::new(Some(job)));
            let there = Arc::clone(&place);
            let take = |place: &Mutex<Option<Job>>| place.lock().unwrap_or_else(PoisonError::into_inner).take();
            let run = Box::new(move || {
                let job = take(&there);
                if let Some(job) = job {
                    job();
                }
            });
            if spawn(run).is_err()
                && let Some(job) = take(&place)
            {
                self.kept.push_front(job);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_no_thread_can_be_had_for_is_done_later_in_its_order() {
        let (tell, told) = mpsc::channel();
        let mut jobs = JobThreads::default();
        for n in 0..3 {
            let tell = tell.clone();
            jobs.kept.push_back(Box::new(move || tell.send(n).unwrap()));
            jobs.start(|_| Err(io::ErrorKind::WouldBlock.into()));
        }
        assert!(told.try_recv().is_err());
        jobs.start(|run| {
            run();
            Ok(())
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        jobs.run(move || tell.send(3).unwrap());
        assert_eq!(told.recv().unwrap(), 3);
    }
}
