//! The network: from frames to memories, from memories to an answer, from an answer to a book's probabilities.

use super::{
    arithmetic::{add_scaled, clamp8, clamp8_each, finish_logits, normalise, rounded, scale, weigh},
    attention::Attention,
    distribution::{Prediction, accumulate},
    kernel::{Lanes, products},
    kv_cache::{KvCache, View},
    tensors::Dense,
    weights::{Book, Weights},
};

/// One frame at a time, in scratch memory of its own: computing does not allocate.
pub(super) struct Network {
    lanes: Lanes,
    attention: Attention,
    /// What the frame's question found: `[width]`.
    answer: Vec<i8>,
    /// Sum of the embeddings of the frame's codes so far, in 16 fractional bits; that in 8 bits; the last one alone.
    total: Vec<i32>,
    before: Vec<i8>,
    recent: Vec<i8>,
    /// What layers add to, in 2^-12: `[width]`; and that in 8 bits.
    stream: Vec<i32>,
    normal: Vec<i8>,
    query: Vec<i8>,
    mixed: Vec<i8>,
    value: Vec<i8>,
    hidden: Vec<i8>,
    activated: Vec<i8>,
    sums: Vec<i32>,
    wide: Vec<i64>,
    /// What a book's network makes of all that, to be multiplied with its embeddings: `[embedding]`.
    direction: Vec<i8>,
    /// Of one book: its logits, then their weights; and sums of these.
    logits: Vec<i32>,
    cumulated: Vec<u64>,
}

impl Dense {
    /// Outputs before they are brought into any range, in `sums`.
    fn apply<'s>(&self, lanes: Lanes, x: &[i8], sums: &'s mut [i32]) -> &'s [i32] {
        let sums = self.sum(lanes, x, sums);
        scale(lanes, sums, &self.multiplier);
        sums
    }

    /// The same before the multipliers.
    fn sum<'s>(&self, lanes: Lanes, x: &[i8], sums: &'s mut [i32]) -> &'s mut [i32] {
        let sums = &mut sums[..self.bias.len()];
        sums.copy_from_slice(&self.bias);
        products(lanes, self.weight.tiles(), x, sums, 1);
        sums
    }

    /// Adds the outputs, in 2^-12, to the stream.
    fn add(&self, lanes: Lanes, x: &[i8], sums: &mut [i32], stream: &mut [i32]) {
        let sums = self.apply(lanes, x, sums);
        stream.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
    }
}

impl Network {
    pub(super) fn new(weights: &Weights, lanes: Lanes) -> Self {
        let (width, widest) = (weights.width, weights.widest);
        let bytes = |length| vec![0_i8; length];
        Self {
            lanes,
            attention: Attention::new(weights),
            answer: bytes(width),
            total: vec![0; weights.embedding],
            before: bytes(weights.embedding),
            recent: bytes(weights.embedding),
            stream: vec![0; width],
            normal: bytes(width),
            query: bytes(width),
            mixed: bytes(width),
            value: bytes(width),
            hidden: bytes(widest),
            activated: bytes(widest),
            sums: vec![0; widest],
            wide: vec![0; widest],
            direction: bytes(weights.embedding),
            logits: vec![0; weights.entries],
            cumulated: vec![0; weights.entries + 1],
        }
    }

    /// Finds out what the memories in view say about the frame that looks, and starts it without a code.
    pub(super) fn ask(&mut self, weights: &Weights, cache: [&KvCache; 2], view: &View) {
        let lanes = self.lanes;
        self.attention.look(view);
        self.stream.copy_from_slice(&weights.question);
        for (at, layer) in weights.layers.iter().enumerate() {
            normalise(lanes, &self.stream, weights.norm, &mut self.normal);
            clamp8_each(layer.query.apply(lanes, &self.normal, &mut self.sums), &mut self.query);
            self.attention.attend(lanes, weights, at, cache, &self.query, &mut self.mixed);
            layer.mix.add(lanes, &self.mixed, &mut self.sums, &mut self.stream);
            self.add_hidden(weights, &layer.enter, &layer.leave);
        }
        normalise(lanes, &self.stream, weights.norm, &mut self.answer);
        self.begin();
    }

    /// Starts a frame without a code.
    pub(super) fn begin(&mut self) {
        self.total.fill(0);
        self.before.fill(0);
        self.recent.fill(0);
    }

    /// Adds the next code of the frame, which lies in its book.
    pub(super) fn take(&mut self, weights: &Weights, book: usize, code: u16) {
        let Book::Network(book) = &weights.books[book] else { return };
        book.embeddings.row(usize::from(code), &mut self.recent);
        for ((total, before), &recent) in self.total.iter_mut().zip(&mut self.before).zip(&self.recent) {
            *total += book.gain * i32::from(recent);
            *before = clamp8((*total + (1 << 15)) >> 16);
        }
    }

    /// Remembers the frame, all of whose codes were taken, by this number.
    pub(super) fn remember(&mut self, weights: &Weights, cache: &mut KvCache, number: u64) {
        let lanes = self.lanes;
        self.stream.copy_from_slice(weights.enter.apply(lanes, &self.before, &mut self.sums));
        self.add_hidden(weights, &weights.content_in, &weights.content_out);
        normalise(lanes, &self.stream, weights.norm, &mut self.normal);
        cache.begin(number);
        for (at, layer) in weights.layers.iter().enumerate() {
            // The query's place serves for the key.
            clamp8_each(layer.key.apply(lanes, &self.normal, &mut self.sums), &mut self.query);
            clamp8_each(layer.value.apply(lanes, &self.normal, &mut self.sums), &mut self.value);
            cache.set(number, at, &self.query, &self.value);
        }
    }

    /// Adds to the stream what two layers, with the activation between them, make of it.
    fn add_hidden(&mut self, weights: &Weights, enter: &Dense, leave: &Dense) {
        let lanes = self.lanes;
        normalise(lanes, &self.stream, weights.norm, &mut self.normal);
        let hidden = &mut self.hidden[..enter.bias.len()];
        weights.curves.activate(enter.apply(lanes, &self.normal, &mut self.sums), hidden);
        leave.add(lanes, hidden, &mut self.sums, &mut self.stream);
    }

    /// How probable the codes of a book are, after the question and the frame's codes taken so far.
    pub(super) fn predict<'a>(&'a mut self, weights: &'a Weights, book: usize) -> Prediction<'a> {
        let book = match &weights.books[book] {
            Book::Network(book) => book,
            Book::Table(sums) => return Prediction::new(sums),
        };
        let (lanes, curves) = (self.lanes, &weights.curves);
        let inner = book.answer.bias.len();
        let (wide, hidden, activated) =
            (&mut self.wide[..inner], &mut self.hidden[..inner], &mut self.activated[..inner]);
        wide.fill(0);
        let inputs = [&self.before, &self.recent];
        let before = book.before.iter().flatten().zip(inputs);
        for (layer, x) in std::iter::once((&book.answer, &self.answer)).chain(before) {
            add_scaled(lanes, wide, layer.sum(lanes, x, &mut self.sums), &layer.multiplier);
        }
        let sums = &mut self.sums[..inner];
        sums.iter_mut().zip(wide).for_each(|(sum, &mut wide)| *sum = rounded(wide));
        curves.activate(sums, hidden);
        curves.activate(book.middle.apply(lanes, hidden, &mut self.sums), activated);
        for (value, &more) in hidden.iter_mut().zip(&*activated) {
            *value = clamp8(i32::from(*value) + i32::from(more));
        }
        clamp8_each(book.leave.apply(lanes, hidden, &mut self.sums), &mut self.direction);
        self.logits.fill(0);
        products(lanes, book.embeddings.tiles(), &self.direction, &mut self.logits, 1);
        let most = finish_logits(lanes, &mut self.logits, book.product, &book.bias);
        weigh(lanes, &mut self.logits, most, &curves.exp2);
        accumulate(self.logits.iter().copied(), &mut self.cumulated);
        Prediction::new(&self.cumulated)
    }
}
