//! `parlo encode --recursive`: folders of speech, runs that are ended and gone on with.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

mod support;

fn parlo() -> Command {
    Command::new(env!("CARGO_BIN_EXE_parlo"))
}

fn clip() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/speech.flac")
}

fn encode(sounds: &Path, tokens: &Path, more: &[&str]) -> Output {
    let mut command = parlo();
    command.args(["encode", "--recursive", "--depth", "3"]).args(more).args([sounds, tokens]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(file: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// So many copies of the clip, in folders of two.
fn speech(folder: &Path, count: usize) {
    for number in 0..count {
        let inside = folder.join(format!("speaker {}", number / 2));
        fs::create_dir_all(&inside).unwrap();
        fs::copy(clip(), inside.join(format!("{number}.flac"))).unwrap();
    }
}

#[test]
fn a_folder_becomes_token_files_a_manifest_and_a_list_of_what_failed() {
    let home = tempfile::tempdir().unwrap();
    let (sounds, tokens) = (home.path().join("in"), home.path().join("out"));
    speech(&sounds, 3);
    fs::write(sounds.join("broken.wav"), "no sound at all").unwrap();
    let first = encode(&sounds, &tokens, &["--jobs", "2"]);
    assert!(!first.status.success(), "one file failed");
    assert!(said(&first).contains("3 files, ") && said(&first).contains("failed: broken.wav: "), "{}", said(&first));

    let alone = home.path().join("alone.ptk");
    assert!(parlo().args(["encode", "--depth", "3"]).args([clip(), alone.clone()]).status().unwrap().success());
    let made = tokens.join("speaker 1/2.ptk");
    assert_eq!(fs::read(&made).unwrap(), fs::read(&alone).unwrap(), "the same as one by one");

    let manifest = lines(&tokens.join("manifest.jsonl"));
    let names: Vec<_> = manifest.iter().map(|line| line["tokens"].as_str().unwrap()).collect();
    assert_eq!(names, ["speaker 0/0.ptk", "speaker 0/1.ptk", "speaker 1/2.ptk"]);
    assert_eq!(manifest[2]["bytes"], fs::metadata(&made).unwrap().len());
    assert_eq!(manifest[2]["depth"], 3);
    assert!((manifest[2]["seconds"].as_f64().unwrap() - 6.79).abs() < 0.01, "{}", manifest[2]);
    let failures = lines(&tokens.join("failures.jsonl"));
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["sound"], "broken.wav");

    // What is there is left alone; what has changed, is damaged or was mended is made anew.
    let untouched = fs::metadata(&made).unwrap().modified().unwrap();
    fs::copy(clip(), sounds.join("broken.wav")).unwrap();
    let cut = tokens.join("speaker 0/0.ptk");
    let whole = fs::read(&cut).unwrap();
    fs::write(&cut, &whole[..whole.len() - 9]).unwrap();
    let second = encode(&sounds, &tokens, &[]);
    assert!(second.status.success(), "{}", said(&second));
    assert!(said(&second).contains("2 files, ") && said(&second).contains("2 were there already"), "{}", said(&second));
    assert_eq!(fs::read(&cut).unwrap(), whole);
    assert_eq!(fs::metadata(&made).unwrap().modified().unwrap(), untouched);
    assert_eq!(lines(&tokens.join("manifest.jsonl")).len(), 4);
    assert!(!tokens.join("failures.jsonl").exists());

    // Another depth is another run.
    let mut deeper = parlo();
    deeper.args(["encode", "--recursive", "--depth", "2"]).args([&sounds, &tokens]);
    let third = deeper.output().unwrap();
    assert!(third.status.success() && said(&third).contains("4 files, "), "{}", said(&third));
}

#[test]
fn a_run_that_is_killed_is_gone_on_with_and_one_that_is_asked_to_end_says_how() {
    let home = tempfile::tempdir().unwrap();
    let (sounds, tokens) = (home.path().join("in"), home.path().join("out"));
    speech(&sounds, 12);
    for signal in ["-KILL", "-INT"] {
        let mut command = parlo();
        command.args(["encode", "--recursive", "--depth", "3", "--jobs", "1"]).args([&sounds, &tokens]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let already = finished(&tokens);
        let begun = Instant::now();
        while finished(&tokens) == already {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is made");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        assert!(!ended.status.success());
        assert!(finished(&tokens) < 12, "it was not over");
        if signal == "-INT" {
            assert!(said(&ended).contains("the same command goes on"), "{}", said(&ended));
            assert_eq!(lines(&tokens.join("manifest.jsonl")).len(), finished(&tokens), "the manifest is true");
        }
    }
    let last = encode(&sounds, &tokens, &[]);
    assert!(last.status.success() && said(&last).contains("were there already"), "{}", said(&last));
    assert_eq!(lines(&tokens.join("manifest.jsonl")).len(), 12);
    assert_eq!(finished(&tokens), 12);
}

#[test]
fn every_sound_has_its_tokens_whatever_it_is_called_and_whenever_it_was_made() {
    let home = tempfile::tempdir().unwrap();
    let (sounds, tokens) = (home.path().join("in"), home.path().join("out"));
    fs::create_dir(&sounds).unwrap();
    let short = home.path().join("short.wav");
    let sound = |path: &Path, frames: u32| {
        support::wav(path, 1, (0..frames).map(|n| (n * 321 % 4_000) as i16));
    };
    sound(&short, 4_000);
    for name in ["a.wav", "a.wav.wav", "a.flac"] {
        fs::copy(&short, sounds.join(name)).unwrap();
    }
    let mut count = 3;
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        sound(&sounds.join(std::ffi::OsStr::from_bytes(b"M\xFCnchen.wav")), 5_000);
        count += 1;
    }
    let first = encode(&sounds, &tokens, &[]);
    assert!(first.status.success(), "{}", said(&first));
    let manifest = lines(&tokens.join("manifest.jsonl"));
    let names: std::collections::BTreeSet<_> = manifest.iter().map(|line| line["tokens"].as_str().unwrap()).collect();
    assert_eq!((manifest.len(), names.len()), (count, count), "{names:?}");
    assert!(names.iter().all(|name| tokens.join(name).exists()), "{names:?}");
    #[cfg(unix)]
    assert!(names.contains("M%FCnchen.ptk"), "{names:?}");
    // Nothing has changed; not even where the times of the token files are lost, or the manifest.
    let second = encode(&sounds, &tokens, &[]);
    assert!(said(&second).contains(&format!("{count} were there already")), "{}", said(&second));
    fs::remove_file(tokens.join("manifest.jsonl")).unwrap();
    let third = encode(&sounds, &tokens, &[]);
    assert!(said(&third).contains(&format!("{count} were there already")), "{}", said(&third));
    // Another sound takes the place of one, made long before it.
    sound(&sounds.join("a.wav"), 7_000);
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(sounds.join("a.wav")).unwrap().set_modified(old).unwrap();
    let fourth = encode(&sounds, &tokens, &[]);
    assert!(said(&fourth).contains("1 files, "), "{}", said(&fourth));
    let line = lines(&tokens.join("manifest.jsonl")).into_iter().find(|line| line["sound"] == "a.wav").unwrap();
    assert!((line["seconds"].as_f64().unwrap() - 7_000.0 / 16_000.0).abs() < 1e-6, "{line}");
}

/// Token files that have their names.
fn finished(folder: &Path) -> usize {
    let inside = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    inside(folder)
        .iter()
        .flat_map(|folder| inside(folder))
        .filter(|path| path.extension().is_some_and(|e| e == "ptk"))
        .count()
}

#[test]
fn what_cannot_be_is_said() {
    let home = tempfile::tempdir().unwrap();
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let fails = |input: &Path, more: &[&str], part: &str| {
        let output = encode(input, &home.path().join("out"), more);
        assert!(!output.status.success() && said(&output).contains(part), "{part}: {}", said(&output));
    };
    fails(&empty, &[], "there is no sound in");
    fails(&clip(), &[], "is not a folder");
    fails(&home.path().join("nowhere"), &[], "is not a folder");
    speech(&empty, 1);
    fails(&empty, &["--bundle", "nonsense"], "nonsense");
    fails(&empty, &["--jobs", "0"], "0");
    let output = parlo().args(["encode", "--jobs", "2"]).arg(clip()).arg(home.path().join("x.ptk")).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("--recursive"), "{}", said(&output));
    let output = parlo().arg("encode").arg(clip()).output().unwrap();
    assert!(!output.status.success(), "one file needs an output");
}
