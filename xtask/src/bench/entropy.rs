//! What the entropy coder saves on the held-out clips, what its integers lose, and what it costs in time.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Row, Speech};

pub(super) const ROWS: [Row; 20] = [
    ("file_ratio", "coded / raw, files, depth 6", "", Some("0.72")),
    ("call_ratio", "the same, calls: 60 ms packets, round trip 100 ms, a report every 480 ms", "", Some("0.78")),
    ("oneway_ratio", "the same, one-way: each packet of 60 ms alone", "", Some("0.85")),
    ("file_under_tables_pct", "files, under a static table for each codebook", "%", Some("15")),
    ("call_under_tables_pct", "calls, under the same", "%", Some("10")),
    ("file_ratio_others", "coded / raw, files, speech of other sources without long pauses", "", None),
    ("call_ratio_others", "the same, calls", "", None),
    ("oneway_ratio_others", "the same, one-way", "", None),
    ("call_prompt_ratio", "calls, were every packet acknowledged at once", "", None),
    ("report_kbps", "what the reports take the other way", "kbps", None),
    ("file_ratio_depth_3", "coded / raw, files, depth 3", "", None),
    ("file_ratio_depth_12", "coded / raw, files, depth 12", "", None),
    (
        "integer_loss_pct",
        "bits that integers take more than the same weights without any rounding",
        "%",
        Some("under 1"),
    ),
    ("coder_overhead_pct", "bytes of files over the model's own cross-entropy", "%", Some("under 1")),
    ("coder_overhead_bytes", "the same of packets, bytes each", "", Some("under 1")),
    ("frame_us_p50", "encode or decode a frame of depth 6, the slower, median", "us", Some("under 300")),
    ("frame_us_p99", "the same, 99th percentile", "us", None),
    ("frame_us_p50_avx2", "the same with AVX2 alone, median", "us", None),
    ("frame_us_p50_portable", "the same without instructions of its own, median", "us", None),
    ("weights_mib", "weights", "MiB", Some("under 2")),
];

pub(super) fn measure(speech: &Speech) -> anyhow::Result<Map<String, Value>> {
    speech.bench("entropy")
}

/// Where the tables go.
pub(super) fn document() -> &'static Path {
    Path::new("docs/lab/entropy.md")
}
