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
    super::{AudioError, EndFigures, Format, READ_TIMEOUT, ReadOutcome, Source},
    Backend, DeviceChoice, Direction, Make, Opened, Running, begin,
    drift::Follow,
    failover::{DeviceStream, Role, Standby},
    faults::Faults,
    open, pulse,
    stream_monitor::StreamMonitor,
    unsupported, with_sample_type,
};

/// How long the owner sleeps at most. It is woken when there is sound: this is for when its callbacks have ended.
const NAP: Duration = Duration::from_millis(20);

/// A microphone, and whatever takes its place.
pub struct DeviceSource {
    format: Format,
    standby: Standby<Open>,
    /// What was told last: it stays while there is no device.
    ppm: f64,
    /// Sample frames that the owner has use for.
    wanted: usize,
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
        Ok(Self::of(Standby::<Open>::open(backend, choice)?, Format { rate: 1, channels: 1 }))
    }

    /// Opens the device, or one in its place; if there is none, one that comes later is taken, and until then nothing is captured.
    /// `rate` is told as the format's until there is a device.
    pub fn open_or_wait(backend: Backend, choice: &DeviceChoice, rate: u32) -> Self {
        Self::of(Standby::<Open>::open_or_wait(backend, choice), Format { rate, channels: 1 })
    }

    fn of(standby: Standby<Open>, otherwise: Format) -> Self {
        let format = standby.stream().map_or(otherwise, |open| open.device.format);
        Self { format, standby, ppm: 0.0, wanted: 1 }
    }

    /// Times that sound was lost because nobody took it.
    pub fn overruns(&self) -> u64 {
        self.standby.counts().xruns
    }

    fn changed(&mut self, notice: String) -> ReadOutcome {
        self.format = self.standby.stream().map_or(self.format, |open| open.device.format);
        ReadOutcome::Changed { format: self.format, notice }
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

    fn read(&mut self, buffer: &mut [f32]) -> Result<ReadOutcome, AudioError> {
        if let Some(notice) = self.standby.follow() {
            return Ok(self.changed(notice));
        }
        let Some(open) = self.standby.stream_mut() else {
            return Ok(match self.standby.wait(READ_TIMEOUT) {
                None => ReadOutcome::Nothing,
                Some(notice) => self.changed(notice),
            });
        };
        let captured = open.wait(buffer, self.wanted);
        self.ppm = open.follow.steer().ppm();
        Ok(captured.unwrap_or_else(|| {
            self.standby.lose();
            ReadOutcome::Nothing
        }))
    }

    fn want(&mut self, frames: usize) {
        self.wanted = frames;
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

    fn trouble(&self) -> Option<String> {
        self.standby.trouble()
    }

    fn figures(&self) -> EndFigures {
        let counts = self.standby.counts();
        let Some(open) = self.standby.stream() else { return counts };
        let ring = open.follow.average();
        let latency = open.device.health.latency();
        // What is given too slowly is stretched: the other way round.
        EndFigures { ring, drift_ppm: 0.0 - open.follow.steer().drift_ppm(), latency, ..counts }
    }
}

impl DeviceStream for Open {
    const DIRECTION: Direction = Direction::Input;

    fn open(backend: Backend, role: &Role) -> Result<Self, AudioError> {
        let mut ring = None;
        let device = open(backend, role, Direction::Input, |device, how, config, health| {
            // A second of sound: whoever is later than that has other worries.
            let room = config.sample_rate as usize * usize::from(config.channels);
            let (producer, consumer) = HeapRb::new(room).split();
            ring = Some(consumer);
            make(device, how, config, producer, health)
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
    /// Waits for sound, `wanted` sample frames of it if they come in time; `None` if the device is lost.
    fn wait(&mut self, buffer: &mut [f32], wanted: usize) -> Option<ReadOutcome> {
        let channels = usize::from(self.device.format.channels.max(1));
        let deadline = Instant::now() + READ_TIMEOUT;
        let wanted = wanted.clamp(1, (buffer.len() / channels).max(1));
        if self.ring.occupied_len() < wanted * channels {
            self.device.health.lacks();
        }
        self.device.health.want(wanted);
        loop {
            let there = self.ring.occupied_len() / channels * channels;
            let left = deadline.saturating_duration_since(Instant::now());
            if there >= wanted * channels || (there > 0 && left.is_zero()) {
                self.device.health.taken();
                let take = there.min(buffer.len() / channels * channels);
                let samples = self.ring.pop_slice(&mut buffer[..take]);
                let left = (there - samples) as f64 / channels as f64 / f64::from(self.device.format.rate);
                let (now, health) = (Instant::now(), &self.device.health);
                let age_of_stream = health.age();
                let since = age_of_stream.saturating_sub(health.last_callback().unwrap_or(age_of_stream));
                self.follow.gave(age_of_stream, samples / channels, (there - samples) / channels, since);
                let age = Duration::from_secs_f64(left) + self.device.health.latency();
                return Some(ReadOutcome::Samples { samples, at: now.checked_sub(age).unwrap_or(now) });
            }
            if self.device.health.is_lost() {
                return None;
            }
            if left.is_zero() {
                return Some(ReadOutcome::Nothing);
            }
            // The callback ends this.
            std::thread::park_timeout(left.min(NAP));
        }
    }
}

/// What the callbacks have.
struct CaptureCallback<P> {
    ring: P,
    health: Arc<StreamMonitor>,
    channels: usize,
    rate: u32,
    begun: bool,
}

impl<P: Producer<Item = f32>> CaptureCallback<P> {
    fn take(&mut self, count: usize, samples: impl Iterator<Item = f32>, latency: Duration) {
        begin(&mut self.begun, self.rate);
        self.health.comes(self.rate);
        // Whole sample frames only, so that channels never change places. What does not fit is the newest, and lost:
        // the reader alone may take out the oldest.
        let room = self.ring.vacant_len() / self.channels * self.channels;
        self.ring.push_iter(samples.take(room));
        if room < count {
            self.health.lost_sound(true);
        }
        self.health.called(count / self.channels, latency);
        self.health.holds(self.ring.occupied_len() / self.channels);
    }
}

fn make(
    device: &cpal::Device,
    make: Make,
    config: StreamConfig,
    ring: impl Producer<Item = f32> + Send + 'static,
    health: Arc<StreamMonitor>,
) -> Option<Result<Running, cpal::Error>> {
    let channels = usize::from(config.channels.max(1));
    let mut taker = CaptureCallback { ring, health, channels, rate: config.sample_rate, begun: false };
    match make {
        Make::Pulse(name) => {
            let on_data = move |count: usize, samples: &mut dyn Iterator<Item = f32>, latency| {
                taker.take(count, samples, latency)
            };
            Some(pulse::capture(&name, &config, on_data).map(Running::Pulse))
        }
        Make::Cpal(format) => {
            with_sample_type!(format, build(device, config, taker)).map(|stream| stream.map(Running::Cpal))
        }
    }
}

fn build<T: SizedSample>(
    device: &cpal::Device,
    config: StreamConfig,
    mut taker: CaptureCallback<impl Producer<Item = f32> + Send + 'static>,
) -> Result<cpal::Stream, cpal::Error>
where
    f32: FromSample<T>,
{
    let mut faults = Faults::new(&taker.health);
    device.build_input_stream::<T, _, _>(
        config,
        move |samples: &[T], info: &InputCallbackInfo| {
            let timestamp = info.timestamp();
            let latency = timestamp.callback.saturating_duration_since(timestamp.capture);
            taker.take(samples.len(), samples.iter().map(|&sample| f32::from_sample_(sample)), latency);
        },
        move |error| faults.met(&error),
        Some(Duration::from_secs(2)),
    )
}
