//! What is heard in place of lost packets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::Path;

use parlo_dsp::Intake;
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, Runtime};
use parlo_score::estoi;
use parlo_test_support::formats;
use parlo_tokens::{Slot, TokenFrame};
use parlod::audio::AudioReader;
use support::clip;

/// The bundle that ships, without its entropy model: in format 1, as without it the tokens have another identity.
fn without_model(folder: &Path, bundle: &Bundle) -> Bundle {
    formats::first(bundle.folder(), folder);
    let mut manifest = formats::manifest(folder);
    manifest.remove("entropy").unwrap();
    formats::table(&mut manifest, "files").remove("entropy.safetensors").unwrap();
    formats::write(folder, &manifest);
    Bundle::open(folder).unwrap()
}

#[test]
fn what_the_model_expects_is_closer_than_the_last_frame_again() {
    let runtime = Runtime::load(None).unwrap();
    let bundle = Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bare = without_model(folder.path(), &bundle);
    assert!(bundle.entropy_model().unwrap().is_some() && bare.entropy_model().unwrap().is_none());

    let audio = &bundle.manifest().audio;
    let mut reader = AudioReader::open(&clip()).unwrap();
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig::default()).unwrap();
    let mut intake = Intake::new(reader.format().rate, 1, audio.sample_rate, audio.frame_samples).unwrap();
    let (mut buffer, mut tokens): (_, Vec<TokenFrame>) = (vec![0.0; 4096], Vec::new());
    while let count @ 1.. = reader.read(&mut buffer).unwrap() {
        intake.push(&buffer[..count], |frame| tokens.push(encoder.push(frame).unwrap()));
    }
    // Of every five packets of 60 ms one is lost.
    let lost = |number: usize| number / 3 % 5 == 3;
    let play = |bundle: &Bundle, loses: bool| -> Vec<f32> {
        let mut decoder = Decoder::new(&runtime, bundle).unwrap();
        let slots = tokens
            .iter()
            .enumerate()
            .map(|(number, frame)| if loses && lost(number) { Slot::Missing } else { Slot::Frame(*frame) });
        slots.flat_map(|slot| decoder.play(&slot).unwrap().to_vec()).collect()
    };
    let whole = play(&bundle, false);
    assert_eq!(whole, play(&bare, false), "without loss the model changes nothing");
    let score = |bundle| estoi(&whole, &play(bundle, true), audio.sample_rate).unwrap();
    let (expected, repeated) = (score(&bundle), score(&bare));
    println!("against the call without loss: ESTOI {expected:.3}, repeating {repeated:.3}");
    assert!(expected > repeated && expected > 0.75, "{expected} {repeated}");
}
