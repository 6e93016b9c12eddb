/// Changes the rate of a whole signal, with a Kaiser-windowed sinc of 60 dB rejection and a transition band of a tenth:
/// the filter of Octave's `resample`, which the published figures of ESTOI go by.
pub fn resample(signal: &[f32], from: u32, to: u32) -> Vec<f32> {
    let wide: Vec<f64> = signal.iter().map(|&sample| f64::from(sample)).collect();
    resample_f64(&wide, from, to).into_iter().map(|sample| sample as f32).collect()
}

pub(crate) fn resample_f64(signal: &[f64], from: u32, to: u32) -> Vec<f64> {
    if from == to || signal.is_empty() || from == 0 || to == 0 {
        return signal.to_vec();
    }
    let divisor = gcd(from, to);
    let (up, down) = ((to / divisor) as usize, (from / divisor) as usize);
    let filter = filter(up, down);
    let half = (filter.len() / 2) as i64;
    let length = (signal.len() * up).div_ceil(down);
    (0..length)
        .map(|m| {
            // y[m] = sum over n of x[n] h[half + m down - n up]
            let centre = half + (m * down) as i64;
            let last = centre.div_euclid(up as i64).min(signal.len() as i64 - 1);
            let first = (centre - filter.len() as i64).div_euclid(up as i64) + 1;
            (first.max(0)..=last).map(|n| signal[n as usize] * filter[(centre - n * up as i64) as usize]).sum()
        })
        .collect()
}

/// The filter at the rate that both rates divide, with a gain of `up` to make up for the samples in between.
fn filter(up: usize, down: usize) -> Vec<f64> {
    let rejection: f64 = 60.0;
    let cutoff = 1.0 / (2.0 * up.max(down) as f64);
    let roll_off = cutoff / 10.0;
    let half = ((rejection - 8.0) / (28.714 * roll_off)).ceil();
    let beta = 0.1102 * (rejection - 8.7);
    let taps: Vec<f64> = (-half as i64..=half as i64)
        .map(|t| {
            let x = 2.0 * cutoff * t as f64;
            let sinc = if t == 0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
            let edge = t as f64 / half;
            sinc * bessel_i0(beta * (1.0 - edge * edge).max(0.0).sqrt())
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| tap / sum * up as f64).collect()
}

/// The modified Bessel function of the first kind and order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..100 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
        if term < 1e-17 * sum {
            break;
        }
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
