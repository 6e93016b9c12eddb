//! `parlo`: the command that people type.

mod address;
mod call;
mod codec;
mod decode;
mod devices;
mod doctor;
mod encode;
mod id;
mod impair;
mod peers;
mod place;
mod relay;
mod stop;

use std::{io, path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use parlod::{audio::AudioError, options::CallOptions};

use crate::place::Place;

/// Voice in 1 to 6 kbps: files, pipes and calls.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  parlo encode talk.flac talk.ptk           keep a minute of speech in 23 kB
  parlo decode talk.ptk talk.wav            hear it again
  parlo listen                              wait for a call
  parlo call 127.0.0.1:7275                 place one
  ffmpeg -i talk.m4a -f wav - | parlo encode - - | ssh host 'parlo decode - - | aplay'"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn speech into tokens: WAV, FLAC, MP3 or Ogg to .ptk
    Encode {
        /// Sound file; - is standard input
        input: Place,
        /// Token file; - is standard output
        output: Place,
        /// Codebooks to use, 0.5 kbps each; 1 to 12 with the bundle that ships
        #[arg(long, short = 'k', value_name = "K", default_value_t = 6)]
        depth: usize,
        /// Candidates of the search for codes, 1 to 32; more are slower and leave less error
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
        beam: u8,
        /// Pack the codes as they are, without entropy coding: longer, and simple to read for other programs
        #[arg(long)]
        plain: bool,
        /// Model bundle, a folder or a name
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,
    },
    /// Turn tokens into speech: .ptk to WAV (16-bit, mono)
    Decode {
        /// Token file; - is standard input
        input: Place,
        /// WAV file; - is standard output
        output: Place,
        /// Model bundle, a folder or a name; by default the one that the file was made with
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,
        /// Of a damaged or unfinished file, keep what lies before the damage
        #[arg(long)]
        keep_going: bool,
    },
    /// Call someone who listens
    Call {
        /// Whom: a name that `parlo peers` lists, HOST:PORT, or HOST for the usual port 7275
        peer: String,
        #[command(flatten)]
        options: CallOptions,
    },
    /// Wait for calls
    Listen {
        /// Where: ADDRESS:PORT
        #[arg(value_name = "ADDRESS:PORT")]
        address: Option<String>,
        /// End after the first call
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        options: CallOptions,
    },
    /// Show your key, by which your peers know you; the first time, make one
    Id,
    /// List the peers that you know
    Peers {
        #[command(subcommand)]
        action: Option<peers::Action>,
    },
    /// List microphones and loudspeakers
    Devices {
        /// Sound system: auto, pulse or alsa
        #[arg(long, value_name = "NAME", default_value = "auto")]
        backend: parlod::audio::device::Backend,
    },
    /// Check whether everything that a call needs is there, and say how to mend what is not
    Doctor {
        /// Sound system: auto, pulse or alsa
        #[arg(long, value_name = "NAME", default_value = "auto")]
        backend: parlod::audio::device::Backend,
        /// Model bundle, a folder or a name
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,
    },
    /// Say which address others see this machine at, after all address translators
    Address {
        /// STUN server to ask: HOST:PORT (RFC 8489; the usual port is 3478)
        #[arg(long, value_name = "HOST:PORT")]
        stun: String,
        /// Ask from this port, the one that calls will use; 0 is any
        #[arg(long, value_name = "PORT", default_value_t = 0)]
        port: u16,
    },
    /// Carry calls between peers who cannot reach each other; what they say stays sealed
    Relay(relay::RelayOptions),
    /// Put a bad network in front of any UDP program: loss, delay, jitter, a bottleneck, outages
    Impair(Box<impair::ImpairOptions>),
}

fn main() -> ExitCode {
    let started = Instant::now();
    let result = match Arguments::parse().command {
        Command::Encode { input, output, depth, beam, plain, bundle } => {
            encode::run(&input, &output, depth, usize::from(beam), plain, bundle.as_deref())
        }
        Command::Decode { input, output, bundle, keep_going } => {
            decode::run(&input, &output, bundle.as_deref(), keep_going)
        }
        Command::Call { peer, options } => call::place(&peer, &options, started),
        Command::Listen { address, once, options } => call::listen(address, once, &options, started),
        Command::Id => id::run(),
        Command::Peers { action } => peers::run(action),
        Command::Devices { backend } => devices::run(backend),
        Command::Doctor { backend, bundle } => doctor::run(backend, bundle.as_deref()),
        Command::Address { stun, port } => address::run(&stun, port),
        Command::Relay(options) => relay::run(&options),
        Command::Impair(options) => impair::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever read our output has had enough; that is for them to say, not for us.
            if !is_broken_pipe(&error) {
                eprintln!("parlo: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(broken)
            || matches!(cause.downcast_ref(), Some(AudioError::Unwritable { error, .. }) if broken(error))
    })
}
