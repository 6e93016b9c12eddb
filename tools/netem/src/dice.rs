//! Random numbers that are the same in every version and on every machine.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// One stream of random numbers: xoshiro256++ (Blackman and Vigna, 2021), seeded through SplitMix64.
///
/// Numbers become chances and spans by exactly rounded operations alone (sums, products, square roots), so that no
/// platform's mathematics library has a say.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// Stream number `stream` of `seed`. Streams of one seed start 2^192 numbers apart: they never meet.
    pub(crate) fn new(seed: u64, stream: u32) -> Self {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        for _ in 0..stream {
            generator.long_jump();
        }
        Self(generator)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 up to, and without, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// True with the chance `chance`; never if that is no number.
    pub(crate) fn happens(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// From 0 up to, and without, `n`, which must not be 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }
}
