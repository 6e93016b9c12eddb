use crate::{MAX_DEPTH, TokenFrame};

/// The sizes of a bundle's codebooks, coarsest first. Sizes may differ from book to book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLayout {
    depth: u8,
    sizes: [u32; MAX_DEPTH],
}

/// Why a list of sizes is not a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// No codebook, or more than [`MAX_DEPTH`].
    #[error("a bundle has 1 to {MAX_DEPTH} codebooks, not {0}")]
    Count(usize),
    /// A codebook of fewer than 2 or more than 65536 entries.
    #[error("codebook {book} has {size} entries; 2 to 65536 are possible")]
    Size {
        /// Which codebook, from 0.
        book: usize,
        /// How many entries it claims.
        size: u32,
    },
}

impl CodeLayout {
    /// A layout of codebooks with these numbers of entries.
    ///
    /// # Errors
    /// If there are no books, more than [`MAX_DEPTH`], or one has fewer than 2 or more than 65536 entries.
    pub fn new(sizes: &[u32]) -> Result<Self, LayoutError> {
        if sizes.is_empty() || sizes.len() > MAX_DEPTH {
            return Err(LayoutError::Count(sizes.len()));
        }
        if let Some(book) = sizes.iter().position(|size| !(2..=65536).contains(size)) {
            return Err(LayoutError::Size { book, size: sizes[book] });
        }
        let mut layout = Self { depth: sizes.len() as u8, sizes: [0; MAX_DEPTH] };
        layout.sizes[..sizes.len()].copy_from_slice(sizes);
        Ok(layout)
    }

    /// How many codebooks there are.
    pub fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// Entries of each codebook, coarsest first.
    pub fn sizes(&self) -> &[u32] {
        &self.sizes[..self.depth()]
    }

    /// Bits that a plain code of this book takes: the smallest number that holds every index.
    ///
    /// # Panics
    /// If `book` is not below [`depth`](Self::depth).
    pub fn bits(&self, book: usize) -> u32 {
        u32::BITS - (self.sizes()[book] - 1).leading_zeros()
    }

    /// Bits that a plain frame of `depth` codes takes, before any entropy coding. `depth` beyond the layout counts as
    /// all of it.
    pub fn frame_bits(&self, depth: usize) -> u32 {
        (0..depth.min(self.depth())).map(|book| self.bits(book)).sum()
    }

    /// Whether the frame has no more codes than there are books, and each code lies in its book.
    pub fn admits(&self, frame: &TokenFrame) -> bool {
        frame.depth() <= self.depth()
            && frame.codes().iter().zip(self.sizes()).all(|(&code, &size)| u32::from(code) < size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_hold_the_largest_index() {
        let layout = CodeLayout::new(&[2, 3, 4, 1000, 1024, 65536]).unwrap();
        let bits: Vec<u32> = (0..layout.depth()).map(|book| layout.bits(book)).collect();
        assert_eq!(bits, [1, 2, 2, 10, 10, 16]);
        assert_eq!((layout.frame_bits(3), layout.frame_bits(99)), (5, 41));
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert_eq!(CodeLayout::new(&[]), Err(LayoutError::Count(0)));
        assert_eq!(CodeLayout::new(&[4, 1]), Err(LayoutError::Size { book: 1, size: 1 }));
        assert_eq!(CodeLayout::new(&[65537]), Err(LayoutError::Size { book: 0, size: 65537 }));
    }

    #[test]
    fn admits_codes_inside_their_books_only() {
        let layout = CodeLayout::new(&[4, 1024]).unwrap();
        assert!(layout.admits(&TokenFrame::new(&[3]).unwrap()));
        assert!(layout.admits(&TokenFrame::new(&[3, 1023]).unwrap()));
        assert!(!layout.admits(&TokenFrame::new(&[4, 0]).unwrap()));
        assert!(!layout.admits(&TokenFrame::new(&[0, 0, 0]).unwrap()));
    }
}
