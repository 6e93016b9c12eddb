use std::{
    env,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{error::ModelError, locate::library_candidates, telemetry};

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
    /// `vendor/onnxruntime` of the source tree, or by the system.
    ///
    /// # Errors
    /// If there is none, or it is older than 1.17, or no ONNX Runtime at all; if its telemetry is not switched off
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
        let candidates = named.map_or_else(library_candidates, |path| vec![path]);
        let mut refusals = Vec::new();
        for library in candidates {
            // The loader's own words for this are long, and the same for each.
            if library.is_absolute() && !library.exists() {
                refusals.push(format!("{} is not there", library.display()));
                continue;
            }
            match Self::load_from(&library) {
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
