//! Every test of every part, in order, and a table at the end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    setup,
    shell::{self, Build, cargo, root},
};

pub(crate) fn run(with_training: bool, packages: Option<Build>) -> anyhow::Result<()> {
    setup::run(setup::Purpose::Test)?;
    let (training, training_python) = training_environment(with_training)?;
    let mut suites: Vec<(&str, Command)> = Vec::new();
    let mut add = |name, arguments: &[&str]| {
        let mut command = cargo();
        command.args(arguments);
        suites.push((name, command));
    };
    add("format", &["fmt", "--all", "--check"]);
    add("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    add("Rust tests", &["test", "--workspace", "--locked", "--no-fail-fast"]);
    add("changed library", &["test", "--locked", "-p", "httpdate"]);
    add("documents", &["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    add("programs", &["build", "--workspace", "--bins", "--locked"]);
    if let Some((_, command)) = suites.iter_mut().find(|(name, _)| *name == "documents") {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    // Coded bytes must not depend on how the coder was compiled.
    for native in [false, true] {
        let mut command = cargo();
        command.args(["test", "--release", "--locked", "-p", "parlo-model", "--test", "golden"]);
        if native {
            command.env("RUSTFLAGS", "-C target-cpu=native").env("CARGO_TARGET_DIR", root().join("target/native"));
        }
        suites.push((if native { "coded bytes, for this processor" } else { "coded bytes, in release" }, command));
    }
    let mut deny = Command::new(std::env::current_exe()?);
    deny.arg("deny");
    suites.push(("what crates are used", deny));
    // It compares its files with those of the programs.
    let mut package = Command::new(std::env::current_exe()?);
    package.arg("python");
    suites.push(("Python package", package));
    suites.push(("conformance", pytest(&setup::TESTS.python(), "conformance")));
    suites.push((training, pytest(&training_python, "model/training")));

    if let Some(build) = packages {
        let xtask = std::env::current_exe()?;
        let mut make = Command::new(&xtask);
        make.args(["package", "--build", build.profile()]);
        suites.push(("packages", make));
        let mut install = pytest(&setup::TESTS.python(), "packaging/tests");
        install.arg("-rs").env("PARLO_PACKAGE", &xtask).env("PARLO_PACKAGE_BUILD", build.profile());
        suites.push(("packages in clean systems", install));
    }

    let mut results: Vec<(&str, Duration, bool)> = Vec::new();
    for (name, mut command) in suites {
        println!("\n== {name}");
        let start = Instant::now();
        let result = shell::run(&mut command);
        if let Err(error) = &result {
            eprintln!("{error:#}");
        }
        results.push((name, start.elapsed(), result.is_ok()));
    }
    println!();
    for (name, time, passed) in &results {
        println!("{}  {:>5.0} s  {name}", if *passed { "passed" } else { "FAILED" }, time.as_secs_f64());
    }
    let failed: Vec<&str> = results.iter().filter(|result| !result.2).map(|result| result.0).collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn pytest(python: &Path, folder: &str) -> Command {
    let mut command = Command::new(python);
    command.current_dir(root()).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", folder]);
    command
}

/// What to call the tests of the training package, by where they run, and the Python to run them.
///
/// Those that need PyTorch skip themselves where there is none, which the name then says.
fn training_environment(with_training: bool) -> anyhow::Result<(&'static str, PathBuf)> {
    // Who trains has one; several gigabytes need not be there twice.
    if setup::own_torch().is_none() && with_training {
        setup::run(setup::Purpose::TestTraining)?;
    }
    if let Some(python) = setup::torch() {
        let name = if setup::own_torch().is_some() { "training (in .venv)" } else { "training (in vendor/training)" };
        return Ok((name, python));
    }
    Ok(("training, but for what needs PyTorch (in vendor/python; --with-training installs it)", setup::TESTS.python()))
}
