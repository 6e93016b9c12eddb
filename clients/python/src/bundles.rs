//! Where bundles are: in the places of Parlo's programs, and in the package.

use std::{
    env,
    path::{Path, PathBuf},
};

use parlo_model::{Bundle, ModelError};
use parlo_tokens::TokensPrefix;
use pyo3::prelude::*;

use crate::error::{BundleError, of_model, shown};

/// What says which bundle to use, if nobody names one.
const VARIABLE: &str = "PARLO_BUNDLE";

/// The folder of the bundle to use: as for the programs (`parlo_model::locate_bundle`), or else in `packaged`, the package's own
/// folder of bundles.
pub(crate) fn locate(named: Option<&Path>, packaged: &Path) -> PyResult<PathBuf> {
    let mut looked = match parlo_model::locate_bundle(named) {
        Ok(folder) => return Ok(folder),
        Err(ModelError::NoBundle { looked }) => looked,
        Err(error) => return Err(of_model(error)),
    };
    // The name of the default is the other places'.
    let wanted = named.map(Path::to_owned).or_else(|| env::var_os(VARIABLE).map(PathBuf::from));
    let wanted = wanted.or_else(|| looked.first()?.file_name().map(PathBuf::from));
    let wanted = wanted.unwrap_or_else(|| PathBuf::from("parlo-16k"));
    let here = packaged.join(&wanted);
    if here.join("manifest.toml").exists() {
        return Ok(here);
    }
    looked.push(here);
    Err(BundleError::new_err(format!(
        "no model bundle \"{}\" found (looked in {}); name a bundle's folder, Codec(\"path/to/it\") or the environment variable \
         {VARIABLE}",
        wanted.display(),
        looked.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", "),
    )))
}

/// The best of the bundles here that understands these tokens, if there is one.
///
/// # Errors
/// Says which is needed, and which are here.
pub(crate) fn find(id: TokensPrefix, name: &str, packaged: &Path) -> PyResult<Bundle> {
    let here = all(packaged);
    match here.iter().find(|bundle| bundle.reads(id)) {
        Some(bundle) => Ok(bundle.clone()),
        None => {
            let here: Vec<String> = here.iter().map(Bundle::title).collect();
            let here = if here.is_empty() { "none is".to_owned() } else { format!("here are {}", here.join(", ")) };
            Err(BundleError::new_err(shown(format!(
                "it was made with the model {name} ({}), which is not here ({here}): put its folder into {}, or open the file \
                 with codec=Codec(\"path/to/it\")",
                id.short(),
                places(packaged).first().unwrap_or(&packaged.to_owned()).display(),
            ))))
        }
    }
}

fn places(packaged: &Path) -> Vec<PathBuf> {
    let mut folders = parlo_model::bundle_folders();
    folders.push(packaged.to_owned());
    folders
}

/// All bundles that are here and whole enough to be opened, best first.
fn all(packaged: &Path) -> Vec<Bundle> {
    let usual = parlo_model::locate_bundle(None).and_then(|folder| Bundle::open(&folder)).ok();
    parlo_model::find_bundles(usual, &[packaged.to_owned()]).bundles
}
