use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parlo_guard::{Links, RegularError, read_regular};
use parlo_tokens::{BundleId, CodeLayout, TokenFrame, TokensId, TokensPrefix};
use sha2::{Digest, Sha256};

use crate::{
    entropy::EntropyModel,
    error::ModelError,
    identity::identities,
    manifest::{Entropy, Manifest, check},
    onnx,
    quantizer::Books,
};

/// Name of the file that describes the others.
pub(crate) const MANIFEST: &str = "manifest.toml";

/// The longest manifest, bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The longest recording that is taken at once, seconds.
const MAX_WHOLE_SECONDS: u64 = 3_600;

/// One model, whole: a folder with a manifest, two ONNX graphs, codebooks and an entropy model, if it has them. docs/bundle.md
/// has all that a manifest can say.
///
/// Opening reads the manifest and the codebooks. The others are read, and their hashes checked, when an encoder, a
/// decoder, or an entropy model is made of them; [`verify`](Self::verify) checks everything at once. Cloning is cheap:
/// clones share the codebooks.
#[derive(Debug, Clone)]
pub struct Bundle {
    folder: PathBuf,
    id: BundleId,
    tokens: Arc<[TokensId]>,
    manifest: Arc<Manifest>,
    layout: CodeLayout,
    books: Books,
    entropy: Arc<OnceLock<EntropyModel>>,
}

impl Bundle {
    /// Opens the bundle in `folder`.
    ///
    /// # Errors
    /// If the manifest or the codebooks are missing, damaged, or do not belong together, or the tokens are not those that it claims.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join(MANIFEST);
        // The folder may be a link, and what lies in it may not: a bundle is one folder.
        let text = read_regular(&file, MAX_MANIFEST_BYTES, Links::Refuse).map_err(|error| unread(&file, error))?;
        theirs_alone(&file)?;
        let id = BundleId::from_bytes(Sha256::digest(&text).into());
        let wrong = |reason: String| ModelError::Manifest { file: file.clone(), reason };
        let text = str::from_utf8(&text).map_err(|error| wrong(error.to_string()))?;
        let manifest = Manifest::parse(text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        check(&manifest).map_err(wrong)?;
        let tokens = identities(&manifest, id, |name| read_verified(folder, &manifest, name))
            .map_err(|error| error.map_or_else(|error| error, wrong))?
            .into();
        let layout = CodeLayout::new(&manifest.quantizer.sizes()).map_err(|error| wrong(error.to_string()))?;
        let books =
            Books::load(&manifest.quantizer, |name| Ok((folder.join(name), read_verified(folder, &manifest, name)?)))?;
        Ok(Self {
            folder: folder.to_owned(),
            id,
            tokens,
            layout,
            books,
            entropy: Arc::default(),
            manifest: Arc::new(manifest),
        })
    }

    /// Which bundle this is, byte by byte.
    pub fn id(&self) -> BundleId {
        self.id
    }

    /// Which tokens it speaks, as files, feeds and calls name them: by the earliest identity that it serves, which the most
    /// programs know.
    pub fn tokens(&self) -> TokensId {
        self.identities()[0]
    }

    /// All identities of its tokens, one at least, [`tokens`](Self::tokens) first.
    pub fn identities(&self) -> &[TokensId] {
        &self.tokens
    }

    /// Whether it understands tokens of this identity.
    pub fn speaks(&self, tokens: TokensId) -> bool {
        self.tokens.contains(&tokens)
    }

    /// Whether it understands the tokens of a file that names them so.
    pub fn reads(&self, tokens: TokensPrefix) -> bool {
        self.tokens.iter().any(|&id| tokens.begins(id))
    }

    /// Name and identities for people, who are shown the first eight digits: `parlo-16k (tokens 12345678, bundle 9abcdef0)`, or
    /// `parlo-16k (12345678)` where they are the same.
    pub fn title(&self) -> String {
        let (name, tokens, bundle) = (&self.manifest.name, self.tokens().short(), self.id.short());
        if tokens == bundle {
            format!("{name} ({tokens})")
        } else {
            format!("{name} (tokens {tokens}, bundle {bundle})")
        }
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

    /// Reads every file and compares it with the manifest; graphs must be whole in themselves.
    ///
    /// # Errors
    /// At the first file that is missing or differs, or that names another.
    pub fn verify(&self) -> Result<(), ModelError> {
        self.manifest.files.keys().try_for_each(|name| {
            let bytes = self.read(name)?;
            if *name == self.manifest.encoder.file || *name == self.manifest.decoder.file {
                onnx::check_whole(&self.folder.join(name), &bytes)?;
            }
            Ok(())
        })
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

    /// Why the bundle takes whole recordings only; `None` if it can stream.
    pub fn whole(&self) -> Option<&str> {
        self.manifest.audio.whole.as_deref()
    }

    /// Refuses a bundle that cannot stream.
    ///
    /// # Errors
    /// With the reason, if it takes whole recordings only.
    pub fn streams(&self) -> Result<(), ModelError> {
        match self.whole() {
            None => Ok(()),
            Some(reason) => Err(ModelError::Whole {
                name: self.manifest.name.clone(),
                reason: reason.trim_end_matches('.').to_owned(),
            }),
        }
    }

    /// Refuses more frames than a model takes that takes a recording at once: their sound, and all that the graph makes of it, is held.
    ///
    /// # Errors
    /// If there are more than an hour of them, of such a model.
    pub fn takes(&self, frames: usize) -> Result<(), ModelError> {
        let audio = &self.manifest.audio;
        let most = (MAX_WHOLE_SECONDS * u64::from(audio.sample_rate)) / audio.frame_samples.max(1) as u64;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if self.whole().is_none() || frames <= most {
            return Ok(());
        }
        Err(ModelError::Long { name: self.manifest.name.clone(), frames, most, seconds: MAX_WHOLE_SECONDS })
    }

    /// Refuses a depth that the bundle does not have.
    pub(crate) fn check_depth(&self, asked: usize) -> Result<(), ModelError> {
        let most = self.layout.depth();
        if asked == 0 || asked > most { Err(ModelError::Depth { asked, most }) } else { Ok(()) }
    }

    /// Refuses a frame that does not fit.
    pub(crate) fn check_tokens(&self, frame: &TokenFrame) -> Result<(), ModelError> {
        if self.layout.admits(frame) {
            return Ok(());
        }
        Err(ModelError::Tokens { codes: frame.codes().to_vec(), sizes: self.layout.sizes().to_vec() })
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Reads a file of the bundle whose length and hash are as the manifest says.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        read_verified(&self.folder, &self.manifest, name)
    }
}

/// Whether nobody but this user and root could have written a file: a model is run.
fn theirs_alone(file: &Path) -> Result<(), ModelError> {
    #[cfg(unix)]
    parlo_guard::check_owner(file, parlo_guard::Keep::Unchanged)?;
    let _ = file;
    Ok(())
}

fn unread(file: &Path, error: RegularError) -> ModelError {
    let file = file.to_owned();
    match error {
        RegularError::System(error) => ModelError::Unreadable { file, error },
        other => ModelError::Unfit { file, reason: other.to_string() },
    }
}

/// Reads what is then hashed and used: nothing is read twice.
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
    // A file of the wrong size is not read into memory at all.
    let wrong_length = |found: u64| mismatch("length", format!("{} bytes", entry.bytes), format!("{found} bytes"));
    let bytes = match read_regular(&file, entry.bytes, Links::Refuse) {
        Ok(bytes) if bytes.len() as u64 == entry.bytes => bytes,
        Ok(bytes) => return Err(wrong_length(bytes.len() as u64)),
        Err(RegularError::Long { found, .. }) => return Err(wrong_length(found)),
        Err(error) => return Err(unread(&file, error)),
    };
    theirs_alone(&file)?;
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
