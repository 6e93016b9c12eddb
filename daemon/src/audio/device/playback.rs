use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cpal::{
    FromSample, OutputCallbackInfo, SampleFormat, SizedSample, StreamConfig,
    traits::{DeviceTrait, StreamTrait},
};
use ringbuf::{
    HeapProd, HeapRb,
    traits::{Consumer, Observer, Producer, Split},
};

use super::{
    super::{AudioError, Format, Played, Sink},
    Backend, DeviceChoice, Direction, Health, PERIOD, Replacement, attempts, config, find, format_of, refused,
    unsupported, watch,
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
    /// Name and id: several devices may share a name.
    name: String,
    /// The sound system that it belongs to, which is where another is looked for.
    backend: Backend,
    format: Format,
    ring: HeapProd<f32>,
    health: Arc<Health>,
    // Dropped last: it ends the callbacks.
    _stream: cpal::Stream,
}

impl DeviceSink {
    /// Opens the device. It plays silence until something is written.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be used.
    pub fn open(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let open = Open::new(backend, choice)?;
        Ok(Self { format: open.format, stream: State::Open(open), xruns: 0 })
    }

    fn lose(&mut self) {
        if let State::Open(open) = &self.stream {
            self.xruns += open.underruns();
            let name = open.name.clone();
            let backend = open.backend;
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
                        let notice = format!("the loudspeaker \"{name}\" went away; now playing to \"{}\"", open.name);
                        self.format = open.format;
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
            let deadline = Instant::now() + 4 * WAITING + open.health.latency();
            while !open.ring.is_empty() && Instant::now() < deadline && !open.health.is_lost() {
                std::thread::sleep(Duration::from_millis(2));
            }
            // The last of it is on its way through the sound system now.
            if !open.health.is_lost() {
                std::thread::sleep((open.health.latency() + PERIOD).min(MAX_DRAIN));
            }
        }
        Ok(())
    }
}

impl Open {
    fn new(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let (name, device, backend) = find(backend, choice, Direction::Output)?;
        let wrong = |error: &cpal::Error| refused(Direction::Output, &name, error);
        let supported = config(&device, Direction::Output).map_err(|error| wrong(&error))?;
        let format = format_of(&supported);
        let mut last = None;
        for attempt in attempts(&supported) {
            let (ring, consumer) = HeapRb::new(format.rate as usize * usize::from(format.channels)).split();
            let health = Arc::new(Health::new());
            let make = match supported.sample_format() {
                SampleFormat::F32 => build::<f32>,
                SampleFormat::F64 => build::<f64>,
                SampleFormat::I8 => build::<i8>,
                SampleFormat::I16 => build::<i16>,
                SampleFormat::I24 => build::<cpal::I24>,
                SampleFormat::I32 => build::<i32>,
                SampleFormat::U8 => build::<u8>,
                SampleFormat::U16 => build::<u16>,
                SampleFormat::U32 => build::<u32>,
                other => return Err(unsupported(Direction::Output, &name, other)),
            };
            match make(&device, attempt, consumer, Arc::clone(&health))
                .and_then(|stream| stream.play().map(|()| stream))
            {
                Ok(stream) => {
                    watch(&device, Direction::Output, &health);
                    return Ok(Self { name, backend, format, ring, health, _stream: stream });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .map_or_else(|| unsupported(Direction::Output, &name, supported.sample_format()), |error| wrong(&error)))
    }

    fn underruns(&self) -> u64 {
        self.health.xruns.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits for room and adds the samples; `None` if the device is lost.
    fn write(&mut self, samples: &[f32]) -> Option<Played> {
        let channels = usize::from(self.format.channels.max(1));
        let second = f64::from(self.format.rate) * channels as f64;
        let most = (WAITING.as_secs_f64() * second) as usize;
        loop {
            let waiting = self.ring.occupied_len();
            if waiting == 0 || (waiting <= most && self.ring.vacant_len() >= samples.len()) {
                let time = Duration::from_secs_f64(waiting as f64 / second) + self.health.latency();
                // A block longer than the ring is cut to it.
                self.ring.push_slice(samples);
                return Some(Played::At(Instant::now() + time));
            }
            if self.health.is_lost() {
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
