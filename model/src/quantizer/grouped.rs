//! Grouped residual quantization: parts of the latent, each with residual codebooks of its own.

use std::sync::Arc;

use parlo_tokens::{MAX_DEPTH, TokenFrame};

use super::{BeamSearch, Codebooks};

/// The codebooks of each part of the latent, in order.
#[derive(Debug)]
pub(crate) struct GroupedBooks {
    groups: Vec<Arc<Codebooks>>,
}

impl GroupedBooks {
    /// Deals out books that are in the order of the codes: book k is of part `k % groups`.
    pub(crate) fn new(books: Codebooks, groups: usize) -> Self {
        let groups = groups.max(1);
        let dimension = books.dimension;
        let mut parts: Vec<Vec<_>> = (0..groups).map(|_| Vec::new()).collect();
        for (k, book) in books.books.into_iter().enumerate() {
            parts[k % groups].push(book);
        }
        Self { groups: parts.into_iter().map(|books| Arc::new(Codebooks { dimension, books })).collect() }
    }

    /// Length of a whole latent.
    pub(crate) fn dimension(&self) -> usize {
        self.groups.iter().map(|books| books.dimension).sum()
    }

    /// Writes what the frame stands for: each part the sum of its entries, zeros where it has no code. The frame must fit.
    pub(crate) fn sum(&self, frame: &TokenFrame, latent: &mut [f32]) {
        latent.fill(0.0);
        let count = self.groups.len();
        for (k, &code) in frame.codes().iter().enumerate() {
            let books = &self.groups[k % count];
            let Some(book) = books.books.get(k / count) else { continue };
            let part = latent.chunks_exact_mut(books.dimension).nth(k % count).unwrap_or_default();
            for (sum, value) in part.iter_mut().zip(book.entry(code, books.dimension)) {
                *sum += value;
            }
        }
    }
}

/// A beam search for each part.
#[derive(Debug)]
pub(crate) struct GroupedSearch {
    searches: Vec<BeamSearch>,
    part: usize,
    error: f32,
}

impl GroupedSearch {
    pub(crate) fn new(books: &GroupedBooks, beam: usize) -> Self {
        let part = books.groups.first().map_or(1, |books| books.dimension);
        let searches = books.groups.iter().map(|books| BeamSearch::new(Arc::clone(books), beam)).collect();
        Self { searches, part, error: 0.0 }
    }

    /// The squared length of what the last search left over.
    pub(crate) fn error(&self) -> f32 {
        self.error
    }

    /// The first `depth` codes.
    pub(crate) fn find(&mut self, latent: &[f32], depth: usize) -> TokenFrame {
        let count = self.searches.len();
        let mut codes = [0; MAX_DEPTH];
        self.error = 0.0;
        for (group, (search, part)) in self.searches.iter_mut().zip(latent.chunks_exact(self.part)).enumerate() {
            // How many of the first `depth` codes are of this part.
            let stages = depth.saturating_sub(group).div_ceil(count);
            if stages == 0 {
                self.error += part.iter().map(|value| value * value).sum::<f32>();
                continue;
            }
            let found = search.find(part, stages);
            self.error += search.error();
            for (stage, &code) in found.codes().iter().enumerate() {
                if let Some(place) = codes.get_mut(stage * count + group) {
                    *place = code;
                }
            }
        }
        TokenFrame::new(&codes[..depth.clamp(1, MAX_DEPTH)])
            .unwrap_or_else(|_| unreachable!("the depth was brought into range"))
    }
}
