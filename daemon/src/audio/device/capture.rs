use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cpal::{FromSample, InputCallbackInfo, SampleFormat, SizedSample, StreamConfig, traits::DeviceTrait};
use ringbuf::{
    HeapCons, HeapRb,
    traits::{Consumer, Observer, Producer, Split},
};

use super::{
    super::{AudioError, Captured, Format, PATIENCE, Source},
    Backend, DeviceChoice, Direction, Health, Opened, Replacement, open, unsupported, with_sample_type,
};

/// A microphone, and whatever becomes the default when it goes away.
pub struct DeviceSource {
    format: Format,
    stream: State,
    xruns: u64,
}

enum State {
    Open(Open),
    /// The device of this name went away.
    Lost {
        name: String,
        replacement: Replacement<Open>,
    },
}

struct Open {
    ring: HeapCons<f32>,
    device: Opened,
}

impl DeviceSource {
    /// Opens the device. Sound is captured from now on.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be used.
    pub fn open(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let open = Open::new(backend, choice)?;
        Ok(Self { format: open.device.format, stream: State::Open(open), xruns: 0 })
    }

    /// Times that sound was lost because nobody took it.
    pub fn overruns(&self) -> u64 {
        let now = if let State::Open(open) = &self.stream { open.overruns() } else { 0 };
        self.xruns + now
    }
}

impl Source for DeviceSource {
    fn format(&self) -> Format {
        self.format
    }

    fn begin(&mut self) {
        if let State::Open(open) = &mut self.stream {
            open.ring.clear();
        }
    }

    fn read(&mut self, buffer: &mut [f32]) -> Result<Captured, AudioError> {
        match &mut self.stream {
            State::Open(open) => match open.wait(buffer) {
                Some(captured) => Ok(captured),
                None => {
                    self.xruns += open.overruns();
                    let name = open.device.name.clone();
                    let backend = open.device.backend;
                    let replacement = Replacement::find(move || Open::new(backend, &DeviceChoice::Default));
                    let old = std::mem::replace(&mut self.stream, State::Lost { name, replacement });
                    // Closing a dead stream can wait for its server: not on this thread.
                    std::thread::spawn(move || drop(old));
                    Ok(Captured::Nothing)
                }
            },
            State::Lost { name, replacement } => match replacement.wait(PATIENCE) {
                None => Ok(Captured::Nothing),
                Some(open) => {
                    let notice =
                        format!("the microphone \"{name}\" went away; now listening to \"{}\"", open.device.name);
                    self.format = open.device.format;
                    self.stream = State::Open(open);
                    Ok(Captured::Changed { format: self.format, notice })
                }
            },
        }
    }
}

impl Open {
    fn new(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let mut ring = None;
        let device = open(backend, choice, Direction::Input, |device, format, config, health| {
            // A second of sound: whoever is later than that has other worries.
            let room = config.sample_rate as usize * usize::from(config.channels);
            let (producer, consumer) = HeapRb::new(room).split();
            ring = Some(consumer);
            with_sample_type!(format, build(device, config, producer, health))
        })?;
        // A device that opened has had its ring made.
        let missing = || unsupported(Direction::Input, &device.name, SampleFormat::F32);
        let ring = ring.ok_or_else(missing)?;
        Ok(Self { ring, device })
    }

    fn overruns(&self) -> u64 {
        self.device.health.xruns.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits for sound; `None` if the device is lost.
    fn wait(&mut self, buffer: &mut [f32]) -> Option<Captured> {
        let channels = usize::from(self.device.format.channels.max(1));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let there = self.ring.occupied_len() / channels * channels;
            if there > 0 {
                let take = there.min(buffer.len() / channels * channels);
                let samples = self.ring.pop_slice(&mut buffer[..take]);
                let left = (there - samples) as f64 / channels as f64 / f64::from(self.device.format.rate);
                let now = Instant::now();
                let age = Duration::from_secs_f64(left) + self.device.health.latency();
                return Some(Captured::Samples { samples, at: now.checked_sub(age).unwrap_or(now) });
            }
            if self.device.health.is_lost() {
                return None;
            }
            if Instant::now() >= deadline {
                return Some(Captured::Nothing);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn build<T: SizedSample>(
    device: &cpal::Device,
    config: StreamConfig,
    mut ring: impl Producer<Item = f32> + Send + 'static,
    health: Arc<Health>,
) -> Result<cpal::Stream, cpal::Error>
where
    f32: FromSample<T>,
{
    let (on_data, on_error) = (Arc::clone(&health), health);
    let channels = usize::from(config.channels.max(1));
    device.build_input_stream::<T, _, _>(
        config,
        move |samples: &[T], info: &InputCallbackInfo| {
            let timestamp = info.timestamp();
            on_data.called(timestamp.callback.saturating_duration_since(timestamp.capture));
            // Whole sample frames only, so that channels never change places. What does not fit is the newest, and lost:
            // the reader alone may take out the oldest.
            let room = ring.vacant_len() / channels * channels;
            ring.push_iter(samples.iter().take(room).map(|&sample| f32::from_sample_(sample)));
            if room < samples.len() {
                on_data.xruns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        },
        move |error| on_error.failed(&error),
        Some(Duration::from_secs(2)),
    )
}
