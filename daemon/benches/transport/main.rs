//! Calls over bad paths, in simulated time, beside Opus 1.6 over the same paths; what the protocol costs in processor time.
//! `cargo xtask bench transport` runs this.

#![allow(clippy::unwrap_used, reason = "what cannot be made here cannot be measured")]

mod cost;
mod paths;
#[path = "../../tests/support/simulation.rs"]
mod simulation;
#[path = "../../tests/support/spoken.rs"]
mod spoken;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use parlo_netem::{Jitter, Loss, Rate};
use parlo_opus::Protection;
use parlo_protocol::adapt::Limits;
use parlod::call::FrameOrigin;
use serde_json::json;

use crate::{
    paths::{Scenario, scenarios},
    simulation::{Outcome, quantile},
    spoken::{LEAST, OpusWay, Speech},
};

/// Length of each call.
const SECONDS: usize = 60;

/// A queue that is no trouble, milliseconds.
const CALM: f64 = 150.0;

fn main() -> anyhow::Result<()> {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let arguments: Vec<String> = std::env::args().collect();
    let named = |name: &str| -> anyhow::Result<PathBuf> {
        let mut rest = arguments.iter().skip_while(|argument| *argument != name).skip(1);
        Ok(rest.next().with_context(|| format!("{name} FILE is missing"))?.into())
    };
    if !arguments.iter().any(|argument| argument == "--list") {
        println!("this measures held-out speech: `cargo xtask bench transport` says where it is");
        return Ok(());
    }
    let (list, speech) = (named("--list")?, named("--speech")?);
    let names = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    // Evenly spread: of every speaker something.
    let files: Vec<PathBuf> = names.split_whitespace().step_by(4).map(|name| speech.join(name)).collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let sent = Speech::new(&files, SECONDS, 6, false);
    let told = Speech::new(&files, SECONDS, 6, true);

    let table = table(&sent, &told);
    let lossy =
        |chance: f64, seed| sent.call(|script| (script.there.loss, script.there.seed) = (Loss::Random(chance), seed));
    let clean = sent.estoi(&sent.call(|_| {}));
    let mean = |chance: f64| [1, 2, 3].map(|seed| sent.estoi(&lossy(chance, seed))).iter().sum::<f64>() / 3.0;
    let silences = [1, 2, 3].map(|seed| lossy(0.2, seed).longest_silence_ms);
    let shallow = Speech::new(&files, SECONDS, 3, false).call(|script| {
        script.limits = Limits::new(3, 6);
        script.adapts = false;
    });
    let jittery = sent.call(|script| script.there.jitter = Jitter::Uniform(Duration::from_millis(20)));
    let thin = sent.call(|script| script.there.rate = Some(Rate::new(8000)));
    let settles = thin.queue.iter().rposition(|&queue| queue > CALM).map_or(0.0, |at| 0.02 * (at + 1) as f64);
    let report = json!({
        "wire_kbps_1k5_120ms": shallow.wire.iter().sum::<f64>() / shallow.wire.len() as f64 / 1000.0,
        "estoi_clean": clean,
        "estoi_drop_loss10": clean - mean(0.1),
        "estoi_drop_loss20": clean - mean(0.2),
        "longest_silence_ms_loss20": silences.iter().copied().fold(0.0, f64::max),
        "jitter_delay_ms_p50": quantile(&jittery.waits, 0.5),
        "bottleneck8k_settle_s": settles,
        "bottleneck8k_queue_ms_p95": quantile(&thin.queue, 0.95),
        "bottleneck8k_lost": thin.packets.1,
        "protocol_cpu_pct": cost::percent_of_a_core(),
        "tables": table,
    });
    let text = serde_json::to_string_pretty(&report)?;
    match named("--json") {
        Ok(file) => std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?,
        Err(_) => println!("{text}"),
    }
    Ok(())
}

/// What is compared.
enum Way {
    Parlo { silence_told: bool },
    Opus(OpusWay),
}

fn ways(told: u8) -> [(&'static str, Way); 6] {
    // With deep redundancy play-out waits for 60 ms more than it takes to fill a packet.
    let opus = |bitrate, protection, frames| {
        let deep = matches!(protection, Protection::Dred { .. });
        let least = if deep { Duration::from_millis(60 + 20 * u64::from(frames)) } else { LEAST };
        Way::Opus(OpusWay { bitrate, protection, told, frames, least })
    };
    [
        ("Parlo, depth 6", Way::Parlo { silence_told: false }),
        ("Parlo, silence told", Way::Parlo { silence_told: true }),
        ("Opus 6, FEC", opus(6000, Protection::Fec, 3)),
        ("Opus 9, FEC", opus(9000, Protection::Fec, 3)),
        ("Opus 24, DRED", opus(24_000, Protection::Dred { duration_10ms: 100 }, 3)),
        ("Opus 24, DRED, 20 ms packets", opus(24_000, Protection::Dred { duration_10ms: 100 }, 1)),
    ]
}

/// Every way over every path.
fn table(sent: &Speech, told: &Speech) -> String {
    let mut text = String::from(
        "| path | codec | real | coarse | predicted | faded | silent | never | mouth to ear p50 / p95, ms | wire, kbps | ESTOI |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for Scenario { name, loss_percent, change } in scenarios() {
        for (codec, way) in ways(loss_percent) {
            let (outcome, estoi) = match way {
                Way::Parlo { silence_told } => {
                    let speech = if silence_told { told } else { sent };
                    let outcome = speech.call(|script| change(script));
                    let estoi = speech.estoi(&outcome);
                    (outcome, estoi)
                }
                Way::Opus(way) => {
                    let outcome = sent.opus(way, |script| change(script));
                    let estoi = sent.estoi_after(&outcome, 104);
                    (outcome, estoi)
                }
            };
            eprintln!("{name}: {codec}: {estoi:.3}");
            text += &row(name, codec, &outcome, estoi, sent.frames.len());
        }
    }
    text
}

fn row(name: &str, codec: &str, outcome: &Outcome, estoi: f64, frames: usize) -> String {
    let mut text = format!("| {name} | {codec} |");
    let mut rest = frames as u64;
    for origin in
        [FrameOrigin::Real, FrameOrigin::Coarse, FrameOrigin::Predicted, FrameOrigin::Faded, FrameOrigin::Silent]
    {
        let count = outcome.origins.get(&origin).copied().unwrap_or_default();
        rest = rest.saturating_sub(count);
        // Writing to a string cannot fail.
        let _ = write!(text, " {count} |");
    }
    let wire = outcome.wire.iter().sum::<f64>() / outcome.wire.len().max(1) as f64 / 1000.0;
    let [p50, p95] = [0.5, 0.95].map(|q| quantile(&outcome.delays, q));
    let stood = if outcome.stood { "" } else { " (the call broke)" };
    text + &format!(" {rest} | {p50:.0} / {p95:.0} | {wire:.2} | {estoi:.3}{stood} |\n")
}
