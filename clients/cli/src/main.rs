//! `parlo`: the command that people type.

#[macro_use]
mod out;

mod address;
mod batch;
mod call;
mod codec;
mod confine;
mod connect;
mod contacts;
mod daemon_verbs;
mod decode;
mod devices;
mod doctor;
mod encode;
mod event_log;
mod format;
mod id;
mod impair;
mod import;
mod io_path;
mod relay;
mod scratch;
mod screen;
mod standalone;
mod stop;
mod tokens;

use std::{fmt, io, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use parlod::{audio::AudioError, options::CallOptions};

use crate::io_path::IoPath;

/// Voice in 1 to 6 kbps: files, pipes and calls.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  parlo call ada                            call somebody; the daemon is started if it does not run
  parlo daemon start                        wait for calls in the background
  parlo answer                              answer the one that rings
  parlo encode talk.flac talk.ptk           keep a minute of speech in 23 kB
  parlo decode talk.ptk talk.wav            hear it again
  ffmpeg -i talk.m4a -f wav - | parlo encode - - | ssh host 'parlo decode - - | aplay'

Exit codes: 0 done; 1 not done, and why; 2 not a command; 3 done as far as possible: something of the input was damaged or missing"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn speech into tokens: WAV, FLAC, MP3 or Ogg to .ptk
    Encode(Box<encode::EncodeOptions>),
    /// Turn tokens into speech: .ptk to WAV, FLAC (16-bit, mono) or Opus
    Decode {
        /// Token file; - is standard input
        input: IoPath,
        /// Sound file, .wav, .flac, .opus or .ogg; - is WAV on standard output
        output: IoPath,
        /// Model bundle, a folder or a name; by default the one that the file was made with
        #[arg(long, value_name = "DIR")]
        bundle: Option<PathBuf>,
        /// Of a damaged or unfinished file, keep what lies before the damage
        #[arg(long)]
        keep_going: bool,
        #[command(flatten)]
        range: tokens::TimeRange,
        /// Replace a sound file that is there
        #[arg(long, short)]
        force: bool,
    },
    #[command(flatten)]
    Tokens(tokens::Verb),
    /// Make a bundle of another codec's checkpoint: EnCodec, Mimi, DAC, SNAC, WavTokenizer
    Import(Box<import::ImportOptions>),
    /// Call somebody
    Call(Box<call::CallVerb>),
    #[command(flatten)]
    Control(daemon_verbs::Verb),
    /// Wait for calls in this process, without the daemon, and answer whoever is let in
    Listen {
        /// Where: ADDRESS:PORT
        #[arg(value_name = "ADDRESS:PORT")]
        address: Option<String>,
        /// End after the first call
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        options: Box<CallOptions>,
    },
    /// Show your key, by which your peers know you; the first time, make one
    Id,
    /// List the people you know, note one, forget one
    #[command(visible_alias = "peers")]
    Contacts(contacts::Contacts),
    /// List microphones and loudspeakers
    Devices {
        /// Sound system: auto, pulse or alsa
        #[arg(long, value_name = "NAME", default_value = "auto")]
        backend: parlod::audio::device::Backend,
    },
    /// Check whether calls can work here, and say how to mend what is in their way; exit code 1 if they cannot
    Doctor(Box<doctor::DoctorOptions>),
    /// Show this machine's address as others see it, after all address translators (NAT)
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
    /// Write the manual pages and the shells' completions into a folder, laid out as /usr/share
    #[command(hide = true)]
    Generate {
        /// The folder, made if it is not there
        folder: PathBuf,
    },
    /// Put a bad network in front of any UDP program: loss, delay, jitter, a bottleneck, outages
    Impair(Box<impair::ImpairOptions>),
}

impl Command {
    /// Whether it writes files that are nothing before they are whole, and does so outside of the sandbox, which sees to it itself.
    fn writes(&self) -> bool {
        matches!(self, Self::Import(_)) || matches!(self, Self::Control(verb) if verb.writes())
    }
}

/// Exit code of what was done as far as it could be: something of the input was damaged or missing.
const INCOMPLETE: u8 = 3;

/// All was done that could be, and told; something of the input was damaged or missing.
#[derive(Debug)]
pub(crate) struct Incomplete;

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something of the input was damaged or missing")
    }
}

impl std::error::Error for Incomplete {}

/// Commands in groups, for the help.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Calls", &["call", "answer", "refuse", "hangup", "hold", "resume", "set", "conference", "calls", "screen"]),
    ("Sound", &["mute", "unmute", "talk", "audio", "devices"]),
    ("People", &["contacts", "id", "disturb"]),
    ("Recordings and live tokens", &["record", "recordings", "feed"]),
    ("Files", &["encode", "decode", "info", "cut", "cat", "verify", "repair", "export", "import"]),
    ("Daemon", &["daemon", "status", "watch", "doctor"]),
    ("Networks, and calls without the daemon", &["listen", "address", "relay", "impair"]),
];

/// The command line, its commands in groups.
fn command() -> clap::Command {
    let mut command = Arguments::command().mut_subcommand("call", call::sort_options);
    let width = command.get_subcommands().map(|verb| verb.get_name().len()).max().unwrap_or(0);
    let mut list = String::new();
    for (title, names) in GROUPS {
        list.push_str(&format!("\n{title}:\n"));
        for verb in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let mut aliases = verb.get_visible_aliases().collect::<Vec<_>>().join(", ");
            if !aliases.is_empty() {
                aliases = format!(" [also: {aliases}]");
            }
            list.push_str(&format!("  {:width$}  {about}{aliases}\n", verb.get_name()));
        }
    }
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{list}\nOptions:\n{{options}}{{after-help}}");
    command = command.help_template(template);
    command
}

/// From how many bytes on a piece of memory is asked of the system, and given back to it when it is let go.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_PIECE: i32 = 1 << 16;

/// Lets large pieces of memory go back to the system at once. By itself the C library learns from the first that is let go to keep those
/// that follow: what the runtime needs only while it loads a graph would stay (12 MiB of it, measured).
fn give_large_pieces_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: two numbers, a parameter that mallopt(3) names and its value, while no other thread runs. If it fails nothing changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_PIECE);
    }
}

fn main() -> ExitCode {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    give_large_pieces_back();
    let started = Instant::now();
    let parsed = command().try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            let shown = error.print().is_ok();
            return ExitCode::from(if shown { error.exit_code() as u8 } else { 1 });
        }
    };
    if arguments.command.writes() {
        stop::watch();
    }
    // What is needed of the system before anything of others is read.
    #[cfg(unix)]
    parlo_guard::know_users();
    if matches!(arguments.command, Command::Decode { .. } | Command::Tokens(_)) {
        scratch::prepare(scratch::MOST);
    }
    let result = match arguments.command {
        Command::Encode(options) => encode::run(&options),
        Command::Decode { input, output, bundle, keep_going, range, force } => {
            decode::run(&input, &output, bundle.as_deref(), keep_going, range, force)
        }
        Command::Tokens(verb) => verb.run(),
        Command::Import(options) => import::run(&options),
        Command::Call(verb) => verb.run(started),
        Command::Control(verb) => verb.run(),
        Command::Listen { address, once, options } => standalone::listen(address, once, &options, started),
        Command::Id => id::run(),
        Command::Contacts(verb) => verb.run(),
        Command::Devices { backend } => devices::run(backend),
        Command::Doctor(options) => doctor::run(&options),
        Command::Address { stun, port } => address::run(&stun, port),
        Command::Relay(options) => relay::run(&options),
        Command::Generate { folder } => {
            parlod::generate::write(&command(), &folder).with_context(|| format!("cannot write {}", folder.display()))
        }
        Command::Impair(options) => impair::run(&options),
    };
    // Begun for an output that it did not come to.
    parlo_audio_io::remove_temporary();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // What it was about was told where it was found.
        Err(error) if error.is::<Incomplete>() => ExitCode::from(INCOMPLETE),
        Err(error) => {
            // Whoever read our output has had enough; that is for them to say, not for us.
            if !is_broken_pipe(&error) {
                eprintln!("parlo: {}", parlod::sentence(&error));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_and_in_the_help() {
        command().debug_assert();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let all = command();
        let mut names: Vec<&str> =
            all.get_subcommands().filter(|verb| !verb.is_hide_set()).map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        names.sort_unstable();
        assert_eq!(grouped, names);
        let help = command().render_help().to_string();
        for name in names {
            assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
        }
        assert!(help.contains("Options:") && help.contains("Examples:"), "{help}");
    }

    #[test]
    fn options_of_this_process_need_standalone() {
        let parse = |words: &str| command().try_get_matches_from(words.split(' '));
        assert!(parse("parlo call ada --depth 3 --fixed --no-screen").is_ok());
        assert!(parse("parlo call ada --standalone --source none --report x").is_ok());
        for option in ["--source none", "--report x", "--jitter-ms 20", "--config x", "--anyone"] {
            let said = parse(&format!("parlo call ada {option}")).unwrap_err().to_string();
            assert!(said.contains("--standalone"), "{said}");
        }
    }
}
