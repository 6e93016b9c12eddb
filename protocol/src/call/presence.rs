//! What both sides of a call are like: whether it rings there, and whether it is held.
//!
//! Packets may be lost and come in any order, and yet both sides must come to mean the same. So an alive always says all that
//! there is, the newest alive counts (by the number that its seal proves), and what it says holds from a frame on: media with
//! that number or a higher one was sent later, and who sends media neither rings nor holds. Of the packets that have come the
//! result is always the same, in whatever order they came. (Who sends silence while it holds says first that the hold begins
//! after that.)
//!
//! Ringing only ends: what has been picked up does not ring again.

use std::time::{Duration, Instant};

use crate::packet::Presence;

/// A change is told at once, and so long after that again: one that is lost must not matter.
const AGAIN: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];

/// Presence of both sides. The default is a call that nobody rings or holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Presences {
    ours: Presence,
    /// What the peer was told of ours, by the answer or the last alive.
    said: Presence,
    /// When that was a change, and how often it was said again.
    change: Option<(Instant, usize)>,
    theirs: Presence,
    /// What the user was told of the peer's.
    told: Presence,
    /// Number of the peer's newest alive.
    alive: Option<u64>,
    /// Number of the peer's frame from which on media ends its hold.
    held_from: u64,
    /// The number after that of its newest media.
    media_end: u64,
}

impl Presences {
    /// The side that answers: it rings, or not.
    pub(super) fn answering(ringing: bool) -> Self {
        let ours = Presence { ringing, held: false };
        Self { ours, said: ours, ..Self::default() }
    }

    /// The side that calls has its answer: it rings there, or not. The user learns of it from the event that tells of the
    /// answer.
    pub(super) fn answered(&mut self, ringing: bool) {
        self.theirs.ringing = ringing;
        self.told = self.theirs;
    }

    pub(super) fn ours(&self) -> Presence {
        self.ours
    }

    pub(super) fn theirs(&self) -> Presence {
        self.theirs
    }

    /// Whether nobody has picked up yet.
    pub(super) fn ringing(&self) -> bool {
        self.ours.ringing || self.theirs.ringing
    }

    pub(super) fn set(&mut self, presence: Presence) {
        self.ours = Presence { ringing: self.ours.ringing && presence.ringing, ..presence };
    }

    /// Whether the peer does not know yet what this side is like: an alive is to be sent, and again.
    pub(super) fn is_news(&self) -> bool {
        self.ours != self.said
    }

    /// What to say in an alive that goes at `now`.
    pub(super) fn say(&mut self, now: Instant) -> Presence {
        if self.is_news() {
            self.change = Some((now, 0));
            self.said = self.ours;
        }
        // What is due is said by it, be it once or several times.
        while let Some((since, times)) = self.change
            && self.due().is_some_and(|due| now >= due)
        {
            self.change = (times + 1 < AGAIN.len()).then_some((since, times + 1));
        }
        self.ours
    }

    /// When to say it again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.change.and_then(|(since, times)| Some(since + *AGAIN.get(times)?))
    }

    /// The peer's alive with this number came, and says this. `frames` is the number after the last that it sent.
    pub(super) fn alive(&mut self, number: u64, presence: Presence, frames: u64) {
        if self.alive.is_some_and(|newest| number <= newest) {
            return;
        }
        self.alive = Some(number);
        self.held_from = frames;
        self.theirs.ringing &= presence.ringing;
        self.theirs.held = presence.held && self.media_end <= frames;
    }

    /// The peer's media with this number came.
    pub(super) fn media(&mut self, number: u64) {
        self.media_end = self.media_end.max(number.saturating_add(1));
        self.theirs.ringing = false;
        self.theirs.held &= self.media_end <= self.held_from;
    }

    /// What has become of the peer since the user was told last, if it is something else.
    pub(super) fn news(&mut self) -> Option<Presence> {
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

    const HELD: Presence = Presence { ringing: false, held: true };
    const THERE: Presence = Presence { ringing: false, held: false };
    const RINGING: Presence = Presence { ringing: true, held: false };

    /// A packet that tells of a side.
    #[derive(Debug, Clone, Copy)]
    enum Told {
        Alive { number: u64, presence: Presence, frames: u64 },
        Media { number: u64 },
    }

    /// What a side does, and says of it. The last of the packets tells what it is like.
    fn side(acts: &[u8], ringing: bool) -> (Vec<Told>, Presence) {
        let (mut presence, mut frames, mut told) = (Presence { ringing, held: false }, 0, Vec::new());
        for (number, act) in (0..).zip(acts) {
            match act % 4 {
                0 if presence == THERE => {
                    told.push(Told::Media { number: frames });
                    frames += 1 + u64::from(act / 4);
                    continue;
                }
                1 => presence.ringing = false,
                2 => presence.held = true,
                3 => presence.held = false,
                _ => {}
            }
            told.push(Told::Alive { number, presence, frames: if presence.held { frames } else { 0 } });
        }
        (told, presence)
    }

    fn hear(presences: &mut Presences, told: Told) {
        match told {
            Told::Alive { number, presence, frames } => presences.alive(number, presence, frames),
            Told::Media { number } => presences.media(number),
        }
    }

    proptest! {
        /// However packets are lost, repeated and reordered: once the last one has come, both sides mean the same.
        #[test]
        fn both_sides_come_to_mean_the_same(
            acts in prop::collection::vec(any::<u8>(), 1..40), ringing: bool,
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..80), last in any::<prop::sample::Index>(),
        ) {
            let (told, presence) = side(&acts, ringing);
            let mut presences = Presences::default();
            presences.answered(ringing);
            let at = last.index(order.len() + 1);
            for (n, index) in order.iter().enumerate() {
                if n == at {
                    hear(&mut presences, told[told.len() - 1]);
                }
                hear(&mut presences, told[index.index(told.len())]);
            }
            if at == order.len() {
                hear(&mut presences, told[told.len() - 1]);
            }
            prop_assert_eq!(presences.theirs(), presence, "{:?}", told);
            let piggyback = presences.news();
            prop_assert_eq!(piggyback, (presence != Presence { ringing, held: false }).then_some(presence));
            prop_assert_eq!(presences.news(), None, "it is told once");
        }
    }

    #[test]
    fn a_change_is_said_four_times_and_a_late_one_makes_up_for_those_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut presences = Presences::answering(true);
        assert!(!presences.is_news() && presences.due().is_none());
        presences.set(THERE);
        assert!(presences.is_news());
        assert_eq!(presences.say(start), THERE);
        for ms in [100, 200, 400] {
            assert_eq!(presences.due(), Some(at(ms)));
            // What is said before it is due does not count for it.
            presences.say(at(ms - 1));
            assert_eq!(presences.due(), Some(at(ms)));
            presences.say(at(ms));
        }
        assert_eq!(presences.due(), None);
        presences.set(HELD);
        presences.say(at(1000));
        presences.say(at(1250));
        assert_eq!(presences.due(), Some(at(1400)));
        // Another change begins anew.
        presences.set(THERE);
        presences.say(at(1300));
        assert_eq!(presences.due(), Some(at(1400)));
        presences.say(at(5000));
        assert_eq!(presences.due(), None);
    }

    #[test]
    fn what_was_picked_up_does_not_ring_again_and_a_caller_does_not_ring() {
        for mut presences in [Presences::default(), Presences::answering(false), Presences::answering(true)] {
            presences.set(THERE);
            presences.set(RINGING);
            assert_eq!((presences.ours(), presences.ringing()), (THERE, false));
            presences.alive(3, RINGING, 0);
            assert_eq!((presences.theirs(), presences.news()), (THERE, None));
        }
    }
}
