use std::time::Duration;

use parlo_tokens::{Slot, TokenFrame};

/// How a jitter buffer shall be.
///
/// Delays are those of play-out: how much later a frame is played than the fastest path would have let it come by itself, as
/// soon as it was captured. So the time that the first frame of a packet waits for the last one, at the sender, is in
/// them: 40 ms with packets of three frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterConfig {
    /// Length of a frame.
    pub frame: Duration,
    /// The delay to begin with, before anything is known of the path.
    pub start: Duration,
    /// The least delay that is aimed at.
    pub least: Duration,
    /// The most delay that is aimed at.
    pub most: Duration,
    /// Frames that there is room for.
    pub capacity: usize,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self {
            frame: Duration::from_millis(20),
            start: Duration::from_millis(80),
            least: Duration::from_millis(10),
            most: Duration::from_millis(800),
            capacity: 128,
        }
    }
}

/// What became of a frame that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It waits to be played, perhaps in place of a worse copy.
    Queued,
    /// It, or better, is there already, or was.
    Duplicate,
    /// It was due before.
    Late,
    /// Its number is far from all others; it was dropped.
    Stray,
    /// It was no evidence of anything: a missing frame.
    Ignored,
}

/// What the player should do with a frame's length, so that the delay comes to where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Play it as it is.
    Normal,
    /// Shorten it: too much waits.
    Faster,
    /// Stretch it: too little waits.
    Slower,
}

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Popped<F = TokenFrame> {
    /// Nothing has begun yet: silence.
    Waiting,
    /// This frame, or what is known of it.
    Slot {
        /// Its number. Numbers grow, with two exceptions, both in silence: one comes again where silence is made longer, and
        /// play-out goes back where speech begins later than it was due.
        number: u64,
        /// What came of it. Silence goes on with the last noise that was described.
        slot: Slot<F>,
        /// How it should be played. Other than [`Pace::Normal`] only for [`Slot::Frame`] and [`Slot::Coarse`].
        pace: Pace,
    },
    /// Nothing is there, but may only be late, or more delay is needed: conceal, without giving a frame up.
    Hold,
    /// The peer has ended, and everything that came was played.
    Ended,
}

/// Counts since the buffer was made. Of all frames from the first that was due, each is in exactly one of `played`,
/// `coarse`, `lost`, `silent` and `skipped`, or still waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Played as the sender coded them.
    pub played: u64,
    /// Played from a coarse copy out of a later packet.
    pub coarse: u64,
    /// Not there when they were due.
    pub lost: u64,
    /// Nobody spoke.
    pub silent: u64,
    /// Of those lost, how many came after all.
    pub late: u64,
    /// Left out to bring the delay down.
    pub skipped: u64,
    /// Of those played, from a copy or not, how many with [`Pace::Faster`].
    pub faster: u64,
    /// The same with [`Pace::Slower`].
    pub slower: u64,
    /// Came more than once.
    pub duplicates: u64,
    /// Dropped for a number far from all others.
    pub strays: u64,
    /// Times that play-out held. No frame is given up by this.
    pub held: u64,
    /// Times that play-out started anew because the path or the sender had changed.
    pub restarts: u64,
}
