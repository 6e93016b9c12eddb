use crate::MAX_DEPTH;

/// The codes of one frame, coarsest codebook first.
///
/// Fixed size and `Copy`, so that frames cross channels and buffers without touching the heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenFrame {
    depth: u8,
    codes: [u16; MAX_DEPTH],
}

/// Why a slice of codes is not a token frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token frame has 1 to {MAX_DEPTH} codes, not {0}")]
pub struct FrameError(pub usize);

impl TokenFrame {
    /// Builds a frame from its codes, coarsest first.
    ///
    /// # Errors
    /// If there are no codes, or more than [`MAX_DEPTH`].
    pub fn new(codes: &[u16]) -> Result<Self, FrameError> {
        if codes.is_empty() || codes.len() > MAX_DEPTH {
            return Err(FrameError(codes.len()));
        }
        let mut frame = Self { depth: codes.len() as u8, codes: [0; MAX_DEPTH] };
        frame.codes[..codes.len()].copy_from_slice(codes);
        Ok(frame)
    }

    /// How many codebooks this frame uses: 1 to [`MAX_DEPTH`].
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// The codes, coarsest first; as many as [`depth`](Self::depth) says.
    pub fn codes(&self) -> &[u16] {
        &self.codes[..self.depth()]
    }

    /// The same frame with its finest codes dropped, so that at most `depth` (at least 1) are left.
    pub fn truncated(&self, depth: usize) -> Self {
        let depth = depth.clamp(1, self.depth());
        let mut frame = Self { depth: depth as u8, codes: [0; MAX_DEPTH] };
        frame.codes[..depth].copy_from_slice(&self.codes[..depth]);
        frame
    }
}

impl std::fmt::Debug for TokenFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TokenFrame").field(&self.codes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_was_given_and_refuses_the_rest() {
        let frame = TokenFrame::new(&[7, 1023, 0]).unwrap();
        assert_eq!((frame.depth(), frame.codes()), (3, &[7, 1023, 0][..]));
        assert_eq!(TokenFrame::new(&[]), Err(FrameError(0)));
        assert_eq!(TokenFrame::new(&[0; MAX_DEPTH + 1]), Err(FrameError(MAX_DEPTH + 1)));
    }

    #[test]
    fn truncating_equals_building_shorter() {
        let frame = TokenFrame::new(&[7, 1023, 5]).unwrap();
        assert_eq!(frame.truncated(2), TokenFrame::new(&[7, 1023]).unwrap());
        assert_eq!(frame.truncated(0), TokenFrame::new(&[7]).unwrap());
        assert_eq!(frame.truncated(9), frame);
    }
}
