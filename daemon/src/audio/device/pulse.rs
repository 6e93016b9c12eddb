//! Streams of PulseAudio (or PipeWire in its place), by its client library alone.
//!
//! cpal's own do the same, but ask the server how late it is after every callback, from a thread for each stream: two messages
//! and four wakes for each piece of sound. Here that is asked a few times a second, by who watches the device anyway. cpal still
//! finds the devices.

use std::{
    ffi::CString,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};

use cpal::{BufferSize, ErrorKind, StreamConfig};
use pulseaudio::{
    AsPlaybackSource, Client, ClientError, PlaybackStream, RecordStream,
    protocol::{
        ChannelMap, ChannelPosition, PlaybackStreamParams, RecordStreamParams, SampleFormat, SampleSpec,
        stream::{BufferAttr, StreamFlags},
    },
};

/// How long the server may take to answer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a sample: they are floats, whatever the device has; the server converts them.
const SAMPLE: usize = size_of::<f32>();

/// How long captured sound that we have not fetched is kept by the server, in periods. What is more is lost.
const KEPT: u32 = 100;

/// A stream that runs; dropped, it ends.
pub(super) struct Stream {
    handle: Handle,
    latency: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Handle {
    Playback(PlaybackStream),
    Record(RecordStream),
}

/// Captures from the source of this name; each piece of interleaved sound is given to `on_data`, with how old it is, on the client
/// library's thread.
///
/// # Errors
/// If the server refuses, or does not answer.
pub(super) fn capture(
    source: &str,
    config: &StreamConfig,
    mut on_data: impl FnMut(usize, &mut dyn Iterator<Item = f32>, Duration) + Send + 'static,
) -> Result<Stream, cpal::Error> {
    let latency = Arc::new(AtomicU64::new(0));
    let known = Arc::clone(&latency);
    let callback = move |bytes: &[u8]| {
        let mut samples =
            bytes.chunks_exact(SAMPLE).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        on_data(bytes.len() / SAMPLE, &mut samples, Duration::from_micros(known.load(Ordering::Relaxed)));
    };
    let period = period(config);
    // Half of what is asked for is given to the device, whose pieces come as they are: so twice a period.
    let buffer_attr = period.map_or_else(BufferAttr::default, |period| BufferAttr {
        max_length: period.saturating_mul(KEPT),
        fragment_size: period.saturating_mul(2),
        ..BufferAttr::default()
    });
    let parameters = RecordStreamParams {
        sample_spec: sample_spec(config),
        channel_map: channel_map(config.channels),
        source_name: Some(name(source)?),
        buffer_attr,
        flags: flags(period),
        ..RecordStreamParams::default()
    };
    let client = connection()?;
    let stream = ask(client.create_record_stream(parameters, callback))?;
    // A server may be silent for up to two seconds at first. What is silent for longer is found out by who waits for sound.
    let _ = ask(stream.started());
    let stream = Stream { handle: Handle::Record(stream), latency };
    stream.look();
    Ok(stream)
}

/// Plays to the sink of this name; `on_data` fills so many interleaved samples, which are heard so much later, on the client
/// library's thread.
///
/// # Errors
/// If the server refuses, or does not answer.
pub(super) fn play(
    sink: &str,
    config: &StreamConfig,
    mut on_data: impl FnMut(usize, &mut dyn FnMut(usize, f32), Duration) + Send + 'static,
) -> Result<Stream, cpal::Error> {
    // The server takes streams of one number for synchronised, and they must all go to one sink.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let latency = Arc::new(AtomicU64::new(0));
    let target = Arc::new(AtomicU32::new(0));
    let (known, holds) = (Arc::clone(&latency), Arc::clone(&target));
    let spec = sample_spec(config);
    let callback = move |bytes: &mut [u8]| {
        let count = bytes.len() / SAMPLE;
        // The server asks for what its buffer lacks: the rest of the buffer is heard before it.
        let before = (holds.load(Ordering::Relaxed) as usize).saturating_sub(bytes.len());
        let wait = spec.bytes_to_duration(before) + Duration::from_micros(known.load(Ordering::Relaxed));
        let mut put = |place: usize, sample: f32| {
            if let Some(place) = bytes.get_mut(place * SAMPLE..(place + 1) * SAMPLE) {
                place.copy_from_slice(&sample.to_le_bytes());
            }
        };
        on_data(count, &mut put, wait);
        bytes.len()
    };
    let period = period(config);
    // Twice a period in all. With as much asked for at once as is half of it, the device is left the least that it can.
    let buffer_attr = period.map_or_else(BufferAttr::default, |period| BufferAttr {
        max_length: period.saturating_mul(2),
        target_length: period.saturating_mul(2),
        minimum_request_length: period,
        ..BufferAttr::default()
    });
    let parameters = PlaybackStreamParams {
        sample_spec: spec,
        channel_map: channel_map(config.channels),
        sink_name: Some(name(sink)?),
        buffer_attr,
        sync_id: NUMBER.fetch_add(1, Ordering::Relaxed),
        flags: flags(period),
        ..PlaybackStreamParams::default()
    };
    let client = connection()?;
    let stream = ask(client.create_playback_stream(parameters, callback.as_playback_source()))?;
    target.store(stream.buffer_attr().target_length, Ordering::Relaxed);
    let stream = Stream { handle: Handle::Playback(stream), latency };
    stream.look();
    Ok(stream)
}

impl Stream {
    /// Asks the server how late its device is.
    fn look(&self) {
        self.looker()();
    }

    /// What asks that, for another thread: false if there is no answer.
    pub(super) fn looker(&self) -> impl Fn() -> bool + Send + use<> {
        let (handle, latency) = (self.handle.clone(), Arc::clone(&self.latency));
        move || {
            let told = match &handle {
                Handle::Playback(stream) => ask(stream.timing_info()).map(|told| told.sink_usec),
                Handle::Record(stream) => ask(stream.timing_info()).map(|told| {
                    let waits = usize::try_from(told.write_offset - told.read_offset).unwrap_or(0);
                    let waits = stream.sample_spec().bytes_to_duration(waits).as_micros();
                    told.source_usec + u64::try_from(waits).unwrap_or(0)
                }),
            };
            if let Ok(told) = told {
                // Somewhere between two pieces of sound: the mean of many is what counts.
                let before = latency.load(Ordering::Relaxed);
                let now = if before == 0 { told } else { (7 * before + told) / 8 };
                latency.store(now, Ordering::Relaxed);
            }
            told.is_ok()
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Somebody may still look; the server is to end it now. Nobody waits for it to agree.
        match &self.handle {
            Handle::Playback(stream) => drop(begun(stream.clone().delete())),
            Handle::Record(stream) => drop(begun(stream.clone().delete())),
        }
    }
}

/// A connection to the server, for all streams: made once, and anew when the server has gone and come again. (Its thread ends only
/// with the server.)
fn connection() -> Result<Client, cpal::Error> {
    static CONNECTION: Mutex<Option<Client>> = Mutex::new(None);
    let mut connection = CONNECTION.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = connection.as_ref()
        && ask(client.server_info()).is_ok()
    {
        return Ok(client.clone());
    }
    *connection = None;
    let client = Client::from_env(c"parlo")?;
    Ok(connection.insert(client).clone())
}

fn name(device: &str) -> Result<CString, cpal::Error> {
    CString::new(device).map_err(|_| cpal::Error::with_message(ErrorKind::DeviceNotAvailable, "its name is none"))
}

fn sample_spec(config: &StreamConfig) -> SampleSpec {
    let channels = u8::try_from(config.channels).unwrap_or(u8::MAX);
    SampleSpec { format: SampleFormat::Float32Le, channels, sample_rate: config.sample_rate }
}

/// One and two channels are what they are called; more are numbered, as nothing is said of who stands where.
fn channel_map(channels: u16) -> ChannelMap {
    use ChannelPosition as At;
    match channels {
        1 => ChannelMap::new([At::Mono]),
        2 => ChannelMap::new([At::FrontLeft, At::FrontRight]),
        6 => ChannelMap::new([At::FrontLeft, At::FrontRight, At::FrontCenter, At::Lfe, At::RearLeft, At::RearRight]),
        more => {
            let numbered = [
                At::Aux0,
                At::Aux1,
                At::Aux2,
                At::Aux3,
                At::Aux4,
                At::Aux5,
                At::Aux6,
                At::Aux7,
                At::Aux8,
                At::Aux9,
                At::Aux10,
                At::Aux11,
                At::Aux12,
                At::Aux13,
                At::Aux14,
                At::Aux15,
                At::Aux16,
                At::Aux17,
                At::Aux18,
                At::Aux19,
                At::Aux20,
                At::Aux21,
                At::Aux22,
                At::Aux23,
                At::Aux24,
                At::Aux25,
                At::Aux26,
                At::Aux27,
                At::Aux28,
                At::Aux29,
                At::Aux30,
                At::Aux31,
            ];
            ChannelMap::new(numbered.into_iter().take(usize::from(more)))
        }
    }
}

/// Bytes of the period that is asked for, if one is.
fn period(config: &StreamConfig) -> Option<u32> {
    let BufferSize::Fixed(frames) = config.buffer_size else { return None };
    Some(frames.saturating_mul(u32::from(config.channels)).saturating_mul(SAMPLE as u32))
}

/// With a period, the device is to keep to it too.
fn flags(period: Option<u32>) -> StreamFlags {
    StreamFlags { adjust_latency: period.is_some(), ..StreamFlags::default() }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the server's answer, within [`SERVER_TIMEOUT`].
fn ask<T>(question: impl Future<Output = Result<T, ClientError>>) -> Result<T, cpal::Error> {
    let mut question = pin!(question);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let until = Instant::now() + SERVER_TIMEOUT;
    loop {
        if let Poll::Ready(answer) = question.as_mut().poll(&mut context) {
            return Ok(answer?);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(cpal::Error::with_message(ErrorKind::DeviceNotAvailable, "the sound server does not answer"));
        }
        std::thread::park_timeout(left);
    }
}

/// Asks, and does not wait for the answer.
fn begun<T>(question: impl Future<Output = T>) -> bool {
    let mut question = pin!(question);
    question.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}
