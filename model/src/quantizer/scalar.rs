//! Finite scalar quantization: each value of the latent to one of a few, all of them numbered together.

use std::sync::Arc;

use parlo_tokens::TokenFrame;

/// Keeps the outermost values within reach of the hyperbolic tangent (Mentzer et al., appendix A.1).
const MARGIN: f32 = 1e-3;

/// A grid. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    axes: Arc<[Axis]>,
}

/// How one value is quantized: appendix A.1 of the paper, worked out beforehand.
#[derive(Debug)]
struct Axis {
    /// The largest digit: one less than there are levels.
    last: u16,
    /// Half the number of levels, rounded down: the digit of the value 0.
    middle: u16,
    /// The tangent is made so large,
    half: f32,
    /// its argument moved by so much, so that 0 stays 0,
    shift: f32,
    /// and it by so much, where there is an even number of levels.
    offset: f32,
}

impl Scalar {
    /// Of two levels or more for each value, whose product is 65536 at most.
    pub(crate) fn new(levels: &[u32]) -> Self {
        let axis = |&levels: &u32| {
            let half = (levels as f32 - 1.0) * (1.0 + MARGIN) / 2.0;
            let offset = if levels % 2 == 0 { 0.5 } else { 0.0 };
            let last = u16::try_from(levels - 1).unwrap_or(u16::MAX);
            Axis { last, middle: last.div_ceil(2), half, shift: (offset / half).atanh(), offset }
        };
        Self { axes: levels.iter().map(axis).collect() }
    }

    pub(crate) fn dimension(&self) -> usize {
        self.axes.len()
    }

    /// The code of a latent, and the squared distance between the latent and what the code stands for.
    pub(crate) fn find(&self, latent: &[f32]) -> (TokenFrame, f32) {
        let (mut code, mut weight, mut error) = (0_u32, 1_u32, 0.0);
        for (axis, &value) in self.axes.iter().zip(latent) {
            let digit = axis.digit(value);
            code += weight * u32::from(digit);
            weight *= u32::from(axis.last) + 1;
            let left = value - axis.value(digit);
            error += left * left;
        }
        (super::single(u16::try_from(code).unwrap_or(u16::MAX)), error)
    }

    /// Writes the point that the frame's code names.
    pub(crate) fn sum(&self, frame: &TokenFrame, latent: &mut [f32]) {
        let mut code = u32::from(frame.codes()[0]);
        for (axis, value) in self.axes.iter().zip(latent) {
            let count = u32::from(axis.last) + 1;
            *value = axis.value((code % count) as u16);
            code /= count;
        }
    }
}

impl Axis {
    /// Which of the values, counted from the lowest.
    fn digit(&self, value: f32) -> u16 {
        let bounded = (value + self.shift).tanh() * self.half - self.offset;
        let digit = bounded.round_ties_even() + f32::from(self.middle);
        digit.clamp(0.0, f32::from(self.last)) as u16
    }

    fn value(&self, digit: u16) -> f32 {
        (f32::from(digit) - f32::from(self.middle)) / f32::from(self.middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The paper's listing, term by term, in double precision.
    fn by_the_paper(levels: &[u32], latent: &[f32]) -> (u32, Vec<f64>) {
        let (mut code, mut weight, mut values) = (0, 1, Vec::new());
        for (&levels, &z) in levels.iter().zip(latent) {
            let half_l = (f64::from(levels) - 1.0) * (1.0 + 1e-3) / 2.0;
            let offset = if levels % 2 == 1 { 0.0 } else { 0.5 };
            let bounded = (f64::from(z) + (offset / half_l).atanh()).tanh() * half_l - offset;
            let half_width = f64::from(levels / 2);
            let quantized = bounded.round_ties_even();
            values.push(quantized / half_width);
            code += (quantized + half_width) as u32 * weight;
            weight *= levels;
        }
        (code, values)
    }

    #[test]
    fn every_code_stands_for_a_point_that_is_its_own() {
        for levels in [&[8, 5, 5, 5][..], &[2], &[3, 2, 7], &[4, 4, 4]] {
            let scalar = Scalar::new(levels);
            let mut seen = Vec::new();
            for code in 0..levels.iter().product::<u32>() {
                let mut point = vec![9.0; levels.len()];
                scalar.sum(&super::super::single(code as u16), &mut point);
                assert!(point.iter().all(|value| (-1.0..=1.0).contains(value)), "{levels:?} {code}: {point:?}");
                assert!(!seen.contains(&point));
                // The first value's level is the least significant digit.
                let digit = (point[0] * (levels[0] / 2) as f32 + (levels[0] / 2) as f32).round() as u32;
                assert_eq!(digit, code % levels[0]);
                seen.push(point);
            }
        }
    }

    #[test]
    fn the_largest_grid_has_65536_points() {
        for levels in [&[65536][..], &[256, 256], &[16; 4]] {
            let scalar = Scalar::new(levels);
            assert_eq!(scalar.find(&vec![100.0; levels.len()]).0.codes(), [65535]);
            assert_eq!(scalar.find(&vec![-100.0; levels.len()]).0.codes(), [0]);
            let mut point = vec![0.0; levels.len()];
            scalar.sum(&super::super::single(0), &mut point);
            assert!(point.iter().all(|&value| value == -1.0));
        }
    }

    proptest! {
        #[test]
        fn codes_are_those_of_the_paper(
            levels in prop::collection::vec(2_u32..=9, 1..=5), latent in prop::collection::vec(-4.0_f32..4.0, 5),
        ) {
            let scalar = Scalar::new(&levels);
            let latent = &latent[..levels.len()];
            let (frame, _) = scalar.find(latent);
            let (code, values) = by_the_paper(&levels, latent);
            // Where a value lies between two to the last bit, single precision may see it elsewhere.
            prop_assume!(latent.iter().zip(&scalar.axes[..]).all(|(&value, axis)| {
                let bounded = (value + axis.shift).tanh() * axis.half - axis.offset;
                ((bounded - bounded.floor()) - 0.5).abs() > 1e-4
            }));
            prop_assert_eq!(u32::from(frame.codes()[0]), code);
            let mut point = vec![0.0; levels.len()];
            scalar.sum(&frame, &mut point);
            prop_assert!(point.iter().zip(&values).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6));
        }
    }
}
