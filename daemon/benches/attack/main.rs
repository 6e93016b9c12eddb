//! What strangers, a hostile peer, and files can do: calls that end, frames that are lost, set-ups that wait, memory that is taken.
//! `cargo xtask bench attack` runs this. Everything stays on this machine: loopback addresses, and processes of its own.

#![allow(clippy::unwrap_used, reason = "what cannot be made here cannot be measured")]

mod bombs;
mod dice;
mod hostile;
mod proxy;
mod relay;
mod side;
mod strangers;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use serde_json::json;

/// How long each attack lasts, and the call with it.
const SECONDS: u64 = 20;

fn main() -> anyhow::Result<()> {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1).cloned();
    let Some(json) = after("--json").map(PathBuf::from) else {
        println!("this takes some minutes: `cargo xtask bench attack` runs it");
        return Ok(());
    };
    let parlo = after("--parlo").map(PathBuf::from).context("--parlo FILE is missing")?;
    let seconds = after("--seconds").map_or(Ok(SECONDS), |text| text.parse()).context("--seconds")?;
    let length = Duration::from_secs(seconds);

    let strangers = strangers::measure(length)?;
    let relay = relay::measure()?;
    let figures = json!({
        "calls_lost_by_strangers": strangers.calls_lost,
        "attacks": strangers.attacks,
        "frames_lost_by_hostile_peer_pct": hostile::measure(length)?,
        "decode_peak_mib": bombs::measure(&parlo)?,
        "legit_call_setup_s_p95": strangers.setup_s_p95,
        "relay_honest_pairs_served_pct": relay.served_pct,
        "max_amplification": strangers.amplification.max(relay.amplification),
        "sandbox_cost_pct": bombs::sandbox_cost_pct(&parlo)?,
    });
    let text = serde_json::to_string_pretty(&figures)? + "\n";
    print!("{text}");
    std::fs::write(&json, text)?;
    Ok(())
}
