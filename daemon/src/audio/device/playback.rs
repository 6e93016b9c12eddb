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
    super::{AudioError, Format, Played, Sink},
    Backend, DeviceChoice, Direction, Health, Opened, PERIOD, Replacement, open, unsupported, with_sample_type,
};

/// Sound that waits in the ring at most when a block is added to it: two callbacks' worth.
const WAITING: Duration = Duration::from_millis(20);

/// How long the sound system is given to play the last of it.
const MAX_DRAIN: Duration = Duration::from_millis(300);

/// A loudspeaker, and whatever becomes the default when it goes away.
pub struct DeviceSink {
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
    ring: HeapProd<f32>,
    device: Opened,
}

impl DeviceSink {
    /// Opens the device. It plays silence until something is written.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be used.
    pub fn open(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let open = Open::new(backend, choice)?;
        Ok(Self { format: open.device.format, stream: State::Open(open), xruns: 0 })
    }

    fn lose(&mut self) {
        if let State::Open(open) = &self.stream {
            self.xruns += open.underruns();
            let name = open.device.name.clone();
            let backend = open.device.backend;
            let replacement = Replacement::find(move || Open::new(backend, &DeviceChoice::Default));
            let old = std::mem::replace(&mut self.stream, State::Lost { name, replacement });
            // Closing a dead stream can wait for its server: not on this thread.
            std::thread::spawn(move || drop(old));
        }
    }
}

impl Sink for DeviceSink {
    fn format(&self) -> Format {
        self.format
    }

    fn write(&mut self, samples: &[f32]) -> Result<Played, AudioError> {
        match &mut self.stream {
            State::Open(open) => match open.write(samples) {
                Some(played) => Ok(played),
                None => {
                    self.lose();
                    Ok(Played::Away)
                }
            },
            State::Lost { name, replacement } => {
                // As long as the samples would have lasted: whoever plays on is paced as before.
                let frames = samples.len() as f64 / f64::from(self.format.channels.max(1));
                let time = Duration::from_secs_f64(frames / f64::from(self.format.rate.max(1)));
                match replacement.wait(time) {
                    None => Ok(Played::Away),
                    Some(open) => {
                        let notice =
                            format!("the loudspeaker \"{name}\" went away; now playing to \"{}\"", open.device.name);
                        self.format = open.device.format;
                        self.stream = State::Open(open);
                        Ok(Played::Changed { format: self.format, notice })
                    }
                }
            }
        }
    }

    fn underruns(&self) -> u64 {
        let now = if let State::Open(open) = &self.stream { open.underruns() } else { 0 };
        self.xruns + now
    }

    fn finish(self: Box<Self>) -> Result<(), AudioError> {
        if let State::Open(open) = &self.stream {
            // What waits is still heard, if the device plays it in reasonable time.
            let deadline = Instant::now() + 4 * WAITING + open.device.health.latency();
            while !open.ring.is_empty() && Instant::now() < deadline && !open.device.health.is_lost() {
                std::thread::sleep(Duration::from_millis(2));
            }
            // The last of it is on its way through the sound system now.
            if !open.device.health.is_lost() {
                std::thread::sleep((open.device.health.latency() + PERIOD).min(MAX_DRAIN));
            }
        }
        Ok(())
    }
}

impl Open {
    fn new(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let mut ring = None;
        let device = open(backend, choice, Direction::Output, |device, format, config, health| {
            // A second of sound: whoever is later than that has other worries.
            let room = config.sample_rate as usize * usize::from(config.channels);
            let (producer, consumer) = HeapRb::new(room).split();
            ring = Some(producer);
            with_sample_type!(format, build(device, config, consumer, health))
        })?;
        // A device that opened has had its ring made.
        let missing = || unsupported(Direction::Output, &device.name, SampleFormat::F32);
        let ring = ring.ok_or_else(missing)?;
        Ok(Self { ring, device })
    }

    fn underruns(&self) -> u64 {
        self.device.health.xruns.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits for room and adds the samples; `None` if the device is lost.
    fn write(&mut self, samples: &[f32]) -> Option<Played> {
        let channels = usize::from(self.device.format.channels.max(1));
        let second = f64::from(self.device.format.rate) * channels as f64;
        let most = (WAITING.as_secs_f64() * second) as usize;
        loop {
            let waiting = self.ring.occupied_len();
            if waiting == 0 || (waiting <= most && self.ring.vacant_len() >= samples.len()) {
                let time = Duration::from_secs_f64(waiting as f64 / second) + self.device.health.latency();
                // A block longer than the ring is cut to it.
                self.ring.push_slice(samples);
                return Some(Played::At(Instant::now() + time));
            }
            if self.device.health.is_lost() {
                return None;
            }
            let excess = Duration::from_secs_f64(waiting.saturating_sub(most) as f64 / second);
            std::thread::sleep(excess.clamp(Duration::from_micros(500), Duration::from_millis(5)));
        }
    }
}

fn build<T: SizedSample + FromSample<f32>>(
    device: &cpal::Device,
    config: StreamConfig,
    mut ring: impl Consumer<Item = f32> + Send + 'static,
    health: Arc<Health>,
) -> Result<cpal::Stream, cpal::Error> {
    let (on_data, on_error) = (Arc::clone(&health), health);
    let (mut playing, mut dry) = (false, false);
    device.build_output_stream::<T, _, _>(
        config,
        move |samples: &mut [T], info: &OutputCallbackInfo| {
            let timestamp = info.timestamp();
            on_data.called(timestamp.playback.saturating_duration_since(timestamp.callback));
            let mut filled = 0;
            for (place, sample) in samples.iter_mut().zip(ring.pop_iter()) {
                *place = T::from_sample_(sample);
                filled += 1;
            }
            samples[filled..].fill(T::EQUILIBRIUM);
            // Counted when sound comes again: silence before the first, and after the last, is not a fault.
            if filled > 0 && dry {
                on_data.xruns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            playing |= filled > 0;
            dry = playing && filled < samples.len();
        },
        move |error| on_error.failed(&error),
        Some(Duration::from_secs(2)),
    )
}
