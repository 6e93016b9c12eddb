//! The codec frame by frame, and the daemon around it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::Row;
use crate::shell::{self, cargo, root};

pub(super) const ROWS: [Row; 11] = [
    ("encode_us_p50", "encode a frame (network and quantizer), median", "us", None),
    ("encode_us_p99", "encode a frame, 99th percentile", "us", None),
    ("quantize_us_p50", "of that, the quantizer (beam 4), median", "us", None),
    ("quantize_us_p99", "of that, the quantizer, 99th percentile", "us", None),
    ("decode_us_p50", "decode a frame, median", "us", None),
    ("decode_us_p99", "decode a frame, 99th percentile", "us", None),
    ("offline_encode_x", "encode a file, times as fast as it plays", "x", None),
    ("offline_decode_x", "decode a file, times as fast as it plays", "x", None),
    ("allocs_per_frame", "allocations a frame on the codec thread", "", Some("0")),
    ("daemon_rss_mib", "memory of a daemon in a call", "MiB", Some("under 80")),
    ("startup_ms", "start of the daemon to its first encoded frame", "ms", Some("under 300")),
];

/// Where the table goes.
pub(super) fn document() -> &'static Path {
    Path::new("docs/lab/performance.md")
}

pub(super) fn measure() -> anyhow::Result<Map<String, Value>> {
    shell::run(cargo().args(["build", "--release", "--locked", "-p", "parlod"]))?;
    let out = root().join("out/bench");
    fs::create_dir_all(&out)?;
    let json = out.join("codec.json");
    shell::run(cargo().args(["bench", "--locked", "-p", "parlod", "--bench", "codec", "--", "--json"]).arg(&json))?;
    let mut figures: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&json)?)?;
    let (memory, startup) = daemon(&out)?;
    figures.insert("daemon_rss_mib".into(), json!(memory));
    figures.insert("startup_ms".into(), json!(startup));
    Ok(figures)
}

/// Memory of a daemon in a call, and the time from its start to its first frame: the median of five calls.
fn daemon(out: &Path) -> anyhow::Result<(f64, f64)> {
    println!("calling five times, to see a daemon's memory and start");
    let (mut memory, mut starts) = (Vec::new(), Vec::new());
    let program = || -> anyhow::Result<Command> {
        let mut command = shell::program("parlod")?;
        command.args(["--sink", "none"]).stdin(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    };
    for _ in 0..5 {
        let mut listen = program()?;
        listen
            .args(["--source", "none", "--listen", "127.0.0.1:0", "--once", "--answer", "all"])
            .stdout(Stdio::piped());
        let mut listener = Ended(listen.spawn().context("cannot start parlod")?);
        let mut line = String::new();
        let stdout = listener.0.stdout.take().context("its output was asked for")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").context("parlod did not say where it listens")?;
        let report = out.join("caller.json");
        let mut place = program()?;
        place.args(["--source", "file:assets/speech.flac", "--call", address, "--report"]).arg(&report);
        let mut caller = Ended(place.stdout(Stdio::null()).spawn().context("cannot start parlod")?);
        thread::sleep(Duration::from_secs(4));
        memory.push(resident_mib(caller.0.id())?);
        if !caller.0.wait()?.success() || !listener.0.wait()?.success() {
            bail!("the call failed");
        }
        let report: Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
        starts.push(report["startup_ms"].as_f64().context("the report has no startup_ms")?);
    }
    Ok((median(memory), median(starts)))
}

/// Ends the child with this, if it has not ended.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the call ended too soon to be measured")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
    let kib: f64 = line.split_whitespace().next().context("no figure for VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}
