//! Real-time priority for the threads that must not be late.
//!
//! On Linux two ways lead there. A process that may (root, CAP_SYS_NICE, or an `rtprio` limit of 10 or more) takes `SCHED_FIFO`
//! by itself. One that may not asks rtkit over the system's D-Bus, which desktops have for this; rtkit wants the process to set
//! RLIMIT_RTTIME first, so that a thread that runs without ever sleeping cannot hang the machine: such a thread is sent SIGXCPU, on
//! which it goes back to normal priority here, and only if that did not help is the process killed.

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

#[cfg(target_os = "linux")]
mod system {
    use std::{io, sync::Once};

    use super::Priority;

    /// Above every thread of normal priority, below the sound server's and the kernel's own; what rtkit gives too.
    const PRIORITY: libc::c_int = 10;

    pub(super) fn promote(sample_rate: u32, _frame_samples: usize) -> Result<Priority, String> {
        let Err(direct) = take() else { return Ok(Priority::Fifo) };
        step_down_when_told();
        // The library makes the soft limit as long as the block that it is told. One of 150 ms (rtkit allows 200 ms) is no slow
        // encoder but a thread that hangs.
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

    /// A thread that the system finds to run without a pause goes back to normal priority: the signal's own way would be to end the
    /// process, call and all.
    fn step_down_when_told() {
        extern "C" fn step_down(_signal: libc::c_int) {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: a bare system call, which a signal handler may make, that reads a structure which is whole and lives. (It may
            // change `errno`, in a thread that was interrupted: it does so only if it fails, which going back never does.)
            unsafe {
                libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &parameters);
            }
        }

        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the structure is plain data for which all zeros are valid; it is filled before it is passed, the handler is
            // a function that lives as long as the process and makes only calls that signal handlers may.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = step_down as extern "C" fn(libc::c_int) as usize;
                action.sa_flags = libc::SA_RESTART;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(libc::SIGXCPU, &action, std::ptr::null_mut());
            }
        });
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
                step_down_when_told();
                // SAFETY: sends a signal that has a handler by now to the calling thread.
                assert_eq!(unsafe { libc::raise(libc::SIGXCPU) }, 0);
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

    pub(super) fn promote(sample_rate: u32, frame_samples: usize) -> Result<Priority, String> {
        let samples = u32::try_from(frame_samples).unwrap_or(u32::MAX);
        match audio_thread_priority::promote_current_thread_to_real_time(samples, sample_rate) {
            // The handle only serves to go back, which these threads never do.
            Ok(_handle) => Ok(Priority::Fifo),
            Err(error) => Err(error.to_string()),
        }
    }
}
