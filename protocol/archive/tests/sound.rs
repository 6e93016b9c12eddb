//! Sound of whole files, a piece at a time: the same from anywhere, and never more than a piece of it in memory.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{fs, io::Cursor, path::Path, process::Command};

use parlo_archive::{
    Archive, ArchiveError, Coder, Coding, Mark, Side, Sound, TimedFrame, WAV_HEADER_BYTES, Wav, coder,
};
use parlo_model::{Bundle, EncoderConfig, Runtime, decode_recording, encode_recording, locate_bundle};
use parlo_protocol::ptk::{Header, Run, Stream, Tokens, Writer};
use parlo_tokens::{ComfortNoise, TokenFrame};

const RATE: usize = 16_000;
/// Samples that what was said comes late.
fn delay(bundle: &Bundle) -> u64 {
    bundle.manifest().audio.delay_samples as u64
}

/// What the child of a test plays.
const PLAYS: &str = "PARLO_TEST_PLAYS";

fn codec() -> (Runtime, Bundle) {
    (Runtime::load(None).unwrap(), Bundle::open(&locate_bundle(None).unwrap()).unwrap())
}

fn header(bundle: &Bundle, streams: &[&str]) -> Header {
    let tokens = Tokens {
        id: bundle.tokens().prefix(),
        bundle_name: "parlo-16k".into(),
        sample_rate: 16_000,
        frame_samples: 320,
        depth: 6,
        coding: Coding::Plain,
    };
    let streams = (0..).zip(streams).map(|(id, &name)| Stream { id, name: name.into() }).collect();
    Header { tokens, created_ms: Some(0), streams, metadata: Vec::new() }
}

/// A voice that changes its pitch, so that no second is like another.
fn speech(bundle: &Bundle, runtime: &Runtime, seconds: usize) -> Vec<TokenFrame> {
    let mut phase = 0.0_f32;
    let samples: Vec<f32> = (0..seconds * RATE)
        .map(|n| {
            let t = n as f32 / RATE as f32;
            phase += (120.0 + 40.0 * (1.7 * t).sin()) / RATE as f32;
            let gate = if (2.3 * t).fract() < 0.7 { 1.0 } else { 0.05 };
            0.15 * gate * (1..=12).map(|h| (std::f32::consts::TAU * phase * h as f32).sin() / h as f32).sum::<f32>()
        })
        .collect();
    encode_recording(runtime, bundle, EncoderConfig { depth: 6, ..EncoderConfig::default() }, &samples).unwrap()
}

/// A file of blocks: stream, time, frames.
fn file(bundle: &Bundle, streams: &[&str], blocks: &[(u8, u32, Vec<TimedFrame>)]) -> Vec<u8> {
    let (mut bytes, mut payloads) = (Vec::new(), Vec::new());
    let mut coder = Coder::plain(*bundle.layout());
    let mut writer = Writer::begin(&header(bundle, streams), &mut bytes).unwrap();
    for (stream, time_ms, frames) in blocks {
        let runs = coder.runs(frames, &mut payloads).unwrap();
        writer.block(*stream, *time_ms, &runs, &mut bytes).unwrap();
    }
    writer.end(None, &mut bytes);
    bytes
}

/// A file of one run a block, without codes: stream, time, mark, how many.
fn runs(bundle: &Bundle, streams: &[&str], blocks: impl IntoIterator<Item = (u8, u32, Mark, usize)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&header(bundle, streams), &mut bytes).unwrap();
    for (stream, time_ms, mark, count) in blocks {
        let noise = (mark == Mark::Silent).then(|| ComfortNoise::new(60, [127; 8]));
        writer.block(stream, time_ms, &[Run { mark, count, codes: None, noise }], &mut bytes).unwrap();
    }
    writer.end(None, &mut bytes);
    bytes
}

fn spoken(tokens: &[TokenFrame]) -> Vec<TimedFrame> {
    tokens.iter().map(|&codes| TimedFrame { time_ms: 0.0, mark: Mark::Real, codes: Some(codes), noise: None }).collect()
}

fn quiet(count: usize) -> Vec<TimedFrame> {
    let noise = Some(ComfortNoise::new(60, [127; 8]));
    vec![TimedFrame { time_ms: 0.0, mark: Mark::Silent, codes: None, noise }; count]
}

fn open(bytes: &[u8], side: Side, codec: &(Runtime, Bundle)) -> Result<Sound<Cursor<Vec<u8>>>, ArchiveError> {
    Sound::open(Archive::open(Cursor::new(bytes.to_vec())).unwrap(), side, false, &codec.0, &codec.1)
}

fn all(sound: &mut Sound<Cursor<Vec<u8>>>) -> Vec<i16> {
    let mut samples = Vec::new();
    loop {
        let piece = sound.read().unwrap();
        if piece.is_empty() {
            return samples;
        }
        assert!(piece.len() <= 30 * RATE, "no more than a piece at a time");
        samples.extend_from_slice(piece);
    }
}

/// Two sides that speak across the seams at 30 and 60 s, with pauses between.
fn call(codec: &(Runtime, Bundle)) -> Vec<u8> {
    let tokens = spoken(&speech(&codec.1, &codec.0, 6));
    let mut blocks = Vec::new();
    for at in (0..64_u32).step_by(2) {
        for stream in [0, 1] {
            let from = (at as usize * 17 + usize::from(stream) * 40) % 200;
            let speaks = (26..34).contains(&at) || (58..62).contains(&at);
            // The clock is off the grid, and one side lags a little more with every block.
            let time = at * 1000 + 7 + u32::from(stream) * (3 + at / 2);
            blocks.push((stream, time, if speaks { tokens[from..from + 100].to_vec() } else { quiet(100) }));
        }
    }
    file(&codec.1, &["said", "heard"], &blocks)
}

#[test]
fn a_sample_is_the_same_from_wherever_it_is_read() {
    let codec = codec();
    let bytes = call(&codec);
    for side in [Side::Said, Side::Heard, Side::Both] {
        let mut sound = open(&bytes, side, &codec).unwrap();
        let whole = all(&mut sound);
        assert_eq!(whole.len() as u64, sound.samples());
        assert!((whole.len() as f64 / RATE as f64 - 64.0).abs() < 0.1, "{}", whole.len());
        let seam = 30 * RATE;
        // Forwards, backwards, and each alone: around the seam, and where what is faded ends.
        let places = [0, 1, seam - 1, seam, seam + 161, seam + 9_599, seam + 9_600, 45 * RATE, 2 * seam + 10, seam, 1];
        let some = if side == Side::Both { &places[..] } else { &places[3..5] };
        for &at in some {
            sound.seek(at as u64);
            let piece = sound.read().unwrap();
            assert!(!piece.is_empty() && whole[at..].starts_with(piece), "{side:?} from {at}");
        }
        let mut fresh = open(&bytes, side, &codec).unwrap();
        fresh.seek(seam as u64 + 5);
        assert!(whole[seam + 5..].starts_with(fresh.read().unwrap()));
        fresh.seek(u64::MAX);
        assert!(fresh.read().unwrap().is_empty());
    }
}

#[test]
fn a_wav_file_is_the_same_bytes_from_anywhere() {
    let codec = codec();
    let bytes = call(&codec);
    let wav = || Wav::new(open(&bytes, Side::Both, &codec).unwrap());
    let mut whole = Vec::new();
    let mut file = wav();
    while (whole.len() as u64) < file.bytes() {
        file.read(&mut whole).unwrap();
    }
    file.read(&mut whole).unwrap();
    assert_eq!(whole.len() as u64, file.bytes());
    let mut reader = hound::WavReader::new(&whole[..]).unwrap();
    let spec = reader.spec();
    assert_eq!((spec.sample_rate, spec.channels, spec.bits_per_sample), (16_000, 1, 16));
    assert!(reader.samples::<i16>().map(Result::unwrap).eq(all(&mut open(&bytes, Side::Both, &codec).unwrap())));
    for at in [
        0,
        3,
        WAV_HEADER_BYTES - 1,
        WAV_HEADER_BYTES,
        WAV_HEADER_BYTES + 1,
        WAV_HEADER_BYTES + 60 * RATE + 7,
        whole.len() - 1,
    ] {
        let mut file = wav();
        file.seek(at as u64);
        let mut piece = Vec::new();
        file.read(&mut piece).unwrap();
        assert!(!piece.is_empty() && whole[at..].starts_with(&piece), "from {at}");
    }
}

#[test]
fn a_seam_is_not_heard() {
    let codec = codec();
    let tokens = speech(&codec.1, &codec.0, 34);
    let blocks: Vec<_> = (0..).zip(tokens.chunks(100)).map(|(n, part)| (0, n * 2000, spoken(part))).collect();
    let played = all(&mut open(&file(&codec.1, &["audio"], &blocks), Side::Both, &codec).unwrap());
    let expected = decode_recording(&codec.0, &codec.1, &tokens).unwrap();
    assert!(played.len().abs_diff(expected.len()) <= 1);
    let expected: Vec<f64> = expected.iter().map(|&sample| f64::from(sample)).collect();
    let played: Vec<f64> = played.iter().map(|&sample| f64::from(sample) / 32768.0).collect();
    let seam = 30 * RATE;
    // Before it, it is the very sound, in 16 bits.
    let off = (0..seam).map(|n| (played[n] - expected[n]).abs()).fold(0.0, f64::max);
    assert!(off < 1e-3, "{off}");
    // Behind it, it is as loud, everywhere, as if there were none: no gap, no echo.
    let power =
        // Below -35 dBFS, in pauses, it is what the decoder draws that decides.
        |sound: &[f64]| 10.0 * (sound.iter().map(|s| s * s).sum::<f64>() / sound.len() as f64).max(3e-4).log10();
    for at in (seam..33 * RATE).step_by(400) {
        let (found, wanted) = (power(&played[at..at + 800]), power(&expected[at..at + 800]));
        assert!((found - wanted).abs() < 6.0, "{found} dB and not {wanted} at {}", at as f64 / RATE as f64);
    }
    // And no click: no sample jumps farther than samples of this voice do.
    let jump = |sound: &[f64]| sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
    assert!(jump(&played[seam..31 * RATE]) < 1.5 * jump(&expected[seam..31 * RATE]));
}

#[test]
fn holes_and_lengths_are_bounded_and_told() {
    let codec = codec();
    let bundle = &codec.1;
    let hour = 3_600_000;
    let refused = |bytes: &[u8]| open(bytes, Side::Both, &codec).unwrap_err().to_string();
    // Ninety bytes that want gigabytes.
    let bomb = runs(bundle, &["said", "heard"], [(0, 134_000_000, Mark::Waiting, 1)]);
    assert!(bomb.len() < 120, "{}", bomb.len());
    let said = refused(&bomb);
    assert!(said.contains("nothing from 0.0 s to 134000.0 s") && said.contains("4 hours"), "{said}");
    // In the middle, and of either stream.
    let middle = runs(bundle, &["said", "heard"], [(0, 0, Mark::Waiting, 50), (1, 5 * hour, Mark::Waiting, 50)]);
    assert!(refused(&middle).contains("nothing from 1.0 s to 18000.0 s"));
    // A call that was held for some hours is played: while one side has nothing, the other may.
    let held = runs(
        bundle,
        &["said", "heard"],
        [(0, 0, Mark::Waiting, 50), (1, 3 * hour, Mark::Silent, 50), (0, 6 * hour, Mark::Waiting, 1)],
    );
    let mut sound = open(&held, Side::Both, &codec).unwrap();
    assert_eq!(sound.samples(), 16 * (6 * u64::from(hour) + 20) - delay(&codec.1));
    sound.seek(16 * 3 * u64::from(hour) - 100);
    // Nothing, up to where it goes on.
    assert!(sound.read().unwrap() == [0; 100]);
    assert!(sound.read().unwrap()[100..].iter().any(|&sample| sample != 0));
    // Two days of it, said in some hundred kB.
    let days = runs(bundle, &["said"], (0..17_280).map(|n| (0, n * 10_000, Mark::Waiting, 500)));
    let said = refused(&days);
    assert!(days.len() < 1_000_000, "{}", days.len());
    assert!(said.contains("holds 47 hours") && said.contains("4 GiB"), "{said}");
    // Frames on top of each other last no longer than their clock.
    let overlap = runs(bundle, &["said"], (0..100).map(|_| (0, 0, Mark::Silent, 500)));
    assert_eq!(all(&mut open(&overlap, Side::Both, &codec).unwrap()).len(), 160_000 - delay(&codec.1) as usize);
}

#[test]
fn a_model_that_is_not_the_files_is_named() {
    let codec = codec();
    let mut other = header(&codec.1, &["said"]);
    other.tokens.id = parlo_tokens::TokensPrefix::from_bytes([9; 16]);
    let mut bytes = Vec::new();
    Writer::begin(&other, &mut bytes).unwrap().end(None, &mut bytes);
    assert!(matches!(open(&bytes, Side::Both, &codec), Err(ArchiveError::OtherModel { .. })));
    assert!(coder(&codec.1, Coding::Plain).is_ok());
}

/// Files of a day and bombs, each with a name.
fn heavy(bundle: &Bundle) -> Vec<(&'static str, Vec<u8>)> {
    let names: Vec<String> = (0..255).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let day = 8_640;
    vec![
        (
            "day",
            runs(bundle, &["said", "heard"], (0..day).flat_map(|n| [0, 1].map(|s| (s, n * 10_000, Mark::Silent, 500)))),
        ),
        ("waiting", runs(bundle, &["said"], (0..12_000).map(|n| (0, n * 10_000, Mark::Waiting, 500)))),
        ("predicted", runs(bundle, &["heard"], (0..400).map(|n| (0, n * 10_000, Mark::Predicted, 500)))),
        ("overlap", runs(bundle, &["said"], (0..20_000).map(|_| (0, 0, Mark::Silent, 500)))),
        ("streams", runs(bundle, &names, (0..255).map(|s| (s, 3_000_000, Mark::Silent, 1)))),
        // A point of an index would be kept for each minute and stream.
        ("points", runs(bundle, &names, (0..60_000).map(|n| ((n % 255) as u8, n * 60_000, Mark::Waiting, 1)))),
        ("late", runs(bundle, &["said"], [(0, u32::MAX - 30, Mark::Waiting, 1)])),
    ]
}

/// Not a test, but what [`a_day_and_every_bomb_stay_under_64_mib`] runs: plays a file here and there, and says by how many KiB the
/// process grew at most.
#[test]
#[ignore = "run by another test"]
fn a_program_that_plays() {
    let Ok(path) = std::env::var(PLAYS) else { return };
    let codec = codec();
    let play = |path: &Path, step: u64| {
        let archive = Archive::open(fs::File::open(path).unwrap()).unwrap();
        // What is refused was looked at too.
        let Ok(mut sound) = Sound::open(archive, Side::Both, true, &codec.0, &codec.1) else { return };
        let mut at = 0;
        while at < sound.samples() {
            sound.seek(at);
            sound.read().unwrap();
            at += step;
        }
    };
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        line.strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    let before = peak();
    play(Path::new(&path), 1200 * RATE as u64);
    println!("\ngrew {}", peak().saturating_sub(before));
}

#[cfg(target_os = "linux")]
#[test]
fn a_day_and_every_bomb_stay_under_64_mib() {
    let (_, bundle) = codec();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in heavy(&bundle) {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["a_program_that_plays", "--exact", "--ignored", "--nocapture"])
            .env(PLAYS, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        let grew = said.lines().find_map(|line| line.strip_prefix("grew ")).unwrap_or_else(|| panic!("{name}: {said}"));
        let grew: u64 = grew.parse().unwrap();
        assert!(grew < 64 << 10, "{name} ({} bytes) grew by {grew} KiB", bytes.len());
    }
}
