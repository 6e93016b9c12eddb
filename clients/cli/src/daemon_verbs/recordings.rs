//! `parlo record` and `parlo recordings`.

use std::{
    ffi::OsString,
    io,
    time::{Duration, SystemTime},
};

use clap::{Args, ValueEnum, builder::OsStringValueParser};
use parlo_api::{Client, Recording, client::Side};
use parlo_audio_io::output::Kind;

use super::{
    print, print_json,
    select_call::{Fit, select_call},
};
use crate::{
    connect::DaemonAddress,
    format::{bytes, clock, plain, table, who},
    io_path::{IoPath, Output},
};

/// Records.
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The call's number; may be left out where only one call fits
    id: Option<u64>,
    /// Stop recording it
    #[arg(long)]
    stop: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Shows recordings.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo recordings                              list them
  parlo recordings --wav NAME talk.wav          hear one; --side said or heard for one side of it
  parlo recordings --tokens NAME talk.ptk       keep it small; `parlo decode` turns it into sound later
  parlo recordings --remove NAME")]
pub(crate) struct Recordings {
    /// Fetch a recording as sound; - is standard output
    #[arg(long, value_names = ["NAME", "FILE"], num_args = 2, value_parser = OsStringValueParser::new())]
    wav: Option<Vec<OsString>>,
    /// Which side of it
    #[arg(long, value_name = "SIDE", default_value = "both", requires = "wav")]
    side: Which,
    /// Fetch a recording as tokens; - is standard output
    #[arg(long, value_names = ["NAME", "FILE"], num_args = 2, conflicts_with = "wav", value_parser = OsStringValueParser::new())]
    tokens: Option<Vec<OsString>>,
    /// Replace a file of the same kind that is there
    #[arg(long, short)]
    force: bool,
    /// Remove a recording for good
    #[arg(long, value_name = "NAME", conflicts_with_all = ["wav", "tokens"])]
    remove: Option<String>,
    /// As JSON, for programs
    #[arg(long, conflicts_with_all = ["wav", "tokens", "remove"])]
    json: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// What you said
    Said,
    /// What you heard
    Heard,
    /// Both, mixed
    Both,
}

impl Record {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let client = self.reach.running().await?;
        let id = select_call(&client, self.id, if self.stop { Fit::Recorded } else { Fit::Unrecorded }).await?;
        let call = if self.stop { client.stop_recording(id).await? } else { client.record(id).await? };
        let who = who(&call.peer);
        print(&match &call.recording {
            Some(name) => format!("the call with {who} is recorded as {}\n", plain(name)),
            None => format!("the call with {who} is no longer recorded\n"),
        })
    }
}

impl Recordings {
    /// Whether it writes a file.
    pub(super) fn writes(&self) -> bool {
        self.wav.is_some() || self.tokens.is_some()
    }

    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let client = self.reach.started().await?;
        let side = match self.side {
            Which::Said => Side::Said,
            Which::Heard => Side::Heard,
            Which::Both => Side::Both,
        };
        match (&self.wav, &self.tokens, &self.remove) {
            (Some(names), _, _) => fetch(&client, names, Some(side), self.force).await,
            (_, Some(names), _) => fetch(&client, names, None, self.force).await,
            (_, _, Some(name)) => Ok(client.remove_recording(name).await?),
            _ => {
                let recordings = client.recordings().await?;
                if self.json { print_json(&recordings) } else { print(&list(&recordings, SystemTime::now())) }
            }
        }
    }
}

/// Fetches a recording: as sound if a side is wanted, else as tokens.
async fn fetch(client: &Client, names: &[OsString], side: Option<Side>, force: bool) -> anyhow::Result<()> {
    let [name, file] = names else { anyhow::bail!("say which recording, and where it shall go: NAME FILE") };
    let name = name.to_string_lossy();
    let place = IoPath::from(file.clone());
    let kind = if side.is_some() { Kind::Wav } else { Kind::Tokens };
    let mut writer = OutputWriter { output: place.claim(kind, &[], force)?.bytes()?, failure: None };
    let fetched = match side {
        Some(side) => client.recording_wav(&name, side, &mut writer).await,
        None => client.recording_tokens(&name, &mut writer).await,
    };
    if let Some(failure) = writer.failure {
        return Err(failure);
    }
    let length = fetched?;
    writer.output.finish()?;
    if !place.is_standard() {
        print(&format!("{place}: {}\n", bytes(length)))?;
    }
    Ok(())
}

/// An output as the client writes to one; keeps the reason of a failure.
struct OutputWriter {
    output: Output,
    failure: Option<anyhow::Error>,
}

impl io::Write for OutputWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.put(bytes).map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("it cannot be written")
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn list(recordings: &[Recording], now: SystemTime) -> String {
    if recordings.is_empty() {
        return "No recordings. Make one in a call with: parlo record\n".into();
    }
    let title = ["NAME", "WITH", "BEGAN", "LENGTH", "SIZE", "NOTES"].map(String::from).to_vec();
    let row = |recording: &Recording| {
        vec![
            plain(&recording.name),
            plain(&recording.peer),
            ago(recording.began_s, now),
            clock(recording.duration_s),
            bytes(recording.bytes),
            match (recording.running, recording.broken_off) {
                (true, _) => "being made".into(),
                (false, true) => "broke off; whole until then".into(),
                _ => String::new(),
            },
        ]
    };
    table(&std::iter::once(title).chain(recordings.iter().map(row)).collect::<Vec<_>>())
}

/// How long ago something was.
fn ago(began_s: f64, now: SystemTime) -> String {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    match (now - began_s).max(0.0) as u64 {
        0..60 => "just now".into(),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_listed() {
        let recording = Recording {
            name: "ada-1".into(),
            peer: "ada".into(),
            began_s: 1_000.0,
            duration_s: 65.0,
            bytes: 40_500,
            running: false,
            broken_off: true,
        };
        let now = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(
            list(std::slice::from_ref(&recording), now(8_300)),
            "NAME   WITH  BEGAN    LENGTH  SIZE     NOTES\n\
             ada-1  ada   2 h ago  01:05   40.5 kB  broke off; whole until then\n"
        );
        assert!(list(&[], now(0)).starts_with("No recordings"));
        assert_eq!((ago(1_000.0, now(10)), ago(0.0, now(200_000))), ("just now".into(), "2 days ago".into()));
    }
}
