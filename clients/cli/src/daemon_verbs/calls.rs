//! `parlo calls`, `answer`, `refuse`, `hangup`, `hold`, `resume`, `set`, `conference`.

use std::io::{stdin, stdout};

use anyhow::bail;
use clap::{Args, ValueEnum};
use parlo_api::{Call, CallChange, CallState, Client, RefusalReason};

use super::{
    print, print_json,
    select_call::{Fit, select_call},
};
use crate::{
    connect::DaemonAddress,
    format::{can_draw, clock, plain, state, table, who},
    screen,
    stop::Signals,
};

/// A call.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The call's number, as `parlo calls` shows it; may be left out where only one call fits
    id: Option<u64>,
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Shows calls.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Answers.
#[derive(Debug, Args)]
pub(crate) struct Answer {
    #[command(flatten)]
    which: Which,
    /// Show the call on a screen
    #[arg(long)]
    screen: bool,
}

/// Refuses.
#[derive(Debug, Args)]
pub(crate) struct Refuse {
    #[command(flatten)]
    which: Which,
    /// What the caller is told
    #[arg(long, value_name = "WHY", default_value = "declined")]
    reason: Reason,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    /// "I do not want to"
    Declined,
    /// "I am in another call"
    Busy,
}

/// Hangs up.
#[derive(Debug, Args)]
pub(crate) struct Hangup {
    #[command(flatten)]
    which: Which,
    /// End all calls
    #[arg(long, conflicts_with = "id")]
    all: bool,
}

/// Changes a call.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo set --depth 4                       send the only call's voice at 2 kbps before headers
  parlo set 2 --max-kbps 9 --latency-ms 120 keep call 2 within 9 kbps and 120 ms of bundling")]
pub(crate) struct Set {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// Codebooks to send at most, 0.5 kbps each before headers
    #[arg(long, short = 'k', value_name = "K")]
    depth: Option<u8>,
    /// Frames of 20 ms in each packet while the path is good, 1 to 12
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=12))]
    frames_per_packet: Option<u8>,
    /// Whether depth, bundling and copies follow the path
    #[arg(long, value_name = "SWITCH")]
    adapt: Option<super::Switch>,
    /// Most time that a packet may take to fill when bundles grow, 20 to 240
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(20..=240))]
    latency_ms: Option<u64>,
    /// Most kilobits per second to send, every header counted; 0 for what the path carries
    #[arg(long, value_name = "KBPS")]
    max_kbps: Option<f64>,
    /// How loud the peer is heard, -60 to 12
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    volume_db: Option<f32>,
}

/// Mixes calls.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo conference            everybody whom you are in a call with hears everybody
  parlo conference 1 3        only those of calls 1 and 3
  parlo conference --end      everybody hears only you again")]
pub(crate) struct Conference {
    /// The calls' numbers; all that stand if none is given
    ids: Vec<u64>,
    /// Take them out of the conference
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

impl Which {
    async fn select(&self, fit: Fit) -> anyhow::Result<(Client, u64)> {
        let client = self.reach.running().await?;
        let id = select_call(&client, self.id, fit).await?;
        Ok((client, id))
    }

    pub(crate) async fn hold(&self, held: bool) -> anyhow::Result<()> {
        let (client, id) = self.select(if held { Fit::Open } else { Fit::Held }).await?;
        let call = client.change(id, &CallChange { held: Some(held), ..CallChange::default() }).await?;
        say(&call, if call.held { "held" } else { "in a call" })
    }
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let calls = self.reach.running().await?.calls().await?;
        if self.json {
            return print_json(&calls);
        }
        if calls.is_empty() {
            return print("No calls. IoPath one with: parlo call NAME\n");
        }
        print(&list(&calls))
    }
}

/// Calls as a table.
pub(crate) fn list(calls: &[Call]) -> String {
    let title = ["ID", "WITH", "STATE", "TIME", "SENDING", "LOST", "NOTES"].map(String::from).to_vec();
    let row = |call: &Call| {
        let figures = call.figures.as_ref().filter(|_| call.state != CallState::Ended);
        let mut notes = Vec::new();
        if call.conference {
            notes.push("conference".to_owned());
        }
        notes.extend(call.recording.as_deref().map(|name| format!("recorded as {}", plain(name))));
        if call.recorded_by_peer {
            notes.push("they record it".to_owned());
        }
        notes.extend(call.failure.as_deref().map(plain));
        vec![
            call.id.to_string(),
            who(&call.peer),
            state(call).to_owned(),
            call.figures.as_ref().map_or("-".into(), |figures| clock(figures.elapsed_s)),
            figures.map_or("-".into(), |figures| format!("{:.1} kbps", figures.sent.wire)),
            figures.map_or("-".into(), |figures| format!("{:.1} %", 100.0 * figures.loss_heard)),
            notes.join(", "),
        ]
    };
    table(&std::iter::once(title).chain(calls.iter().map(row)).collect::<Vec<_>>())
}

impl Answer {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        if self.screen && !(can_draw(&stdin()) && can_draw(&stdout())) {
            bail!("a screen needs a terminal; leave --screen out");
        }
        let (client, id) = self.which.select(Fit::RingsHere).await?;
        let call = client.answer(id).await?;
        if self.screen {
            let events = client.events(true).await?;
            return screen::run(client, events, Some(id), Signals::new()?).await;
        }
        say(&call, "in a call")
    }
}

impl Refuse {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let (client, id) = self.which.select(Fit::RingsHere).await?;
        let reason = match self.reason {
            Reason::Declined => RefusalReason::Declined,
            Reason::Busy => RefusalReason::Busy,
        };
        Ok(client.refuse(id, reason).await?)
    }
}

impl Hangup {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        if !self.all {
            let (client, id) = self.which.select(Fit::Alive).await?;
            return Ok(client.hang_up(id).await?);
        }
        let client = self.which.reach.running().await?;
        for call in client.calls().await?.iter().filter(|call| Fit::Alive.fits(call)) {
            match client.hang_up(call.id).await {
                // It ended by itself in the meantime.
                Err(error) if error.is_not_found() => {}
                result => result?,
            }
        }
        Ok(())
    }
}

impl Set {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let (client, id) = self.which.select(Fit::Alive).await?;
        let change = CallChange {
            volume_db: self.change.volume_db,
            depth: self.change.depth,
            frames_per_packet: self.change.frames_per_packet,
            adapt: self.change.adapt.map(super::Switch::is_on),
            latency_ms: self.change.latency_ms,
            max_kbps: self.change.max_kbps,
            ..CallChange::default()
        };
        let call = client.change(id, &change).await?;
        let settings = &call.settings;
        let most = if settings.max_kbps > 0.0 { format!("{} kbps", settings.max_kbps) } else { "no limit".into() };
        print(&format!(
            "call {id} with {}: {} codebooks, {} frames a packet{}, bundles of {} ms at most, {most}; heard at {:+} dB\n",
            who(&call.peer),
            settings.depth,
            settings.frames_per_packet,
            if settings.adapt { ", as the path allows" } else { ", always" },
            settings.latency_ms,
            call.volume_db
        ))
    }
}

impl Conference {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let client = self.reach.running().await?;
        let calls = client.calls().await?;
        let all = calls.iter().filter(|call| Fit::Active.fits(call) && (!self.end || call.conference));
        let ids: Vec<u64> = if self.ids.is_empty() { all.map(|call| call.id).collect() } else { self.ids.clone() };
        let already = calls.iter().filter(|call| call.conference && !ids.contains(&call.id)).count();
        if !self.end && ids.len() + already < 2 {
            bail!("a conference takes two calls that stand, and there are {}", ids.len());
        }
        for id in ids {
            let call = client.change(id, &CallChange { conference: Some(!self.end), ..CallChange::default() }).await?;
            say(&call, if call.conference { "in the conference" } else { "out of the conference" })?;
        }
        Ok(())
    }
}

fn say(call: &Call, what: &str) -> anyhow::Result<()> {
    print(&format!("call {} with {}: {what}\n", call.id, who(&call.peer)))
}
