//! `parlo call`: places a call through the daemon and shows it, on a screen or line by line.

use std::{
    io::{stdin, stdout},
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use clap::{Args, Command};
use parlo_api::{Call, CallState, Client, Dial, client::Events};
use parlod::options::CallOptions;

use crate::{
    connect::{self, DaemonAddress},
    event_log::{EventLog, Of},
    format::{can_draw, summary},
    screen, standalone,
    stop::Signals,
};

/// Longest wait for the end of a call that was hung up.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Options of a call that the daemon can be asked for. All others are of a call in this process.
const ASKED: [&str; 11] = [
    "peer",
    "standalone",
    "no_screen",
    "socket",
    "depth",
    "frames_per_packet",
    "fixed",
    "latency_ms",
    "max_kbps",
    "relay",
    "ticket",
];

/// Calls.
#[derive(Debug, Args)]
#[command(after_help = "\
The call goes through the daemon, which is started if it does not run; `parlo daemon stop` ends it. On a terminal a screen shows
the call: ? there lists its keys. Ctrl-C hangs up; pressed once more, it leaves without waiting for the end.

Examples:
  parlo call ada                            somebody whom `parlo contacts` lists
  parlo call 192.0.2.7 --depth 4            at most 2 kbps before headers
  parlo call ada --relay relay.example:7275 --ticket TICKET
  parlo call ada --standalone --source file:talk.wav --sink none --report call.json")]
pub(crate) struct CallVerb {
    /// Whom: a name that `parlo contacts` lists, HOST:PORT, or HOST for the usual port 7275
    peer: String,
    /// Print lines instead of showing a screen
    #[arg(long)]
    no_screen: bool,
    /// Call from this process, without the daemon
    #[arg(long)]
    standalone: bool,
    #[command(flatten)]
    reach: DaemonAddress,
    #[command(flatten)]
    options: CallOptions,
}

/// Says of the options that only a call in this process has that it is so.
pub(crate) fn sort_options(command: Command) -> Command {
    command.mut_args(|option| {
        if ASKED.contains(&option.get_id().as_str()) {
            return option;
        }
        // Whose calls are answered matters only to who waits for calls.
        let hidden = ["answer", "anyone"].contains(&option.get_id().as_str());
        option.requires("standalone").help_heading("Only with --standalone").hide(hidden)
    })
}

impl CallVerb {
    pub(crate) fn run(&self, started: Instant) -> anyhow::Result<()> {
        if self.standalone {
            return standalone::place(&self.peer, &self.options, started);
        }
        let dial = self.dial()?;
        let screen = !self.no_screen && can_draw(&stdin()) && can_draw(&stdout());
        connect::block_on(async {
            let client = self.reach.started().await?;
            // Before the call, so that nothing of it is missed.
            let events = client.events(screen).await?;
            let signals = Signals::new()?;
            let call = client.dial(&dial).await?;
            if screen {
                screen::run(client, events, Some(call.id), signals).await
            } else {
                follow(&client, events, call.id, signals).await
            }
        })
    }

    fn dial(&self) -> anyhow::Result<Dial> {
        let options = &self.options;
        let depth = options.depth.map(|depth| {
            u8::try_from(depth).map_err(|_| anyhow!("depth is {depth}, but a model has 1 to 32 codebooks"))
        });
        Ok(Dial {
            peer: self.peer.clone(),
            depth: depth.transpose()?,
            frames_per_packet: options.frames_per_packet,
            adapt: options.fixed.then_some(false),
            latency_ms: options.latency_ms,
            max_kbps: options.max_kbps,
            relay: options.relay.clone(),
            ticket: options.ticket.clone(),
        })
    }
}

/// Tells a call line by line until it is over.
async fn follow(client: &Client, mut events: Events, id: u64, mut signals: Signals) -> anyhow::Result<()> {
    let mut event_log = EventLog::new(Of::Call(id));
    loop {
        let message = tokio::select! {
            message = events.next() => message,
            () = signals.next() => break,
        };
        let message = message.ok_or_else(|| anyhow!("the daemon has ended, and the call with it"))??;
        if let Some(result) = tell(&mut event_log, &message) {
            return result;
        }
    }
    // Talk ends where the user wants it to end; what remains is to hear how it was.
    match client.hang_up(id).await {
        Err(error) if error.is_not_found() => {}
        result => result?,
    }
    let rest = async {
        while let Some(Ok(message)) = events.next().await {
            if let Some(result) = tell(&mut event_log, &message) {
                return result;
            }
        }
        Ok(())
    };
    tokio::select! {
        told = tokio::time::timeout(HANG_UP_TIMEOUT, rest) => match told {
            Ok(result) => result,
            Err(_) => bail!("the daemon was asked to hang up, but the call has not ended after {} s", HANG_UP_TIMEOUT.as_secs()),
        },
        // Once more: leave without waiting.
        () = signals.next() => Ok(()),
    }
}

/// Prints what a message says of the call; once the call is over, says how it was.
fn tell(event_log: &mut EventLog, message: &parlo_api::Message) -> Option<anyhow::Result<()>> {
    let lines = event_log.tell(message);
    let over = event_log.call().filter(|call| call.state == CallState::Ended).map(result);
    if !matches!(over, Some(Err(_))) {
        lines.iter().for_each(|line| eprintln!("{line}"));
    }
    over
}

fn result(call: &Call) -> anyhow::Result<()> {
    match call.failure {
        Some(_) => Err(anyhow!(summary(call))),
        None => Ok(()),
    }
}
