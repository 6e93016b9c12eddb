//! The elements of the arithmetic: integers alone, so that all machines agree.

use super::kernel::for_each_kernel;

/// The exponential and the activation, as the model's file has them.
pub(super) struct Curves {
    /// 2^22 x 2^(-n/256): from 2^22 at 0, never below 2^21.
    pub(super) exp2: [i32; 256],
    /// Of -128..127, in steps of 1/16: GELU, in the same steps, -127..127.
    pub(super) gelu: [i8; 256],
}

impl Curves {
    /// Writes the activation of each value.
    pub(super) fn activate(&self, values: &[i32], out: &mut [i8]) {
        for (out, &value) in out.iter_mut().zip(values) {
            *out = self.gelu[usize::from(clamp8(value).cast_unsigned() ^ 128)];
        }
    }
}

/// Brought into -127..127.
#[inline(always)]
pub(super) fn clamp8(value: i32) -> i8 {
    value.clamp(-127, 127) as i8
}

/// Writes each value brought into -127..127.
pub(super) fn clamp8_each(values: &[i32], out: &mut [i8]) {
    out.iter_mut().zip(values).for_each(|(out, &value)| *out = clamp8(value));
}

/// A product whose factor has 24 fractional bits, rounded. Loading sees to it that none goes beyond 2^26.
#[inline(always)]
pub(super) fn rounded(product: i64) -> i32 {
    ((product + (1 << 23)) >> 24) as i32
}

/// 2 to the -`down`/256 in units of 2^-22; from 2^-23 on 0. `down` is not negative.
#[inline(always)]
pub(super) fn exp2(table: &[i32; 256], down: i32) -> i32 {
    // Of a number below 2^23, 23 shifts leave nothing.
    table[(down & 255) as usize] >> (down >> 8).min(31)
}

for_each_kernel! {
    /// Multiplies each sum by its multiplier.
    fn scale(sums: &mut [i32], multipliers: &[i32]) {
        for (sum, &multiplier) in sums.iter_mut().zip(multipliers) {
            *sum = rounded(i64::from(*sum) * i64::from(multiplier));
        }
    }
}

for_each_kernel! {
    /// Adds each sum times its multiplier to `wide`.
    fn add_scaled(wide: &mut [i64], sums: &[i32], multipliers: &[i32]) {
        for ((wide, &sum), &multiplier) in wide.iter_mut().zip(sums).zip(multipliers) {
            *wide += i64::from(sum) * i64::from(multiplier);
        }
    }
}

for_each_kernel! {
    /// Scales a vector to a root mean square that `norm` says: of n values, sqrt(n) x 256 x that, below 2^18.
    ///
    /// With S the sum of squares of at most 2^11 numbers below 2^23, so below 2^57, of b bits: S << 2 shift has 61 or 62
    /// bits, its root 31, and the inverse 2^61 / root lies above 2^30 and up to 2^31. The factor, below 2^33, times a
    /// value is below 2^56.
    fn normalise(values: &[i32], norm: i32, out: &mut [i8]) {
        const MOST: i32 = (1 << 23) - 1;
        let power: u64 = values.iter().map(|&value| i64::from(value.clamp(-MOST, MOST)).pow(2).cast_unsigned()).sum();
        if power == 0 {
            return out.fill(0);
        }
        let shift = power.leading_zeros().saturating_sub(2) / 2;
        let root = (power << (2 * shift)).isqrt();
        let factor = (i64::from(norm) * ((1_u64 << 61) / root).cast_signed()) >> 16;
        let down = 53 - shift;
        for (out, &value) in out.iter_mut().zip(values) {
            let scaled = (i64::from(value.clamp(-MOST, MOST)) * factor + (1 << (down - 1))) >> down;
            *out = scaled.clamp(-127, 127) as i8;
        }
    }
}

for_each_kernel! {
    /// Logits of products: each times one factor, plus the bias. Returns the largest.
    fn finish_logits(products: &mut [i32], factor: i32, bias: &[i16]) -> i32 {
        let mut most = i32::MIN;
        for (product, &bias) in products.iter_mut().zip(bias) {
            *product = rounded(i64::from(*product) * i64::from(factor)) + i32::from(bias);
            most = most.max(*product);
        }
        most
    }
}

for_each_kernel! {
    /// Takes each logit, in 256ths of an octave, to its weight relative to that of `most`, the largest.
    fn weigh(logits: &mut [i32], most: i32, table: &[i32; 256]) {
        for logit in logits {
            *logit = exp2(table, most - *logit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::kernel::{Kernel, Lanes};
    use proptest::prelude::*;

    fn lanes() -> impl Iterator<Item = Lanes> {
        Kernel::ALL.into_iter().filter_map(Lanes::new)
    }

    proptest! {
        #[test]
        fn norms_are_what_floats_say(
            values in prop::collection::vec(any::<i32>(), 16..200), shift in 0_u32..32, norm in 1..1 << 18,
        ) {
            let values: Vec<i32> = values.iter().map(|value| value >> shift).collect();
            let most = f64::from((1 << 23) - 1);
            let clamped: Vec<f64> = values.iter().map(|&value| f64::from(value).clamp(-most, most)).collect();
            let length = clamped.iter().map(|value| value * value).sum::<f64>().sqrt();
            for lanes in lanes() {
                let mut out = vec![1; values.len()];
                normalise(lanes, &values, norm, &mut out);
                for (&out, value) in out.iter().zip(&clamped) {
                    let wanted = if length == 0.0 { 0.0 } else { value / length * f64::from(norm) / 256.0 };
                    prop_assert!((f64::from(out) - wanted.clamp(-127.0, 127.0)).abs() < 0.5 + 1e-3);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_a_norm() {
        for lanes in lanes() {
            let mut out = vec![1; 2048];
            normalise(lanes, &[0; 2048], (1 << 18) - 1, &mut out);
            assert!(out.iter().all(|&value| value == 0));
            normalise(lanes, &[i32::MIN; 2048], (1 << 18) - 1, &mut out);
            assert!(out.iter().all(|&value| value == -23)); // 1024 / sqrt(2048), rounded
            let mut one = [0; 16];
            one[3] = -1;
            normalise(lanes, &one, (1 << 18) - 1, &mut out[..16]);
            assert_eq!((out[2], out[3]), (0, -127));
        }
    }

    #[test]
    fn an_exponential_ends_in_nothing() {
        let table = std::array::from_fn(|n| (4_194_304.0 * (-(n as f64) / 256.0).exp2()).round() as i32);
        let value = |down| exp2(&table, down);
        assert_eq!([value(0), value(256), value(22 * 256), value(22 * 256 + 1)], [1 << 22, 1 << 21, 1, 0]);
        assert_eq!([value(23 * 256), value(i32::MAX)], [0, 0]);
    }
}
