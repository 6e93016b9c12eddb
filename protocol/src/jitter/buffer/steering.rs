//! How play-out goes on: what it takes, passes over and leaves out, so that the delay comes to where it belongs.

use std::time::Instant;

use parlo_tokens::Slot;

use super::{BufferState, JitterBuffer, LeastOf, Pace, SILENCE_BELIEVED, Silence, quality};

/// Delay beyond what is needed that is left alone, microseconds; at least a frame and a quarter, so that leaving one out or
/// putting one in does not call for the opposite.
const TOLERATED: i64 = 25_000;

/// Delay beyond what is needed that is left alone in speech, microseconds: about a period of a voice, which is what is left out at
/// a time there.
const FINE: i64 = 12_000;

/// Delay beyond what is needed that is cut at once, microseconds: one gap is better, and better than speech that hurries
/// for many seconds.
const CUT: i64 = 500_000;

/// How long such a delay is borne while waiting for a pause to cut it in, microseconds.
const CUT_WITHIN: i64 = 1_000_000;

impl<F: Copy> JitterBuffer<F> {
    /// [`TOLERATED`] of frames as long as these.
    fn tolerated(&self) -> i64 {
        TOLERATED.max(self.frame_us + self.frame_us / 4)
    }

    /// Speech began before `number` is due no more, but silence was played in its place: goes back to it, if that is not
    /// too far.
    pub(super) fn go_back(&mut self, number: u64, now: Instant) -> bool {
        let within = self.silence.is_some_and(|silence| number > silence.since);
        // If silence was no longer believed in, it is the sender that was away, and not speech that is late.
        let near = self.dry > 0 || self.delays.offset(number, now) <= self.delays.need().saturating_add(CUT);
        if !within || !near || self.state != BufferState::Playing {
            return false;
        }
        for passed in number..self.next {
            // Those that came, but were too late, had been counted as lost.
            let late = self.held(passed).is_some_and(|slot| quality(&slot) > 1);
            let counts: &mut [&mut u64] =
                if late { &mut [&mut self.stats.lost, &mut self.stats.late] } else { &mut [&mut self.stats.silent] };
            for count in counts {
                **count = count.saturating_sub(1);
            }
        }
        self.next = number;
        self.dry = 0;
        self.resumed = None;
        self.positions = LeastOf::EMPTY;
        true
    }

    /// After a dry spell a number came that the ring has no room for: what lies too far before it was lost.
    pub(super) fn make_room(&mut self, number: u64) {
        let beyond = (number + 1).saturating_sub(self.next + self.ring.len() as u64);
        let passed = beyond.min(self.dry);
        self.newest = self.newest.max(number + 1);
        self.pass(passed);
        self.dry -= passed;
    }

    /// Goes on after a dry spell. What the first frame to come leaves out was lost, and was due while play-out held; its
    /// copies are played only as far as the delay that is aimed at leaves time for them.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.dry == 0 || self.next >= self.newest {
            return;
        }
        let until = self.resumed.unwrap_or(self.newest).max(self.next);
        let mut passed = (until - self.next).min(self.dry);
        let offset = self.delays.offset(self.next, now);
        let due = |passed: u64| offset.saturating_sub((passed as i64).saturating_mul(self.frame_us));
        while passed > 0
            && matches!(self.held(self.next + passed - 1), Some(Slot::Coarse(_)))
            && due(passed - 1) <= self.delays.need().saturating_add(self.tolerated())
        {
            passed -= 1;
        }
        self.pass(passed);
        self.dry = 0;
        self.resumed = None;
    }

    /// Gives up the next frames: concealment, or silence, stood in for them.
    pub(super) fn pass(&mut self, frames: u64) {
        let until = self.next + frames;
        match self.silence {
            Some(_) => {
                self.stats.silent += frames;
                for number in self.next.max(until.saturating_sub(self.ring.len() as u64))..until {
                    self.mark_silent(number);
                }
            }
            None => self.stats.lost += frames,
        }
        self.next = until;
    }

    /// Leaves a mark where a frame passes for silence, should it come after all.
    fn mark_silent(&mut self, number: u64) {
        let place = self.place(number);
        if self.ring[place].is_none_or(|(held, _)| held < number) {
            self.ring[place] = Some((number, Slot::Missing));
        }
    }

    /// Takes the next frame out of the ring. It is counted if it is missing or silent.
    pub(super) fn take_next(&mut self) -> Slot<F> {
        let number = self.next;
        self.next += 1;
        // Left in place: it marks that the frame came.
        match (self.held(number), self.silence) {
            (Some(Slot::Silence(noise)), silence) => {
                let since = silence.map_or(number, |silence| silence.since);
                self.silence = Some(Silence { noise, since, described: number });
                self.stats.silent += 1;
                Slot::Silence(noise)
            }
            (None, Some(Silence { noise, .. })) => {
                self.mark_silent(number);
                self.stats.silent += 1;
                Slot::Silence(noise)
            }
            (None, None) => {
                self.stats.lost += 1;
                Slot::Missing
            }
            (Some(slot), _) => {
                self.silence = None;
                slot
            }
        }
    }

    /// Compares the delay with what is needed. Leaves out frames; says how the next one should be played, and whether one
    /// should be put in before it.
    pub(super) fn steer(&mut self, now: Instant, quiet: bool) -> (Pace, bool) {
        self.since_change = self.since_change.saturating_add(1);
        self.positions.push(self.delays.offset(self.next, now));
        let Some(position) = self.positions.least() else { return (Pace::Normal, false) };
        self.position = position;
        self.since_need += 1;
        if self.since_need >= self.pops(super::NEED_EVERY) {
            self.since_need = 0;
            self.needs.push(self.delays.need().saturating_neg());
        }
        let error = position.saturating_sub(self.delays.need());
        if error <= CUT {
            self.over = 0;
        }
        if error < 0 {
            let missing = self.silence.is_none() && self.held(self.next).is_none() && error <= -self.frame_us;
            let grow = self.silence.is_some() || missing || (quiet && self.since_change > 2);
            if grow {
                self.since_change = 0;
                self.positions = LeastOf::EMPTY;
            }
            return (if grow { Pace::Normal } else { Pace::Slower }, grow);
        }
        if error <= self.tolerated() {
            // Frames have been there for longer than that when they were due (the path has not just become longer), and no more was
            // needed for long: it is not worth it to go back and forth.
            let waits = self.delays.latest().is_some_and(|latest| position.saturating_sub(latest) > FINE);
            let needed = self.needs.full_least().is_some_and(|most| position.saturating_add(most) > FINE);
            let fine = error > FINE && waits && needed && !quiet && self.silence.is_none();
            return (if fine { Pace::Faster } else { Pace::Normal }, false);
        }
        let excess = error.unsigned_abs() / self.frame_us.unsigned_abs();
        if self.silence.is_some() {
            // Nothing is lost by leaving out silence, up to the next frame that is none, and as far as it is believed in.
            let believed = self.newest.saturating_add(SILENCE_BELIEVED).saturating_sub(self.next);
            let most = excess.min(believed).min(self.ring.len() as u64);
            let empty = (0..most).take_while(|n| self.held(self.next + n).is_none()).count();
            self.leave_out(empty as u64);
            return (Pace::Normal, false);
        }
        let spare = self.depths.full_least().map_or(0, |least| least.max(0).unsigned_abs());
        if spare == 0 {
            // Nothing waits that could be played sooner: the path has become longer, and that is not learned yet.
            return (Pace::Normal, false);
        }
        if error > CUT {
            self.over += 1;
            if quiet || self.over >= self.pops(CUT_WITHIN) {
                self.over = 0;
                self.leave_out(excess.min(spare));
                return (Pace::Normal, false);
            }
        }
        if quiet {
            self.leave_out(u64::from(self.since_change > 2));
            return (Pace::Normal, false);
        }
        (Pace::Faster, false)
    }

    fn leave_out(&mut self, frames: u64) {
        for _ in 0..frames {
            if let Slot::Frame(_) | Slot::Coarse(_) = self.take_next() {
                self.stats.skipped += 1;
            }
        }
        if frames > 0 {
            self.since_change = 0;
            let frames = i64::try_from(frames).unwrap_or(i64::MAX);
            let by = frames.saturating_mul(self.frame_us);
            self.positions.lower(by);
            self.position = self.position.saturating_sub(by);
            self.depths.lower(frames);
        }
    }
}
