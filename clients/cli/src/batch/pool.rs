//! Tasks spread over threads, each with a worker of its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::anyhow;

/// Does `tasks` on `jobs` threads, in their order, until `stop` says so; then those that have begun are ended and no more begin.
/// `worker` makes what each thread works with, once. `done` is told on this thread, in the order in which they end.
///
/// A worker that panics fails its task and is made anew: one strange file must not end a night's work.
///
/// # Errors
/// If a worker cannot be made: nothing is done then, or no more.
pub(super) fn run<T: Sync, W, D: Send>(
    tasks: &[T],
    jobs: usize,
    stop: &(dyn Fn() -> bool + Sync),
    worker: impl Fn() -> anyhow::Result<W> + Sync,
    work: impl Fn(&mut W, &T) -> anyhow::Result<D> + Sync,
    mut done: impl FnMut(&T, anyhow::Result<D>),
) -> anyhow::Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (send, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, tasks.len().max(1)) {
            let (send, next, failed, worker, work) = (send.clone(), &next, &failed, &worker, &work);
            scope.spawn(move || {
                let mut own = None;
                while !stop() && !failed.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(place) else { return };
                    if own.is_none() {
                        match worker() {
                            Ok(made) => own = Some(made),
                            Err(error) => {
                                failed.store(true, Ordering::Relaxed);
                                let _ = send.send(Err(error));
                                return;
                            }
                        }
                    }
                    let Some(with) = &mut own else { return };
                    // What a panic leaves behind is dropped below, so nobody sees it half done.
                    let result = catch_unwind(AssertUnwindSafe(|| work(with, task))).unwrap_or_else(|_| {
                        own = None;
                        Err(anyhow!("the encoder broke down over it; please report this, with the file"))
                    });
                    // The other end goes only after this thread.
                    let _ = send.send(Ok((place, result)));
                }
            });
        }
        drop(send);
        let mut failed = None;
        for message in results {
            match message {
                Ok((place, result)) => done(&tasks[place], result),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn sums(jobs: usize, stop: &AtomicBool, until: Option<usize>) -> (Vec<(usize, bool)>, anyhow::Result<()>) {
        let tasks: Vec<usize> = (0..50).collect();
        let mut ended = Vec::new();
        let result = run(
            &tasks,
            jobs,
            &|| stop.load(Ordering::Relaxed),
            || Ok(0_usize),
            |_, &task| match task {
                _ if Some(task) == until => {
                    stop.store(true, Ordering::Relaxed);
                    Ok(task)
                }
                13 => bail!("unlucky"),
                17 => panic!("a strange file"),
                _ => Ok(task),
            },
            |&task, result| ended.push((task, result.is_ok_and(|found| found == task))),
        );
        ended.sort_unstable();
        (ended, result)
    }

    #[test]
    fn every_task_is_done_once_and_failures_fail_nothing_else() {
        for jobs in [1, 3, 100] {
            let (ended, result) = sums(jobs, &AtomicBool::new(false), None);
            result.unwrap();
            let expected: Vec<_> = (0..50).map(|task| (task, task != 13 && task != 17)).collect();
            assert_eq!(ended, expected);
        }
    }

    #[test]
    fn a_stop_ends_what_has_begun_and_begins_no_more() {
        let (ended, result) = sums(1, &AtomicBool::new(false), Some(5));
        result.unwrap();
        assert_eq!(ended.len(), 6);
    }

    #[test]
    fn a_worker_that_cannot_be_made_ends_all() {
        let (tasks, stop) = ([1, 2, 3], || false);
        let none = || -> anyhow::Result<()> { bail!("no model") };
        let result = run(&tasks, 2, &stop, none, |(), _| Ok(()), |_, _| panic!("nothing can be done"));
        assert_eq!(result.unwrap_err().to_string(), "no model");
        assert!(run(&[0; 0], 2, &stop, none, |(), _| Ok(()), |_, _| {}).is_ok());
    }
}
