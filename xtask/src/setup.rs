//! Installs what is missing: system packages by the system's installer, the ONNX Runtime library out of a Python wheel.
//! A second run finds everything in place and needs no network.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::shell::{self, root, run_quietly, succeeds};

/// What the machine is to be made ready for. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// To build and run Parlo.
    Run,
    /// To make packages too: the Python package, and Debian's.
    Package,
    /// To test it: a sound server without a sound card, a browser, and a Python environment.
    Test,
    /// To test its training: a Python environment with PyTorch.
    TestTraining,
}

/// A thing that must be there: how to look, the Debian package that brings it, and what first needs it.
struct Need {
    package: &'static str,
    look: &'static [&'static str],
    purpose: Purpose,
}

const fn need(package: &'static str, look: &'static [&'static str], purpose: Purpose) -> Need {
    Need { package, look, purpose }
}

/// Looked for by what they do, not by package: it does not matter who brought them.
const NEEDS: [Need; 18] = [
    need("pkg-config", &["pkg-config", "--version"], Purpose::Run),
    need("libasound2-dev", &["pkg-config", "--exists", "alsa"], Purpose::Run),
    // Real-time priority is asked for over it.
    need("libdbus-1-dev", &["pkg-config", "--exists", "dbus-1"], Purpose::Run),
    need("cmake", &["cmake", "--version"], Purpose::Run),
    // Debian's cmake only recommends it.
    need("make", &["make", "--version"], Purpose::Run),
    need("g++", &["c++", "--version"], Purpose::Run),
    need("python3", &["python3", "--version"], Purpose::Run),
    need("python3-pip", &["python3", "-m", "pip", "--version"], Purpose::Run),
    need("python3-venv", &["python3", "-c", "import venv, ensurepip"], Purpose::Package),
    need("dpkg-dev", &["dpkg-shlibdeps", "--version"], Purpose::Package),
    need("pulseaudio", &["pulseaudio", "--version"], Purpose::Test),
    need("pulseaudio-utils", &["pactl", "--version"], Purpose::Test),
    // Takes the changes back from third_party/.
    need("patch", &["patch", "--version"], Purpose::Test),
    need("curl", &["curl", "--version"], Purpose::Test),
    // Live tokens for many. Debian has it where only root's PATH looks.
    need("nats-server", &["sh", "-c", "PATH=$PATH:/usr/sbin nats-server --version"], Purpose::Test),
    // The tests of the page.
    need("chromium", &["chromium", "--version"], Purpose::Test),
    // Where packages are installed by the tests.
    need("debootstrap", &["sh", "-c", "PATH=$PATH:/usr/sbin debootstrap --version"], Purpose::Test),
    // One of training's packages comes as source.
    need("python3-dev", &["python3", "-c", PYTHON_HEADERS], Purpose::TestTraining),
];
const PYTHON_HEADERS: &str = "import os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')";

/// A Python environment under `vendor/`.
pub(crate) struct Environment {
    folder: &'static str,
    requirements: &'static str,
    /// What it must be able to import.
    module: &'static str,
    /// What is said while it is filled.
    installing: &'static str,
    /// For pip: the packages that there are no wheels of.
    from_source: &'static [&'static str],
    /// Requirements of which the wheels are kept too, to install them elsewhere without a network.
    kept: Option<&'static str>,
}

/// For the conformance tests.
pub(crate) const TESTS: Environment = Environment {
    folder: "vendor/python",
    requirements: "tools/conformance/requirements.txt",
    module: "numpy",
    installing: "installing Python packages for the tests (100 MB)",
    from_source: &[],
    kept: None,
};

/// For building the Python package, and for its tests.
pub(crate) const PACKAGE: Environment = Environment {
    folder: "vendor/python-package",
    requirements: "clients/python/requirements-test.txt",
    module: "maturin",
    installing: "installing Python packages for building and testing the Python package (250 MB)",
    from_source: &[],
    kept: Some("clients/python/requirements.txt"),
};

/// For the tests of the training package.
pub(crate) const TRAINING: Environment = Environment {
    folder: "vendor/training",
    requirements: "model/training/requirements.txt",
    module: "torch",
    installing: "installing PyTorch and what else training needs (several GB)",
    from_source: &["--no-binary=pyworld"],
    kept: None,
};

/// The interpreter of `.venv`, where whoever trains has PyTorch, if it has.
pub(crate) fn own_torch() -> Option<PathBuf> {
    let python = root().join(".venv/bin/python");
    succeeds(&python.display().to_string(), &["-c", "import torch, pytest"]).then_some(python)
}

/// An interpreter that has PyTorch, if there is one.
pub(crate) fn torch() -> Option<PathBuf> {
    own_torch().or_else(|| TRAINING.is_ready().then(|| TRAINING.python()))
}

/// The library: a line for each processor, with SHA-256 of the file itself. The programs check it too.
const LIBRARY_HASHES: &str = include_str!("../../model/src/onnxruntime.sha256");
const LIBRARY_IN_WHEEL: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";

pub(crate) fn run(purpose: Purpose) -> anyhow::Result<()> {
    packages(purpose)?;
    library()?;
    if purpose >= Purpose::Test {
        TESTS.make()?;
    }
    if purpose >= Purpose::Package {
        PACKAGE.make()?;
    }
    if purpose >= Purpose::TestTraining {
        TRAINING.make()?;
    }
    Ok(())
}

fn packages(purpose: Purpose) -> anyhow::Result<()> {
    let missing = || -> Vec<&str> {
        let needed = NEEDS.iter().filter(|need| need.purpose <= purpose);
        needed.filter(|need| !succeeds(need.look[0], &need.look[1..])).map(|need| need.package).collect()
    };
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    println!("missing: {list}");
    let by_hand = format!("install these by hand: `apt-get install {list}` on Debian and Ubuntu, their like elsewhere");
    if !succeeds("apt-get", &["--version"]) {
        bail!("this system has no apt-get; {by_hand}");
    }
    let install = |arguments: &[&str]| {
        let mut command = match succeeds("sh", &["-c", "[ \"$(id -u)\" = 0 ]"]) {
            true => Command::new("apt-get"),
            false => {
                let mut sudo = Command::new("sudo");
                sudo.arg("apt-get");
                sudo
            }
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&packages);
    // The package lists of a fresh machine are empty or old.
    shell::run(&mut install(&["update", "-q"])).with_context(|| by_hand.clone())?;
    shell::run(&mut install(&arguments)).with_context(|| by_hand.clone())?;
    let still = missing();
    if still.is_empty() { Ok(()) } else { bail!("still missing after the installation: {}", still.join(" ")) }
}

/// Where the library goes. `.cargo/config.toml` and the programs look there.
fn vendored() -> PathBuf {
    root().join("vendor/onnxruntime")
}

/// The library's file.
pub(crate) fn library_file() -> PathBuf {
    vendored().join("libonnxruntime.so")
}

fn library() -> anyhow::Result<()> {
    let mut hashes = LIBRARY_HASHES.lines().filter_map(|line| line.split_once(' '));
    let Some((_, wanted)) = hashes.find(|(processor, _)| *processor == ARCH) else {
        bail!("there is no ONNX Runtime wheel for {ARCH}; put the library at {}", vendored().display());
    };
    let library = library_file();
    if hash(&library).is_some_and(|found| found == wanted) {
        return Ok(());
    }
    fs::create_dir_all(vendored())?;
    let scratch = vendored().join("unpacking");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch)?;
    // The wheel's Python version does not matter, only the library in it: so whatever Python is here, it is the same wheel.
    let mut download = Command::new("python3");
    download.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]);
    download.args(["--require-hashes", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]);
    download.args(["--platform", &format!("manylinux_2_28_{ARCH}"), "--platform", &format!("manylinux_2_27_{ARCH}")]);
    download.arg("-r").arg(root().join("xtask/onnxruntime.txt")).arg("-d").arg(&scratch);
    run_quietly("fetching the ONNX Runtime library (24 MB)", &mut download)?;
    let wheel = fs::read_dir(&scratch)?.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some());
    let wheel = wheel.context("pip has downloaded nothing")?;
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&scratch);
    run_quietly("unpacking it", &mut unpack)?;
    let unpacked = scratch.join(LIBRARY_IN_WHEEL);
    let found = hash(&unpacked).with_context(|| format!("the wheel has no {LIBRARY_IN_WHEEL}"))?;
    if found != wanted {
        bail!("the library in the wheel has SHA-256 {found}, not {wanted}; it is not used");
    }
    for notice in ["LICENSE", "ThirdPartyNotices.txt"] {
        fs::rename(scratch.join("onnxruntime").join(notice), vendored().join(notice))?;
    }
    // Last, and at once: a library that is there is whole.
    fs::rename(&unpacked, &library)?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

impl Environment {
    /// Where it lies.
    pub(crate) fn place(&self) -> PathBuf {
        root().join(self.folder)
    }

    /// Its interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        self.place().join("bin/python")
    }

    /// The folder of the wheels that are kept.
    pub(crate) fn wheels(&self) -> PathBuf {
        self.place().join("wheels")
    }

    /// Whether it is there and holds what it must.
    pub(crate) fn is_ready(&self) -> bool {
        let wanted = self.wanted();
        // An environment whose Python was upgraded away is of no use.
        wanted.is_some()
            && fs::read_to_string(self.stamp()).ok() == wanted
            && succeeds(&self.python().display().to_string(), &["-c", &format!("import {}", self.module)])
    }

    /// Makes it, anew if what it must hold has changed.
    fn make(&self) -> anyhow::Result<()> {
        if self.is_ready() {
            return Ok(());
        }
        let (folder, requirements) = (self.place(), root().join(self.requirements));
        let wanted = self.wanted().with_context(|| format!("{} is missing", self.requirements))?;
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(root().join("vendor"))?;
        run_quietly("making a Python environment", Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let mut install = Command::new(self.python());
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
        run_quietly(self.installing, install.args(self.from_source).arg("-r").arg(&requirements))?;
        if let Some(kept) = self.kept {
            let mut keep = Command::new(self.python());
            keep.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
            keep.arg("--require-hashes").arg("-r").arg(root().join(kept)).arg("-d").arg(self.wheels());
            run_quietly("keeping the wheels that the package needs", &mut keep)?;
        }
        fs::write(self.stamp(), wanted)?;
        Ok(())
    }

    /// What the file of the stamp says of an environment that holds what it must.
    fn wanted(&self) -> Option<String> {
        let own = hash(&root().join(self.requirements))?;
        match self.kept {
            Some(kept) => Some(format!("{own} {}", hash(&root().join(kept))?)),
            None => Some(own),
        }
    }

    /// The file that says which requirements were installed, written last.
    fn stamp(&self) -> PathBuf {
        self.place().join("requirements.sha256")
    }
}

/// SHA-256 of a file in hexadecimal, if it can be read.
pub(crate) fn hash(file: &Path) -> Option<String> {
    let bytes = fs::read(file).ok()?;
    Some(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_wheels_are_those_of_the_pinned_library() {
        let requirements = include_str!("../onnxruntime.txt");
        let version = LIBRARY_IN_WHEEL.rsplit_once(".so.").map(|(_, version)| version);
        assert!(version.is_some_and(|version| requirements.contains(&format!("onnxruntime=={version} "))));
        assert_eq!(requirements.matches("--hash=sha256:").count(), LIBRARY_HASHES.lines().count());
        assert!(LIBRARY_HASHES.lines().all(|line| line.split_once(' ').is_some_and(|(_, hash)| hash.len() == 64)));
    }

    #[test]
    fn bundles_are_exported_and_run_with_the_same_library() {
        let requirements = include_str!("../../model/training/requirements.txt");
        let version = LIBRARY_IN_WHEEL.rsplit_once(".so.").map(|(_, version)| format!("onnxruntime=={version}"));
        assert!(requirements.lines().any(|line| Some(line) == version.as_deref()));
    }
}
