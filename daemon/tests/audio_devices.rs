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

use parlod::audio::{
    AudioError, Captured, Played, Sink, Source,
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
            Captured::Samples { samples, at } => {
                assert_eq!(samples % usize::from(source.format().channels), 0);
                assert!(at <= Instant::now());
                heard.extend(buffer[..samples].iter().step_by(usize::from(source.format().channels)));
            }
            Captured::Nothing => {}
            Captured::Changed { notice, .. } => notices.push((Instant::now(), notice)),
            Captured::End => panic!("a microphone has no end"),
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
            Played::At(at) => assert!(at + Duration::from_millis(50) >= Instant::now()),
            Played::Away => {}
            Played::Changed { notice, .. } => notices.push((Instant::now(), notice)),
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
    let Captured::Samples { samples, .. } = source.read(&mut buffer).unwrap() else { panic!("sound flows") };
    assert!(samples < 9_600, "{samples} samples are older than the call");

    let unknown = DeviceChoice::Named("mic.moniter".into());
    let complaint = DeviceSource::open(Backend::Pulse, &unknown).err().unwrap().to_string();
    assert!(complaint.contains("mic.moniter") && complaint.contains("parlo devices"), "{complaint}");
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
    let mut source = DeviceSource::open(Backend::Pulse, &headset).unwrap();
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
