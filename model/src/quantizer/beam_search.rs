//! Residual vector quantization, from latents to codes: a beam search over the codebooks, of several frames at once.

use std::sync::Arc;

use parlo_tokens::{MAX_DEPTH, TokenFrame};

use crate::quantizer::{Book, Codebooks, TILE};

/// The widest beam. Beyond 16 candidates nothing is gained that can be measured.
const MAX_BEAM: usize = 32;

/// Frames that are searched for together: each tile of a codebook is then fetched once for all of them. More gain little, and
/// their scores would push the codebooks out of the nearest cache.
const FRAMES: usize = 4;

/// One way of coding a latent so far. What it leaves over is kept beside it.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Half the squared length of what the codes leave over: what the search makes small.
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

/// The candidates of all frames at hand, `beam` places a frame.
#[derive(Debug)]
struct Candidates {
    list: Vec<Candidate>,
    /// What each leaves over, `dimension` values each.
    residuals: Vec<f32>,
}

/// Finds codes for latents, keeping the best few partial codings from book to book.
///
/// The greedy walk takes the nearest entry of each book, although a slightly farther one may leave a residual that the
/// later books fit better. Holds its own scratch memory, so that a search does not allocate.
#[derive(Debug)]
pub(crate) struct BeamSearch {
    books: Arc<Codebooks>,
    beam: usize,
    alive: Candidates,
    next: Candidates,
    steps: Vec<Step>,
    /// Of each candidate of a book, one row after another: the inner products with its entries.
    scores: Vec<f32>,
    /// Half the squared error of the frame that was searched for last.
    error: f32,
}

impl BeamSearch {
    /// A search that keeps `beam` candidates (brought into 1 to 32).
    pub(crate) fn new(books: Arc<Codebooks>, beam: usize) -> Self {
        let beam = beam.clamp(1, MAX_BEAM);
        let places = FRAMES * beam;
        // Now, and not in the first search, which does not allocate.
        books.books().iter().for_each(|book| _ = book.tiles());
        let candidates = || Candidates {
            list: vec![Candidate { error: 0.0, codes: [0; MAX_DEPTH] }; places],
            residuals: vec![0.0; places * books.dimension()],
        };
        let largest = books.books().iter().map(Book::size).max().unwrap_or(0).next_multiple_of(TILE);
        Self {
            beam,
            alive: candidates(),
            next: candidates(),
            steps: Vec::with_capacity(beam + 1),
            scores: vec![0.0; places * largest],
            error: 0.0,
            books,
        }
    }

    /// The squared length of what the last search left over; of its last frame.
    pub(crate) fn error(&self) -> f32 {
        2.0 * self.error
    }

    /// The codes of the coding with the least error found, over the first `depth` books.
    pub(crate) fn find(&mut self, latent: &[f32], depth: usize) -> TokenFrame {
        self.search(latent, depth);
        self.best(0, depth)
    }

    /// The same for each of many latents, which are one after another. How many there are changes nothing about any of them.
    pub(crate) fn find_many(&mut self, latents: &[f32], depth: usize, mut each: impl FnMut(TokenFrame)) {
        let dimension = self.books.dimension();
        for some in latents.chunks(FRAMES * dimension) {
            self.search(some, depth);
            for frame in 0..some.len() / dimension {
                each(self.best(frame, depth));
            }
        }
    }

    /// What was found for a frame.
    fn best(&mut self, frame: usize, depth: usize) -> TokenFrame {
        let best = &self.alive.list[frame * self.beam];
        self.error = best.error;
        // Depth is at least 1 by the encoder's check.
        TokenFrame::new(&best.codes[..depth.clamp(1, MAX_DEPTH)])
            .unwrap_or_else(|_| unreachable!("the depth was brought into range"))
    }

    /// Leaves each frame's candidates in its places, the best first.
    fn search(&mut self, latents: &[f32], depth: usize) {
        let dimension = self.books.dimension();
        let books = Arc::clone(&self.books);
        let frames = latents.len() / dimension;
        for (frame, latent) in latents.chunks_exact(dimension).enumerate() {
            let place = frame * self.beam;
            self.alive.residuals[place * dimension..][..dimension].copy_from_slice(latent);
            self.alive.list[place].error = 0.5 * latent.iter().map(|v| v * v).sum::<f32>();
        }
        // The same number for every frame: it depends on the books alone.
        let mut living = 1;
        for (stage, book) in books.books().iter().take(depth).enumerate() {
            // The last book's losers are of no more use: only its winner counts.
            let keep = if stage + 1 == depth { 1 } else { self.beam };
            self.correlate(book, frames, living);
            let row = book.size().next_multiple_of(TILE);
            for frame in 0..frames {
                let place = frame * self.beam;
                self.steps.clear();
                let candidates = self.alive.list[place..][..living].iter();
                let scores = self.scores[frame * living * row..].chunks_exact(row);
                for ((parent, candidate), scores) in candidates.enumerate().zip(scores) {
                    choose(&mut self.steps, keep, parent, candidate.error, &scores[..book.size()], book.half_norms());
                }
                for (n, step) in self.steps.iter().enumerate() {
                    let parent = &self.alive.list[place + step.parent];
                    let had = &self.alive.residuals[(place + step.parent) * dimension..][..dimension];
                    let left = &mut self.next.residuals[(place + n) * dimension..][..dimension];
                    for ((left, &had), &taken) in left.iter_mut().zip(had).zip(book.entry(step.code, dimension)) {
                        *left = had - taken;
                    }
                    let child = &mut self.next.list[place + n];
                    // From the residual itself, not from the step: rounding does not add up from book to book.
                    child.error = 0.5 * left.iter().map(|v| v * v).sum::<f32>();
                    child.codes = parent.codes;
                    child.codes[stage] = step.code;
                }
            }
            living = self.steps.len();
            std::mem::swap(&mut self.alive, &mut self.next);
        }
    }

    /// Fills a row of scores for each living candidate of each frame.
    fn correlate(&mut self, book: &Book, frames: usize, living: usize) {
        let (beam, dimension) = (self.beam, self.books.dimension());
        let row = book.size().next_multiple_of(TILE);
        let count = frames * living;
        let residual = |n: usize| {
            let place = n / living * beam + n % living;
            &self.alive.residuals[place * dimension..][..dimension]
        };
        for (at, tile) in (0..).step_by(TILE).zip(book.tiles().chunks_exact(TILE * dimension)) {
            let mut n = 0;
            // Four at a time, whose sums just fit the registers; each value of the tile is fetched once for them.
            while n + 4 <= count {
                let sums = multiply::<4>([0, 1, 2, 3].map(|k| residual(n + k)), tile);
                for (k, sums) in sums.iter().enumerate() {
                    self.scores[(n + k) * row + at..][..TILE].copy_from_slice(sums);
                }
                n += 4;
            }
            for n in n..count {
                let [sums] = multiply::<1>([residual(n)], tile);
                self.scores[n * row + at..][..TILE].copy_from_slice(&sums);
            }
        }
    }
}

/// Takes the steps of one candidate into the list of the best, which is sorted and never longer than `keep`.
fn choose(steps: &mut Vec<Step>, keep: usize, parent: usize, error: f32, scores: &[f32], half_norms: &[f32]) {
    // |r - c|^2 / 2 = |r|^2 / 2 - r.c + |c|^2 / 2
    let mut code = 0;
    for (scores, half_norms) in scores.chunks(TILE).zip(half_norms.chunks(TILE)) {
        let mut errors = [f32::INFINITY; TILE];
        for ((found, &dot), &half_norm) in errors.iter_mut().zip(scores).zip(half_norms) {
            *found = error - dot + half_norm;
        }
        // Hardly any tile has something to offer: looked at as a whole first, which takes a few vector instructions.
        let worst = steps.last().filter(|_| steps.len() >= keep).map(|step| step.error);
        if worst.is_none_or(|worst| errors.iter().fold(false, |any, &error| any | (error < worst))) {
            for (&error, code) in errors.iter().zip(code..).take(scores.len()) {
                if steps.len() < keep || error < steps[steps.len() - 1].error {
                    insert(steps, Step { error, parent, code: code as u16 }, keep);
                }
            }
        }
        code += TILE;
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

/// The inner products of some residuals with each entry of a tile.
fn multiply<const N: usize>(residuals: [&[f32]; N], tile: &[f32]) -> [[f32; TILE]; N] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features that the function is compiled for, as was just asked.
        return unsafe { multiply_avx2(residuals, tile) };
    }
    multiply_any(residuals, tile, |a, b, c| a * b + c)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_avx2<const N: usize>(residuals: [&[f32]; N], tile: &[f32]) -> [[f32; TILE]; N] {
    multiply_any(residuals, tile, f32::mul_add)
}

/// Works on parts of a tile small enough for all sums to stay in registers while all coordinates pass by. Plain arithmetic,
/// which the compiler turns into whatever vector instructions the caller is compiled for. Each sum adds its products in the
/// coordinates' order, whatever is computed beside it.
#[inline(always)]
fn multiply_any<const N: usize>(
    residuals: [&[f32]; N],
    tile: &[f32],
    mul_add: impl Fn(f32, f32, f32) -> f32,
) -> [[f32; TILE]; N] {
    const PART: usize = 16;
    let mut sums = [[0.0; TILE]; N];
    let dimension = tile.len() / TILE;
    let residuals = residuals.map(|residual| &residual[..dimension]);
    for part in (0..TILE).step_by(PART) {
        let mut some = [[0.0_f32; PART]; N];
        for (coordinate, row) in tile.chunks_exact(TILE).enumerate() {
            let Some(row) = row[part..].first_chunk::<PART>() else { break };
            for (sums, residual) in some.iter_mut().zip(&residuals) {
                let weight = residual[coordinate];
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum = mul_add(weight, value, *sum);
                }
            }
        }
        for (sums, some) in sums.iter_mut().zip(&some) {
            sums[part..part + PART].copy_from_slice(some);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quantizer::{TILE, books};

    /// Values in -1..1 from a linear congruential generator (Knuth's MMIX constants).
    fn noise(mut seed: u64) -> impl FnMut() -> f32 {
        move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        }
    }

    fn error(books: &Codebooks, latent: &[f32], frame: &TokenFrame) -> f32 {
        let mut sum = vec![0.0; books.dimension()];
        books.sum(frame, &mut sum);
        sum.iter().zip(latent).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// The definition, written as plainly as can be.
    fn greedy(books: &Codebooks, latent: &[f32], depth: usize) -> TokenFrame {
        let mut left = latent.to_vec();
        let mut codes = Vec::new();
        for book in &books.books()[..depth] {
            let distance = |code: usize| -> f32 {
                left.iter().zip(book.entry(code as u16, books.dimension())).map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let best = (0..book.size()).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap();
            for (value, taken) in left.iter_mut().zip(book.entry(best as u16, books.dimension())) {
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
    fn vector_and_scalar_paths_agree_whatever_is_computed_beside_them() {
        let mut values = noise(4);
        let books = books(64, &[1024, 50], &mut values);
        let residuals: [Vec<f32>; 4] = [(); 4].map(|()| (0..64).map(|_| values()).collect());
        for tile in books.books().iter().flat_map(|book| book.tiles().chunks_exact(TILE * 64)) {
            let four = multiply(residuals.each_ref().map(Vec::as_slice), tile);
            for (residual, four) in residuals.iter().zip(four) {
                assert_eq!(multiply([residual], tile), [four]);
                let [plain] = multiply_any([residual], tile, |a, b, c| a * b + c);
                assert!(four.iter().zip(plain).all(|(a, b)| (a - b).abs() < 1e-5));
            }
        }
    }

    #[test]
    fn many_latents_are_coded_as_each_alone() {
        let mut values = noise(6);
        let books = books(16, &[64, 33, 128, 7], &mut values);
        for beam in [1, 3, 4, 7] {
            let (mut one, mut many) = (BeamSearch::new(books.clone(), beam), BeamSearch::new(books.clone(), beam));
            for count in 0..12 {
                let latents: Vec<f32> = (0..16 * count).map(|_| values()).collect();
                for depth in 1..=4 {
                    let mut found = Vec::new();
                    many.find_many(&latents, depth, |frame| found.push(frame));
                    let alone: Vec<_> = latents.chunks(16).map(|latent| one.find(latent, depth)).collect();
                    assert_eq!(found, alone);
                    assert_eq!(one.error(), many.error());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn codes_always_lie_in_their_books(latent in prop::collection::vec(-1e6_f32..1e6, 8), beam in 0_usize..40) {
            let books = books(8, &[3, 40, 17], &mut noise(5));
            let frame = BeamSearch::new(Arc::clone(&books), beam).find(&latent, 3);
            for (&code, book) in frame.codes().iter().zip(books.books()) {
                prop_assert!(usize::from(code) < book.size());
            }
        }
    }
}
