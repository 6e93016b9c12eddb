//! How much earlier or later than usual a packet arrives.

use std::time::Duration;

use crate::dice::Dice;

/// The spread of arrival times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jitter {
    /// All packets take the path's delay exactly.
    #[default]
    None,
    /// Up to so much later, every span as likely as any other.
    Uniform(Duration),
    /// Earlier or later with this standard deviation, as a normal distribution has it, within six of them (it is the sum of
    /// twelve uniform numbers). No packet arrives before it was sent: what would be is moved to that moment.
    Normal(Duration),
    /// Later by this much on average, mostly less, and now and then by far more, as when a mobile link wakes or a radio
    /// repeats: the chance to be later by x or more is `(1 + x / mean)^-2` (a Pareto distribution of the second kind with
    /// shape 2), up to thirty times the mean, which is met once in a thousand packets.
    Pareto(Duration),
}

/// Farthest reach of [`Jitter::Pareto`], in means.
const PARETO_REACH: f64 = 30.0;

impl Jitter {
    /// The next packet's share, in nanoseconds. Draws as many numbers for each packet, whatever they are.
    pub(crate) fn next(self, dice: &mut Dice) -> f64 {
        let nanoseconds = |span: Duration| span.as_nanos() as f64;
        match self {
            Self::None => 0.0,
            Self::Uniform(span) => nanoseconds(span) * dice.unit(),
            Self::Normal(deviation) => nanoseconds(deviation) * ((0..12).map(|_| dice.unit()).sum::<f64>() - 6.0),
            Self::Pareto(mean) => {
                // From 0, without it, to 1.
                let chance = 1.0 - dice.unit();
                nanoseconds(mean) * (1.0 / chance.sqrt() - 1.0).min(PARETO_REACH)
            }
        }
    }
}
