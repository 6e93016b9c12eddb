//! The command line as people use it: what comes in, what comes out, and what is said when it cannot be.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
    thread,
};

use parlo_score::{align, estoi, overlap, resample};
use tempfile::TempDir;

fn clip() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/speech.flac")
}

static CONFIGURATION: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn parlo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
    command.env("XDG_CONFIG_HOME", CONFIGURATION.path()).env("XDG_RUNTIME_DIR", CONFIGURATION.path());
    command
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    parlo().current_dir(folder.path()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn works(folder: &TempDir, arguments: &[&str]) -> Output {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The one line that a command which must fail says.
fn fails(folder: &TempDir, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} should fail");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: one sentence: {said}");
    assert!(said.starts_with("parlo: ") && !said.contains("panicked"), "{said}");
    said
}

fn wav(path: &Path, channels: u16, rate: u32, samples: impl IntoIterator<Item = f32>) {
    let sample_format = hound::SampleFormat::Float;
    let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 32, sample_format };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples.into_iter().for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
}

fn read(path: &Path) -> (Vec<f32>, hound::WavSpec) {
    let mut reader = hound::WavReader::open(path).unwrap();
    let samples = reader.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect();
    (samples, reader.spec())
}

fn tone(rate: u32, seconds: f64) -> Vec<f32> {
    let samples = (f64::from(rate) * seconds) as usize;
    (0..samples).map(|n| (0.4 * (std::f64::consts::TAU * 200.0 * n as f64 / f64::from(rate)).sin()) as f32).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn speech_survives_a_file_at_every_depth_with_its_length_and_its_place() {
    let folder = folder();
    fs::copy(clip(), folder.path().join("talk.flac")).unwrap();
    let mut sizes = Vec::new();
    let mut scores = Vec::new();
    for depth in ["1", "6", "12"] {
        works(&folder, &["encode", "--force", "--depth", depth, "talk.flac", "talk.ptk"]);
        works(&folder, &["decode", "--force", "talk.ptk", "back.wav"]);
        sizes.push(fs::metadata(folder.path().join("talk.ptk")).unwrap().len());
        let (heard, spec) = read(&folder.path().join("back.wav"));
        // The clip's 162958 samples at 24 kHz, at the bundle's 16 kHz.
        assert_eq!((heard.len(), spec.channels, spec.sample_rate), (108_639, 1, 16_000));
        let mut reader = parlod::audio::AudioReader::open(&clip()).unwrap();
        let (mut said, mut buffer) = (Vec::new(), vec![0.0; 4096]);
        while let count @ 1.. = reader.read(&mut buffer).unwrap() {
            said.extend_from_slice(&buffer[..count]);
        }
        let said = resample(&said, 24_000, spec.sample_rate);
        let alignment = align(&said, &heard, spec.sample_rate, 0.5).unwrap();
        // The decoder's pulses are its own, so that the place is known to half a pitch period only.
        assert!(alignment.lag_samples.abs() <= 80, "it lies where it lay: {alignment:?}");
        let (a, b) = overlap(&said, &heard, alignment);
        scores.push(estoi(a, b, spec.sample_rate).unwrap());
    }
    // 342 frames of 10, 60 and 120 bits, a block's and a file's frame around them.
    assert!(sizes[0] < 600 && sizes[1] < 2_750 && sizes[2] < 5_320, "{sizes:?}");
    assert!(scores[0] > 0.5 && scores[1] > scores[0] && scores[2] >= scores[1] - 0.02, "{scores:?}");
}

#[test]
fn odd_but_whole_sound_is_taken() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let eight: Vec<f32> = tone(48_000, 0.5).into_iter().flat_map(|sample| [sample; 8]).collect();
    wav(&path("eight.wav"), 8, 48_000, eight);
    wav(&path("slow.wav"), 1, 8_000, tone(8_000, 0.5));
    wav(&path("fast.wav"), 2, 192_000, tone(192_000, 0.5).into_iter().flat_map(|sample| [sample; 2]));
    wav(&path("clipped.wav"), 1, 24_000, tone(24_000, 0.5).into_iter().map(|sample| 20.0 * sample));
    wav(&path("one.wav"), 1, 16_000, [0.5]);
    for (name, samples) in [("eight", 8_000), ("slow", 8_000), ("fast", 8_000), ("clipped", 8_000), ("one", 1)] {
        works(&folder, &["encode", "-f", &format!("{name}.wav"), "out.ptk"]);
        works(&folder, &["decode", "-f", "out.ptk", "back.wav"]);
        let (heard, _) = read(&path("back.wav"));
        assert_eq!(heard.len(), samples, "{name}");
    }
    // Half of these are no numbers: they become silence, and the user is told how many.
    let holes = tone(24_000, 0.5).into_iter().enumerate().map(|(n, s)| if n % 2 == 0 { f32::NAN } else { s });
    wav(&path("holes.wav"), 1, 24_000, holes);
    let output = works(&folder, &["encode", "-f", "holes.wav", "out.ptk"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("6000 samples of holes.wav"));
}

#[test]
fn what_cannot_be_gets_one_sentence_and_leaves_nothing_behind() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty.wav"), "").unwrap();
    fs::write(path("noise.mp3"), [0x5A; 3000]).unwrap();
    wav(&path("none.wav"), 1, 16_000, []);
    wav(&path("whole.wav"), 1, 16_000, tone(16_000, 1.0));
    fs::write(path("cut.wav"), &fs::read(path("whole.wav")).unwrap()[..30_000]).unwrap();
    works(&folder, &["encode", "whole.wav", "whole.ptk"]);
    let tokens = fs::read(path("whole.ptk")).unwrap();
    fs::write(path("cut.ptk"), &tokens[..tokens.len() - 40]).unwrap();
    let mut flipped = tokens.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(path("flipped.ptk"), &flipped).unwrap();
    let mut foreign = tokens;
    foreign[7] ^= 1;
    fs::write(path("damaged.ptk"), &foreign).unwrap();
    fs::create_dir(path("bundle")).unwrap();
    let before = fs::read_dir(folder.path()).unwrap().count();
    for (arguments, parts) in [
        (&["encode", "no.wav", "x.ptk"][..], &["no.wav", "No such file"][..]),
        (&["encode", "empty.wav", "x.ptk"], &["empty.wav", "is empty"]),
        (&["encode", "none.wav", "x.ptk"], &["none.wav", "not a single sample"]),
        (&["encode", "noise.mp3", "x.ptk"], &["noise.mp3", "is not sound"]),
        (&["encode", "whole.wav", "no/x.ptk"], &["no/x.ptk", "cannot write"]),
        (&["encode", "--depth", "13", "whole.wav", "x.ptk"], &["depth 13", "1 to 12"]),
        (&["encode", "--depth", "0", "whole.wav", "x.ptk"], &["depth 0"]),
        (&["encode", "--bundle", "./bundle", "whole.wav", "x.ptk"], &["manifest.toml"]),
        (&["encode", "--bundle", "nothing", "whole.wav", "x.ptk"], &["nothing", "PARLO_BUNDLE"]),
        (&["decode", "no.ptk", "x.wav"], &["no.ptk", "No such file"]),
        (&["decode", "empty.wav", "x.wav"], &["empty.wav", "it is empty"]),
        (&["decode", "whole.wav", "x.wav"], &["whole.wav", "not a Parlo token file"]),
        (&["decode", "cut.ptk", "x.wav"], &["cut.ptk", "breaks off", "--keep-going"]),
        (&["decode", "flipped.ptk", "x.wav"], &["flipped.ptk", "damaged at byte", "--keep-going"]),
        (&["decode", "damaged.ptk", "x.wav"], &["damaged.ptk", "header is damaged"]),
        (&["decode", "whole.ptk", "no/x.wav"], &["no/x.wav", "cannot write"]),
        (
            &["call", "no-such-host.invalid", "--standalone", "--source", "none", "--sink", "none"],
            &["no-such-host.invalid"],
        ),
    ] {
        let said = fails(&folder, arguments);
        for part in parts {
            assert!(said.contains(part), "\"{said}\" should contain \"{part}\"");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "{arguments:?} leaves something behind");
    }
    // What was there before a failure is untouched by it.
    let older = fs::read(path("whole.wav")).unwrap();
    fs::write(path("x.wav"), &older).unwrap();
    fails(&folder, &["decode", "--force", "flipped.ptk", "x.wav"]);
    assert_eq!(fs::read(path("x.wav")).unwrap(), older);
    // Of sound that breaks off what is there is taken, and it is said; the exit code too.
    let output = run(&folder, &["encode", "cut.wav", "y.ptk"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cut.wav: 0.5 s in: it breaks off") && output.status.code() == Some(3), "{said}");
    works(&folder, &["decode", "y.ptk", "y.wav"]);
    assert!((7_400..7_500).contains(&read(&path("y.wav")).0.len()));
}

#[test]
fn pipes_carry_the_same_as_files() {
    let folder = folder();
    let file = clip().display().to_string();
    works(&folder, &["encode", &file, "talk.ptk"]);
    works(&folder, &["decode", "talk.ptk", "back.wav"]);
    let mut encode = parlo().args(["encode", "-", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let decode =
        parlo().args(["decode", "-", "-"]).stdin(encode.stdout.take().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = encode.stdin.take().unwrap();
    let feed = thread::spawn(move || input.write_all(&fs::read(clip()).unwrap()));
    let output = decode.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(output.status.success() && encode.wait().unwrap().success());
    let whole = fs::read(folder.path().join("back.wav")).unwrap();
    assert_eq!(output.stdout[44..], whole[44..], "sample for sample");
}

#[test]
fn a_call_is_placed_and_taken_by_people_too() {
    let folder = folder();
    let mut listener = parlo()
        .current_dir(folder.path())
        .args(["listen", "127.0.0.1:0", "--once", "--source", "none", "--sink", "file:heard.wav"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(listener.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address =
        line.strip_prefix("waiting for calls at ").and_then(|rest| rest.split(';').next()).unwrap().to_owned();
    wav(&folder.path().join("short.wav"), 1, 44_100, tone(44_100, 1.5));
    let call = ["call", &address, "--standalone", "--source", "file:short.wav", "--sink", "none", "--depth", "3"];
    let output = works(&folder, &call);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("in a call with") && told.contains("1.5 kbps raw"), "{told}");
    assert!(listener.wait().unwrap().success());
    let (heard, spec) = read(&folder.path().join("heard.wav"));
    let heard = resample(&heard, spec.sample_rate, 16_000);
    assert!(heard.len() > 16_000 && heard.iter().any(|sample| sample.abs() > 0.05));
}

#[test]
fn the_doctor_and_the_list_of_devices_work_without_any_sound() {
    let folder = folder();
    let path = folder.path().display().to_string();
    let silent = |arguments: &[&str]| {
        let server = format!("unix:{path}/nothing");
        let mut command = parlo();
        command.args(arguments).env("PULSE_SERVER", server).env("XDG_RUNTIME_DIR", &path).env("HOME", &path);
        command.output().unwrap()
    };
    let output = silent(&["doctor", "--backend", "pulse"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let looks =
        ["settings", "library", "bundle", "codec", "key", "port", "microphone", "loudspeaker", "real time", "clock"];
    for name in looks.into_iter().chain(["sound server", "reachable"]) {
        assert_eq!(said.lines().filter(|line| line[5..].trim_start().starts_with(name)).count(), 1, "{name}: {said}");
    }
    assert_eq!(output.status.code(), Some(1), "no call works without sound: {said}");
    assert!(said.contains("FAULT  microphone") && said.contains("-> plug a device in"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking writes nothing");

    let broken = silent(&["doctor", "--bundle", "./nothing"]);
    assert!(!broken.status.success());
    assert!(String::from_utf8_lossy(&broken.stdout).contains("FAULT  bundle"));

    let output = silent(&["devices", "--backend", "pulse"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no sound input") && said.lines().count() == 1, "{said}");
}

#[test]
fn help_shows_every_command() {
    let folder = folder();
    let help = String::from_utf8(works(&folder, &["--help"]).stdout).unwrap();
    for command in [
        "encode",
        "decode",
        "call",
        "listen",
        "id",
        "peers",
        "contacts",
        "relay",
        "address",
        "impair",
        "devices",
        "doctor",
        "daemon",
        "status",
        "watch",
        "audio",
        "answer",
        "hangup",
        "recordings",
    ] {
        assert!(help.contains(command), "{help}");
        works(&folder, &[command, "--help"]);
    }
}
