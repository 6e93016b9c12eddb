//! Child processes, with something to see while they run.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    let output = cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata says nothing")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(folder.into())
}

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Build {
    /// To be measured: all optimisation, over all crates together.
    #[value(skip)]
    Release,
    /// To be used: nearly as fast, and built in a third of the time
    Dist,
    /// To be tested: what `cargo test` has built already; slower, and larger
    Dev,
}

impl Build {
    /// Cargo's name of it.
    pub(crate) fn profile(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dist => "dist",
            Self::Dev => "dev",
        }
    }

    /// Where in the target directory its programs are.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            other => other.profile(),
        }
    }
}

/// A program of the release build, to measure.
pub(crate) fn program(name: &str) -> anyhow::Result<Command> {
    program_of(Build::Release, name)
}

/// A program as built, away from any configuration of the user's own, which would change what is measured.
pub(crate) fn program_of(build: Build, name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(target_dir()?.join(build.folder()).join(name));
    command.current_dir(root()).env("XDG_CONFIG_HOME", root().join("out/no-configuration"));
    // The build may lie outside the source tree, where the program would look for these.
    command.env("ORT_DYLIB_PATH", root().join("vendor/onnxruntime/libonnxruntime.so"));
    command.env("PARLO_BUNDLE", root().join("model/bundles").join(BUNDLE));
    Ok(command)
}

/// The bundle that ships.
pub(crate) const BUNDLE: &str = "parlo-16k";

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command whose own output is worth seeing. Fails if it does.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if status.success() { Ok(()) } else { bail!("{} failed ({status})", shown(command)) }
}

/// Runs a command whose output is wanted; what it says besides is shown. Fails if it does.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} failed ({})", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} says what is no text", shown(command)))
}

/// Runs a command behind a line that says what it is for; its output is shown only if it fails.
pub(crate) fn run_quietly(what: &str, command: &mut Command) -> anyhow::Result<()> {
    let spinner = spinner(what);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", shown(command)))?;
    spinner.finish_and_clear();
    if output.status.success() {
        println!("{what}: done");
        return Ok(());
    }
    eprint!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    bail!("{what} failed: {} ({})", shown(command), output.status)
}

/// Whether a command can be run and is content.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A line with a turning mark and the time, on a terminal; a plain line elsewhere.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if spinner.is_hidden() {
        println!("{what} ...");
    }
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.set_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn shown(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy);
    format!("`{}`", parts.collect::<Vec<_>>().join(" "))
}
