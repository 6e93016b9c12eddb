//! What the README's commands call: `cargo xtask demo`, `cargo xtask test`, and the parts they are made of.
//!
//! Light on purpose: it must build before anything is installed, and so builds and runs everything else as child processes.

mod bench;
mod demo;
mod install;
mod package;
mod python;
mod score;
mod setup;
mod shell;
mod supply;
mod test;
mod third_party;
mod timeline;
#[cfg(test)]
mod walls;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use shell::Build;

/// Parlo's set-up, demonstration, tests and measurements.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing: system packages, the ONNX Runtime library
    Setup,
    /// Send a clip of speech through two daemons on this machine, and show what became of it
    Demo(demo::Options),
    /// Build the programs and put them and all that they need under a prefix
    Install {
        /// Where: its bin, lib and share; by default ~/.local, for you alone
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
    },
    /// Make what is given to others, in out/packages: a .deb, a tarball, the Python wheel
    Package {
        /// What to make; by default everything
        #[arg(value_enum)]
        kinds: Vec<package::Kind>,
        /// Which build of the programs
        #[arg(long, value_enum, default_value = "dist")]
        build: Build,
    },
    /// Compare the crates with the policy in deny.toml: licences, known faults, sources, versions
    Deny,
    /// Write patches and lists in third_party/ anew, from the crates as published (needs a network)
    ThirdParty,
    /// Build the packages twice, in different folders, and compare their bytes
    Reproduce(supply::ReproduceOptions),
    /// Run every test of every part
    Test {
        /// Also make packages, install them into clean systems, and have these call each other (as root, and with a
        /// network the first time); `--packages=dev` with the programs that the other tests have built already
        #[arg(long, value_enum, value_name = "BUILD", num_args = 0..=1, require_equals = true, default_missing_value = "dist")]
        packages: Option<Build>,
        /// Install PyTorch (into vendor/training, unless .venv has it) for the tests of training that need it
        #[arg(long)]
        with_training: bool,
        /// Only these parts, comma-separated
        #[arg(long, value_enum, value_name = "PARTS", value_delimiter = ',')]
        only: Vec<test::Part>,
    },
    /// Format, lints and every crate's own tests: no set-up, no network
    Check,
    /// Build the Python package's wheel, install it into a clean environment, and run its tests there
    Python,
    /// Measure, and print a table
    Bench {
        /// What to measure
        #[arg(value_enum)]
        group: bench::Group,
        #[command(flatten)]
        speech: bench::Speech,
        /// Write the figures to FILE (JSON)
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Write the table into its page under docs/lab
        #[arg(long)]
        write_docs: bool,
    },
    /// Compare a WAV file with another: lag, likeness, ESTOI (JSON)
    Score {
        /// What was said
        reference: PathBuf,
        /// What was heard
        received: PathBuf,
    },
}

fn main() -> ExitCode {
    // For all that is started from here and loads ONNX Runtime, in whatever language (model/src/telemetry.rs says why).
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    let result = match Arguments::parse().command {
        Command::Setup => setup::run(setup::Purpose::Test),
        Command::Demo(options) => demo::run(&options),
        Command::Install { prefix } => install::run(prefix.as_deref()),
        Command::Package { kinds, build } => package::run(&kinds, build),
        Command::Deny => supply::deny(),
        Command::ThirdParty => third_party::run(),
        Command::Reproduce(options) => supply::reproduce(&options),
        Command::Test { with_training, packages, only } => {
            test::run(&test::Choice { only: only.into_iter().collect(), with_training, packages })
        }
        Command::Check => test::check(),
        Command::Python => python::test(),
        Command::Bench { group, speech, report, write_docs } => {
            bench::run(group, &speech, report.as_deref(), write_docs)
        }
        Command::Score { reference, received } => score::run(&reference, &received),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
