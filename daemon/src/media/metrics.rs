//! What the threads are told and tell besides frames: settings and measurements, in atomics.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crossbeam_channel::Sender;
use parlo_api::{Meters, SoundFigures};
use parlo_dsp::Level;

use super::{
    FrameEvent, Names, Settings, StreamFormat,
    stages::{Readings, Switches},
    types::SILENT,
};
use crate::{audio::EndFigures, clock::Clock};

/// A number that one thread writes and others read.
#[derive(Debug)]
pub(super) struct Float(AtomicU32);

impl Float {
    pub(super) const fn new(value: f32) -> Self {
        Self(AtomicU32::new(value.to_bits()))
    }

    pub(super) fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }

    pub(super) fn set(&self, value: f32) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// None is no number.
    fn option(&self) -> Option<f32> {
        Some(self.get()).filter(|value| !value.is_nan())
    }

    fn set_option(&self, value: Option<f32>) {
        self.set(value.unwrap_or(f32::NAN));
    }
}

/// Everything that both threads and the audio engine share.
pub(super) struct EngineShared {
    pub(super) format: StreamFormat,
    pub(super) controls: Controls,
    pub(super) metrics: Metrics,
    /// Touched by the threads only when a device changes.
    names: Mutex<Names>,
    pub(super) frame_events: Sender<FrameEvent>,
    /// What play-out goes by.
    pub(super) clock: Arc<dyn Clock>,
}

impl EngineShared {
    pub(super) fn new(
        format: StreamFormat,
        settings: &Settings,
        frame_events: Sender<FrameEvent>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let names = Mutex::default();
        Self { format, controls: Controls::new(settings), metrics: Metrics::new(), names, frame_events, clock }
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        // Two values that are whole after any panic.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples of a block of 10 ms.
    pub(super) fn block(&self) -> usize {
        (self.format.sample_rate as usize / 100).max(1)
    }
}

/// How sound is set, as far as it acts within a block.
#[derive(Debug)]
pub(super) struct Controls {
    open: AtomicBool,
    pub(super) input_gain_db: Float,
    pub(super) output_gain_db: Float,
    side_tone_db: Float,
    switches: AtomicU8,
}

impl Controls {
    fn new(settings: &Settings) -> Self {
        let controls = Self {
            open: AtomicBool::new(false),
            input_gain_db: Float::new(0.0),
            output_gain_db: Float::new(0.0),
            side_tone_db: Float::new(f32::NAN),
            switches: AtomicU8::new(0),
        };
        controls.set(settings);
        controls
    }

    pub(super) fn set(&self, settings: &Settings) {
        let gain = |db: f32, most: f32| if db.is_nan() { 0.0 } else { db.clamp(-60.0, most) };
        self.input_gain_db.set(gain(settings.input_gain_db, 40.0));
        self.output_gain_db.set(gain(settings.output_gain_db, 12.0));
        self.side_tone_db.set_option(settings.side_tone_db.map(|db| gain(db, 0.0)));
        let stages = &settings.stages;
        let switches =
            [stages.high_pass, stages.echo_cancellation, stages.noise_suppression, stages.gain_control, stages.silence];
        let bits = switches.iter().enumerate().fold(0, |bits, (n, &on)| bits | (u8::from(on) << n));
        self.switches.store(bits, Relaxed);
        self.open.store(!settings.muted && (!settings.push_to_talk || settings.talking), Relaxed);
    }

    /// Whether the microphone is on.
    pub(super) fn open(&self) -> bool {
        self.open.load(Relaxed)
    }

    pub(super) fn side_tone_db(&self) -> Option<f32> {
        self.side_tone_db.option()
    }

    pub(super) fn stages(&self) -> Switches {
        let bits = self.switches.load(Relaxed);
        let on = |n: u8| bits & (1 << n) != 0;
        Switches { high_pass: on(0), echo: on(1), noise: on(2), gain: on(3) }
    }

    /// Whether silence is told rather than sent.
    pub(super) fn silence(&self) -> bool {
        self.switches.load(Relaxed) & (1 << 4) != 0
    }
}

/// One end of sound, as measured.
#[derive(Debug)]
pub(super) struct EndMetrics {
    realtime: AtomicU8,
    pub(super) xruns: AtomicU64,
    ring_us: AtomicU64,
    latency_us: AtomicU64,
    drift_ppm: Float,
}

impl EndMetrics {
    fn new() -> Self {
        Self {
            realtime: AtomicU8::new(0),
            xruns: AtomicU64::new(0),
            ring_us: AtomicU64::new(0),
            latency_us: AtomicU64::new(0),
            drift_ppm: Float::new(0.0),
        }
    }

    pub(super) fn set_realtime(&self, realtime: Option<bool>) {
        self.realtime.store(realtime.map_or(0, |realtime| 1 + u8::from(realtime)), Relaxed);
    }

    pub(super) fn realtime(&self) -> Option<bool> {
        Some(self.realtime.load(Relaxed)).filter(|&known| known > 0).map(|known| known > 1)
    }

    /// All but the xruns, which are counted over all devices.
    pub(super) fn set(&self, figures: &EndFigures, resampler: Duration) {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.ring_us.store(us(figures.ring), Relaxed);
        self.latency_us.store(us(figures.latency + resampler), Relaxed);
        self.drift_ppm.set(figures.drift_ppm as f32);
    }

    /// No device is open.
    pub(super) fn rest(&self) {
        self.set_realtime(None);
        self.set(&EndFigures::default(), Duration::ZERO);
    }
}

/// What the threads measure.
#[derive(Debug)]
pub(super) struct Metrics {
    input: [Float; 2],
    sent_rms: Float,
    output: [Float; 2],
    readings: [Float; 3],
    speech: AtomicBool,
    pub(super) capture: EndMetrics,
    pub(super) playback: EndMetrics,
    misses: AtomicU64,
    system_late: AtomicU64,
    blocks: AtomicU64,
}

impl Metrics {
    fn new() -> Self {
        let floor = || Float::new(SILENT.input_peak_dbfs);
        let none = || Float::new(f32::NAN);
        Self {
            input: [floor(), floor()],
            sent_rms: floor(),
            output: [floor(), floor()],
            readings: [none(), none(), none()],
            speech: AtomicBool::new(false),
            capture: EndMetrics::new(),
            playback: EndMetrics::new(),
            misses: AtomicU64::new(0),
            system_late: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
        }
    }

    pub(super) fn set_input(&self, input: Level, sent: Level, readings: Readings, speech: bool) {
        set(&self.input, input);
        self.sent_rms.set(sent.rms_dbfs);
        let Readings { echo_return_loss_enhancement_db, noise_reduction_db, gain_db, .. } = readings;
        let readings = [echo_return_loss_enhancement_db, noise_reduction_db, gain_db];
        for (gauge, reading) in self.readings.iter().zip(readings) {
            gauge.set_option(reading);
        }
        self.speech.store(speech, Relaxed);
    }

    pub(super) fn set_output(&self, output: Level) {
        set(&self.output, output);
    }

    /// Counts a block, and whether it was late.
    pub(super) fn block(&self, late: bool) {
        self.blocks.fetch_add(1, Relaxed);
        self.misses.fetch_add(u64::from(late), Relaxed);
    }

    /// Counts times that the sound system was late.
    pub(super) fn system_late(&self, times: u64) {
        self.system_late.fetch_add(times, Relaxed);
    }

    /// No device is open, nothing is heard.
    pub(super) fn rest(&self) {
        let floor = Level { peak_dbfs: SILENT.input_peak_dbfs, rms_dbfs: SILENT.input_rms_dbfs };
        self.set_input(floor, floor, Readings::default(), false);
        self.set_output(floor);
        self.capture.rest();
        self.playback.rest();
    }

    pub(super) fn meters(&self) -> Meters {
        let [echo, noise, gain] = &self.readings;
        Meters {
            input_peak_dbfs: self.input[0].get(),
            input_rms_dbfs: self.input[1].get(),
            sent_rms_dbfs: self.sent_rms.get(),
            output_peak_dbfs: self.output[0].get(),
            output_rms_dbfs: self.output[1].get(),
            echo_return_loss_enhancement_db: echo.option(),
            noise_reduction_db: noise.option(),
            gain_db: gain.option(),
            speech: self.speech.load(Relaxed),
        }
    }

    pub(super) fn figures(&self) -> SoundFigures {
        let ms = |us: &AtomicU64| us.load(Relaxed) as f64 / 1000.0;
        let (capture, playback) = (&self.capture, &self.playback);
        SoundFigures {
            realtime: capture.realtime().zip(playback.realtime()).map(|(capture, playback)| capture && playback),
            capture_overruns: capture.xruns.load(Relaxed),
            playback_underruns: playback.xruns.load(Relaxed),
            deadline_misses: self.misses.load(Relaxed),
            server_late: self.system_late.load(Relaxed),
            blocks: self.blocks.load(Relaxed),
            capture_ring_ms: ms(&capture.ring_us),
            playback_ring_ms: ms(&playback.ring_us),
            capture_drift_ppm: capture.drift_ppm.get().into(),
            playback_drift_ppm: playback.drift_ppm.get().into(),
            capture_latency_ms: ms(&capture.latency_us),
            playback_latency_ms: ms(&playback.latency_us),
        }
    }
}

fn set(metrics: &[Float; 2], level: Level) {
    metrics[0].set(level.peak_dbfs);
    metrics[1].set(level.rms_dbfs);
}
