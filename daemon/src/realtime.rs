//! Real-time priority for the threads that must not be late.

/// Gives the calling thread real-time priority (`SCHED_FIFO` on Linux) for the rest of its life, where the system
/// allows it: as root, with CAP_SYS_NICE, or with an `rtprio` limit.
///
/// # Errors
/// A sentence for the user when it is refused. The thread goes on at normal priority.
pub fn promote(sample_rate: u32, frame_samples: usize) -> Result<(), String> {
    let samples = u32::try_from(frame_samples).unwrap_or(u32::MAX);
    match audio_thread_priority::promote_current_thread_to_real_time(samples, sample_rate) {
        // The handle only serves to go back, which these threads never do.
        Ok(_handle) => Ok(()),
        Err(_) => Err("the codec threads run at normal priority and may be late when the machine is busy: the system \
                       refused real-time priority; `parlo doctor` says how to allow it"
            .to_owned()),
    }
}
