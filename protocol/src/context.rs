//! How two peers agree upon frames that both hold, so that the payload of a packet may build upon earlier packets and yet
//! decode whatever is lost.
//!
//! A packet builds only upon frames that the receiver has said it holds. The receiver of media says so in [`FrameAck`]s, each
//! of which stands for a set of frames; a media packet names the report, in four bits, whose set it builds upon. Payloads do
//! not tell a wrong set from the right one, so the two sides must never mean different sets by one name:
//!
//! 1. *A reference is of age.* A packet with first frame *f* may name a report only if the report's newest frame lies in
//!    `f - 256 .. f`: `in_reach`, on both sides.
//! 2. *Namesakes are far apart.* The newest frames of a receiver's reports are 18 numbers (`APART`) apart or more, and the 15
//!    numbers go round: so those of reports with one number are at least 256 apart. Of all reports with one number, ever, at
//!    most one is in reach of a given *f*.
//! 3. The receiver looks only at the number's last report. It was made no earlier than the report that the sender meant.
//!    Were it another, then by 2 its newest frame would not come before *f*, and by 1 the packet is refused. Nothing in this
//!    depends on when, in what order, or how often a packet comes, nor on which reports have come at all.
//! 4. *Both sides make the set of the same bytes*, in `FrameAck::frames`: of what the report says, and of the set of the
//!    report that it builds upon. Of that one, too, the newest frame must lie less than 256 before the report's own. The
//!    sender looks at the last report it took with the number in question: if that is in reach it is, by 2, the one meant,
//!    and if not, the report is ignored. By induction the two sides' sets are equal.
//!
//! Numbers on the wire are the lower 16 bits of frame numbers. They are understood if no datagram is on its way for longer
//! than 32768 frames (11 minutes; RFC 9293 section 3.4.2 takes two for the most that a datagram lives), which media packets
//! need in any case. It does no harm if the two sides count in multiples of 65536 apart, as only differences matter.
//!
//! None of this is proof against forgery: that is for the authentication to come.

use std::time::{Duration, Instant};

use parlo_tokens::{FrameSet, WINDOW};

use crate::ack::{FrameAck, MAX_BACK, NUMBERS};

/// How often a receiver reports, unless it has nothing new: every 24 frames, where rule 2 asks for 18.
pub const REPORT_EVERY: Duration = Duration::from_millis(480);

/// How far apart the newest frames of two reports must be: so many that the window lies between two with one number.
const APART: u64 = WINDOW.div_ceil(NUMBERS);

/// How many frame numbers, back from the newest decoded, a receiver must keep the frames of. A packet that comes late, a
/// window behind, may look a window back from there. (A sender needs the last [`WINDOW`].)
pub const RECEIVER_KEEPS: u64 = 2 * WINDOW;

/// The sets of the last reports, by number less one; empty where there is none.
type Sets = [FrameSet; NUMBERS as usize];

/// Whether a packet that begins with frame `first` may build upon the set.
fn in_reach(set: &FrameSet, first: u64) -> bool {
    set.newest().is_some_and(|newest| newest < first && first - newest <= WINDOW)
}

/// What a packet builds upon, for the one who makes its payload. It belongs to one packet: it names its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    first: u64,
    reference: u8,
    frames: FrameSet,
}

impl Context {
    /// A packet that builds upon no other.
    pub const fn alone(first: u64) -> Self {
        Self { first, reference: 0, frames: FrameSet::EMPTY }
    }

    /// Number of the packet's first frame.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The report that the packet names; 0 for none.
    pub fn reference(&self) -> u8 {
        self.reference
    }

    /// The frames that its payload may be conditioned upon, all before the first; none if it stands alone.
    pub fn frames(&self) -> &FrameSet {
        &self.frames
    }
}

/// The side that receives media, and reports.
#[derive(Debug)]
pub struct AckSender {
    every: Duration,
    due: Option<Instant>,
    decoded: FrameSet,
    /// Reports made so far. Report *n*, from 0, has number `n % 15 + 1`.
    made: u64,
    sets: Sets,
    /// The newest report that the sender is known to have taken, for it has named it.
    taken: Option<u64>,
}

impl AckSender {
    /// A receiver that reports this often.
    pub fn new(every: Duration) -> Self {
        Self { every, due: None, decoded: FrameSet::EMPTY, made: 0, sets: Sets::default(), taken: None }
    }

    /// The frames that the packet with first frame `first` builds upon, where `reference` is what it names; none if that is
    /// 0. `None` if the reference is to nothing known, or the packet comes later than anything is kept: then it is lost.
    pub fn resolve(&mut self, first: u64, reference: u8) -> Option<FrameSet> {
        // What comes later than this would look back farther than frames are kept, or take the place of newer ones.
        if self.decoded.newest().is_some_and(|newest| newest >= first.saturating_add(WINDOW)) {
            return None;
        }
        let Some(slot) = reference.checked_sub(1) else { return Some(FrameSet::EMPTY) };
        let set = self.sets.get(usize::from(slot)).filter(|set| in_reach(set, first))?;
        let last = self.made.saturating_sub(1);
        let ack = last.saturating_sub((last + NUMBERS - u64::from(slot)) % NUMBERS);
        self.taken = self.taken.max(Some(ack));
        Some(set.clipped(first))
    }

    /// Frames were decoded, and will be kept: they may be reported.
    pub fn decoded(&mut self, first: u64, count: usize) {
        for number in first..first.saturating_add(count as u64) {
            self.decoded.insert(number);
        }
    }

    /// A report to be sent with the packet that is about to be, if one is due and there is something to say.
    pub fn ack(&mut self, now: Instant) -> Option<FrameAck> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        let newest = self.decoded.newest()?;
        let set_of = |ack: u64| &self.sets[(ack % NUMBERS) as usize];
        if set_of(self.made + NUMBERS - 1).newest().is_some_and(|last| newest < last.saturating_add(APART)) {
            return None;
        }
        let number = (self.made % NUMBERS) as u8 + 1;
        let (ack, base) = self
            .taken
            .filter(|&taken| self.made - taken <= MAX_BACK)
            .and_then(|taken| {
                let back = (self.made - taken) as u8;
                Some((FrameAck::new(number, &self.decoded, Some((back, set_of(taken).newest()?)))?, *set_of(taken)))
            })
            .or_else(|| Some((FrameAck::new(number, &self.decoded, None)?, FrameSet::EMPTY)))?;
        self.sets[(self.made % NUMBERS) as usize] = ack.frames(newest, base)?;
        self.made += 1;
        // In step with the clock, unless the step was missed by a whole one.
        let due = self.due.unwrap_or(now) + self.every;
        self.due = Some(if due > now { due } else { now + self.every });
        Some(ack)
    }
}

/// The side that sends media, and builds upon what was reported.
#[derive(Debug, Default)]
pub struct AckReceiver {
    sent: FrameSet,
    /// Of the reports taken.
    sets: Sets,
    /// Number of the newest of them, less one.
    newest: usize,
}

impl AckReceiver {
    /// Number of the last frame sent, if any was.
    pub fn last_sent(&self) -> Option<u64> {
        self.sent.newest()
    }

    /// Frames were sent. Their numbers must be larger than those before.
    pub fn sent(&mut self, first: u64, count: usize) {
        for number in first..first.saturating_add(count as u64) {
            self.sent.insert(number);
        }
    }

    /// What the packet that begins with frame `first` should build upon.
    pub fn context(&self, first: u64) -> Context {
        let set = &self.sets[self.newest];
        if in_reach(set, first) {
            Context { first, reference: self.newest as u8 + 1, frames: set.clipped(first) }
        } else {
            Context::alone(first)
        }
    }

    /// Whether this is what [`context`](Self::context) gave out, and no namesake of its report has come since.
    pub fn admits(&self, context: &Context) -> bool {
        match usize::from(context.reference).checked_sub(1) {
            None => context.frames.is_empty(),
            Some(slot) => self
                .sets
                .get(slot)
                .is_some_and(|set| in_reach(set, context.first) && set.clipped(context.first) == context.frames),
        }
    }

    /// Takes a report, and tells whether contexts build upon it from now on. Reports that are old, that build upon one which
    /// is not known (any more), or that name frames which were never sent, are ignored.
    pub fn take(&mut self, ack: &FrameAck) -> bool {
        let Some((newest, set)) = self.read(ack) else { return false };
        debug_assert_eq!(set.newest(), Some(newest));
        self.newest = usize::from(ack.number()) - 1;
        self.sets[self.newest] = set;
        true
    }

    fn read(&self, ack: &FrameAck) -> Option<(u64, FrameSet)> {
        let last = self.sent.newest()?;
        let newest = last.checked_sub(u64::from((last as u16).wrapping_sub(ack.newest())))?;
        if last - newest >= WINDOW || self.sets[self.newest].newest().is_some_and(|taken| taken >= newest) {
            return None;
        }
        let base = match ack.base() {
            Some(number) => self.sets[usize::from(number) - 1],
            None => FrameSet::EMPTY,
        };
        // An unknown base, and one that is out of reach, do not pass here.
        let set = ack.frames(newest, base)?;
        // What lies before this window no packet to come can look back upon.
        let plausible = set.clipped(last.saturating_add(1)).iter().all(|number| self.sent.contains(number));
        plausible.then_some((newest, set))
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
