//! Measurements, one group a subject. Each prints a Markdown table under the processor's name, and writes JSON on request.

mod attack;
mod codec;
mod daemon;
mod entropy;
mod network;
mod tokens;
mod transport;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::{
    setup,
    shell::{self, cargo, root},
};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Floods, forgeries, replays, a hostile peer, a filled relay, bombs: what they cost those who only want to speak
    Attack,
    /// Encoder, quantizer and decoder: time, speed, allocations; the daemon's memory and start
    Codec,
    /// A daemon in a call with devices: delay from mouth to ear, processor time, memory, the control API under load, and half an
    /// hour beside busy programs (the environment's PARLO_BENCH_MINUTES: for so many minutes, such as 0.3)
    Daemon,
    /// The entropy coder: bits saved on held-out speech, what integers lose, time
    Entropy,
    /// Token files and bulk: `parlo encode` and `decode`, what a file takes, files of a day, two workers of a cluster
    Tokens,
    /// Calls over paths that lose, delay and throttle, beside Opus; what protocol and relay cost
    Transport,
    /// Calls of a minute between real daemons over real sockets, through `parlo impair` and the kernel's own bottlenecks
    Network,
}

/// One line of a table: key of the JSON report, what it is, its unit, the aim if there is one.
type Row = (&'static str, &'static str, &'static str, Option<&'static str>);

pub(crate) fn run(group: Group, speech: &Speech, report: Option<&Path>, write_docs: bool) -> anyhow::Result<()> {
    if matches!(group, Group::Entropy | Group::Tokens | Group::Transport) {
        speech.check()?;
    }
    setup::run(setup::Purpose::Run)?;
    let (name, rows, document, figures) = match group {
        Group::Attack => ("attack", &attack::ROWS[..], attack::document(), attack::measure()?),
        Group::Codec => ("codec", &codec::ROWS[..], codec::document(), codec::measure()?),
        Group::Daemon => ("daemon", &daemon::ROWS[..], daemon::document(), daemon::measure()?),
        Group::Entropy => ("entropy", &entropy::ROWS[..], entropy::document(), entropy::measure(speech)?),
        Group::Network => ("network", &network::ROWS[..], network::document(), network::measure()?),
        Group::Tokens => ("tokens", &tokens::ROWS[..], tokens::document(), tokens::measure(speech)?),
        Group::Transport => ("transport", &transport::ROWS[..], transport::document(), transport::measure(speech)?),
    };
    let table = table(&processor(), rows, &figures)? + &tables(&figures);
    println!("\n{table}");
    if let Some(file) = report {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if write_docs {
        let file = root().join(document);
        let text = fs::read_to_string(&file)?;
        fs::write(&file, replace_section(&text, name, &table).with_context(|| document.display().to_string())?)?;
    }
    Ok(())
}

/// Speech that no model was trained on, to measure with: it is not part of the repository.
#[derive(Debug, clap::Args)]
pub(crate) struct Speech {
    /// Of entropy, tokens and transport: a list of sound files, one path a line, relative to the folder of --speech
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Of the same: the folder that those files are in
    #[arg(long, value_name = "FOLDER")]
    speech: Option<PathBuf>,
}

impl Speech {
    /// The list and the folder.
    ///
    /// # Errors
    ///
    /// One of them is not given or not there.
    fn check(&self) -> anyhow::Result<(&Path, &Path)> {
        let (Some(list), Some(speech)) = (&self.list, &self.speech) else {
            bail!(
                "this measures on speech that no model was trained on, which is not part of the repository: \
                   give --list FILE (paths, one a line) and --speech FOLDER"
            );
        };
        if !list.is_file() || !speech.is_dir() {
            bail!("{} must be a file, and {} a folder of speech", list.display(), speech.display());
        }
        Ok((list, speech))
    }

    /// Runs one of the daemon's benches on it; what it found.
    fn bench(&self, bench: &str) -> anyhow::Result<Map<String, Value>> {
        let (list, speech) = self.check()?;
        daemon_bench(bench, &["--list".as_ref(), list.as_os_str(), "--speech".as_ref(), speech.as_os_str()])
    }
}

/// Runs one of the daemon's benches, fully optimised; what it found.
fn daemon_bench(bench: &str, more: &[&OsStr]) -> anyhow::Result<Map<String, Value>> {
    daemon_bench_as("bench", bench, more)
}

/// The same, built in a profile of cargo's.
fn daemon_bench_as(profile: &str, bench: &str, more: &[&OsStr]) -> anyhow::Result<Map<String, Value>> {
    let out = root().join("out/bench");
    fs::create_dir_all(&out)?;
    let json = out.join(bench).with_extension("json");
    let mut command = cargo();
    command
        .args(["bench", "--profile", profile, "--locked", "-p", "parlod", "--bench", bench, "--", "--json"])
        .arg(&json);
    shell::run(command.args(more))?;
    Ok(serde_json::from_str(&fs::read_to_string(&json)?)?)
}

/// The tables in Markdown that the bench has made itself, if it has.
fn tables(figures: &Map<String, Value>) -> String {
    figures.get("tables").and_then(Value::as_str).map_or_else(String::new, |tables| format!("\n{tables}"))
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
        // What this machine cannot show is null.
        if figures.get(*key).is_some_and(Value::is_null) {
            continue;
        }
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
    let missing = || format!("the marks of bench {name} are missing");
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_show_every_figure_and_miss_none() {
        let mut figures: Map<String, Value> = codec::ROWS.iter().map(|row| (row.0.to_owned(), json!(1.25))).collect();
        let shown = table("a processor", &codec::ROWS, &figures).unwrap();
        assert_eq!(shown.matches("1.2").count(), codec::ROWS.len());
        figures.remove("startup_ms");
        assert!(table("a processor", &codec::ROWS, &figures).unwrap_err().to_string().contains("startup_ms"));
    }

    #[test]
    fn a_section_is_replaced_and_the_rest_left_alone() {
        let text = "a\n<!-- bench codec -->\nold\n<!-- end of bench codec -->\nb\n";
        let new = "a\n<!-- bench codec -->\nnew\n<!-- end of bench codec -->\nb\n";
        assert_eq!(replace_section(text, "codec", "new\n").unwrap(), new);
        assert!(replace_section("nothing", "codec", "new").is_err());
    }

    #[test]
    fn every_table_has_its_place_in_a_document() {
        let places = [
            ("attack", attack::document()),
            ("codec", codec::document()),
            ("daemon", daemon::document()),
            ("entropy", entropy::document()),
            ("network", network::document()),
            ("tokens", tokens::document()),
            ("transport", transport::document()),
        ];
        for (name, document) in places {
            let page = fs::read_to_string(root().join(document)).unwrap();
            assert!(replace_section(&page, name, "").is_ok(), "{} has no marks of bench {name}", document.display());
        }
    }
}
