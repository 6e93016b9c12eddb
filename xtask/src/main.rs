//! What the README's commands call: `cargo xtask demo`, `cargo xtask test`, and the parts they are made of.
//!
//! Light on purpose: it must build before anything is installed, and so builds and runs everything else as child processes.

mod bench;
mod demo;
mod python;
mod score;
mod setup;
mod shell;
mod test;
mod timeline;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

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
    /// Run every test of every part
    Test {
        /// Install PyTorch (into vendor/training, unless .venv has it) for the tests of training that need it
        #[arg(long)]
        with_training: bool,
    },
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
        /// Write the table into docs/performance.md
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
    let result = match Arguments::parse().command {
        Command::Setup => setup::run(setup::Purpose::Test),
        Command::Demo(options) => demo::run(&options),
        Command::Test { with_training } => test::run(with_training),
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
