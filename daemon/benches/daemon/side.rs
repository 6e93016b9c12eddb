//! A daemon of its own, with its key, its control API and its devices.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parlo_api::{CallState, Dial, SoundFigures, Status, client::Client};
use tempfile::TempDir;

pub(crate) struct Side {
    child: Child,
    address: String,
    pub(crate) socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    _folder: TempDir,
}

impl Side {
    /// Starts a daemon that speaks from one device and hears with another, and answers everybody.
    pub(crate) fn start(name: &str, source: &str, sink: &str, more: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("run").join("control.sock");
        let log = std::fs::File::create(std::env::temp_dir().join(format!("parlo-bench-{name}.log")))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_parlod"))
            .args(["--listen", "127.0.0.1:0", "--answer", "all", "--backend", "pulse"])
            .args(["--source", &format!("device:{source}"), "--sink", &format!("device:{sink}")])
            .arg("--control-socket")
            .arg(&socket)
            .args(more)
            .env("XDG_CONFIG_HOME", folder.path().join("config"))
            .env("XDG_DATA_HOME", folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start parlod")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output was asked for")?).read_line(&mut line)?;
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            bail!("the daemon did not say where it listens, but \"{line}\"");
        };
        let address = address.to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { child, address, socket, runtime, _folder: folder })
    }

    /// Calls another, and waits until both may speak.
    pub(crate) fn call(&self, other: &Self) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let client = Client::connect(&self.socket).await?;
            client.dial(&Dial { peer: other.address.clone(), ..Dial::default() }).await.map(drop)
        })?;
        let start = Instant::now();
        loop {
            let status = self.status()?;
            let call = status.calls.last().context("no call")?;
            if call.state == CallState::Active && call.figures.is_some() {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(20) || call.state == CallState::Ended {
                bail!("the call does not stand: {call:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        Ok(self.runtime.block_on(async { Client::connect(&self.socket).await?.status().await })?)
    }

    pub(crate) fn sound(&self) -> anyhow::Result<SoundFigures> {
        Ok(self.status()?.audio.figures)
    }

    /// Processor time so far, of all its threads.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may hold anything but ends with the last bracket: fields 14 and 15 of proc(5).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| -> anyhow::Result<f64> { Ok(fields.get(at).context("a short /proc/stat")?.parse()?) };
        // SAFETY: `sysconf` with a name that POSIX defines has no preconditions (sysconf(3)).
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        Ok((ticks(11)? + ticks(12)?) / per_second)
    }

    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
        let kib: f64 = line.split_whitespace().next().context("no figure for VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
