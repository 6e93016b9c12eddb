use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parlo_tokens::{BundleId, CodeLayout};
use sha2::{Digest, Sha256};

use crate::{
    entropy::EntropyModel,
    error::ModelError,
    manifest::{Entropy, FORMAT, Manifest, Quantizer},
    quantizer::Codebooks,
};

/// Name of the file that describes the others.
const MANIFEST: &str = "manifest.toml";

/// One model, whole: a folder with a manifest, two ONNX graphs, codebooks, and, if it has one, an entropy model.
///
/// Opening reads the manifest and the codebooks. The others are read, and their hashes checked, when an encoder, a
/// decoder, or an entropy model is made of them; [`verify`](Self::verify) checks everything at once. Cloning is cheap:
/// clones share the codebooks.
#[derive(Debug, Clone)]
pub struct Bundle {
    folder: PathBuf,
    id: BundleId,
    manifest: Arc<Manifest>,
    layout: CodeLayout,
    codebooks: Arc<Codebooks>,
    entropy: Arc<OnceLock<EntropyModel>>,
}

impl Bundle {
    /// Opens the bundle in `folder`.
    ///
    /// # Errors
    /// If the manifest or the codebooks are missing, damaged, or do not belong together.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join(MANIFEST);
        let text = std::fs::read(&file).map_err(|error| ModelError::Unreadable { file: file.clone(), error })?;
        let id = BundleId::from_bytes(Sha256::digest(&text).into());
        let wrong = |reason: String| ModelError::Manifest { file: file.clone(), reason };
        let text = str::from_utf8(&text).map_err(|error| wrong(error.to_string()))?;
        let manifest: Manifest = toml::from_str(text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!("it has format {}, and this program reads format {FORMAT}", manifest.format)));
        }
        check(&manifest).map_err(wrong)?;
        let layout = CodeLayout::new(manifest.quantizer.sizes()).map_err(|error| wrong(error.to_string()))?;
        let Quantizer::Residual { file: books, tensor, dimension, sizes } = &manifest.quantizer;
        let bytes = read_verified(folder, &manifest, books)?;
        let codebooks = Codebooks::parse(&folder.join(books), &bytes, tensor, *dimension, sizes)?;
        Ok(Self {
            folder: folder.to_owned(),
            id,
            layout,
            codebooks: Arc::new(codebooks),
            entropy: Arc::default(),
            manifest: Arc::new(manifest),
        })
    }

    /// Which model this is. Peers with equal ids hold the same bytes.
    pub fn id(&self) -> BundleId {
        self.id
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Sizes of the codebooks.
    pub fn layout(&self) -> &CodeLayout {
        &self.layout
    }

    /// Where the bundle lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads every file and compares it with the manifest.
    ///
    /// # Errors
    /// At the first file that is missing or differs.
    pub fn verify(&self) -> Result<(), ModelError> {
        self.manifest.files.keys().try_for_each(|name| self.read(name).map(drop))
    }

    /// What the bundle knows of how probable codes are; `None` if it knows nothing. Read once; clones of the bundle share it.
    ///
    /// # Errors
    /// If the file is missing or damaged, or is not for this bundle's codebooks.
    pub fn entropy_model(&self) -> Result<Option<EntropyModel>, ModelError> {
        let Some(name) = self.manifest.entropy.as_ref().map(Entropy::file) else { return Ok(None) };
        if let Some(model) = self.entropy.get() {
            return Ok(Some(model.clone()));
        }
        let bytes = self.read(name)?;
        let model = EntropyModel::parse(&self.folder.join(name), &bytes, &self.layout)?;
        // Of two threads that both read it, one's is kept.
        Ok(Some(self.entropy.get_or_init(|| model).clone()))
    }

    pub(crate) fn codebooks(&self) -> Arc<Codebooks> {
        Arc::clone(&self.codebooks)
    }

    /// Reads a file of the bundle whose length and hash are as the manifest says.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        read_verified(&self.folder, &self.manifest, name)
    }
}

/// What a manifest must be beyond its syntax. `Err` is a sentence about it.
fn check(manifest: &Manifest) -> Result<(), String> {
    let audio = &manifest.audio;
    if !(4_000..=192_000).contains(&audio.sample_rate) {
        return Err(format!("audio.sample_rate is {}; 4000 to 192000 Hz are possible", audio.sample_rate));
    }
    if audio.frame_samples == 0 || audio.frame_samples > audio.sample_rate as usize {
        return Err(format!("audio.frame_samples is {}; a frame lasts up to a second", audio.frame_samples));
    }
    if audio.delay_samples > audio.sample_rate as usize {
        return Err(format!("audio.delay_samples is {}; up to a second is possible", audio.delay_samples));
    }
    let Quantizer::Residual { file, dimension, .. } = &manifest.quantizer;
    let entropy = manifest.entropy.as_ref().map(Entropy::file);
    for name in [&manifest.encoder.file, &manifest.decoder.file, file].map(String::as_str).into_iter().chain(entropy) {
        if !manifest.files.contains_key(name) {
            return Err(format!("{name} is used, but not listed under [files]"));
        }
    }
    for name in manifest.files.keys() {
        // A bundle is one folder: its manifest must not make a program read elsewhere.
        if name.is_empty() || name.contains(['/', '\\']) || name == ".." || name == MANIFEST {
            return Err(format!("\"{name}\" under [files] is not the name of a file in the bundle's folder"));
        }
    }
    let frame = audio.frame_samples;
    for (field, shape, length) in [
        ("encoder.audio", &manifest.encoder.audio.shape, frame),
        ("encoder.latent", &manifest.encoder.latent.shape, *dimension),
        ("decoder.latent", &manifest.decoder.latent.shape, *dimension),
        ("decoder.audio", &manifest.decoder.audio.shape, frame),
    ] {
        if elements(shape) != Some(length) {
            return Err(format!("{field} has shape {shape:?}, which does not hold {length} values"));
        }
    }
    let states = manifest.encoder.states.iter().chain(&manifest.decoder.states);
    for state in states {
        if elements(&state.shape).is_none() {
            return Err(format!("state {} has shape {:?}; all dimensions must be positive", state.input, state.shape));
        }
    }
    if let Some(depth) = &manifest.decoder.depth_one_hot {
        let length = manifest.quantizer.sizes().len() + 1;
        if elements(&depth.shape) != Some(length) {
            return Err(format!(
                "decoder.depth_one_hot has shape {:?}, which does not hold {length} values",
                depth.shape
            ));
        }
    }
    Ok(())
}

/// How many values a tensor of this shape holds, if that is a sane number (up to 16 Mi).
pub(crate) fn elements(shape: &[i64]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |product, &dimension| {
            usize::try_from(dimension).ok().filter(|&d| d > 0).and_then(|d| product.checked_mul(d))
        })
        .filter(|&product| product <= 1 << 24)
}

fn read_verified(folder: &Path, manifest: &Manifest, name: &str) -> Result<Vec<u8>, ModelError> {
    let file = folder.join(name);
    let Some(entry) = manifest.files.get(name) else {
        return Err(ModelError::Manifest {
            file: folder.join(MANIFEST),
            reason: format!("{name} is not listed under [files]"),
        });
    };
    let mismatch = |field: &str, expected: String, found: String| ModelError::Mismatch {
        file: file.clone(),
        field: field.to_owned(),
        expected,
        found,
    };
    let unreadable = |error| ModelError::Unreadable { file: file.clone(), error };
    // Length first: a file of the wrong size is not read into memory at all.
    let length = std::fs::metadata(&file).map_err(unreadable)?.len();
    if length != entry.bytes {
        return Err(mismatch("length", format!("{} bytes", entry.bytes), format!("{length} bytes")));
    }
    let bytes = std::fs::read(&file).map_err(unreadable)?;
    let found = hex(&Sha256::digest(&bytes));
    if !found.eq_ignore_ascii_case(&entry.sha256) {
        return Err(mismatch("sha256", entry.sha256.clone(), found));
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
