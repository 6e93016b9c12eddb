use std::{
    env, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use parlo_guard::{Links, RegularError, open_regular};
use sha2::{Digest, Sha256};

use crate::{
    error::ModelError,
    locate::{Library, library_candidates},
    telemetry,
};

/// The library that a release is made with: a line for each processor, with the file's SHA-256.
const PINNED: &str = include_str!("onnxruntime.sha256");

/// The longest library that is hashed, bytes.
const MAX_LIBRARY_BYTES: u64 = 1 << 30;

/// The loaded ONNX Runtime library. Cloning is cheap.
///
/// A process loads one such library, once: the first successful [`load`](Self::load) decides which, and later calls
/// share it. That is a rule of dynamic loading, and the only thing in this crate that is not a plain value.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: ort::environment::Environment,
    library: PathBuf,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library `named`, or that which the environment variable `ORT_DYLIB_PATH` names, or the first that is
    /// found in `lib/parlo` of the installation, in `lib/parlo` of the folder that `PARLO_HOME` names, beside the program, in
    /// `vendor/onnxruntime` of the source tree (debug builds only), or by the system. One in `lib/parlo` must be the one that this
    /// program was made with.
    ///
    /// # Errors
    /// If there is none that nobody else could have written, or it is older than 1.17, or no ONNX Runtime at all; if its telemetry is not switched off
    /// ([`disable_telemetry`](crate::disable_telemetry)).
    pub fn load(named: Option<&Path>) -> Result<Self, ModelError> {
        if !telemetry::is_disabled() {
            return Err(ModelError::Telemetry);
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let named = named
            .map(Path::to_owned)
            .or_else(|| env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from));
        let candidates = named.map_or_else(library_candidates, |file| vec![Library { file, pinned: false }]);
        let mut refusals = Vec::new();
        for library in candidates {
            let loaded_from = match trusted(&library) {
                Ok(()) => Self::load_from(&library.file),
                Err(refusal) => Err(refusal),
            };
            match loaded_from {
                Ok(runtime) => {
                    *loaded = Some(runtime.clone());
                    return Ok(runtime);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(ModelError::Runtime { reason: refusals.join("; ") })
    }

    /// The file that the library was loaded from.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// What the library says of its own version and build.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }

    pub(crate) fn environment(&self) -> &ort::environment::Environment {
        &self.environment
    }

    // What is loaded runs with all that the process may do.
    fn load_from(library: &Path) -> Result<Self, String> {
        let builder = ort::init_from(library).map_err(|error| error.to_string())?;
        let environment = builder
            .with_name("parlo")
            .with_telemetry(false)
            .build()
            .map_err(|error| format!("{}: {error}", library.display()))?;
        // Graphs carry half-precision weights that are widened at load; what the library says of that is not news.
        environment.set_log_level(ort::logging::LogLevel::Error);
        Ok(Self { environment, library: library.to_owned() })
    }
}

/// Whether a library can be loaded, as far as its file goes; why not, in a sentence.
fn trusted(library: &Library) -> Result<(), String> {
    let file = &library.file;
    // A bare name is for the system's loader, which looks in the system's folders.
    if file.components().count() < 2 {
        return Ok(());
    }
    // The loader's own words for this are long, and the same for each.
    if !file.exists() {
        return Err(format!("{} is not there", file.display()));
    }
    #[cfg(unix)]
    parlo_guard::check_owner(file, parlo_guard::Keep::Unchanged).map_err(|error| error.to_string())?;
    let wanted =
        PINNED.lines().filter_map(|line| line.split_once(' ')).find(|(processor, _)| *processor == env::consts::ARCH);
    let Some((_, wanted)) = wanted.filter(|_| library.pinned) else { return Ok(()) };
    let found = hash(file).map_err(|error| format!("{} {error}", file.display()))?;
    if found == wanted {
        return Ok(());
    }
    Err(format!(
        "{} is not the library that this Parlo was made with (its SHA-256 is {found}, not {wanted}): install Parlo again, or name another \
         with ORT_DYLIB_PATH",
        file.display()
    ))
}

/// A file's SHA-256 in hexadecimal, read piece by piece: held whole, the library would be half of what `parlo decode` takes of memory.
fn hash(file: &Path) -> Result<String, RegularError> {
    let mut file = open_regular(file, Links::Follow)?.take(MAX_LIBRARY_BYTES);
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => hash.update(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("library");
        for length in [0, 1, 1 << 16, (1 << 16) + 1, 200_000] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            std::fs::write(&file, &bytes).unwrap();
            let whole: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash(&file).unwrap(), whole);
        }
        assert!(hash(folder.path()).is_err());
    }

    #[test]
    fn a_library_that_others_could_have_put_there_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        std::fs::write(&file, "not the one").unwrap();
        let library = |pinned| Library { file: file.clone(), pinned };
        assert_eq!(trusted(&library(false)), Ok(()));
        let said = trusted(&library(true)).unwrap_err();
        assert!(said.contains("made with") && said.contains("ORT_DYLIB_PATH"), "{said}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
            let said = trusted(&library(false)).unwrap_err();
            assert!(said.contains("chmod go-w"), "{said}");
        }
        assert_eq!(trusted(&Library { file: "libonnxruntime.so.1".into(), pinned: false }), Ok(()));
        let gone = Library { file: folder.path().join("none"), pinned: true };
        assert!(trusted(&gone).unwrap_err().contains("is not there"));
    }
}
