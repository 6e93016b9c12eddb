//! Bundles made of other projects' codecs: every kind of quantizer, graphs that speak codes, and whole recordings.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{fs, path::Path};

use parlo_model::{
    Bundle, Decoder, Encoder, EncoderConfig, FrameCoder, ModelError, PlainCoder, Runtime, WholeDecoder, WholeEncoder,
    decode_recording, encode_recording,
};
use parlo_test_support::foreign::{Books, Coded, Latents, Way, Weights};
use parlo_tokens::{Slot, TokenFrame};
use support::hum;

const RATE: u32 = 16_000;
const FRAME: usize = 240;
/// Not a whole number of frames.
const SAMPLES: usize = 40 * FRAME + 100;
const REASON: &str = "its convolutions look ahead";

fn runtime() -> Runtime {
    Runtime::load(None).unwrap()
}

fn made(write: impl FnOnce(&Path)) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let bundle = Bundle::open(folder.path()).unwrap();
    bundle.verify().unwrap();
    (folder, bundle)
}

fn latents(way: Way) -> Latents {
    Latents { rate: RATE, frame: FRAME, way, remembers: true, whole: None }
}

/// One of each kind, small.
fn ways() -> Vec<Latents> {
    vec![
        // WavTokenizer, Single-Codec.
        latents(Way::Residual { dimension: 6, sizes: vec![4096] }),
        latents(Way::Residual { dimension: 8, sizes: vec![64, 300, 16] }),
        // HiFi-Codec.
        latents(Way::Grouped { dimension: 8, groups: 2, sizes: vec![100, 64, 32, 90] }),
        // FocalCodec.
        latents(Way::Binary { dimension: 13 }),
        // SQCodec.
        latents(Way::Scalar { levels: vec![8, 5, 5, 5] }),
    ]
}

fn times(vector: &[f32], matrix: &[f32], columns: usize) -> Vec<f64> {
    (0..columns)
        .map(|c| vector.iter().zip(matrix.chunks(columns)).map(|(v, row)| f64::from(*v) * f64::from(row[c])).sum())
        .collect()
}

/// The nearest entry, and what it leaves.
fn nearest(books: &Books, book: usize, size: u32, left: &mut [f64]) -> u16 {
    let distance = |code: usize| -> f64 {
        books.entry(book, code).iter().zip(left.iter()).map(|(e, l)| (f64::from(*e) - l) * (f64::from(*e) - l)).sum()
    };
    let distances: Vec<f64> = (0..size as usize).map(distance).collect();
    let best = (0..distances.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap();
    left.iter_mut().zip(books.entry(book, best)).for_each(|(left, taken)| *left -= f64::from(*taken));
    best as u16
}

/// Codes of a latent, by the definitions.
fn codes(codec: &Latents, books: &Books, latent: &[f64]) -> Vec<u16> {
    match &codec.way {
        Way::Residual { sizes, .. } => {
            let mut left = latent.to_vec();
            sizes.iter().enumerate().map(|(book, &size)| nearest(books, book, size, &mut left)).collect()
        }
        Way::Grouped { groups, sizes, dimension } => {
            let mut parts: Vec<Vec<f64>> = latent.chunks(dimension / groups).map(<[f64]>::to_vec).collect();
            sizes.iter().enumerate().map(|(k, &size)| nearest(books, k, size, &mut parts[k % groups])).collect()
        }
        Way::Binary { .. } => vec![latent.iter().fold(0, |code, &value| 2 * code + u16::from(value > 0.0))],
        Way::Scalar { levels } => {
            let mut weight = 1;
            let digits = levels.iter().zip(latent).map(|(&levels, value)| {
                let half = (f64::from(levels) - 1.0) * 1.001 / 2.0;
                let offset = if levels % 2 == 1 { 0.0 } else { 0.5 };
                let bounded = (value + (offset / half).atanh()).tanh() * half - offset;
                let digit = bounded.round_ties_even() as i32 + (levels / 2) as i32;
                let part = digit * weight;
                weight *= levels as i32;
                part
            });
            vec![digits.sum::<i32>() as u16]
        }
    }
}

/// What codes stand for.
fn latent(codec: &Latents, books: &Books, codes: &[u16]) -> Vec<f32> {
    let dimension = codec.way.dimension();
    let mut latent = vec![0.0; dimension];
    match &codec.way {
        Way::Residual { .. } => {
            for (book, &code) in codes.iter().enumerate() {
                latent.iter_mut().zip(books.entry(book, code.into())).for_each(|(sum, value)| *sum += value);
            }
        }
        Way::Grouped { groups, .. } => {
            for (k, &code) in codes.iter().enumerate() {
                let part = &mut latent[k % groups * (dimension / groups)..][..dimension / groups];
                part.iter_mut().zip(books.entry(k, code.into())).for_each(|(sum, value)| *sum += value);
            }
        }
        Way::Binary { .. } => {
            for (i, value) in latent.iter_mut().enumerate() {
                let bit = codes[0] >> (dimension - 1 - i) & 1;
                *value = (f32::from(bit) * 2.0 - 1.0) / (dimension as f32).sqrt();
            }
        }
        Way::Scalar { levels } => {
            let mut code = u32::from(codes[0]);
            for (value, &levels) in latent.iter_mut().zip(levels) {
                let half = (levels / 2) as f32;
                *value = ((code % levels) as f32 - half) / half;
                code /= levels;
            }
        }
    }
    latent
}

/// All codes of a signal.
fn reference_codes(codec: &Latents, signal: &[f32]) -> Vec<Vec<u16>> {
    let (Weights { analysis, before, .. }, books) = (codec.weights(), codec.way.books());
    let mut old = vec![0.0; codec.frame];
    let frames = signal.chunks(codec.frame).map(|frame| {
        let mut frame = frame.to_vec();
        frame.resize(codec.frame, 0.0);
        let mut latent = times(&frame, &analysis, codec.way.dimension());
        if codec.remembers {
            let rest = times(&old, &before, codec.way.dimension());
            latent.iter_mut().zip(rest).for_each(|(sum, value)| *sum += value);
        }
        old = frame;
        codes(codec, &books, &latent)
    });
    frames.collect()
}

/// The audio of codes.
fn reference_audio(codec: &Latents, frames: &[TokenFrame]) -> Vec<f64> {
    let (Weights { synthesis, after, .. }, books) = (codec.weights(), codec.way.books());
    let mut tail = vec![0.0; codec.frame];
    let frames = frames.iter().flat_map(|frame| {
        let latent = latent(codec, &books, frame.codes());
        let mut audio = times(&latent, &synthesis, codec.frame);
        if codec.remembers {
            audio.iter_mut().zip(&tail).for_each(|(sum, value)| *sum += value);
            tail = times(&latent, &after, codec.frame);
        }
        audio
    });
    frames.collect()
}

fn near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 1e-4, "sample {n}: {found} and not {expected}");
    }
}

fn frames_of(codes: &[Vec<u16>], depth: usize) -> Vec<TokenFrame> {
    codes.iter().map(|codes| TokenFrame::new(&codes[..depth]).unwrap()).collect()
}

fn survives_plain_coding(bundle: &Bundle, frames: &[TokenFrame]) {
    let mut coder = PlainCoder::new(*bundle.layout());
    let (mut payload, mut back) = (Vec::new(), Vec::new());
    coder.encode(frames, &mut payload).unwrap();
    let depth = frames[0].depth();
    assert_eq!(payload.len(), coder.payload_bytes(frames.len(), depth));
    coder.decode(&payload, frames.len(), depth, &mut back).unwrap();
    assert_eq!(back, frames);
}

#[test]
fn every_kind_of_quantizer_finds_the_codes_and_the_audio_of_its_definition() {
    let signal = hum(SAMPLES, RATE);
    for codec in ways() {
        let (_folder, bundle) = made(|folder| codec.write(folder));
        let kind = bundle.manifest().quantizer.kind();
        let most = bundle.layout().depth();
        let codes = reference_codes(&codec, &signal);
        let distinct: std::collections::HashSet<_> = codes.iter().collect();
        assert!(distinct.len() > 10, "{kind}: the signal uses few codes: {}", distinct.len());
        for depth in 1..=most {
            // A beam of one is the definition's greedy walk.
            let config = EncoderConfig { depth, beam: 1 };
            let frames = encode_recording(&runtime(), &bundle, config, &signal).unwrap();
            assert_eq!(frames, frames_of(&codes, depth), "{kind} {depth}");
            let audio = decode_recording(&runtime(), &bundle, &frames).unwrap();
            near(&audio, &reference_audio(&codec, &frames));
            survives_plain_coding(&bundle, &frames);
        }
    }
}

#[test]
fn a_wide_beam_leaves_no_more_error_where_there_is_a_choice() {
    let signal = hum(SAMPLES, RATE);
    for codec in ways() {
        let (_folder, bundle) = made(|folder| codec.write(folder));
        let error = |beam| -> f32 {
            let config = EncoderConfig { beam, ..EncoderConfig::usual(&bundle) };
            let mut encoder = Encoder::new(&runtime(), &bundle, config).unwrap();
            let frames = signal.chunks_exact(FRAME).map(|frame| {
                encoder.push(frame).unwrap();
                encoder.quantization_error()
            });
            frames.sum()
        };
        let (one, eight) = (error(1), error(8));
        assert!(one > 0.0 && eight <= one * 1.0001, "{}: {one} {eight}", bundle.manifest().quantizer.kind());
    }
}

#[test]
fn graphs_that_speak_codes_are_heard_and_spoken_to() {
    let codec = Coded { rate: 24_000, frame: 320, books: 8, whole: None, fault: 0 };
    let (_folder, bundle) = made(|folder| codec.write(folder));
    let signal = hum(30 * codec.frame, codec.rate);
    let mut encoder = Encoder::new(&runtime(), &bundle, EncoderConfig { depth: 8, beam: 4 }).unwrap();
    let mut decoder = Decoder::new(&runtime(), &bundle).unwrap();
    let mut frames = Vec::new();
    for (n, frame) in signal.chunks(codec.frame).enumerate() {
        let depth = 1 + n % 8;
        encoder.set_depth(depth).unwrap();
        let tokens = encoder.push(frame).unwrap();
        // A prefix is the coarser version.
        assert_eq!(tokens.codes(), &codec.codes(frame)[..depth]);
        let expected: Vec<f64> = codec.samples(tokens.codes()).iter().map(|&sample| sample.into()).collect();
        near(decoder.push(&tokens).unwrap(), &expected);
        frames.push(TokenFrame::new(&codec.codes(frame)).unwrap());
    }
    survives_plain_coding(&bundle, &frames);
    let whole = encode_recording(&runtime(), &bundle, EncoderConfig { depth: 8, beam: 1 }, &signal).unwrap();
    assert_eq!(whole, frames);
    assert!(bundle.entropy_model().unwrap().is_none());
}

#[test]
fn what_is_missing_is_the_last_that_was_there_fading_within_200_ms() {
    // 40 ms: five frames.
    let codec = Coded { rate: 16_000, frame: 640, books: 8, whole: None, fault: 0 };
    let (_folder, bundle) = made(|folder| codec.write(folder));
    let mut decoder = Decoder::new(&runtime(), &bundle).unwrap();
    let tokens = TokenFrame::new(&[255; 8]).unwrap();
    assert!(decoder.play(&Slot::Missing).unwrap().iter().all(|&sample| sample == 0.0));
    decoder.play(&Slot::Frame(tokens)).unwrap();
    let heard: Vec<f32> = (0..7).flat_map(|_| decoder.conceal().unwrap().to_vec()).collect();
    for (n, sample) in heard.iter().enumerate() {
        let expected = (1.0 - (n + 1) as f32 / 3200.0).max(0.0);
        assert!((sample - expected).abs() < 1e-3, "{n}: {sample} and not {expected}");
    }
    // And back without a step.
    let back = decoder.push(&tokens).unwrap();
    assert!(back[0] < 0.01 && back[639] > 0.99);
}

#[test]
fn codes_that_there_are_not_are_an_error_of_the_graph() {
    for (fault, what) in [(1, "code 256"), (-300, "code -")] {
        let codec = Coded { rate: 16_000, frame: 160, books: 4, whole: None, fault };
        for whole in [None, Some(REASON)] {
            let (folder, bundle) = made(|folder| Coded { whole, ..codec }.write(folder));
            let full = EncoderConfig { depth: 1, beam: 1 };
            let error = encode_recording(&runtime(), &bundle, full, &[1.0; 160]).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, ModelError::Code { book: 0, size: 256, .. }), "{text}");
            let file = folder.path().join("encoder.onnx").display().to_string();
            assert!(text.contains(what) && text.contains(&file), "{text}");
        }
    }
}

#[test]
fn whole_recordings_are_what_streams_of_the_same_codec_are() {
    let signal = hum(SAMPLES, RATE);
    for codec in ways() {
        let stream = Latents { remembers: false, ..codec };
        let whole = Latents { whole: Some(REASON), ..stream.clone() };
        agree(|folder| stream.write(folder), |folder| whole.write(folder), &signal);
    }
    let stream = Coded { rate: RATE, frame: FRAME, books: 6, whole: None, fault: 0 };
    let whole = Coded { whole: Some(REASON), ..stream };
    agree(|folder| stream.write(folder), |folder| whole.write(folder), &signal);
}

fn agree(stream: impl FnOnce(&Path), whole: impl FnOnce(&Path), signal: &[f32]) {
    let ((_one, stream), (_other, whole)) = (made(stream), made(whole));
    assert_ne!(stream.id(), whole.id());
    let most = whole.layout().depth();
    for depth in 1..=most {
        let config = EncoderConfig { depth, beam: 4 };
        let expected = encode_recording(&runtime(), &stream, config, signal).unwrap();
        let frames = encode_recording(&runtime(), &whole, config, signal).unwrap();
        assert_eq!(frames, expected);
        let audio = decode_recording(&runtime(), &whole, &frames).unwrap();
        let expected = decode_recording(&runtime(), &stream, &frames).unwrap();
        near(&audio, &expected.iter().map(|&sample| sample.into()).collect::<Vec<f64>>());
    }
    let usual = EncoderConfig::usual(&whole);
    let (none, silence) = (encode_recording(&runtime(), &whole, usual, &[]).unwrap(), [0.0; FRAME + 1]);
    assert!(none.is_empty() && decode_recording(&runtime(), &whole, &[]).unwrap().is_empty());
    let mut encoder = WholeEncoder::new(&runtime(), &whole, usual).unwrap();
    assert_eq!(encoder.encode(&silence).unwrap().len(), 2, "silence fills up the last frame");
    assert!(matches!(encoder.encode(&[0.0, f32::NAN]), Err(ModelError::NotFinite(_))));

    // Where it would have to stream it is refused, with the reason; and the other way round.
    for error in [Encoder::new(&runtime(), &whole, usual).unwrap_err(), Decoder::new(&runtime(), &whole).unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains(REASON) && text.contains("whole recordings only"), "{text}");
    }
    assert!(matches!(WholeDecoder::new(&runtime(), &stream), Err(ModelError::Streams { .. })));
    assert!(matches!(WholeEncoder::new(&runtime(), &stream, usual), Err(ModelError::Streams { .. })));

    let mut decoder = WholeDecoder::new(&runtime(), &whole).unwrap();
    if most > 1 {
        let mixed = [TokenFrame::new(&[0]).unwrap(), TokenFrame::new(&[0, 0]).unwrap()];
        assert!(matches!(decoder.decode(&mixed), Err(ModelError::MixedDepths { first: 1, other: 2 })));
    }
    let foreign = TokenFrame::new(&[65535]).unwrap();
    assert!(matches!(decoder.decode(&[foreign]), Err(ModelError::Tokens { .. })));
}

#[test]
fn the_source_is_told() {
    let (_folder, bundle) = made(|folder| ways()[0].write(folder));
    assert_eq!(bundle.manifest().source["from"], "a test");
}

#[test]
fn manifests_that_contradict_themselves_are_refused_by_field() {
    type Write<'w> = &'w dyn Fn(&Path);
    let made = |way: Way| move |folder: &Path| latents(way.clone()).write(folder);
    let grouped = made(Way::Grouped { dimension: 8, groups: 2, sizes: vec![4; 4] });
    let scalar = made(Way::Scalar { levels: vec![8, 5, 5, 5] });
    let binary = made(Way::Binary { dimension: 13 });
    let coded = |whole: Option<&'static str>| {
        move |folder: &Path| Coded { rate: RATE, frame: FRAME, books: 4, whole, fault: 0 }.write(folder)
    };
    let (streams, whole) = (coded(None), coded(Some(REASON)));
    let refuse = |write: Write<'_>, from: &str, to: &str, parts: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let file = folder.path().join("manifest.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let result = Bundle::open(folder.path()).and_then(|bundle| {
            let config = EncoderConfig::usual(&bundle);
            match bundle.whole() {
                Some(_) => WholeEncoder::new(&runtime(), &bundle, config).map(drop)?,
                None => Encoder::new(&runtime(), &bundle, config).map(drop)?,
            }
            encode_recording(&runtime(), &bundle, config, &[0.0; 3 * FRAME]).map(drop)
        });
        let text = result.unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "\"{text}\" should name {parts:?}");
    };
    let cases: &[(Write<'_>, &str, &str, &[&str])] = &[
        (&grouped, "groups = 2", "groups = 3", &["quantizer.groups", "3", "divide"]),
        (&grouped, "groups = 2", "groups = 0", &["quantizer.groups"]),
        (&grouped, "sizes = [4, 4, 4, 4]", "sizes = [4, 4, 4]", &["quantizer.groups", "number of books, 3"]),
        (&scalar, "[8, 5, 5, 5]", "[8, 5, 5, 1]", &["quantizer.levels"]),
        (&scalar, "[8, 5, 5, 5]", "[8, 5, 5, 500]", &["quantizer.levels", "65536"]),
        (&scalar, "[8, 5, 5, 5]", "[8, 5, 5]", &["encoder.latent", "3"]),
        (&binary, "dimension = 13", "dimension = 17", &["quantizer.dimension", "16"]),
        (&binary, "dimension = 13", "dimension = 0", &["quantizer.dimension"]),
        (&binary, "latent =", "codes =", &["encoder.latent is missing", "binary-spherical"]),
        (&binary, "shape = [1, 1, 13]", "shape = [1, -1, 13]", &["encoder", "-1"]),
        (&streams, "codes =", "latent =", &["encoder.latent", "graph"]),
        (&streams, "in_use =", "depth_one_hot =", &["decoder.in_use is missing"]),
        (&streams, "shape = [1, 4]", "shape = [1, 5]", &["encoder.codes", "4"]),
        (&streams, "delay_samples = 0", "delay_samples = 0\nwhole = \"why\"", &["audio.whole", "-1"]),
        (&whole, REASON, " ", &["audio.whole", "reason"]),
        (&whole, "shape = [-1, 4]", "shape = [4, -1]", &["encoder.codes", "-1"]),
        (&whole, "shape = [-1, 4]", "shape = [1, 4]", &["encoder", "-1"]),
        (&whole, "frame_samples = 240", "frame_samples = 120", &["codes", "frames"]),
    ];
    for (write, from, to, parts) in cases {
        refuse(write, from, to, parts);
    }
}

#[test]
fn a_model_that_takes_recordings_at_once_takes_an_hour_at_most() {
    let codec = Coded { rate: RATE, frame: FRAME, books: 4, whole: Some(REASON), fault: 0 };
    let (_folder, bundle) = made(|folder| codec.write(folder));
    let most = 3_600 * RATE as usize / FRAME;
    let frame = TokenFrame::new(&[0; 4]).unwrap();
    let error = WholeDecoder::new(&runtime(), &bundle).unwrap().decode(&vec![frame; most + 1]).unwrap_err().to_string();
    assert!(error.contains(&format!("{most} frames (60 minutes)")), "{error}");
    let mut encoder =
        WholeEncoder::new(&runtime(), &bundle, EncoderConfig { depth: 4, ..EncoderConfig::default() }).unwrap();
    assert!(matches!(encoder.encode(&vec![0.0; most * FRAME + 1]), Err(ModelError::Long { .. })));
    bundle.takes(most).unwrap();
    // Of one that streams nothing is held.
    let (_folder, stream) = made(|folder| Coded { whole: None, ..codec.clone() }.write(folder));
    stream.takes(usize::MAX).unwrap();
}
