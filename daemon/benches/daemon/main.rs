//! Two daemons in a call over loopback, each with a microphone and a loudspeaker of a PulseAudio server without a sound card:
//! delay from mouth to ear, processor time in a conversation and while both speak, memory, the control API under load, and half an hour beside busy programs.
//! `cargo xtask bench daemon` runs this.

#![allow(clippy::unwrap_used, reason = "what cannot be made here cannot be measured")]

mod clicks;
mod load;
mod pauses;
#[allow(dead_code, reason = "tests use more of it")]
#[path = "../../tests/support/pulse.rs"]
mod pulse;
mod side;
mod turns;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use parlo_api::{CallState, SoundFigures};
use serde_json::{Value, json};

use crate::{load::Hogs, pauses::Watch, pulse::Pulse, side::Side};

/// How long a call settles before anything is measured.
const SETTLE: Duration = Duration::from_secs(20);
/// How long delay, processor time and the API are measured, each.
const MEASURE: Duration = Duration::from_secs(60);
/// Requests per second, and pages that watch.
const REQUESTS: u32 = 100;
const PAGES: usize = 20;
/// How often it is asked beside busy programs whether a deadline was missed, and how much memory is used.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
const WEIGH: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1).cloned();
    let Some(json) = after("--json").map(PathBuf::from) else {
        println!("this takes most of an hour: `cargo xtask bench daemon` runs it");
        return Ok(());
    };
    let minutes: f64 = after("--minutes").map_or(Ok(30.0), |text| text.parse()).context("--minutes")?;
    let speech = after("--speech").map(PathBuf::from).context("--speech FILE is missing")?;
    anyhow::ensure!(speech.is_file(), "there is no file {}", speech.display());

    // As desktops have it: what is measured is this daemon, not a sound server that gets no time.
    let pulse = Pulse::start();
    for name in ["mic_b", "ear_a", "ear_b"] {
        pulse.add_sink(name, 48_000, 1);
    }
    for (name, value) in pulse.environment() {
        // SAFETY: no other thread of this process has been started yet.
        unsafe { std::env::set_var(name, value) };
    }
    let mut figures = json!({});
    delay(&mut figures)?;
    // For those who work on the delay alone.
    if minutes > 0.0 {
        long_call(&pulse, &speech, minutes, &mut figures)?;
    }
    std::fs::write(&json, serde_json::to_string_pretty(&figures)? + "\n")?;
    Ok(())
}

/// Clicks from mouth to ear, in packets of 20 ms.
fn delay(figures: &mut Value) -> anyhow::Result<()> {
    println!("clicks from a mouth to an ear, for {} s", MEASURE.as_secs());
    let packets = ["--frames-per-packet", "1", "--fixed", "--send-silence"];
    let bob = Side::start("b", "mic_b.monitor", "ear_b", &packets)?;
    let alice = Side::start("a", "mic.monitor", "ear_a", &packets)?;
    alice.call(&bob)?;
    thread::sleep(SETTLE);
    let (median, p95, clicks) = clicks::measure("mic", "ear_b", MEASURE)?;
    let status = bob.status()?;
    let budget = status.calls.last().and_then(|call| call.figures).context("no figures")?.budget;
    println!("mouth to ear {median:.1} ms (95 %: {p95:.1}); the daemon's own budget: {budget:?}");
    figures["mouth_to_ear_ms_p50"] = json!(median);
    figures["mouth_to_ear_ms_p95"] = json!(p95);
    figures["clicks"] = json!(clicks);
    for (name, value) in [
        ("budget_capture_ms", budget.capture),
        ("budget_frame_ms", budget.frame),
        ("budget_network_ms", budget.network),
        ("budget_jitter_buffer_ms", budget.jitter_buffer),
        ("budget_codec_ms", budget.codec),
        ("budget_device_ms", budget.device),
        ("budget_total_ms", budget.total),
    ] {
        figures[name] = json!(value);
    }
    Ok(())
}

/// Processor time of the calling daemon for a minute, and which parts of that time each side was heard to speak, in percent.
fn processor(alice: &Side, bob: &Side) -> anyhow::Result<(f64, [f64; 2])> {
    let heard = |side: &Side| -> anyhow::Result<_> {
        Ok(side.status()?.calls.last().and_then(|call| call.figures).context("no figures")?.frames)
    };
    let before = [heard(bob)?, heard(alice)?];
    let (busy, start) = (alice.cpu_seconds()?, Instant::now());
    thread::sleep(MEASURE);
    let busy = 100.0 * (alice.cpu_seconds()? - busy) / start.elapsed().as_secs_f64();
    let after = [heard(bob)?, heard(alice)?];
    let mut speaks = [0.0; 2];
    for (speaks, (before, after)) in speaks.iter_mut().zip(before.iter().zip(&after)) {
        let (real, silent) = (after.real - before.real, after.silent - before.silent);
        *speaks = 100.0 * real as f64 / (real + silent).max(1) as f64;
    }
    Ok((busy, speaks))
}

/// A call as people have it: in turns, then both speaking: at rest, with a busy API, and beside busy programs.
fn long_call(pulse: &Pulse, speech: &std::path::Path, minutes: f64, figures: &mut Value) -> anyhow::Result<()> {
    let bob = Side::start("b", "mic_b.monitor", "ear_b", &[])?;
    let alice = Side::start("a", "mic.monitor", "ear_a", &[])?;
    let folder = tempfile::tempdir()?;
    let [first, second] = turns::write(speech, folder.path())?;
    let mouths = load::Mouths::start(pulse, &[("mic", &first), ("mic_b", &second)]);
    alice.call(&bob)?;
    thread::sleep(SETTLE);

    println!("processor time of a conversation in turns, for {} s", MEASURE.as_secs());
    let (busy, [said, heard]) = processor(&alice, &bob)?;
    println!("{busy:.1} %; it spoke {said:.0} % of the time, and heard speech {heard:.0} %");
    figures["call_cpu_pct"] = json!(busy);
    figures["call_said_pct"] = json!(said);
    figures["call_heard_pct"] = json!(heard);
    drop(mouths);

    let mouths = load::Mouths::start(pulse, &[("mic", speech), ("mic_b", speech)]);
    thread::sleep(SETTLE);
    println!("processor time of a call in which both speak, for {} s", MEASURE.as_secs());
    let (busy, [said, heard]) = processor(&alice, &bob)?;
    println!("{busy:.1} %");
    figures["call_cpu_both_speaking_pct"] = json!(busy);
    figures["call_speech_pct"] = json!(f64::midpoint(said, heard));

    println!("{REQUESTS} requests per second and {PAGES} open pages, for {} s", MEASURE.as_secs());
    let before = alice.sound()?;
    let api = load::api(&alice.socket, MEASURE, REQUESTS, PAGES)?;
    figures["api_ms_p50"] = json!(api.p50);
    figures["api_ms_p99"] = json!(api.p99);
    figures["api_requests"] = json!(api.requests);
    figures["live_messages_per_page"] = json!(api.messages);
    figures["api_deadline_misses"] = json!(missed(&before, &alice.sound()?));

    println!("beside two busy programs, for {minutes} minutes");
    let (hogs, watch) = (Hogs::start(2)?, Watch::start());
    let (start, mut memory) = (Instant::now(), Vec::new());
    let before = [alice.sound()?, bob.sound()?];
    let (mut last, mut looked, mut steps) = (before, start, [Vec::new(), Vec::new()]);
    let length = Duration::from_secs_f64(60.0 * minutes);
    while start.elapsed() < length {
        if start.elapsed() >= WEIGH * u32::try_from(memory.len())? {
            memory.push((start.elapsed().as_secs_f64(), alice.resident_mib()?));
        }
        thread::sleep(SAMPLE_EVERY.min(length.saturating_sub(start.elapsed())));
        let now = [alice.sound()?, bob.sound()?];
        let until = Instant::now();
        for ((steps, before), after) in steps.iter_mut().zip(&last).zip(&now) {
            match missed(before, after) {
                0 => {}
                misses => steps.push((looked, until, misses)),
            }
        }
        (last, looked) = (now, until);
    }
    drop(hogs);
    let after = last;
    let hours = start.elapsed().as_secs_f64() / 3600.0;
    let worst = |count: fn(&SoundFigures, &SoundFigures) -> u64| {
        before.iter().zip(&after).map(|(before, after)| count(before, after)).max().unwrap_or(0)
    };
    let (all, late) = (worst(missed), worst(|before, after| after.server_late - before.server_late));
    figures["soak_minutes"] = json!(start.elapsed().as_secs_f64() / 60.0);
    figures["deadline_misses_per_hour"] = json!(all as f64 / hours);
    if let Some(watch) = watch {
        let pauses = watch.pauses();
        let own = steps.iter().map(|steps| pauses::without(steps, &pauses)).max().unwrap_or(0);
        figures["deadline_misses_own_per_hour"] = json!(own as f64 / hours);
        figures["machine_pauses_per_hour"] = json!(pauses.len() as f64 / hours);
        let longest = pauses.iter().map(|pause| pause.1).max().unwrap_or_default();
        figures["machine_pause_ms_longest"] = json!(1000.0 * longest.as_secs_f64());
    }
    figures["server_late_per_hour"] = json!(late as f64 / hours);
    figures["capture_overruns"] = json!(after[0].capture_overruns - before[0].capture_overruns);
    figures["playback_underruns"] = json!(after[0].playback_underruns - before[0].playback_underruns);
    figures["blocks"] = json!(after[0].blocks - before[0].blocks);
    figures["realtime"] = json!(after[0].realtime);
    figures["capture_drift_ppm"] = json!(after[0].capture_drift_ppm);
    figures["playback_drift_ppm"] = json!(after[0].playback_drift_ppm);
    figures["rss_mib"] = json!(memory.iter().map(|sample| sample.1).fold(0.0, f64::max));
    figures["rss_growth_mib_30min"] = json!(growth(&memory) * 1800.0);
    let status = alice.status()?;
    let call = status.calls.last().context("the call is gone")?;
    anyhow::ensure!(call.state == CallState::Active, "the call has ended: {:?}", call.failure);
    let frames = call.figures.context("no figures")?.frames;
    figures["frames_real"] = json!(frames.real);
    figures["frames_lost"] = json!(frames.predicted + frames.faded);
    drop(mouths);
    Ok(())
}

fn missed(before: &SoundFigures, after: &SoundFigures) -> u64 {
    after.deadline_misses - before.deadline_misses
}

/// Slope of a line through the samples (least squares), of their last three quarters: what a call needs comes first.
fn growth(samples: &[(f64, f64)]) -> f64 {
    let samples = &samples[samples.len() / 4..];
    let n = samples.len().max(1) as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), sample| (x + sample.0 / n, y + sample.1 / n));
    let (above, below) = samples.iter().fold((0.0, 0.0), |(above, below), sample| {
        (above + (sample.0 - x) * (sample.1 - y), below + (sample.0 - x) * (sample.0 - x))
    });
    if below > 0.0 { above / below } else { 0.0 }
}
