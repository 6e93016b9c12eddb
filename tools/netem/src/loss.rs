//! Which packets are lost: a function of their order alone, so that the same packets are lost whenever they are sent.

use crate::dice::Dice;

/// How packets are lost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Loss {
    /// None is.
    #[default]
    None,
    /// Each with this chance, 0 to 1, whatever becomes of the others. Losses then come in runs of 1 / (1 - chance) on
    /// average.
    Random(f64),
    /// A path that changes between good and bad (Gilbert 1960, Elliott 1963); all chances 0 to 1. The first packet meets
    /// it in a state drawn as they are met in the long run.
    GilbertElliott {
        /// Chance, at each packet in the good state, to go over to the bad one.
        enter: f64,
        /// Chance, at each packet in the bad state, to go back.
        leave: f64,
        /// Chance of a packet to be lost in the good state.
        in_good: f64,
        /// Chance of a packet to be lost in the bad state.
        in_bad: f64,
    },
}

impl Loss {
    /// Losses in runs: `rate` of all packets (from 0 up to, and without, 1), in runs of `burst` packets on average (1 or more).
    /// `None` if no such process exists: runs must be at least `rate / (1 - rate)` long, for at least one packet arrives
    /// between two.
    pub fn bursts(rate: f64, burst: f64) -> Option<Self> {
        let enter = rate / (burst * (1.0 - rate));
        let possible = (0.0..1.0).contains(&rate) && burst.is_finite() && burst >= 1.0 && (0.0..=1.0).contains(&enter);
        possible.then_some(Self::GilbertElliott { enter, leave: 1.0 / burst, in_good: 0.0, in_bad: 1.0 })
    }

    /// The part of all packets that is lost in the long run, 0 to 1.
    pub fn rate(&self) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Random(chance) => chance,
            Self::GilbertElliott { enter, leave, in_good, in_bad } => {
                let bad = bad_share(enter, leave);
                bad * in_bad + (1.0 - bad) * in_good
            }
        }
    }
}

/// The part of all packets that meet the bad state.
fn bad_share(enter: f64, leave: f64) -> f64 {
    if enter > 0.0 { enter / (enter + leave) } else { 0.0 }
}

/// Decides, packet by packet.
#[derive(Debug)]
pub(crate) struct LossProcess {
    loss: Loss,
    dice: Dice,
    bad: bool,
}

impl LossProcess {
    pub(crate) fn new(loss: Loss, mut dice: Dice) -> Self {
        let bad = match loss {
            Loss::GilbertElliott { enter, leave, .. } => dice.happens(bad_share(enter, leave)),
            _ => false,
        };
        Self { loss, dice, bad }
    }

    /// Whether the next packet is lost.
    pub(crate) fn next(&mut self) -> bool {
        match self.loss {
            Loss::None => false,
            Loss::Random(chance) => self.dice.happens(chance),
            Loss::GilbertElliott { enter, leave, in_good, in_bad } => {
                let lost = self.dice.happens(if self.bad { in_bad } else { in_good });
                let changes = self.dice.happens(if self.bad { leave } else { enter });
                self.bad ^= changes;
                lost
            }
        }
    }
}
