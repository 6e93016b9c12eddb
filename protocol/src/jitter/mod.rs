//! An adaptive jitter buffer: frames come when they like, and leave when they are due.
//!
//! What it does follows NetEQ, the jitter buffer of WebRTC, with the measures below taken from clocks' readings that come
//! in as arguments; no clock is read here.
//!
//! * **How long to wait** is learned: for each packet, how late its oldest frame is, compared with the fastest of the last
//!   two seconds, goes into a histogram that forgets. The delay aimed at is the one with which nearly all frames would have
//!   been there. A frame that comes first as a copy out of a later packet counts with the delay of that copy: where more
//!   than one packet in twenty is lost, the delay grows by itself to wait for copies, and shrinks when loss ends.
//! * **Getting there**: in silence and in background noise, whole frames are left out or put in; in speech, [`Pace`] asks
//!   the player to stretch or to shorten frames. More than half a second too much is cut at once, after a second at most.
//!   Delay that only grows is the fault that users of such programs complain of most.
//! * **Nothing there at all**, not even a later frame: play-out holds, for it cannot be told yet whether speech is lost or
//!   only late. The next frame's number tells: frames that it leaves out were lost, and the holds stood in for them; without
//!   a gap the speech was late, and goes on at once.
//! * **Silence** goes on until a later frame comes. If that one comes later than it was due, play-out goes back to it: a
//!   longer pause is not heard, a word without its beginning is.
//! * **Frames that come too late for long**: the path has grown much longer, and play-out starts anew.

mod buffer;
mod delays;
mod histogram;
mod types;
mod window;

pub use buffer::JitterBuffer;
pub use types::{Inserted, JitterConfig, JitterStats, Pace, Popped};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_tests;
