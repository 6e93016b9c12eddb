//! Attention: means of memories' values, weighed by how well their keys fit a query.

use super::{
    arithmetic::{clamp8, exp2, rounded},
    kernel::{Lanes, for_each_kernel, products},
    kv_cache::{CHUNKS, Chunk, KvCache, View},
    matrix::ROWS,
    weights::{Layer, Weights},
};

/// The score of a slot that may not be looked at: others are above -2^28, and 2^12 already weighs nothing.
const FAR: i32 = -(1 << 30);
/// Weights are exponentials less these bits: up to 2^15.
const LESS: u32 = 7;

/// The memories that a frame looks at, and scratch memory.
pub(super) struct Attention {
    number: u64,
    chunks: Vec<Chunk>,
    /// [chunks, heads].
    scores: Vec<[i32; ROWS]>,
    /// [chunks, heads]: weights, negative, as 256 times these
    high: Vec<[i8; ROWS]>,
    /// plus these.
    low: Vec<[i8; ROWS]>,
    /// The largest score of each head, and the sum of its weights.
    most: Vec<i32>,
    totals: Vec<i32>,
    /// Sums of values times `high`, and times `low`: `[width]`.
    of_high: Vec<i32>,
    of_low: Vec<i32>,
}

impl Attention {
    pub(super) fn new(weights: &Weights) -> Self {
        let (width, heads) = (weights.width, weights.heads);
        let places = 2 * CHUNKS * heads;
        Self {
            number: 0,
            chunks: Vec::with_capacity(2 * CHUNKS),
            scores: vec![[0; ROWS]; places],
            high: vec![[0; ROWS]; places],
            low: vec![[0; ROWS]; places],
            most: vec![0; heads],
            totals: vec![0; heads],
            of_high: vec![0; width],
            of_low: vec![0; width],
        }
    }

    /// Takes note of what is to be looked at from now on.
    pub(super) fn look(&mut self, view: &View) {
        self.number = view.number();
        self.chunks.clear();
        self.chunks.extend(view.chunks());
    }

    /// Writes what each head attends to with its part of the query, in half the steps of the values, to `mixed`.
    pub(super) fn attend(
        &mut self,
        lanes: Lanes,
        weights: &Weights,
        at: usize,
        [before, own]: [&KvCache; 2],
        query: &[i8],
        mixed: &mut [i8],
    ) {
        let (layer, table, heads) = (&weights.layers[at], &weights.curves.exp2, weights.heads);
        let cache = |chunk: &Chunk| if chunk.own { own } else { before };
        let places = self.chunks.len() * heads;
        let scores = &mut self.scores[..places];
        scores.fill([0; ROWS]);
        for (chunk, scores) in self.chunks.iter().zip(scores.chunks_exact_mut(heads)) {
            products(lanes, cache(chunk).keys(at, chunk.at), query, scores.as_flattened_mut(), heads);
        }
        self.most.copy_from_slice(&layer.nothing);
        score(lanes, scores, &self.chunks, self.number, layer, &mut self.most);
        for ((total, &most), &nothing) in self.totals.iter_mut().zip(&self.most).zip(&layer.nothing) {
            *total = exp2(table, most - nothing) >> LESS;
        }
        weigh(lanes, scores, &self.most, table, &mut self.high, &mut self.low, &mut self.totals);
        self.of_high.fill(0);
        self.of_low.fill(0);
        let digits = self.high.chunks_exact(heads).zip(self.low.chunks_exact(heads));
        for (chunk, (high, low)) in self.chunks.iter().zip(digits) {
            let values = cache(chunk).values(at, chunk.at);
            products(lanes, values, high.as_flattened(), &mut self.of_high, heads);
            products(lanes, values, low.as_flattened(), &mut self.of_low, heads);
        }
        let part = weights.width / heads;
        let sums = self.of_high.chunks_exact(part).zip(self.of_low.chunks_exact(part));
        for ((mixed, (high, low)), &total) in mixed.chunks_exact_mut(part).zip(sums).zip(&self.totals) {
            let total = i64::from(total);
            for ((mixed, &high), &low) in mixed.iter_mut().zip(high).zip(low) {
                // At most 256 memories with weights up to 2^15 and values up to 127: below 2^30.
                let sum = -(256 * i64::from(high) + i64::from(low));
                // No weight of all is zero: that of the largest score is 2^15.
                *mixed = clamp8((4 * sum + total).div_euclid(2 * total) as i32);
            }
        }
    }
}

for_each_kernel! {
    /// Makes scores of products, and finds the largest of each head.
    fn score(scores: &mut [[i32; ROWS]], chunks: &[Chunk], number: u64, layer: &Layer, most: &mut [i32]) {
        for (chunk, scores) in chunks.iter().zip(scores.chunks_exact_mut(most.len())) {
            // All ones where the slot may not be looked at.
            let absent: [i32; ROWS] = std::array::from_fn(|slot| i32::from(chunk.present >> slot & 1) - 1);
            for (head, (scores, most)) in scores.iter_mut().zip(&mut *most).enumerate() {
                let distances = layer.distances(head, chunk.at * ROWS, number);
                for ((score, &distance), &absent) in scores.iter_mut().zip(distances).zip(&absent) {
                    let made = rounded(i64::from(*score) * i64::from(layer.score)) + distance;
                    *score = made & !absent | FAR & absent;
                }
                *most = scores.iter().copied().fold(*most, i32::max);
            }
        }
    }
}

for_each_kernel! {
    /// Makes weights of scores, in two digits of eight bits, and adds them to each head's total.
    fn weigh(
        scores: &[[i32; ROWS]],
        most: &[i32],
        table: &[i32; 256],
        high: &mut [[i8; ROWS]],
        low: &mut [[i8; ROWS]],
        totals: &mut [i32],
    ) {
        let heads = most.len();
        let digits = high.chunks_exact_mut(heads).zip(low.chunks_exact_mut(heads));
        for (scores, (high, low)) in scores.chunks_exact(heads).zip(digits) {
            for (head, scores) in scores.iter().enumerate() {
                let mut weights = [0; ROWS];
                for (weight, &score) in weights.iter_mut().zip(scores) {
                    *weight = exp2(table, most[head] - score) >> LESS;
                }
                totals[head] += weights.iter().sum::<i32>();
                for ((&weight, high), low) in weights.iter().zip(&mut high[head]).zip(&mut low[head]) {
                    // -2^15..=0: as positive, 2^15 would have a digit of 128.
                    *low = (-weight) as i8;
                    *high = ((-weight - i32::from(*low)) >> 8) as i8;
                }
            }
        }
    }
}
