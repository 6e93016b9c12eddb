//! Token frames to bytes and back.

use parlo_tokens::{CodeLayout, TokenFrame};

/// Turns runs of token frames into payloads and back. A payload stands alone: it decodes without any other.
///
/// [`PlainCoder`] packs codes as they are; [`EntropyCoder`](crate::EntropyCoder) makes probable ones short.
pub trait FrameCoder: Send {
    /// Appends the payload of `frames`, which all have the same depth, to `out`.
    ///
    /// # Errors
    /// If the depths differ, or a code lies outside its codebook. `out` is then as before.
    fn encode(&mut self, frames: &[TokenFrame], out: &mut Vec<u8>) -> Result<(), CodingError>;

    /// Appends the `count` frames of `depth` codes that `payload` holds to `out`.
    ///
    /// Takes bounded time and memory for any bytes whatever.
    ///
    /// # Errors
    /// If the payload cannot have come from [`encode`](Self::encode) with this count and depth. `out` is then as before.
    fn decode(
        &mut self,
        payload: &[u8],
        count: usize,
        depth: usize,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError>;
}

/// Why frames are no payload, or a payload no frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodingError {
    /// Frames of one payload must have one depth.
    #[error("frames of {first} and of {other} codes cannot share a payload")]
    MixedDepths {
        /// Depth of the first frame.
        first: usize,
        /// Another depth met later.
        other: usize,
    },
    /// More codes than codebooks, or none.
    #[error("a frame of {depth} codes does not fit a model of {most} codebooks")]
    Depth {
        /// Codes per frame.
        depth: usize,
        /// Codebooks of the model.
        most: usize,
    },
    /// A code beyond the end of its codebook.
    #[error("code {code} lies outside codebook {book}, which has {size} entries")]
    Code {
        /// The code.
        code: u32,
        /// Its codebook, from 0.
        book: usize,
        /// Entries there.
        size: u32,
    },
    /// A payload that is too short or too long.
    #[error("{frames} frames of {depth} codes take {expected} bytes, not {found}")]
    Length {
        /// Frames announced.
        frames: usize,
        /// Codes each.
        depth: usize,
        /// Bytes that this takes.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Bits after the last code that are not zero.
    #[error("the unused bits after the last code are not zero: the payload is damaged")]
    Padding,
    /// More frames than a payload may hold, or numbers beyond the last.
    #[error("{frames} frames from number {first} on are too many: a payload holds up to {most}")]
    Count {
        /// Frames announced.
        frames: usize,
        /// Number of the first.
        first: u64,
        /// Frames possible.
        most: usize,
    },
    /// A frame of the context that the coder does not remember.
    #[error("frame {number}, which the payload builds upon, is not known here")]
    Forgotten {
        /// Its number.
        number: u64,
    },
    /// A payload that is not what its own frames would be encoded as.
    #[error("the payload is not what an encoder makes of any frames: it is damaged, or was made in another context")]
    Damaged,
}

/// Codes as they are: each takes the bits that its codebook's largest index needs, most significant bit first, coarsest
/// code first, frame after frame, without gaps; zero bits fill the last byte.
#[derive(Debug, Clone)]
pub struct PlainCoder {
    layout: CodeLayout,
}

impl PlainCoder {
    /// A coder for codebooks of these sizes.
    pub fn new(layout: CodeLayout) -> Self {
        Self { layout }
    }

    /// Bytes that a payload takes.
    pub fn payload_bytes(&self, count: usize, depth: usize) -> usize {
        (count * self.layout.frame_bits(depth) as usize).div_ceil(8)
    }

    /// Appends the frames, `count` at most, that lie whole in the `beginning` of a payload.
    pub(crate) fn decode_beginning(&mut self, beginning: &[u8], count: usize, depth: usize, out: &mut Vec<TokenFrame>) {
        let bits = self.layout.frame_bits(depth.min(self.layout.depth())) as usize;
        let count = count.min(beginning.len() * 8 / bits.max(1));
        let mut payload = beginning[..(count * bits).div_ceil(8)].to_vec();
        // What of the last byte belongs to the next frame.
        if let (Some(last), rest @ 1..) = (payload.last_mut(), count * bits % 8) {
            *last &= 0xFF << (8 - rest);
        }
        // Codes that are none were damaged after all.
        let _ = self.decode(&payload, count, depth, out);
    }

    /// Parts the payload of `count` frames of `depth` codes from what comes after it.
    pub(crate) fn split<'p>(
        &self,
        payload: &'p [u8],
        count: usize,
        depth: usize,
    ) -> Result<(&'p [u8], &'p [u8]), CodingError> {
        self.check_depth(depth)?;
        let bits = (count as u64).saturating_mul(self.layout.frame_bits(depth).into());
        let expected = usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX);
        let short = CodingError::Length { frames: count, depth, expected, found: payload.len() };
        payload.split_at_checked(expected).ok_or(short)
    }

    fn check_depth(&self, depth: usize) -> Result<(), CodingError> {
        let most = self.layout.depth();
        if depth == 0 || depth > most { Err(CodingError::Depth { depth, most }) } else { Ok(()) }
    }

    fn check_code(&self, book: usize, code: u32) -> Result<(), CodingError> {
        let size = self.layout.sizes()[book];
        if code < size { Ok(()) } else { Err(CodingError::Code { code, book, size }) }
    }
}

impl FrameCoder for PlainCoder {
    fn encode(&mut self, frames: &[TokenFrame], out: &mut Vec<u8>) -> Result<(), CodingError> {
        let Some(first) = frames.first().map(TokenFrame::depth) else { return Ok(()) };
        self.check_depth(first)?;
        for frame in frames {
            if frame.depth() != first {
                return Err(CodingError::MixedDepths { first, other: frame.depth() });
            }
            for (book, &code) in frame.codes().iter().enumerate() {
                self.check_code(book, u32::from(code))?;
            }
        }
        // At most 7 bits wait in `queue` when up to 16 join them.
        let (mut queue, mut waiting) = (0_u32, 0);
        for frame in frames {
            for (book, &code) in frame.codes().iter().enumerate() {
                let bits = self.layout.bits(book);
                queue = queue << bits | u32::from(code);
                waiting += bits;
                while waiting >= 8 {
                    waiting -= 8;
                    out.push((queue >> waiting) as u8);
                }
                queue &= (1 << waiting) - 1;
            }
        }
        if waiting > 0 {
            out.push((queue << (8 - waiting)) as u8);
        }
        Ok(())
    }

    fn decode(
        &mut self,
        payload: &[u8],
        count: usize,
        depth: usize,
        out: &mut Vec<TokenFrame>,
    ) -> Result<(), CodingError> {
        self.check_depth(depth)?;
        // Compared as bits in 64-bit arithmetic: `count` may be anything.
        let bits = count as u128 * u128::from(self.layout.frame_bits(depth));
        if bits.div_ceil(8) != payload.len() as u128 {
            let expected = usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX);
            return Err(CodingError::Length { frames: count, depth, expected, found: payload.len() });
        }
        let start = out.len();
        let result = self.unpack(payload, count, depth, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

impl PlainCoder {
    fn unpack(&self, payload: &[u8], count: usize, depth: usize, out: &mut Vec<TokenFrame>) -> Result<(), CodingError> {
        let (mut queue, mut waiting) = (0_u32, 0);
        let mut bytes = payload.iter();
        let mut codes = [0_u16; parlo_tokens::MAX_DEPTH];
        for _ in 0..count {
            for (book, slot) in codes[..depth].iter_mut().enumerate() {
                let bits = self.layout.bits(book);
                while waiting < bits {
                    // The length was compared: the bytes do not run out.
                    queue = queue << 8 | u32::from(bytes.next().copied().unwrap_or(0));
                    waiting += 8;
                }
                waiting -= bits;
                let code = queue >> waiting;
                queue &= (1 << waiting) - 1;
                self.check_code(book, code)?;
                *slot = code as u16;
            }
            let frame = TokenFrame::new(&codes[..depth])
                .map_err(|_| CodingError::Depth { depth, most: self.layout.depth() })?;
            out.push(frame);
        }
        if queue == 0 { Ok(()) } else { Err(CodingError::Padding) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layouts() -> impl Strategy<Value = CodeLayout> {
        prop::collection::vec(2_u32..=65536, 1..=parlo_tokens::MAX_DEPTH)
            .prop_map(|sizes| CodeLayout::new(&sizes).unwrap())
    }

    fn runs() -> impl Strategy<Value = (CodeLayout, usize, Vec<TokenFrame>)> {
        layouts().prop_flat_map(|layout| {
            (1..=layout.depth(), 0_usize..20).prop_flat_map(move |(depth, count)| {
                let codes: Vec<_> =
                    layout.sizes()[..depth].iter().map(|&size| (0..size).prop_map(|code| code as u16)).collect();
                let frame = codes.prop_map(|codes| TokenFrame::new(&codes).unwrap());
                (Just(layout), Just(depth), prop::collection::vec(frame, count))
            })
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked((layout, depth, frames) in runs()) {
            let mut coder = PlainCoder::new(layout);
            let mut payload = vec![0xAA];
            coder.encode(&frames, &mut payload).unwrap();
            prop_assert_eq!(payload.len() - 1, coder.payload_bytes(frames.len(), depth));
            let mut back = Vec::new();
            coder.decode(&payload[1..], frames.len(), depth, &mut back).unwrap();
            prop_assert_eq!(back, frames);
        }

        #[test]
        fn any_bytes_give_frames_or_an_error(
            layout in layouts(), payload: Vec<u8>, count in 0_usize..100, depth in 0_usize..40,
        ) {
            let mut coder = PlainCoder::new(layout);
            let mut out = Vec::new();
            match coder.decode(&payload, count, depth, &mut out) {
                Ok(()) => {
                    prop_assert_eq!(out.len(), count);
                    let mut again = Vec::new();
                    coder.encode(&out, &mut again).unwrap();
                    prop_assert_eq!(again, payload);
                }
                Err(_) => prop_assert!(out.is_empty()),
            }
        }
    }

    #[test]
    fn bits_are_where_the_documents_say() {
        let mut coder = PlainCoder::new(CodeLayout::new(&[1024, 1024, 4]).unwrap());
        let frames = [TokenFrame::new(&[0b11_1111_1111, 0, 0b10]).unwrap(), TokenFrame::new(&[1, 2, 3]).unwrap()];
        let mut payload = Vec::new();
        coder.encode(&frames, &mut payload).unwrap();
        // 1111111111 0000000000 10 | 0000000001 0000000010 11 | 0000
        assert_eq!(payload, [0xFF, 0xC0, 0x08, 0x01, 0x00, 0xB0]);
    }

    #[test]
    fn refusals_name_the_fault_and_leave_nothing_behind() {
        let mut coder = PlainCoder::new(CodeLayout::new(&[1000, 1024]).unwrap());
        let mut out = Vec::new();
        let frame = |codes: &[u16]| TokenFrame::new(codes).unwrap();
        assert_eq!(
            coder.encode(&[frame(&[1, 2]), frame(&[1])], &mut out),
            Err(CodingError::MixedDepths { first: 2, other: 1 })
        );
        assert_eq!(
            coder.encode(&[frame(&[1000, 2])], &mut out),
            Err(CodingError::Code { code: 1000, book: 0, size: 1000 })
        );
        assert!(out.is_empty());
        let mut frames = Vec::new();
        let short = coder.decode(&[0, 0], 1, 2, &mut frames);
        assert_eq!(short, Err(CodingError::Length { frames: 1, depth: 2, expected: 3, found: 2 }));
        assert_eq!(coder.decode(&[0, 0, 1], 1, 2, &mut frames), Err(CodingError::Padding));
        assert!(coder.decode(&[], usize::MAX, 2, &mut frames).is_err());
        assert!(frames.is_empty());
    }
}
