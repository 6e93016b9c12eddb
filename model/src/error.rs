use std::path::PathBuf;

/// Why a model cannot be used. Each message says what is wrong, and in which file. What a program's user can do about it, the program adds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No bundle in any of the usual places.
    #[error("no model bundle found (looked in {})", list(.looked))]
    NoBundle {
        /// Folders that were looked into, in order.
        looked: Vec<PathBuf>,
    },
    /// A file of the bundle cannot be read.
    #[error("cannot read {}: {error}; copy the bundle again, whole", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The manifest is not the TOML that it should be.
    #[error("{} is not a bundle manifest: {reason}", .file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// What the parser said, with the line.
        reason: String,
    },
    /// Something is not as the manifest says.
    #[error("{}: {field} should be {expected} by the manifest, but is {found}; copy the bundle again, whole", .file.display())]
    Mismatch {
        /// The file that differs.
        file: PathBuf,
        /// Which property of it.
        field: String,
        /// What the manifest says.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A tensor of the entropy model is not as it should be.
    #[error("{}: tensor {tensor} {reason}; copy the bundle again, whole, or get one made for this version", .file.display())]
    Tensor {
        /// The file that holds it, or should.
        file: PathBuf,
        /// Its name.
        tensor: String,
        /// What is wrong with it, going on from the name.
        reason: String,
    },
    /// The ONNX Runtime library cannot be loaded.
    #[error("cannot load the ONNX Runtime library: {reason}")]
    Runtime {
        /// What was tried, and what the loader said.
        reason: String,
    },
    /// The library's telemetry is not switched off in this process.
    #[error(
        "the ONNX Runtime library is not loaded, as it would report to its vendor: the environment variable ORT_DISABLE_TELEMETRY is \
         not 1; start the program with ORT_DISABLE_TELEMETRY=1"
    )]
    Telemetry,
    /// A graph that is not whole in its file, or no graph at all.
    #[error("{}: {reason}", .file.display())]
    Foreign {
        /// The graph's file.
        file: PathBuf,
        /// What is wrong with it, a sentence.
        reason: String,
    },
    /// A file of the bundle is not one that a bundle may hold.
    #[error("{} {reason}", .file.display())]
    Unfit {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, going on from its name.
        reason: String,
    },
    /// Others could have written a file of the bundle.
    #[cfg(unix)]
    #[error(transparent)]
    Owner(#[from] parlo_guard::OwnerError),
    /// ONNX Runtime refuses a graph, or fails while it runs.
    #[error("{}: ONNX Runtime: {reason}", .file.display())]
    Graph {
        /// The graph's file.
        file: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// A frame of the wrong length.
    #[error("a frame of this model has {expected} samples, not {found}")]
    FrameLength {
        /// Samples that the bundle's frame has.
        expected: usize,
        /// Samples given.
        found: usize,
    },
    /// Infinite or not-a-number samples went in, or came out of the network.
    #[error("{0} holds a sample that is not a finite number")]
    NotFinite(&'static str),
    /// A depth that this bundle does not have.
    #[error("depth {asked} is not possible: this model has 1 to {most} codebooks")]
    Depth {
        /// What was asked for.
        asked: usize,
        /// Codebooks in the bundle.
        most: usize,
    },
    /// A bundle that cannot stream, where it would have to.
    #[error("the model {name} takes whole recordings only, not one frame after another: {reason}")]
    Whole {
        /// The bundle's name.
        name: String,
        /// What its manifest says.
        reason: String,
    },
    /// A recording that is too long to be taken at once.
    #[error(
        "a recording of {frames} frames is too long for the model {name}, which takes it at once: up to {most} frames ({} minutes) are \
         possible", .seconds / 60
    )]
    Long {
        /// The bundle's name.
        name: String,
        /// Frames of the recording, as far as they were counted.
        frames: usize,
        /// Frames at most.
        most: usize,
        /// How long these are.
        seconds: u64,
    },
    /// A bundle that streams, where whole recordings were to be taken at once.
    #[error("the model {name} takes one frame after another: give it frames, or use what works with every model")]
    Streams {
        /// The bundle's name.
        name: String,
    },
    /// A graph puts out codes that its codebooks do not have.
    #[error("{}: the graph put out code {code} for codebook {book}, which has {size} entries by the manifest; the bundle was made \
             wrong: make it again, or get another", .file.display())]
    Code {
        /// The graph's file.
        file: PathBuf,
        /// What it put out.
        code: i64,
        /// For which codebook, from 0.
        book: usize,
        /// Entries of that codebook.
        size: u32,
    },
    /// A graph puts out less or more than it should.
    #[error("{}: the graph put out {found} values of {tensor} where {expected} belong to {frames} frames; the bundle was made wrong: \
             make it again, or get another", .file.display())]
    Output {
        /// The graph's file.
        file: PathBuf,
        /// Which tensor.
        tensor: String,
        /// How many frames went in.
        frames: usize,
        /// Values that they take.
        expected: usize,
        /// Values that came.
        found: usize,
    },
    /// Frames of different depths, where a run takes one.
    #[error(
        "frames of {first} and of {other} codes cannot be decoded as one recording by a model that takes it whole: cut all to \
         the least depth"
    )]
    MixedDepths {
        /// Codes of the first frame.
        first: usize,
        /// Codes of another.
        other: usize,
    },
    /// Tokens of another model, or damaged ones.
    #[error(
        "the tokens {codes:?} do not fit this model's codebooks of {sizes:?} entries: they come from another model, or are damaged"
    )]
    Tokens {
        /// The codes.
        codes: Vec<u16>,
        /// Entries of each codebook.
        sizes: Vec<u32>,
    },
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
