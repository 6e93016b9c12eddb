//! Changes of inputs, the same every time for the same seed.

/// Changes inputs as fuzzers do, without looking at what comes of it.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// One with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`, by splitmix64.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % (n.max(1) as u64)) as usize
    }

    /// Another input, made of those given.
    pub fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs.get(self.below(inputs.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => (0..self.below(16)).for_each(|_| bytes.push(self.below(256) as u8)),
                2 => bytes.insert(at, self.below(256) as u8),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                4 if at < bytes.len() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][self.below(5)],
                5 => {
                    // The front of this, and the end of another.
                    let other = inputs.get(self.below(inputs.len())).cloned().unwrap_or_default();
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
                6 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
        bytes
    }
}
