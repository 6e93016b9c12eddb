//! What a sender does about the path: how fast it may send, and what it sends at that rate.
//!
//! [`Rate`] follows the delay-based part of Google's congestion control (draft-ietf-rmcat-gcc-02), in bits of the wire: IP and
//! UDP headers included. Why that one, of those there are: RFC 8298 (SCReAM) counts bytes in flight, which are one or two
//! packets here; RFC 8698 (NADA) steers a rate by tens of milliseconds of queue, and a single packet of ours takes 75 ms on a
//! link of 8 kbit/s. GCC's rule, "the queue grows, so the link carries just what arrives", finds such a link in one step.
//! A step that the queue does not answer to is undone: where a path has become longer, or others fill it, a voice that yields
//! gains nothing.
//!
//! [`Choice`] weighs what fits: depth, bundling, and copies against loss, for the least damage to what is heard.

mod choice;
mod rate;

pub use choice::{Choice, Costs, Limits, Plan};
pub use rate::Rate;

use std::time::Duration;

use crate::feedback::PathNews;

/// Packets over which loss is averaged.
const LOSS_PACKETS: f64 = 40.0;

/// Loss that is assumed before anything is known: enough that first words are copied. It weighs as much as so many packets, and
/// is forgotten within three seconds.
const LOSS_ASSUMED: f64 = 0.03;
const ASSUMED_PACKETS: f64 = 5.0;

/// Chooses what to send by what the receiver tells.
#[derive(Debug)]
pub struct Adapter {
    rate: Rate,
    choice: Choice,
    loss: f64,
    /// Packets that it is known of.
    seen: f64,
    adapts: bool,
}

impl Adapter {
    /// Begins with less than the limits' own plan, until the path is known. One that does not adapt stays with that plan.
    /// `round_trip` is how long the path's first took.
    pub fn new(limits: Limits, costs: Costs, adapts: bool, round_trip: Duration) -> Self {
        let mut choice = Choice::new(limits, costs);
        let rate = Rate::new(choice.most_bits(), limits.bits, round_trip);
        if adapts {
            choice.choose(rate.target(), LOSS_ASSUMED, false);
        }
        Self { rate, choice, loss: LOSS_ASSUMED, seen: 0.0, adapts }
    }

    /// Changes the limits; what is known of the path stays.
    pub fn set_limits(&mut self, limits: Limits, adapts: bool) {
        self.adapts = adapts;
        self.choice.set_limits(limits);
        self.rate.set_most(self.choice.most_bits(), limits.bits);
        if adapts {
            self.choice.choose(self.rate.target(), self.loss, self.rate.is_thin());
        }
    }

    /// Takes the news of the path.
    pub fn take(&mut self, news: &PathNews) {
        if news.sent > 0 {
            let sent = news.sent as f64;
            self.seen += sent;
            let window = (self.seen + ASSUMED_PACKETS).min(LOSS_PACKETS);
            self.loss += (sent / window).min(1.0) * (news.lost as f64 / sent - self.loss);
        }
        self.rate.take(news, self.loss, self.choice.packet_excess());
        if self.adapts {
            self.choice.choose(self.rate.target(), self.loss, self.rate.is_thin());
        }
    }

    /// A packet was coded: so many payload bytes of the present plan's frames and copies.
    pub fn coded(&mut self, plan: &Plan, frames: usize, payload: usize) {
        self.choice.coded(plan, frames, payload);
    }

    /// What to send now.
    pub fn plan(&self) -> Plan {
        self.choice.plan()
    }

    /// The rate that the path is thought to carry, bits per second with all headers.
    pub fn target(&self) -> f64 {
        self.rate.target()
    }

    /// Share of packets lost lately.
    pub fn loss(&self) -> f64 {
        self.loss
    }
}

#[cfg(test)]
mod tests;
