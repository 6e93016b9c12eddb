//! Encodes a WAV file as a token file, and decodes that into another WAV file, as `parlo encode` and `parlo decode` do:
//!
//!     cargo run --example encode -- talk.wav talk.ptk decoded.wav
//!
//! The model is that which `parlo` uses: what `PARLO_BUNDLE` names, else the bundle that ships. `cargo xtask setup` gets ONNX Runtime.

use std::{error::Error, fs::File, io::BufWriter, path::Path};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use parlo_archive::{Archive, Options, Writer};
use parlo_dsp::Intake;
use parlo_model::{Bundle, EncoderConfig, Runtime, decode_recording, encode_recording, locate_bundle};
use parlo_tokens::TokenFrame;

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: the first statement of `main`: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [wav, tokens, decoded] = &arguments[..] else { return Err("name a WAV file, a token file, a WAV file".into()) };
    run(Path::new(wav), Path::new(tokens), Path::new(decoded))
}

fn run(wav: &Path, tokens: &Path, decoded: &Path) -> Result<(), Box<dyn Error>> {
    let (runtime, bundle) = (Runtime::load(None)?, Bundle::open(&locate_bundle(None)?)?);
    encode(wav, tokens, &runtime, &bundle)?;
    decode(tokens, decoded, &runtime, &bundle)
}

/// Encodes a WAV file of 16-bit samples, of any rate and number of channels.
fn encode(from: &Path, to: &Path, runtime: &Runtime, bundle: &Bundle) -> Result<(), Box<dyn Error>> {
    let (mut wav, audio) = (WavReader::open(from)?, &bundle.manifest().audio);
    let (spec, count, mut samples) = (wav.spec(), u64::from(wav.duration()), Vec::<f32>::new());
    // To one channel, at the bundle's rate.
    let mut intake = Intake::new(spec.sample_rate, spec.channels, audio.sample_rate, audio.frame_samples)?;
    let interleaved = wav.samples::<i16>().map(|sample| sample.map(|sample| f32::from(sample) / 32_768.0));
    intake.push(&interleaved.collect::<Result<Vec<f32>, _>>()?, |frame| samples.extend_from_slice(frame));
    intake.finish(|frame| samples.extend_from_slice(frame));
    let length = (count * u64::from(audio.sample_rate)).div_ceil(u64::from(spec.sample_rate));

    let config = EncoderConfig::usual(bundle);
    let frames = encode_recording(runtime, bundle, config, &samples)?;
    let options = Options { depth: config.depth, ..Options::default() };
    let mut writer = Writer::begin(BufWriter::new(File::create(to)?), bundle, &options)?;
    frames.iter().try_for_each(|frame| writer.push(frame))?;
    let bytes = writer.end(Some(length))?;
    println!("{}: {} frames of {} codes, {bytes} bytes", to.display(), frames.len(), config.depth);
    Ok(())
}

/// Decodes a token file of one stream.
fn decode(from: &Path, to: &Path, runtime: &Runtime, bundle: &Bundle) -> Result<(), Box<dyn Error>> {
    let mut archive = Archive::open(File::open(from)?)?;
    if !bundle.reads(archive.header().tokens.id) {
        return Err(format!("{} was made with another model", from.display()).into());
    }
    let mut coder = parlo_archive::coder(bundle, archive.header().tokens.coding)?;
    let (stream, end_ms, mut timed) = (archive.header().streams[0].number, archive.duration_ms(), Vec::new());
    archive.read(&mut coder, stream, 0, end_ms, &mut timed)?;
    let frames: Vec<TokenFrame> = timed.iter().filter_map(|frame| frame.codes).collect();
    let mut samples = decode_recording(runtime, bundle, &frames)?;
    // What filled up the last frame is not of the original.
    samples.truncate(archive.samples().map_or(samples.len(), |length| length as usize));
    let sample_rate = bundle.manifest().audio.sample_rate;
    let spec = WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut wav = WavWriter::create(to, spec)?;
    for sample in &samples {
        wav.write_sample((sample * 32_768.0).round() as i16)?;
    }
    Ok(wav.finalize()?)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    /// Length in samples, and power.
    fn measure(wav: &Path) -> (u32, f64) {
        let mut wav = WavReader::open(wav).unwrap();
        let squares = wav.samples::<i16>().map(|sample| f64::from(sample.unwrap()).powi(2)).sum::<f64>();
        (wav.duration(), squares / f64::from(wav.len()))
    }

    #[test]
    fn what_is_decoded_is_as_long_and_about_as_loud_as_what_was_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let [wav, tokens, decoded] = ["a.wav", "a.ptk", "b.wav"].map(|name| folder.path().join(name));
        let spec = WavSpec { channels: 2, sample_rate: 44_100, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::create(&wav, spec).unwrap();
        let mut phase = 0.0_f32;
        for n in 0..2 * 44_100 {
            // A voice that changes its pitch, the same in both channels.
            phase += (120.0 + 40.0 * (n as f32 / 26_000.0).sin()) / 44_100.0;
            let voice: f32 = (1..=12).map(|h| (TAU * phase * h as f32).sin() / h as f32).sum();
            writer.write_sample((5_000.0 * voice) as i16).unwrap();
            writer.write_sample((5_000.0 * voice) as i16).unwrap();
        }
        writer.finalize().unwrap();
        run(&wav, &tokens, &decoded).unwrap();
        let ((before, loud), (after, heard)) = (measure(&wav), measure(&decoded));
        assert_eq!((before, after), (88_200, 32_000));
        assert!((0.1..10.0).contains(&(heard / loud)), "{heard} and not {loud}");
        assert!(std::fs::metadata(&tokens).unwrap().len() < 1_500);
    }
}
