/// Width of a bucket, microseconds.
const BUCKET: i64 = 5_000;

/// How many buckets there are: 10 s.
const BUCKETS: usize = 2048;

/// How often which delay was seen, the old ones less.
///
/// Delays are absolute numbers of microseconds, of which only a range of 10 s is told apart; it follows the least one.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    weights: Box<[f32; BUCKETS]>,
    /// Number of the first bucket: it holds what lies in it and below.
    first: i64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { weights: Box::new([0.0; BUCKETS]), first: 0 }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.weights.fill(0.0);
    }

    /// Multiplies all weights by `keep`, and gives `delay` a weight.
    pub(super) fn add(&mut self, delay: i64, keep: f32, weight: f32) {
        for value in self.weights.iter_mut() {
            *value *= keep;
        }
        let bucket = delay.div_euclid(BUCKET);
        if bucket < self.first {
            self.lower(bucket);
        }
        let index = (bucket - self.first).min(BUCKETS as i64 - 1) as usize;
        self.weights[index] += weight;
    }

    /// Lets the range begin at `least` if that is far above its beginning (a few seconds above, it may be that all is held up
    /// for a moment); what lies below counts as that.
    pub(super) fn follow(&mut self, least: i64) {
        let bucket = least.div_euclid(BUCKET);
        let shift = usize::try_from(bucket.saturating_sub(self.first)).unwrap_or(0);
        if shift > BUCKETS / 2 {
            let shift = shift.min(BUCKETS);
            let below: f32 = self.weights[..shift].iter().sum();
            self.weights.copy_within(shift.., 0);
            self.weights[BUCKETS - shift..].fill(0.0);
            self.weights[0] += below;
            self.first = bucket;
        }
    }

    /// The least delay (a bucket's upper end) such that at most the share `above` of the weight lies above it. `None` if
    /// nothing was seen.
    pub(super) fn exceeded_by(&self, above: f32) -> Option<i64> {
        let total: f32 = self.weights.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let mut seen = 0.0;
        let last = self.weights.iter().rposition(|weight| {
            seen += weight;
            seen > above * total
        })?;
        Some((self.first + last as i64 + 1).saturating_mul(BUCKET))
    }

    /// Lets the range begin with an earlier bucket; what no longer fits counts as the last one.
    fn lower(&mut self, bucket: i64) {
        let shift = usize::try_from(self.first - bucket).unwrap_or(BUCKETS).min(BUCKETS);
        let over: f32 = self.weights[BUCKETS - shift..].iter().sum();
        self.weights.copy_within(..BUCKETS - shift, shift);
        self.weights[..shift].fill(0.0);
        self.weights[BUCKETS - 1] += over;
        self.first = bucket;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_of_the_weight_lies_above_and_the_old_is_forgotten() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.exceeded_by(0.05), None);
        for n in 0..100 {
            histogram.add(n * 5_000, 1.0, 1.0);
        }
        assert_eq!(histogram.exceeded_by(0.055), Some(95 * 5_000));
        assert_eq!(histogram.exceeded_by(0.0), Some(100 * 5_000));
        for _ in 0..400 {
            histogram.add(10_000, 0.99, 1.0);
        }
        assert_eq!(histogram.exceeded_by(0.05), Some(15_000));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_wherever_the_range_goes(moves in prop::collection::vec((-20_000_000_i64..20_000_000, any::<bool>()), 1..50)) {
            let mut histogram = Histogram::new();
            let mut added = 0.0;
            for (delay, add) in moves {
                if add {
                    histogram.add(delay, 1.0, 1.0);
                    added += 1.0;
                } else {
                    histogram.follow(delay);
                }
                prop_assert_eq!(histogram.weights.iter().sum::<f32>(), added);
            }
        }
    }
}
