//! `parlo impair`: a bad network in front of any UDP program, the same one every time for the same seed.

use std::{
    io::{Write, stderr},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use parlo_netem::{
    Jitter, Loss, Outage, PathConfig, PathStats, Rate, parse_chance, parse_duration,
    proxy::{Proxy, ProxyConfig, ProxyStats, Watch},
};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{format::can_draw, stop};

/// Flags of `parlo impair`.
#[derive(Debug, Args)]
pub(crate) struct ImpairOptions {
    /// Where clients send to
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7300")]
    listen: SocketAddr,
    /// Where their datagrams go: HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Part of the datagrams to lose: 20%, none, or ge:ENTER:LEAVE:GOOD:BAD (Gilbert and Elliott's chances)
    #[arg(long, value_name = "LOSS", default_value = "none")]
    loss: Loss,
    /// Lose them in runs of N on average; without this, each for itself
    #[arg(long, value_name = "N")]
    burst: Option<f64>,
    /// Delay each way
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration)]
    delay: Duration,
    /// Spread of the delay: 20ms (up to so much more), normal:20ms (standard deviation) or pareto:20ms (mean; long tail)
    #[arg(long, value_name = "TIME", default_value = "none")]
    jitter: Jitter,
    /// Let datagrams that jitter makes faster overtake others
    #[arg(long)]
    jitter_reorders: bool,
    /// Chance of a datagram to be held back until one to three later ones have passed
    #[arg(long, value_name = "CHANCE", default_value = "0", value_parser = parse_chance)]
    reorder: f64,
    /// Chance of a datagram to arrive twice
    #[arg(long, value_name = "CHANCE", default_value = "0", value_parser = parse_chance)]
    duplicate: f64,
    /// Chance of a datagram to arrive with some bits flipped
    #[arg(long, value_name = "CHANCE", default_value = "0", value_parser = parse_chance)]
    corrupt: f64,
    /// Bottleneck: 8kbps, 1.5Mbps; 28 bytes of headers a datagram count
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// The bottleneck's longest queue; more is dropped
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration, requires = "rate")]
    queue: Duration,
    /// A time without any network, from and for how long, counted from a client's first datagram: 10s+2s. May be repeated
    #[arg(long, value_name = "START+LENGTH")]
    outage: Vec<Outage>,
    /// The same seed loses the same datagrams
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Impair only what clients send; answers go back untouched
    #[arg(long)]
    one_way: bool,
    /// The most clients at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// End after this time; without it, Ctrl-C ends
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Write what became of all datagrams to FILE (JSON) at the end
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
}

impl ImpairOptions {
    fn path(&self) -> anyhow::Result<PathConfig> {
        let loss = match (self.burst, self.loss) {
            (None, loss) => loss,
            (Some(_), Loss::GilbertElliott { .. }) => bail!("--burst and --loss ge: say the same in two ways: give one"),
            (Some(burst), loss) => Loss::bursts(loss.rate(), burst).with_context(|| {
                format!(
                    "no path loses {:.1} % of all packets in runs of {burst}: give a --burst of at least 1, and above loss / (1 - loss)",
                    100.0 * loss.rate()
                )
            })?,
        };
        Ok(PathConfig {
            seed: self.seed,
            loss,
            delay: self.delay,
            jitter: self.jitter,
            jitter_reorders: self.jitter_reorders,
            reorder: self.reorder,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            outages: self.outage.clone(),
            rate: self.rate.map(|rate| Rate { queue: self.queue, ..rate }),
        })
    }
}

pub(crate) fn run(options: &ImpairOptions) -> anyhow::Result<()> {
    // The resolver has put first what this machine has a way to.
    let to = resolve(&options.to)?[0];
    let up = options.path()?;
    let down = if options.one_way { PathConfig::default() } else { up.clone() };
    let config = ProxyConfig { listen: options.listen, to, up, down, clients_max: usize::from(options.clients) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stats = runtime.block_on(async {
        let proxy = Proxy::bind(config).await.with_context(|| format!("cannot listen at {}", options.listen))?;
        let watch = proxy.watch();
        eprintln!("datagrams to {} go on to {to}; Ctrl-C ends", proxy.local_address()?);
        let time_is_up = async {
            match options.duration {
                Some(duration) => sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = proxy.run() => ended.context("the proxy's sockets failed")?,
            stopped = stop::asked() => stopped?,
            () = time_is_up => {}
            () = tell(&watch) => {}
        }
        anyhow::Ok(watch.stats())
    })?;
    if can_draw(&stderr()) {
        eprint!("\r\x1b[K");
    }
    sum_up(&stats);
    if let Some(file) = &options.stats {
        let text = serde_json::to_string_pretty(&stats)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The addresses that a name stands for: one at least.
pub(crate) fn resolve(name: &str) -> anyhow::Result<Vec<SocketAddr>> {
    parlod::call::addresses(name, None)
        .with_context(|| format!("cannot find {name:?}: give HOST:PORT, such as 127.0.0.1:7275 or [::1]:7275"))
}

/// On a terminal, says every second what became of that second's datagrams.
async fn tell(watch: &Watch) {
    if !can_draw(&stderr()) {
        std::future::pending::<()>().await;
    }
    let started = Instant::now();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = ProxyStats::default();
    loop {
        ticks.tick().await;
        let now = watch.stats();
        let way = |now: &PathStats, before: &PathStats| {
            format!(
                "{:.1} kbps, {} datagrams, {} gone",
                (now.sent_bytes - before.sent_bytes) as f64 / 125.0,
                now.sent - before.sent,
                now.gone() - before.gone()
            )
        };
        let seconds = started.elapsed().as_secs();
        eprint!(
            "\r\x1b[K{:02}:{:02}  up {}; down {}",
            seconds / 60,
            seconds % 60,
            way(&now.up, &before.up),
            way(&now.down, &before.down)
        );
        // A line that does not show is no reason to end.
        let _ = stderr().flush();
        before = now;
    }
}

fn sum_up(stats: &ProxyStats) {
    for (name, path) in [("up", &stats.up), ("down", &stats.down)] {
        eprintln!(
            "{name:4} {} datagrams: {} delivered, {} lost at random, {} dropped from the queue, {} cut by outages, {} doubled, \
             {} corrupted, {} out of order; waited in the queue {} ms at most",
            path.sent,
            path.delivered,
            path.lost,
            path.dropped,
            path.cut,
            path.duplicated,
            path.corrupted,
            path.reordered,
            path.queue_delay_max.as_millis()
        );
    }
    if stats.ignored + stats.refused > 0 {
        eprintln!(
            "{} datagrams were ignored (too many clients), {} refused at their target",
            stats.ignored, stats.refused
        );
    }
}
