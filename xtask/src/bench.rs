//! Measurements, one group a subject. Each prints a Markdown table under the processor's name, and writes JSON on request.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::{
    setup,
    shell::{self, cargo, root},
};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Encoder, quantizer and decoder: time, speed, allocations; the daemon's memory and start
    Codec,
}

/// One line of a table: key of the JSON report, what it is, its unit, the aim if there is one.
type Row = (&'static str, &'static str, &'static str, Option<&'static str>);

const CODEC: [Row; 11] = [
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

pub(crate) fn run(group: Group, report: Option<&Path>, write_docs: bool) -> anyhow::Result<()> {
    setup::run(setup::Purpose::Run)?;
    let (name, rows, figures) = match group {
        Group::Codec => ("codec", &CODEC[..], codec()?),
    };
    let table = table(&processor(), rows, &figures)?;
    println!("\n{table}");
    if let Some(file) = report {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if write_docs {
        let file = root().join("docs/performance.md");
        let text = fs::read_to_string(&file)?;
        fs::write(&file, replace_section(&text, name, &table)?)?;
    }
    Ok(())
}

fn codec() -> anyhow::Result<Map<String, Value>> {
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
        listen.args(["--source", "none", "--listen", "127.0.0.1:0", "--once"]).stdout(Stdio::piped());
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

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split(':').nth(1));
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, {cores} cores", name.map_or("unknown processor", str::trim))
}

fn table(processor: &str, rows: &[Row], figures: &Map<String, Value>) -> anyhow::Result<String> {
    let mut text = format!("Measured on: {processor}.\n\n| what | measured | aim |\n| --- | --- | --- |\n");
    for (key, what, unit, aim) in rows {
        let value = figures.get(*key).and_then(Value::as_f64).with_context(|| format!("{key} was not measured"))?;
        let shown = match value {
            whole if whole.fract() == 0.0 || whole >= 100.0 => format!("{whole:.0}"),
            small if small < 1.0 => format!("{small:.3}"),
            other => format!("{other:.1}"),
        };
        let measured = format!("{shown} {unit}");
        text += &format!("| {what} | {} | {} |\n", measured.trim(), aim.unwrap_or("-"));
    }
    Ok(text)
}

/// Puts the table between the marks of its group.
fn replace_section(text: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- end of bench {name} -->"));
    let missing = || format!("docs/performance.md lacks the marks of bench {name}");
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_every_figure_and_miss_none() {
        let mut figures: Map<String, Value> = CODEC.iter().map(|row| (row.0.to_owned(), json!(1.25))).collect();
        let shown = table("a processor", &CODEC, &figures).unwrap();
        assert_eq!(shown.matches("1.2").count(), CODEC.len());
        figures.remove("startup_ms");
        assert!(table("a processor", &CODEC, &figures).unwrap_err().to_string().contains("startup_ms"));
    }

    #[test]
    fn a_section_is_replaced_and_the_rest_left_alone() {
        let text = "a\n<!-- bench codec -->\nold\n<!-- end of bench codec -->\nb\n";
        let new = "a\n<!-- bench codec -->\nnew\n<!-- end of bench codec -->\nb\n";
        assert_eq!(replace_section(text, "codec", "new\n").unwrap(), new);
        assert!(replace_section("nothing", "codec", "new").is_err());
    }
}
