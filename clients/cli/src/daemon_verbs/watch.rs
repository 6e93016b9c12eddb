//! `parlo watch` and `parlo screen`.

use std::io::{stdin, stdout};

use anyhow::{anyhow, bail};
use clap::Args;
use parlo_guard::plain_json;

use super::print;
use crate::{
    connect::DaemonAddress,
    event_log::{EventLog, Of},
    format::can_draw,
    screen,
    stop::Signals,
};

/// Prints what happens.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Every message of the daemon as a line of JSON, for programs
    #[arg(long)]
    json: bool,
    /// Levels and frames too, about 12 times a second
    #[arg(long, requires = "json")]
    live: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

/// Shows the screen.
#[derive(Debug, Args)]
pub(crate) struct ScreenVerb {
    #[command(flatten)]
    reach: DaemonAddress,
}

impl Watch {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let client = self.reach.started().await?;
        let mut events = client.events(self.live).await?;
        let mut event_log = EventLog::new(Of::Everything);
        let mut signals = Signals::new()?;
        loop {
            let message = tokio::select! {
                message = events.next() => message,
                () = signals.next() => return Ok(()),
            };
            let message = message.ok_or_else(|| anyhow!("the daemon has ended"))??;
            if self.json {
                print(&(plain_json(&serde_json::to_string(&message)?) + "\n"))?;
            } else {
                for line in event_log.tell(&message) {
                    print(&(line + "\n"))?;
                }
            }
        }
    }
}

impl ScreenVerb {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        if !(can_draw(&stdin()) && can_draw(&stdout())) {
            bail!("a screen needs a terminal; `parlo watch` prints lines");
        }
        let client = self.reach.started().await?;
        let events = client.events(true).await?;
        screen::run(client, events, None, Signals::new()?).await
    }
}
