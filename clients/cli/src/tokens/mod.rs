//! Verbs for token files: what is in them, parts of them, several as one, what can be saved of them.

mod edit;
mod export;
mod info;
mod npz;
mod repair;
mod time_range;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use parlo_archive::Archive;
use parlo_audio_io::output;
use parlod::sentence_of;

pub(crate) use time_range::TimeRange;

use crate::{
    confine::{self, Needs, Output},
    io_path::{Anywhere, IoPath},
};

/// What people type.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say what is in a token file: length, bits, how codebooks are used, losses, damage
    Info {
        /// Token file; - is standard input
        input: IoPath,
        /// Model bundle, a folder or a name; by default the one that the file was made with
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Compare every checksum of token files, and decode every code; say what is wrong
    Verify {
        /// Token files; - is standard input
        #[arg(required = true)]
        inputs: Vec<IoPath>,
    },
    /// Save what is whole of a damaged or unfinished token file; exit code 3 if something is lost
    Repair {
        /// Token file; - is standard input
        input: IoPath,
        /// Where to; - is standard output. By default in place of the damaged one, which is kept beside it as NAME.damaged.ptk
        #[arg(long, short, value_name = "FILE")]
        output: Option<IoPath>,
        /// Replace a token file that is there, of the name that --output says
        #[arg(long, short, requires = "output")]
        force: bool,
    },
    /// Keep a part of a token file. Sound is not decoded
    Cut {
        /// Token file; - is standard input
        input: IoPath,
        /// Token file; - is standard output
        output: IoPath,
        #[command(flatten)]
        range: TimeRange,
        /// Model bundle, a folder or a name; by default the one that the file was made with
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,
        /// Of a damaged or unfinished file, take what lies before the damage
        #[arg(long)]
        keep_going: bool,
        /// Replace a token file that is there
        #[arg(long, short)]
        force: bool,
    },
    /// Join token files, one after another. Sound is not decoded
    Cat {
        /// Token files of one model
        #[arg(required = true)]
        inputs: Vec<IoPath>,
        /// Token file; - is standard output
        #[arg(long, short, value_name = "FILE", default_value = "-")]
        output: IoPath,
        /// Of damaged or unfinished files, take what lies before the damage
        #[arg(long)]
        keep_going: bool,
        /// Replace a token file that is there
        #[arg(long, short)]
        force: bool,
    },
    /// Write the codes of a token file for other programs: NumPy, JSON lines, CSV; or its sound
    Export(export::Export),
}

impl Verb {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        confine::enter(&self.needs());
        match self {
            Self::Info { input, bundle, json } => info::run(&input, bundle.as_deref(), json),
            Self::Verify { inputs } => repair::verify(&inputs),
            Self::Repair { input, output, force } => repair::repair(&input, output.as_ref(), force),
            Self::Cut { input, output, range, bundle, keep_going, force } => {
                edit::cut(&input, &output, range, bundle.as_deref(), keep_going, force)
            }
            Self::Cat { inputs, output, keep_going, force } => edit::cat(&inputs, &output, keep_going, force),
            Self::Export(export) => export.run(),
        }
    }
}

impl Verb {
    fn needs(&self) -> Needs<'_> {
        let (inputs, output, bundle): (Vec<&IoPath>, _, Option<&Path>) = match self {
            Self::Info { input, bundle, .. } => (vec![input], Output::None, bundle.as_deref()),
            Self::Verify { inputs } => (inputs.iter().collect(), Output::None, None),
            Self::Repair { input, output: None, .. } => (vec![input], Output::Mended(input), None),
            // By whatever name or link.
            Self::Repair { input: input @ IoPath::File(from), output: Some(IoPath::File(to)), .. }
                if from == to || output::is_same(from, to) =>
            {
                (vec![input], Output::Mended(input), None)
            }
            Self::Repair { input, output: Some(output), .. } => (vec![input], Output::File(output), None),
            Self::Cut { input, output, bundle, .. } => (vec![input], Output::File(output), bundle.as_deref()),
            Self::Cat { inputs, output, .. } => (inputs.iter().collect(), Output::File(output), None),
            Self::Export(export) => return export.needs(),
        };
        Needs { inputs, output, bundle, ..Needs::default() }
    }
}

/// A token file, open, and what it is called in messages.
struct Opened {
    name: String,
    archive: Archive<Box<dyn Anywhere>>,
}

impl Opened {
    fn new(input: &IoPath) -> anyhow::Result<Self> {
        let name = input.name("standard input");
        let archive = Archive::open(input.read_anywhere()?);
        let archive = archive.map_err(|error| anyhow::anyhow!("{name}: {}", sentence_of(&error)))?;
        Ok(Self { name, archive })
    }

    /// What is wrong with it, if something is, as far as it shows without reading all of it.
    fn fault(&self) -> Option<String> {
        use parlo_archive::FileState;
        let seconds = self.archive.duration_ms() as f64 / 1000.0;
        match self.archive.state() {
            FileState::Whole => None,
            FileState::Cut { at } => Some(format!("it breaks off at byte {at}, after {seconds:.1} s of speech")),
            FileState::Damaged { reason, .. } => Some(reason.clone()),
        }
    }

    /// Goes on with a file that is not whole only if that is wanted, and says so.
    fn check(&self, keep_going: bool) -> anyhow::Result<()> {
        match self.fault() {
            Some(fault) if !keep_going => {
                anyhow::bail!("{}: {fault}; --keep-going takes what is whole, and `parlo repair` saves it", self.name)
            }
            Some(fault) => eprintln!("parlo: {}: {fault}", self.name),
            None => {}
        }
        Ok(())
    }
}
