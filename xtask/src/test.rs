//! Every test of every part, in order, and a table at the end.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    setup,
    shell::{self, cargo, root},
};

pub(crate) fn run(with_training: bool) -> anyhow::Result<()> {
    setup::run(setup::Purpose::Test)?;
    let python = root().join("vendor/python/bin/python");
    let pytest = |folder: &str| {
        let mut command = Command::new(&python);
        command.current_dir(root()).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", folder]);
        command
    };
    let mut suites: Vec<(&str, Command)> = Vec::new();
    let mut add = |name, arguments: &[&str]| {
        let mut command = cargo();
        command.args(arguments);
        suites.push((name, command));
    };
    add("format", &["fmt", "--all", "--check"]);
    add("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    add("Rust tests", &["test", "--workspace", "--locked", "--no-fail-fast"]);
    add("documents", &["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    add("programs", &["build", "--workspace", "--bins", "--locked"]);
    if let Some((_, command)) = suites.iter_mut().find(|(name, _)| *name == "documents") {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    suites.push(("conformance", pytest("conformance")));
    if with_training {
        if !root().join("model/training").is_dir() {
            bail!("there is no training package yet, so there are no tests of it");
        }
        suites.push(("training", pytest("model/training")));
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
