//! Calls of a minute between real daemons, over real sockets: through `parlo impair`, and between two network namespaces with a
//! bottleneck of the kernel's own.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::Row;
use crate::{
    score::{Sound, compare},
    shell::{self, cargo, program, root},
    timeline::Timeline,
};

pub(super) const ROWS: [Row; 2] = [
    ("calls", "calls of 60 s between real daemons", "", None),
    ("calls_that_ended_well", "of them, ended by hanging up", "", None),
];

/// Length of a call.
const SECONDS: u32 = 60;

/// Calls at a time: each takes two daemons, of some percent of a core each.
const AT_ONCE: usize = 4;

/// What `parlo impair` does to the path.
const IMPAIRMENTS: [(&str, &[&str]); 11] = [
    ("no fault", &[]),
    ("10 % lost", &["--loss", "10%"]),
    ("20 % lost", &["--loss", "20%"]),
    ("40 % lost", &["--loss", "40%"]),
    ("20 % lost in bursts of 3", &["--loss", "20%", "--burst", "3"]),
    ("jitter of 50 ms", &["--jitter", "50ms", "--jitter-reorders"]),
    ("jitter of 300 ms", &["--jitter", "300ms", "--jitter-reorders"]),
    ("5 % held back, 5 % doubled, 2 % damaged", &["--reorder", "5%", "--duplicate", "5%", "--corrupt", "2%"]),
    ("gone for 2 s", &["--outage", "20s+2s"]),
    ("4 kbit/s, queue of 500 ms", &["--rate", "4kbps"]),
    ("8 kbit/s, queue of 500 ms", &["--rate", "8kbps"]),
];

/// Bottlenecks of the kernel's.
const BOTTLENECKS: [(&str, &[&str]); 3] = [
    ("namespaces, 8 kbit/s (tbf)", &["--rate", "8kbit"]),
    ("namespaces, 16 kbit/s (tbf)", &["--rate", "16kbit"]),
    ("namespaces, 10 % lost, 50 ms (netem)", &["--loss", "10%", "--delay", "50ms"]),
];

pub(super) fn measure() -> anyhow::Result<Map<String, Value>> {
    shell::run(cargo().args(["build", "--release", "--locked", "-p", "parlod", "-p", "parlo"]))?;
    let out = root().join("out/bench/network");
    fs::create_dir_all(&out)?;
    let clip = out.join("speech.wav");
    let speech = speech(&clip)?;
    let mut rows = Vec::new();
    for (batch, some) in IMPAIRMENTS.chunks(AT_ONCE).enumerate() {
        println!("calling for {SECONDS} s: {}", some.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("; "));
        let handles: Vec<_> = some
            .iter()
            .enumerate()
            .map(|(n, (name, flags))| {
                let (out, clip) = (out.clone(), clip.clone());
                let number = batch * AT_ONCE + n;
                thread::spawn(move || (*name, impaired(&out, &clip, number, flags)))
            })
            .collect();
        for handle in handles {
            rows.push(handle.join().map_err(|_| anyhow::anyhow!("a call crashed"))?);
        }
    }
    for (number, (name, flags)) in BOTTLENECKS.iter().enumerate() {
        println!("calling for {SECONDS} s: {name}");
        match namespaces(&out, &clip, number, flags) {
            Err(error) => println!("  left out: {error:#}"),
            call => rows.push((name, call)),
        }
    }
    let mut table = String::from(
        "| path | real | coarse | lost | silent | mouth to ear p50 / p95, ms | wire, kbps | ESTOI |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let (calls, mut well) = (rows.len(), 0);
    for (name, call) in rows {
        match call.and_then(|call| call.row(name, &speech)) {
            Ok(row) => {
                table += &row;
                well += 1;
            }
            Err(error) => table += &format!("| {name} | {error:#} |\n"),
        }
    }
    let figures = json!({ "calls": calls, "calls_that_ended_well": well, "tables": table });
    match figures {
        Value::Object(figures) => Ok(figures),
        _ => bail!("no figures"),
    }
}

/// The clip that ships, again and again, as a WAV file.
fn speech(file: &Path) -> anyhow::Result<Sound> {
    let clip = Sound::read(&root().join("assets/speech.flac"))?.at(16_000);
    let samples: Vec<f32> = clip.samples.iter().copied().cycle().take(16_000 * SECONDS as usize).collect();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(file, spec)?;
    for sample in &samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0) as i16)?;
    }
    writer.finalize()?;
    Ok(Sound { samples, rate: 16_000 })
}

/// A call that is over: where its files are.
struct Call {
    folder: PathBuf,
}

/// A process, ended with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What both sides write.
fn shared(command: &mut Command, folder: &Path, name: &str) {
    command.arg("--report").arg(folder.join(format!("{name}.json")));
    command.arg("--timeline").arg(folder.join(format!("{name}.csv")));
}

fn folder(out: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = out.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A call by way of `parlo impair`.
fn impaired(out: &Path, clip: &Path, number: usize, flags: &[&str]) -> anyhow::Result<Call> {
    let folder = folder(out, &format!("impaired-{number}"))?;
    let mut listen = program("parlod")?;
    listen.args(["--listen", "127.0.0.1:0", "--once", "--answer", "all", "--source", "none", "--sink"]);
    listen.arg(format!("file:{}", folder.join("heard.wav").display()));
    shared(&mut listen, &folder, "listener");
    let mut listener = Ended(listen.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let mut line = String::new();
    BufReader::new(listener.0.stdout.take().context("its output was asked for")?).read_line(&mut line)?;
    let address = line.trim().strip_prefix("listening on ").context("parlod did not say where it listens")?;

    let through = format!("127.0.0.1:{}", 17_400 + number);
    let mut impair = program("parlo")?;
    impair.args(["impair", "--listen", &through, "--to", address, "--delay", "40ms", "--seed", "1"]).args(flags);
    let _proxy = Ended(impair.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    thread::sleep(Duration::from_millis(500));

    let mut place = program("parlod")?;
    place.args(["--call", &through, "--sink", "none", "--source"]).arg(format!("file:{}", clip.display()));
    shared(&mut place, &folder, "caller");
    let mut caller = Ended(place.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    if !caller.0.wait()?.success() || !listener.0.wait()?.success() {
        bail!("the call failed");
    }
    Ok(Call { folder })
}

/// A call between two network namespaces.
fn namespaces(out: &Path, clip: &Path, number: usize, flags: &[&str]) -> anyhow::Result<Call> {
    let folder = folder(out, &format!("namespaces-{number}"))?;
    let script = root().join("tools/conformance/namespaces.sh");
    let parlod = program("parlod")?;
    let mut run = Command::new(&script);
    run.args(flags).args(["--wait", "2", "--"]);
    run.envs(parlod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run.arg(parlod.get_program()).args([
        "--listen",
        "10.77.0.1:7275",
        "--once",
        "--answer",
        "all",
        "--anyone",
        "--source",
        "none",
        "--sink",
    ]);
    run.arg(format!("file:{}", folder.join("heard.wav").display()));
    shared(&mut run, &folder, "listener");
    run.arg("--").arg(parlod.get_program()).args(["--call", "10.77.0.1:7275", "--sink", "none", "--source"]);
    run.arg(format!("file:{}", clip.display()));
    shared(&mut run, &folder, "caller");
    let output = run.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", script.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.lines().last().unwrap_or("the call failed"));
    }
    Ok(Call { folder })
}

impl Call {
    fn json(&self, name: &str) -> anyhow::Result<Value> {
        let file = self.folder.join(format!("{name}.json"));
        Ok(serde_json::from_str(&fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?)?)
    }

    fn row(&self, name: &str, speech: &Sound) -> anyhow::Result<String> {
        let (sent, heard) = (self.json("caller")?, self.json("listener")?);
        let frames = |kind: &str| heard["frames"][kind].as_u64().unwrap_or_default();
        let mut delays = self.delays()?;
        delays.sort_by(f64::total_cmp);
        let at = |q: f64| delays.get((delays.len() as f64 * q) as usize).copied().unwrap_or_default();
        let algorithmic = heard["algorithmic_delay_ms"].as_f64().unwrap_or_default();
        Ok(format!(
            "| {name} | {} | {} | {} | {} | {:.0} / {:.0} | {:.2} | {:.3} |\n",
            frames("played"),
            frames("coarse"),
            frames("lost"),
            frames("silent"),
            at(0.5) + algorithmic,
            at(0.95) + algorithmic,
            sent["wire_kbps"].as_f64().unwrap_or_default(),
            self.estoi(speech)?,
        ))
    }

    /// From each frame's first sample captured to played, milliseconds. Timelines are of one clock, as all is on one machine.
    fn delays(&self) -> anyhow::Result<Vec<f64>> {
        let captured = Timeline::read(&self.folder.join("caller.csv"))?.captured;
        let played = Timeline::read(&self.folder.join("listener.csv"))?.played;
        let delays = played.iter().filter_map(|(frame, &at)| {
            // Captured is when a frame's last sample was.
            Some(at.wrapping_sub(*captured.get(frame)?).cast_signed() as f64 / 1e6 + 20.0)
        });
        Ok(delays.collect())
    }

    /// Of each frame at its own time.
    fn estoi(&self, speech: &Sound) -> anyhow::Result<f64> {
        let heard = Sound::read(&self.folder.join("heard.wav"))?.at(speech.rate);
        let heard = Timeline::read(&self.folder.join("listener.csv"))?.retimed(speech, &heard, 20.0)?;
        Ok(compare(speech, &heard)?.estoi)
    }
}

/// Where the table goes.
pub(super) fn document() -> &'static Path {
    Path::new("docs/lab/loss.md")
}
