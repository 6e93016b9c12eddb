//! How the daemon is reached, and started where it does not run.

use std::{
    env,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use parlo_api::{Client, Message, place};
use parlod::options::CallOptions;

/// Longest wait for a daemon that was started, until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How the line begins in which a daemon says that it is.
const READY: &str = "listening on ";
/// A log longer than this is put aside when a daemon is started, bytes.
const LONG_LOG: u64 = 1 << 20;
/// How much of the log's end is shown, bytes.
const LOG_SHOWN: u64 = 2000;

/// Which daemon is meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct DaemonAddress {
    /// The daemon's socket, if it is not where the configuration says or the usual place
    #[arg(long, value_name = "FILE", help_heading = "Daemon")]
    pub(crate) socket: Option<PathBuf>,
}

/// Runs what asks the daemon.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

impl DaemonAddress {
    /// Where the daemon's socket should be.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let configured = CallOptions::default().resolve()?.control.socket;
        match configured.as_str() {
            "" => Ok(place::socket()),
            "none" => {
                bail!("the configuration says `[control] socket = \"none\"`: the daemon cannot be asked anything")
            }
            path => Ok(path.into()),
        }
    }

    /// The daemon that runs.
    pub(crate) async fn running(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.socket()?).await?)
    }

    /// The daemon that runs, or one that is started now.
    pub(crate) async fn started(&self) -> anyhow::Result<Client> {
        match Client::connect(&self.socket()?).await {
            Err(error) if error.is_no_daemon() && self.socket.is_none() => self.start(&[]).await,
            result => Ok(result?),
        }
    }

    /// Starts a daemon with these arguments, and waits until it is ready: its address for calls, its API and its page are open.
    ///
    /// Ready is what the daemon says itself, on its standard output, which is a pipe to here; that ends when the daemon does.
    pub(crate) async fn start(&self, arguments: &[String]) -> anyhow::Result<Client> {
        let socket = self.socket()?;
        let program = program();
        let log = log_file()?;
        let begins_at = log.0.metadata().map_or(0, |log| log.len());
        let mut child = detach(&program, arguments, &log.0)
            .with_context(|| format!("cannot start {}; is it installed beside parlo?", program.display()))?;
        let said = child.stdout.take();
        let (tell, ready) = tokio::sync::oneshot::channel();
        // A thread that nobody waits for: it reads for as long as the daemon says nothing.
        std::thread::spawn(move || tell.send(said.is_some_and(is_ready)));
        match tokio::time::timeout(START_TIMEOUT, ready).await {
            Ok(Ok(true)) => {
                let client = Client::connect(&socket).await?;
                eprintln!("started the daemon; its log is {}", log.1.display());
                Ok(client)
            }
            Ok(_) => {
                let status = child.wait()?;
                // Somebody else may have started one in the same moment.
                if let Some(client) = ready_at(&socket).await {
                    return Ok(client);
                }
                bail!(
                    "the daemon did not start: {} ({status}; its log is {})",
                    end_of(&log.1, begins_at),
                    log.1.display()
                )
            }
            Err(_) => {
                let (seconds, end) = (START_TIMEOUT.as_secs(), end_of(&log.1, begins_at));
                bail!(
                    "the daemon was started, but is not ready after {seconds} s: {end} (its log is {})",
                    log.1.display()
                )
            }
        }
    }
}

/// Reads what a daemon says on its standard output until it is ready, or ends.
fn is_ready(said: ChildStdout) -> bool {
    BufReader::new(said).lines().map_while(Result::ok).any(|line| line.starts_with(READY))
}

/// The daemon there, once it is ready; none if there is none, or it ends before.
async fn ready_at(socket: &Path) -> Option<Client> {
    let client = Client::connect(socket).await.ok()?;
    let mut events = client.events(false).await.ok()?;
    let ready = async {
        while let Some(Ok(message)) = events.next().await {
            if matches!(&message, Message::Status(status) if status.listening.is_some()) {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(START_TIMEOUT, ready).await.is_ok_and(|ready| ready).then_some(client)
}

/// `parlod` beside this program, else the one that the system finds.
fn program() -> PathBuf {
    let name = format!("parlod{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(&name)));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| name.into())
}

/// Where the daemon's log is: `$XDG_STATE_HOME/parlo/parlod.log`, else `~/.local/state/parlo/parlod.log`.
fn log_file() -> anyhow::Result<(File, PathBuf)> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .ok_or_else(|| anyhow!("the daemon's log has no place: set HOME or XDG_STATE_HOME"))?
        .join("parlo");
    let path = folder.join("parlod.log");
    let opened = || {
        fs::create_dir_all(&folder)?;
        if fs::metadata(&path).is_ok_and(|log| log.len() > LONG_LOG) {
            fs::rename(&path, folder.join("parlod.log.1"))?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path)
    };
    let log = opened().with_context(|| format!("cannot write the daemon's log {}", path.display()))?;
    Ok((log, path))
}

/// Starts a program that outlives this one and its terminal.
fn detach(program: &Path, arguments: &[String], log: &File) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let session = || {
            // SAFETY: setsid takes nothing, touches no memory of this process and is async-signal-safe (POSIX.1-2017, 2.4.3).
            let session = unsafe { libc::setsid() };
            if session < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        };
        // SAFETY: between fork and exec, `session` makes one async-signal-safe call, and neither allocates nor locks:
        // `last_os_error` only reads errno.
        unsafe { command.pre_exec(session) };
    }
    command.spawn()
}

/// The last sentence that a daemon wrote to its log since that was `begins_at` bytes long; else the last lines, in one.
fn end_of(log: &Path, begins_at: u64) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(begins_at.max(length.saturating_sub(LOG_SHOWN))))?;
        let mut text = Vec::new();
        file.take(LOG_SHOWN).read_to_end(&mut text)?;
        std::io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(own) = lines.iter().rev().find_map(|line| line.strip_prefix("parlod: ")) {
        return crate::format::plain(own);
    }
    let last = lines[lines.len().saturating_sub(5)..].iter().map(|line| crate::format::plain(line));
    match last.collect::<Vec<_>>().join(" / ") {
        last if last.is_empty() => "it said nothing".to_owned(),
        last => last,
    }
}
