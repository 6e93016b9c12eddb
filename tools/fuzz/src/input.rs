//! Bytes as a list of decisions.

/// Decisions, taken from the front. When the bytes are used up, all decisions are 0.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `n`, which is at most 256.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    /// The next bytes: as many as a byte says, or as there are.
    pub(crate) fn some(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte());
        let (now, later) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = later;
        now
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// A datagram with one or more bits flipped, cut or made longer.
    pub(crate) fn damage(&mut self, datagram: &mut Vec<u8>) {
        match self.below(8) {
            0 => datagram.truncate(self.below(datagram.len().min(255) + 1)),
            1 => datagram.extend_from_slice(self.some()),
            2 => *datagram = self.some().to_vec(),
            _ => {
                let (at, with) = (usize::from(self.word()), self.byte().max(1));
                let length = datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(at % length) {
                    *byte ^= with;
                }
            }
        }
    }
}
