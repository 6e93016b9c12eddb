//! `parlo doctor`: is everything there that a call needs, and how is what is not mended?

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, Runtime};
use parlod::{
    audio::{
        AudioError,
        device::{Backend, DeviceChoice, Direction, check, list},
    },
    call::{DEFAULT_PORT, addresses},
    config::{Config, ConfigError, Endpoint},
    keys,
    options::CallOptions,
    realtime, sentence_of,
};

use crate::{
    connect::{DaemonAddress, block_on},
    daemon_verbs::print,
};

/// What one look found: a fact, or what is wrong and how to mend it.
type Finding = Result<String, Fault>;

struct Fault {
    what: String,
    mend: &'static str,
    /// Whether no call works without it.
    fatal: bool,
}

/// What is looked at.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit code is 0 if calls can work, and 1 if they cannot. Nothing is written, and nothing sent but to the server that --stun names.")]
pub(crate) struct DoctorOptions {
    /// Sound system: auto, pulse or alsa; by default what the configuration says
    #[arg(long, value_name = "NAME")]
    backend: Option<Backend>,
    /// Model bundle, a folder or a name; by default what the configuration says
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// STUN server to ask how others see this machine: HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    stun: Option<String>,
}

pub(crate) fn run(options: &DoctorOptions) -> anyhow::Result<()> {
    let resolved = CallOptions::default().resolve();
    // Where the configuration is wrong, the rest is looked at as without one.
    let mut config = resolved.as_ref().map_or_else(|_| Config::default(), Config::clone);
    if let Some(bundle) = &options.bundle {
        config.model.bundle.clone_from(bundle);
    }
    let backend = options.backend.unwrap_or_else(|| config.audio.backend());
    let runtime = Runtime::load(named(&config.model.library));
    let opened = parlo_model::locate_bundle(named(&config.model.bundle)).and_then(|folder| Bundle::open(&folder));
    let looks: [(&str, Finding); 14] = [
        ("settings", settings(&resolved)),
        ("library", library(&runtime)),
        ("bundle", whole(&opened)),
        ("codec", codec(&runtime, &opened)),
        ("key", key()),
        ("sandbox", sandbox()),
        ("memory", memory()),
        ("port", port(&config)),
        ("sound server", sound_server(backend, &config)),
        ("microphone", device(backend, &config.audio.source, Direction::Input)),
        ("loudspeaker", device(backend, &config.audio.sink, Direction::Output)),
        ("real time", real_time()),
        ("clock", clock()),
        ("reachable", reachable(&config, options.stun.as_deref())),
    ];
    let (mut fatal, mut text) = (0, String::new());
    for (name, finding) in looks {
        match finding {
            Ok(fact) => text.push_str(&format!("ok     {name:13} {fact}\n")),
            Err(Fault { what, mend, fatal: is_fatal }) => {
                text.push_str(&format!("{}  {name:13} {what}\n", if is_fatal { "FAULT" } else { "note " }));
                text.push_str(&format!("       {:13} -> {mend}\n", ""));
                fatal += u32::from(is_fatal);
            }
        }
    }
    print(&text)?;
    match fatal {
        0 => Ok(()),
        1 => bail!("one thing must be mended before calls work"),
        n => bail!("{n} things must be mended before calls work"),
    }
}

fn named(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

fn settings(resolved: &Result<Config, ConfigError>) -> Finding {
    match resolved {
        Ok(_) => Ok("the configuration can be used; `parlod --print-config` explains every setting".into()),
        Err(error) => Err(Fault {
            what: error.to_string(),
            mend: "mend the file, or remove it: there is a default for everything",
            fatal: true,
        }),
    }
}

/// Whether calls can be waited for where they shall be.
fn port(config: &Config) -> Finding {
    let listen = &config.call.listen;
    let fault = |what: String| Fault {
        what,
        mend: "end what uses it, or choose another with [call] listen in the configuration or `parlod --listen ADDRESS:PORT`",
        fatal: true,
    };
    let addresses = addresses(listen, Some(DEFAULT_PORT)).map_err(|error| fault(format!("{listen}: {error}")))?;
    let mut wrong = String::new();
    for address in addresses {
        match UdpSocket::bind(address) {
            Ok(_) => return Ok(format!("calls can be waited for at {address} (UDP)")),
            Err(_) if waits().is_some_and(|at| at.port() == address.port()) => {
                return Ok(format!("the daemon that runs waits for calls at {address} (UDP)"));
            }
            Err(error) => wrong = format!("UDP address {address} cannot be used: {error}"),
        }
    }
    Err(fault(wrong))
}

/// Where the daemon that runs waits for calls.
fn waits() -> Option<SocketAddr> {
    block_on(async { Ok(DaemonAddress::default().running().await?.status().await?.listening) }).ok()??.parse().ok()
}

/// Which sound system is there.
fn sound_server(backend: Backend, config: &Config) -> Finding {
    if !is_device(&config.audio.source) && !is_device(&config.audio.sink) {
        return Ok("none is needed: the configuration names no sound device".into());
    }
    let (system, devices) = list(backend).map_err(|error| Fault {
        what: error.to_string(),
        mend: "start PulseAudio or PipeWire: `systemctl --user start pipewire-pulse` or `pulseaudio --start`",
        fatal: true,
    })?;
    let count = |direction| devices.iter().filter(|device| device.direction == direction && !device.is_monitor).count();
    let (inputs, outputs) = (count(Direction::Input), count(Direction::Output));
    let found = format!("{system}, with {inputs} microphones and {outputs} loudspeakers");
    match (backend, server()) {
        (Backend::Auto, Err(error)) => Err(Fault {
            what: format!("{found}; PulseAudio or PipeWire would be preferred, but {error}"),
            mend: "where such a server runs, PULSE_SERVER or XDG_RUNTIME_DIR say where; without one ALSA serves one program at a time",
            fatal: false,
        }),
        _ => Ok(found),
    }
}

/// Whether PulseAudio, or PipeWire in its place, answers.
fn server() -> Result<(), String> {
    list(Backend::Pulse).map(drop).map_err(|error| match error {
        AudioError::NoDevice { reason, .. } => reason,
        other => other.to_string(),
    })
}

fn is_device(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Default | Endpoint::Device(_))
}

/// Who can call this machine.
fn reachable(config: &Config, stun: Option<&str>) -> Finding {
    let note = |what: String, mend: &'static str| Err(Fault { what, mend, fatal: false });
    let listen = &config.call.listen;
    let Ok(addresses) = addresses(listen, Some(DEFAULT_PORT)) else {
        return note(format!("not tried: {listen} is no address"), "mend that first");
    };
    if let Some(server) = stun {
        return match block_on(crate::address::ask_any(server, 0)) {
            Ok(outside) => {
                Ok(format!("others see this machine at {outside}, if no address translator is in the way of calls"))
            }
            Err(error) => {
                note(format!("{error:#}"), "try another STUN server, and see that UDP gets out of this network")
            }
        };
    }
    if addresses.iter().all(|address| address.ip().to_canonical().is_loopback()) {
        return note(
            format!("only programs of this machine can call it: it waits at {listen}"),
            "say `listen = \"0.0.0.0:7275\"` under [call] in the configuration to be called by others",
        );
    }
    // No datagram is sent: the system only says which way it would go.
    let way = |any: &str, there: &str| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(there).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let ways = [way("0.0.0.0:0", "192.0.2.1:7275"), way("[::]:0", "[2001:db8::1]:7275")];
    let ways: Vec<String> = ways.into_iter().flatten().map(|address| address.to_string()).collect();
    if ways.is_empty() {
        return note("this machine has no way to any network".into(), "connect it; calls within this machine work");
    }
    let port = addresses[0].port();
    Ok(format!(
        "as {} (port {port}, UDP) where no address translator is in between; --stun asks how others see it",
        ways.join(" and ")
    ))
}

fn library(runtime: &Result<Runtime, parlo_model::ModelError>) -> Finding {
    match runtime {
        Ok(runtime) => Ok(format!("ONNX Runtime at {}", runtime.library().display())),
        Err(error) => Err(Fault {
            what: sentence_of(error),
            mend: "run `cargo xtask setup` in Parlo's source folder, or set ORT_DYLIB_PATH to the library's file",
            fatal: true,
        }),
    }
}

fn whole(bundle: &Result<Bundle, parlo_model::ModelError>) -> Finding {
    let fault = |error: &parlo_model::ModelError| Fault {
        what: sentence_of(error),
        mend: "copy the bundle again, whole, or name another with --bundle or PARLO_BUNDLE",
        fatal: true,
    };
    let bundle = bundle.as_ref().map_err(fault)?;
    bundle.verify().map_err(|error| fault(&error))?;
    let manifest = bundle.manifest();
    let source = match manifest.source.get("from") {
        Some(from) => format!(", made from {from}{}", told(&manifest.source)),
        None => String::new(),
    };
    let use_for = if bundle.whole().is_some() { ", for files only" } else { "" };
    Ok(format!(
        "{}, {} Hz, {} codebooks{source}{use_for}, every file as its manifest says",
        titled(bundle),
        manifest.audio.sample_rate,
        bundle.layout().depth()
    ))
}

/// Name and both identities, and which earlier ones it serves.
fn titled(bundle: &Bundle) -> String {
    let served = bundle.manifest().tokens.as_ref().map(|tokens| &tokens.serves[..]).unwrap_or_default();
    let served: Vec<&str> = served.iter().map(|id| &id[..8]).collect();
    let serves = if served.is_empty() { String::new() } else { format!(", serves {}", served.join(", ")) };
    format!("{} (bundle {}, tokens {}{serves})", bundle.manifest().name, bundle.id().short(), bundle.tokens().short())
}

/// What else a bundle says of what it was made from, in brackets.
fn told(source: &BTreeMap<String, String>) -> String {
    let rest = source.iter().filter(|(key, _)| *key != "from");
    let rest: Vec<String> = rest.map(|(key, value)| format!("{key} {value}")).collect();
    if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) }
}

/// The user's key. None is made here.
fn key() -> Finding {
    let fault = |error: keys::KeysError| Fault {
        what: error.to_string(),
        mend: "without a key nobody can be called; XDG_CONFIG_HOME or HOME names the folder that it is kept in",
        fatal: true,
    };
    let folder = keys::folder().map_err(fault)?;
    Ok(match keys::existing_identity(&folder).map_err(fault)? {
        Some(identity) => format!("{} in {}", identity.public().fingerprint(), folder.display()),
        None => format!("none yet; the first call, or `parlo id`, makes one in {}", folder.display()),
    })
}

/// Whether files are decoded where nothing but what is needed can be reached.
fn sandbox() -> Finding {
    let support = parlo_sandbox::Sandbox::support();
    if support.is_whole() {
        return Ok(format!("files are decoded where nothing else can be reached: {support}"));
    }
    Err(Fault {
        what: format!("what decodes files can reach what you can: {support}"),
        mend: "take a kernel of Linux 6.2 or later with Landlock (`lsm=landlock,...` in its command line) and seccomp",
        fatal: false,
    })
}

/// Whether the key can be kept from being swapped out.
fn memory() -> Finding {
    match parlo_sandbox::lockable_bytes() {
        Some(limit) if limit < 4096 => Err(Fault {
            what: format!("the key may be swapped out: {limit} bytes of memory may be locked"),
            mend: "raise `ulimit -l`, or LimitMEMLOCK= of the service, to 64 KiB",
            fatal: false,
        }),
        Some(limit) => {
            Ok(format!("the key is kept from being swapped out or dumped ({} KiB may be locked)", limit >> 10))
        }
        None => Ok("the key is kept from being swapped out or dumped".into()),
    }
}

/// Runs a hundred frames of silence through the codec and looks at the time it takes.
fn codec(
    runtime: &Result<Runtime, parlo_model::ModelError>,
    bundle: &Result<Bundle, parlo_model::ModelError>,
) -> Finding {
    let (Ok(runtime), Ok(bundle)) = (runtime, bundle) else {
        return Err(Fault {
            what: "not tried, for want of the library or the bundle".into(),
            mend: "mend those first",
            fatal: true,
        });
    };
    if let Err(error) = bundle.streams() {
        return Err(Fault {
            what: sentence_of(&error),
            mend: "call with another bundle; this one serves for files",
            fatal: true,
        });
    }
    let audio = &bundle.manifest().audio;
    let silence = vec![0.0; audio.frame_samples];
    let config = EncoderConfig::usual(bundle);
    let time = || -> Result<Duration, parlo_model::ModelError> {
        let mut encoder = Encoder::new(runtime, bundle, config)?;
        let mut decoder = Decoder::new(runtime, bundle)?;
        let mut times = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            let tokens = encoder.push(&silence)?;
            decoder.push(&tokens)?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    };
    match time() {
        Err(error) => Err(Fault {
            what: sentence_of(&error),
            mend: "use the bundle and the library that came with this program",
            fatal: true,
        }),
        Ok(median) if median > audio.frame_duration() / 2 => Err(Fault {
            what: format!("{:.1} ms to encode and decode a frame of {:.0} ms", ms(median), ms(audio.frame_duration())),
            mend: "this machine is too slow, too busy, or runs a debug build: build with --release",
            fatal: median > audio.frame_duration(),
        }),
        Ok(median) => {
            Ok(format!("{:.2} ms to encode and decode a frame of {:.0} ms", ms(median), ms(audio.frame_duration())))
        }
    }
}

fn device(backend: Backend, endpoint: &Endpoint, direction: Direction) -> Finding {
    let choice = match endpoint {
        Endpoint::Default => DeviceChoice::Default,
        Endpoint::Device(name) => DeviceChoice::Named(name.clone()),
        Endpoint::File(path) => return Ok(format!("the file {}, as the configuration says", path.display())),
        Endpoint::None => return Ok("none, as the configuration says".into()),
    };
    match check(backend, &choice, direction) {
        Ok(()) => Ok("it is there; `parlo devices` lists all".into()),
        Err(error) => Err(Fault {
            what: sentence_of(&error),
            mend: "plug a device in or start PulseAudio or PipeWire; for calls without it say none, or file:PATH, under [audio] in the configuration",
            fatal: true,
        }),
    }
}

fn real_time() -> Finding {
    // On a thread of its own: this one must not keep the priority.
    let granted = std::thread::spawn(|| realtime::promote(48_000, 480)).join();
    match granted {
        Ok(Ok(way)) => Ok(format!("codec threads get real-time priority, {way}")),
        refused => Err(Fault {
            what: match refused {
                Ok(Err(reason)) => reason,
                _ => "it was not found out whether codec threads get real-time priority".into(),
            },
            mend: "install the package rtkit (it needs D-Bus's system bus); or, as root, add a line \"@audio - rtprio 20\" to \
                   /etc/security/limits.conf, join the group audio, log in anew",
            fatal: false,
        }),
    }
}

/// How much too late this machine wakes a thread that sleeps for 2 ms.
fn clock() -> Finding {
    let mut late: Vec<Duration> = (0..100)
        .map(|_| {
            let start = Instant::now();
            std::thread::sleep(Duration::from_millis(2));
            start.elapsed().saturating_sub(Duration::from_millis(2))
        })
        .collect();
    late.sort_unstable();
    let (median, worst) = (late[late.len() / 2], late[late.len() - 2]);
    if worst > Duration::from_millis(10) {
        return Err(Fault {
            what: format!("threads wake {:.1} ms late, at worst {:.1} ms", ms(median), ms(worst)),
            mend: "close what keeps the machine busy, or call with --jitter-ms 80 or more",
            fatal: false,
        });
    }
    Ok(format!("threads wake {:.2} ms late, at worst {:.2} ms", ms(median), ms(worst)))
}

fn ms(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}
