//! `parlo status`, `disturb` and `daemon`.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use parlo_api::{Client, Status, place};

use super::{Switch, calls, print, print_json};
use crate::{
    connect::DaemonAddress,
    format::{clock, plain, table},
};

/// Longest wait for a daemon that was asked to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Says whether calls are wanted.
#[derive(Debug, Args)]
pub(crate) struct Disturb {
    /// Whether callers may disturb you. off: do not disturb, callers are told that the line is busy; on: callers are let through
    switch: Switch,
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Shows how the daemon is.
#[derive(Debug, Args)]
pub(crate) struct StatusVerb {
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Starts, stops, asks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo daemon start                        it then waits for calls until you log out or stop it
  parlo daemon start --tcp 127.0.0.1:7276   with its page for browsers on this machine
  parlo daemon open                         print the page's address")]
pub(crate) struct DaemonVerb {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start it, if it does not run
    Start {
        /// Serve its page and its control API at this loopback address too
        #[arg(long, value_name = "ADDRESS:PORT")]
        tcp: Option<SocketAddr>,
        #[command(flatten)]
        reach: DaemonAddress,
    },
    /// End it; calls are hung up
    Stop {
        #[command(flatten)]
        reach: DaemonAddress,
    },
    /// Show how it is
    Status(StatusVerb),
    /// Print the address of its page, with the token that opens it
    Open {
        #[command(flatten)]
        reach: DaemonAddress,
    },
}

impl Disturb {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let presence = self.reach.started().await?.set_presence(!self.switch.is_on()).await?;
        print(match presence.do_not_disturb {
            true => "callers are told that the line is busy\n",
            false => "callers are let through\n",
        })
    }
}

impl StatusVerb {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let status = self.reach.running().await?.status().await?;
        if self.json { print_json(&status) } else { print(&show(&status)) }
    }
}

impl DaemonVerb {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        match &self.action {
            Action::Start { tcp, reach } => start(reach, *tcp).await,
            Action::Stop { reach } => stop(reach).await,
            Action::Status(verb) => verb.run().await,
            Action::Open { reach } => {
                let status = reach.running().await?.status().await?;
                print(&format!("{}\n", page(&status, &reach.socket()?)?))
            }
        }
    }
}

async fn start(reach: &DaemonAddress, tcp: Option<SocketAddr>) -> anyhow::Result<()> {
    // One that is just dying takes connections, and breaks them: it does not run any more.
    if let Ok(client) = reach.running().await
        && let Ok(status) = client.status().await
    {
        let version = status.version;
        if tcp.is_some() {
            bail!("a daemon runs already (version {version}); end it first with `parlo daemon stop`");
        }
        return print(&format!("a daemon runs already (version {})\n", plain(&version)));
    }
    let mut arguments = Vec::new();
    if let Some(socket) = &reach.socket {
        arguments.extend(["--control-socket".to_owned(), socket.display().to_string()]);
    }
    if let Some(tcp) = tcp {
        arguments.extend(["--control-tcp".to_owned(), tcp.to_string()]);
    }
    let status = reach.start(&arguments).await?.status().await?;
    if let Some(trouble) = &status.audio.trouble {
        eprintln!("{}", plain(trouble));
    }
    if tcp.is_some() {
        print(&format!("{}\n", page(&status, &reach.socket()?)?))?;
    }
    Ok(())
}

async fn stop(reach: &DaemonAddress) -> anyhow::Result<()> {
    reach.running().await?.shut_down().await?;
    let socket = reach.socket()?;
    let gone = async {
        while Client::connect(&socket).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seconds = STOP_TIMEOUT.as_secs();
    let ended = tokio::time::timeout(STOP_TIMEOUT, gone).await;
    ended.with_context(|| format!("the daemon said that it would end, but runs still after {seconds} s"))?;
    print("the daemon has ended\n")
}

/// The page's address, with the token that opens it.
fn page(status: &Status, socket: &Path) -> anyhow::Result<String> {
    let Some(address) = &status.page else {
        bail!(
            "the page is not served: end the daemon with `parlo daemon stop`, and say `parlo daemon start --tcp 127.0.0.1:7276`, or \
             `tcp = \"127.0.0.1:7276\"` under [control] in the configuration"
        );
    };
    // The daemon keeps it beside its socket.
    let file = place::token_beside(socket);
    let token =
        fs::read_to_string(&file).with_context(|| format!("cannot read the page's token {}", file.display()))?;
    Ok(format!("http://{}/?token={}", plain(address), token.trim()))
}

fn show(status: &Status) -> String {
    let audio = &status.audio;
    let microphone = match (audio.muted, audio.push_to_talk) {
        (true, _) => "muted",
        (false, true) => "push to talk",
        (false, false) => "on",
    };
    let rows = [
        ["version", &plain(&status.version)],
        ["running for", &clock(status.uptime_s)],
        ["you are", &format!("{} ({})", plain(&status.fingerprint), plain(&status.key))],
        ["listening", status.listening.as_deref().unwrap_or("no: it can only place calls")],
        [
            "calls",
            if status.presence.do_not_disturb { "callers are told that the line is busy" } else { "are let through" },
        ],
        ["microphone", microphone],
        [
            "bundle",
            &format!(
                "{} ({} Hz, {} codebooks; bundle {}, tokens {}){}",
                plain(&status.bundle.name),
                status.bundle.sample_rate,
                status.bundle.codebooks.len(),
                short(&status.bundle.id),
                short(&status.bundle.tokens),
                others(&status.others)
            ),
        ],
        ["page", &status.page.as_deref().map_or("not served; `parlo daemon start --tcp` serves it".into(), plain)],
        ["sound", &audio.trouble.as_deref().map_or("no trouble".into(), plain)],
        ["memory", &format!("{:.0} MiB", status.resident_mib)],
    ];
    let mut text = table(&rows.map(|row| row.map(String::from).to_vec()));
    if !status.calls.is_empty() {
        text.push('\n');
        text.push_str(&calls::list(&status.calls));
    }
    text
}

/// The first digits of an identity, for people.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// What peers of other tokens are spoken to with.
fn others(bundles: &[parlo_api::Bundle]) -> String {
    let others = bundles.iter().map(|bundle| format!(", {} (tokens {})", plain(&bundle.name), short(&bundle.tokens)));
    others.collect()
}
