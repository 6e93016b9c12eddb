//! `parlod`: the daemon that calls go through. `parlo` is for people.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Context;
use clap::{CommandFactory, Parser};
use parlod::{
    audio::device::errors,
    call::{Engine, Event, Finished, Stop, Timeline},
    call_manager::Service,
    config::{self, Config},
    control, generate, logging,
    nats::Nats,
    options::CallOptions,
    recordings::{self, Recordings},
    sentence, service,
};

/// Parlo's daemon: voice in 1 to 6 kbps over UDP.
///
/// Waits for calls at the address that the configuration names, and does what its control API is asked for; `parlo` is that
/// API's command line. With --call or --once it is there for one call, without a control API unless one is asked for.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Call this HOST:PORT, and end when the call ends
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "listen")]
    call: Option<String>,
    /// Wait for calls at this address
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// End after the first call
    #[arg(long)]
    once: bool,
    /// Unix socket of the control API, or "none"
    #[arg(long, value_name = "FILE")]
    control_socket: Option<String>,
    /// Address of the control API and its page on this machine, such as 127.0.0.1:7276; needs the token in the file "token"
    /// beside the socket
    #[arg(long, value_name = "ADDRESS:PORT")]
    control_tcp: Option<String>,
    /// NATS server that live tokens are published to: nats://HOST:PORT
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Folder that calls are recorded to
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace, also by part ("parlod::call_manager=debug"); PARLO_LOG says it
    /// too
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log as JSON, a line each
    #[arg(long)]
    log_json: bool,
    /// Print the configuration with every setting at its default, documented, and end
    #[arg(long)]
    print_config: bool,
    /// Write the manual page and the shells' completions into this folder, laid out as /usr/share, and end
    #[arg(long, value_name = "DIR", hide = true)]
    generate: Option<PathBuf>,
    #[command(flatten)]
    options: CallOptions,
}

fn main() -> ExitCode {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    // Once more, to decode a recording for the one that runs; it has no key.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == recordings::PLAY) {
        return recordings::play(&words.collect::<Vec<_>>());
    }
    // Keys of calls, the control API's token: none of it belongs into a crash report. What refuses is told when the key is read.
    let _ = parlo_sandbox::keep_from_dumps();
    let started = Instant::now();
    // Before anything leads the error stream elsewhere.
    drop(errors());
    let arguments = Arguments::parse();
    let result =
        logging::begin(arguments.log_level.as_deref(), arguments.log_json).and_then(|()| run(&arguments, started));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let sentence = sentence(&error);
            // The error stream may lead nowhere just now: a thread looks for devices.
            let _ = writeln!(errors(), "parlod: {sentence}");
            let _ = service::notify(&format!("STATUS={}", sentence.replace('\n', " ")));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, started: Instant) -> anyhow::Result<()> {
    if arguments.print_config {
        print!("{}", config::DEFAULTS);
        return Ok(());
    }
    if let Some(folder) = &arguments.generate {
        return generate::write(&Arguments::command(), folder)
            .with_context(|| format!("cannot write {}", folder.display()));
    }
    let options = &arguments.options;
    let config = configuration(arguments)?;
    let service = Service {
        call: arguments.call.clone(),
        listen: arguments.call.is_none(),
        once: arguments.once || arguments.call.is_some(),
    };
    let endpoints = control::Endpoints::new(&config.control)?;
    let folder = config.recordings.folder.clone();
    let engine = Engine::new(config, started, options.timeline.is_some())?;
    // The API is there before the first call can come, and until the last has ended.
    let mut backend = None;
    let mut server = None;
    let mut nats = None;
    let published = engine.config().nats.clone();
    let asked = endpoints.socket.is_some() || endpoints.tcp.is_some();
    if asked || !published.url.is_empty() {
        let folder = if folder.as_os_str().is_empty() { recordings::usual_folder()? } else { folder };
        let recordings = Arc::new(Recordings::new(&folder));
        let (handle, mut behind) = Service::handle(&engine, Arc::clone(&recordings));
        let backend_of_devices = engine.config().audio.backend();
        let player = recordings::Player {
            program: recordings::own_program()?,
            library: engine.runtime().library().to_owned(),
            bundles: engine.bundles().map(|bundle| bundle.folder().to_owned()).collect(),
        };
        let mut extras = control::Services::new(engine.known().clone(), player, backend_of_devices);
        if !published.url.is_empty() {
            let publishing = Nats::start(&published, &handle)?;
            extras.nats = Some(Arc::clone(publishing.figures()));
            nats = Some(publishing);
        }
        if asked {
            server = Some(control::serve(endpoints, handle, extras)?);
        }
        behind.page = server.as_ref().and_then(control::Server::tcp);
        backend = Some((behind, recordings));
    }
    if let Some(server) = &server {
        if let Some(socket) = server.socket() {
            tracing::info!("the control API is at {}", socket.display());
        }
        if let (Some(address), Some(token)) = (server.tcp(), server.token_file()) {
            tracing::info!("the page is at http://{address}/, with the token in {}", token.display());
        }
    }
    let mut unwritten = None;
    let mut on_event = |event| tell(event, options, &mut unwritten);
    let result = service.run(&engine, backend, &Stop::default(), &mut on_event);
    let _ = service::notify("STOPPING=1");
    drop((server, nats));
    result?;
    unwritten.map_or(Ok(()), Err)
}

/// The configuration file, with the flags over it.
fn configuration(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut config = arguments.options.resolve()?;
    if let Some(listen) = &arguments.listen {
        config.call.listen.clone_from(listen);
    }
    if let Some(folder) = &arguments.recordings {
        config.recordings.folder.clone_from(folder);
    }
    if let Some(nats) = &arguments.nats {
        config.nats.url.clone_from(nats);
    }
    if let Some(tcp) = &arguments.control_tcp {
        config.control.tcp.clone_from(tcp);
    }
    match &arguments.control_socket {
        Some(socket) => config.control.socket.clone_from(socket),
        // Who is there for one call is not in the way of the daemon that stays.
        None if arguments.once || arguments.call.is_some() => config.control.socket = "none".into(),
        None => {}
    }
    config.check()?;
    Ok(config)
}

fn tell(event: Event, options: &CallOptions, unwritten: &mut Option<anyhow::Error>) {
    match event {
        Event::Listening(address) => {
            // For whoever started this: the line comes when calls can come, and names the port if any was asked for.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "listening on {address}").and_then(|()| out.flush());
            // And for systemd; that it cannot be told is no reason not to serve.
            let _ = service::notify("READY=1");
        }
        Event::Calling(address) => tracing::info!("calling {address}"),
        Event::Ringing(address) => tracing::info!("it rings at {address}"),
        Event::Incoming { call, who } => tracing::info!("{who} calls; to answer: parlo answer {call}"),
        Event::Connected(peer) => {
            let who = peer.name.unwrap_or_else(|| format!("a stranger ({})", peer.key.fingerprint()));
            tracing::info!("in a call with {who} at {}", peer.address);
        }
        Event::Notice(notice) => tracing::warn!("{notice}"),
        Event::Ended(finished) => {
            let frames = &finished.report.frames;
            tracing::info!("call ended: {} frames sent, {} played, {} lost", frames.sent, frames.played, frames.lost);
            *unwritten = write(&finished, options.report.as_deref(), options.timeline.as_deref()).err();
        }
        _ => {}
    }
}

fn write(finished: &Finished, report: Option<&Path>, timeline: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = report {
        finished.report.write(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = timeline {
        Timeline::write(&finished.captured, &finished.played, file)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
