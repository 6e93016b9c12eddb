//! Clicks into a microphone, and how much later they come out of a loudspeaker.
//!
//! Mouth and ear are recorded by the same means at the same time, so that what recording adds is in both, and goes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parlod::audio::{
    ReadOutcome, Sink, Source,
    device::{Backend, DeviceChoice, DeviceSink, DeviceSource},
};

/// From one click to the next.
const EVERY: Duration = Duration::from_millis(500);
/// The longest delay that is looked for.
const LONGEST: Duration = Duration::from_millis(400);
/// Steps of the envelopes that are compared.
const STEP: f64 = 0.001;

/// Median and 95th percentile of the delay in milliseconds, and how many clicks were heard.
pub(crate) fn measure(mouth: &str, ear: &str, time: Duration) -> anyhow::Result<(f64, f64, usize)> {
    let stop = Arc::new(AtomicBool::new(false));
    let [said, heard] = [mouth, ear].map(|name| {
        let (name, stop) = (format!("{name}.monitor"), Arc::clone(&stop));
        thread::spawn(move || record(&name, &stop))
    });
    let (name, stops) = (mouth.to_owned(), Arc::clone(&stop));
    let clicker = thread::spawn(move || click(&name, &stops));
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let crashed = |_| anyhow::anyhow!("a thread crashed");
    clicker.join().map_err(crashed)??;
    let (said, heard) = (said.join().map_err(crashed)??, heard.join().map_err(crashed)??);
    let mut delays = delays(&said, &heard);
    if delays.len() < 10 {
        bail!("only {} clicks were heard", delays.len());
    }
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| 1000.0 * delays[((delays.len() - 1) as f64 * share).round() as usize];
    Ok((at(0.5), at(0.95), delays.len()))
}

/// Clicks into a sink: 5 ms of a tone that dies away, every half second.
fn click(name: &str, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut sink = DeviceSink::open(Backend::Pulse, &DeviceChoice::Named(name.to_owned()))?;
    let format = sink.format();
    let rate = f64::from(format.rate);
    let (block, channels) = ((rate / 100.0) as usize, usize::from(format.channels.max(1)));
    let mut n = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let samples: Vec<f32> = (0..block)
            .flat_map(|k| {
                let time = (n + k) as f64 / rate % EVERY.as_secs_f64();
                let tone = (std::f64::consts::TAU * 800.0 * time).sin() * (-time / 0.003).exp();
                let value = if time < 0.03 { 0.6 * tone as f32 } else { 0.0 };
                std::iter::repeat_n(value, channels)
            })
            .collect();
        n += block;
        sink.write(&samples)?;
    }
    Ok(())
}

/// A recording: mono samples, and when the first of them was heard.
struct Recording {
    samples: Vec<f32>,
    rate: f64,
    start: Instant,
}

fn record(name: &str, stop: &AtomicBool) -> anyhow::Result<Recording> {
    let mut source = DeviceSource::open(Backend::Pulse, &DeviceChoice::Named(name.to_owned()))?;
    let format = source.format();
    let (rate, channels) = (f64::from(format.rate), usize::from(format.channels.max(1)));
    let mut buffer = vec![0.0; format.rate as usize / 50 * channels];
    let (mut samples, mut starts) = (Vec::new(), Vec::new());
    source.begin();
    while !stop.load(Ordering::Relaxed) {
        match source.read(&mut buffer)? {
            ReadOutcome::Samples { samples: count, at } => {
                samples.extend(buffer[..count].chunks_exact(channels).map(|frame| frame[0]));
                // When the first sample was heard, had all come at the nominal rate.
                starts.push(at.checked_sub(Duration::from_secs_f64(samples.len() as f64 / rate)).context("time")?);
            }
            ReadOutcome::Nothing => {}
            other => bail!("{name}: {other:?}"),
        }
    }
    starts.sort_unstable();
    let start = *starts.get(starts.len() / 2).with_context(|| format!("{name} brought nothing"))?;
    Ok(Recording { samples, rate, start })
}

/// Energy of each step.
fn envelope(recording: &Recording) -> Vec<f64> {
    let step = (recording.rate * STEP) as usize;
    let energy = |block: &[f32]| block.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum::<f64>();
    recording.samples.chunks(step).map(energy).collect()
}

/// For each click, how much later it was heard than said, in seconds: where the envelopes around it are most alike.
fn delays(said: &Recording, heard: &Recording) -> Vec<f64> {
    let (mouth, ear) = (envelope(said), envelope(heard));
    let offset = if heard.start >= said.start {
        (heard.start - said.start).as_secs_f64()
    } else {
        -(said.start - heard.start).as_secs_f64()
    };
    let loudest = mouth.iter().copied().fold(0.0, f64::max);
    let mut delays = Vec::new();
    let mut at = 0;
    let longest = (LONGEST.as_secs_f64() / STEP) as i64;
    while at + 40 < mouth.len() {
        if mouth[at] < 0.2 * loudest {
            at += 1;
            continue;
        }
        let click = &mouth[at.saturating_sub(5)..at + 25];
        let start = at.saturating_sub(5) as f64 - offset / STEP;
        let alike = |lag: i64| -> Option<f64> {
            let from = usize::try_from(start.round() as i64 + lag).ok()?;
            let there = ear.get(from..from + click.len())?;
            // Roots: so that the codec's changes of level matter less than the shape.
            Some(click.iter().zip(there).map(|(a, b)| a.sqrt() * b.sqrt()).sum::<f64>())
        };
        let best = (0..longest).filter_map(|lag| Some((alike(lag)?, lag))).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((likeness, lag)) = best
            && likeness > 0.0
        {
            delays.push((start.round() + lag as f64 - start) * STEP);
        }
        at += (0.8 * EVERY.as_secs_f64() / STEP) as usize;
    }
    delays
}
