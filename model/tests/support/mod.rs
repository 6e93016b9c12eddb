//! What the model's tests share.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::path::{Path, PathBuf};

use parlo_model::{Bundle, Runtime};

/// The bundle that ships.
pub(crate) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/parlo-16k")
}

/// The library and the bundle that ships.
pub(crate) fn open() -> (Runtime, Bundle) {
    let runtime = Runtime::load(None).expect("`cargo xtask setup` fetches the library");
    (runtime, Bundle::open(&shipped()).expect("the bundle is part of the repository"))
}

/// A vowel-like sound with a moving pitch: twelve harmonics under a falling spectrum, in bursts of a third of a second.
pub(crate) fn hum(samples: usize, rate: u32) -> Vec<f32> {
    let rate = rate as f32;
    let mut phase = 0.0_f32;
    (0..samples)
        .map(|n| {
            let t = n as f32 / rate;
            phase += (120.0 + 40.0 * (3.0 * t).sin()) / rate;
            let gate = if (3.0 * t).fract() < 0.7 { 1.0 } else { 0.05 };
            let sum: f32 = (1..=12).map(|h| (std::f32::consts::TAU * phase * h as f32).sin() / h as f32).sum();
            0.15 * gate * sum
        })
        .collect()
}
