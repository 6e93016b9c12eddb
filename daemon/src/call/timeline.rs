use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// When a frame passed one end of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Number of the frame.
    pub frame: u64,
    /// When its last sample was captured, or the first sample of its decoder output was heard.
    pub at: Instant,
}

/// The moments of a call's frames: up to an hour of them, allocated beforehand, so that noting one costs nothing.
#[derive(Debug, Default)]
pub struct Timeline {
    moments: Vec<Moment>,
}

impl Timeline {
    /// Room for `frames` moments; later ones are not noted. 0 notes nothing and takes no memory.
    pub fn with_room(frames: usize) -> Self {
        Self { moments: Vec::with_capacity(frames) }
    }

    /// Notes a moment, if there is room.
    pub fn note(&mut self, frame: u64, at: Instant) {
        if self.moments.len() < self.moments.capacity() {
            self.moments.push(Moment { frame, at });
        }
    }

    /// What was noted.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Writes `frame,event,monotonic_ns` lines; times are of the machine's monotonic clock, so that two programs' files
    /// can be compared.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(captured: &Self, played: &Self, file: &Path) -> std::io::Result<()> {
        let (now, clock) = (Instant::now(), monotonic());
        let mut text = String::from("frame,event,monotonic_ns\n");
        for (event, timeline) in [("captured", captured), ("played", played)] {
            for Moment { frame, at } in timeline.moments() {
                let at = (clock + at.saturating_duration_since(now)).saturating_sub(now.saturating_duration_since(*at));
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{frame},{event},{}", at.as_nanos());
            }
        }
        crate::report::write_whole(file, text.as_bytes())
    }
}

/// Reads `CLOCK_MONOTONIC`, the clock behind `Instant`, whose number that type keeps to itself.
fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to write to, and the clock id is a constant of the platform. The
    // call fails only for a bad id or pointer; `time` then stays zero.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
