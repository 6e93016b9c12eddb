//! Every test of every part, in order, and a table at the end; or some parts; or what is checked within a minute.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{
    setup,
    shell::{self, Build, cargo, root},
};

/// How many of the slowest are listed.
const SLOWEST: usize = 20;

/// What `--only` chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// Format, lints, crates against deny.toml
    Lints,
    /// Tests of the Rust crates
    Rust,
    /// Documents of the Rust crates, and coded bytes in release builds
    Release,
    /// The Python package, in a clean environment
    Python,
    /// The documents' second reading, in Python, against the programs
    Conformance,
    /// The page, in a browser
    Page,
    /// Training
    Training,
    /// Packages in clean systems
    Packages,
}

/// What is to be tested.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) only: BTreeSet<Part>,
    pub(crate) with_training: bool,
    pub(crate) packages: Option<Build>,
}

impl Choice {
    /// Packages take long, and the page is part of conformance: both are there alone if asked for.
    fn has(&self, part: Part) -> bool {
        match part {
            Part::Packages => self.packages.is_some() || self.only.contains(&part),
            Part::Page => self.only.contains(&part) && !self.only.contains(&Part::Conformance),
            _ => self.only.is_empty() || self.only.contains(&part),
        }
    }
}

/// A suite: how it is called, what runs it, and whether it is cargo's tests, which are timed one by one.
struct Suite {
    part: Part,
    name: &'static str,
    command: Command,
    timed: bool,
}

pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    setup::run(setup::Purpose::Test)?;
    let mut results: Vec<(&str, Duration, bool)> = Vec::new();
    let mut slowest: Vec<(Duration, String)> = Vec::new();
    for Suite { name, mut command, timed, .. } in suites(choice)? {
        println!("\n== {name}");
        let start = Instant::now();
        let result = if timed { run_timed(&mut command, &mut slowest) } else { shell::run(&mut command) };
        if let Err(error) = &result {
            eprintln!("{error:#}");
        }
        results.push((name, start.elapsed(), result.is_ok()));
    }
    slowest.sort_by(|a, b| b.cmp(a));
    if !slowest.is_empty() {
        println!("\nthe slowest test programs");
    }
    for (time, name) in slowest.iter().take(SLOWEST) {
        println!("{:>8.1} s  {name}", time.as_secs_f64());
    }
    println!();
    for (name, time, passed) in &results {
        println!("{}  {:>5.0} s  {name}", if *passed { "passed" } else { "FAILED" }, time.as_secs_f64());
    }
    let failed: Vec<&str> = results.iter().filter(|result| !result.2).map(|result| result.0).collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// What is run, in this order.
fn suites(choice: &Choice) -> anyhow::Result<Vec<Suite>> {
    let mut suites: Vec<Suite> = Vec::new();
    let xtask = std::env::current_exe()?;
    let mut add = |part, name, command| suites.push(Suite { part, name, command, timed: false });
    let with = |program: &mut Command, arguments: &[&str]| {
        program.args(arguments);
        std::mem::replace(program, Command::new("true"))
    };
    let by_cargo = |arguments: &[&str]| with(&mut cargo(), arguments);
    let by_us = |arguments: &[&str]| with(&mut Command::new(&xtask), arguments);

    add(Part::Lints, "format", by_cargo(&["fmt", "--all", "--check"]));
    add(
        Part::Lints,
        "lints",
        by_cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    );
    add(Part::Rust, "Rust tests", by_cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]));
    add(Part::Rust, "changed library", by_cargo(&["test", "--locked", "-p", "httpdate"]));
    let mut documents = by_cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    documents.env("RUSTDOCFLAGS", "-D warnings");
    add(Part::Release, "documents", documents);
    // What is asked of the programs from outside needs them built.
    if [Part::Python, Part::Conformance, Part::Page, Part::Packages].iter().any(|&part| choice.has(part)) {
        add(Part::Conformance, "programs", by_cargo(&["build", "--workspace", "--bins", "--locked"]));
    }
    // Coded bytes must not depend on how the coder was compiled.
    let golden = ["test", "--release", "--locked", "-p", "parlo-model", "--test", "golden"];
    add(Part::Release, "coded bytes, in release", by_cargo(&golden));
    let mut native = by_cargo(&golden);
    native.env("RUSTFLAGS", "-C target-cpu=native").env("CARGO_TARGET_DIR", root().join("target/native"));
    add(Part::Release, "coded bytes, for this processor", native);
    add(Part::Lints, "what crates are used", by_us(&["deny"]));
    // It compares its files with those of the programs.
    add(Part::Python, "Python package", by_us(&["python"]));
    add(Part::Conformance, "conformance", pytest(&setup::TESTS.python(), "tools/conformance"));
    add(Part::Page, "page", pytest(&setup::TESTS.python(), "tools/conformance/test_page.py"));
    if choice.has(Part::Training) {
        let (name, python) = training_environment(choice.with_training)?;
        add(Part::Training, name, pytest(&python, "model/training"));
    }
    let build = choice.packages.unwrap_or(Build::Dist);
    add(Part::Packages, "packages", by_us(&["package", "--build", build.profile()]));
    let mut install = pytest(&setup::TESTS.python(), "packaging/tests");
    install.arg("-rs").env("PARLO_PACKAGE", &xtask).env("PARLO_PACKAGE_BUILD", build.profile());
    add(Part::Packages, "packages in clean systems", install);

    suites.retain(|suite| suite.name == "programs" || choice.has(suite.part));
    for suite in &mut suites {
        suite.timed = suite.name == "Rust tests";
    }
    Ok(suites)
}

/// Format, lints and every crate's own tests, without set-up and without a network: for between two edits.
pub(crate) fn check() -> anyhow::Result<()> {
    let locked = ["--workspace", "--offline", "--locked"];
    let steps: [(&str, &[&str], &[&str]); 3] = [
        ("format", &["fmt", "--all", "--check"], &[]),
        ("lints", &["clippy", "--all-targets"], &["--", "-D", "warnings"]),
        ("crates' own tests", &["test", "--lib", "--bins", "--no-fail-fast"], &[]),
    ];
    for (name, arguments, last) in steps {
        let start = Instant::now();
        let mut command = cargo();
        command.args(arguments);
        if name != "format" {
            command.args(locked);
        }
        shell::run(command.args(last)).with_context(|| name.to_owned())?;
        println!("passed  {:>5.0} s  {name}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Runs cargo's tests, shows what they say, and adds how long each test program took.
fn run_timed(command: &mut Command, slowest: &mut Vec<(Duration, String)>) -> anyhow::Result<()> {
    // Cargo names the program on its standard error, and the program tells the time on its output: both come through one pipe.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .context("cannot start cargo")?;
    // What is kept of the command keeps the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut now = String::new();
    for line in BufReader::new(reader).lines() {
        let Ok(line) = line else { break };
        println!("{line}");
        if let Some(program) = running(&line) {
            now = program.to_owned();
        } else if let Some(time) = finished(&line) {
            slowest.push((time, now.clone()));
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { bail!("cargo test failed ({status})") }
}

/// The test program that a line of cargo's says is running.
fn running(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some(package) = line.strip_prefix("Doc-tests ") {
        return Some(package);
    }
    // "Running unittests src/lib.rs (target/debug/deps/parlo_dsp-0123456789abcdef)"
    let (_, path) = line.strip_prefix("Running ")?.rsplit_once('(')?;
    let name = path.trim_end_matches(')').rsplit('/').next()?;
    Some(name.rsplit_once('-').map_or(name, |(name, _)| name))
}

/// How long a test program took, if the line says so.
fn finished(line: &str) -> Option<Duration> {
    let (_, time) = line.strip_prefix("test result: ")?.rsplit_once("finished in ")?;
    time.trim_end_matches('s').parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

fn pytest(python: &Path, folder: &str) -> Command {
    let mut command = Command::new(python);
    command.current_dir(root()).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", folder]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_lines_tell_which_program_took_how_long() {
        let line = "     Running unittests src/lib.rs (target/debug/deps/parlo_dsp-0123456789abcdef)";
        assert_eq!(running(line), Some("parlo_dsp"));
        assert_eq!(
            running("     Running tests/call_manager.rs (/somewhere/else/call_manager-0a)"),
            Some("call_manager")
        );
        assert_eq!(running("   Doc-tests parlo_model"), Some("parlo_model"));
        assert_eq!(running("running 3 tests"), None);
        let line = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 12.34s";
        assert_eq!(finished(line), Some(Duration::from_secs_f64(12.34)));
        assert_eq!(finished("test a ... ok"), None);
    }

    #[test]
    fn what_is_chosen_runs_and_nothing_else() {
        let choice =
            |only: &[Part]| Choice { only: only.iter().copied().collect(), with_training: false, packages: None };
        let has = |choice: Choice| {
            Part::value_variants().iter().copied().filter(|&part| choice.has(part)).collect::<Vec<_>>()
        };
        let all = has(choice(&[]));
        assert!(!all.contains(&Part::Packages) && !all.contains(&Part::Page) && all.len() == 6);
        assert_eq!(has(choice(&[Part::Page])), [Part::Page]);
        assert_eq!(has(choice(&[Part::Page, Part::Conformance])), [Part::Conformance]);
        assert_eq!(has(choice(&[Part::Packages])), [Part::Packages]);
        let packages = Choice { packages: Some(Build::Dev), ..choice(&[]) };
        assert!(packages.has(Part::Packages) && packages.has(Part::Rust));
    }
}
