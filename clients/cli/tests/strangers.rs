//! Files that strangers made: what is in them neither acts on a terminal nor fills memory or disk.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use parlo_model::Bundle;
use parlo_protocol::ptk::{Coding, Header, Mark, Run, Stream, Tokens, Writer};
use parlo_tokens::ComfortNoise;
use tempfile::TempDir;

fn header(name: &str, streams: &[&str], metadata: &[(&str, &str)]) -> Header {
    let bundle = Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap();
    let tokens = Tokens {
        id: bundle.tokens().prefix(),
        bundle_name: name.into(),
        sample_rate: 16_000,
        frame_samples: 320,
        depth: 6,
        coding: Coding::Plain,
    };
    let streams = (0..).zip(streams).map(|(id, &name)| Stream { id, name: name.into() }).collect();
    let metadata = metadata.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    Header { tokens, created_ms: Some(0), streams, metadata }
}

/// Blocks of one run: stream, time, mark, how many.
fn file(header: &Header, blocks: impl IntoIterator<Item = (u8, u32, Mark, usize)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(header, &mut bytes).unwrap();
    for (stream, time_ms, mark, count) in blocks {
        let noise = (mark == Mark::Silent).then(|| ComfortNoise::new(60, [127; 8]));
        writer.block(stream, time_ms, &[Run { mark, count, codes: None, noise }], &mut bytes).unwrap();
    }
    writer.end(None, &mut bytes);
    bytes
}

fn parlo(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
    command.env("XDG_CONFIG_HOME", folder.path()).env("XDG_RUNTIME_DIR", folder.path());
    command.current_dir(folder.path()).args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end; gives its peak of memory too, MiB.
fn measured(folder: &TempDir, arguments: &[&str]) -> (Output, f64) {
    let mut command = parlo(folder, arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (begun, mut peak) = (Instant::now(), 0.0_f64);
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib =
            text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        assert!(begun.elapsed() < Duration::from_secs(120), "{arguments:?} goes on and on");
        std::thread::sleep(Duration::from_millis(2));
    }
    (child.wait_with_output().unwrap(), peak)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn nothing_in_a_file_acts_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let nasty = "x\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}gpj.exe\u{2066}\r\n\u{200b}y";
    let bytes = file(
        &header("parlo-16k", &[nasty, "heard"], &[("peer", nasty), (nasty, "value"), ("long", &"z".repeat(9_000))]),
        [(0, 0, Mark::Silent, 50)],
    );
    fs::write(folder.path().join("nasty.ptk"), &bytes).unwrap();
    // Of a model that is not here, whose name is shown in the error.
    let mut other = header(nasty, &["said"], &[]);
    other.tokens.id = parlo_tokens::TokensPrefix::from_bytes([7; 16]);
    fs::write(folder.path().join("other.ptk"), file(&other, [])).unwrap();
    // Under a name that acts itself.
    let name = "bad\u{1b}[2J\u{202e}.ptk";
    fs::write(folder.path().join(name), &bytes[..40]).unwrap();
    let misleads = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{200b}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    for arguments in [
        &["info", "nasty.ptk"][..],
        &["info", "--json", "nasty.ptk"],
        &["verify", "nasty.ptk"],
        &["info", "other.ptk"],
        &["decode", "other.ptk", "o.wav"],
        &["cat", "nasty.ptk", "other.ptk", "--output", "o.ptk"],
        &["info", name],
        &["verify", name, "nasty.ptk"],
        &["decode", name, "o.wav"],
    ] {
        let output = parlo(&folder, arguments).output().unwrap();
        for said in [text(&output.stdout), text(&output.stderr)] {
            assert!(!said.contains(misleads), "{arguments:?}: {said:?}");
            assert!(
                said.lines().all(|line| line.chars().count() < 4_000) || arguments.contains(&"--json"),
                "{arguments:?} goes on"
            );
        }
    }
    // Programs are told all of it.
    let json = text(&parlo(&folder, &["info", "--json", "nasty.ptk"]).output().unwrap().stdout);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.to_string().contains("gpj.exe") && json["metadata"].to_string().contains("\\u001b"), "{json}");
}

#[test]
fn no_file_fills_memory_or_disk() {
    let folder = tempfile::tempdir().unwrap();
    let two = header("parlo-16k", &["said", "heard"], &[]);
    let names: Vec<String> = (0..255).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = header("parlo-16k", &names, &[]);
    let files = [
        ("small", file(&two, [(0, 0, Mark::Silent, 50)]), true),
        ("hour", file(&two, (0..360).flat_map(|n| [0, 1].map(|s| (s, n * 10_000, Mark::Silent, 500)))), true),
        ("late", file(&two, [(0, 134_000_000, Mark::Waiting, 1)]), false),
        ("last", file(&two, [(0, u32::MAX - 30, Mark::Waiting, 1)]), false),
        ("middle", file(&two, [(0, 0, Mark::Waiting, 1), (1, 90_000_000, Mark::Waiting, 1)]), false),
        ("long", file(&two, (0..15_000).map(|n| (0, n * 10_000, Mark::Waiting, 500))), false),
        ("overlap", file(&two, (0..3_000).map(|_| (0, 0, Mark::Silent, 500))), true),
        ("streams", file(&many, (0..255).map(|s| (s, 1_000, Mark::Silent, 1))), true),
        ("points", file(&many, (0..40_000).map(|n| ((n % 255) as u8, n * 60_000, Mark::Waiting, 1))), false),
    ];
    let mut usual = 0.0;
    for (name, bytes, plays) in files {
        let (from, to) = (format!("{name}.ptk"), format!("{name}.wav"));
        fs::write(folder.path().join(&from), &bytes).unwrap();
        let (output, peak) = measured(&folder, &["decode", &from, &to]);
        let said = text(&output.stderr);
        assert_eq!(output.status.success(), plays, "{name}: {said}");
        if name == "small" {
            usual = peak;
        }
        assert!(peak < usual + 64.0, "{name} ({} bytes) takes {peak} MiB to decode, a small file {usual}", bytes.len());
        if !plays {
            assert!(
                said.contains("hours") && said.contains("parlo cut") && said.lines().count() == 1,
                "{name}: {said}"
            );
            assert!(!folder.path().join(&to).exists(), "{name}");
        }
        let arrays = format!("{name}.npz");
        for arguments in [
            &["info", &from][..],
            &["verify", &from],
            &["export", &from, &arrays],
            &["decode", "--from", "1", "--to", "2", &from, "part.wav", "--force"],
        ] {
            let (output, peak) = measured(&folder, arguments);
            assert!(output.status.code().is_some_and(|code| code < 3), "{arguments:?}: {}", text(&output.stderr));
            assert!(peak < usual + 64.0, "{arguments:?} takes {peak} MiB");
        }
    }
    // Through a pipe nobody knows how long it is.
    let mut child = parlo(&folder, &["decode", "-", "piped.wav"]);
    let child = child.stdin(File::open(folder.path().join("hour.ptk")).unwrap()).output().unwrap();
    assert!(child.status.success(), "{}", text(&child.stderr));
    let (piped, whole) =
        (fs::read(folder.path().join("piped.wav")).unwrap(), fs::read(folder.path().join("hour.wav")).unwrap());
    assert!(piped == whole && whole.len() > 3_600 * 32_000 - 4_000, "{}", whole.len());
}

#[test]
fn what_repair_writes_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(
        &header("parlo-16k", &["said", "heard"], &[("peer", "ann")]),
        (0..12).map(|n| ((n % 2) as u8, n * 500, if n % 3 == 0 { Mark::Waiting } else { Mark::Silent }, 25)),
    );
    let at = |name: &str| folder.path().join(name);
    for place in (20..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[place] ^= 0x21;
        fs::write(at("bad.ptk"), &bytes).unwrap();
        let output = parlo(&folder, &["repair", "bad.ptk", "--output", "mended.ptk", "--force"]).output().unwrap();
        // Done, done but for what is lost (3), or refused with nothing written.
        match output.status.code() {
            Some(0 | 3) => {
                let verified = parlo(&folder, &["verify", "mended.ptk"]).output().unwrap();
                assert!(verified.status.success(), "byte {place}: {}", text(&verified.stderr));
                fs::remove_file(at("mended.ptk")).unwrap();
            }
            _ => assert!(!at("mended.ptk").exists(), "byte {place}: {}", text(&output.stderr)),
        }
    }
    assert!(Path::new(&at("bad.ptk")).exists());
}
