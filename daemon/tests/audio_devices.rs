//! Sound cards for real: cpal's capture and playback code against a sound server whose devices lead nowhere.
//!
//! Clients find the server by environment variables, which a process must not change while threads run: so each test runs
//! its part in a child of this same binary, which has them from its start.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    env,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use parlo_dsp::{Intake, Outlet};
use parlod::audio::{
    AudioError, Format, ReadOutcome, Sink, Source, WriteOutcome,
    device::{Backend, DeviceChoice, DeviceSink, DeviceSource, Direction, check, list},
};
use support::{pulse::Pulse, purity, tone};

/// Runs one of the ignored tests below in a child that finds the server.
fn in_child(test: &str, environment: &[(&str, String)]) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{test}:\n{out}\n{err}");
}

/// Reads for so long; the samples, their rate, and the notices of changes.
fn listen(source: &mut dyn Source, time: Duration) -> (Vec<f32>, Vec<(Instant, String)>) {
    let (mut heard, mut notices, start) = (Vec::new(), Vec::new(), Instant::now());
    let mut buffer = vec![0.0; 4800];
    while start.elapsed() < time {
        let asked = Instant::now();
        match source.read(&mut buffer).unwrap() {
            ReadOutcome::Samples { samples, at } => {
                assert_eq!(samples % usize::from(source.format().channels), 0);
                assert!(at <= Instant::now());
                heard.extend(buffer[..samples].iter().step_by(usize::from(source.format().channels)));
            }
            ReadOutcome::Nothing => {}
            ReadOutcome::Changed { notice, .. } => notices.push((Instant::now(), notice)),
            ReadOutcome::End => panic!("a microphone has no end"),
        }
        assert!(asked.elapsed() < Duration::from_millis(500), "a read returns in time: {:?}", asked.elapsed());
    }
    (heard, notices)
}

/// Plays a tone for so long, in blocks of 20 ms; the notices of changes.
fn speak(sink: &mut dyn Sink, hz: f64, time: Duration) -> Vec<(Instant, String)> {
    let (mut notices, start, mut n) = (Vec::new(), Instant::now(), 0);
    while start.elapsed() < time {
        let format = sink.format();
        let block = format.rate as usize / 50;
        let mono: Vec<f32> = tone(hz, format.rate, n + block)[n..].to_vec();
        let samples: Vec<f32> = mono.iter().flat_map(|&s| vec![s; usize::from(format.channels)]).collect();
        match sink.write(&samples).unwrap() {
            WriteOutcome::At(at) => assert!(at + Duration::from_millis(50) >= Instant::now()),
            WriteOutcome::Away => {}
            WriteOutcome::Changed { notice, .. } => notices.push((Instant::now(), notice)),
        }
        n = (n + block) % format.rate as usize;
    }
    notices
}

#[test]
fn what_is_said_into_the_microphone_is_captured() {
    let pulse = Pulse::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tone.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&file, spec).unwrap();
    tone(440.0, 48_000, 48_000 * 8).iter().for_each(|s| writer.write_sample((s * 32_767.0) as i16).unwrap());
    writer.finalize().unwrap();
    let mut player = pulse.play("mic", &file);
    in_child("child_captures", &pulse.environment());
    player.kill().unwrap();
    player.wait().unwrap();
}

#[test]
#[ignore = "run by what_is_said_into_the_microphone_is_captured"]
fn child_captures() {
    let (system, devices) = list(Backend::Pulse).unwrap();
    assert!(system.contains("Pulse"), "{system}");
    assert!(devices.iter().any(|device| device.direction == Direction::Input && device.is_default), "{devices:?}");
    assert!(devices.iter().any(|device| device.direction == Direction::Output && device.is_default), "{devices:?}");
    check(Backend::Auto, &DeviceChoice::Default, Direction::Input).unwrap();

    let mut source = DeviceSource::open(Backend::Pulse, &DeviceChoice::Default).unwrap();
    assert_eq!((source.format().rate, source.format().channels), (48_000, 1));
    listen(&mut source, Duration::from_millis(1000));
    let start = Instant::now();
    let (heard, notices) = listen(&mut source, Duration::from_secs(2));
    let seconds = start.elapsed().as_secs_f64();
    assert!(notices.is_empty(), "{notices:?}");
    let length = heard.len() as f64 / 48_000.0;
    assert!((length / seconds - 1.0).abs() < 0.1, "{length} s of sound in {seconds} s");
    // A tenth of a second at a time: a busy machine may tear the tone now and then.
    let pure = heard.chunks_exact(4800).filter(|part| purity(part, 440.0, 48_000) > 0.95).count();
    assert!(pure >= 15, "{pure} of {} parts are the tone", heard.len() / 4800);
    assert_eq!(source.overruns(), 0);

    // What was captured while nobody listened is old by the time that a call begins.
    thread::sleep(Duration::from_millis(700));
    source.begin();
    let mut buffer = vec![0.0; 96_000];
    let ReadOutcome::Samples { samples, .. } = source.read(&mut buffer).unwrap() else { panic!("sound flows") };
    assert!(samples < 9_600, "{samples} samples are older than the call");

    let unknown = DeviceChoice::Named("mic.moniter".into());
    let complaint = DeviceSource::open(Backend::Pulse, &unknown).err().unwrap().to_string();
    assert!(complaint.contains("mic.moniter") && complaint.contains("mic.monitor"), "{complaint}");
}

#[test]
fn what_is_played_is_heard_from_the_loudspeaker() {
    let pulse = Pulse::start();
    let environment = pulse.environment();
    let child = thread::spawn(move || in_child("child_plays", &environment));
    // The null sink has drawn two seconds ahead of the stream's first sound.
    thread::sleep(Duration::from_secs(4));
    let heard = pulse.record("spk", Duration::from_secs(2));
    child.join().unwrap();
    let pure = heard.chunks_exact(4800).filter(|part| purity(part, 330.0, 48_000) > 0.95).count();
    assert!(pure >= 12, "{pure} of {} parts are the tone", heard.len() / 4800);
}

#[test]
#[ignore = "run by what_is_played_is_heard_from_the_loudspeaker"]
fn child_plays() {
    let mut sink = Box::new(DeviceSink::open(Backend::Pulse, &DeviceChoice::Default).unwrap());
    assert_eq!(sink.format().channels, 2);
    let start = Instant::now();
    assert!(speak(sink.as_mut(), 330.0, Duration::from_secs(7)).is_empty());
    assert!(start.elapsed() < Duration::from_secs(9), "it was paced by the device");
    sink.finish().unwrap();
}

#[test]
fn devices_that_vanish_are_replaced_by_the_default_within_two_seconds() {
    let pulse = Pulse::start();
    let mut environment = pulse.environment().to_vec();
    let module = pulse.add_sink("headset", 44_100, 1);
    environment.push(("HEADSET_MODULE", module));
    in_child("child_survives", &environment);
}

#[test]
#[ignore = "run by devices_that_vanish_are_replaced_by_the_default_within_two_seconds"]
fn child_survives() {
    let headset = DeviceChoice::Named("headset".into());
    // Its monitor, which must be named as such.
    assert!(DeviceSource::open(Backend::Pulse, &headset).is_err());
    let monitor = DeviceChoice::Named("headset.monitor".into());
    let mut source = DeviceSource::open(Backend::Pulse, &monitor).unwrap();
    let mut sink = DeviceSink::open(Backend::Pulse, &headset).unwrap();
    assert_eq!(sink.format().rate, 44_100);
    let talk = thread::spawn(move || {
        let notices = speak(&mut sink, 300.0, Duration::from_secs(8));
        (notices, sink.format().rate)
    });
    let unplug = thread::spawn(|| {
        thread::sleep(Duration::from_secs(4));
        let unplugged = Instant::now();
        let status =
            Command::new("pactl").args(["unload-module", &env::var("HEADSET_MODULE").unwrap()]).status().unwrap();
        assert!(status.success());
        unplugged
    });
    let (_, heard) = listen(&mut source, Duration::from_secs(8));
    let (played, rate) = talk.join().unwrap();
    let unplugged = unplug.join().unwrap();
    for (what, notices) in [("microphone", heard), ("loudspeaker", played)] {
        assert_eq!(notices.len(), 1, "{what}: {notices:?}");
        let (at, notice) = &notices[0];
        let took = at.saturating_duration_since(unplugged);
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
        assert!(notice.contains("went away"), "{notice}");
    }
    assert_eq!((source.format().rate, rate), (48_000, 48_000), "both go on with the default's own rate");
    let (samples, _) = listen(&mut source, Duration::from_millis(500));
    assert!(samples.len() > 12_000, "sound flows again");
}

#[test]
fn a_monitor_is_never_the_default_microphone() {
    let pulse = Pulse::start_without_microphone();
    in_child("child_meets_monitors_only", &pulse.environment());
}

#[test]
#[ignore = "run by a_monitor_is_never_the_default_microphone"]
fn child_meets_monitors_only() {
    let (_, devices) = list(Backend::Auto).unwrap();
    let inputs: Vec<_> = devices.iter().filter(|device| device.direction == Direction::Input).collect();
    assert!(inputs.len() == 2 && inputs.iter().all(|device| device.is_monitor && !device.is_default), "{devices:?}");
    assert!(devices.iter().all(|device| device.direction == Direction::Input || !device.is_monitor));
    for backend in [Backend::Auto, Backend::Pulse] {
        let error = check(backend, &DeviceChoice::Default, Direction::Input).unwrap_err().to_string();
        assert!(error.contains("monitors") && !error.contains('\n'), "{error}");
        assert!(DeviceSource::open(backend, &DeviceChoice::Default).is_err());
    }
    // One that is named is had.
    let named = DeviceSource::open(Backend::Pulse, &DeviceChoice::Named("spk.monitor".into())).unwrap();
    assert!(named.name().is_some_and(|name| name.contains("spk.monitor")));
    drop(named);

    // Whoever waits hears nothing, though this machine plays; and takes the microphone that comes.
    let mut sink = DeviceSink::open(Backend::Pulse, &DeviceChoice::Default).unwrap();
    let player = thread::spawn(move || speak(&mut sink, 440.0, Duration::from_secs(6)));
    let mut source = DeviceSource::open_or_wait(Backend::Auto, &DeviceChoice::Default, 16_000);
    assert_eq!((source.format().rate, source.name()), (16_000, None));
    let trouble = source.trouble().unwrap();
    assert!(trouble.contains("monitors") && trouble.contains("others hear nothing"), "{trouble}");
    let (heard, notices) = listen(&mut source, Duration::from_secs(2));
    assert!(heard.is_empty() && notices.is_empty(), "{} samples, {notices:?}", heard.len());
    pactl(&["load-module", "module-remap-source", "master=mic.monitor", "source_name=plugged-in"]);
    let (heard, notices) = listen(&mut source, Duration::from_secs(3));
    assert!(notices.len() == 1 && notices[0].1.contains("there is a microphone now"), "{notices:?}");
    assert!(!heard.is_empty() && source.name().is_some_and(|name| name.contains("plugged-in")), "{:?}", source.name());
    player.join().unwrap();
    // The server makes it the default or not: it is taken in any case.
    let (_, devices) = list(Backend::Auto).unwrap();
    let default = devices.iter().find(|device| device.direction == Direction::Input && device.is_default);
    assert_eq!(default.map(|device| device.id.as_str()), Some("plugged-in"));
}

#[test]
fn a_server_that_looks_at_who_connects_is_found_without_a_cookie() {
    let pulse = Pulse::start_for_its_user();
    in_child("child_has_no_cookie", &pulse.environment());
}

#[test]
#[ignore = "run by a_server_that_looks_at_who_connects_is_found_without_a_cookie"]
fn child_has_no_cookie() {
    let (system, devices) = list(Backend::Pulse).unwrap();
    assert!(system.contains("Pulse") && !devices.is_empty(), "{system} {devices:?}");
    DeviceSource::open(Backend::Pulse, &DeviceChoice::Default).unwrap();
}

/// Processor time of this process so far.
fn processor_time() -> Duration {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure, which is whole and lives.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut used) }, 0);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

#[test]
fn a_server_that_is_killed_again_and_again_costs_little_and_is_found_again() {
    let mut pulse = Pulse::start();
    let environment = pulse.environment();
    let child = thread::spawn(move || in_child("child_lives_through_kills", &environment));
    thread::sleep(Duration::from_secs(3));
    for _ in 0..3 {
        pulse.kill();
        thread::sleep(Duration::from_millis(1500));
        pulse.revive();
        thread::sleep(Duration::from_millis(2000));
    }
    child.join().unwrap();
}

#[test]
#[ignore = "run by a_server_that_is_killed_again_and_again_costs_little_and_is_found_again"]
fn child_lives_through_kills() {
    let mut source = DeviceSource::open(Backend::Auto, &DeviceChoice::Default).unwrap();
    let mut sink = DeviceSink::open(Backend::Auto, &DeviceChoice::Default).unwrap();
    let (start, before) = (Instant::now(), processor_time());
    let player = thread::spawn(move || speak(&mut sink, 440.0, Duration::from_secs(15)));
    let (_, heard) = listen(&mut source, Duration::from_secs(15));
    let played = player.join().unwrap();
    for (what, notices) in [("microphone", heard), ("loudspeaker", played)] {
        assert!((3..=6).contains(&notices.len()), "{what} was found again each time: {notices:?}");
    }
    let share = (processor_time() - before).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share < 0.2, "{:.0} % of a processor", 100.0 * share);
    let (samples, _) = listen(&mut source, Duration::from_millis(500));
    assert!(samples.len() > 12_000, "sound flows again");
}

#[test]
fn without_any_device_there_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    in_child(
        "child_finds_nothing",
        &[("PULSE_SERVER", format!("unix:{path}/nothing")), ("XDG_RUNTIME_DIR", path.clone()), ("HOME", path)],
    );
}

#[test]
#[ignore = "run by without_any_device_there_is_a_sentence"]
fn child_finds_nothing() {
    for backend in [Backend::Auto, Backend::Pulse] {
        let source = DeviceSource::open(backend, &DeviceChoice::Default).err().unwrap();
        let sink = DeviceSink::open(backend, &DeviceChoice::Default).err().unwrap();
        let look = check(backend, &DeviceChoice::Default, Direction::Output).err().unwrap();
        for (error, word) in [(source, "input"), (sink, "output"), (look, "output")] {
            assert!(matches!(error, AudioError::NoDevice { .. } | AudioError::Device { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(word) && !text.contains('\n'), "{text}");
        }
    }
}

/// A tone through a steered outlet, in blocks of 10 ms of the house as the audio engine gives them; the notices of changes, the greatest
/// distance of a block from the time it was due at, and all that was told of the ring.
struct Talk {
    notices: Vec<(Instant, String)>,
    late: Duration,
    rings: Vec<Duration>,
    ppm: Vec<f64>,
}

fn talk(sink: &mut dyn Sink, hz: f64, time: Duration) -> Talk {
    const HOUSE: u32 = 24_000;
    let outlet = |format: Format| Outlet::steerable(HOUSE, format.rate, format.channels, 240).unwrap();
    let (mut out, start, mut n) = (outlet(sink.format()), Instant::now(), 0_u32);
    let mut talk = Talk { notices: Vec::new(), late: Duration::ZERO, rings: Vec::new(), ppm: Vec::new() };
    while start.elapsed() < time {
        let block: Vec<f32> = (n..n + 240)
            .map(|k| (0.5 * (std::f64::consts::TAU * hz * f64::from(k) / f64::from(HOUSE)).sin()) as f32)
            .collect();
        n += 240;
        out.set_ratio_ppm(sink.steer_ppm());
        let mut changed = false;
        out.push(&block, |samples| {
            if let (false, WriteOutcome::Changed { notice, .. }) = (changed, sink.write(samples).unwrap()) {
                talk.notices.push((Instant::now(), notice));
                changed = true;
            }
        });
        if changed {
            out = outlet(sink.format());
        }
        let due = start + n / 240 * Duration::from_millis(10);
        talk.late = talk.late.max(Instant::now().saturating_duration_since(due));
        talk.rings.push(sink.figures().ring);
        talk.ppm.push(sink.steer_ppm());
        if env::var_os("PARLO_SERIES").is_some() && n / 240 % 50 == 0 {
            println!("{:.1} {:.0} {:?}", start.elapsed().as_secs_f64(), sink.steer_ppm(), sink.figures());
        }
    }
    talk
}

#[test]
fn devices_of_any_rate_and_channels_keep_the_houses_time() {
    let pulse = Pulse::start();
    pulse.add_sink("wide", 44_100, 2);
    pulse.add_sink("narrow", 16_000, 1);
    let environment = pulse.environment();
    let child = thread::spawn(move || in_child("child_converts", &environment));
    child.join().unwrap();
}

#[test]
#[ignore = "run by devices_of_any_rate_and_channels_keep_the_houses_time"]
fn child_converts() {
    for (name, rate, channels) in [("wide", 44_100, 2), ("narrow", 16_000, 1)] {
        // The microphone hears what the loudspeaker of the same name plays.
        let mut sink = DeviceSink::open(Backend::Pulse, &DeviceChoice::Named(name.into())).unwrap();
        let monitor = DeviceChoice::Named(format!("{name}.monitor"));
        let mut source = DeviceSource::open(Backend::Pulse, &monitor).unwrap();
        for format in [sink.format(), source.format()] {
            assert_eq!((format.rate, format.channels), (rate, channels));
        }
        assert!(sink.is_device() && sink.name().is_some_and(|told| told.contains(name)));
        assert!(source.is_device() && source.name().is_some_and(|told| told.contains(name)));
        let talker = thread::spawn(move || {
            let talk = talk(&mut sink, 500.0, Duration::from_secs(6));
            (talk.notices, sink.figures())
        });
        // As long as a server may take to begin.
        thread::sleep(Duration::from_secs(3));
        let mut intake = Intake::steerable(rate, channels, 24_000, 240).unwrap();
        let (mut heard, start, mut buffer) = (Vec::new(), Instant::now(), vec![0.0; 9600]);
        source.begin();
        while start.elapsed() < Duration::from_millis(2500) {
            if let ReadOutcome::Samples { samples, .. } = source.read(&mut buffer).unwrap() {
                intake.set_ratio_ppm(source.steer_ppm());
                intake.push(&buffer[..samples], |frame| heard.extend_from_slice(frame));
            }
        }
        let (notices, figures) = talker.join().unwrap();
        assert!(notices.is_empty(), "{notices:?}");
        let pure = heard.chunks_exact(2400).filter(|part| purity(part, 500.0, 24_000) > 0.95).count();
        println!("{name}: {pure} of {}, {figures:?}, {:?}", heard.len() / 2400, source.figures());
        assert!(pure * 10 >= heard.len() / 2400 * 7, "{name}: {pure} of {} parts are the tone", heard.len() / 2400);
        assert!(figures.ring > Duration::from_millis(5) && figures.ring < Duration::from_millis(120), "{figures:?}");
        assert!(figures.drift_ppm.abs() < 1000.0 && figures.latency > Duration::from_millis(5), "{figures:?}");
    }
}

#[test]
fn what_becomes_the_default_is_followed() {
    let pulse = Pulse::start();
    pulse.add_sink("other", 44_100, 1);
    pulse.control(&["load-module", "module-remap-source", "master=other.monitor", "source_name=other-microphone"]);
    let environment = pulse.environment();
    in_child("child_follows", &environment);
}

#[test]
#[ignore = "run by what_becomes_the_default_is_followed"]
fn child_follows() {
    let mut source = DeviceSource::open(Backend::Pulse, &DeviceChoice::Default).unwrap();
    let mut sink = DeviceSink::open(Backend::Pulse, &DeviceChoice::Default).unwrap();
    let talker = thread::spawn(move || (talk(&mut sink, 300.0, Duration::from_secs(6)).notices, sink.name()));
    let change = thread::spawn(|| {
        thread::sleep(Duration::from_secs(3));
        let changed = Instant::now();
        pactl(&["set-default-sink", "other"]);
        pactl(&["set-default-source", "other-microphone"]);
        changed
    });
    let (_, heard) = listen(&mut source, Duration::from_secs(6));
    let (played, name) = talker.join().unwrap();
    let changed = change.join().unwrap();
    for (what, notices) in [("microphone", heard), ("loudspeaker", played)] {
        assert_eq!(notices.len(), 1, "{what}: {notices:?}");
        let (at, notice) = &notices[0];
        let took = at.saturating_duration_since(changed);
        println!("{what}: {took:?}: {notice}");
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
        assert!(notice.contains(&format!("the default {what} is now")) && notice.contains("other"), "{notice}");
    }
    for name in [source.name(), name] {
        assert!(name.as_ref().is_some_and(|name| name.contains("other")), "{name:?}");
    }
    // The server may have changed the rate of the idle device meanwhile: what it is now is told, and sound flows.
    let (samples, notices) = listen(&mut source, Duration::from_millis(500));
    assert!(notices.is_empty() && samples.len() > source.format().rate as usize / 4, "{notices:?} {}", samples.len());
}

#[test]
fn a_named_device_that_comes_back_is_used_again() {
    let pulse = Pulse::start();
    let mut environment = pulse.environment().to_vec();
    environment.push(("HEADSET_MODULE", pulse.add_sink("headset", 44_100, 1)));
    in_child("child_returns", &environment);
}

#[test]
#[ignore = "run by a_named_device_that_comes_back_is_used_again"]
fn child_returns() {
    let mut sink = DeviceSink::open(Backend::Pulse, &DeviceChoice::Named("headset".into())).unwrap();
    let replug = thread::spawn(|| {
        thread::sleep(Duration::from_secs(3));
        pactl(&["unload-module", &env::var("HEADSET_MODULE").unwrap()]);
        thread::sleep(Duration::from_secs(3));
        pactl(&["load-module", "module-null-sink", "sink_name=headset", "rate=44100", "channels=1"]);
    });
    let notices: Vec<String> =
        talk(&mut sink, 300.0, Duration::from_secs(9)).notices.into_iter().map(|(_, notice)| notice).collect();
    replug.join().unwrap();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].contains("went away") && notices[0].contains("spk"), "{notices:?}");
    assert!(notices[1].contains("headset") && notices[1].contains("is back"), "{notices:?}");
    assert_eq!(sink.format().rate, 44_100);
}

fn pactl(arguments: &[&str]) {
    let done = Command::new("pactl").args(arguments).output().unwrap();
    assert!(done.status.success(), "pactl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// For people: plays and captures for a minute (or `PARLO_SECONDS`) beside whatever the machine does, and prints what the rings
/// did. `cargo test -p parlod --test audio_devices measure -- --ignored --nocapture`
#[test]
#[ignore = "a minute, and nothing to fail; for the tables of the documentation"]
fn measure_a_null_sink() {
    let pulse = Pulse::start();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_measures", "--ignored", "--nocapture", "--test-threads=1"])
        .envs(pulse.environment())
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "run by measure_a_null_sink"]
fn child_measures() {
    let time = env::var("PARLO_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let time = Duration::from_secs(time);
    let mut source = DeviceSource::open(Backend::Pulse, &DeviceChoice::Default).unwrap();
    let mut sink = DeviceSink::open(Backend::Pulse, &DeviceChoice::Default).unwrap();
    let talker = thread::spawn(move || {
        println!("priority: {:?}", parlod::realtime::promote(48_000, 480));
        let talk = talk(&mut sink, 300.0, time);
        (talk, sink.figures())
    });
    println!("priority: {:?}", parlod::realtime::promote(48_000, 480));
    let (mut buffer, start, mut ppm) = (vec![0.0; 9600], Instant::now(), Vec::new());
    while start.elapsed() < time {
        source.read(&mut buffer).unwrap();
        ppm.push(source.steer_ppm());
    }
    let (talk, figures) = talker.join().unwrap();
    let of = |mut values: Vec<f64>, part: f64| {
        values.sort_by(f64::total_cmp);
        values.get(((values.len() - 1) as f64 * part) as usize).copied().unwrap_or_default()
    };
    let settled = |values: &[f64]| values[values.len() / 3..].to_vec();
    let rings: Vec<f64> = talk.rings.iter().map(|ring| 1e3 * ring.as_secs_f64()).collect();
    println!("loudspeaker: ring p50 {:.1} ms, p99 {:.1} ms", of(settled(&rings), 0.5), of(settled(&rings), 0.99));
    println!(
        "  ppm p1 {:.0}, p50 {:.0}, p99 {:.0}",
        of(settled(&talk.ppm), 0.01),
        of(settled(&talk.ppm), 0.5),
        of(settled(&talk.ppm), 0.99)
    );
    println!("  {figures:?}, late {:?}", talk.late);
    println!(
        "microphone: ppm p1 {:.0}, p50 {:.0}, p99 {:.0}",
        of(settled(&ppm), 0.01),
        of(settled(&ppm), 0.5),
        of(settled(&ppm), 0.99)
    );
    println!("  {:?}", source.figures());
}
