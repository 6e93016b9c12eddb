//! Nothing is lost by writing: what verbs refuse to replace, what they write, and what an end before its time leaves behind.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use support::wav;
use tempfile::TempDir;

mod support;

struct Folder(TempDir);

impl Folder {
    /// With a sound and its tokens.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        sound(&folder.path("talk.wav"), 16_000);
        assert_eq!(folder.run(&["encode", "talk.wav", "talk.ptk"]).status.code(), Some(0));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
        command.env("XDG_CONFIG_HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.0.path()).env("HOME", self.0.path());
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// All files, and what is in them.
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().is_file());
        let mut all: Vec<_> = files
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
            .collect();
        all.sort();
        all
    }
}

fn sound(path: &Path, frames: usize) {
    wav(path, 1, (0..frames).map(|n| ((n * n / 7) % 8_000) as i16));
}

/// Every verb with an output, without the output.
const VERBS: [(&[&str], &[&str], &str); 9] = [
    (&["encode", "talk.wav"], &[], "ptk"),
    (&["decode", "talk.ptk"], &[], "wav"),
    (&["cut", "talk.ptk"], &["--to", "0.5"], "ptk"),
    (&["cat", "talk.ptk", "talk.ptk", "--output"], &[], "ptk"),
    (&["repair", "talk.ptk", "--output"], &[], "ptk"),
    (&["export", "talk.ptk"], &[], "csv"),
    (&["export", "talk.ptk"], &[], "jsonl"),
    (&["export", "talk.ptk"], &[], "npz"),
    (&["export", "talk.ptk"], &[], "flac"),
];

#[test]
fn no_verb_replaces_what_it_should_not() {
    let folder = Folder::new();
    fs::hard_link(folder.path("talk.ptk"), folder.path("linked.ptk")).unwrap();
    fs::hard_link(folder.path("talk.wav"), folder.path("linked.wav")).unwrap();
    fs::write(folder.path("notes.txt"), "remember the milk").unwrap();
    for suffix in ["ptk", "wav", "csv", "jsonl", "npz", "flac"] {
        fs::write(folder.path(&format!("other.{suffix}")), "not what its name says").unwrap();
    }
    for (verb, more, suffix) in VERBS {
        let run = |output: &str, force: bool| {
            let force: &[&str] = if force { &["--force"] } else { &[] };
            let before = folder.all();
            let done = folder.run(&[verb, &[output], more, force].concat());
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert_eq!(done.status.code(), Some(1), "{verb:?} {output}: {said}");
            assert!(said.contains(output) && said.lines().count() == 1 && !said.contains("panicked"), "{said}");
            assert_eq!(folder.all(), before, "{verb:?} {output}");
            said
        };
        // Its own input, under any name; something else; under another suffix than its own.
        let input = Path::new(verb[1]);
        if input.extension().is_some_and(|own| own == suffix) && verb[0] != "repair" {
            run(verb[1], true);
        }
        if suffix == "ptk" && verb[0] != "encode" && verb[0] != "repair" {
            run("linked.ptk", true);
        }
        run("linked.wav", false);
        run(&format!("other.{suffix}"), true);
        // What `export` writes is what the name says.
        if verb[0] != "export" {
            run(if suffix == "wav" { "new.ptk" } else { "new.wav" }, false);
        }
        run("new.mp3", false);
        // One of its own kind is there: only when asked.
        let output = format!("made.{suffix}");
        let arguments = [verb, &[output.as_str()], more].concat();
        let first = folder.run(&arguments);
        assert!(first.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&first.stderr));
        assert!(run(&output, false).contains("--force"));
        assert!(folder.run(&[&arguments[..], &["--force"]].concat()).status.success());
        fs::remove_file(folder.path(&output)).unwrap();
    }
    // Standard output into the file that is read.
    let append = fs::File::options().append(true).open(folder.path("talk.ptk")).unwrap();
    let before = folder.all();
    let done = folder.command().args(["cat", "talk.ptk"]).stdout(append).output().unwrap();
    assert!(!done.status.success() && folder.all() == before);
}

#[test]
fn sound_is_what_its_name_says() {
    let folder = Folder::new();
    for (name, head) in
        [("a.wav", &b"RIFF"[..]), ("a.flac", b"fLaC"), ("a.opus", b"OggS"), ("a.ogg", b"OggS"), ("a", b"RIFF")]
    {
        let done = folder.run(&["decode", "talk.ptk", name]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(fs::read(folder.path(name)).unwrap().starts_with(head), "{name}");
        let mut reader = parlod::audio::AudioReader::open(&folder.path(name)).unwrap();
        let (mut buffer, mut count) = ([0.0; 999], 0);
        while let more @ 1.. = reader.read(&mut buffer).unwrap() {
            count += more;
        }
        assert_eq!(count, 16_000 * reader.format().rate as usize / 16_000, "{name}");
    }
    for name in ["a.mp3", "a.m4a", "a.txt"] {
        let done = folder.run(&["decode", "talk.ptk", name]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(1) && said.contains(".wav, .flac, .opus or .ogg"), "{said}");
        assert!(!folder.path(name).exists());
    }
}

#[test]
fn a_channel_is_chosen_by_content_or_by_name() {
    let folder = Folder::new();
    let level = |channel: &[&str], columns: [f32; 2]| {
        let pulses = (0..16_000).map(|n| if n % 100 < 4 { 20_000.0 } else { -800.0 });
        let samples = pulses.flat_map(|pulse| columns.map(|gain| (pulse * gain) as i16));
        wav(&folder.path("two.wav"), 2, samples);
        let done = folder.run(&[&["encode", "--force", "two.wav", "two.ptk"], channel].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(folder.run(&["decode", "--force", "two.ptk", "back.wav"]).status.success());
        let mut reader = hound::WavReader::open(folder.path("back.wav")).unwrap();
        let power: f64 = reader.samples::<i16>().map(|s| f64::from(s.unwrap()).powi(2)).sum();
        10.0 * (power / 16_000.0).log10()
    };
    let plain = level(&[], [1.0, 1.0]);
    for columns in [[1.0, -1.0], [0.0, 1.0], [1.0, 0.0]] {
        let found = level(&[], columns);
        assert!((found - plain).abs() < 1.5, "{columns:?}: {found} dB, and {plain} dB");
    }
    assert!(level(&["--channel", "left"], [0.0, 1.0]) < plain - 20.0);
    assert!((level(&["--channel", "2"], [0.0, 1.0]) - plain).abs() < 1.5);
    let done = folder.run(&["encode", "--force", "--channel", "3", "two.wav", "two.ptk"]);
    assert!(String::from_utf8_lossy(&done.stderr).contains("there is no channel 3; there are 2"));
}

/// Every verb that prints without a daemon.
const PRINTS: [&[&str]; 11] = [
    &["--help"],
    &["encode", "--help"],
    &["--version"],
    &["id"],
    &["devices"],
    &["doctor"],
    &["contacts"],
    &["relay", "--ticket"],
    &["info", "talk.ptk"],
    &["verify", "talk.ptk"],
    &["export", "--as", "csv", "talk.ptk", "-"],
];

#[cfg(target_os = "linux")]
#[test]
fn outputs_that_are_full_or_closed_end_a_verb_and_never_in_a_panic() {
    let folder = Folder::new();
    for arguments in PRINTS {
        for (out, both) in [("full", false), ("full", true), ("closed", false), ("closed", true)] {
            let sink = || match out {
                "full" => Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap()),
                _ => {
                    // A pipe whose reader has gone.
                    let (reader, writer) = std::io::pipe().unwrap();
                    drop(reader);
                    Stdio::from(writer)
                }
            };
            let mut command = folder.command();
            command.args(arguments).stdout(sink());
            command.stderr(if both { sink() } else { Stdio::piped() });
            let done = command.output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            let code = done.status.code();
            assert!(code.is_some_and(|code| code != 0 && code != 101), "{arguments:?} {out}: {:?} {said}", done.status);
            assert!(!said.contains("panicked"), "{arguments:?} {out}: {said}");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_and_a_second_one_ends_at_once() {
    use std::{
        thread,
        time::{Duration, Instant},
    };
    let folder = Folder::new();
    sound(&folder.path("long.wav"), 16_000 * 600);
    fs::create_dir(folder.path("in")).unwrap();
    fs::copy(folder.path("long.wav"), folder.path("in/long.wav")).unwrap();
    let interrupt = |id: u32| Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap();
    let temporary = |inside: &str| {
        let names = fs::read_dir(folder.path(inside)).into_iter().flatten().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with(".parlo-")).count()
    };
    for (arguments, inside, presses) in [
        (&["encode", "--beam", "16", "long.wav", "long.ptk"][..], ".", 1),
        (&["encode", "-r", "--beam", "16", "in", "out"], "out", 2),
    ] {
        let child = folder.command().args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while temporary(inside) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{arguments:?} does not begin");
            thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..presses {
            thread::sleep(Duration::from_millis(200));
            interrupt(child.id());
        }
        let pressed = Instant::now();
        let done = child.wait_with_output().unwrap();
        assert!(pressed.elapsed() < Duration::from_secs(3), "{arguments:?}");
        assert!(!done.status.success() && temporary(inside) == 0, "{arguments:?}: {:?}", done.status);
        assert!(!folder.path("long.ptk").exists() && !folder.path("out/long.ptk").exists());
    }
}
