//! What `manifest.toml` says: everything that a program needs to know to run a bundle's graphs.

mod validate;

use std::{borrow::Cow, collections::BTreeMap, num::NonZero};

use serde::{Deserialize, Deserializer};

pub(crate) use validate::check;

/// The first format: one identity for the whole bundle, and one delay.
pub(crate) const FIRST: u32 = 1;
/// The newest format that this code reads: the tokens have an identity of their own, and each graph its delay.
pub(crate) const FORMAT: u32 = 2;

/// A bundle's manifest, as written in `manifest.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's format: 1 or 2.
    pub format: u32,
    /// The bundle's name, for people; usually its folder's.
    pub name: String,
    /// One line about the model.
    pub description: String,
    /// SPDX licence expression of the weights.
    pub licence: String,
    /// Which tokens it is for. Of format 2; the first has none.
    pub tokens: Option<Tokens>,
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
    /// What the bundle was made from, if it was made from another project's model: `from`, `architecture`, `revision` and the
    /// like, for people.
    #[serde(default)]
    pub source: BTreeMap<String, String>,
    /// Every file of the bundle but the manifest itself, by name.
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    /// Reads a manifest's text.
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut manifest: Self = toml::from_str(text)?;
        let frame = NonZero::new(manifest.audio.frame_samples);
        manifest.encoder.audio.frame = frame;
        manifest.decoder.audio.frame = frame;
        let graphs = [manifest.encoder.delay_samples, manifest.decoder.delay_samples];
        let graphs = graphs.into_iter().flatten().fold(0, usize::saturating_add);
        manifest.audio.delay_samples = manifest.audio.stated_delay.unwrap_or(graphs);
        Ok(manifest)
    }
}

/// Which tokens a bundle is for, whatever encoder and decoder it has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Their identity: 64 hexadecimal digits, as `docs/bundle.md` has them computed.
    pub id: String,
    /// Identities that the same tokens had before, earliest first: those of bundles of format 1.
    #[serde(default)]
    pub serves: Vec<String>,
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
    /// `n - delay_samples`. The algorithmic latency is this plus one frame. The sum of both graphs' delays; in format 1 it is said
    /// as a whole.
    #[serde(skip)]
    pub delay_samples: usize,
    /// The whole delay, as format 1 says it.
    #[serde(default, rename = "delay_samples")]
    pub(crate) stated_delay: Option<usize>,
    /// If the graphs take a whole recording at once and carry nothing from frame to frame: the reason why, half a sentence. Such
    /// a bundle is for files, not for calls.
    pub whole: Option<String>,
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

/// One tensor of a graph.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its name in the graph.
    pub name: String,
    /// Its dimensions. One may be -1, which is as long as the frames of one run need: their samples, in a tensor of audio, else
    /// their number. Without it the graph takes one frame a run.
    pub shape: Vec<i64>,
    /// What it holds.
    #[serde(skip)]
    pub(crate) element: Element,
    /// How many values of the open dimension are a frame's, if not one.
    #[serde(skip)]
    pub(crate) frame: Option<NonZero<usize>>,
}

/// What a tensor holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Element {
    /// 32-bit floats.
    #[default]
    Float,
    /// Codes: 64-bit integers.
    Code,
}

impl Tensor {
    /// Whether it takes several frames.
    pub(crate) fn is_open(&self) -> bool {
        self.shape.contains(&-1)
    }

    /// Its dimensions in a run of so many frames.
    pub(crate) fn shape_for(&self, frames: usize) -> Vec<i64> {
        let length = frames.saturating_mul(self.frame.map_or(1, NonZero::get));
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.shape.iter().map(|&dimension| if dimension == -1 { length } else { dimension }).collect()
    }
}

/// Reads a tensor that holds codes.
fn codes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tensor>, D::Error> {
    let tensor = Tensor::deserialize(deserializer)?;
    Ok(Some(Tensor { element: Element::Code, ..tensor }))
}

/// One state: what the graph puts out here goes in there with the next frame. Zeros at the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateTensor {
    /// Name of the graph's input.
    pub input: String,
    /// Name of the graph's output.
    pub output: String,
    /// Dimensions of both.
    pub shape: Vec<i64>,
}

/// The graph that turns a frame of audio into a latent, or into codes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderGraph {
    /// The ONNX file.
    pub file: String,
    /// SHA-256 of the file, as under `[files]`. Of format 2.
    pub sha256: Option<String>,
    /// How many samples beyond a frame's own span the graph looks at before it puts out the frame's latent. Of format 2.
    pub delay_samples: Option<usize>,
    /// Input: one frame of samples.
    pub audio: Tensor,
    /// Output: the latent. Of all quantizers but [`Quantizer::Graph`].
    pub latent: Option<Tensor>,
    /// Output: all codes of the frame, 64-bit integers, coarsest first. Of [`Quantizer::Graph`].
    #[serde(default, deserialize_with = "codes")]
    pub codes: Option<Tensor>,
    /// What it carries from frame to frame.
    #[serde(default)]
    pub states: Vec<StateTensor>,
}

/// The graph that turns a quantized latent, or codes, into a frame of audio.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderGraph {
    /// The ONNX file.
    pub file: String,
    /// SHA-256 of the file, as under `[files]`. Of format 2.
    pub sha256: Option<String>,
    /// How many samples later than it could the graph puts out a frame. Of format 2.
    pub delay_samples: Option<usize>,
    /// Input: what the codes stand for. Of all quantizers but [`Quantizer::Graph`].
    pub latent: Option<Tensor>,
    /// Input: as many codes as there are books, 64-bit integers, coarsest first, 0 for those not in use. Of
    /// [`Quantizer::Graph`].
    #[serde(default, deserialize_with = "codes")]
    pub codes: Option<Tensor>,
    /// Input: as many floats as there are books, 1 for those in use, else 0. Of [`Quantizer::Graph`].
    pub in_use: Option<Tensor>,
    /// Input, if the graph wants to know how many codebooks are in use: as many values as there are codebooks plus one,
    /// zeros but for a 1 at that number.
    pub depth_one_hot: Option<Tensor>,
    /// Output: one frame of samples.
    pub audio: Tensor,
    /// What it carries from frame to frame.
    #[serde(default)]
    pub states: Vec<StateTensor>,
}

/// How a latent becomes codes.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Quantizer {
    /// Residual vector quantization by Euclidean distance: code k is the entry of book k nearest to what the books
    /// before it left over (Zeghidour et al., "SoundStream", IEEE/ACM TASLP 30, 2022, section III-C). With one book, plain
    /// vector quantization (WavTokenizer, Single-Codec).
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
    /// The latent is cut into `groups` equal parts, and each is quantized apart as by [`Residual`](Self::Residual) (Yang et al.,
    /// "HiFi-Codec", 2023, section 3.2). Code k is of part `k % groups`, stage `k / groups`: all first stages come first.
    GroupedResidual {
        /// A safetensors file.
        file: String,
        /// Name of the tensor in it, of shape [books, entries, dimension / groups], float32 or float16; book k is of code k.
        tensor: String,
        /// Length of a latent.
        dimension: usize,
        /// How many parts there are; `dimension` is a multiple of it.
        groups: usize,
        /// Entries of each book.
        sizes: Vec<u32>,
    },
    /// One code of as many bits as the latent has values: bit i, the most significant first, says whether value i is above 0
    /// (Zhao et al., "Image and Video Tokenization with Binary Spherical Quantization", 2024, section 3.2; FocalCodec). It stands
    /// for a latent of length 1, all of whose values are as large.
    BinarySpherical {
        /// Length of a latent, 1 to 16.
        dimension: usize,
    },
    /// One code, the number of a point of a grid. Value i of the latent is bounded by a hyperbolic tangent and rounded to one of
    /// `levels[i]` values from -1 to 1 (Mentzer et al., "Finite Scalar Quantization", ICLR 2024, section 3.1; SQCodec). The
    /// first value's level is the least significant digit.
    FiniteScalar {
        /// How many values each part of the latent can take, 2 at least; their product is 65536 at most.
        levels: Vec<u32>,
    },
    /// The graphs speak codes themselves.
    Graph {
        /// How many values each code can take, coarsest first.
        sizes: Vec<u32>,
    },
}

impl Quantizer {
    /// How many values each code can take, coarsest first.
    pub fn sizes(&self) -> Cow<'_, [u32]> {
        match self {
            Self::Residual { sizes, .. } | Self::GroupedResidual { sizes, .. } | Self::Graph { sizes } => sizes.into(),
            Self::BinarySpherical { dimension } => {
                let bits = u32::try_from(*dimension).unwrap_or(u32::MAX);
                Cow::Owned(vec![1_u32.checked_shl(bits).unwrap_or(u32::MAX)])
            }
            Self::FiniteScalar { levels } => Cow::Owned(vec![
                levels.iter().try_fold(1_u32, |all, &level| all.checked_mul(level)).unwrap_or(u32::MAX),
            ]),
        }
    }

    /// What the manifest calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Residual { .. } => "residual",
            Self::GroupedResidual { .. } => "grouped-residual",
            Self::BinarySpherical { .. } => "binary-spherical",
            Self::FiniteScalar { .. } => "finite-scalar",
            Self::Graph { .. } => "graph",
        }
    }

    /// The file of codebooks, if there is one.
    pub(crate) fn file(&self) -> Option<&str> {
        match self {
            Self::Residual { file, .. } | Self::GroupedResidual { file, .. } => Some(file),
            _ => None,
        }
    }

    /// Length of a latent; `None` if there is none.
    pub(crate) fn dimension(&self) -> Option<usize> {
        match self {
            Self::Residual { dimension, .. }
            | Self::GroupedResidual { dimension, .. }
            | Self::BinarySpherical { dimension } => Some(*dimension),
            Self::FiniteScalar { levels } => Some(levels.len()),
            Self::Graph { .. } => None,
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
