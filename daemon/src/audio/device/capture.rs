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
    super::{AudioError, Captured, EndFigures, Format, PATIENCE, Source},
    Backend, DeviceChoice, Direction, Opened, begin,
    follow::Follow,
    health::Health,
    open,
    standby::{Role, Standby, Stream},
    unsupported, with_sample_type,
};

/// A microphone, and whatever takes its place.
pub struct DeviceSource {
    format: Format,
    standby: Standby<Open>,
    /// What was told last: it stays while there is no device.
    ppm: f64,
}

struct Open {
    ring: HeapCons<f32>,
    follow: Follow,
    device: Opened,
}

impl DeviceSource {
    /// Opens the device. Sound is captured from now on.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be used.
    pub fn open(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let standby = Standby::<Open>::open(backend, choice)?;
        let format = standby.stream().map_or(Format { rate: 1, channels: 1 }, |open| open.device.format);
        Ok(Self { format, standby, ppm: 0.0 })
    }

    /// Times that sound was lost because nobody took it.
    pub fn overruns(&self) -> u64 {
        self.standby.xruns()
    }

    fn changed(&mut self, notice: String) -> Captured {
        self.format = self.standby.stream().map_or(self.format, |open| open.device.format);
        Captured::Changed { format: self.format, notice }
    }
}

impl Source for DeviceSource {
    fn format(&self) -> Format {
        self.format
    }

    fn begin(&mut self) {
        if let Some(open) = self.standby.stream_mut() {
            open.ring.clear();
            open.follow.begin();
        }
    }

    fn read(&mut self, buffer: &mut [f32]) -> Result<Captured, AudioError> {
        if let Some(notice) = self.standby.follow() {
            return Ok(self.changed(notice));
        }
        let Some(open) = self.standby.stream_mut() else {
            return Ok(match self.standby.wait(PATIENCE) {
                None => Captured::Nothing,
                Some(notice) => self.changed(notice),
            });
        };
        let captured = open.wait(buffer);
        self.ppm = open.follow.steer().ppm();
        Ok(captured.unwrap_or_else(|| {
            self.standby.lose();
            Captured::Nothing
        }))
    }

    fn steer_ppm(&self) -> f64 {
        self.ppm
    }

    fn is_device(&self) -> bool {
        true
    }

    fn name(&self) -> Option<String> {
        self.standby.stream().map(|open| open.device.name.clone())
    }

    fn figures(&self) -> EndFigures {
        let xruns = self.standby.xruns();
        let Some(open) = self.standby.stream() else { return EndFigures { xruns, ..EndFigures::default() } };
        let ring = open.follow.average();
        let latency = open.device.health.latency();
        // What is given too slowly is stretched: the other way round.
        EndFigures { xruns, ring, drift_ppm: 0.0 - open.follow.steer().drift_ppm(), latency }
    }
}

impl Stream for Open {
    const DIRECTION: Direction = Direction::Input;

    fn open(backend: Backend, role: &Role) -> Result<Self, AudioError> {
        let mut ring = None;
        let device = open(backend, role, Direction::Input, |device, format, config, health| {
            // A second of sound: whoever is later than that has other worries.
            let room = config.sample_rate as usize * usize::from(config.channels);
            let (producer, consumer) = HeapRb::new(room).split();
            ring = Some(consumer);
            with_sample_type!(format, build(device, config, producer, health))
        })?;
        // A device that opened has had its ring made.
        let missing = || unsupported(Direction::Input, &device.name, SampleFormat::F32);
        let ring = ring.ok_or_else(missing)?;
        Ok(Self { ring, follow: Follow::new(device.format.rate), device })
    }

    fn device(&self) -> &Opened {
        &self.device
    }
}

impl Open {
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
                let (now, health) = (Instant::now(), &self.device.health);
                let age_of_stream = health.age();
                let since = age_of_stream.saturating_sub(health.last_callback().unwrap_or(age_of_stream));
                self.follow.gave(age_of_stream, samples / channels, (there - samples) / channels, since);
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
    let rate = config.sample_rate;
    let mut begun = false;
    device.build_input_stream::<T, _, _>(
        config,
        move |samples: &[T], info: &InputCallbackInfo| {
            begin(&mut begun, rate);
            let timestamp = info.timestamp();
            // Whole sample frames only, so that channels never change places. What does not fit is the newest, and lost:
            // the reader alone may take out the oldest.
            let room = ring.vacant_len() / channels * channels;
            ring.push_iter(samples.iter().take(room).map(|&sample| f32::from_sample_(sample)));
            if room < samples.len() {
                on_data.xrun();
            }
            on_data.called(samples.len() / channels, timestamp.callback.saturating_duration_since(timestamp.capture));
        },
        move |error| on_error.failed(&error),
        Some(Duration::from_secs(2)),
    )
}
