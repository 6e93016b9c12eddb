//! Real-time priority for the threads that must not be late.
//!
//! On Linux two ways lead there. A process that may (root, CAP_SYS_NICE, or an `rtprio` limit of 10 or more) takes `SCHED_FIFO`
//! by itself. One that may not asks rtkit over the system's D-Bus, which desktops have for this.
//!
//! Either way RLIMIT_RTTIME is set first, so that a thread that runs without ever sleeping cannot hang the machine: after 150 ms such
//! a thread is sent SIGXCPU, on which it goes back to normal priority here. Where the limit cannot be set, nothing is promoted. (rtkit
//! wants a hard limit too, after which the system ends the process.)

use std::fmt;

/// How a thread got its priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// By itself: `SCHED_FIFO` on Linux, its like elsewhere.
    Fifo,
    /// From rtkit.
    Rtkit,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifo => "taken directly",
            Self::Rtkit => "from rtkit",
        })
    }
}

/// Gives the calling thread real-time priority for the rest of its life, where the system allows it. Threads that it starts
/// do not have it. Asking rtkit can wait for it, so this is for a thread's beginning.
///
/// The rate and the samples in a block say how often the thread works, which some systems want to know.
///
/// # Errors
/// A sentence for the user when it is refused. The thread goes on at normal priority.
pub fn promote(sample_rate: u32, frame_samples: usize) -> Result<Priority, String> {
    system::promote(sample_rate, frame_samples).map_err(|reason| {
        format!(
            "the codec threads run at normal priority and may be late when the machine is busy: the system refused real-time \
             priority ({reason}); `parlo doctor` says how to allow it"
        )
    })
}

/// Takes real-time priority away from the calling thread, if it has it: for one that finds itself in a loop that fails.
pub fn step_down() {
    system::step_down();
}

#[cfg(target_os = "linux")]
mod system {
    use std::{io, ptr, sync::OnceLock};

    use super::Priority;

    /// Above every thread of normal priority, below the sound server's and the kernel's own; what rtkit gives too.
    const PRIORITY: libc::c_int = 10;

    /// A thread that runs for so long without sleeping is no slow encoder but one that hangs. (rtkit allows 200 ms.)
    const LIMIT_US: libc::rlim_t = 150_000;

    pub(super) fn promote(sample_rate: u32, _frame_samples: usize) -> Result<Priority, String> {
        limit().map_err(|error| format!("no limit to it can be set: {error}"))?;
        let Err(direct) = take() else { return Ok(Priority::Fifo) };
        // The library makes the soft limit as long as the block that it is told: 150 ms.
        let samples = sample_rate / 20 * 3;
        match audio_thread_priority::promote_current_thread_to_real_time(samples, sample_rate) {
            // The handle only serves to go back, which these threads never do.
            Ok(_handle) => Ok(Priority::Rtkit),
            Err(rtkit) => Err(format!("directly: {direct}; by rtkit: {}", first_line(&rtkit.to_string()))),
        }
    }

    fn first_line(text: &str) -> &str {
        text.lines().next().unwrap_or_default()
    }

    fn take() -> Result<(), io::Error> {
        let parameters = libc::sched_param { sched_priority: PRIORITY };
        // SAFETY: the call reads the structure, which is whole and lives, and keeps nothing of it; 0 is the calling thread.
        let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters) };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn step_down() {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: a bare system call, which a signal handler may make too, that reads a structure which is whole and lives. (It may
        // change `errno`, in a thread that was interrupted: it does so only if it fails, which going back never does.)
        unsafe {
            libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &parameters);
        }
    }

    /// Sets the limit, once for the process: a thread that the system finds to run without a pause goes back to normal priority. (The
    /// signal's own way would be to end the process, call and all.)
    fn limit() -> Result<(), io::Error> {
        static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
        let done = DONE.get_or_init(|| {
            let set = step_down_when_told().and_then(|()| set_limit());
            set.map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))
        });
        done.map_err(io::Error::from_raw_os_error)
    }

    fn set_limit() -> Result<(), io::Error> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the call fills the structure, which is whole and lives.
        if unsafe { libc::getrlimit(libc::RLIMIT_RTTIME, &mut limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The hard limit stays: at that the process is killed.
        limit.rlim_cur = LIMIT_US.min(limit.rlim_max);
        // SAFETY: the call reads the structure, which is whole and lives.
        if unsafe { libc::setrlimit(libc::RLIMIT_RTTIME, &limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn step_down_when_told() -> Result<(), io::Error> {
        extern "C" fn told(_signal: libc::c_int) {
            step_down();
            // The system has moved the limit on by a second, for all threads: it is put back. A failure only makes the next one wait.
            let _ = set_limit();
        }

        // SAFETY: the structure is plain data for which all zeros are valid; it is filled before it is passed, the handler is
        // a function that lives as long as the process and makes only bare system calls (on Linux `getrlimit` and `setrlimit` are),
        // which change no `errno` unless they fail.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = told as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGXCPU, &action, ptr::null_mut())
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn policy() -> libc::c_int {
            // SAFETY: takes no pointer; 0 is the calling thread.
            unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
        }

        #[test]
        fn a_thread_that_is_told_to_steps_down_and_the_process_lives() {
            std::thread::spawn(|| {
                // Where real time is refused there is still the signal, and the process must live through it.
                let _ = take();
                step_down_when_told().unwrap();
                // SAFETY: sends a signal that has a handler by now to the calling thread.
                assert_eq!(unsafe { libc::raise(libc::SIGXCPU) }, 0);
                assert_eq!(policy(), libc::SCHED_OTHER);
            })
            .join()
            .unwrap();
        }

        #[test]
        fn a_thread_that_never_sleeps_loses_its_priority_and_the_next_one_too() {
            use std::time::{Duration, Instant};
            for turn in 0..2 {
                std::thread::spawn(move || {
                    if super::super::promote(48_000, 480) != Ok(Priority::Fifo) {
                        // Refused here: there is nothing to take away.
                        return;
                    }
                    let start = Instant::now();
                    while policy() == libc::SCHED_FIFO {
                        assert!(
                            start.elapsed() < Duration::from_secs(10),
                            "it spins at real-time priority, turn {turn}"
                        );
                    }
                    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                    // SAFETY: the call fills the structure, which is whole and lives.
                    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_RTTIME, &mut limit) }, 0);
                    assert!(limit.rlim_cur <= LIMIT_US, "the next one has no more: {}", limit.rlim_cur);
                })
                .join()
                .unwrap();
            }
        }

        #[test]
        fn a_thread_may_step_down_by_itself() {
            std::thread::spawn(|| {
                let _ = super::super::promote(48_000, 480);
                step_down();
                assert_eq!(policy(), libc::SCHED_OTHER);
            })
            .join()
            .unwrap();
        }

        #[test]
        fn what_is_said_is_so() {
            std::thread::spawn(|| {
                let said = super::super::promote(48_000, 480);
                println!("{said:?}");
                let expected = if said.is_ok() { [libc::SCHED_FIFO, libc::SCHED_RR] } else { [libc::SCHED_OTHER; 2] };
                assert!(expected.contains(&policy()), "{said:?}: {}", policy());
                if let Err(sentence) = said {
                    assert!(sentence.contains("parlo doctor") && !sentence.contains('\n'), "{sentence}");
                }
            })
            .join()
            .unwrap();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Priority;

    pub(super) fn step_down() {}

    pub(super) fn promote(sample_rate: u32, frame_samples: usize) -> Result<Priority, String> {
        let samples = u32::try_from(frame_samples).unwrap_or(u32::MAX);
        match audio_thread_priority::promote_current_thread_to_real_time(samples, sample_rate) {
            // The handle only serves to go back, which these threads never do.
            Ok(_handle) => Ok(Priority::Fifo),
            Err(error) => Err(error.to_string()),
        }
    }
}
