//! The entropy model's weights, as its file has them, checked: whatever passes, nothing computed with them overflows.

use std::{fmt, path::Path};

use parlo_tokens::{CodeLayout, WINDOW};

use super::{
    arithmetic::{Curves, exp2},
    kv_cache::SLOTS,
    matrix::{Matrix, ROWS},
    tensors::{Dense, Tensors},
};
use crate::error::ModelError;

/// The most layers: each adds two numbers of up to 2^26 to a stream that holds 2^31.
const MOST_LAYERS: usize = 8;

/// A model for codebooks of equal size.
pub(super) struct Weights {
    pub(super) layout: CodeLayout,
    pub(super) curves: Curves,
    /// Entries of each codebook.
    pub(super) entries: usize,
    /// Length of an embedding.
    pub(super) embedding: usize,
    /// Length of memories, questions, and answers.
    pub(super) width: usize,
    /// Parts of that which attend apart.
    pub(super) heads: usize,
    /// Most inputs or outputs of any layer.
    pub(super) widest: usize,
    /// How many frames back is remembered.
    pub(super) reach: u64,
    /// What `normalise` scales vectors of `width` by.
    pub(super) norm: i32,
    /// Sum of embeddings to the stream, and what a memory's content adds to it.
    pub(super) enter: Dense,
    pub(super) content_in: Dense,
    pub(super) content_out: Dense,
    /// Where the stream of each frame to be coded begins, in 2^-12.
    pub(super) question: Vec<i32>,
    pub(super) layers: Vec<Layer>,
    pub(super) books: Vec<Book>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, heads, reach, .. } = self;
        let (layers, books) = (self.layers.len(), self.books.len());
        write!(f, "{layers} layers of {width} in {heads} heads, {reach} frames back, for {books} books")
    }
}

/// Attention of questions to memories, and two dense layers.
pub(super) struct Layer {
    pub(super) query: Dense,
    pub(super) key: Dense,
    pub(super) value: Dense,
    pub(super) mix: Dense,
    pub(super) enter: Dense,
    pub(super) leave: Dense,
    /// Products of queries and keys, times this, are 256ths of an octave in 24 fractional bits.
    pub(super) score: i32,
    /// Scores by distance: of each head [`DISTANCES`], in order of slots; see [`Layer::distances`].
    distances: Vec<i32>,
    /// Each head's score of attending to no memory.
    pub(super) nothing: Vec<i32>,
}

/// Slots, and as many again as a tile has rows, so that the last tile does not go round.
const DISTANCES: usize = SLOTS + ROWS;

impl Layer {
    /// Scores by distance of the 16 slots from `slot` on, where frame `number` asks. Of slots out of reach: any.
    pub(super) fn distances(&self, head: usize, slot: usize, number: u64) -> &[i32; ROWS] {
        // The slot is this many after the frame's own, which is as many slots as there are less how far it is back.
        let after = (slot as u64).wrapping_sub(number) as usize % SLOTS;
        self.distances[head * DISTANCES + after..].first_chunk().unwrap_or(&[0; ROWS])
    }
}

/// What takes an answer to the logits of one codebook's codes.
pub(super) enum Book {
    Network(Box<BookNetwork>),
    /// Always the same: sums of weights, as `Distribution` takes them.
    Table(Vec<u64>),
}

pub(super) struct BookNetwork {
    pub(super) answer: Dense,
    /// Of the sum of the coarser codes' embeddings, and of the last one's own. The first book has none.
    pub(super) before: Option<[Dense; 2]>,
    pub(super) middle: Dense,
    pub(super) leave: Dense,
    /// [entries, embedding].
    pub(super) embeddings: Matrix,
    /// Embeddings times this are summed, in 16 fractional bits.
    pub(super) gain: i32,
    /// Products with embeddings, times this, are 256ths of an octave in 24 fractional bits.
    pub(super) product: i32,
    /// What is added to them.
    pub(super) bias: Vec<i16>,
}

impl Weights {
    pub(super) fn parse(file: &Path, bytes: &[u8], layout: &CodeLayout) -> Result<Self, ModelError> {
        let t = Tensors::parse(file, bytes)?;
        let [modelled, entries, embedding] = t.shape("embeddings")?;
        if layout.sizes().iter().any(|&size| size as usize != entries) || !(1..=layout.depth()).contains(&modelled) {
            let sizes = layout.sizes();
            let reason = format!("has {modelled} books of {entries} entries, and the bundle's have {sizes:?}");
            return Err(t.wrong("embeddings", reason));
        }
        if !entries.is_multiple_of(ROWS) {
            return Err(t.wrong("embeddings", format!("has {entries} entries; multiples of {ROWS} are possible")));
        }
        let embedding = t.multiple("embeddings", embedding)?;
        let width = t.rows("enter.weight")?;
        let content = t.rows("content_in.weight")?;
        let hidden = t.rows("layers.0.enter.weight")?;
        let [heads, reach] = t.shape("layers.0.distance")?;
        if heads == 0 || width % heads != 0 || !(width / heads).is_multiple_of(ROWS) {
            let reason = format!("has {heads} heads, which do not part {width} in multiples of {ROWS}");
            return Err(t.wrong("layers.0.distance", reason));
        }
        if reach == 0 || reach as u64 > WINDOW {
            return Err(
                t.wrong("layers.0.distance", format!("reaches {reach} frames back; 1 to {WINDOW} are possible"))
            );
        }
        let [layers] = t.shape("score")?;
        if !(1..=MOST_LAYERS).contains(&layers) {
            return Err(t.wrong("score", format!("has {layers} layers; 1 to {MOST_LAYERS} are possible")));
        }
        let score = t.factors("score", layers, width / heads)?;
        let layers = score.iter().enumerate().map(|(at, &score)| layer(&t, at, score, [heads, reach, width, hidden]));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let curves = t.curves()?;
        let books = books(&t, &curves, layout, [modelled, entries, embedding, width])?;
        let norm = t.words("norm", &[1], (1 << 18) - 1)?[0];
        let widest = books.iter().map(|book| if let Book::Network(book) = book { book.answer.bias.len() } else { 0 });
        Ok(Self {
            layout: *layout,
            curves,
            entries,
            embedding,
            width,
            heads,
            widest: widest.chain([embedding, width, content, hidden]).max().unwrap_or(0),
            reach: reach as u64,
            norm,
            enter: t.dense("enter", width, embedding)?,
            content_in: t.dense("content_in", content, width)?,
            content_out: t.dense("content_out", width, content)?,
            question: t.words("question", &[width], 1 << 26)?,
            layers,
            books,
        })
    }
}

fn layer(
    t: &Tensors<'_>,
    at: usize,
    score: i32,
    [heads, reach, width, hidden]: [usize; 4],
) -> Result<Layer, ModelError> {
    let name = |part: &str| format!("layers.{at}.{part}");
    // Beside products of up to 2^26, so that differences of scores are below 2^28.
    let distance = t.words(&name("distance"), &[heads, reach], 1 << 26)?;
    let mut distances = vec![0; heads * DISTANCES];
    for (own, distance) in distances.chunks_exact_mut(DISTANCES).zip(distance.chunks_exact(reach)) {
        for (back, &score) in (1..).zip(distance) {
            own[SLOTS - back] = score;
        }
    }
    Ok(Layer {
        query: t.dense(&name("query"), width, width)?,
        key: t.dense(&name("key"), width, width)?,
        value: t.dense(&name("value"), width, width)?,
        mix: t.dense(&name("mix"), width, width)?,
        enter: t.dense(&name("enter"), hidden, width)?,
        leave: t.dense(&name("leave"), width, hidden)?,
        score,
        distances,
        nothing: t.words(&name("nothing"), &[heads], 1 << 26)?,
    })
}

fn books(
    t: &Tensors<'_>,
    curves: &Curves,
    layout: &CodeLayout,
    [modelled, entries, embedding, width]: [usize; 4],
) -> Result<Vec<Book>, ModelError> {
    let embeddings = t.bytes("embeddings", &[modelled, entries, embedding])?;
    // All of a frame's embeddings, each up to 127, times their gains are far from what 32 bits hold.
    let gains = t.words("gains", &[modelled], (1 << 30) / 127 / modelled as u32)?;
    let products = t.factors("product", modelled, embedding)?;
    let embeddings = embeddings.chunks_exact(entries * embedding);
    let networks = embeddings.zip(gains.iter().zip(&products)).enumerate().map(|(at, (values, (&gain, &product)))| {
        let name = |part: &str| format!("books.{at}.{part}");
        let inner = t.rows(&name("answer.weight"))?;
        let before = |part| t.unbiased(&name(part), inner, embedding);
        Ok(Book::Network(Box::new(BookNetwork {
            answer: t.dense(&name("answer"), inner, width)?,
            before: if at == 0 { None } else { Some([before("before")?, before("recent")?]) },
            middle: t.dense(&name("middle"), inner, inner)?,
            leave: t.dense(&name("leave"), embedding, inner)?,
            embeddings: Matrix::new(values, embedding),
            gain,
            product,
            bias: t.shorts(&name("bias"), &[entries])?,
        })))
    });
    let tables = (modelled..layout.depth()).map(|at| {
        let bias = t.shorts(&format!("books.{at}.bias"), &[entries])?;
        let most = bias.iter().map(|&logit| i32::from(logit)).max().unwrap_or(0);
        let mut sums = vec![0; entries + 1];
        super::distribution::accumulate(
            bias.iter().map(|&logit| exp2(&curves.exp2, most - i32::from(logit))),
            &mut sums,
        );
        Ok(Book::Table(sums))
    });
    networks.chain(tables).collect()
}
