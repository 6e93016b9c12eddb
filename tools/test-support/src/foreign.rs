//! Bundles such as an importer makes of other projects' codecs, with graphs so simple that what they do can be worked out by hand.
//!
//! Codecs of latents: the latent is a matrix times the frame's samples, plus another times those of the frame before; audio is a
//! matrix times the latent, plus another times the one before. Codecs whose graphs speak codes: each code is the mean of a
//! stretch of the frame, of which there are as many as codes, in 256 steps from -1 to 1; they come back as that stretch's height.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use safetensors::{Dtype, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::onnx::{Kind, Onnx};

/// Values from -1 to 1, the same everywhere (Knuth's MMIX constants).
pub fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

/// How latents become codes.
#[derive(Clone)]
pub enum Way {
    Residual { dimension: usize, sizes: Vec<u32> },
    Grouped { dimension: usize, groups: usize, sizes: Vec<u32> },
    Binary { dimension: usize },
    Scalar { levels: Vec<u32> },
}

impl Way {
    pub fn dimension(&self) -> usize {
        match self {
            Self::Residual { dimension, .. } | Self::Grouped { dimension, .. } | Self::Binary { dimension } => {
                *dimension
            }
            Self::Scalar { levels } => levels.len(),
        }
    }

    /// The codebooks, if there are any.
    pub fn books(&self) -> Books {
        let (sizes, dimension, groups) = match self {
            Self::Residual { dimension, sizes } => (sizes, *dimension, 1),
            Self::Grouped { dimension, groups, sizes } => (sizes, dimension / groups, *groups),
            _ => return Books { shape: Vec::new(), values: Vec::new() },
        };
        let most = sizes.iter().copied().max().unwrap() as usize;
        let mut value = noise(7);
        let books = (0..sizes.len()).flat_map(|book| {
            let scale = 0.5_f32.powi((book / groups) as i32);
            (0..most * dimension).map(|_| scale * value()).collect::<Vec<_>>()
        });
        Books { values: books.collect(), shape: vec![sizes.len(), most, dimension] }
    }
}

/// Codebooks: of shape [books, entries, dimension].
pub struct Books {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Books {
    pub fn entry(&self, book: usize, code: usize) -> &[f32] {
        &self.values[(book * self.shape[1] + code) * self.shape[2]..][..self.shape[2]]
    }
}

/// A codec of latents.
#[derive(Clone)]
pub struct Latents {
    pub rate: u32,
    pub frame: usize,
    pub way: Way,
    /// Whether there is a part of the frame before in each.
    pub remembers: bool,
    /// Why it takes whole recordings, if it does.
    pub whole: Option<&'static str>,
}

/// The matrices: [frame, dimension] and [dimension, frame].
pub struct Weights {
    pub analysis: Vec<f32>,
    pub before: Vec<f32>,
    pub synthesis: Vec<f32>,
    pub after: Vec<f32>,
}

impl Latents {
    pub fn weights(&self) -> Weights {
        let mut value = noise(3);
        let size = self.frame * self.way.dimension();
        let mut matrix = |scale: f32| (0..size).map(|_| scale * value()).collect::<Vec<f32>>();
        let scale = 4.0 / (self.frame as f32).sqrt();
        let (analysis, before) = (matrix(scale), matrix(0.5 * scale));
        Weights { analysis, before, synthesis: matrix(0.2), after: matrix(0.1) }
    }

    /// Writes the bundle into a folder.
    pub fn write(&self, folder: &Path) {
        let Weights { analysis, before, synthesis, after } = self.weights();
        let (frame, dimension) = (self.frame as i64, self.way.dimension() as i64);
        let open = self.whole.is_some();
        let length = if open { -1 } else { frame };
        let latent_shape = if open { vec![1, -1, dimension] } else { vec![1, 1, dimension] };

        let mut graph = Onnx::default();
        graph.input("audio", Kind::Float, &[1, length]);
        graph.output("latent", Kind::Float, &latent_shape);
        let rows = graph.integers(&[1, -1, frame]);
        let audio = graph.node("Reshape", &["audio", &rows], &[]);
        let matrix = graph.floats(&[frame, dimension], &analysis);
        let mut latent = graph.node("MatMul", &[&audio, &matrix], &[]);
        if self.remembers {
            graph.input("before", Kind::Float, &[1, frame]);
            graph.output("before_out", Kind::Float, &[1, frame]);
            graph.node_into("Identity", &["audio"], &[], "before_out");
            let matrix = graph.floats(&[frame, dimension], &before);
            let old = graph.node("MatMul", &["before", &matrix], &[]);
            latent = graph.node("Add", &[&latent, &old], &[]);
        }
        graph.node_into("Identity", &[&latent], &[], "latent");
        let encoder = graph.file();

        let mut graph = Onnx::default();
        graph.input("latent", Kind::Float, &latent_shape);
        graph.output("audio", Kind::Float, &[1, length]);
        let matrix = graph.floats(&[dimension, frame], &synthesis);
        let sound = graph.node("MatMul", &["latent", &matrix], &[]);
        let row = graph.integers(&[1, -1]);
        let mut audio = graph.node("Reshape", &[&sound, &row], &[]);
        if self.remembers {
            graph.input("tail", Kind::Float, &[1, frame]);
            graph.output("tail_out", Kind::Float, &[1, frame]);
            let matrix = graph.floats(&[dimension, frame], &after);
            let tail = graph.node("MatMul", &["latent", &matrix], &[]);
            graph.node_into("Reshape", &[&tail, &row], &[], "tail_out");
            audio = graph.node("Add", &[&audio, "tail"], &[]);
        }
        graph.node_into("Identity", &[&audio], &[], "audio");
        let decoder = graph.file();

        let mut files = BTreeMap::from([("encoder.onnx", encoder), ("decoder.onnx", decoder)]);
        let Books { shape, values } = self.way.books();
        if !values.is_empty() {
            let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let view = TensorView::new(Dtype::F32, shape, &raw).unwrap();
            files.insert("codebooks.safetensors", safetensors::serialize([("books", view)], None).unwrap());
        }
        let file = "file = \"codebooks.safetensors\"\ntensor = \"books\"";
        let quantizer = match &self.way {
            Way::Residual { sizes, .. } => {
                format!("kind = \"residual\"\n{file}\ndimension = {dimension}\nsizes = {sizes:?}")
            }
            Way::Grouped { sizes, groups, .. } => {
                format!(
                    "kind = \"grouped-residual\"\n{file}\ndimension = {dimension}\ngroups = {groups}\nsizes = {sizes:?}"
                )
            }
            Way::Binary { .. } => format!("kind = \"binary-spherical\"\ndimension = {dimension}"),
            Way::Scalar { levels } => format!("kind = \"finite-scalar\"\nlevels = {levels:?}"),
        };
        let states = |name: &str| {
            let state = format!("states = [{{ input = \"{name}\", output = \"{name}_out\", shape = [1, {frame}] }}]");
            if self.remembers { state } else { String::new() }
        };
        let passed = format!("latent = {{ name = \"latent\", shape = {latent_shape:?} }}");
        let ends = [format!("{passed}\n{}", states("before")), format!("{passed}\n{}", states("tail"))];
        finish(folder, (self.rate, self.frame, length), self.whole, &ends, &quantizer, &files);
    }
}

/// A codec whose graphs speak codes.
#[derive(Clone)]
pub struct Coded {
    pub rate: u32,
    pub frame: usize,
    pub books: usize,
    pub whole: Option<&'static str>,
    /// What codes are wrong by: 0 in a good bundle.
    pub fault: i64,
}

impl Coded {
    /// Values that each code can take.
    pub const SIZE: u32 = 256;

    /// The codes of a frame.
    pub fn codes(&self, frame: &[f32]) -> Vec<u16> {
        let stretch = self.frame / self.books;
        let mean = |stretch: &[f32]| stretch.iter().sum::<f32>() / stretch.len() as f32;
        frame.chunks(stretch).map(|s| (127.5 * mean(s) + 127.5).round_ties_even().clamp(0.0, 255.0) as u16).collect()
    }

    /// The samples of a frame of which the first codes are there.
    pub fn samples(&self, codes: &[u16]) -> Vec<f32> {
        let height = |book: usize| codes.get(book).map_or(0.0, |&code| (f32::from(code) - 127.5) / 127.5);
        (0..self.frame).map(|n| height(n * self.books / self.frame)).collect()
    }

    /// Writes the bundle into a folder.
    pub fn write(&self, folder: &Path) {
        assert!(self.frame.is_multiple_of(self.books));
        let (frame, books) = (self.frame as i64, self.books as i64);
        let (length, rows) = if self.whole.is_some() { (-1, -1) } else { (frame, 1) };
        let of = |n: usize| n * self.books / self.frame;
        let stretch = self.books as f32 / self.frame as f32;

        let mut graph = Onnx::default();
        graph.input("audio", Kind::Float, &[1, length]);
        graph.output("codes", Kind::Int64, &[rows, books]);
        let shape = graph.integers(&[-1, frame]);
        let audio = graph.node("Reshape", &["audio", &shape], &[]);
        let means: Vec<f32> = (0..self.frame * self.books)
            .map(|at| if of(at / self.books) == at % self.books { 127.5 * stretch } else { 0.0 })
            .collect();
        let means = graph.floats(&[frame, books], &means);
        let means = graph.node("MatMul", &[&audio, &means], &[]);
        let middle = graph.floats(&[], &[127.5]);
        let steps = graph.node("Add", &[&means, &middle], &[]);
        let steps = graph.node("Round", &[&steps], &[]);
        let (low, high) = (graph.floats(&[], &[0.0]), graph.floats(&[], &[255.0]));
        let steps = graph.node("Clip", &[&steps, &low, &high], &[]);
        let codes = graph.node("Cast", &[&steps], &[("to", Kind::Int64 as i64)]);
        let fault = graph.integers(&[self.fault]);
        graph.node_into("Add", &[&codes, &fault], &[], "codes");
        let encoder = graph.file();

        let mut graph = Onnx::default();
        graph.input("codes", Kind::Int64, &[rows, books]);
        graph.input("in_use", Kind::Float, &[books]);
        graph.output("audio", Kind::Float, &[1, length]);
        let steps = graph.node("Cast", &["codes"], &[("to", Kind::Float as i64)]);
        let middle = graph.floats(&[], &[127.5]);
        let steps = graph.node("Sub", &[&steps, &middle], &[]);
        let heights = graph.node("Div", &[&steps, &middle], &[]);
        let heights = graph.node("Mul", &[&heights, "in_use"], &[]);
        let spread: Vec<f32> = (0..self.books * self.frame)
            .map(|at| if of(at % self.frame) == at / self.frame { 1.0 } else { 0.0 })
            .collect();
        let spread = graph.floats(&[books, frame], &spread);
        let sound = graph.node("MatMul", &[&heights, &spread], &[]);
        let row = graph.integers(&[1, -1]);
        graph.node_into("Reshape", &[&sound, &row], &[], "audio");
        let decoder = graph.file();

        let files = BTreeMap::from([("encoder.onnx", encoder), ("decoder.onnx", decoder)]);
        let codes = format!("codes = {{ name = \"codes\", shape = [{rows}, {books}] }}");
        let ends = [codes.clone(), format!("{codes}\nin_use = {{ name = \"in_use\", shape = [{books}] }}")];
        let quantizer = format!("kind = \"graph\"\nsizes = {:?}", vec![Self::SIZE; self.books]);
        finish(folder, (self.rate, self.frame, length), self.whole, &ends, &quantizer, &files);
    }
}

fn finish(
    folder: &Path,
    (rate, frame, length): (u32, usize, i64),
    whole: Option<&str>,
    [encoder, decoder]: &[String; 2],
    quantizer: &str,
    files: &BTreeMap<&str, Vec<u8>>,
) {
    let whole = whole.map_or_else(String::new, |reason| format!("whole = \"{reason}\"\n"));
    let audio = format!("audio = {{ name = \"audio\", shape = [1, {length}] }}");
    let mut text = format!(
        "format = 1\nname = \"made\"\ndescription = \"Made for a test\"\nlicence = \"CC0-1.0\"\n\n\
         [audio]\nsample_rate = {rate}\nframe_samples = {frame}\ndelay_samples = 0\n{whole}\n\
         [source]\nfrom = \"a test\"\narchitecture = \"matrices\"\n\n\
         [encoder]\nfile = \"encoder.onnx\"\n{audio}\n{encoder}\n\n\
         [decoder]\nfile = \"decoder.onnx\"\n{audio}\n{decoder}\n\n\
         [quantizer]\n{quantizer}\n\n[files]\n"
    );
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
        let hash = Sha256::digest(content).iter().fold(String::new(), |mut hash, byte| {
            write!(hash, "{byte:02x}").unwrap();
            hash
        });
        writeln!(text, "\"{name}\" = {{ bytes = {}, sha256 = \"{hash}\" }}", content.len()).unwrap();
    }
    fs::write(folder.join("manifest.toml"), text).unwrap();
}

/// Writes into the manifest what its files are now.
pub fn rehash(folder: &Path) {
    let file = folder.join("manifest.toml");
    let text = fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| {
        let Some((name, _)) = line.strip_prefix('"').and_then(|line| line.split_once("\" = {")) else {
            return line.to_owned();
        };
        let content = fs::read(folder.join(name)).unwrap();
        let hash: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"{name}\" = {{ bytes = {}, sha256 = \"{hash}\" }}", content.len())
    });
    let text = lines.fold(String::new(), |text, line| text + &line + "\n");
    fs::write(file, text).unwrap();
}
