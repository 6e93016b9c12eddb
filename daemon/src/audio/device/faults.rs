//! What a stream's own thread does about its errors.
//!
//! cpal's ALSA threads tell an error and try again, at once and for ever: where a sound server dies behind ALSA, they run without a
//! pause until the stream is closed, at the priority that they were given. Here each error costs the thread a pause, and one that
//! will not go away its priority.

use std::{sync::Arc, thread, time::Duration};

use super::stream_monitor::StreamMonitor;
use crate::realtime;

/// Errors in a row, with no sound between them, that a stream may have.
const STRIKES: u32 = 8;

/// The pause after an error: this for each in a row.
const PAUSE: Duration = Duration::from_millis(2);

/// And after each error of a stream that is lost, until it is closed.
const LONG_PAUSE: Duration = Duration::from_millis(100);

/// Errors of one stream.
pub(super) struct Faults {
    health: Arc<StreamMonitor>,
    strikes: u32,
    /// When sound was last seen to flow.
    flowed: Option<Duration>,
    /// Real-time priority was given back.
    stepped_down: bool,
}

impl Faults {
    pub(super) fn new(health: &Arc<StreamMonitor>) -> Self {
        Self { health: Arc::clone(health), strikes: 0, flowed: None, stepped_down: false }
    }

    /// To be called by the stream's thread for each error. It returns after a pause, so that no number of errors keeps a processor
    /// busy.
    pub(super) fn met(&mut self, error: &cpal::Error) {
        let pause = self.count(error);
        if self.health.is_lost() && !std::mem::replace(&mut self.stepped_down, true) {
            realtime::step_down();
        }
        thread::sleep(pause);
    }

    fn count(&mut self, error: &cpal::Error) -> Duration {
        self.health.failed(error);
        let flows = self.health.last_callback();
        if flows != self.flowed {
            (self.flowed, self.strikes) = (flows, 0);
        }
        self.strikes += 1;
        if self.strikes > STRIKES {
            self.health.lose();
        }
        if self.health.is_lost() { LONG_PAUSE } else { PAUSE * self.strikes }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use cpal::{Error, ErrorKind};

    use super::*;

    fn faults() -> Faults {
        Faults::new(&Arc::new(StreamMonitor::new()))
    }

    #[test]
    fn errors_that_repeat_without_sound_lose_the_stream_whatever_their_kind() {
        for kind in [ErrorKind::Xrun, ErrorKind::RealtimeDenied, ErrorKind::DeviceChanged] {
            let mut faults = faults();
            let pauses: Vec<Duration> = (0..STRIKES).map(|_| faults.count(&Error::new(kind))).collect();
            assert!(!faults.health.is_lost() && pauses.is_sorted() && pauses[0] >= PAUSE, "{pauses:?}");
            assert_eq!(faults.count(&Error::new(kind)), LONG_PAUSE);
            assert!(faults.health.is_lost());
        }
    }

    #[test]
    fn errors_between_which_sound_flows_are_lived_with() {
        let mut faults = faults();
        for n in 0..100_u64 {
            faults.health.called(240, Duration::ZERO);
            // Callbacks are told apart by their microseconds.
            thread::sleep(Duration::from_micros(50));
            assert!(faults.count(&Error::new(ErrorKind::Xrun)) <= PAUSE * 2, "{n}");
        }
        assert!(!faults.health.is_lost());
    }

    #[test]
    fn a_stream_whose_device_is_gone_costs_next_to_nothing_until_it_is_closed() {
        let mut faults = faults();
        let start = Instant::now();
        let mut errors = 0;
        while start.elapsed() < Duration::from_millis(500) {
            faults.met(&Error::new(ErrorKind::BackendError));
            errors += 1;
        }
        assert!(faults.health.is_lost() && errors <= 6, "{errors} in half a second");
    }
}
