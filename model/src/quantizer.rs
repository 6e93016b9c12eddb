//! The codebooks of residual vector quantization: codes to latent by a sum. The other way is [`BeamSearch`]'s. And, below, other
//! kinds.

mod beam_search;
mod binary;
mod grouped;
mod kinds;
mod scalar;

pub(crate) use kinds::{Books, Search};

use std::{path::Path, sync::OnceLock};

use parlo_tokens::TokenFrame;
use safetensors::{Dtype, SafeTensors};

use crate::error::ModelError;
pub(crate) use beam_search::BeamSearch;

/// Entries of a tile.
pub(crate) const TILE: usize = 32;

/// The codebooks of a residual quantizer.
pub(crate) struct Codebooks {
    dimension: usize,
    books: Vec<Book>,
}

/// One codebook.
pub(crate) struct Book {
    /// Entry after entry, `dimension` values each: for sums.
    entries: Vec<f32>,
    /// Tiles of [`TILE`] entries: value 0 of all of them, then value 1 of all of them, ...: for searches, where a vector
    /// register then holds the same coordinate of neighbouring entries, no sum runs across a register, and memory is read in
    /// one go from its first byte to its last. The last tile is filled up with zeros. Made when a search asks for them: who only
    /// decodes has no use for them, and they are as large as the entries.
    tiles: OnceLock<Vec<f32>>,
    /// Half the squared length of each entry.
    half_norms: Vec<f32>,
}

impl Codebooks {
    /// Reads the tensor `name` of shape [books, entries, dimension] out of a safetensors file's bytes.
    pub(crate) fn parse(
        file: &Path,
        bytes: &[u8],
        name: &str,
        dimension: usize,
        sizes: &[u32],
    ) -> Result<Self, ModelError> {
        let mismatch = |field: String, expected: String, found: String| ModelError::Mismatch {
            file: file.to_owned(),
            field,
            expected,
            found,
        };
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| mismatch("format".into(), "safetensors".into(), error.to_string()))?;
        let tensor = tensors.tensor(name).map_err(|_| {
            let names = tensors.names().into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            mismatch("the list of tensors".into(), name.to_owned(), names)
        })?;
        let shape = tensor.shape();
        let most = sizes.iter().copied().max().unwrap_or(0) as usize;
        if shape != [sizes.len(), most, dimension] {
            let expected = format!("[{}, {most}, {dimension}]", sizes.len());
            return Err(mismatch(format!("the shape of tensor {name}"), expected, format!("{shape:?}")));
        }
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => {
                tensor.data().chunks_exact(2).map(|b| half_to_f32(u16::from_le_bytes([b[0], b[1]]))).collect()
            }
            other => {
                let expected = "float32 or float16".to_owned();
                return Err(mismatch(format!("the type of tensor {name}"), expected, format!("{other:?}")));
            }
        };
        if !values.iter().all(|value| value.is_finite()) {
            return Err(mismatch(format!("tensor {name}"), "finite".into(), "a value that is not a number".into()));
        }
        let books = values.chunks_exact(most * dimension).zip(sizes);
        let books = books.map(|(book, &size)| Book::new(&book[..size as usize * dimension], dimension)).collect();
        Ok(Self { dimension, books })
    }

    /// Length of a latent.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The books, coarsest first.
    pub(crate) fn books(&self) -> &[Book] {
        &self.books
    }

    /// The entries of the coarsest book.
    pub(crate) fn first(&self) -> impl Iterator<Item = &[f32]> {
        self.books.iter().take(1).flat_map(|book| book.entries.chunks_exact(self.dimension))
    }

    /// Writes the sum of the frame's entries to `latent`. The frame must fit the books.
    pub(crate) fn sum(&self, frame: &TokenFrame, latent: &mut [f32]) {
        latent.fill(0.0);
        for (&code, book) in frame.codes().iter().zip(&self.books) {
            for (sum, value) in latent.iter_mut().zip(book.entry(code, self.dimension)) {
                *sum += value;
            }
        }
    }
}

impl Book {
    /// A book of these entries, one after another.
    pub(crate) fn new(entries: &[f32], dimension: usize) -> Self {
        let half_norms = entries.chunks_exact(dimension).map(|e| 0.5 * e.iter().map(|v| v * v).sum::<f32>()).collect();
        Self { entries: entries.to_vec(), tiles: OnceLock::new(), half_norms }
    }

    /// The entry that a code names.
    pub(crate) fn entry(&self, code: u16, dimension: usize) -> &[f32] {
        &self.entries[usize::from(code) * dimension..][..dimension]
    }

    /// Number of entries.
    pub(crate) fn size(&self) -> usize {
        self.half_norms.len()
    }

    /// Tiles of entries, as a search reads them: [dimension][`TILE`] each. Makes them the first time, which allocates.
    pub(crate) fn tiles(&self) -> &[f32] {
        self.tiles.get_or_init(|| {
            let size = self.size();
            let dimension = self.entries.len() / size.max(1);
            let mut tiles = vec![0.0; size.next_multiple_of(TILE) * dimension];
            for (index, entry) in self.entries.chunks_exact(dimension.max(1)).enumerate() {
                let tile = &mut tiles[index / TILE * TILE * dimension..][..TILE * dimension];
                for (row, &value) in tile.chunks_exact_mut(TILE).zip(entry) {
                    row[index % TILE] = value;
                }
            }
            tiles
        })
    }

    /// Half the squared length of each entry.
    pub(crate) fn half_norms(&self) -> &[f32] {
        &self.half_norms
    }
}

impl std::fmt::Debug for Codebooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: Vec<usize> = self.books.iter().map(Book::size).collect();
        f.debug_struct("Codebooks").field("dimension", &self.dimension).field("sizes", &sizes).finish()
    }
}

/// A frame of one code.
fn single(code: u16) -> TokenFrame {
    TokenFrame::new(&[code]).unwrap_or_else(|_| unreachable!("a frame may have one code"))
}

/// IEEE 754 binary16 to binary32, exactly.
fn half_to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let exponent = u32::from(half >> 10 & 0x1F);
    let mantissa = u32::from(half & 0x3FF);
    match exponent {
        // Subnormal: mantissa x 2^-24. Both factors are exact, and so is the product.
        0 => f32::from_bits(sign | (mantissa as f32 * 2.0_f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0xFF << 23 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

#[cfg(test)]
pub(crate) fn books(dimension: usize, sizes: &[usize], values: &mut impl FnMut() -> f32) -> std::sync::Arc<Codebooks> {
    let books = sizes
        .iter()
        .enumerate()
        .map(|(stage, size)| {
            let scale = 0.5_f32.powi(stage as i32);
            let entries: Vec<f32> = (0..size * dimension).map(|_| values() * scale).collect();
            Book::new(&entries, dimension)
        })
        .collect();
    std::sync::Arc::new(Codebooks { dimension, books })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_values_are_exact() {
        let cases =
            [(0x3C00, 1.0), (0xC000, -2.0), (0x7BFF, 65504.0), (0x0400, 6.103_515_6e-5), (0x0001, 5.960_464_5e-8)];
        for (half, float) in cases {
            assert_eq!(half_to_f32(half), float);
        }
        assert!(half_to_f32(0x7E00).is_nan() && half_to_f32(0xFC00) == f32::NEG_INFINITY);
        assert!(half_to_f32(0x8000).is_sign_negative() && half_to_f32(0x83FF) < 0.0);
    }
}
