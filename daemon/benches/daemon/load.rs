//! What a daemon has to bear: requests and pages, busy programs, and people who speak.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parlo_api::client::Client;

use crate::pulse::Pulse;

/// What clients saw of the API.
pub(crate) struct Api {
    /// Time of a request, milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) requests: usize,
    /// Messages that each page has got.
    pub(crate) messages: u64,
}

/// So many requests per second, while so many pages watch everything.
pub(crate) fn api(socket: &Path, time: Duration, per_second: u32, pages: usize) -> anyhow::Result<Api> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let messages = Arc::new(AtomicU64::new(0));
    let mut times = runtime.block_on(async {
        let end = Instant::now() + time;
        for _ in 0..pages {
            let (client, count) = (Client::connect(socket).await?, Arc::clone(&messages));
            let mut events = client.events(true).await?;
            tokio::spawn(async move {
                while let Some(Ok(_)) = events.next().await {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let client = Client::connect(socket).await?;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut times = Vec::new();
        while Instant::now() < end {
            ticks.tick().await;
            let start = Instant::now();
            client.status().await?;
            times.push(start.elapsed());
        }
        Ok::<_, anyhow::Error>(times)
    })?;
    times.sort_unstable();
    let at = |share: f64| 1000.0 * times[((times.len() - 1) as f64 * share) as usize].as_secs_f64();
    let messages = messages.load(Ordering::Relaxed) / pages.max(1) as u64;
    Ok(Api { p50: at(0.5), p99: at(0.99), requests: times.len(), messages })
}

/// Programs that never rest, ended with this.
pub(crate) struct Hogs(Vec<Child>);

impl Hogs {
    pub(crate) fn start(count: usize) -> anyhow::Result<Self> {
        let mut hogs = Self(Vec::new());
        for _ in 0..count {
            hogs.0.push(Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn()?);
        }
        Ok(hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

/// Files into microphones, over and over, until this is dropped.
pub(crate) struct Mouths {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Mouths {
    pub(crate) fn start(pulse: &Pulse, speech: &[(&str, &Path)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let speak = |&(sink, file): &(&str, &Path)| {
            let (sink, file, stop): (_, PathBuf, _) = (sink.to_owned(), file.to_owned(), Arc::clone(&stop));
            let environment = pulse.environment();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut player = Command::new("paplay");
                    player.args(["--latency-msec=100", "-d", &sink]).arg(&file).envs(environment.clone());
                    let Ok(mut player) = player.stdin(Stdio::null()).stderr(Stdio::null()).spawn() else { return };
                    while player.try_wait().is_ok_and(|status| status.is_none()) {
                        if stop.load(Ordering::Relaxed) {
                            let _ = player.kill();
                        }
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            })
        };
        let threads = speech.iter().map(speak).collect();
        Self { stop, threads }
    }
}

impl Drop for Mouths {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
