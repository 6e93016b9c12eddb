//! The Python package: built as a wheel, installed into a clean environment, and tested there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::{
    setup::{PACKAGE, torch},
    shell::{self, root, run_quietly, target_dir},
};

/// Where the package is.
const FOLDER: &str = "clients/python";

/// Builds the wheel, installs it as a user would, and runs the package's tests with what it became.
///
/// The program `parlo` must be built: its files and the package's are compared.
pub(crate) fn test() -> anyhow::Result<()> {
    let python = environment()?;
    let mut tests = Command::new(python);
    tests
        .current_dir(root())
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(root().join(FOLDER).join("tests"));
    // As for one who has installed nothing but the wheel.
    tests.env_remove("ORT_DYLIB_PATH").env_remove("PARLO_BUNDLE").env("CARGO_TARGET_DIR", target_dir()?);
    shell::run(&mut tests)
}

/// An environment with nothing but the wheel, made anew; its interpreter. What tests and measures need beside is lent to it.
pub(crate) fn environment() -> anyhow::Result<PathBuf> {
    if !PACKAGE.is_ready() {
        bail!("there is no environment to build the Python package in; `cargo xtask setup` makes it");
    }
    let place = target_dir()?.join("python");
    let wheel = wheel(&place.join("wheel"), None)?;
    install(&wheel, &place.join("environment"))
}

/// Builds the wheel into `folder`, which then holds nothing else. Its files have the time `epoch` (seconds since 1970), or that of the build.
pub(crate) fn wheel(folder: &Path, epoch: Option<u64>) -> anyhow::Result<PathBuf> {
    let _ = fs::remove_dir_all(folder);
    let mut build = Command::new(PACKAGE.python());
    build.current_dir(root()).args(["-m", "maturin", "build", "--profile", "wheel", "--locked", "--manifest-path"]);
    build.arg(root().join(FOLDER).join("Cargo.toml")).arg("--out").arg(folder);
    crate::install::remap(&mut build, &root());
    if let Some(epoch) = epoch {
        build.env("SOURCE_DATE_EPOCH", epoch.to_string());
    }
    run_quietly("building the wheel", &mut build)?;
    let mut files = fs::read_dir(folder).context("maturin has built nothing")?.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|end| end == "whl")).context("maturin has built no wheel")
}

/// Installs the wheel, and what it needs, into a new environment in `folder`, without a network; gives its interpreter.
fn install(wheel: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let _ = fs::remove_dir_all(folder);
    let mut make = Command::new("python3");
    run_quietly("making a clean Python environment", make.args(["-m", "venv"]).arg(folder))?;
    let python = folder.join("bin/python");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links"]);
    run_quietly("installing the wheel", install.arg(PACKAGE.wheels()).arg(wheel))?;
    // What only the tests need is lent by the environment that has it, and found last.
    let lent = format!("import sys; print(next(path for path in sys.path if path.startswith({:?})))", PACKAGE.place());
    let lent = shell::output(Command::new(PACKAGE.python()).args(["-c", &lent]))?;
    let own =
        shell::output(Command::new(&python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]))?;
    // And PyTorch by the environment for training, where there is one: tests that need it skip themselves without.
    let torch = torch().map(|python| -> anyhow::Result<String> {
        let code = "import sysconfig; print(sysconfig.get_path('purelib'))";
        shell::output(Command::new(python).args(["-c", code]))
    });
    let torch = torch.transpose()?.unwrap_or_default();
    fs::write(Path::new(own.trim()).join("tests.pth"), format!("{}\n{}\n", lent.trim(), torch.trim()))?;
    Ok(python)
}
