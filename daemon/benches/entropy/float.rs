//! The entropy model's arithmetic with real numbers: the same steps on the same weights, nothing rounded, no tables. What the
//! integers' rounding costs is measured against this. docs/entropy.md has the arithmetic, and the tensors' names.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, bail};
use parlo_tokens::TokenFrame;
use safetensors::{Dtype, SafeTensors};

/// The model that a bundle ships. Values are in the integers' units, but whole only by chance.
pub(crate) struct FloatModel {
    tensors: HashMap<String, Vec<f32>>,
    width: usize,
    heads: usize,
    layers: usize,
    reach: usize,
    embedding: usize,
    entries: usize,
}

/// Key and value of one frame for each layer.
type Memory = Vec<(Vec<f32>, Vec<f32>)>;

impl FloatModel {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let found = SafeTensors::deserialize(&bytes).with_context(|| format!("cannot use {}", file.display()))?;
        let mut tensors = HashMap::new();
        for (name, view) in found.iter() {
            let data = view.data();
            let values: Vec<f32> = match view.dtype() {
                Dtype::I8 => data.iter().map(|&byte| f32::from(byte.cast_signed())).collect(),
                Dtype::I16 => data.as_chunks().0.iter().map(|&bytes| f32::from(i16::from_le_bytes(bytes))).collect(),
                Dtype::I32 => data.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes) as f32).collect(),
                other => bail!("{}: {name} is of type {other:?}", file.display()),
            };
            tensors.insert(name.to_owned(), values);
        }
        let shape = |name: &str| -> anyhow::Result<Vec<usize>> { Ok(found.tensor(name)?.shape().to_vec()) };
        let (distance, embeddings) = (shape("layers.0.distance")?, shape("embeddings")?);
        Ok(Self {
            width: shape("question")?[0],
            heads: distance[0],
            reach: distance[1],
            layers: shape("score")?[0],
            embedding: embeddings[2],
            entries: embeddings[1],
            tensors,
        })
    }

    /// Bits that each book's codes take in all, where each frame knows those before it, as many as `reach` or the model's.
    pub(crate) fn bits(&self, frames: &[TokenFrame], reach: usize) -> Vec<f64> {
        let mut bits = vec![0.0; frames.first().map_or(0, TokenFrame::depth)];
        let mut memories: Vec<Memory> = Vec::new();
        for (t, frame) in frames.iter().enumerate() {
            let answer = self.answer(&memories[t.saturating_sub(reach.min(self.reach))..]);
            let mut total = vec![0.0; self.embedding];
            for (k, &code) in frame.codes().iter().enumerate() {
                let last = k.checked_sub(1).map(|book| self.entry(book, frame.codes()[book]));
                bits[k] += cost(&self.logits(k, &answer, &sum(&total), last), usize::from(code));
                let gain = self.t("gains")[k];
                total.iter_mut().zip(self.entry(k, code)).for_each(|(total, value)| *total += gain * value);
            }
            memories.push(self.memory(&sum(&total)));
        }
        bits
    }

    fn t(&self, name: &str) -> &[f32] {
        self.tensors.get(name).map_or(&[], Vec::as_slice)
    }

    fn entry(&self, book: usize, code: u16) -> &[f32] {
        let at = (book * self.entries + usize::from(code)) * self.embedding;
        &self.t("embeddings")[at..at + self.embedding]
    }

    /// A layer's sums times its multipliers; one without a bias has none.
    fn dense(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let rows = self.t(&format!("{name}.weight")).chunks_exact(x.len());
        let bias = self.t(&format!("{name}.bias")).iter().copied().chain(std::iter::repeat(0.0));
        let multipliers = self.t(&format!("{name}.multiplier"));
        rows.zip(bias).zip(multipliers).map(|((row, bias), m)| (dot(row, x) + bias) * m / FRACTION).collect()
    }

    /// To the root mean square that the model says.
    fn norm(&self, x: &[f32]) -> Vec<f32> {
        let scale = self.t("norm")[0] / 256.0 / dot(x, x).max(f32::MIN_POSITIVE).sqrt();
        limited(x.iter().map(|value| value * scale).collect())
    }

    fn memory(&self, sum: &[f32]) -> Memory {
        let x = self.dense("enter", sum);
        let inner = self.dense("content_out", &gelu(self.dense("content_in", &self.norm(&x))));
        let normal = self.norm(&add(x, &inner));
        let dense = |layer, part| limited(self.dense(&format!("layers.{layer}.{part}"), &normal));
        (0..self.layers).map(|layer| (dense(layer, "key"), dense(layer, "value"))).collect()
    }

    fn answer(&self, known: &[Memory]) -> Vec<f32> {
        let mut x = self.t("question").to_vec();
        let size = self.width / self.heads;
        for layer in 0..self.layers {
            let name = |part| format!("layers.{layer}.{part}");
            let query = limited(self.dense(&name("query"), &self.norm(&x)));
            let (distance, nothing) = (self.t(&name("distance")), self.t(&name("nothing")));
            let factor = self.t("score")[layer] / FRACTION;
            let mut mixed = vec![0.0; self.width];
            for (head, mixed) in mixed.chunks_exact_mut(size).enumerate() {
                let part = head * size..(head + 1) * size;
                let distance = |memory| distance[head * self.reach + known.len() - memory - 1];
                let scores: Vec<f32> = (known.iter().enumerate())
                    .map(|(at, memory)| {
                        dot(&query[part.clone()], &memory[layer].0[part.clone()]) * factor + distance(at)
                    })
                    .collect();
                let most = scores.iter().copied().fold(nothing[head], f32::max);
                let mut total = ((nothing[head] - most) / 256.0).exp2();
                for (score, memory) in scores.iter().zip(known) {
                    let weight = ((score - most) / 256.0).exp2();
                    total += weight;
                    mixed.iter_mut().zip(&memory[layer].1[part.clone()]).for_each(|(mixed, v)| *mixed += weight * v);
                }
                // Twice: what attention puts out has half the step of the values.
                mixed.iter_mut().for_each(|value| *value *= 2.0 / total);
            }
            x = add(x, &self.dense(&name("mix"), &limited(mixed)));
            let hidden = gelu(self.dense(&name("enter"), &self.norm(&x)));
            x = add(x, &self.dense(&name("leave"), &hidden));
        }
        self.norm(&x)
    }

    fn logits(&self, k: usize, answer: &[f32], before: &[f32], last: Option<&[f32]>) -> Vec<f32> {
        let name = |part| format!("books.{k}.{part}");
        let mut x = self.dense(&name("answer"), answer);
        if let Some(last) = last {
            x = add(x, &self.dense(&name("before"), before));
            x = add(x, &self.dense(&name("recent"), last));
        }
        let x = gelu(x);
        let middle = gelu(self.dense(&name("middle"), &x));
        let direction = limited(self.dense(&name("leave"), &limited(add(x, &middle))));
        let factor = self.t("product")[k] / FRACTION;
        let entries = (0..self.entries).map(|code| self.entry(k, code as u16));
        entries.zip(self.t(&name("bias"))).map(|(entry, bias)| dot(&direction, entry) * factor + bias).collect()
    }
}

/// Multipliers are in units of its inverse.
const FRACTION: f32 = (1 << 24) as f32;

/// Bits of a code where logits are in 256ths of an octave.
fn cost(logits: &[f32], code: usize) -> f64 {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let total: f64 = logits.iter().map(|logit| (f64::from(logit - most) / 256.0).exp2()).sum();
    total.log2() - f64::from(logits[code] - most) / 256.0
}

fn sum(total: &[f32]) -> Vec<f32> {
    limited(total.iter().map(|value| value / 65536.0).collect())
}

fn limited(mut x: Vec<f32>) -> Vec<f32> {
    x.iter_mut().for_each(|value| *value = value.clamp(-127.0, 127.0));
    x
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Sixteen sums side by side: the compiler keeps them in vector registers.
    let mut sums = [0.0; 16];
    let (left, right) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for n in 0..16 {
            sums[n] += x[n] * y[n];
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn add(mut x: Vec<f32>, y: &[f32]) -> Vec<f32> {
    x.iter_mut().zip(y).for_each(|(a, b)| *a += b);
    x
}

/// Of limited values in steps of 1/16, in the same steps.
fn gelu(x: Vec<f32>) -> Vec<f32> {
    let mut x = limited(x);
    x.iter_mut().for_each(|v| *v *= 0.5 * (1.0 + erf(*v / 16.0 * std::f32::consts::FRAC_1_SQRT_2)));
    x
}

/// Abramowitz and Stegun, formula 7.1.26: right to 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - series * (-x * x).exp()).copysign(x)
}
