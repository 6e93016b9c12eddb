/// Reflection coefficients of the background's spectrum.
pub const NOISE_ORDER: usize = 8;

/// What silence sounds like at the sender, in the payload of RFC 3389: a level, and the spectrum as an all-pole filter's
/// reflection coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise {
    level: u8,
    reflection: [u8; NOISE_ORDER],
}

impl ComfortNoise {
    /// Bytes of the payload.
    pub const BYTES: usize = 1 + NOISE_ORDER;

    /// Nothing at all.
    pub const SILENCE: Self = Self { level: 127, reflection: [127; NOISE_ORDER] };

    /// The level as RFC 3389 section 3.1 has it: 0 to 127, decibels below the overload point (a full-scale square wave),
    /// without the sign. Larger values count as 127.
    pub fn new(level: u8, reflection: [u8; NOISE_ORDER]) -> Self {
        Self { level: level.min(127), reflection: reflection.map(|value| value.min(254)) }
    }

    /// Decibels below the overload point: 0 is the loudest, 127 silence.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The reflection coefficients as RFC 3389 section 3.2 has them: 0 to 254 for -1 to 1, so that 127 is 0.
    pub fn reflection(&self) -> &[u8; NOISE_ORDER] {
        &self.reflection
    }

    /// The payload's bytes.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [self.level; Self::BYTES];
        bytes[1..].copy_from_slice(&self.reflection);
        bytes
    }

    /// Reads the payload. `None` if a value is out of its range.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [level, reflection @ ..] = bytes;
        let noise = Self::new(level, reflection);
        (noise.to_bytes() == bytes).then_some(noise)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_noise_that_gives_them_back_or_none(bytes: [u8; ComfortNoise::BYTES]) {
            match ComfortNoise::from_bytes(bytes) {
                Some(noise) => prop_assert_eq!(noise.to_bytes(), bytes),
                None => prop_assert!(bytes[0] > 127 || bytes[1..].contains(&255)),
            }
        }
    }
}
