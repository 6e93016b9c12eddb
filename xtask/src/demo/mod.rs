//! `cargo xtask demo`: speech through two daemons on this machine, and what became of it.

mod figures;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use figures::{Figures, Side};
use indicatif::{ProgressBar, ProgressStyle};
use parlo_score::{Panel, overlap, spectrogram_png};

use crate::{
    install,
    score::{Sound, compare},
    setup,
    shell::{Build, program_of, root, run as run_command},
    timeline::Timeline,
};

/// The clip that ships with the repository.
const CLIP: &str = "assets/speech.flac";

/// How much longer than the clip a call may take before something must be wrong.
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write the figures to FILE (JSON)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Codebooks to send, 0.5 kbps each before headers
    #[arg(long, short = 'k', value_name = "K", default_value_t = 6)]
    depth: usize,
    /// Frames of 20 ms in each packet, 1 to 12
    #[arg(long, value_name = "N", default_value_t = 3)]
    frames_per_packet: u8,
    /// Delay that the jitter buffer keeps; twice the default, for a machine that may be busy with building
    #[arg(long, value_name = "MS", default_value_t = 80)]
    jitter_ms: u64,
    /// Where received.wav and spectrograms.png go
    #[arg(long, value_name = "DIR", default_value = "out/demo")]
    out: PathBuf,
    /// Send this WAV or FLAC file instead of the clip that ships
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
}

/// Calls that are placed at most: another if the machine had no time for one.
const TRIES: u32 = 3;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::run(setup::Purpose::Run)?;
    println!("building (the first time takes some minutes)");
    install::build(Build::Dist, install::Features::Least)?;

    let out = &std::path::absolute(&options.out)?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let clip = match &options.clip {
        Some(clip) => std::path::absolute(clip)?,
        None => root().join(CLIP),
    };
    for name in ["offline.wav", "offline.ptk"] {
        let _ = fs::remove_file(out.join(name));
    }
    offline(&clip, options.depth, out)?;
    let mut left = TRIES;
    loop {
        left -= 1;
        let figures = attempt(&clip, options, out)?;
        match figures.verdict() {
            Err(error) if left > 0 && figures.was_disturbed() => {
                println!("\n{error}. This machine was busy: once more")
            }
            verdict => return verdict,
        }
    }
}

/// A call, and what came of it, shown.
fn attempt(clip: &Path, options: &Options, out: &Path) -> anyhow::Result<Figures> {
    let sent = Sound::read(clip)?;
    // What an earlier run left must not pass for what this one found.
    for name in ["received.wav", "spectrograms.png"] {
        let _ = fs::remove_file(out.join(name));
    }
    for name in ["sender", "receiver"] {
        for extension in ["json", "csv", "log"] {
            let _ = fs::remove_file(out.join(name).with_extension(extension));
        }
    }
    call(clip, &sent, options, out)?;

    let received = Sound::read(&out.join("received.wav")).context("nothing was received")?;
    let offline = Sound::read(&out.join("offline.wav"))?;
    let sent = sent.at(received.rate);
    let (sender, receiver) = (Timeline::read(&out.join("sender.csv"))?, Timeline::read(&out.join("receiver.csv"))?);
    let received_side = Side::read(&out.join("receiver.json"))?;
    let received = receiver.retimed(&sent, &received, received_side.frame_ms())?;
    let heard = compare(&sent, &received)?;
    let by_file = compare(&sent, &offline)?;
    let figures = Figures::new(
        &Side::read(&out.join("sender.json"))?,
        &received_side,
        &sender,
        &receiver,
        &heard,
        by_file.estoi,
    )?;

    let picture = out.join("spectrograms.png");
    let (said, came) = overlap(&sent.samples, &received.samples, heard.alignment);
    let title = format!("received: {} kbps raw, {:.1} kbps on the wire", figures.raw_kbps, figures.wire_kbps);
    spectrogram_png(
        &picture,
        &[
            Panel { title: "sent", samples: said, rate: sent.rate },
            Panel { title: &title, samples: came, rate: received.rate },
        ],
    )?;
    println!("\n{figures}");
    println!("heard        {}", out.join("received.wav").display());
    println!("seen         {}", picture.display());
    if let Some(file) = &options.report {
        let text = serde_json::to_string_pretty(&figures.report())? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("report       {}", file.display());
    }
    Ok(figures)
}

/// The same clip through the same codec without a network: what the call is measured by.
fn offline(clip: &Path, depth: usize, out: &Path) -> anyhow::Result<()> {
    let tokens = out.join("offline.ptk");
    run_command(
        program_of(Build::Dist, "parlo")?
            .args(["encode", "--force", "--depth", &depth.to_string()])
            .arg(clip)
            .arg(&tokens),
    )?;
    run_command(program_of(Build::Dist, "parlo")?.args(["decode", "--force"]).arg(&tokens).arg(out.join("offline.wav")))
}

/// A call from one daemon to another; both write what they found into `out`.
fn call(clip: &Path, sent: &Sound, options: &Options, out: &Path) -> anyhow::Result<()> {
    let shared = |command: &mut Command, name: &str| -> anyhow::Result<()> {
        command.args(["--depth", &options.depth.to_string()]);
        command.args(["--frames-per-packet", &options.frames_per_packet.to_string()]);
        command.args(["--jitter-ms", &options.jitter_ms.to_string()]);
        command.arg("--report").arg(out.join(format!("{name}.json")));
        command.arg("--timeline").arg(out.join(format!("{name}.csv")));
        command.stdin(Stdio::null()).stderr(File::create(out.join(format!("{name}.log")))?);
        Ok(())
    };
    let mut listen = program_of(Build::Dist, "parlod")?;
    listen.args(["--listen", "127.0.0.1:0", "--once", "--answer", "all", "--source", "none", "--sink"]);
    listen.arg(format!("file:{}", out.join("received.wav").display()));
    shared(&mut listen, "receiver")?;
    let mut receiver = Running::start("the receiving daemon", listen.stdout(Stdio::piped()), out.join("receiver.log"))?;
    let address = receiver.address()?;

    let mut place = program_of(Build::Dist, "parlod")?;
    place.args(["--call", &address, "--sink", "none", "--source"]).arg(format!("file:{}", clip.display()));
    shared(&mut place, "sender")?;
    let mut sender = Running::start("the sending daemon", place.stdout(Stdio::null()), out.join("sender.log"))?;

    let bar = ProgressBar::new((sent.seconds() * 10.0).ceil() as u64).with_message("speaking");
    let style = ProgressStyle::with_template("{msg} {wide_bar} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    if bar.is_hidden() {
        println!("speaking for {:.0} s ...", sent.seconds());
    }
    let start = Instant::now();
    let deadline = Duration::from_secs_f64(sent.seconds()) + GRACE;
    loop {
        let (sent, received) = (sender.ended()?, receiver.ended()?);
        if sent && received {
            break;
        }
        if start.elapsed() > deadline {
            bail!("the call did not end by itself; the daemons said:\n{}{}", sender.said(), receiver.said());
        }
        bar.set_position(start.elapsed().as_millis() as u64 / 100);
        thread::sleep(Duration::from_millis(50));
    }
    bar.finish_and_clear();
    Ok(())
}

/// A daemon, ended with this if it does not end by itself.
struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(name: &'static str, command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// The address that the daemon waits at; it says so on its standard output, soon or never.
    fn address(&mut self) -> anyhow::Result<String> {
        let stdout = self.child.stdout.take().context("its output was not asked for")?;
        let (send, line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody waits any more if it took too long.
            let _ = send.send(read.map(|_| line));
        });
        let line = line.recv_timeout(GRACE).unwrap_or_else(|_| Ok(String::new()))?;
        match line.trim().strip_prefix("listening on ") {
            Some(address) => Ok(address.to_owned()),
            None => {
                // It has just closed its output, and may need a moment to end.
                thread::sleep(Duration::from_millis(200));
                self.ended()?;
                bail!("{} did not say where it listens:\n{}", self.name, self.said())
            }
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended well; fails, with what it said, if it has ended badly.
    fn ended(&mut self) -> anyhow::Result<bool> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!("{} failed ({status}):\n{}", self.name, self.said()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
