mod steering;

use std::time::{Duration, Instant};

use parlo_tokens::{ComfortNoise, Slot, TokenFrame};

use super::{Inserted, JitterConfig, JitterStats, Pace, Popped, delays::Delays, window::LeastOf};
use crate::packet::MAX_FRAMES;

/// How many frames in a row may come too late before play-out starts anew: more than one packet's.
const MAX_LATE_RUN: u32 = MAX_FRAMES as u32;

/// How many frames in a row may lie outside the buffer's range before they are believed: more than one packet's, so that
/// a single stray one cannot move the buffer.
const MAX_STRAYS: u32 = 2 * MAX_FRAMES as u32;

/// Pops over which the delay's least value counts: sinks take a few frames at once.
const POSITIONS: usize = 5;

/// Pops over which something must always have waited before play-out hurries: more than one packet's.
const DEPTHS: usize = MAX_FRAMES as usize + 1;

/// How often it is noted what delay is needed, microseconds; and how many such notes count: ten seconds of them.
const NEED_EVERY: i64 = 500_000;
const NEEDS: usize = 20;

/// How long silence goes on without a word of it, frames: longer than two descriptions of it are apart, and less than the
/// smallest capacity.
const SILENCE_BELIEVED: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BufferState {
    /// Nothing has come (since the start, or the restart).
    Idle,
    /// Something has; play-out begins when the delay is as it should be.
    Primed,
    Playing,
}

/// Silence that play-out is in.
#[derive(Debug, Clone, Copy)]
struct Silence {
    noise: ComfortNoise,
    /// Its first frame.
    since: u64,
    /// The frame with which the noise was described.
    described: u64,
}

/// The jitter buffer. `F` is what a frame is coded as. Fixed in size; allocates nothing once built.
#[derive(Debug)]
pub struct JitterBuffer<F: Copy = TokenFrame> {
    frame_us: i64,
    ring: Vec<Option<(u64, Slot<F>)>>,
    delays: Delays,
    state: BufferState,
    /// Number of the frame that is due next.
    next: u64,
    /// Number with which play-out began: what lies before was never due, and so cannot have been lost.
    first: u64,
    /// One more than the highest number that came.
    newest: u64,
    /// Whether any frame ever came.
    begun: bool,
    /// Whether any frame was ever due.
    played_any: bool,
    ended: bool,
    silence: Option<Silence>,
    /// Pops since the buffer ran dry: how many frames may have been lost since.
    dry: u64,
    /// The least number that came since the buffer ran dry, of what is no copy.
    resumed: Option<u64>,
    late_run: u32,
    stray_run: u32,
    /// Offsets of the last frames at play-out, microseconds.
    positions: LeastOf<POSITIONS>,
    /// The least of them, at the last pop.
    position: i64,
    /// How many frames waited after the last pops.
    depths: LeastOf<DEPTHS>,
    /// What was needed of late, negated: looked at twice a second.
    needs: LeastOf<NEEDS>,
    /// Pops since that was looked at.
    since_need: u32,
    /// Pops since a frame was left out or put in.
    since_change: u32,
    /// Pops for which the delay has been beyond all measure.
    over: u32,
    stats: JitterStats,
}

impl<F: Copy> JitterBuffer<F> {
    /// An empty buffer. A capacity below 64 frames counts as 64; delays beyond half the capacity count as that.
    pub fn new(config: JitterConfig) -> Self {
        let capacity = config.capacity.clamp(64, 1 << 16);
        let frame = config.frame.clamp(Duration::from_millis(1), Duration::from_secs(1));
        let longest = frame * (capacity as u32 / 2);
        let config = JitterConfig {
            frame,
            start: config.start.min(longest),
            least: config.least.min(longest),
            most: config.most.min(longest),
            capacity,
        };
        Self {
            frame_us: frame.as_micros() as i64,
            ring: vec![None; capacity],
            delays: Delays::new(&config),
            state: BufferState::Idle,
            next: 0,
            first: 0,
            newest: 0,
            begun: false,
            played_any: false,
            ended: false,
            silence: None,
            dry: 0,
            resumed: None,
            late_run: 0,
            stray_run: 0,
            positions: LeastOf::EMPTY,
            position: 0,
            depths: LeastOf::EMPTY,
            needs: LeastOf::EMPTY,
            since_need: 0,
            since_change: 0,
            over: 0,
            stats: JitterStats::default(),
        }
    }

    /// Puts in what is known of frame `number`, which arrived at `now`; frames that came in one packet with the same `now`.
    /// [`Slot::Silence`] says that from this frame on nobody speaks, until a later frame comes. Better evidence of a frame
    /// that still waits takes the place of worse.
    pub fn insert(&mut self, number: u64, slot: Slot<F>, now: Instant) -> Inserted {
        let capacity = self.ring.len() as u64;
        let quality = quality(&slot);
        if quality == 0 {
            return Inserted::Ignored;
        }
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
            self.drop_waiting();
            self.begin(number);
        }
        self.stray_run = 0;
        let held = self.held(number).map_or(0, |held| self::quality(&held));
        self.delays.arrived(number, quality == 3 && held < 3, quality > 1 && held < 2, now);
        if let Slot::Silence(noise) = slot
            && number < self.next
            && let Some(silence) = &mut self.silence
            && number > silence.described
        {
            // Of silence it is never too late to be told.
            *silence = Silence { noise, described: number, ..*silence };
            return Inserted::Late;
        }
        if held >= quality {
            self.stats.duplicates += 1;
            return Inserted::Duplicate;
        }
        if number < self.next {
            // Before play-out begins, frames that were overtaken on the way are still in time.
            let in_time = !self.played_any && self.state != BufferState::Playing && self.newest - number <= capacity;
            if in_time {
                self.next = number;
            } else if quality == 1 || !self.go_back(number, now) {
                return self.overdue(number, slot, held);
            }
        }
        if self.dry > 0 {
            self.make_room(number);
            if quality != 2 {
                self.resumed = Some(self.resumed.map_or(number, |least| least.min(number)));
            }
        }
        let place = self.place(number);
        self.ring[place] = Some((number, slot));
        self.late_run = 0;
        self.newest = self.newest.max(number + 1);
        if self.state == BufferState::Idle {
            self.state = BufferState::Primed;
        }
        Inserted::Queued
    }

    /// Takes what is due. To be called once for every frame that the sink plays. `quiet`: what was played last was silence
    /// or background, so that it is not heard if a frame is left out, or put in, here.
    pub fn pop(&mut self, now: Instant, quiet: bool) -> Popped<F> {
        self.delays.settle(now);
        match self.state {
            BufferState::Idle if self.ended => return Popped::Ended,
            BufferState::Idle => return Popped::Waiting,
            BufferState::Primed if self.delays.offset(self.next, now) < self.delays.need() => return Popped::Waiting,
            BufferState::Primed => self.play(),
            BufferState::Playing => {}
        }
        self.resume(now);
        if self.ended && self.next >= self.newest {
            return Popped::Ended;
        }
        let (pace, grow) = self.steer(now, quiet || self.silence.is_some());
        let number = self.next;
        let held = self.held(number);
        if let Some(silence) = self.silence
            && (grow || (held.is_none() && number >= self.newest.saturating_add(SILENCE_BELIEVED)))
        {
            if !grow {
                self.dry = self.dry.saturating_add(1);
            }
            return Popped::Slot { number, slot: Slot::Silence(silence.noise), pace: Pace::Normal };
        }
        if grow || (number >= self.newest && self.silence.is_none()) {
            if !grow {
                self.dry = self.dry.saturating_add(1);
                self.depths.push(0);
            }
            self.positions = LeastOf::EMPTY;
            self.stats.held += 1;
            return Popped::Hold;
        }
        let slot = self.take_next();
        self.depths.push(i64::try_from(self.depth()).unwrap_or(i64::MAX));
        let pace = match slot {
            Slot::Frame(_) => {
                self.stats.played += 1;
                pace
            }
            Slot::Coarse(_) => {
                self.stats.coarse += 1;
                pace
            }
            _ => Pace::Normal,
        };
        match pace {
            Pace::Normal => {}
            Pace::Faster => self.stats.faster += 1,
            Pace::Slower => self.stats.slower += 1,
        }
        Popped::Slot { number, slot, pace }
    }

    /// The peer sends nothing more; what has come is still played. If the number of frames that it sent in all is known,
    /// those that never came count as lost.
    pub fn end(&mut self, total: Option<u64>) {
        self.ended = true;
        if let Some(total) = total
            && self.begun
            && total > self.newest
            && total - self.newest < self.ring.len() as u64
        {
            // What was due while play-out held has been made up for already.
            let passed = (total - self.newest).min(if self.next >= self.newest { self.dry } else { 0 });
            self.newest = total;
            self.pass(passed);
            self.dry = 0;
        }
    }

    /// The first frame after `number`, and at most `reach` numbers on, that waits to be played: codecs whose packets tell
    /// something of those before look there.
    pub fn after(&self, number: u64, reach: u64) -> Option<(u64, F)> {
        let last = number.saturating_add(reach).min(self.newest.saturating_sub(1));
        let capacity = self.ring.len() as u64;
        (number.saturating_add(1)..=last).find_map(|number| match self.ring[(number % capacity) as usize] {
            Some((there, Slot::Frame(frame))) if there == number => Some((number, frame)),
            _ => None,
        })
    }

    /// Counts so far.
    pub fn stats(&self) -> &JitterStats {
        &self.stats
    }

    /// The delay of play-out now: how much later frames are played than the fastest path would have let them come by
    /// themselves. 0 before play-out begins.
    pub fn delay(&self) -> Duration {
        if self.state == BufferState::Playing { self.delays.delay(self.position) } else { Duration::ZERO }
    }

    /// The delay that the buffer aims at. As much as a frame more is left alone.
    pub fn target(&self) -> Duration {
        self.delays.delay(self.delays.need())
    }

    /// So long a time, in pops.
    fn pops(&self, us: i64) -> u32 {
        u32::try_from((us / self.frame_us).max(1)).unwrap_or(u32::MAX)
    }

    /// Frames between the one due next and the newest.
    fn depth(&self) -> u64 {
        self.newest.saturating_sub(self.next)
    }

    fn place(&self, number: u64) -> usize {
        (number % self.ring.len() as u64) as usize
    }

    /// What came of a frame, whether it was played or not.
    fn held(&self, number: u64) -> Option<Slot<F>> {
        self.entry(number).filter(|slot| !matches!(slot, Slot::Missing))
    }

    /// What the ring has of a frame: what came of it, or [`Slot::Missing`] where it passed for silence.
    fn entry(&self, number: u64) -> Option<Slot<F>> {
        self.ring[self.place(number)].filter(|(held, _)| *held == number).map(|(_, slot)| slot)
    }

    fn begin(&mut self, number: u64) {
        self.begun = true;
        // Nothing of an earlier stream may pass for this one's.
        self.ring.fill(None);
        self.delays.reset();
        self.next = number;
        self.first = number;
        self.newest = number;
        self.state = BufferState::Idle;
        self.silence = None;
        self.dry = 0;
        self.resumed = None;
        self.late_run = 0;
    }

    fn play(&mut self) {
        self.state = BufferState::Playing;
        if !self.played_any {
            self.first = self.next;
        }
        self.played_any = true;
        self.dry = 0;
        self.resumed = None;
        self.late_run = 0;
        self.over = 0;
        self.positions = LeastOf::EMPTY;
        self.depths = LeastOf::EMPTY;
    }

    /// A frame came whose turn is over.
    fn overdue(&mut self, number: u64, slot: Slot<F>, held: u8) -> Inserted {
        if matches!(slot, Slot::Silence(_)) {
            return Inserted::Late;
        }
        let place = self.place(number);
        if held > 1 || self.ring[place].is_some_and(|(held, _)| held > number) {
            // A copy of it was played, or a later frame sits in its place, so that it cannot be told whether it was played.
            self.stats.duplicates += 1;
            return Inserted::Duplicate;
        }
        let silent = self.entry(number).is_some();
        // A passed frame stays in its place as a mark that it came, until another takes the place.
        self.ring[place] = Some((number, slot));
        if silent {
            // It passed for silence.
            self.stats.silent = self.stats.silent.saturating_sub(1);
            self.stats.lost += 1;
        }
        if number >= self.first {
            self.stats.late += 1;
        }
        self.late_run += 1;
        if self.late_run > MAX_LATE_RUN {
            // Frames keep coming, and each is too late: wait for one that is not, and start with it.
            self.late_run = 0;
            self.stats.restarts += 1;
            self.drop_waiting();
            self.silence = None;
            self.state = BufferState::Idle;
        }
        Inserted::Late
    }

    /// Gives up everything that waits.
    fn drop_waiting(&mut self) {
        self.stats.lost += self.depth();
        self.next = self.next.max(self.newest);
    }
}

/// How good evidence is: 3 for the frame itself, 2 for a copy, 1 for silence, 0 for none.
fn quality<F>(slot: &Slot<F>) -> u8 {
    match slot {
        Slot::Frame(_) => 3,
        Slot::Coarse(_) => 2,
        Slot::Silence(_) => 1,
        Slot::Missing => 0,
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
