//! An entropy model of random weights, from a generator that gives the same everywhere.

use std::{collections::BTreeMap, path::Path};

use parlo_model::{EntropyModel, ModelError};
use parlo_tokens::{CodeLayout, TokenFrame};
use safetensors::{Dtype, tensor::TensorView};

/// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`.
    pub fn within(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1).unsigned_abs()).cast_signed()
    }

    /// A frame of this depth, all codes alike.
    pub fn frame(&mut self, layout: &CodeLayout, depth: usize) -> TokenFrame {
        let codes: Vec<u16> =
            layout.sizes()[..depth].iter().map(|&size| self.within(0, i64::from(size) - 1) as u16).collect();
        TokenFrame::new(&codes).unwrap()
    }

    pub fn frames(&mut self, layout: &CodeLayout, depth: usize, count: usize) -> Vec<TokenFrame> {
        (0..count).map(|_| self.frame(layout, depth)).collect()
    }
}

/// Sizes of a model.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub books: usize,
    pub modelled: usize,
    pub entries: usize,
    pub embedding: usize,
    pub width: usize,
    pub heads: usize,
    pub reach: usize,
    pub layers: usize,
    pub hidden: usize,
    pub content: usize,
    /// Width of the networks of the first half of the books, and of the others.
    pub inner: [usize; 2],
}

/// Small enough for tests, and no two sizes equal that need not be.
pub const SMALL: Sizes = Sizes {
    books: 4,
    modelled: 3,
    entries: 80,
    embedding: 16,
    width: 96,
    heads: 3,
    reach: 40,
    layers: 2,
    hidden: 112,
    content: 48,
    inner: [64, 32],
};

/// As large as was ever planned, and as the model that ships.
pub const LARGE: Sizes = Sizes {
    books: 12,
    modelled: 12,
    entries: 1024,
    embedding: 64,
    width: 192,
    heads: 6,
    reach: 256,
    layers: 3,
    hidden: 384,
    content: 256,
    inner: [128, 64],
};
pub const SHIPPED: Sizes = Sizes { width: 160, heads: 5, hidden: 288, content: 160, ..LARGE };

impl Sizes {
    pub fn layout(&self) -> CodeLayout {
        CodeLayout::new(&vec![self.entries as u32; self.books]).unwrap()
    }
}

/// A tensor: type, shape, bytes.
pub type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// A model's tensors by name.
#[derive(Clone)]
pub struct Synthetic {
    pub layout: CodeLayout,
    pub tensors: BTreeMap<String, Tensor>,
}

/// 2^24.
const ONE: f64 = 16_777_216.0;
/// Root mean squares: of weights from -127 to 127, of norms, of what the activation lets through.
const WEIGHT: f64 = 73.0;
const NORM: f64 = 24.0;
const ACTIVE: f64 = 20.0;

impl Synthetic {
    /// Weights at random, and multipliers such that what comes out uses its range.
    pub fn new(sizes: &Sizes, seed: u64) -> Self {
        let Sizes { modelled, entries, embedding, width, heads, reach, hidden, content, .. } = *sizes;
        let mut made = Self { layout: sizes.layout(), tensors: BTreeMap::new() };
        let random = &mut Random(seed);
        let exp2: Vec<i32> = (0..256).map(|n| (4_194_304.0 * (-f64::from(n) / 256.0).exp2()).round() as i32).collect();
        made.words("exp2", &[256], exp2);
        // Like GELU: a line, with a dip below zero.
        let gelu = (-128..128_i32).map(|x| if x >= 0 { x } else { (x / 8).max(-3) + ((-x) / 16).min(3) });
        made.bytes("gelu", &[256], gelu.map(|x| x.clamp(-127, 127) as i8).collect());
        made.random_bytes(random, "embeddings", &[modelled, entries, embedding]);
        made.words("gains", &[modelled], (0..modelled).map(|_| random.within(10_000, 20_000) as i32).collect());
        let sizes_of = |scale: f64| (ONE * scale) as i32;
        let product = 500.0 / (25.0 * WEIGHT * (embedding as f64).sqrt());
        made.words("product", &[modelled], vec![sizes_of(product); modelled]);
        made.words("norm", &[1], vec![((width as f64).sqrt() * NORM * 256.0).round() as i32]);
        made.dense(random, "enter", [width, embedding], [40.0, 4000.0]);
        made.dense(random, "content_in", [content, width], [NORM, 30.0]);
        made.dense(random, "content_out", [width, content], [ACTIVE, 3000.0]);
        made.words("question", &[width], (0..width).map(|_| random.within(-8000, 8000) as i32).collect());
        let score = 300.0 / (900.0 * ((width / heads) as f64).sqrt());
        made.words("score", &[sizes.layers], vec![sizes_of(score); sizes.layers]);
        for layer in 0..sizes.layers {
            let name = |part: &str| format!("layers.{layer}.{part}");
            for part in ["query", "key", "value"] {
                made.dense(random, &name(part), [width, width], [NORM, 30.0]);
            }
            made.dense(random, &name("mix"), [width, width], [25.0, 3000.0]);
            made.dense(random, &name("enter"), [hidden, width], [NORM, 30.0]);
            made.dense(random, &name("leave"), [width, hidden], [ACTIVE, 3000.0]);
            let distance = (0..heads * reach).map(|at| random.within(-900, 100) as i32 - (at % reach) as i32);
            let distance = distance.collect();
            made.words(&name("distance"), &[heads, reach], distance);
            made.words(&name("nothing"), &[heads], (0..heads).map(|_| random.within(-300, 300) as i32).collect());
        }
        for book in 0..sizes.books {
            let name = |part: &str| format!("books.{book}.{part}");
            made.shorts(&name("bias"), &[entries], (0..entries).map(|_| random.within(-2000, 0) as i16).collect());
            if book >= modelled {
                continue;
            }
            let inner = sizes.inner[usize::from(2 * book >= sizes.books)];
            made.dense(random, &name("answer"), [inner, width], [NORM, 25.0]);
            for part in if book > 0 { &["before", "recent"][..] } else { &[] } {
                made.dense(random, &name(part), [inner, embedding], [50.0, 20.0]);
                made.tensors.remove(&name(&format!("{part}.bias")));
            }
            made.dense(random, &name("middle"), [inner, inner], [ACTIVE, 25.0]);
            made.dense(random, &name("leave"), [embedding, inner], [30.0, 25.0]);
        }
        made
    }

    /// The file's bytes.
    pub fn file(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (kind, shape, data))| {
            (name, TensorView::new(*kind, shape.clone(), data).expect("the data fits the shape"))
        });
        safetensors::serialize(views, None).unwrap()
    }

    pub fn load(&self) -> Result<EntropyModel, ModelError> {
        EntropyModel::parse(Path::new("entropy.safetensors"), &self.file(), &self.layout)
    }

    pub fn model(&self) -> EntropyModel {
        self.load().unwrap()
    }

    fn dense(&mut self, random: &mut Random, name: &str, [rows, columns]: [usize; 2], [input, output]: [f64; 2]) {
        self.random_bytes(random, &format!("{name}.weight"), &[rows, columns]);
        let sum = input * WEIGHT * (columns as f64).sqrt();
        let bias = (0..rows).map(|_| random.within(-(sum as i64) / 2, sum as i64 / 2) as i32).collect();
        self.words(&format!("{name}.bias"), &[rows], bias);
        let multiplier = (output / sum * ONE) as i64;
        let multipliers = (0..rows).map(|_| random.within(multiplier * 3 / 4, multiplier * 5 / 4) as i32).collect();
        self.words(&format!("{name}.multiplier"), &[rows], multipliers);
    }

    fn random_bytes(&mut self, random: &mut Random, name: &str, shape: &[usize]) {
        let count: usize = shape.iter().product();
        self.bytes(name, shape, (0..count).map(|_| random.within(-127, 127) as i8).collect());
    }

    pub fn bytes(&mut self, name: &str, shape: &[usize], values: Vec<i8>) {
        let data = values.into_iter().map(i8::cast_unsigned).collect();
        self.tensors.insert(name.to_owned(), (Dtype::I8, shape.to_vec(), data));
    }

    pub fn shorts(&mut self, name: &str, shape: &[usize], values: Vec<i16>) {
        let data = values.into_iter().flat_map(i16::to_le_bytes).collect();
        self.tensors.insert(name.to_owned(), (Dtype::I16, shape.to_vec(), data));
    }

    pub fn words(&mut self, name: &str, shape: &[usize], values: Vec<i32>) {
        let data = values.into_iter().flat_map(i32::to_le_bytes).collect();
        self.tensors.insert(name.to_owned(), (Dtype::I32, shape.to_vec(), data));
    }
}
