/// Reflection coefficients of the noise's spectrum.
pub const NOISE_ORDER: usize = 8;

/// The level that stands for no sound at all.
const NO_SOUND: u8 = 127;

/// Frames that a description is the mean of: 400 ms, if they are of 20 ms.
const FRAMES: usize = 20;

/// Added to the power at lag 0, so that the filter stays tame: 40 dB below it.
const FLOOR: f64 = 1e-4;

/// The largest coefficient that is rendered: those closer to 1 ring for seconds.
const LARGEST: f32 = 0.995;

/// Samples rendered with one and the same filter; it changes in steps so short.
const STEP: usize = 16;

/// What a frame adds: its power, and its windowed autocorrelation.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    power: f64,
    correlation: [f64; NOISE_ORDER + 1],
}

/// Describes the background, for a listener who shall not hear the line go dead: level and spectrum in the payload of RFC
/// 3389.
#[derive(Debug)]
pub struct NoiseAnalyser {
    window: Vec<f32>,
    windowed: Vec<f32>,
    recent: [Moments; FRAMES],
    count: usize,
    next: usize,
}

impl NoiseAnalyser {
    /// An analyser of mono samples in frames of `frame_samples`, best 20 ms. (The coefficients describe the spectrum
    /// relative to the sample rate: they must be rendered at the rate they were taken at.)
    pub fn new(frame_samples: usize) -> Self {
        let length = frame_samples.max(NOISE_ORDER + 1);
        let hann = |n: usize| 0.5 - 0.5 * (std::f32::consts::TAU * (n as f32 + 0.5) / length as f32).cos();
        Self {
            window: (0..length).map(hann).collect(),
            windowed: vec![0.0; length],
            recent: [Moments::default(); FRAMES],
            count: 0,
            next: 0,
        }
    }

    /// Takes in a frame in which nobody speaks. Samples must be finite; those beyond the frame's length are left out.
    pub fn push(&mut self, frame: &[f32]) {
        let frame = &frame[..frame.len().min(self.window.len())];
        if frame.is_empty() {
            return;
        }
        self.windowed.fill(0.0);
        for ((windowed, sample), weight) in self.windowed.iter_mut().zip(frame).zip(&self.window) {
            *windowed = sample * weight;
        }
        let power = frame.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / frame.len() as f64;
        let mut moments = Moments { power, ..Moments::default() };
        for (lag, correlation) in moments.correlation.iter_mut().enumerate() {
            let later = self.windowed[lag..].iter();
            *correlation = self.windowed.iter().zip(later).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        }
        self.recent[self.next] = moments;
        self.next = (self.next + 1) % FRAMES;
        self.count = (self.count + 1).min(FRAMES);
    }

    /// The mean of the last 20 frames pushed: level (0 to 127, decibels below the overload point, RFC 3389 section 3.1) and
    /// reflection coefficients (0 to 254 for -1 to 1, section 3.2). `None` if none was pushed.
    pub fn describe(&self) -> Option<(u8, [u8; NOISE_ORDER])> {
        if self.count == 0 {
            return None;
        }
        let mut sum = Moments::default();
        for moments in &self.recent[..self.count] {
            sum.power += moments.power / self.count as f64;
            for (sum, value) in sum.correlation.iter_mut().zip(moments.correlation) {
                *sum += value;
            }
        }
        // A full-scale square wave has a mean square of 1.
        let level = (-10.0 * sum.power.log10()).round().clamp(0.0, f64::from(NO_SOUND)) as u8;
        sum.correlation[0] *= 1.0 + FLOOR;
        // A cast keeps to the byte's range.
        Some((level, reflection(&sum.correlation).map(|value| (127.0 * value + 127.0).round() as u8)))
    }

    /// Forgets what was pushed.
    pub fn reset(&mut self) {
        self.count = 0;
        self.next = 0;
    }
}

/// The reflection coefficients of an autocorrelation, by Schur's recursion: within -1 to 1. The first is minus the
/// normalised correlation at lag 1, as WebRTC has it too.
fn reflection(correlation: &[f64; NOISE_ORDER + 1]) -> [f64; NOISE_ORDER] {
    let mut coefficients = [0.0; NOISE_ORDER];
    let (mut forward, mut backward) = (*correlation, *correlation);
    for (order, coefficient) in coefficients.iter_mut().enumerate() {
        if backward[0] <= f64::MIN_POSITIVE {
            break;
        }
        *coefficient = (-forward[order + 1] / backward[0]).clamp(-1.0, 1.0);
        for n in order + 1..=NOISE_ORDER {
            let (ahead, behind) = (forward[n], backward[n - order - 1]);
            forward[n] = ahead + *coefficient * behind;
            backward[n - order - 1] = behind + *coefficient * ahead;
        }
    }
    coefficients
}

/// Makes noise as described.
///
/// A lattice in its normalised form: each stage only turns its two values about, so that no change of the coefficients can
/// make it louder than its excitation.
#[derive(Debug)]
pub struct NoiseGenerator {
    random: u64,
    behind: [f32; NOISE_ORDER],
    coefficients: [f32; NOISE_ORDER],
    gain: f32,
    begun: bool,
}

impl NoiseGenerator {
    /// A generator. The same seed makes the same noise.
    pub fn new(seed: u64) -> Self {
        Self { random: seed | 1, behind: [0.0; NOISE_ORDER], coefficients: [0.0; NOISE_ORDER], gain: 0.0, begun: false }
    }

    /// Fills `out` with noise of this level and spectrum, as RFC 3389 has them (see [`NoiseAnalyser::describe`]; larger
    /// values count as the largest that it knows). Level and spectrum glide from those before to these within `out`; the
    /// first time from no sound.
    pub fn render(&mut self, level: u8, reflection: &[u8; NOISE_ORDER], out: &mut [f32]) {
        let target =
            reflection.map(|value| (258.0 * (f32::from(value.min(254)) - 127.0) / 32768.0).clamp(-LARGEST, LARGEST));
        let target_gain = if level >= NO_SOUND { 0.0 } else { 10_f32.powf(-f32::from(level) / 20.0) };
        if !self.begun {
            self.begun = true;
            self.coefficients = target;
        }
        let total = out.len().max(1) as f32;
        let (from, from_gain) = (self.coefficients, self.gain);
        for (step, part) in out.chunks_mut(STEP).enumerate() {
            let done = (step * STEP + part.len()) as f32 / total;
            for ((value, from), target) in self.coefficients.iter_mut().zip(from).zip(target) {
                *value = from + done * (target - from);
            }
            let turns = self.coefficients.map(|sine| (sine, (1.0 - sine * sine).sqrt()));
            for (n, sample) in part.iter_mut().enumerate() {
                let gain = from_gain + (step * STEP + n + 1) as f32 / total * (target_gain - from_gain);
                *sample = (gain * self.next(&turns)).clamp(-1.0, 1.0);
            }
        }
        self.coefficients = target;
        self.gain = target_gain;
    }

    /// One sample of unit power.
    fn next(&mut self, turns: &[(f32, f32); NOISE_ORDER]) -> f32 {
        let mut forward = self.white();
        for stage in (0..NOISE_ORDER).rev() {
            let (sine, cosine) = turns[stage];
            let behind = self.behind[stage];
            if stage + 1 < NOISE_ORDER {
                self.behind[stage + 1] = sine * forward + cosine * behind;
            }
            forward = cosine * forward - sine * behind;
        }
        self.behind[0] = forward;
        forward
    }

    /// White noise of unit power, nearly normal: the sum of three even distributions.
    fn white(&mut self) -> f32 {
        // Xorshift, after Marsaglia.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let third = |shift: u32| (self.random >> shift & 0xF_FFFF) as f32 / (1 << 19) as f32 - 1.0;
        third(0) + third(20) + third(40)
    }
}

#[cfg(test)]
#[path = "comfort_tests.rs"]
mod tests;
