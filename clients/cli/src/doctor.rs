//! `parlo doctor`: is everything there that a call needs, and how is what is not mended?

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, Runtime};
use parlod::{
    audio::device::{Backend, DeviceChoice, Direction, check},
    keys, realtime,
};

/// What one look found: a fact, or what is wrong and how to mend it.
type Finding = Result<String, Fault>;

struct Fault {
    what: String,
    mend: &'static str,
    /// Whether nothing works without it.
    fatal: bool,
}

pub(crate) fn run(backend: Backend, bundle: Option<&Path>) -> anyhow::Result<()> {
    let runtime = Runtime::load(None);
    let opened = parlo_model::locate_bundle(bundle).and_then(|folder| Bundle::open(&folder));
    let looks: [(&str, Finding); 8] = [
        ("library", library(&runtime)),
        ("bundle", whole(&opened)),
        ("codec", codec(&runtime, &opened)),
        ("key", key()),
        ("microphone", device(backend, Direction::Input)),
        ("loudspeaker", device(backend, Direction::Output)),
        ("real time", real_time()),
        ("clock", clock()),
    ];
    let mut fatal = 0;
    for (name, finding) in looks {
        match finding {
            Ok(fact) => println!("ok    {name:12} {fact}"),
            Err(Fault { what, mend, fatal: is_fatal }) => {
                println!("{}  {name:12} {what}", if is_fatal { "FAULT" } else { "note " });
                println!("      {:12} -> {mend}", "");
                fatal += u32::from(is_fatal);
            }
        }
    }
    match fatal {
        0 => Ok(()),
        1 => bail!("one thing must be mended before Parlo works"),
        n => bail!("{n} things must be mended before Parlo works"),
    }
}

fn library(runtime: &Result<Runtime, parlo_model::ModelError>) -> Finding {
    match runtime {
        Ok(runtime) => Ok(format!("ONNX Runtime at {}", runtime.library().display())),
        Err(error) => Err(Fault {
            what: error.to_string(),
            mend: "run `cargo xtask setup` in Parlo's source folder, or set ORT_DYLIB_PATH to the library's file",
            fatal: true,
        }),
    }
}

fn whole(bundle: &Result<Bundle, parlo_model::ModelError>) -> Finding {
    let fault = |error: &parlo_model::ModelError| Fault {
        what: error.to_string(),
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

/// The user's key, which is made if there is none yet.
fn key() -> Finding {
    let fault = |error: keys::KeysError| Fault {
        what: error.to_string(),
        mend: "without a key nobody can be called; XDG_CONFIG_HOME or HOME names the folder that it is kept in",
        fatal: true,
    };
    let folder = keys::folder().map_err(fault)?;
    let key = keys::identity(&folder).map_err(fault)?.public();
    Ok(format!("{} in {}", key.fingerprint(), folder.display()))
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
    let audio = &bundle.manifest().audio;
    let silence = vec![0.0; audio.frame_samples];
    let config = EncoderConfig::usual(bundle);
    let time = || -> Result<Duration, parlo_model::ModelError> {
        if bundle.whole().is_some() {
            let silence = vec![0.0; 100 * audio.frame_samples];
            let start = Instant::now();
            let frames = parlo_model::encode_recording(runtime, bundle, config, &silence)?;
            parlo_model::decode_recording(runtime, bundle, &frames)?;
            return Ok(start.elapsed() / 100);
        }
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
            what: error.to_string(),
            mend: "use the bundle and the library that came with this program",
            fatal: true,
        }),
        Ok(median) if median > audio.frame_duration() / 2 => Err(Fault {
            what: format!("{:.1} ms to encode and decode a frame of {:.0} ms", ms(median), ms(audio.frame_duration())),
            mend: "this machine is too slow, too busy, or runs a debug build: build with --release",
            fatal: false,
        }),
        Ok(median) => {
            Ok(format!("{:.2} ms to encode and decode a frame of {:.0} ms", ms(median), ms(audio.frame_duration())))
        }
    }
}

fn device(backend: Backend, direction: Direction) -> Finding {
    match check(backend, &DeviceChoice::Default, direction) {
        Ok(()) => Ok("the default device is there; `parlo devices` lists all".into()),
        Err(error) => Err(Fault {
            what: error.to_string(),
            mend: "plug a device in or start PulseAudio or PipeWire; without one, use --source and --sink with file:PATH or none",
            fatal: false,
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
