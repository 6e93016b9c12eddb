//! `parlod`: places or takes calls without a person at the keyboard. `parlo` is for people.

use std::{io::Write, path::Path, process::ExitCode, time::Instant};

use clap::Parser;
use parlod::{
    call::{Engine, Event, Finished, Stop, Timeline},
    config,
    options::CallOptions,
};

/// Parlo's daemon: voice in 1 to 6 kbps over UDP.
///
/// Waits for calls at the address that the configuration names, or places one with --call.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Call this HOST:PORT instead of waiting for calls
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "listen")]
    call: Option<String>,
    /// Wait for calls at this address
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// End after the first call
    #[arg(long)]
    once: bool,
    /// Print the configuration with every setting at its default, documented, and end
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    options: CallOptions,
}

fn main() -> ExitCode {
    let started = Instant::now();
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    match run(&arguments, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parlod: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, started: Instant) -> anyhow::Result<()> {
    if arguments.print_config {
        print!("{}", config::DEFAULTS);
        return Ok(());
    }
    let options = &arguments.options;
    let mut config = options.resolve()?;
    if let Some(listen) = &arguments.listen {
        config.call.listen.clone_from(listen);
    }
    let engine = Engine::new(config, started, options.timeline.is_some())?;
    let mut unwritten = None;
    let mut on_event = |event| match event {
        Event::Listening(address) => {
            // For whoever started this: the line comes when calls can come, and names the port if any was asked for.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "listening on {address}").and_then(|()| out.flush());
        }
        Event::Calling(address) => tracing::info!("calling {address}"),
        Event::Connected(peer) => {
            let who = peer.name.unwrap_or_else(|| format!("a stranger ({})", peer.key.fingerprint()));
            tracing::info!("in a call with {who} at {}", peer.address);
        }
        Event::Notice(notice) => tracing::warn!("{notice}"),
        Event::Ended(finished) => {
            tracing::info!(
                "call ended: {} frames sent, {} played, {} lost",
                finished.report.frames.sent,
                finished.report.frames.played,
                finished.report.frames.lost
            );
            unwritten = write(&finished, options.report.as_deref(), options.timeline.as_deref()).err();
        }
        _ => {}
    };
    let stop = Stop::default();
    match &arguments.call {
        Some(peer) => engine.call(peer, &stop, &mut on_event)?,
        None => engine.listen(arguments.once, &stop, &mut on_event)?,
    }
    unwritten.map_or(Ok(()), Err)
}

fn write(finished: &Finished, report: Option<&Path>, timeline: Option<&Path>) -> anyhow::Result<()> {
    use anyhow::Context;
    if let Some(file) = report {
        finished.report.write(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = timeline {
        Timeline::write(&finished.captured, &finished.played, file)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
