//! Calls over bad paths, beside Opus 1.6; and what protocol and relay cost.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Row, Speech, daemon_bench};

pub(super) const ROWS: [Row; 12] = [
    (
        "wire_kbps_1k5_120ms",
        "on the wire, 1.5 kbps raw, packets of 120 ms, IPv4, nothing left out",
        "kbps",
        Some("at most 4.2"),
    ),
    ("estoi_clean", "ESTOI without loss, 3 kbps raw", "", None),
    ("estoi_drop_loss10", "ESTOI lost to 10 % random loss, mean of three calls", "", Some("at most 0.05")),
    ("estoi_drop_loss20", "the same, 20 %", "", Some("at most 0.10")),
    ("longest_silence_ms_loss20", "longest gap heard as silence, 20 %, three calls of 60 s", "ms", Some("at most 40")),
    (
        "jitter_delay_ms_p50",
        "wait in the jitter buffer over a path with 20 ms of jitter, median",
        "ms",
        Some("at most 60"),
    ),
    ("bottleneck8k_settle_s", "8 kbit/s, queue of 500 ms: the queue stays under 150 ms from", "s", Some("at most 5")),
    ("bottleneck8k_queue_ms_p95", "its 95th percentile in 60 s", "ms", Some("under 150")),
    ("bottleneck8k_lost", "packets lost there", "", None),
    ("protocol_cpu_pct", "processor time of the protocol, one side of a call", "% of a core", Some("under 1")),
    ("relay_calls_per_core", "calls that a relay carries on one core", "", Some("at least 500")),
    ("relay_lost_percent", "datagrams lost by the relay under the load of 500 calls", "%", None),
];

pub(super) fn measure(speech: &Speech) -> anyhow::Result<Map<String, Value>> {
    let mut figures = speech.bench("transport")?;
    let relay = daemon_bench("relay", &[])?;
    for name in ["relay_calls_per_core", "relay_lost_percent"] {
        figures.insert(name.to_owned(), relay.get(name).cloned().unwrap_or(Value::Null));
    }
    Ok(figures)
}

/// Where the tables go.
pub(super) fn document() -> &'static Path {
    Path::new("docs/lab/loss.md")
}
