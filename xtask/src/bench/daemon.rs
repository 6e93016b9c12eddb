//! A daemon that is left running: its delay, its needs, and how it bears what else a machine does.

use std::{ffi::OsStr, path::Path, process::Command};

use anyhow::Context;
use serde_json::{Map, Value};

use super::Row;
use crate::{
    setup,
    shell::{self, cargo, root},
};

pub(super) const ROWS: [Row; 32] = [
    (
        "mouth_to_ear_ms_p50",
        "mouth to ear, packets of 20 ms, loopback: clicks through all of it, median",
        "ms",
        Some("at most 100"),
    ),
    ("mouth_to_ear_ms_p95", "the same, 95th percentile", "ms", None),
    ("budget_capture_ms", "of that, by the daemon's own budget: microphone and resampling", "ms", None),
    ("budget_frame_ms", "a frame, the model's look-ahead and overlap", "ms", None),
    ("budget_network_ms", "network: half a round trip", "ms", None),
    ("budget_jitter_buffer_ms", "jitter buffer", "ms", None),
    ("budget_codec_ms", "encode and decode, 99th percentile", "ms", None),
    ("budget_device_ms", "loudspeaker and resampling", "ms", None),
    ("budget_total_ms", "the budget's sum", "ms", None),
    ("call_cpu_pct", "processor time of a conversation in turns, of one core", "%", Some("at most 10")),
    ("call_said_pct", "of the frames said meanwhile, so many were speech", "%", None),
    ("call_heard_pct", "of the frames heard meanwhile, so many were speech", "%", None),
    ("call_cpu_both_speaking_pct", "processor time of a call in which both speak all the time", "%", None),
    ("call_speech_pct", "of the frames said and heard meanwhile, so many were speech", "%", None),
    ("rss_mib", "memory, the most in the half hour", "MiB", Some("at most 100")),
    ("rss_growth_mib_30min", "its growth in 30 minutes", "MiB", Some("0")),
    ("api_ms_p50", "a request while in a call, 100 per second beside 20 open pages, median", "ms", None),
    ("api_ms_p99", "the same, 99th percentile", "ms", Some("under 10")),
    ("api_deadline_misses", "deadlines missed meanwhile", "", Some("0")),
    ("live_messages_per_page", "live messages that each page got in the minute", "", None),
    ("deadline_misses_per_hour", "deadlines that our threads missed beside two busy programs, per hour", "", Some("0")),
    ("deadline_misses_own_per_hour", "of these, those while the machine did not itself stand still", "", Some("0")),
    ("machine_pauses_per_hour", "times that a processor stood still for 3 ms or more meanwhile, per hour", "", None),
    ("machine_pause_ms_longest", "the longest of them", "ms", None),
    ("server_late_per_hour", "times that the sound server was late meanwhile, per hour", "", None),
    ("soak_minutes", "measured for", "min", None),
    ("blocks", "blocks of 10 ms taken in and given out meanwhile", "", None),
    ("capture_overruns", "times that the microphone's ring ran over", "", Some("0")),
    ("playback_underruns", "times that the loudspeaker's ring ran dry", "", Some("0")),
    ("erle_db", "echo return loss enhancement after 2 s, median of simulated rooms", "dB", Some("at least 20")),
    ("double_talk_estoi", "near speech in double talk with the echo taken out, ESTOI", "", None),
    ("double_talk_estoi_unprocessed", "the same with the echo left in", "", None),
];

/// Where the table belongs.
pub(super) fn document() -> &'static Path {
    Path::new("docs/lab/performance.md")
}

pub(super) fn measure() -> anyhow::Result<Map<String, Value>> {
    // A sound server is needed, as for the tests.
    setup::run(setup::Purpose::Test)?;
    let minutes = std::env::var("PARLO_BENCH_MINUTES").unwrap_or_else(|_| "30".into());
    let speech = root().join("assets/speech.flac");
    let words: [&OsStr; 4] = ["--minutes".as_ref(), minutes.as_ref(), "--speech".as_ref(), speech.as_os_str()];
    let mut figures = super::daemon_bench("daemon", &words)?;
    let mut stages: Command = cargo();
    stages.args(["run", "--release", "--locked", "--quiet", "-p", "parlo-dsp", "--example", "stages"]);
    let output = shell::output(&mut stages)?;
    let stages: Map<String, Value> = serde_json::from_str(&output).context("the stages' figures are no JSON")?;
    figures.extend(stages);
    Ok(figures)
}
