//! Shares of codes: what the range coder takes.

use super::range::TOTAL;

/// How probable each code of a book is, as a share of 2^24.
///
/// A code's interval begins at its number plus as much of the rest, 2^24 less the number of codes, as the weights of the
/// codes before it have of all weights. So no code's share is less than one, and any two of the bounds, rather than all,
/// need a division.
#[derive(Debug, Clone, Copy)]
pub struct Prediction<'a> {
    /// Sums of the weights of codes before each, and of all: up to 2^16 x 2^22.
    sums: &'a [u64],
}

/// Writes sums of weights, from 0 to that of all, to `sums`, which is longer by one.
pub(super) fn accumulate(weights: impl IntoIterator<Item = i32>, sums: &mut [u64]) {
    let mut sum = 0;
    let Some((first, rest)) = sums.split_first_mut() else { return };
    *first = 0;
    for (out, weight) in rest.iter_mut().zip(weights) {
        sum += u64::from(weight.unsigned_abs());
        *out = sum;
    }
}

impl<'a> Prediction<'a> {
    /// The sums are as [`accumulate`] makes them, of two codes or more, and not all weights are zero.
    pub(super) fn new(sums: &'a [u64]) -> Self {
        Self { sums }
    }

    /// Codes in the book.
    pub fn codes(&self) -> usize {
        self.sums.len() - 1
    }

    /// Each code's share of 2^24, from 1 up.
    pub fn frequencies(&self) -> impl Iterator<Item = u32> {
        (0..self.codes()).map(|code| self.low(code + 1) - self.low(code))
    }

    /// The most probable code; of equals the first.
    pub fn likeliest(&self) -> u16 {
        let weight = |code: usize| self.sums[code + 1] - self.sums[code];
        let best = (1..self.codes()).fold(0, |best, code| if weight(code) > weight(best) { code } else { best });
        // A book has at most 2^16 codes.
        best as u16
    }

    /// A code's interval: where it begins and how long it is. `code` is one of the book's.
    pub(super) fn interval(&self, code: usize) -> (u32, u32) {
        let low = self.low(code);
        (low, self.low(code + 1) - low)
    }

    /// The code whose interval holds this number below 2^24.
    pub(super) fn find(&self, quantile: u32) -> usize {
        // low(first) <= quantile < low(beyond)
        let (mut first, mut beyond) = (0, self.codes());
        while beyond - first > 1 {
            let middle = first.midpoint(beyond);
            if self.low(middle) <= quantile { first = middle } else { beyond = middle }
        }
        first
    }

    fn low(&self, code: usize) -> u32 {
        let all = self.sums[self.codes()].max(1);
        // The product is at most 2^38 x 2^24; the quotient at most its second factor.
        let rest = u64::from(TOTAL) - self.codes() as u64;
        (code as u64 + self.sums[code] * rest / all) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn intervals_part_the_whole(
            weights in prop::collection::vec(prop_oneof![Just(0), 0..=1 << 22, Just(1 << 22)], 1..2000), at: usize,
        ) {
            let mut weights = weights;
            weights.push(1 << 22);
            let mut sums = vec![7; weights.len() + 1];
            accumulate(weights.iter().copied(), &mut sums);
            let prediction = Prediction::new(&sums);
            let mut end = 0;
            for code in 0..weights.len() {
                let (low, frequency) = prediction.interval(code);
                prop_assert_eq!(low, end);
                prop_assert!(frequency >= 1);
                prop_assert_eq!(prediction.find(low), code);
                prop_assert_eq!(prediction.find(low + frequency - 1), code);
                end = low + frequency;
            }
            prop_assert_eq!(end, TOTAL);
            prop_assert!(prediction.frequencies().eq((0..weights.len()).map(|code| prediction.interval(code).1)));
            let likeliest = usize::from(prediction.likeliest());
            prop_assert_eq!(weights.iter().position(|&weight| weight == 1 << 22), Some(likeliest));
            let code = at % weights.len();
            let share = f64::from(weights[code]) / weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
            let frequency = f64::from(prediction.interval(code).1);
            let rest = f64::from(TOTAL) - weights.len() as f64;
            prop_assert!((frequency - 1.0 - share * rest).abs() <= 1.0);
        }
    }
}
