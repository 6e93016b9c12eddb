//! The Python package `parlo`, its part in Rust: `parlo._native`.
//!
//! Arrays come in checked and shaped by the modules in Python (`python/parlo/codec.py`, `files.py`), which also say what is
//! public; here they are borrowed, and worked upon without the interpreter's lock. Nothing here may panic, whatever comes in.

mod bundles;
mod codec;
mod error;
mod files;
mod frames;
mod parallel;
mod sound;
mod stream_codec;
mod streams;

use pyo3::prelude::*;

/// The module.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("ParloError", py.get_type::<error::ParloError>())?;
    module.add("BundleError", py.get_type::<error::BundleError>())?;
    module.add("FileError", py.get_type::<error::FileError>())?;
    module.add_class::<codec::Codec>()?;
    module.add_class::<streams::Encoder>()?;
    module.add_class::<streams::Decoder>()?;
    module.add_class::<files::Archive>()?;
    module.add_class::<files::Sound>()?;
    module.add_function(wrap_pyfunction!(sound::read_audio, module)?)?;
    module.add_function(wrap_pyfunction!(files::write, module)?)
}
