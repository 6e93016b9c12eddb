//! A daemon of its own, with its key and its control API, without sound.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parlo_api::{Call, CallChange, CallState, Dial, client::Client};
use tempfile::TempDir;

/// How long anything may take that should be done at once.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Side {
    child: Child,
    pub(crate) address: SocketAddr,
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    _folder: TempDir,
}

impl Side {
    /// Starts one that sends silence as it is, all the time, and lets calls ring.
    pub(crate) fn start(name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("run").join("control.sock");
        let log = std::fs::File::create(std::env::temp_dir().join(format!("parlo-attack-{name}.log")))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_parlod"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--answer",
                "never",
                "--source",
                "none",
                "--sink",
                "none",
                "--send-silence",
            ])
            .arg("--control-socket")
            .arg(&socket)
            .env("XDG_CONFIG_HOME", folder.path().join("config"))
            .env("XDG_DATA_HOME", folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start parlod")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output was asked for")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let Some(address) = address else { bail!("the daemon did not say where it listens, but \"{line}\"") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { child, address, socket, runtime, _folder: folder })
    }

    fn ask<T>(&self, what: impl AsyncFnOnce(Client) -> Result<T, parlo_api::client::ClientError>) -> anyhow::Result<T> {
        let asked = async { what(Client::connect(&self.socket).await?).await };
        self.runtime
            .block_on(async { tokio::time::timeout(STEP_TIMEOUT, asked).await })?
            .context("the daemon does not answer")
    }

    /// Begins a call; its number.
    pub(crate) fn dial(&self, to: SocketAddr) -> anyhow::Result<u64> {
        let dial = Dial { peer: to.to_string(), ..Dial::default() };
        Ok(self.ask(async |client| client.dial(&dial).await)?.id)
    }

    pub(crate) fn call(&self, id: u64) -> anyhow::Result<Call> {
        self.ask(async |client| client.call(id).await)
    }

    pub(crate) fn calls(&self) -> anyhow::Result<Vec<Call>> {
        self.ask(async |client| client.calls().await)
    }

    pub(crate) fn answer(&self, id: u64) -> anyhow::Result<()> {
        self.ask(async |client| client.answer(id).await.map(drop))
    }

    pub(crate) fn hang_up(&self, id: u64) -> anyhow::Result<()> {
        self.ask(async |client| client.hang_up(id).await)
    }

    pub(crate) fn conference(&self, id: u64) -> anyhow::Result<()> {
        let change = CallChange { conference: Some(true), ..CallChange::default() };
        self.ask(async |client| client.change(id, &change).await.map(drop))
    }

    /// Waits until a call is so; how long that took.
    pub(crate) fn until(&self, id: u64, state: CallState) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let call = self.call(id)?;
            if call.state == state {
                return Ok(start.elapsed());
            }
            if start.elapsed() > STEP_TIMEOUT || call.state == CallState::Ended {
                bail!("the call is not {state:?}: {call:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The call that rings here, when it does.
    pub(crate) fn rings(&self) -> anyhow::Result<u64> {
        let start = Instant::now();
        loop {
            if let Some(call) = self.calls()?.iter().find(|call| call.state == CallState::Ringing) {
                return Ok(call.id);
            }
            if start.elapsed() > STEP_TIMEOUT {
                bail!("nobody rings");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Frames that this side has heard in a call: all, and those that were lost.
    pub(crate) fn frames(&self, id: u64) -> anyhow::Result<(u64, u64)> {
        let frames = self.call(id)?.figures.context("no figures")?.frames;
        let lost = frames.coarse + frames.predicted + frames.faded;
        Ok((frames.real + frames.silent + lost, lost))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
