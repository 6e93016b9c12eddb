//! The verbs that ask the daemon for something.

mod calls;
mod daemon;
mod feed;
mod recordings;
mod select_call;
mod sound;
mod watch;

use std::io::{Write, stdout};

use clap::{Subcommand, ValueEnum};
use parlo_guard::{plain_json, plain_lines};
use serde::Serialize;

/// What the daemon is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the calls that stand or ring
    Calls(calls::List),
    /// Answer a call that rings here
    Answer(calls::Answer),
    /// Refuse a call that rings here
    Refuse(calls::Refuse),
    /// End a call
    Hangup(calls::Hangup),
    /// Hold a call: nothing is said and nothing heard
    Hold(calls::Which),
    /// Resume a call that is held
    Resume(calls::Which),
    /// Change how a call is sent and heard
    Set(calls::Set),
    /// Let the peers of several calls hear each other
    Conference(calls::Conference),
    /// Show the calls on a screen of the terminal
    Screen(watch::ScreenVerb),
    /// Switch the microphone off
    Mute(sound::Quiet),
    /// Switch the microphone on
    Unmute(sound::Quiet),
    /// Press talk, or let it go, where push to talk is on
    Talk(sound::Talk),
    /// Show or change sound: devices, gains, stages
    Audio(Box<sound::Sound>),
    /// Record a call, or stop recording it
    Record(recordings::Record),
    /// Show recordings, fetch or remove one
    Recordings(recordings::Recordings),
    /// Tell callers that the line is busy, or no longer
    Disturb(daemon::Disturb),
    /// Show how the daemon is
    Status(daemon::StatusVerb),
    /// Print what happens, line by line, until Ctrl-C
    Watch(watch::Watch),
    /// Print the tokens of a call, live, a line for each frame
    Feed(feed::FeedVerb),
    /// Start or stop the daemon, or open its page
    Daemon(daemon::DaemonVerb),
}

impl Verb {
    /// Whether it writes a file.
    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Recordings(verb) if verb.writes())
    }

    pub(crate) fn run(self) -> anyhow::Result<()> {
        crate::connect::block_on(async {
            match self {
                Self::Calls(verb) => verb.run().await,
                Self::Answer(verb) => verb.run().await,
                Self::Refuse(verb) => verb.run().await,
                Self::Hangup(verb) => verb.run().await,
                Self::Hold(verb) => verb.hold(true).await,
                Self::Resume(verb) => verb.hold(false).await,
                Self::Set(verb) => verb.run().await,
                Self::Conference(verb) => verb.run().await,
                Self::Screen(verb) => verb.run().await,
                Self::Mute(verb) => verb.mute(true).await,
                Self::Unmute(verb) => verb.mute(false).await,
                Self::Talk(verb) => verb.run().await,
                Self::Audio(verb) => verb.run().await,
                Self::Record(verb) => verb.run().await,
                Self::Recordings(verb) => verb.run().await,
                Self::Disturb(verb) => verb.run().await,
                Self::Status(verb) => verb.run().await,
                Self::Watch(verb) => verb.run().await,
                Self::Feed(verb) => verb.run().await,
                Self::Daemon(verb) => verb.run().await,
            }
        })
    }
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Prints on standard output. Unlike for `println!`, a reader who has had enough is an error, which ends the verb.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(plain_lines(text).as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a value as JSON, for programs.
pub(crate) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print(&(plain_json(&serde_json::to_string_pretty(value)?) + "\n"))
}
