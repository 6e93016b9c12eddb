//! Recordings are decoded by a process of their own, which is held.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{fs, path::Path, process::Command};

use parlo_archive::{Options, Side, Writer};
use parlo_model::{Bundle, Encoder, EncoderConfig, Runtime, locate_bundle};
use parlod::{
    audio::AudioReader,
    recordings::{Player, RecordingError, Recordings, Source},
};
use tempfile::TempDir;

struct Here {
    folder: TempDir,
    runtime: Runtime,
    bundle: Bundle,
}

impl Here {
    /// With the tokens of a clip as a recording of the name `talk`.
    fn new() -> Self {
        let runtime = Runtime::load(None).unwrap();
        let bundle = Bundle::open(&locate_bundle(None).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = EncoderConfig::usual(&bundle);
        let mut encoder = Encoder::new(&runtime, &bundle, config).unwrap();
        let mut clip = AudioReader::open(&support::clip()).unwrap();
        let (mut samples, mut tokens) = (vec![0.0; 16_000 * 4], Vec::new());
        let count = clip.read(&mut samples).unwrap();
        samples.truncate(count);
        encoder.push_many(&samples[..count / 320 * 320], &mut tokens).unwrap();
        let options = Options { depth: config.depth, ..Options::default() };
        let file = fs::File::create(folder.path().join("talk.ptk")).unwrap();
        let mut writer = Writer::begin(file, &bundle, &options).unwrap();
        tokens.iter().for_each(|frame| writer.push(frame).unwrap());
        writer.finish(None).unwrap();
        Self { folder, runtime, bundle }
    }

    fn player(&self) -> Player {
        Player {
            program: env!("CARGO_BIN_EXE_parlod").into(),
            library: self.runtime.library().to_owned(),
            bundles: vec![self.bundle.folder().to_owned()],
        }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn all(source: &mut dyn Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        source.read(&mut bytes).unwrap();
        if bytes.len() == before {
            return bytes;
        }
    }
}

fn refusal(player: &Player, file: &Path) -> String {
    match player.open("talk", file, Side::Both) {
        Err(error @ RecordingError::DecodeProcess(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_process_gives_the_same_bytes_and_is_held() {
    let here = Here::new();
    let recordings = Recordings::new(here.folder.path());
    let mut own = recordings.wav("talk", Side::Both, &here.runtime, &here.bundle).unwrap();
    let mut apart = here.player().open("talk", &here.file("talk.ptk"), Side::Both).unwrap();
    assert_eq!(apart.bytes(), own.bytes());
    let bytes = all(&mut *own);
    assert!(bytes.len() > 44 && all(&mut apart) == bytes);
    let middle = bytes.len() as u64 / 3;
    apart.seek(middle).unwrap();
    assert_eq!(all(&mut apart), bytes[middle as usize..]);

    // What it can reach: by what the kernel says of it, and by what it has open.
    let look = |what: &str| fs::read_to_string(format!("/proc/{}/{what}", apart.process())).unwrap();
    assert!(look("status").contains("\nSeccomp:\t2\n") && look("status").contains("\nNoNewPrivs:\t1\n"));
    let limits = look("limits");
    let memory = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
    assert_eq!(memory.split_whitespace().nth(3), Some("1073741824"));
    let open = fs::read_dir(format!("/proc/{}/fd", apart.process())).unwrap().flatten();
    let sockets = open
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|to| to.to_string_lossy().starts_with("socket:"));
    assert_eq!(sockets.count(), 0);

    // It ends with what asked for it.
    let process = apart.process();
    drop(apart);
    assert!(!Path::new(&format!("/proc/{process}")).exists());
}

#[test]
fn what_cannot_be_decoded_is_told_and_a_process_that_dies_is_an_error() {
    let here = Here::new();
    let player = here.player();
    fs::write(here.file("junk.ptk"), "\u{1b}]0;junk\u{7}").unwrap();
    let said = refusal(&player, &here.file("junk.ptk"));
    assert!(said.contains("junk.ptk") && !said.contains(char::is_control), "{said}");
    assert!(refusal(&player, &here.file("missing.ptk")).contains("missing.ptk"));
    assert!(refusal(&Player { bundles: Vec::new(), ..player.clone() }, &here.file("talk.ptk")).contains("parlod"));
    let nothing = Player { program: "/nonexistent/parlod".into(), ..player.clone() };
    assert!(refusal(&nothing, &here.file("talk.ptk")).contains("talk"));
    // One that answers what is no answer.
    let wrong = Player { program: "/bin/echo".into(), ..player.clone() };
    assert!(refusal(&wrong, &here.file("talk.ptk")).contains("could not be decoded"));

    let mut apart = player.open("talk", &here.file("talk.ptk"), Side::Both).unwrap();
    assert!(Command::new("kill").args(["-KILL", &apart.process().to_string()]).status().unwrap().success());
    let error = loop {
        match apart.read(&mut Vec::new()) {
            Err(error) => break error,
            Ok(()) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    };
    assert!(error.to_string().contains("could not be decoded"), "{error}");
}
