//! Binary spherical quantization: the corner of a cube that is nearest to the latent, all of which lie on a sphere.

use parlo_tokens::TokenFrame;

/// A cube whose corners are at a distance of 1 from its middle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binary {
    dimension: usize,
    /// How far the corners are from the middle along each axis.
    side: f32,
}

impl Binary {
    /// For latents of 1 to 16 values.
    pub(crate) fn new(dimension: usize) -> Self {
        Self { dimension, side: 1.0 / (dimension as f32).sqrt() }
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The code of a latent, and its squared distance from the latent. Whether that was brought to the sphere before makes no
    /// difference to the code.
    pub(crate) fn find(&self, latent: &[f32]) -> (TokenFrame, f32) {
        let (mut code, mut error) = (0_u16, 0.0);
        for &value in latent {
            let above = value > 0.0;
            code = code << 1 | u16::from(above);
            let left = value - if above { self.side } else { -self.side };
            error += left * left;
        }
        (super::single(code), error)
    }

    /// Writes the corner that the frame's code names.
    pub(crate) fn sum(&self, frame: &TokenFrame, latent: &mut [f32]) {
        let code = frame.codes()[0];
        for (value, bit) in latent.iter_mut().zip((0..self.dimension).rev()) {
            *value = if code >> bit & 1 == 1 { self.side } else { -self.side };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_value_is_the_most_significant_bit_and_zero_is_below() {
        let binary = Binary::new(4);
        let (frame, error) = binary.find(&[0.5, 0.0, -2.0, 0.1]);
        assert_eq!(frame.codes(), [0b1001]);
        assert!((error - (0.25 + 2.25 + 0.16)).abs() < 1e-6, "{error}");
        let mut latent = [9.0; 4];
        binary.sum(&frame, &mut latent);
        assert_eq!(latent, [0.5, -0.5, -0.5, 0.5]);
    }

    proptest! {
        #[test]
        fn codes_stand_for_themselves_and_are_the_nearest(
            latent in prop::collection::vec(-3.0_f32..3.0, 1..=10),
        ) {
            let binary = Binary::new(latent.len());
            let distance = |code: u16| -> f32 {
                let mut corner = vec![0.0; latent.len()];
                binary.sum(&super::super::single(code), &mut corner);
                assert!((corner.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
                assert_eq!(binary.find(&corner).0.codes(), [code]);
                corner.iter().zip(&latent).map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let (frame, error) = binary.find(&latent);
            let least = (0..1_u16 << latent.len()).map(distance).fold(f32::INFINITY, f32::min);
            prop_assert!((distance(frame.codes()[0]) - least).abs() < 1e-4 && (error - least).abs() < 1e-4);
        }
    }
}
