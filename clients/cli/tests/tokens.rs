//! Verbs for token files, as people use them: what is in one, parts of one, several as one, what is saved of a damaged one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use parlo_protocol::ptk::{Codes, Header, Item, Mark, Reader, Run, Stream, Writer};
use parlo_tokens::{ComfortNoise, TokensPrefix};
use serde_json::Value;
use tempfile::TempDir;

/// The clip that ships, encoded: 341 frames of 20 ms, 108639 samples.
static CLIP: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = Folder::new();
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/speech.flac");
    folder.works(&["encode", "--metadata", "speaker=ann", clip.to_str().unwrap(), "clip.ptk"]);
    fs::read(folder.path("clip.ptk")).unwrap()
});

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With the clip in it, and the clip three times as one file.
    fn with_clips() -> Self {
        let folder = Self::new();
        fs::write(folder.path("clip.ptk"), &*CLIP).unwrap();
        folder.works(&["cat", "clip.ptk", "clip.ptk", "clip.ptk", "--output", "three.ptk"]);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
        command.env("XDG_CONFIG_HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.0.path());
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// What a command prints that must work.
    fn works(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints that does what it can, and of which something is lost.
    fn incomplete(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The lines that a command says which must fail.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && !said.contains("panicked"), "{arguments:?} should fail: {said}");
        said
    }

    fn info(&self, name: &str) -> Value {
        serde_json::from_str(&self.works(&["info", "--json", name])).unwrap()
    }

    /// Each frame of a file: stream, time, mark, codes.
    fn frames(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.works(&[&["export", "--as", "jsonl"][..], arguments, &["-"]].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Where the blocks of a file begin.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut reader = Reader::new();
    reader.push(bytes);
    let mut places = Vec::new();
    while let Ok(Some(item)) = reader.next_item() {
        if let Item::Block(block) = item {
            places.push(block.place as usize);
        }
    }
    places
}

/// A recording of a call made of the clip's first and only block: what was said, and heard with losses.
fn recording() -> Vec<u8> {
    let mut reader = Reader::new();
    reader.push(&CLIP);
    let Some(Item::Header(header)) = reader.next_item().unwrap() else { panic!("a file begins with its header") };
    let Some(Item::Block(block)) = reader.next_item().unwrap() else { panic!("and goes on with a block") };
    let (count, codes) = (block.count, Codes { depth: 6, payload: block.whole().unwrap() });
    let stream = |id, name: &str| Stream { id, name: name.into() };
    let header =
        Header { created_ms: Some(1_800_000_000_000), streams: vec![stream(0, "said"), stream(1, "heard")], ..header };
    let run = |mark, count, codes| Run { mark, count, codes, noise: None };
    let silent = Run { noise: Some(ComfortNoise::new(60, [90; 8])), ..run(Mark::Silent, 40, None) };
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&header, &mut bytes).unwrap();
    writer.block(0, 0, &[run(Mark::Real, count, Some(codes))], &mut bytes).unwrap();
    let heard =
        [run(Mark::Waiting, 5, None), run(Mark::Real, count, Some(codes)), run(Mark::Predicted, 3, None), silent];
    writer.block(1, 70, &heard, &mut bytes).unwrap();
    writer.end(None, &mut bytes);
    bytes
}

#[test]
fn info_tells_what_is_in_a_file() {
    let folder = Folder::with_clips();
    let text = folder.works(&["info", "clip.ptk"]);
    for part in [
        "6.820 s",
        "parlo-16k",
        "16000 Hz, 20 ms",
        "6 codes",
        "entropy-coded",
        "108639",
        "ann",
        "whole; all checksums are right",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("Stream 0 \"audio\": 341 frames (341 real); 0 coarse or lost (0.0 %)"), "{text}");
    let info = folder.info("clip.ptk");
    assert_eq!(info["bytes"], CLIP.len());
    assert_eq!((&info["duration_s"], &info["depth"], &info["whole"]), (&6.82.into(), &6.into(), &true.into()));
    let books = info["streams"][0]["codebooks"].as_array().unwrap();
    let used: Vec<u64> = books.iter().filter_map(|book| book["codes"].as_u64()).filter(|&codes| codes > 0).collect();
    assert_eq!(used, [341; 6]);
    assert!(books[..6].iter().all(|book| (4.0..10.0).contains(&book["entropy_bits"].as_f64().unwrap())), "{books:?}");
    // What frames the codes is at most 64 bytes, the metadata aside.
    let metadata = 3 + "speakerann".len() as u64;
    assert!(info["bytes"].as_u64().unwrap() - info["payload_bytes"].as_u64().unwrap() <= 64 + metadata, "{info}");
}

#[test]
fn a_recordings_losses_are_told() {
    let folder = Folder::new();
    fs::write(folder.path("call.ptk"), recording()).unwrap();
    let text = folder.works(&["info", "call.ptk"]);
    assert!(
        text.contains(
            "Stream 1 \"heard\": 389 frames (5 waiting, 341 real, 3 predicted, 40 silent); 3 coarse or lost (0.8 %)"
        ),
        "{text}"
    );
    let info = folder.info("call.ptk");
    assert_eq!(info["created_ms"], 1_800_000_000_000_u64);
    assert_eq!(
        info["streams"][1]["marks"],
        serde_json::json!({"real": 341, "predicted": 3, "silent": 40, "waiting": 5})
    );
    let frames = folder.frames(&["call.ptk"]);
    let (said, heard) = frames.split_at(341);
    assert_eq!(
        (&heard[0]["mark"], &heard[0]["codes"], &heard[0]["time"]),
        (&"waiting".into(), &Value::Null, &0.07.into())
    );
    assert_eq!(said[7]["codes"], heard[5 + 7]["codes"]);
}

#[test]
fn what_is_cut_apart_and_joined_is_the_same() {
    let folder = Folder::with_clips();
    let all = folder.frames(&["clip.ptk"]);
    assert_eq!(all.len(), 341);
    folder.works(&["cut", "clip.ptk", "front.ptk", "--to", "2.5"]);
    folder.works(&["cut", "clip.ptk", "back.ptk", "--from", "2.5"]);
    let (front, back) = (folder.frames(&["front.ptk"]), folder.frames(&["back.ptk"]));
    // The decoder is late: the frames that it needs to play up to the cut are there twice.
    assert_eq!(back.len(), 341 - 125);
    assert!((125..130).contains(&front.len()));
    for (n, frame) in all.iter().enumerate() {
        let part = if n < front.len() { &front[n] } else { &back[n - 125] };
        assert_eq!(frame["codes"], part["codes"], "frame {n}");
    }
    assert_eq!(
        (folder.info("front.ptk")["samples"].as_u64(), folder.info("back.ptk")["samples"].as_u64()),
        (Some(40_000), Some(68_639))
    );
    // Of three in a row, any range is what it was; as text and as sound.
    let three = folder.info("three.ptk");
    assert_eq!((three["streams"][0]["frames"].as_u64(), three["blocks"].as_u64()), (Some(3 * 341), Some(3)));
    let second = folder.frames(&["--from", "6.82", "--to", "13.64", "three.ptk"]);
    let codes = |frames: &[Value]| frames.iter().map(|frame| frame["codes"].clone()).collect::<Vec<_>>();
    assert_eq!(codes(&second), codes(&all));
    let csv = folder.works(&["export", "--as", "csv", "clip.ptk", "-"]);
    let first: Vec<String> = all[0]["codes"].as_array().unwrap().iter().map(Value::to_string).collect();
    let lines: Vec<&str> = csv.lines().take(2).collect();
    assert_eq!(
        lines,
        [
            "stream,time,mark,code_1,code_2,code_3,code_4,code_5,code_6",
            &format!("audio,0.000000,real,{}", first.join(","))
        ]
    );
    for (verb, output) in [(&["export"][..], "exported.wav"), (&["decode"], "decoded.wav")] {
        folder.works(&[verb, &["--from", "1", "--to", "2.2", "three.ptk", output]].concat());
    }
    let sound = fs::read(folder.path("exported.wav")).unwrap();
    assert!(
        sound == fs::read(folder.path("decoded.wav")).unwrap() && sound.len() == 44 + 2 * 19_200,
        "{} bytes",
        sound.len()
    );
}

#[test]
fn damage_is_found_and_what_is_whole_is_saved() {
    let folder = Folder::with_clips();
    let bytes = fs::read(folder.path("three.ptk")).unwrap();
    assert!(folder.works(&["verify", "three.ptk", "clip.ptk"]).contains("three.ptk: whole, 00:20, 3 blocks"));
    let place = places(&bytes)[1];
    let mut damaged = bytes.clone();
    damaged[place + 500] ^= 4;
    fs::write(folder.path("bad.ptk"), &damaged).unwrap();
    let said = folder.fails(&["verify", "bad.ptk"]);
    assert!(
        said.contains("bad.ptk: it is damaged at byte") && said.contains("6.8 s in") && said.lines().count() == 1,
        "{said}"
    );
    let said = folder.fails(&["verify", "bad.ptk", "clip.ptk"]);
    assert!(said.contains("1 of 2 files are damaged; `parlo repair` saves what is whole"), "{said}");
    assert!(folder.works(&["info", "bad.ptk"]).contains("DAMAGED"));
    assert!(folder.fails(&["cut", "bad.ptk", "cut.ptk", "--to", "9"]).contains("--keep-going"));

    // Of one bit nothing is lost.
    let said = folder.works(&["repair", "bad.ptk", "--output", "saved.ptk"]);
    assert!(said.contains("(1023 frames") && said.contains("1 damaged blocks are again as they were"), "{said}");
    let all = folder.frames(&["three.ptk"]);
    assert_eq!(folder.frames(&["saved.ptk"]), all);
    // Of more than that, in places nobody knows, a block.
    (0..5).for_each(|n| damaged[place + 300 + 7 * n] ^= 0x5A);
    fs::write(folder.path("bad.ptk"), &damaged).unwrap();
    assert!(folder.fails(&["repair", "bad.ptk", "--output", "saved.ptk"]).contains("--force"));
    let said = folder.incomplete(&["repair", "bad.ptk", "--force", "--output", "saved.ptk"]);
    assert!(said.contains("saved 00:20 of speech (682 frames") && said.contains("6.8 s in (341 frames)"), "{said}");
    folder.works(&["verify", "saved.ptk"]);
    let saved = folder.frames(&["saved.ptk"]);
    for (saved, frame) in saved.iter().zip(all[..341].iter().chain(&all[682..])) {
        assert_eq!((&saved["codes"], &saved["time"]), (&frame["codes"], &frame["time"]));
    }

    // One that broke off, in its place; and then there is nothing to do.
    fs::write(folder.path("bad.ptk"), &bytes[..bytes.len() - 30]).unwrap();
    assert!(folder.fails(&["verify", "bad.ptk"]).contains("breaks off"));
    let broken = fs::read(folder.path("bad.ptk")).unwrap();
    let said = folder.incomplete(&["repair", "bad.ptk"]);
    assert!(said.contains("bad.damaged.ptk"), "{said}");
    assert_eq!(fs::read(folder.path("bad.damaged.ptk")).unwrap(), broken, "it stays beside what was saved");
    assert!(folder.works(&["repair", "bad.ptk"]).contains("bad.ptk is whole: nothing to repair"));
    // What lies before the break of the last block is the same whatever followed: nearly all of it.
    let saved = folder.frames(&["bad.ptk"]);
    assert!((1_000..1_023).contains(&saved.len()), "{}", saved.len());
    assert_eq!(saved, all[..saved.len()]);
    // A second one is kept too.
    fs::write(folder.path("bad.ptk"), &broken).unwrap();
    assert!(folder.incomplete(&["repair", "bad.ptk"]).contains("bad.damaged-2.ptk"));
    // A range that was written over with nothing: what lies before it in the block.
    let mut blank = bytes.clone();
    blank[place + 900..place + 1000].fill(0);
    fs::write(folder.path("blank.ptk"), &blank).unwrap();
    let said = folder.incomplete(&["repair", "blank.ptk"]);
    let saved = folder.frames(&["blank.ptk"]);
    assert!(said.contains("frames before it are saved") && saved.len() > 682 + 100, "{} {said}", saved.len());
    for frame in &saved {
        let at = (frame["time"].as_f64().unwrap() / 0.02).round() as usize;
        assert_eq!(frame["codes"], all[at]["codes"], "frame {at}");
    }
}

/// What the first model that shipped made of the clip, at depth 6. Later ones have other decoders for the same tokens.
#[test]
fn files_of_the_first_model_are_played_and_new_ones_are_for_it_too() {
    let first = include_bytes!("data/first-voice.ptk");
    let folder = Folder::new();
    fs::write(folder.path("first.ptk"), first).unwrap();
    folder.works(&["decode", "first.ptk", "first.wav"]);
    let sound = hound::WavReader::open(folder.path("first.wav")).unwrap();
    assert_eq!((sound.spec().sample_rate, sound.duration()), (16_000, 108_639));
    let samples = sound.into_samples::<i16>().map(|sample| f64::from(sample.unwrap()).powi(2));
    let level = (samples.sum::<f64>() / 108_639.0).sqrt();
    assert!((500.0..5000.0).contains(&level), "speech is heard: {level}");
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/speech.flac");
    folder.works(&["encode", clip.to_str().unwrap(), "again.ptk"]);
    // Byte by byte they need not be the same: another processor's floats may tip a near tie.
    let tokens = |name: &str| {
        let said = folder.works(&["info", name]);
        said.lines().find(|line| line.starts_with("tokens")).unwrap().to_owned()
    };
    assert_eq!(tokens("again.ptk"), tokens("first.ptk"));
}

#[test]
fn a_file_of_another_model_is_counted_but_not_decoded() {
    let folder = Folder::with_clips();
    let mut reader = Reader::new();
    reader.push(&CLIP);
    let Some(Item::Header(mut header)) = reader.next_item().unwrap() else { panic!("a file begins with its header") };
    header.tokens.id = TokensPrefix::from_bytes([0xAB; 16]);
    header.tokens.bundle_name = "other".into();
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&header, &mut bytes).unwrap();
    writer.whole(3, &[1, 2, 3], &mut bytes).unwrap();
    writer.end(Some(900), &mut bytes);
    fs::write(folder.path("other.ptk"), &bytes).unwrap();
    let info = folder.works(&["info", "other.ptk"]);
    assert!(info.contains("abababab") && info.contains("other") && info.contains("its model is not here"), "{info}");
    assert!(folder.works(&["verify", "other.ptk"]).contains("its codes were not decoded"));
    for arguments in [
        &["decode", "other.ptk", "x.wav"][..],
        &["export", "other.ptk", "x.csv"],
        &["cut", "other.ptk", "x.ptk", "--to", "0.03"],
    ] {
        let said = folder.fails(arguments);
        assert!(
            said.contains("other.ptk was made with the model other (abababab)") && said.contains("parlo-16k ("),
            "{said}"
        );
    }
    let said = folder.fails(&["cat", "clip.ptk", "other.ptk", "--output", "x.ptk"]);
    assert!(said.contains("cannot be joined") && said.contains("other (abababab)"), "{said}");
    assert!(!folder.path("x.ptk").exists() && !folder.path("x.csv").exists());
}
