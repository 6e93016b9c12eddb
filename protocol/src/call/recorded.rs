//! Who records the call: each side tells the other, as whoever speaks should know.
//!
//! A note is sent for each change, again after 100, 200 and 400 ms, and from then on every 2 s until the call ends, as packets get
//! lost. The newest counts, by the number that its seal proves. A call that nobody ever recorded has none. Programs that do not know
//! notes ignore them.

use std::time::{Duration, Instant};

/// When a change is said again.
const AGAIN: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];
/// And after that, as often as this.
const EVERY: Duration = Duration::from_secs(2);

/// What both sides say of it. The default is a call that nobody records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recorded {
    ours: bool,
    /// What was said of ours last.
    said: bool,
    /// When that began to be said, how often it was said again, and when last.
    change: Option<(Instant, usize, Instant)>,
    theirs: bool,
    /// What the user was told of theirs.
    told: bool,
    /// Number of the peer's newest note.
    newest: Option<u64>,
}

impl Recorded {
    pub(super) fn theirs(&self) -> bool {
        self.theirs
    }

    pub(super) fn set(&mut self, recorded: bool) {
        self.ours = recorded;
    }

    /// When a note is to be sent; a moment that is past if the peer does not know of a change. `None` if there is nothing to say.
    pub(super) fn due(&self) -> Option<Instant> {
        let (since, times, last) = self.change?;
        Some(AGAIN.get(times).map_or(last + EVERY, |&again| since + again))
    }

    pub(super) fn is_news(&self) -> bool {
        self.ours != self.said
    }

    /// What to say in a note that goes at `now`.
    pub(super) fn say(&mut self, now: Instant) -> bool {
        self.change = Some(match self.change {
            Some((since, times, _)) if !self.is_news() => (since, times + 1, now),
            _ => (now, 0, now),
        });
        self.said = self.ours;
        self.ours
    }

    /// The peer's note with this number came, and says this.
    pub(super) fn heard(&mut self, number: u64, recorded: bool) {
        if self.newest.is_none_or(|newest| number > newest) {
            self.newest = Some(number);
            self.theirs = recorded;
        }
    }

    /// Whether the peer records, if the user was told something else last.
    pub(super) fn news(&mut self) -> Option<bool> {
        (self.theirs != self.told).then(|| {
            self.told = self.theirs;
            self.theirs
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However notes are lost, repeated and reordered: once the newest has come, it holds.
        #[test]
        fn the_newest_note_holds(notes in prop::collection::vec(any::<bool>(), 1..20), order in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
            let mut recorded = Recorded::default();
            let newest = notes.len() - 1;
            let at = order.len() / 2;
            for (n, index) in order.iter().enumerate() {
                if n == at {
                    recorded.heard(newest as u64, notes[newest]);
                }
                let number = index.index(notes.len());
                recorded.heard(number as u64, notes[number]);
            }
            recorded.heard(newest as u64, notes[newest]);
            prop_assert_eq!(recorded.theirs(), notes[newest]);
            prop_assert_eq!(recorded.news(), notes[newest].then_some(true));
            prop_assert_eq!(recorded.news(), None, "it is told once");
        }
    }

    #[test]
    fn a_change_is_said_at_once_and_again_and_then_every_two_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recorded = Recorded::default();
        assert!(!recorded.is_news() && recorded.due().is_none());
        recorded.set(true);
        assert!(recorded.is_news());
        assert!(recorded.say(start));
        for ms in [100, 200, 400, 2_400, 4_400] {
            assert_eq!(recorded.due(), Some(at(ms)));
            assert!(recorded.say(at(ms)) && !recorded.is_news());
        }
        // Another change begins anew.
        recorded.set(false);
        assert!(recorded.is_news() && !recorded.say(at(5_000)));
        assert_eq!(recorded.due(), Some(at(5_100)));
    }
}
