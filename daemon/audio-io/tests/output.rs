//! What may be written over what.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use parlo_audio_io::output::{Kind, OutputError, Replace, check};

#[test]
fn nothing_is_written_over_what_it_is_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.ptk"), b"\x89PTK").unwrap();
    fs::hard_link(path("a.ptk"), path("hard.ptk")).unwrap();
    let mut names = vec!["a.ptk", "hard.ptk", "./a.ptk"];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("a.ptk", path("soft.ptk")).unwrap();
        names.push("soft.ptk");
    }
    for name in names {
        let result = check(&path(name), Kind::Tokens, &[&path("b.wav"), &path("a.ptk")], Replace::OwnKind);
        assert!(matches!(result, Err(OutputError::Same(_))), "{name}: {result:?}");
    }
}

#[test]
fn only_its_own_kind_is_replaced_and_not_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        (Kind::Tokens, "a.ptk", &b"\x89PTK\x01"[..]),
        (Kind::Wav, "a.wav", b"RIFF\0\0\0\0WAVEfmt "),
        (Kind::Flac, "a.flac", b"fLaC\x80\0\0\x22"),
        (Kind::Opus, "a.opus", b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead"),
        (Kind::Npz, "a.npz", b"PK\x03\x04"),
        (Kind::Json, "a.jsonl", b"{\"a\": 1}\n"),
        (Kind::Csv, "a.csv", b"a,b\n1,2\n"),
    ];
    for (kind, name, head) in kinds {
        let path = folder.path().join(name);
        let allowed = |replace| check(&path, kind, &[], replace);
        assert_eq!(allowed(Replace::No), Ok(()), "nothing is there");
        fs::write(&path, b"").unwrap();
        assert_eq!(allowed(Replace::No), Ok(()), "an empty file holds nothing");
        fs::write(&path, head).unwrap();
        assert_eq!(allowed(Replace::No), Err(OutputError::There(path.clone())));
        assert_eq!(allowed(Replace::OwnKind), Ok(()), "{kind}");
        for (other, _, head) in kinds.iter().filter(|(other, ..)| *other != kind) {
            fs::write(&path, head).unwrap();
            assert!(matches!(allowed(Replace::OwnKind), Err(OutputError::Other { .. })), "{other} replaced by {kind}");
            assert!(matches!(check(&path, *other, &[], Replace::OwnKind), Err(OutputError::Suffix { .. })), "{other}");
        }
    }
}

#[test]
fn suffixes_say_what_sound_is_written_as() {
    let of = |name: &str| Kind::of_sound(name.as_ref());
    for (name, kind) in [
        ("a.wav", Kind::Wav),
        ("a.WAVE", Kind::Wav),
        ("a.FLAC", Kind::Flac),
        ("a.opus", Kind::Opus),
        ("a.ogg", Kind::Opus),
        ("a", Kind::Wav),
        ("/dev/null", Kind::Wav),
    ] {
        assert_eq!(of(name), Ok(kind), "{name}");
    }
    for name in ["a.mp3", "a.m4a", "a.ptk", "a.txt", "a.wav.bak"] {
        let said = of(name).unwrap_err().to_string();
        assert!(said.contains(".wav, .flac, .opus or .ogg") && said.contains(name), "{said}");
    }
}
