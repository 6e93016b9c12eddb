//! A room between a loudspeaker and a microphone.

use std::f32::consts::PI;

use realfft::RealFftPlanner;

use super::Chance;

/// Speed of sound, m/s.
const SOUND: f32 = 343.0;
/// Half the samples of the kernel that puts a reflection between two samples.
const HALF: i64 = 8;

/// The impulse response of a shoebox room with walls of one kind, by the image-source method (J. B. Allen and D. A. Berkley,
/// JASA 65(4), 1979). Size and places come from the seed; the loudspeaker is half a metre from the microphone.
pub(crate) fn impulse_response(seed: u64, rate: u32, t60_s: f32) -> Vec<f32> {
    let mut chance = Chance(seed);
    chance.next();
    let size = [chance.within(3.0, 6.0), chance.within(2.5, 5.0), chance.within(2.3, 3.0)];
    let microphone = [0, 1].map(|axis| size[axis] * chance.within(0.3, 0.7));
    let microphone = [microphone[0], microphone[1], 0.8];
    let (turn, rise) = (chance.within(0.0, 2.0 * PI), chance.within(-0.3, 0.3));
    let loudspeaker = [
        microphone[0] + 0.5 * turn.cos() * rise.cos(),
        microphone[1] + 0.5 * turn.sin() * rise.cos(),
        microphone[2] + 0.5 * rise.sin(),
    ];
    // Eyring: how much a wall must swallow for that reverberation time.
    let volume: f32 = size.iter().product();
    let surface = 2.0 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2]);
    let reflection = (-0.161 * volume / (surface * t60_s)).exp().sqrt();
    let length = (t60_s * rate as f32) as usize;
    let reach = t60_s * SOUND;
    let mut response = vec![0.0; length];
    let orders = size.map(|side| (reach / (2.0 * side)).ceil() as i32);
    for x in images(size[0], loudspeaker[0], microphone[0], orders[0]) {
        for y in images(size[1], loudspeaker[1], microphone[1], orders[1]) {
            for z in images(size[2], loudspeaker[2], microphone[2], orders[2]) {
                let distance = (x.0 * x.0 + y.0 * y.0 + z.0 * z.0).sqrt();
                if distance < reach {
                    let strength = reflection.powi(x.1 + y.1 + z.1) / distance;
                    add(&mut response, distance / SOUND * rate as f32, strength);
                }
            }
        }
    }
    response
}

/// Distances along one axis from the microphone to the images of the loudspeaker, and how many walls each has seen.
fn images(side: f32, source: f32, microphone: f32, orders: i32) -> Vec<(f32, i32)> {
    (-orders..=orders)
        .flat_map(|n| {
            let shift = 2.0 * n as f32 * side;
            [(shift + source - microphone, 2 * n.abs()), (shift - source - microphone, (2 * n - 1).abs())]
        })
        .collect()
}

/// One reflection, between samples, by a windowed sinc.
fn add(response: &mut [f32], at: f32, strength: f32) {
    let first = at.floor() as i64 - HALF + 1;
    for n in first..first + 2 * HALF {
        if let Some(sample) = usize::try_from(n).ok().and_then(|n| response.get_mut(n)) {
            *sample += strength * kernel(n as f32 - at);
        }
    }
}

fn kernel(x: f32) -> f32 {
    let sinc = if x.abs() < 1e-6 { 1.0 } else { (PI * x).sin() / (PI * x) };
    sinc * (0.5 + 0.5 * (PI * (x / HALF as f32).clamp(-1.0, 1.0)).cos())
}

/// The sound after that response, as long as it was.
pub(crate) fn convolved(sound: &[f32], response: &[f32]) -> Vec<f32> {
    let size = (sound.len() + response.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let spectrum = |signal: &[f32]| {
        let mut padded = vec![0.0; size];
        padded[..signal.len()].copy_from_slice(signal);
        let mut bins = forward.make_output_vec();
        forward.process(&mut padded, &mut bins).unwrap();
        bins
    };
    let mut bins = spectrum(sound);
    for (bin, by) in bins.iter_mut().zip(spectrum(response)) {
        *bin *= by / size as f32;
    }
    let mut out = vec![0.0; size];
    inverse.process(&mut bins, &mut out).unwrap();
    out.truncate(sound.len());
    out
}

/// What a small loudspeaker does to loud sound: about 3 % of third harmonic at full scale.
pub(crate) fn distorted(sound: &[f32]) -> Vec<f32> {
    sound.iter().map(|sample| sample - 0.12 * sample.powi(3)).collect()
}

/// The sound `samples` later, as long as it was.
pub(crate) fn later(sound: &[f32], samples: usize) -> Vec<f32> {
    let mut out = vec![0.0; samples.min(sound.len())];
    out.extend_from_slice(&sound[..sound.len() - out.len()]);
    out
}

/// As a clock hears it that is slower by so many millionths.
pub(crate) fn drifted(sound: &[f32], ppm: f64) -> Vec<f32> {
    (0..sound.len())
        .map(|n| {
            let at = n as f64 * (1.0 + ppm * 1e-6);
            let first = at.floor() as i64 - HALF + 1;
            (first..first + 2 * HALF)
                .filter_map(|k| Some(sound.get(usize::try_from(k).ok()?)? * kernel((k as f64 - at) as f32)))
                .sum()
        })
        .collect()
}
