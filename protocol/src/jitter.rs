//! The jitter buffer: frames come when they like, and leave when they are due.
//!
//! Play-out starts a target delay after the first arrival, and then moves on by one frame with every
//! [`pop`](JitterBuffer::pop): the sink's clock drives it. Three things keep the delay where it belongs, without a look at
//! any clock:
//!
//! * Nothing there at all, not even a later frame: play-out holds, for it cannot be told yet whether speech is lost or only
//!   late. The next frame's number tells: frames that it leaves out were lost, and the holds stood in for them; without a
//!   gap the speech was late, and goes on at once. This absorbs a slower sender clock, a path that has grown longer, and a
//!   sender that paused.
//! * More than the target there all the time: single frames are skipped, the more the larger the excess, and an excess of
//!   half a second is cut at once. This absorbs a faster sender clock, and the rush after a burst. Delay that only grows is
//!   the fault that users of such programs complain of most.
//! * Frames that come too late for long: the path has grown much longer, and play-out starts anew.
//!
//! A fixed target is the first version; NetEQ's histogram of delays is to follow.

use std::time::{Duration, Instant};

use parlo_tokens::{Slot, TokenFrame};

use crate::packet::MAX_FRAMES;

/// How many frames in a row may come too late before play-out starts anew: more than one packet's.
const MAX_LATE_RUN: u32 = MAX_FRAMES as u32;

/// How many frames in a row may lie outside the buffer's range before they are believed: more than one packet's, so that
/// a single stray one cannot move the buffer.
const MAX_STRAYS: u32 = 2 * MAX_FRAMES as u32;

/// Pops over which the least depth is taken before it is acted upon: half a second, longer than the longest packet, so
/// that frames which come bundled do not look like an excess.
const WINDOW: u32 = 25;

/// An excess below this many frames is left alone.
const TOLERATED_EXCESS: u64 = 2;

/// An excess from here on is cut at once: half a second of delay is worse than one gap, and than speech that hurries for
/// many seconds.
const CUT_EXCESS: u64 = 25;

/// The most frames skipped in one window. With at least two played between, speech stays speech.
const MAX_SKIPS: u64 = 8;

/// How a jitter buffer shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterConfig {
    /// Length of a frame.
    pub frame: Duration,
    /// Delay between a packet's arrival and the play-out of its first frame.
    pub target: Duration,
    /// Frames that there is room for.
    pub capacity: usize,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self { frame: Duration::from_millis(20), target: Duration::from_millis(40), capacity: 128 }
    }
}

/// What became of a frame that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It waits to be played.
    Queued,
    /// It is there already, or was.
    Duplicate,
    /// It was due before.
    Late,
    /// Its number is far from all others; it was dropped.
    Stray,
}

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Popped {
    /// Nothing has begun yet: silence.
    Waiting,
    /// This frame, or what is known of it.
    Slot {
        /// Its number.
        number: u64,
        /// Its tokens, if they came.
        slot: Slot,
    },
    /// Nothing is there, but may only be late: conceal, without giving a frame up.
    Hold,
    /// The peer has ended, and everything that came was played.
    Ended,
}

/// Counts since the buffer was made. Of all frames up to the newest that came, each is in exactly one of `played`, `lost`
/// and `skipped`, or still waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Played as they came.
    pub played: u64,
    /// Not there when they were due.
    pub lost: u64,
    /// Of those lost, how many came after all.
    pub late: u64,
    /// Left out to bring the delay down.
    pub skipped: u64,
    /// Came more than once.
    pub duplicates: u64,
    /// Dropped for a number far from all others.
    pub strays: u64,
    /// Times that play-out held.
    pub held: u64,
    /// Times that play-out started anew because the path had changed.
    pub restarts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come (since the start, or the restart).
    Idle,
    /// Something has; play-out begins at this time.
    Primed(Instant),
    Playing,
}

/// The buffer. Fixed in size; allocates nothing once built.
#[derive(Debug)]
pub struct JitterBuffer {
    config: JitterConfig,
    target_frames: u64,
    ring: Vec<Option<(u64, TokenFrame)>>,
    state: State,
    /// Number of the frame that is due next.
    next: u64,
    /// Number with which play-out began: what lies before was never due, and so cannot have been lost.
    first: u64,
    /// One more than the highest number that came.
    newest: u64,
    /// Whether any frame ever came.
    begun: bool,
    ended: bool,
    /// Pops since the buffer ran dry: how many frames may have been lost since.
    dry: u64,
    late_run: u32,
    stray_run: u32,
    window: u32,
    least: u64,
    skips: u64,
    since_skip: u32,
    stats: JitterStats,
}

impl JitterBuffer {
    /// An empty buffer. A capacity below 32 frames counts as 32; a target beyond half the capacity counts as that.
    pub fn new(config: JitterConfig) -> Self {
        let capacity = config.capacity.clamp(32, 1 << 16);
        let frame = config.frame.max(Duration::from_millis(1));
        let target_frames = (config.target.as_nanos() / frame.as_nanos()).min(capacity as u128 / 2) as u64;
        let target = config.target.min(frame * (capacity as u32 / 2));
        Self {
            config: JitterConfig { frame, target, capacity },
            target_frames,
            ring: vec![None; capacity],
            state: State::Idle,
            next: 0,
            first: 0,
            newest: 0,
            begun: false,
            ended: false,
            dry: 0,
            late_run: 0,
            stray_run: 0,
            window: 0,
            least: u64::MAX,
            skips: 0,
            since_skip: 0,
            stats: JitterStats::default(),
        }
    }

    /// Puts in frame `number`, which arrived at `now`.
    pub fn insert(&mut self, number: u64, frame: TokenFrame, now: Instant) -> Inserted {
        let capacity = self.config.capacity as u64;
        if number >= u64::MAX - 2 * capacity {
            // No call lasts so long, and sums with such a number would overflow.
            self.stats.strays += 1;
            return Inserted::Stray;
        }
        if !self.begun {
            self.begin(number);
        } else if number >= self.next.saturating_add(capacity).saturating_add(self.dry)
            || number.saturating_add(capacity) < self.next
        {
            self.stats.strays += 1;
            self.stray_run += 1;
            if self.stray_run <= MAX_STRAYS {
                return Inserted::Stray;
            }
            // So many cannot be noise: the sender has started anew, or a long time has passed.
            self.stats.restarts += 1;
            self.stats.strays -= 1;
            self.stats.lost += self.drop_waiting();
            self.begin(number);
        }
        self.stray_run = 0;
        // Before play-out begins, frames that were overtaken on the way are still in time.
        if number < self.next && self.first_of_all(number) {
            self.next = number;
        }
        if number < self.next {
            return self.overdue(number);
        }
        self.settle(number);
        let slot = &mut self.ring[(number % capacity) as usize];
        if slot.is_some_and(|(held, _)| held == number) {
            self.stats.duplicates += 1;
            return Inserted::Duplicate;
        }
        *slot = Some((number, frame));
        self.late_run = 0;
        self.advance_newest(number);
        if self.state == State::Idle {
            self.state = State::Primed(now + self.config.target);
        }
        Inserted::Queued
    }

    /// Takes what is due. To be called once for every frame that the sink plays.
    pub fn pop(&mut self, now: Instant) -> Popped {
        match self.state {
            State::Idle if self.ended => return Popped::Ended,
            State::Idle => return Popped::Waiting,
            State::Primed(start) if now < start => return Popped::Waiting,
            State::Primed(_) => self.play(),
            State::Playing => {}
        }
        self.skip_excess();
        if self.next >= self.newest {
            if self.ended {
                return Popped::Ended;
            }
            self.least = 0;
            self.dry = self.dry.saturating_add(1);
            self.stats.held += 1;
            return Popped::Hold;
        }
        let number = self.next;
        let slot = self.take_next();
        if let Slot::Frame(_) = slot {
            self.stats.played += 1;
        }
        self.least = self.least.min(self.depth());
        Popped::Slot { number, slot }
    }

    /// The peer sends nothing more; what has come is still played. If the number of frames that it sent in all is known,
    /// those that never came count as lost.
    pub fn end(&mut self, total: Option<u64>) {
        self.ended = true;
        if let Some(total) = total
            && self.begun
            && total > self.newest
            && total - self.newest < self.config.capacity as u64
        {
            self.settle(total);
            self.advance_newest(total - 1);
        }
    }

    /// Counts so far.
    pub fn stats(&self) -> &JitterStats {
        &self.stats
    }

    /// How much speech waits now.
    pub fn delay(&self) -> Duration {
        self.config.frame * u32::try_from(self.depth()).unwrap_or(u32::MAX)
    }

    /// The delay that the buffer aims at.
    pub fn target(&self) -> Duration {
        self.config.target
    }

    /// Frames between the one due next and the newest.
    fn depth(&self) -> u64 {
        self.newest.saturating_sub(self.next)
    }

    fn begin(&mut self, number: u64) {
        self.begun = true;
        // Nothing of an earlier stream may pass for this one's.
        self.ring.fill(None);
        self.next = number;
        self.first = number;
        self.newest = number;
        self.dry = 0;
        self.state = State::Idle;
        self.late_run = 0;
    }

    fn play(&mut self) {
        self.state = State::Playing;
        self.first = self.first.min(self.next);
        self.dry = 0;
        self.late_run = 0;
        self.skips = 0;
        self.window = 0;
        self.least = u64::MAX;
    }

    /// Whether nothing was played yet, and the frame lies before those that came, but fits the ring with them.
    fn first_of_all(&self, number: u64) -> bool {
        let untouched = self.stats.played + self.stats.lost + self.stats.skipped == 0;
        untouched && self.state != State::Playing && self.newest - number <= self.config.capacity as u64
    }

    /// The first frame after a dry spell has this number: what it leaves out was lost, and was due while play-out held.
    fn settle(&mut self, number: u64) {
        if self.dry > 0 && number >= self.newest {
            let lost = (number - self.newest).min(self.dry);
            self.stats.lost += lost;
            self.next = self.newest + lost;
            self.newest = self.next;
            self.dry = 0;
        }
    }

    /// Moves `newest` past `number`.
    fn advance_newest(&mut self, number: u64) {
        self.newest = self.newest.max(number + 1);
    }

    /// A frame came whose turn is over.
    fn overdue(&mut self, number: u64) -> Inserted {
        let capacity = self.config.capacity as u64;
        let slot = &mut self.ring[(number % capacity) as usize];
        // A passed frame stays in its place as a mark that it came, until another takes the place.
        if slot.is_some_and(|(held, _)| held == number) {
            self.stats.duplicates += 1;
            return Inserted::Duplicate;
        }
        match slot {
            Some((held, _)) if *held > number => {
                // A later frame sits there, so that it cannot be told whether this one was played. It counts as a copy.
                self.stats.duplicates += 1;
                return Inserted::Duplicate;
            }
            _ => {}
        }
        if let Ok(mark) = TokenFrame::new(&[0]) {
            *slot = Some((number, mark));
        }
        if number >= self.first {
            self.stats.late += 1;
        }
        self.late_run += 1;
        if self.late_run > MAX_LATE_RUN {
            // Frames keep coming, and each is too late: wait for one that is not, and start with it.
            self.late_run = 0;
            self.stats.restarts += 1;
            self.stats.lost += self.drop_waiting();
            self.state = State::Idle;
        }
        Inserted::Late
    }

    /// Gives up everything that waits; how many frames that is.
    fn drop_waiting(&mut self) -> u64 {
        let dropped = self.depth();
        self.next = self.next.max(self.newest);
        dropped
    }

    /// Takes the next frame out of the ring, or counts it as lost if it is known that it should have come.
    fn take_next(&mut self) -> Slot {
        let number = self.next;
        self.next += 1;
        let slot = &self.ring[(number % self.config.capacity as u64) as usize];
        match slot {
            // Left in place: it marks that the frame came.
            Some((held, frame)) if *held == number => Slot::Frame(*frame),
            _ => {
                if number < self.newest {
                    self.stats.lost += 1;
                }
                Slot::Missing
            }
        }
    }

    /// Leaves out a frame if too many have been waiting all through the last window.
    fn skip_excess(&mut self) {
        self.since_skip = self.since_skip.saturating_add(1);
        self.window += 1;
        if self.window > WINDOW {
            let excess = self.least.saturating_sub(self.target_frames);
            self.skips =
                if self.least == u64::MAX || excess < TOLERATED_EXCESS { 0 } else { excess.div_ceil(4).min(MAX_SKIPS) };
            if self.least != u64::MAX && excess >= CUT_EXCESS {
                self.skips = 0;
                for _ in 0..excess {
                    self.skip_one();
                }
            }
            self.window = 1;
            self.least = u64::MAX;
        }
        if self.skips > 0 && self.since_skip >= 3 && self.depth() > self.target_frames + 1 {
            self.skips -= 1;
            self.since_skip = 0;
            self.skip_one();
        }
    }

    fn skip_one(&mut self) {
        if let Slot::Frame(_) = self.take_next() {
            self.stats.skipped += 1;
        }
    }
}

#[cfg(test)]
#[path = "jitter_tests.rs"]
mod tests;
