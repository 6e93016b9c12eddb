//! What a frame costs by how many go through the network in one run, with the weights in the processor's cache and, as in a
//! call, out of it. `cargo bench -p parlo-model --bench runs`; `docs/lab/performance.md` has what it showed.

use std::time::{Duration, Instant};

use parlo_model::{Bundle, Decoder, Encoder, EncoderConfig, ModelError, Runtime, locate_bundle};

/// Frames of a run.
const COUNTS: [usize; 7] = [1, 2, 3, 4, 6, 12, 32];

/// Runs of each kind; the first is not measured.
const ROUNDS: usize = 200;

/// What is written between two runs to empty the caches, bytes: more than the last of them holds.
const FLOOD: usize = 48 << 20;

fn main() -> Result<(), ModelError> {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let runtime = Runtime::load(None)?;
    let bundle = Bundle::open(&locate_bundle(None)?)?;
    let audio = &bundle.manifest().audio;
    let (rate, size) = (audio.sample_rate as f32, audio.frame_samples);
    let mut encoder = Encoder::new(&runtime, &bundle, EncoderConfig::default())?;
    let mut decoder = Decoder::new(&runtime, &bundle)?;
    let signal: Vec<f32> = (0..32 * size)
        .map(|n| {
            let time = n as f32 / rate;
            let phase = std::f32::consts::TAU * 110.0 * (time + 0.05 * (3.0 * time).sin());
            0.1 * (1..15).map(|k| (k as f32 * phase).sin() / k as f32).sum::<f32>()
        })
        .collect();
    let mut flood = vec![0_u64; FLOOD / 8];
    println!("microseconds a frame, the median of {} runs", ROUNDS - 1);
    println!("frames  cache  encode (one codebook, no search to speak of; six, a beam of four)  decode");
    for cold in [false, true] {
        for count in COUNTS {
            let mut times = [const { Vec::new() }; 3];
            let (mut tokens, mut sound) = (Vec::with_capacity(count), Vec::with_capacity(count * size));
            for round in 0..ROUNDS {
                let mut timed = |kind: usize, work: &mut dyn FnMut() -> Result<(), ModelError>| {
                    if cold {
                        flood.iter_mut().for_each(|word| *word = word.wrapping_add(round as u64));
                    }
                    let start = Instant::now();
                    let done = work();
                    if round > 0 {
                        times[kind].push(start.elapsed());
                    }
                    done
                };
                for (kind, depth) in [1, 6].into_iter().enumerate() {
                    tokens.clear();
                    encoder.set_depth(depth)?;
                    timed(kind, &mut || encoder.push_many(&signal[..count * size], &mut tokens))?;
                }
                sound.clear();
                timed(2, &mut || decoder.push_many(&tokens, &mut sound))?;
            }
            let [one, six, decode] = times.map(|mut times| median(&mut times, count));
            println!("{count:>6}  {}  {one:>8.1} {six:>8.1} {decode:>8.1}", if cold { "cold" } else { "warm" });
        }
    }
    Ok(())
}

/// Microseconds a frame.
fn median(times: &mut [Duration], frames: usize) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6 / frames as f64
}
