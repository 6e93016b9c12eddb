//! `parlo import`: another codec's checkpoint to a bundle. The work is Python's, because the checkpoints are; this finds a Python
//! that can do it, and checks what came out.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use parlo_model::{Bundle, Manifest};

/// The module that does it.
const MODULE: &str = "parlo.importing";
/// Names the Python, where no option does.
const PYTHON: &str = "PARLO_PYTHON";

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// Folder with config.json and model.safetensors, as transformers writes them, or with encoder.onnx and decoder.onnx
    path: PathBuf,
    /// Which codec it is
    #[arg(long, value_name = "CODEC")]
    from: Codec,
    /// Folder of the bundle; by default its name, in the current folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Name of the bundle; by default that of the folder
    #[arg(long)]
    name: Option<String>,
    /// Licence of the weights, an SPDX expression: yours to look up and state
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// Which version of the weights it is, to note in the bundle
    #[arg(long, value_name = "TEXT")]
    revision: Option<String>,
    /// What a stream starts from: what the model was trained with, or zeros, with which more models stream
    #[arg(long, value_enum, default_value_t = Start::Trained)]
    start: Start,
    /// Codebooks to keep; by default all, 32 at most
    #[arg(long, value_name = "K")]
    books: Option<u32>,
    /// Sample rate of ONNX files that have no config.json beside them
    #[arg(long, value_name = "HZ")]
    sample_rate: Option<u32>,
    /// Entries of a codebook of ONNX files that do not show it
    #[arg(long, value_name = "N")]
    codebook_size: Option<u32>,
    /// Do not compare the bundle with what transformers makes of the checkpoint
    #[arg(long)]
    no_compare: bool,
    /// Replace a bundle that is there
    #[arg(long)]
    force: bool,
    /// Python that has the package parlo; by default what PARLO_PYTHON names, or python3
    #[arg(long, value_name = "PROGRAM")]
    python: Option<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Codec {
    Encodec,
    Mimi,
    Dac,
    Snac,
    Wavtokenizer,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Start {
    Trained,
    Zeros,
}

pub(crate) fn run(options: &ImportOptions) -> anyhow::Result<()> {
    let out = options.out()?;
    let python = options.python.clone().or_else(|| env::var_os(PYTHON)).unwrap_or_else(|| "python3".into());
    look_for_package(&python)?;
    // What it says is for the user; where the bundle is, is known here.
    let status = Command::new(&python)
        .args(["-m", MODULE])
        .args(options.arguments(&out))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", python.display()))?;
    if !status.success() {
        bail!("nothing was imported: {} said why, above", python.display());
    }
    let bundle = Bundle::open(&out)
        .and_then(|bundle| bundle.verify().map(|()| bundle))
        .with_context(|| format!("the bundle {} was made, but this version of parlo cannot read it", out.display()))?;
    println!("{}", out.display());
    eprintln!("{}", summary(bundle.manifest()));
    eprintln!("use it: parlo encode --bundle {} IN.wav OUT.ptk", as_option(&out).display());
    Ok(())
}

impl ImportOptions {
    /// Where the bundle goes.
    fn out(&self) -> anyhow::Result<PathBuf> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        if let Some(name) = &self.name {
            return Ok(name.into());
        }
        // A path like "." has no name of its own.
        let path = self.path.canonicalize().with_context(|| format!("cannot read {}", self.path.display()))?;
        path.file_name().map(PathBuf::from).context("give the bundle a name with --name")
    }

    /// What the module is told.
    fn arguments(&self, out: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                // In one word: a value may begin with a dash.
                let mut word = OsString::from(format!("--{name}="));
                word.push(value);
                arguments.push(word);
            }
        };
        let number = |value: Option<u32>| value.map(|value| value.to_string().into());
        option("from", Some(name_of(self.from)));
        option("out", Some(out.into()));
        option("name", self.name.as_ref().map(Into::into));
        option("licence", self.licence.as_ref().map(Into::into));
        option("revision", self.revision.as_ref().map(Into::into));
        option("start", Some(name_of(self.start)));
        option("books", number(self.books));
        option("sample-rate", number(self.sample_rate));
        option("codebook-size", number(self.codebook_size));
        for (flag, given) in [("--no-compare", self.no_compare), ("--force", self.force)] {
            if given {
                arguments.push(flag.into());
            }
        }
        arguments.extend(["--".into(), self.path.clone().into()]);
        arguments
    }
}

fn name_of(value: impl ValueEnum) -> OsString {
    value.to_possible_value().map(|value| value.get_name().into()).unwrap_or_default()
}

/// Fails unless `python` runs and has the module.
fn look_for_package(python: &OsStr) -> anyhow::Result<()> {
    let another = format!("name another Python with --python, or in {PYTHON}");
    let look = Command::new(python).args(["-c", &format!("import {MODULE}")]).stdin(Stdio::null()).output();
    let look = match look {
        Ok(look) => look,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("importing needs Python, and there is no {}: install it, or {another}", python.display())
        }
        Err(error) => bail!("importing needs Python, and {} does not start: {error}; {another}", python.display()),
    };
    if look.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&look.stderr);
    let reason = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it did not say why");
    bail!(
        "importing needs Parlo's Python package, and {} cannot import it ({reason}): install its wheel there, with \
         pip install 'parlo_voice-{}-cp311-abi3-PLATFORM.whl[importing]' (`cargo xtask package` builds it), or {another}",
        python.display(),
        env!("CARGO_PKG_VERSION")
    )
}

/// A line about the bundle.
fn summary(manifest: &Manifest) -> String {
    let audio = &manifest.audio;
    let frames = f64::from(audio.sample_rate) / audio.frame_samples as f64;
    let books = manifest.quantizer.sizes().len();
    format!("{}: {} Hz, {frames:.4} frames a second of {books} codes", manifest.name, audio.sample_rate)
}

/// The path as an option takes it: a bare name would be looked for among the installed bundles.
fn as_option(out: &Path) -> PathBuf {
    if out.components().count() > 1 { out.to_owned() } else { Path::new(".").join(out) }
}
