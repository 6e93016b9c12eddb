//! The entropy model in floats, as it was trained: what rounding it to integers costs is measured against this.
//!
//! `model/training/parlo_training/entropy.py` describes the network; this computes it one frame at a time, plainly.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, bail};
use parlo_tokens::TokenFrame;
use safetensors::{Dtype, SafeTensors};

/// The trained model.
pub(crate) struct FloatModel {
    tensors: HashMap<String, Vec<f32>>,
    /// How often each code is used: [book][code], of a total of 65536.
    pub(crate) tables: Vec<[u32; 1024]>,
    width: usize,
    heads: usize,
    layers: usize,
    reach: usize,
    embedding: usize,
    entries: usize,
}

/// Keys and values of one frame, one after the other for each layer.
type Memory = Vec<(Vec<f32>, Vec<f32>)>;

impl FloatModel {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let found = SafeTensors::deserialize(&bytes).with_context(|| format!("cannot use {}", file.display()))?;
        let mut tensors = HashMap::new();
        let mut tables = Vec::new();
        for (name, view) in found.iter() {
            match view.dtype() {
                Dtype::F16 => {
                    let values = view.data().chunks_exact(2).map(|b| half(u16::from_le_bytes([b[0], b[1]])));
                    tensors.insert(name.to_owned(), values.collect());
                }
                Dtype::I32 if name == "tables" => {
                    let values: Vec<u32> =
                        view.data().chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                    for row in values.chunks_exact(1024) {
                        tables.push(row.try_into().expect("chunks are of this length"));
                    }
                }
                other => bail!("{}: {name} is of type {other:?}", file.display()),
            }
        }
        let shape = |name: &str| -> anyhow::Result<Vec<usize>> { Ok(found.tensor(name)?.shape().to_vec()) };
        let distance = shape("layers.0.distance")?;
        let embeddings = shape("embeddings")?;
        Ok(Self {
            width: shape("question")?[0],
            heads: distance[0],
            reach: distance[1],
            layers: (0..).take_while(|l| tensors.contains_key(&format!("layers.{l}.nothing"))).count(),
            embedding: embeddings[2],
            entries: embeddings[1],
            tensors,
            tables,
        })
    }

    /// Bits that each book's codes take in all, where each frame knows those before it, as many as `reach` or the model's.
    pub(crate) fn bits(&self, frames: &[TokenFrame], reach: usize) -> Vec<f64> {
        let mut bits = vec![0.0; frames.first().map_or(0, TokenFrame::depth)];
        let mut memories: Vec<Memory> = Vec::new();
        for (t, frame) in frames.iter().enumerate() {
            let known = &memories[t.saturating_sub(reach.min(self.reach))..];
            let answer = self.answer(known);
            let mut sum = vec![0.0; self.embedding];
            for (k, &code) in frame.codes().iter().enumerate() {
                let logits = self.logits(k, &answer, &sum, k.checked_sub(1).map(|j| (j, frame.codes()[j])));
                bits[k] += cost(&logits, usize::from(code));
                let gain = self.t("gains")[k];
                sum.iter_mut().zip(self.entry(k, code)).for_each(|(s, e)| *s += gain * e);
            }
            memories.push(self.memory(&sum));
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

    /// A linear layer; one without a bias has none.
    fn dense(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let rows = self.t(&format!("{name}.weight")).chunks_exact(x.len());
        let bias = self.t(&format!("{name}.bias"));
        rows.enumerate().map(|(i, row)| dot(row, x) + bias.get(i).copied().unwrap_or(0.0)).collect()
    }

    fn memory(&self, sum: &[f32]) -> Memory {
        let x = self.dense("enter", sum);
        let inner = self.dense("content_out", &gelu(self.dense("content_in", &norm(&x))));
        let normal = norm(&add(x, &inner));
        (0..self.layers)
            .map(|l| (self.dense(&format!("layers.{l}.key"), &normal), self.dense(&format!("layers.{l}.value"), &normal)))
            .collect()
    }

    fn answer(&self, known: &[Memory]) -> Vec<f32> {
        let mut x = self.t("question").to_vec();
        let size = self.width / self.heads;
        for l in 0..self.layers {
            let query = self.dense(&format!("layers.{l}.query"), &norm(&x));
            let (distance, nothing) =
                (self.t(&format!("layers.{l}.distance")).to_vec(), self.t(&format!("layers.{l}.nothing")));
            let mut mixed = vec![0.0; self.width];
            for head in 0..self.heads {
                let part = head * size..(head + 1) * size;
                let scores: Vec<f32> = known
                    .iter()
                    .enumerate()
                    .map(|(s, memory)| {
                        let back = known.len() - s;
                        dot(&query[part.clone()], &memory[l].0[part.clone()]) / (size as f32).sqrt()
                            + distance[head * self.reach + back - 1]
                    })
                    .collect();
                let most = scores.iter().copied().fold(nothing[head], f32::max);
                let mut total = (nothing[head] - most).exp();
                for (score, memory) in scores.iter().zip(known) {
                    let weight = (score - most).exp();
                    total += weight;
                    for (m, v) in mixed[part.clone()].iter_mut().zip(&memory[l].1[part.clone()]) {
                        *m += weight * v;
                    }
                }
                mixed[part].iter_mut().for_each(|m| *m /= total);
            }
            x = add(x, &self.dense(&format!("layers.{l}.mix"), &mixed));
            let hidden = gelu(self.dense(&format!("layers.{l}.enter"), &norm(&x)));
            x = add(x, &self.dense(&format!("layers.{l}.leave"), &hidden));
        }
        norm(&x)
    }

    fn logits(&self, k: usize, answer: &[f32], sum: &[f32], last: Option<(usize, u16)>) -> Vec<f32> {
        let name = format!("books.{k}");
        let mut x = self.dense(&format!("{name}.answer"), answer);
        if let Some((book, code)) = last {
            x = add(x, &self.dense(&format!("{name}.before"), sum));
            x = add(x, &self.dense(&format!("{name}.recent"), self.entry(book, code)));
        }
        let x = gelu(x);
        let middle = gelu(self.dense(&format!("{name}.middle"), &x));
        let direction = self.dense(&format!("{name}.leave"), &add(x, &middle));
        let bias = self.t(&format!("{name}.bias"));
        (0..self.entries).map(|c| dot(&direction, self.entry(k, c as u16)) + bias[c]).collect()
    }
}

fn cost(logits: &[f32], code: usize) -> f64 {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let total: f64 = logits.iter().map(|l| f64::from(l - most).exp()).sum();
    (total.ln() - f64::from(logits[code] - most)) / std::f64::consts::LN_2
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

fn norm(x: &[f32]) -> Vec<f32> {
    let scale = 1.0 / (dot(x, x) / x.len() as f32 + 1e-6).sqrt();
    x.iter().map(|v| v * scale).collect()
}

fn gelu(x: Vec<f32>) -> Vec<f32> {
    x.into_iter().map(|v| 0.5 * v * (1.0 + erf(v * std::f32::consts::FRAC_1_SQRT_2))).collect()
}

/// Abramowitz and Stegun, formula 7.1.26: right to 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - series * (-x * x).exp()).copysign(x)
}

/// A 16-bit float (IEEE 754 binary16). Weights are finite.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, f32::from(bits & 1023));
    let value = match exponent {
        0 => fraction * 2_f32.powi(-24),
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -value } else { value }
}
