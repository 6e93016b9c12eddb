use std::fmt;

/// How far a [`FrameSet`] reaches back, in frame numbers: 5.12 s.
pub const WINDOW: u64 = 256;

/// Bits in order of age: of number `newest - n`, bit `n % 64` of word `n / 64`.
type Bits = [u64; (WINDOW / 64) as usize];

/// A set of frame numbers, none [`WINDOW`] or more older than the newest.
///
/// A fixed size and `Copy`, as frames are. Equal sets have equal members, however they came about.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameSet {
    /// The newest member; 0 in the empty set.
    newest: u64,
    /// Bit 0 is set unless the set is empty.
    bits: Bits,
}

impl FrameSet {
    /// The set of no frames.
    pub const EMPTY: Self = Self { newest: 0, bits: [0; 4] };

    /// Adds a number. Those that it leaves [`WINDOW`] or more behind drop out; a number that far behind is not added.
    pub fn insert(&mut self, number: u64) {
        if self.is_empty() || number > self.newest {
            // Of the empty set, whose newest is 0, there are no bits to move.
            self.bits = aged(self.bits, number - self.newest);
            self.newest = number;
        }
        let age = self.newest - number;
        if age < WINDOW {
            self.bits[(age / 64) as usize] |= 1 << (age % 64);
        }
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        self.newest.checked_sub(number).is_some_and(|age| self.has(age))
    }

    fn has(&self, age: u64) -> bool {
        age < WINDOW && self.bits[(age / 64) as usize] >> (age % 64) & 1 == 1
    }

    /// The largest number in the set.
    pub fn newest(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.newest)
    }

    /// The numbers, smallest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = u64> {
        (0..WINDOW).rev().filter(move |&age| self.has(age)).map(move |age| self.newest - age)
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bits == Self::EMPTY.bits
    }

    /// Those of the numbers that a packet which begins with frame `first` can look back upon: from `first - WINDOW` up to,
    /// and not with, `first`.
    pub fn clipped(&self, first: u64) -> Self {
        let Some(before) = first.checked_sub(1) else { return Self::EMPTY };
        if let Some(ahead) = before.checked_sub(self.newest) {
            let kept = aged([u64::MAX; 4], WINDOW.saturating_sub(ahead));
            return Self { newest: self.newest, bits: std::array::from_fn(|n| self.bits[n] & !kept[n]) }.settled();
        }
        Self { newest: before, bits: rejuvenated(self.bits, self.newest - before) }.settled()
    }

    /// Makes the newest number that of a member.
    fn settled(self) -> Self {
        match (0..WINDOW).find(|&age| self.has(age)) {
            Some(age) => Self { newest: self.newest - age, bits: rejuvenated(self.bits, age) },
            None => Self::EMPTY,
        }
    }
}

impl fmt::Debug for FrameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<u64> for FrameSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        numbers.into_iter().fold(Self::EMPTY, |mut set, number| {
            set.insert(number);
            set
        })
    }
}

/// The bits of the same numbers when the newest is `by` larger.
fn aged(bits: Bits, by: u64) -> Bits {
    let (words, rest) = ((by / 64) as usize, (by % 64) as u32);
    let word = |at: Option<usize>| at.map_or(0, |at| bits[at]);
    std::array::from_fn(|n| {
        word(n.checked_sub(words)) << rest | word(n.checked_sub(words + 1)).checked_shr(64 - rest).unwrap_or(0)
    })
}

/// The bits of the same numbers when the newest is `by` smaller; those above it are gone.
fn rejuvenated(bits: Bits, by: u64) -> Bits {
    let (words, rest) = ((by / 64) as usize, (by % 64) as u32);
    let word = |at: usize| bits.get(at).copied().unwrap_or(0);
    std::array::from_fn(|n| word(n + words) >> rest | word(n + words + 1).checked_shl(64 - rest).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    /// The same, by hand: what lies too far behind the newest is left out.
    fn windowed(numbers: &BTreeSet<u64>) -> BTreeSet<u64> {
        let newest = numbers.last().copied().unwrap_or(0);
        numbers.iter().copied().filter(|number| newest - number < WINDOW).collect()
    }

    /// Numbers of which many are within a window, near zero, and some far off.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let number = prop_oneof![8 => 0..700_u64, 1 => any::<u64>(), 1 => u64::MAX - 300..=u64::MAX];
        prop::collection::vec(number, 0..300)
    }

    proptest! {
        #[test]
        fn a_set_is_what_a_tree_says(numbers in numbers(), probe in 0..800_u64) {
            let (mut set, mut tree) = (FrameSet::EMPTY, BTreeSet::new());
            for &number in &numbers {
                set.insert(number);
                tree.insert(number);
                tree = windowed(&tree);
                prop_assert_eq!(set.newest(), tree.last().copied());
                prop_assert_eq!(set.len(), tree.len());
            }
            prop_assert!(set.iter().eq(tree.iter().copied()));
            prop_assert!(set.iter().rev().eq(tree.iter().rev().copied()));
            prop_assert_eq!(set.is_empty(), tree.is_empty());
            prop_assert_eq!(set.contains(probe), tree.contains(&probe));
            prop_assert!(numbers.iter().all(|number| set.contains(*number) == tree.contains(number)));
            prop_assert_eq!(tree.into_iter().collect::<FrameSet>(), set);
        }

        #[test]
        fn clipping_keeps_what_is_in_reach_and_settles(
            numbers in prop::collection::vec(0..700_u64, 0..300), first in 0..1100_u64,
        ) {
            let set: FrameSet = numbers.iter().copied().collect();
            let reach: BTreeSet<u64> = set.iter().filter(|&n| n < first && n + WINDOW >= first).collect();
            let clipped = set.clipped(first);
            prop_assert!(clipped.iter().eq(reach.iter().copied()));
            prop_assert_eq!(reach.into_iter().collect::<FrameSet>(), clipped);
            prop_assert_eq!(clipped.clipped(first), clipped);
        }
    }

    #[test]
    fn the_ends_of_the_window_and_of_the_numbers() {
        let full: FrameSet = (0..1000).collect();
        assert_eq!((full.len(), full.newest(), full.contains(743)), (256, Some(999), false));
        assert_eq!(full.clipped(1000), full);
        assert_eq!(full.clipped(1255).iter().collect::<Vec<_>>(), [999]);
        assert!(full.clipped(1256).is_empty() && full.clipped(744).is_empty() && full.clipped(0).is_empty());
        assert_eq!(full.clipped(745).iter().collect::<Vec<_>>(), [744]);
        assert_eq!(FrameSet::EMPTY.clipped(u64::MAX), FrameSet::EMPTY);
        let ends: FrameSet = [0, u64::MAX].into_iter().collect();
        assert_eq!(ends.iter().collect::<Vec<_>>(), [u64::MAX]);
        assert_eq!(format!("{:?}", [7, 5].into_iter().collect::<FrameSet>()), "{5, 7}");
    }
}
