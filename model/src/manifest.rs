//! What `manifest.toml` says: everything that a program needs to know to run a bundle's graphs.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The manifest format that this code reads.
pub(crate) const FORMAT: u32 = 1;

/// A bundle's manifest, as written in `manifest.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's format: 1.
    pub format: u32,
    /// The bundle's name, for people; usually its folder's.
    pub name: String,
    /// One line about the model.
    pub description: String,
    /// SPDX licence expression of the weights.
    pub licence: String,
    /// Rates and lengths.
    pub audio: Audio,
    /// Waveform to latent.
    pub encoder: EncoderGraph,
    /// Latent to codes.
    pub quantizer: Quantizer,
    /// Latent to waveform.
    pub decoder: DecoderGraph,
    /// How probable codes are; without it they are coded plainly.
    pub entropy: Option<Entropy>,
    /// Every file of the bundle but the manifest itself, by name.
    pub files: BTreeMap<String, FileEntry>,
}

/// Rates and lengths of the audio that goes in and comes out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples of one frame.
    pub frame_samples: usize,
    /// How many samples later than its own span a frame is rendered: output sample `n` renders input sample
    /// `n - delay_samples`. The algorithmic latency is this plus one frame.
    pub delay_samples: usize,
}

impl Audio {
    /// Length of one frame.
    pub fn frame_duration(&self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.frame_samples as f64 / f64::from(self.sample_rate))
    }

    /// How much later than its own span a frame is rendered.
    pub fn delay(&self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.delay_samples as f64 / f64::from(self.sample_rate))
    }
}

/// One tensor of a graph. All are 32-bit floats.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its name in the graph.
    pub name: String,
    /// Its dimensions; all fixed.
    pub shape: Vec<i64>,
}

/// One state: what the graph puts out here goes in there with the next frame. Zeros at the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Name of the graph's input.
    pub input: String,
    /// Name of the graph's output.
    pub output: String,
    /// Dimensions of both.
    pub shape: Vec<i64>,
}

/// The graph that turns a frame of audio into a latent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderGraph {
    /// The ONNX file.
    pub file: String,
    /// Input: one frame of samples.
    pub audio: Tensor,
    /// Output: the latent.
    pub latent: Tensor,
    /// What it carries from frame to frame.
    #[serde(default)]
    pub states: Vec<State>,
}

/// The graph that turns a quantized latent into a frame of audio.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderGraph {
    /// The ONNX file.
    pub file: String,
    /// Input: the sum of the codebook entries in use.
    pub latent: Tensor,
    /// Input, if the graph wants to know how many codebooks are in use: as many values as there are codebooks plus one,
    /// zeros but for a 1 at that number.
    pub depth_one_hot: Option<Tensor>,
    /// Output: one frame of samples.
    pub audio: Tensor,
    /// What it carries from frame to frame.
    #[serde(default)]
    pub states: Vec<State>,
}

/// How a latent becomes codes.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Quantizer {
    /// Residual vector quantization by Euclidean distance: code k is the entry of book k nearest to what the books
    /// before it left over (Zeghidour et al., "SoundStream", IEEE/ACM TASLP 30, 2022, section III-C).
    Residual {
        /// A safetensors file.
        file: String,
        /// Name of the tensor in it, of shape [books, entries, dimension], float32 or float16.
        tensor: String,
        /// Length of a latent.
        dimension: usize,
        /// Entries of each book, coarsest first.
        sizes: Vec<u32>,
    },
}

impl Quantizer {
    /// Entries of each codebook, coarsest first.
    pub fn sizes(&self) -> &[u32] {
        match self {
            Self::Residual { sizes, .. } => sizes,
        }
    }
}

/// What knows how probable codes are.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Entropy {
    /// A transformer in integers, over the frames before.
    Transformer {
        /// A safetensors file.
        file: String,
    },
}

impl Entropy {
    /// Name of the file.
    pub(crate) fn file(&self) -> &str {
        match self {
            Self::Transformer { file } => file,
        }
    }
}

/// How a file must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
}
