//! Residual vector quantization: latent to codes by a beam search, codes to latent by a sum. And, below, other ways.

mod binary;
mod grouped;
mod kinds;
mod scalar;

pub(crate) use kinds::{Books, Search};

use std::{path::Path, sync::Arc};

use parlo_tokens::{MAX_DEPTH, TokenFrame};
use safetensors::{Dtype, SafeTensors};

use crate::error::ModelError;

/// The widest beam. Beyond 16 candidates nothing is gained that can be measured.
const MAX_BEAM: usize = 32;

/// The codebooks of a residual quantizer.
pub(crate) struct Codebooks {
    dimension: usize,
    books: Vec<Book>,
}

struct Book {
    /// Entry after entry, `dimension` values each: for sums.
    entries: Vec<f32>,
    /// Value 0 of all entries, then value 1 of all entries, ...: for searches, where a vector register then holds the
    /// same coordinate of neighbouring entries, and no sum runs across a register.
    columns: Vec<f32>,
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
    fn new(entries: &[f32], dimension: usize) -> Self {
        let size = entries.len() / dimension;
        let mut columns = vec![0.0; entries.len()];
        for (index, entry) in entries.chunks_exact(dimension).enumerate() {
            for (coordinate, &value) in entry.iter().enumerate() {
                columns[coordinate * size + index] = value;
            }
        }
        let half_norms = entries.chunks_exact(dimension).map(|e| 0.5 * e.iter().map(|v| v * v).sum::<f32>()).collect();
        Self { entries: entries.to_vec(), columns, half_norms }
    }

    fn entry(&self, code: u16, dimension: usize) -> &[f32] {
        &self.entries[usize::from(code) * dimension..][..dimension]
    }

    fn size(&self) -> usize {
        self.half_norms.len()
    }
}

impl std::fmt::Debug for Codebooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: Vec<usize> = self.books.iter().map(Book::size).collect();
        f.debug_struct("Codebooks").field("dimension", &self.dimension).field("sizes", &sizes).finish()
    }
}

/// One way of coding the latent so far.
#[derive(Debug, Clone)]
struct Candidate {
    /// What the codes leave over.
    residual: Vec<f32>,
    /// Half the squared length of that: what the search makes small.
    error: f32,
    codes: [u16; MAX_DEPTH],
}

/// A step that a candidate could take next.
#[derive(Debug, Clone, Copy)]
struct Step {
    error: f32,
    parent: usize,
    code: u16,
}

/// Finds codes for latents, keeping the best few partial codings from book to book.
///
/// The greedy walk takes the nearest entry of each book, although a slightly farther one may leave a residual that the
/// later books fit better. Holds its own scratch memory, so that a search does not allocate.
#[derive(Debug)]
pub(crate) struct BeamSearch {
    books: Arc<Codebooks>,
    beam: usize,
    alive: Vec<Candidate>,
    next: Vec<Candidate>,
    steps: Vec<Step>,
    scores: Vec<f32>,
}

impl BeamSearch {
    /// A search that keeps `beam` candidates (brought into 1 to 32).
    pub(crate) fn new(books: Arc<Codebooks>, beam: usize) -> Self {
        let beam = beam.clamp(1, MAX_BEAM);
        let blank = Candidate { residual: vec![0.0; books.dimension], error: 0.0, codes: [0; MAX_DEPTH] };
        let largest = books.books.iter().map(Book::size).max().unwrap_or(0);
        Self {
            beam,
            alive: vec![blank.clone(); beam],
            next: vec![blank; beam],
            steps: Vec::with_capacity(beam + 1),
            scores: vec![0.0; largest],
            books,
        }
    }

    /// The squared length of what the last search left over.
    pub(crate) fn error(&self) -> f32 {
        2.0 * self.alive[0].error
    }

    /// The codes of the coding with the least error found, over the first `depth` books.
    pub(crate) fn find(&mut self, latent: &[f32], depth: usize) -> TokenFrame {
        let dimension = self.books.dimension;
        let books = Arc::clone(&self.books);
        self.alive[0].residual.copy_from_slice(latent);
        self.alive[0].error = 0.5 * latent.iter().map(|v| v * v).sum::<f32>();
        let mut living = 1;
        for (stage, book) in books.books.iter().take(depth).enumerate() {
            // The last book's losers are of no more use: only its winner counts.
            let keep = if stage + 1 == depth { 1 } else { self.beam };
            self.steps.clear();
            for (parent, candidate) in self.alive[..living].iter().enumerate() {
                let scores = &mut self.scores[..book.size()];
                correlate(&candidate.residual, book, scores);
                // |r - c|^2 / 2 = |r|^2 / 2 - r.c + |c|^2 / 2
                for (code, (&dot, &half_norm)) in scores.iter().zip(&book.half_norms).enumerate() {
                    let error = candidate.error - dot + half_norm;
                    if self.steps.len() < keep || error < self.steps[self.steps.len() - 1].error {
                        insert(&mut self.steps, Step { error, parent, code: code as u16 }, keep);
                    }
                }
            }
            for (step, child) in self.steps.iter().zip(&mut self.next) {
                let parent = &self.alive[step.parent];
                let entry = book.entry(step.code, dimension);
                for ((left, &had), &taken) in child.residual.iter_mut().zip(&parent.residual).zip(entry) {
                    *left = had - taken;
                }
                // From the residual itself, not from the step: rounding does not add up from book to book.
                child.error = 0.5 * child.residual.iter().map(|v| v * v).sum::<f32>();
                child.codes = parent.codes;
                child.codes[stage] = step.code;
            }
            living = self.steps.len();
            std::mem::swap(&mut self.alive, &mut self.next);
        }
        // Sorted best first; depth is at least 1 by the encoder's check.
        TokenFrame::new(&self.alive[0].codes[..depth.clamp(1, MAX_DEPTH)])
            .unwrap_or_else(|_| unreachable!("the depth was brought into range"))
    }
}

/// Inserts a step into the list, which is sorted by error and never longer than `keep`. Of equals the first stays first.
fn insert(steps: &mut Vec<Step>, step: Step, keep: usize) {
    if steps.len() == keep {
        steps.pop();
    }
    let place = steps.partition_point(|other| other.error <= step.error);
    steps.insert(place, step);
}

/// `scores[i]` = inner product of `residual` with entry `i`.
fn correlate(residual: &[f32], book: &Book, scores: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features that the function is compiled for, as was just asked.
        unsafe { correlate_avx2(residual, &book.columns, scores) };
        return;
    }
    correlate_any(residual, &book.columns, scores, |a, b, c| a * b + c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn correlate_avx2(residual: &[f32], columns: &[f32], scores: &mut [f32]) {
    correlate_any(residual, columns, scores, f32::mul_add);
}

/// Works on tiles of entries small enough to stay in registers while all coordinates pass by. Plain arithmetic, which the
/// compiler turns into whatever vector instructions the caller is compiled for.
#[inline(always)]
fn correlate_any(residual: &[f32], columns: &[f32], scores: &mut [f32], mul_add: impl Fn(f32, f32, f32) -> f32) {
    const TILE: usize = 32;
    let size = scores.len();
    let mut done = 0;
    while done + TILE <= size {
        let mut tile = [0.0_f32; TILE];
        for (column, &weight) in columns.chunks_exact(size).zip(residual) {
            let Some(column) = column[done..].first_chunk::<TILE>() else { break };
            for (sum, &value) in tile.iter_mut().zip(column) {
                *sum = mul_add(weight, value, *sum);
            }
        }
        scores[done..done + TILE].copy_from_slice(&tile);
        done += TILE;
    }
    for (index, score) in scores.iter_mut().enumerate().skip(done) {
        *score = columns.chunks_exact(size).zip(residual).map(|(column, &weight)| weight * column[index]).sum();
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn books(dimension: usize, sizes: &[usize], values: &mut impl FnMut() -> f32) -> Arc<Codebooks> {
        let books = sizes
            .iter()
            .enumerate()
            .map(|(stage, size)| {
                let scale = 0.5_f32.powi(stage as i32);
                let entries: Vec<f32> = (0..size * dimension).map(|_| values() * scale).collect();
                Book::new(&entries, dimension)
            })
            .collect();
        Arc::new(Codebooks { dimension, books })
    }

    /// Values in -1..1 from a linear congruential generator (Knuth's MMIX constants).
    fn noise(mut seed: u64) -> impl FnMut() -> f32 {
        move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        }
    }

    fn error(books: &Codebooks, latent: &[f32], frame: &TokenFrame) -> f32 {
        let mut sum = vec![0.0; books.dimension];
        books.sum(frame, &mut sum);
        sum.iter().zip(latent).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// The definition, written as plainly as can be.
    fn greedy(books: &Codebooks, latent: &[f32], depth: usize) -> TokenFrame {
        let mut left = latent.to_vec();
        let mut codes = Vec::new();
        for book in &books.books[..depth] {
            let distance = |code: usize| -> f32 {
                left.iter().zip(book.entry(code as u16, books.dimension)).map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let best = (0..book.size()).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap();
            for (value, taken) in left.iter_mut().zip(book.entry(best as u16, books.dimension)) {
                *value -= taken;
            }
            codes.push(best as u16);
        }
        TokenFrame::new(&codes).unwrap()
    }

    #[test]
    fn a_beam_of_one_is_the_greedy_walk() {
        let mut values = noise(1);
        let books = books(16, &[64, 33, 128, 7], &mut values);
        let mut search = BeamSearch::new(Arc::clone(&books), 1);
        for _ in 0..200 {
            let latent: Vec<f32> = (0..16).map(|_| values()).collect();
            for depth in 1..=4 {
                assert_eq!(search.find(&latent, depth), greedy(&books, &latent, depth));
            }
        }
    }

    #[test]
    fn a_wide_beam_finds_the_best_there_is() {
        let mut values = noise(2);
        let books = books(4, &[5, 5], &mut values);
        let mut search = BeamSearch::new(Arc::clone(&books), 5);
        for _ in 0..200 {
            let latent: Vec<f32> = (0..4).map(|_| values()).collect();
            let all = (0..25).map(|n| TokenFrame::new(&[n / 5, n % 5]).unwrap());
            let best = all.map(|frame| error(&books, &latent, &frame)).fold(f32::INFINITY, f32::min);
            assert!(error(&books, &latent, &search.find(&latent, 2)) <= best + 1e-6);
        }
    }

    #[test]
    fn wider_beams_leave_less_error_on_the_whole() {
        let mut values = noise(3);
        let books = books(16, &[64; 6], &mut values);
        let latents: Vec<Vec<f32>> = (0..200).map(|_| (0..16).map(|_| values()).collect()).collect();
        let total = |beam| -> f32 {
            let mut search = BeamSearch::new(Arc::clone(&books), beam);
            latents.iter().map(|latent| error(&books, latent, &search.find(latent, 6))).sum()
        };
        let (one, four, sixteen) = (total(1), total(4), total(16));
        assert!(four < 0.97 * one && sixteen < four, "{one} {four} {sixteen}");
    }

    #[test]
    fn vector_and_scalar_paths_agree() {
        let mut values = noise(4);
        let books = books(64, &[1024, 50], &mut values);
        let residual: Vec<f32> = (0..64).map(|_| values()).collect();
        for book in &books.books {
            let (mut fast, mut plain) = (vec![0.0; book.size()], vec![0.0; book.size()]);
            correlate(&residual, book, &mut fast);
            correlate_any(&residual, &book.columns, &mut plain, |a, b, c| a * b + c);
            assert!(fast.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

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

    proptest! {
        #[test]
        fn codes_always_lie_in_their_books(latent in prop::collection::vec(-1e6_f32..1e6, 8), beam in 0_usize..40) {
            let books = books(8, &[3, 40, 17], &mut noise(5));
            let frame = BeamSearch::new(Arc::clone(&books), beam).find(&latent, 3);
            for (&code, book) in frame.codes().iter().zip(&books.books) {
                prop_assert!(usize::from(code) < book.size());
            }
        }
    }
}
