//! Sound files of every kind that comes in, good and bad.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    fs,
    io::{Cursor, Read, Write},
    path::{Path, PathBuf},
    sync::mpsc,
};

use parlod::audio::{AudioError, AudioReader, Format, WavWriter};
use proptest::prelude::*;
use support::{clip, purity, tone};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read_all(mut reader: AudioReader) -> Result<(Format, Vec<f32>), AudioError> {
    let (mut buffer, mut samples) = (vec![0.0; 1000], Vec::new());
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((reader.format(), samples)),
            count => samples.extend_from_slice(&buffer[..count]),
        }
    }
}

fn open(path: &Path) -> Result<(Format, Vec<f32>), AudioError> {
    AudioReader::open(path).and_then(read_all)
}

fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<(Format, Vec<f32>), AudioError> {
    AudioReader::from_stream(Cursor::new(bytes.into()), "standard input").and_then(read_all)
}

/// A WAV file in memory.
fn wav(spec: hound::WavSpec, samples: &[f32]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for &sample in samples {
        match spec.sample_format {
            hound::SampleFormat::Float => writer.write_sample(sample).unwrap(),
            hound::SampleFormat::Int => {
                writer.write_sample((sample * ((1_i64 << (spec.bits_per_sample - 1)) - 1) as f32) as i32).unwrap();
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn spec(channels: u16, rate: u32, bits: u16) -> hound::WavSpec {
    let sample_format = if bits == 32 { hound::SampleFormat::Float } else { hound::SampleFormat::Int };
    hound::WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format }
}

/// Highest correlation of two signals within a few samples' shift.
fn likeness(a: &[f32], b: &[f32]) -> f64 {
    let at = |shift: usize| {
        let n = a.len().min(b.len() - shift);
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (x, y) in a[..n].iter().zip(&b[shift..]) {
            ab += f64::from(x * y);
            aa += f64::from(x * x);
            bb += f64::from(y * y);
        }
        ab / (aa * bb).sqrt()
    };
    (0..50).map(at).fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn every_kind_of_file_comes_in_with_its_length_and_its_sound() {
    let (format, original) = open(&clip()).unwrap();
    assert_eq!((format, original.len()), (Format { rate: 24_000, channels: 1 }, 162_958));
    for (name, rate) in [("speech.mp3", 24_000), ("speech.ogg", 24_000), ("speech.opus", 48_000)] {
        for (way, result) in
            [("as a file", open(&fixture(name))), ("as a stream", from_bytes(fs::read(fixture(name)).unwrap()))]
        {
            let (format, samples) = result.unwrap();
            assert_eq!(format, Format { rate, channels: 1 }, "{name} {way}");
            let seconds = samples.len() as f64 / f64::from(rate);
            assert!((0.99..1.06).contains(&seconds), "{name} {way}: {seconds} s");
            let samples: Vec<f32> = samples.iter().copied().step_by(rate as usize / 24_000).collect();
            let found = likeness(&original[..20_000], &samples).max(likeness(&samples[..20_000], &original));
            assert!(found > 0.9, "{name} {way}: likeness {found}");
        }
    }
}

#[test]
fn any_rate_any_channels_any_sample_format() {
    for channels in [1, 2, 3, 8] {
        for rate in [8_000, 11_025, 44_100, 192_000] {
            for bits in [8, 16, 24, 32] {
                let mono = tone(440.0, rate, rate as usize / 4);
                let interleaved: Vec<f32> = mono.iter().flat_map(|&s| vec![s; usize::from(channels)]).collect();
                let (format, samples) = from_bytes(wav(spec(channels, rate, bits), &interleaved)).unwrap();
                assert_eq!(format, Format { rate, channels }, "{bits} bits");
                assert_eq!(samples.len(), interleaved.len());
                let first: Vec<f32> = samples.iter().copied().step_by(usize::from(channels)).collect();
                assert!(purity(&first, 440.0, rate) > 0.99, "{channels} channels, {rate} Hz, {bits} bits");
            }
        }
    }
}

#[test]
fn pipes_of_unknown_length_are_read_to_their_end() {
    let samples = tone(300.0, 16_000, 16_000);
    let mut bytes = wav(spec(1, 16_000, 16), &samples);
    // As ffmpeg and our own streams have it, and as sox does.
    for (riff, data) in [(u32::MAX, u32::MAX), (0x7FFF_FFFF, 0x7FFF_FFFF - 36)] {
        bytes[4..8].copy_from_slice(&riff.to_le_bytes());
        bytes[40..44].copy_from_slice(&data.to_le_bytes());
        assert_eq!(from_bytes(bytes.clone()).unwrap().1.len(), 16_000, "{data:#x}");
    }
}

/// A pipe whose bytes come when they are sent.
struct Pipe(mpsc::Receiver<Vec<u8>>, Vec<u8>);

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.recv().unwrap_or_default();
        }
        let count = out.len().min(self.1.len());
        out[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

#[test]
fn sound_comes_out_while_it_comes_in() {
    let bytes = wav(spec(1, 16_000, 16), &tone(300.0, 16_000, 32_000));
    let (send, receive) = mpsc::channel();
    struct Locked(std::sync::Mutex<Pipe>);
    impl Read for Locked {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0.get_mut().unwrap().read(out)
        }
    }
    send.send(bytes[..16_044].to_vec()).unwrap();
    let pipe = Locked(std::sync::Mutex::new(Pipe(receive, Vec::new())));
    let mut reader = AudioReader::from_stream(pipe, "a pipe").unwrap();
    // Half a second was sent, and nothing more is on its way: all but the last, incomplete packet must be there now.
    let mut buffer = vec![0.0; 1000];
    let mut heard = 0;
    while heard < 6_900 {
        heard += reader.read(&mut buffer).unwrap();
    }
    send.send(bytes[16_044..].to_vec()).unwrap();
    drop(send);
    while let count @ 1.. = reader.read(&mut buffer).unwrap() {
        heard += count;
    }
    assert_eq!(heard, 32_000);
}

#[test]
fn bad_files_get_a_sentence_each() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = wav(spec(1, 16_000, 16), &tone(300.0, 16_000, 16_000));
    let flac = fs::read(clip()).unwrap();
    let cases = [
        (file("empty.wav", b""), "is empty"),
        (file("zero.wav", &wav(spec(1, 16_000, 16), &[])), "not a single sample"),
        (file("noise.wav", &[0x5A; 5000]), "is not sound that can be read"),
        (file("text.mp3", b"this is not music"), "is not sound that can be read"),
        (file("header.wav", &whole[..20]), "is not sound that can be read"),
        (folder.path().to_owned(), "is a directory"),
        (folder.path().join("missing.wav"), "No such file"),
    ];
    for (path, part) in cases {
        let complaint = open(&path).expect_err(part).to_string();
        assert!(complaint.contains(part) && complaint.contains(&path.display().to_string()), "{complaint}");
        assert!(!complaint.contains('\n'), "{complaint}");
    }
    // A stream says the same, under its own name.
    let none = wav(spec(1, 16_000, 16), &[]);
    for (bytes, part) in [(&b""[..], "is empty"), (&none, "single sample"), (&[0x5A; 5000][..], "is not sound")] {
        let complaint = from_bytes(bytes).unwrap_err().to_string();
        assert!(complaint.contains(part) && complaint.contains("standard input"), "{complaint}");
    }
    // What comes before a break is given, and the break is told.
    for (path, least) in [(file("cut.wav", &whole[..16_044]), 8_000), (file("cut.flac", &flac[..60_000]), 20_000)] {
        let mut reader = AudioReader::open(&path).unwrap();
        let (mut buffer, mut heard) = ([0.0; 500], 0);
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            heard += count;
        }
        assert!(heard >= least, "{heard}");
        let told: Vec<String> = reader.faults().sentences().collect();
        assert!(told.last().unwrap().contains("it breaks off; its header promises"), "{told:?}");
    }
}

#[test]
fn what_is_no_number_passes_through_to_be_mended() {
    let samples = [0.1, f32::NAN, f32::INFINITY, -0.5, 2.5];
    let (_, back) = from_bytes(wav(spec(1, 16_000, 32), &samples)).unwrap();
    assert!(back[1].is_nan() && back[2].is_infinite());
    assert_eq!((back[0], back[3], back[4]), (0.1, -0.5, 2.5));
}

#[test]
fn wav_files_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.wav");
    let format = Format { rate: 24_000, channels: 2 };
    let mut writer = WavWriter::create(&path, format).unwrap();
    writer.write(&[0.5, -0.5, 1.0, -1.0, 7.0, f32::NAN]).unwrap();
    assert_eq!(writer.frames(), 3);
    assert!(!path.exists());
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of an unfinished file");

    fs::write(&path, b"an older file").unwrap();
    let mut writer = WavWriter::create(&path, format).unwrap();
    writer.write(&[0.5, -0.5, 1.0, -1.0, 7.0, f32::NAN]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"an older file");
    writer.finish().unwrap();
    let mut reader = hound::WavReader::open(&path).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate, reader.duration()), (2, 24_000, 3));
    let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
    assert_eq!(samples, [16_384, -16_384, 32_767, -32_768, 32_767, 0]);

    let error = WavWriter::create(&folder.path().join("no/folder.wav"), format).unwrap_err().to_string();
    assert!(error.contains("no/folder.wav") && error.contains("cannot write"), "{error}");
    assert!(WavWriter::create(folder.path(), format).is_err());
}

#[test]
#[cfg(unix)]
fn links_are_followed_modes_kept_and_devices_left_in_place() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let format = Format { rate: 16_000, channels: 1 };
    fs::create_dir(path("there")).unwrap();
    fs::write(path("there/real.wav"), b"older").unwrap();
    fs::set_permissions(path("there/real.wav"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("there/real.wav", path("link.wav")).unwrap();
    let mut writer = WavWriter::create(&path("link.wav"), format).unwrap();
    writer.write(&[0.1; 16]).unwrap();
    writer.finish().unwrap();
    assert!(fs::symlink_metadata(path("link.wav")).unwrap().is_symlink());
    assert_eq!(open(&path("there/real.wav")).unwrap().1.len(), 16);
    assert_eq!(fs::metadata(path("there/real.wav")).unwrap().permissions().mode() & 0o777, 0o600);

    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    let reader = std::thread::spawn({
        let pipe = path("pipe");
        move || fs::read(pipe).unwrap().len()
    });
    let mut writer = WavWriter::create(&path("pipe"), format).unwrap();
    writer.write(&[0.1; 16]).unwrap();
    writer.finish().unwrap();
    assert_eq!(reader.join().unwrap(), 44 + 32);
    assert!(fs::symlink_metadata(path("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn a_damaged_frame_is_a_gap_and_not_the_end() {
    let mut bytes = fs::read(clip()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut reader = AudioReader::from_stream(Cursor::new(bytes), "standard input").unwrap();
    let (mut buffer, mut heard) = (vec![0.0; 4096], 0);
    while let count @ 1.. = reader.read(&mut buffer).unwrap() {
        heard += count;
    }
    assert_eq!((heard, reader.faults().is_empty()), (162_958, false), "the rest keeps its time");
}

#[test]
fn wav_streams_are_passed_on_at_once_and_can_be_read_back() {
    let (send, receive) = mpsc::channel();
    struct Sender(mpsc::Sender<Vec<u8>>);
    impl Write for Sender {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = WavWriter::stream(Sender(send), "a pipe", Format { rate: 16_000, channels: 1 }).unwrap();
    let mut bytes: Vec<u8> = receive.try_iter().flatten().collect();
    assert_eq!(bytes.len(), 44);
    writer.write(&[0.25; 160]).unwrap();
    bytes.extend(receive.try_iter().flatten());
    assert_eq!(bytes.len(), 44 + 320, "written through, not held back");
    writer.finish().unwrap();
    let (format, samples) = from_bytes(bytes).unwrap();
    assert_eq!((format.rate, samples), (16_000, vec![0.25; 160]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_sound_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = from_bytes(bytes);
    }

    #[test]
    fn damaged_files_are_sound_or_an_error(
        which in 0..5_usize, at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20), cut: prop::sample::Index,
    ) {
        let mut bytes = match which {
            0 => wav(spec(2, 16_000, 16), &tone(300.0, 16_000, 2_000)),
            1 => fs::read(clip()).unwrap()[..8_000].to_vec(),
            2 => fs::read(fixture("speech.mp3")).unwrap(),
            3 => fs::read(fixture("speech.ogg")).unwrap(),
            _ => fs::read(fixture("speech.opus")).unwrap(),
        };
        for (index, byte) in at {
            // Headers are where parsers go wrong.
            let index = index.index(bytes.len()) % 600;
            if index < bytes.len() {
                bytes[index] = byte;
            }
        }
        let keep = bytes.len() - cut.index(bytes.len()) / 4;
        bytes.truncate(keep);
        let _ = from_bytes(bytes);
    }
}
