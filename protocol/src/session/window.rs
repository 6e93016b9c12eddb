//! Which numbers have come already (RFC 6479, without its shifting).

/// The numbers accepted among the last `64 * (WORDS - 1)`, back from the highest. `WORDS` is a power of two. One word less
/// than there are, as the newest word's place was the oldest's, and what it knew is gone.
#[derive(Debug, Clone)]
pub(super) struct Window<const WORDS: usize> {
    /// Bit *n* of the ring is the number that is *n* modulo its size.
    ring: Box<[u64; WORDS]>,
    highest: Option<u64>,
}

impl<const WORDS: usize> Window<WORDS> {
    /// How many numbers it looks back, the highest among them.
    pub(super) const SIZE: u64 = 64 * (WORDS as u64 - 1);

    pub(super) fn new() -> Self {
        const { assert!(WORDS.is_power_of_two()) };
        Self { ring: Box::new([0; WORDS]), highest: None }
    }

    /// The highest number accepted.
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether the number has not been accepted, as far as is remembered. What is too old counts as accepted.
    pub(super) fn is_new(&self, number: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if number > highest => true,
            Some(highest) if highest - number >= Self::SIZE => false,
            Some(_) => self.ring[Self::word(number)] & Self::bit(number) == 0,
        }
    }

    /// Notes a number that [is new](Self::is_new).
    pub(super) fn accept(&mut self, number: u64) {
        match self.highest {
            Some(highest) if number > highest => {
                // Numbers skipped over have not come: the words that they lie in are stale.
                let (from, to) = (highest / 64 + 1, number / 64);
                if to.saturating_sub(from) >= WORDS as u64 {
                    self.ring.fill(0);
                } else {
                    for word in from..=to {
                        self.ring[Self::word(word * 64)] = 0;
                    }
                }
                self.highest = Some(number);
            }
            None => self.highest = Some(number),
            Some(_) => {}
        }
        self.ring[Self::word(number)] |= Self::bit(number);
    }

    fn word(number: u64) -> usize {
        (number / 64) as usize & (WORDS - 1)
    }

    fn bit(number: u64) -> u64 {
        1 << (number % 64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn check(numbers: &[u64]) -> Result<(), TestCaseError> {
        let mut window = Window::<4>::new();
        let mut seen = BTreeSet::new();
        for &number in numbers {
            let newest = seen.last().copied().unwrap_or(0);
            let expected = number > newest || newest - number < 192 && !seen.contains(&number);
            prop_assert_eq!(window.is_new(number), expected || seen.is_empty(), "{} after {}", number, newest);
            if window.is_new(number) {
                window.accept(number);
                seen.insert(number);
            }
            prop_assert!(!window.is_new(number));
            prop_assert_eq!(window.highest(), seen.last().copied());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_twice(steps in prop::collection::vec((0..400_u64, 0..3_u8), 1..300)) {
            let mut at = 1000_u64;
            let numbers: Vec<u64> = steps
                .iter()
                .map(|&(step, kind)| match kind {
                    0 => { at += step; at }
                    1 => { at += step % 3; at }
                    _ => at.saturating_sub(step),
                })
                .collect();
            check(&numbers)?;
        }
    }

    #[test]
    fn far_jumps_and_the_ends_are_well() {
        check(&[
            0,
            0,
            1,
            191,
            192,
            193,
            0,
            1,
            2,
            10_000,
            9_809,
            9_808,
            u64::MAX,
            u64::MAX,
            u64::MAX - 191,
            u64::MAX - 192,
        ])
        .unwrap();
    }
}
