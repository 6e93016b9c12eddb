//! `parlo feed`.

use std::io::{IsTerminal, stdout};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use parlo_api::{FeedFrame, FeedMessage, FeedStart, client::Side};
use parlo_guard::plain_json;

use super::{
    print,
    select_call::{Fit, select_call},
};
use crate::{connect::DaemonAddress, format::plain, stop::Signals};

/// Prints tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlo feed                                 the only call, as it is heard and said
  parlo feed 7 --side heard | python3 my.py  one JSON object a line, for programs")]
pub(crate) struct FeedVerb {
    /// The call's number; the only one, if there is one
    call: Option<u64>,
    /// Which way
    #[arg(long, value_enum, default_value_t = Way::Both)]
    side: Way,
    /// The daemon's own messages, a line of JSON each; so it is too where the output is no terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: DaemonAddress,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// What comes from the peer
    Heard,
    /// What is said here
    Said,
    /// Both
    Both,
}

impl FeedVerb {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let client = self.reach.running().await?;
        let call = select_call(&client, self.call, Fit::Alive).await?;
        let side = match self.side {
            Way::Heard => Side::Heard,
            Way::Said => Side::Said,
            Way::Both => Side::Both,
        };
        let mut feed = client.feed(call, side).await?;
        let mut signals = Signals::new()?;
        let json = self.json || !stdout().is_terminal();
        loop {
            let message = tokio::select! {
                message = feed.next() => message,
                () = signals.next() => return Ok(()),
            };
            let message = message.ok_or_else(|| anyhow!("the daemon has ended"))??;
            let line = if json { plain_json(&serde_json::to_string(&message)?) } else { line(&message) };
            print(&(line + "\n"))?;
            if message == FeedMessage::End {
                return Ok(());
            }
        }
    }
}

fn line(message: &FeedMessage) -> String {
    match message {
        FeedMessage::Start(FeedStart {
            call, peer, bundle_name, tokens, sample_rate, frame_samples, sizes, ..
        }) => format!(
            "call {call} with {}: {} (tokens {}), {} codebooks, {frame_samples} samples of {sample_rate} Hz a frame",
            plain(peer),
            plain(bundle_name),
            tokens.get(..8).unwrap_or(tokens),
            sizes.len()
        ),
        FeedMessage::Frame(FeedFrame { stream, number, time_ms, mark, codes }) => {
            let number = number.map_or("-".into(), |number| number.to_string());
            let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
            let line = format!(
                "{} {number} {:.3} s {} {}",
                stream.name(),
                *time_ms as f64 / 1e3,
                mark.name(),
                codes.join(" ")
            );
            line.trim_end().to_owned()
        }
        FeedMessage::Missed { frames } => format!("{frames} frames were missed"),
        FeedMessage::End => "the call is over".into(),
    }
}

#[cfg(test)]
mod tests {
    use parlo_api::{FeedMark, FeedStream};

    use super::*;

    #[test]
    fn frames_are_lines() {
        let frame = FeedFrame {
            stream: FeedStream::Heard,
            number: Some(812),
            time_ms: 16_240,
            mark: FeedMark::Coarse,
            codes: vec![7, 1023],
        };
        assert_eq!(line(&FeedMessage::Frame(frame.clone())), "heard 812 16.240 s coarse 7 1023");
        let held = FeedFrame { number: None, mark: FeedMark::Held, codes: vec![], ..frame };
        assert_eq!(line(&FeedMessage::Frame(held)), "heard - 16.240 s held");
        assert_eq!(line(&FeedMessage::Missed { frames: 3 }), "3 frames were missed");
    }
}
