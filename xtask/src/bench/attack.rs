//! Attacks: what strangers, a hostile peer and hostile files cost those who only want to speak.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Row, daemon_bench_as};
use crate::shell::{self, Build, cargo, program_of};

pub(super) const ROWS: [Row; 7] = [
    (
        "calls_lost_by_strangers",
        "calls that floods, forgeries and replays ended, of one for each attack",
        "",
        Some("0"),
    ),
    (
        "frames_lost_by_hostile_peer_pct",
        "frames of another call of the conference that a peer's junk cost",
        "%",
        Some("at most 0.5"),
    ),
    (
        "decode_peak_mib",
        "memory of `parlo decode`, the most over all bombs and a recording of 24 hours",
        "MiB",
        Some("at most 64"),
    ),
    ("legit_call_setup_s_p95", "until a call rings, under each flood, 95th percentile", "s", Some("at most 1.5")),
    (
        "relay_honest_pairs_served_pct",
        "honest pairs that a relay serves which 255 networks fill",
        "%",
        Some("at least 95"),
    ),
    (
        "max_amplification",
        "bytes of an answer for each byte of the question, before an address is proven, the most",
        "",
        Some("at most 1"),
    ),
    ("sandbox_cost_pct", "what the sandbox adds to the time of `parlo decode`", "%", Some("at most 5")),
];

/// Attacks the programs as they are installed.
pub(super) fn measure() -> anyhow::Result<Map<String, Value>> {
    let build = Build::Dist;
    shell::run(cargo().args(["build", "--profile", build.profile(), "--locked", "-p", "parlo", "-p", "parlod"]))?;
    let parlo = program_of(build, "parlo")?;
    daemon_bench_as(build.profile(), "attack", &["--parlo".as_ref(), parlo.get_program()])
}

/// Where the table goes.
pub(super) fn document() -> &'static Path {
    Path::new("docs/lab/attack.md")
}
