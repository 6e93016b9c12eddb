use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cpal::{FromSample, OutputCallbackInfo, SampleFormat, SizedSample, StreamConfig, traits::DeviceTrait};
use ringbuf::{
    HeapProd, HeapRb,
    traits::{Consumer, Observer, Producer, Split},
};

use super::{
    super::{AudioError, EndFigures, Format, Sink, WriteOutcome},
    Backend, DeviceChoice, Direction, Make, Opened, PERIOD, Running, begin,
    failover::{DeviceStream, Role, Standby},
    faults::Faults,
    open,
    playout_clock::{PlayoutClock, Seen},
    pulse,
    stream_monitor::StreamMonitor,
    unsupported, with_sample_type,
};

/// How long what waits in the ring is given to be taken at the end, and how long the sound system is given to play the last of it.
const MAX_WAIT: Duration = Duration::from_millis(200);
const MAX_DRAIN: Duration = Duration::from_millis(300);

/// A loudspeaker, and whatever takes its place.
///
/// It takes 10 ms of sound at once, and the next when they are due by the machine's clock. How its ring is held at its fill by
/// that, `pace` says; an owner who does not steer is paced by the device's clock instead, at the same fill.
pub struct DeviceSink {
    format: Format,
    standby: Standby<Open>,
    /// What was told last: it stays while there is no device.
    ppm: f64,
}

struct Open {
    ring: HeapProd<f32>,
    pace: PlayoutClock,
    device: Opened,
}

impl DeviceSink {
    /// Opens the device. It plays silence until something is written.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be used.
    pub fn open(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        Ok(Self::of(Standby::<Open>::open(backend, choice)?, Format { rate: 1, channels: 1 }))
    }

    /// Opens the device, or one in its place; if there is none, one that comes later is taken, and until then nothing is heard.
    /// `rate` is told as the format's until there is a device.
    pub fn open_or_wait(backend: Backend, choice: &DeviceChoice, rate: u32) -> Self {
        Self::of(Standby::<Open>::open_or_wait(backend, choice), Format { rate, channels: 1 })
    }

    fn of(standby: Standby<Open>, otherwise: Format) -> Self {
        let format = standby.stream().map_or(otherwise, |open| open.device.format);
        Self { format, standby, ppm: 0.0 }
    }

    fn changed(&mut self, notice: String) -> WriteOutcome {
        self.format = self.standby.stream().map_or(self.format, |open| open.device.format);
        WriteOutcome::Changed { format: self.format, notice }
    }
}

impl Sink for DeviceSink {
    fn format(&self) -> Format {
        self.format
    }

    fn write(&mut self, samples: &[f32]) -> Result<WriteOutcome, AudioError> {
        if let Some(notice) = self.standby.follow() {
            return Ok(self.changed(notice));
        }
        let Some(open) = self.standby.stream_mut() else {
            // As long as the samples would have lasted: whoever plays on is paced as before.
            let frames = samples.len() as f64 / f64::from(self.format.channels.max(1));
            let time = Duration::from_secs_f64(frames / f64::from(self.format.rate.max(1)));
            return Ok(match self.standby.wait(time) {
                None => WriteOutcome::Away,
                Some(notice) => self.changed(notice),
            });
        };
        let played = open.write(samples);
        self.ppm = open.pace.steer().ppm();
        Ok(played.unwrap_or_else(|| {
            self.standby.lose();
            WriteOutcome::Away
        }))
    }

    fn underruns(&self) -> u64 {
        self.standby.counts().xruns
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
        let health = &open.device.health;
        let period = health.period();
        let ring = open.pace.average(period);
        let callback = Duration::from_secs_f64(period as f64 / f64::from(self.format.rate.max(1)));
        // The first sample of a block finds what is held beyond blocks and callbacks, and the callback's own sound, before it.
        let latency = open.pace.held() + callback + health.latency();
        EndFigures { ring, drift_ppm: open.pace.steer().drift_ppm(), latency, ..counts }
    }

    fn finish(self: Box<Self>) -> Result<(), AudioError> {
        if let Some(open) = self.standby.stream() {
            let health = &open.device.health;
            // What waits is still heard, if the device plays it in reasonable time.
            let deadline = Instant::now() + MAX_WAIT + health.latency();
            while !open.ring.is_empty() && Instant::now() < deadline && !health.is_lost() {
                std::thread::sleep(Duration::from_millis(2));
            }
            // The last of it is on its way through the sound system now.
            if !health.is_lost() {
                std::thread::sleep((health.latency() + PERIOD).min(MAX_DRAIN));
            }
        }
        Ok(())
    }
}

impl DeviceStream for Open {
    const DIRECTION: Direction = Direction::Output;

    fn open(backend: Backend, role: &Role) -> Result<Self, AudioError> {
        let mut ring = None;
        let device = open(backend, role, Direction::Output, |device, how, config, health| {
            // A second of sound: whoever is later than that has other worries.
            let room = config.sample_rate as usize * usize::from(config.channels);
            let (producer, consumer) = HeapRb::new(room).split();
            ring = Some(producer);
            make(device, how, config, consumer, health)
        })?;
        // A device that opened has had its ring made.
        let missing = || unsupported(Direction::Output, &device.name, SampleFormat::F32);
        let ring = ring.ok_or_else(missing)?;
        Ok(Self { ring, pace: PlayoutClock::new(device.format.rate), device })
    }

    fn device(&self) -> &Opened {
        &self.device
    }
}

impl Open {
    /// Waits until the samples are due and takes them; `None` if the device is lost.
    fn write(&mut self, samples: &[f32]) -> Option<WriteOutcome> {
        let channels = usize::from(self.device.format.channels.max(1));
        let rate = f64::from(self.device.format.rate.max(1));
        let health = &self.device.health;
        loop {
            if health.is_lost() {
                return None;
            }
            let wait = self.pace.wait(health.age());
            if wait.is_zero() {
                break;
            }
            std::thread::sleep(wait.min(MAX_WAIT));
        }
        if self.pace.begins() {
            let now = health.age();
            let seen = Seen {
                waiting: self.ring.occupied_len() / channels,
                since_callback: health.last_callback().map(|last| now.saturating_sub(last)),
                dry: health.take_dry(),
                settled: health.has_settled(),
            };
            if let Some(slack) = health.take_slack() {
                self.pace.left(now, slack);
            }
            let silence = self.pace.begin(now, seen) * channels;
            self.ring.push_iter(std::iter::repeat_n(0.0, silence));
        }
        let waiting = (self.ring.occupied_len() / channels) as f64 / rate;
        let now = health.age();
        // The callback's own sound goes before what waits; it began when the callback said.
        let (ahead, passed) = match health.last_callback() {
            Some(last) => (health.period() as f64 / rate, now.saturating_sub(last)),
            None => (0.0, Duration::ZERO),
        };
        let ahead = Duration::from_secs_f64(waiting + ahead) + health.latency();
        let skipped = self.pace.take(samples.len() / channels) * channels;
        // Whole sample frames only, and what is longer than the ring is cut to it.
        let room = self.ring.vacant_len() / channels * channels;
        let given = samples.get(skipped..).unwrap_or_default();
        self.ring.push_slice(&given[..given.len().min(room)]);
        health.due_in(self.pace.wait(health.age()));
        Some(WriteOutcome::At(Instant::now() + ahead.saturating_sub(passed)))
    }
}

/// What the callbacks have.
struct Giver<C> {
    ring: C,
    health: Arc<StreamMonitor>,
    channels: usize,
    rate: u32,
    begun: bool,
    playing: bool,
    /// The callback before found too little; and whether the owner was why.
    dry: Option<bool>,
}

impl<C: Consumer<Item = f32>> Giver<C> {
    /// Gives `count` samples to `put`, by their places.
    fn give(&mut self, count: usize, mut put: impl FnMut(usize, f32), latency: Duration) {
        begin(&mut self.begun, self.rate);
        let mut filled = 0;
        for sample in self.ring.pop_iter().take(count) {
            put(filled, sample);
            filled += 1;
        }
        for place in filled..count {
            put(place, 0.0);
        }
        // Counted when sound comes again: silence before the first, and after the last, is not a fault.
        if filled > 0
            && let Some(owner) = self.dry.take()
        {
            self.health.lost_sound(owner);
        }
        self.playing |= filled > 0;
        if filled < count {
            if self.playing {
                let owner = self.health.is_overdue();
                self.dry.get_or_insert(owner);
            }
            self.health.ran_dry();
        } else {
            self.health.left(self.ring.occupied_len() / self.channels);
        }
        self.health.called(count / self.channels, latency);
    }
}

fn make(
    device: &cpal::Device,
    make: Make,
    config: StreamConfig,
    ring: impl Consumer<Item = f32> + Send + 'static,
    health: Arc<StreamMonitor>,
) -> Option<Result<Running, cpal::Error>> {
    let channels = usize::from(config.channels.max(1));
    let mut giver = Giver { ring, health, channels, rate: config.sample_rate, begun: false, playing: false, dry: None };
    match make {
        Make::Pulse(name) => {
            let on_data = move |count: usize, put: &mut dyn FnMut(usize, f32), latency| giver.give(count, put, latency);
            Some(pulse::play(&name, &config, on_data).map(Running::Pulse))
        }
        Make::Cpal(format) => {
            with_sample_type!(format, build(device, config, giver)).map(|stream| stream.map(Running::Cpal))
        }
    }
}

fn build<T: SizedSample + FromSample<f32>>(
    device: &cpal::Device,
    config: StreamConfig,
    mut giver: Giver<impl Consumer<Item = f32> + Send + 'static>,
) -> Result<cpal::Stream, cpal::Error> {
    let mut faults = Faults::new(&giver.health);
    device.build_output_stream::<T, _, _>(
        config,
        move |samples: &mut [T], info: &OutputCallbackInfo| {
            let timestamp = info.timestamp();
            let latency = timestamp.playback.saturating_duration_since(timestamp.callback);
            giver.give(samples.len(), |place, sample| samples[place] = T::from_sample_(sample), latency);
        },
        move |error| faults.met(&error),
        Some(Duration::from_secs(2)),
    )
}
