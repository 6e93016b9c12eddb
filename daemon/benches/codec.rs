//! What a frame costs: time by percentile, allocations, and how fast files go. `cargo xtask bench codec` runs this.
//!
//! Not criterion or divan: they report means and medians over batches of calls, and a real-time codec is judged by its 99th
//! percentile, call by call.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use counting_alloc::{Counting, allocations};
use parlo_dsp::Intake;
use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, FrameCoder, PlainCoder, Runtime};
use parlod::{audio::AudioReader, report::Durations};
use serde_json::json;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Times that the clip is gone through; the first is not measured.
const ROUNDS: usize = 7;

const CONFIG: EncoderConfig = EncoderConfig { depth: 6, beam: 4 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let runtime = Runtime::load(None)?;
    let bundle = Bundle::open(&parlo_model::locate_bundle(None)?)?;
    let frames = frames(&bundle)?;
    let seconds = frames.len() as f64 * bundle.manifest().audio.frame_duration().as_secs_f64();

    let mut encoder = Encoder::new(&runtime, &bundle, CONFIG)?;
    let mut decoder = Decoder::new(&runtime, &bundle)?;
    let (mut encode, mut quantize, mut decode) = (Durations::default(), Durations::default(), Durations::default());
    let mut allocated = 0;
    for round in 0..ROUNDS {
        let before = allocations();
        for frame in &frames {
            let start = Instant::now();
            encoder.analyse(frame)?;
            let analysed = Instant::now();
            let tokens = encoder.quantize();
            let quantized = Instant::now();
            decoder.push(&tokens)?;
            let decoded = Instant::now();
            if round > 0 {
                encode.record(quantized - start);
                quantize.record(quantized - analysed);
                decode.record(decoded - quantized);
            }
        }
        allocated = allocations() - before;
    }

    let (encode_time, decode_time) = offline(&runtime, &bundle, &frames)?;
    let beams = beams(&runtime, &bundle, &frames)?;
    let report = json!({
        "encode_us_p50": encode.percentiles().p50,
        "encode_us_p99": encode.percentiles().p99,
        "quantize_us_p50": quantize.percentiles().p50,
        "quantize_us_p99": quantize.percentiles().p99,
        "decode_us_p50": decode.percentiles().p50,
        "decode_us_p99": decode.percentiles().p99,
        "offline_encode_x": seconds / encode_time.as_secs_f64(),
        "offline_decode_x": seconds / decode_time.as_secs_f64(),
        "allocs_per_frame": allocated as f64 / frames.len() as f64,
        "beams": beams,
    });
    println!("{report:#}");
    // `cargo bench` adds an argument of its own.
    let mut arguments = std::env::args().skip_while(|argument| argument != "--json");
    if let Some(file) = arguments.nth(1).map(PathBuf::from) {
        std::fs::write(file, format!("{report:#}\n"))?;
    }
    Ok(())
}

/// The clip that ships, in the bundle's frames.
fn frames(bundle: &Bundle) -> Result<Vec<Vec<f32>>, Box<dyn std::error::Error>> {
    let audio = &bundle.manifest().audio;
    let mut reader = AudioReader::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/speech.flac"))?;
    let format = reader.format();
    let mut intake = Intake::new(format.rate, format.channels, audio.sample_rate, audio.frame_samples)?;
    let (mut buffer, mut frames) = (vec![0.0; 4096], Vec::new());
    while let count @ 1.. = reader.read(&mut buffer)? {
        intake.push(&buffer[..count], |frame| frames.push(frame.to_vec()));
    }
    Ok(frames)
}

/// The time to turn the clip into payloads, and the payloads into sound: the best of five.
fn offline(
    runtime: &Runtime,
    bundle: &Bundle,
    frames: &[Vec<f32>],
) -> Result<(Duration, Duration), Box<dyn std::error::Error>> {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let mut encoder = Encoder::new(runtime, bundle, CONFIG)?;
        let mut decoder = Decoder::new(runtime, bundle)?;
        let mut coder = PlainCoder::new(*bundle.layout());
        let start = Instant::now();
        let tokens = frames.iter().map(|frame| encoder.push(frame)).collect::<Result<Vec<_>, _>>()?;
        let mut payload = Vec::new();
        coder.encode(&tokens, &mut payload)?;
        let encoded = Instant::now();
        let mut unpacked = Vec::new();
        coder.decode(&payload, tokens.len(), CONFIG.depth, &mut unpacked)?;
        for frame in &unpacked {
            std::hint::black_box(decoder.push(frame)?);
        }
        best = (best.0.min(encoded - start), best.1.min(encoded.elapsed()));
    }
    Ok(best)
}

/// What each width of the search costs, and what it leaves of the latent's error against the greedy walk's.
fn beams(
    runtime: &Runtime,
    bundle: &Bundle,
    frames: &[Vec<f32>],
) -> Result<Vec<serde_json::Value>, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    let mut greedy = 0.0;
    for beam in [1, 2, 4, 8, 16] {
        let mut encoder = Encoder::new(runtime, bundle, EncoderConfig { beam, ..CONFIG })?;
        let (mut time, mut error) = (Durations::default(), 0.0);
        for frame in frames {
            encoder.analyse(frame)?;
            let start = Instant::now();
            encoder.quantize();
            time.record(start.elapsed());
            error += f64::from(encoder.quantization_error());
        }
        if beam == 1 {
            greedy = error;
        }
        rows.push(json!({ "beam": beam, "us_p50": time.percentiles().p50, "error_against_greedy": error / greedy }));
    }
    Ok(rows)
}
