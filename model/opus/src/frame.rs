use std::fmt;

use crate::error::OpusError;

/// The most bytes of one frame, to which the encoder is held. In speech at 24 kbps with deep redundancy 92 were the most.
pub const FRAME_BYTES_MOST: usize = u8::MAX as usize;

/// A frame's length, in the steps of 2.5 ms in which Opus counts.
const QUARTERS: usize = 8;

/// One Opus packet (RFC 6716 section 3) that lasts 20 ms, of a fixed size so that it can be copied about like tokens.
///
/// Its header says 20 ms; everything behind the header may still be damaged, which the decoder finds out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpusFrame {
    len: u8,
    // Zero behind `len`, so that equality is that of the packets.
    bytes: [u8; FRAME_BYTES_MOST],
}

impl OpusFrame {
    /// The frame that these bytes are.
    ///
    /// # Errors
    /// If there are none, or more than [`FRAME_BYTES_MOST`], or their header does not say 20 ms.
    pub fn new(packet: &[u8]) -> Result<Self, OpusError> {
        let refused = OpusError::Bytes { found: packet.len(), most: FRAME_BYTES_MOST };
        let len = u8::try_from(packet.len()).map_err(|_| refused)?;
        if len == 0 {
            return Err(refused);
        }
        if quarters(packet) != Some(QUARTERS) {
            return Err(OpusError::Duration);
        }
        let mut bytes = [0; FRAME_BYTES_MOST];
        bytes[..packet.len()].copy_from_slice(packet);
        Ok(Self { len, bytes })
    }

    /// The packet's bytes: 1 to [`FRAME_BYTES_MOST`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for OpusFrame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first byte is the table of contents (RFC 6716 section 3.1), which tells the most in one number.
        write!(formatter, "OpusFrame({} bytes, {:#04x}..)", self.len, self.bytes[0])
    }
}

/// How long a packet lasts by its header, in steps of 2.5 ms: RFC 6716 section 3.1, table 2, and section 3.2. `None` if
/// the header is cut off.
fn quarters(packet: &[u8]) -> Option<usize> {
    let contents = *packet.first()?;
    let configuration = usize::from(contents >> 3);
    let each = match configuration {
        0..12 => [4, 8, 16, 24][configuration % 4],
        12..16 => [4, 8][configuration % 2],
        _ => [1, 2, 4, 8][configuration % 4],
    };
    let count = match contents & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 0x3F),
    };
    Some(each * count)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
