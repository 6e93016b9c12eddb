//! Sound cards, found by cpal: through PulseAudio (or PipeWire in its place) if such a server answers, else through ALSA.
//!
//! The sound system's callbacks touch a wait-free ring and atomics, and nothing else. A device that goes away is replaced by
//! the default one, while the thread goes on; one that was asked for by name and comes back is taken again; and where the default
//! was asked for, what becomes the default is followed.
//!
//! No device has the machine's clock: captured sound is handed on as it comes, and played sound is taken when it is due by the
//! machine's clock; each tells its owner how to steer a resampler so that neither ever has too much or too little. What a block of
//! sound waits for: 10 ms until the callback brings it; on the way out some milliseconds in the ring (how many is learned), its own
//! length, and 10 ms in the callback's buffer.

mod capture;
mod drift;
mod failover;
mod faults;
mod playback;
mod playout_clock;
mod pulse;
mod quiet;
mod stream_monitor;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use capture::DeviceSource;
use cpal::{
    BufferSize, Device, ErrorKind, Host, HostId, SampleFormat, StreamConfig, SupportedStreamConfig,
    traits::{DeviceTrait, HostTrait, StreamTrait},
};
use failover::Role;
pub use playback::DeviceSink;
pub use quiet::{Errors, errors};
use stream_monitor::StreamMonitor;

use super::{AudioError, Format};

/// Length of the buffers asked for. Servers give what they like; the ring between makes up for that.
const PERIOD: Duration = Duration::from_millis(5);

/// How the ids of monitors end, in PulseAudio and in PipeWire.
const MONITOR: &str = ".monitor";

/// Which sound system to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// PulseAudio or PipeWire if it answers, else ALSA.
    #[default]
    Auto,
    /// PulseAudio, or PipeWire in its place.
    Pulse,
    /// ALSA.
    Alsa,
}

impl std::str::FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "pulse" => Ok(Self::Pulse),
            "alsa" => Ok(Self::Alsa),
            other => Err(format!("there is no sound system \"{other}\"; there are auto, pulse and alsa")),
        }
    }
}

/// Which device to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The system's default.
    Default,
    /// The one of this name or id: exactly, or the only one that has this in either in any case, or `#N` for number N
    /// of [`list`].
    Named(String),
}

/// Which way sound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a microphone.
    Input,
    /// To a loudspeaker.
    Output,
}

impl Direction {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// A device, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number in the list, from 0.
    pub index: usize,
    /// Its name, for people; several may share one.
    pub name: String,
    /// Its name within the sound system, which is its own.
    pub id: String,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether it is the default of its direction.
    pub is_default: bool,
    /// Whether it is no microphone but what this machine plays: it is used only where it is named.
    pub is_monitor: bool,
    /// What it takes or gives by default.
    pub format: Format,
}

/// The devices of a sound system, inputs first, and the sound system's name.
///
/// # Errors
/// If the sound system does not answer.
pub fn list(backend: Backend) -> Result<(String, Vec<DeviceInfo>), AudioError> {
    let (host, _) = host(backend, Direction::Input)?;
    quiet::about(&host, || {
        let mut devices = Vec::new();
        for direction in [Direction::Input, Direction::Output] {
            for Named { name, id, device, is_default } in named(&host, direction) {
                let format = format_of(&config(&device, direction).map_err(|error| refused(direction, &name, &error))?);
                let (index, is_monitor) = (devices.len(), is_monitor(direction, &id));
                devices.push(DeviceInfo { index, name, id, direction, is_default, is_monitor, format });
            }
        }
        Ok((host.id().name().to_string(), devices))
    })
}

/// Whether the device that is chosen is there, without opening it.
///
/// # Errors
/// If it is not, as opening it would say.
pub fn check(backend: Backend, choice: &DeviceChoice, direction: Direction) -> Result<(), AudioError> {
    let (host, backend) = host(backend, direction)?;
    quiet::about(&host, || {
        let (name, device, _) = find(&host, backend, choice, direction)?;
        // ALSA lists a default device on machines without any; only that it has no format shows it.
        config(&device, direction).map(drop).map_err(|error| unopened(choice, direction, &name, &error))
    })
}

/// The sound system, and which it is.
fn host(backend: Backend, direction: Direction) -> Result<(Arc<Host>, Backend), AudioError> {
    reach(backend).map_err(|error| AudioError::NoDevice { direction: direction.word(), reason: error.to_string() })
}

/// The host of PulseAudio is made once and kept for the process: cpal gives neither the thread nor the server's client slot
/// of a connection back, and a server has few. It is made anew when the server has gone and come again.
fn reach(backend: Backend) -> Result<(Arc<Host>, Backend), cpal::Error> {
    static SERVER: Mutex<Option<Arc<Host>>> = Mutex::new(None);
    let pulse = || -> Result<(Arc<Host>, Backend), cpal::Error> {
        let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = server.as_ref()
            && host.devices().is_ok()
        {
            return Ok((Arc::clone(host), Backend::Pulse));
        }
        *server = None;
        let host = server.insert(Arc::new(cpal::host_from_id(HostId::PulseAudio)?));
        Ok((Arc::clone(host), Backend::Pulse))
    };
    let alsa = || cpal::host_from_id(HostId::Alsa).map(|host| (Arc::new(host), Backend::Alsa));
    match backend {
        Backend::Auto => pulse().or_else(|_| alsa()),
        Backend::Pulse => pulse(),
        Backend::Alsa => alsa(),
    }
}

/// A device and what it is called.
struct Named {
    name: String,
    id: String,
    device: Device,
    is_default: bool,
}

/// Devices of one direction.
fn named(host: &Host, direction: Direction) -> Vec<Named> {
    let default = default(host, direction).and_then(|device| device.id().ok());
    let Ok(devices) = host.devices() else { return Vec::new() };
    let fits = |device: &Device| match direction {
        Direction::Input => device.supports_input(),
        Direction::Output => device.supports_output(),
    };
    devices
        .filter(fits)
        // ALSA lists converters and servers that are not there beside the cards; they have no format of their own.
        .filter(|device| config(device, direction).is_ok())
        .map(|device| {
            let id = device.id().ok();
            let is_default = default.is_some() && id == default;
            let id = id.map_or_else(String::new, |id| id.id().to_owned());
            Named { name: device.to_string(), id, device, is_default }
        })
        .collect()
}

/// The default device. Of microphones never a monitor, which is what a server takes where it has no real one: others would hear what
/// this machine plays. Then the first real one is.
fn default(host: &Host, direction: Direction) -> Option<Device> {
    match direction {
        Direction::Output => host.default_output_device(),
        Direction::Input => {
            let real = |device: &Device| device.id().is_ok_and(|id| !is_monitor(direction, id.id()));
            let asked = host.default_input_device()?;
            if real(&asked) {
                return Some(asked);
            }
            host.devices().ok()?.find(|device| device.supports_input() && real(device))
        }
    }
}

/// Whether a source is what a sink plays. Servers call it by its sink's name with this behind, whatever the user calls the sink.
fn is_monitor(direction: Direction, id: &str) -> bool {
    direction == Direction::Input && id.ends_with(MONITOR)
}

/// Why there is no default device.
fn no_default(host: &Host, direction: Direction) -> String {
    let (server, way) = (host.id().name(), direction.word());
    if direction == Direction::Input && host.default_input_device().is_some() {
        return format!(
            "{server} has only monitors, by which others would hear what this machine plays; to send that, name one, as `parlo devices` \
             lists them"
        );
    }
    format!("{server} has no default {way} device")
}

/// The device that is chosen, what to call it, and the sound system that it belongs to.
fn find(
    host: &Host,
    backend: Backend,
    choice: &DeviceChoice,
    direction: Direction,
) -> Result<(String, Device, Backend), AudioError> {
    let full = |name: String, id: &str| if id.is_empty() || id == name { name } else { format!("{name} [{id}]") };
    let DeviceChoice::Named(wanted) = choice else {
        let device = default(host, direction)
            .ok_or_else(|| AudioError::NoDevice { direction: direction.word(), reason: no_default(host, direction) })?;
        let id = device.id().ok();
        return Ok((full(device.to_string(), id.as_ref().map_or("", |id| id.id())), device, backend));
    };
    let mut devices = named(host, direction);
    let names: Vec<(&str, &str)> = devices.iter().map(|device| (device.name.as_str(), device.id.as_str())).collect();
    let offset = if direction == Direction::Output { named(host, Direction::Input).len() } else { 0 };
    match choose(&names, wanted, direction, offset) {
        Some(index) => {
            let Named { name, id, device, .. } = devices.swap_remove(index);
            Ok((full(name, &id), device, backend))
        }
        None => {
            let all = names.iter().flat_map(|&(name, id)| [name, id]);
            let near = all.max_by(|a, b| {
                let likeness = |name| strsim::normalized_damerau_levenshtein(wanted, name);
                likeness(a).total_cmp(&likeness(b))
            });
            let near = near.filter(|name| strsim::normalized_damerau_levenshtein(wanted, name) > 0.5);
            let near = near.map(str::to_owned);
            let all = devices.iter().map(|device| format!("{} ({})", device.name, device.id)).collect();
            Err(AudioError::UnknownDevice { direction: direction.word(), name: wanted.clone(), near, all })
        }
    }
}

/// Which of these names and ids is meant, if it is clear. `#N` counts in the list of all devices, where these begin at
/// `offset`. A part of a name means a monitor only if it says so.
fn choose(names: &[(&str, &str)], wanted: &str, direction: Direction, offset: usize) -> Option<usize> {
    if let Some(number) = wanted.strip_prefix('#').and_then(|number| number.parse::<usize>().ok()) {
        return number.checked_sub(offset).filter(|&index| index < names.len());
    }
    let lower = wanted.to_lowercase();
    let only = |fits: &dyn Fn(&str) -> bool, monitors: bool| {
        let may_be = |id: &str| monitors || !is_monitor(direction, id);
        let mut found = names.iter().enumerate().filter(|(_, (name, id))| (fits(name) || fits(id)) && may_be(id));
        let first = found.next()?.0;
        found.next().is_none().then_some(first)
    };
    let part = |name: &str| name.to_lowercase().contains(&lower);
    let monitors = || lower.contains("monitor").then(|| only(&part, true)).flatten();
    only(&|name| name == wanted, true).or_else(|| only(&part, false)).or_else(monitors)
}

fn config(device: &Device, direction: Direction) -> Result<SupportedStreamConfig, cpal::Error> {
    match direction {
        Direction::Input => device.default_input_config(),
        Direction::Output => device.default_output_config(),
    }
}

fn format_of(config: &SupportedStreamConfig) -> Format {
    Format { rate: config.sample_rate(), channels: config.channels() }
}

/// The configurations to try, best first: the device's own rate and channels, with a short buffer, then with any.
fn attempts(config: &SupportedStreamConfig) -> [StreamConfig; 2] {
    let fixed = (f64::from(config.sample_rate()) * PERIOD.as_secs_f64()).ceil() as u32;
    [BufferSize::Fixed(fixed), BufferSize::Default].map(|buffer_size| StreamConfig {
        channels: config.channels(),
        sample_rate: config.sample_rate(),
        buffer_size,
    })
}

/// Why a device has no format: a default that is not there is none, whatever it is called.
fn unopened(choice: &DeviceChoice, direction: Direction, name: &str, error: &cpal::Error) -> AudioError {
    match (choice, error.kind()) {
        (DeviceChoice::Default, ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable) => {
            let reason = "the default device is not available".to_owned();
            AudioError::NoDevice { direction: direction.word(), reason }
        }
        _ => refused(direction, name, error),
    }
}

fn refused(direction: Direction, name: &str, error: &cpal::Error) -> AudioError {
    let advice = match error.kind() {
        ErrorKind::DeviceBusy => "; another program holds it",
        ErrorKind::PermissionDenied => "; this user may not: is it in the group \"audio\"?",
        ErrorKind::UnsupportedConfig => "; it refuses its own default rate: choose another device",
        _ => "",
    };
    AudioError::Device { direction: direction.word(), name: name.to_owned(), reason: format!("{error}{advice}") }
}

fn unsupported(direction: Direction, name: &str, format: SampleFormat) -> AudioError {
    let reason = format!("it has samples of the format {format}, which is not supported; choose another device");
    AudioError::Device { direction: direction.word(), name: name.to_owned(), reason }
}

/// A stream that runs, and what was found out on the way to it.
struct Opened {
    /// Name and id: several devices may share a name.
    name: String,
    /// What finds this very device again.
    key: String,
    /// The sound system that it belongs to, which is where another is looked for when it goes away.
    backend: Backend,
    format: Format,
    health: Arc<StreamMonitor>,
    // Dropped last: it ends the callbacks.
    _stream: Running,
}

/// What calls back.
enum Running {
    Pulse(pulse::Stream),
    /// Of all other sound systems.
    Cpal(#[allow(dead_code, reason = "it is there to be dropped")] cpal::Stream),
}

impl Running {
    fn started(self) -> Result<Self, cpal::Error> {
        if let Self::Cpal(stream) = &self {
            stream.play()?;
        }
        Ok(self)
    }
}

/// By which library a stream is made.
enum Make {
    /// PulseAudio's own; the device's name.
    Pulse(String),
    /// cpal, with samples of this format.
    Cpal(SampleFormat),
}

/// Opens the chosen device: `build` makes a stream of the configuration that it is given, which is the device's own, first with a
/// short buffer and then with any.
fn open(
    backend: Backend,
    role: &Role,
    direction: Direction,
    mut build: impl FnMut(&Device, Make, StreamConfig, Arc<StreamMonitor>) -> Option<Result<Running, cpal::Error>>,
) -> Result<Opened, AudioError> {
    let (host, backend) = host(backend, direction)?;
    quiet::about(&Arc::clone(&host), || open_at(&host, backend, role, direction, &mut build))
}

fn open_at(
    host: &Host,
    backend: Backend,
    role: &Role,
    direction: Direction,
    build: &mut impl FnMut(&Device, Make, StreamConfig, Arc<StreamMonitor>) -> Option<Result<Running, cpal::Error>>,
) -> Result<Opened, AudioError> {
    let (name, device, backend) = find(host, backend, role.choice(), direction)?;
    let key = device.id().map_or_else(|_| device.to_string(), |id| id.id().to_owned());
    let wrong = |error: &cpal::Error| refused(direction, &name, error);
    let supported = config(&device, direction).map_err(|error| unopened(role.choice(), direction, &name, &error))?;
    let mut last = None;
    for attempt in attempts(&supported) {
        let health = Arc::new(StreamMonitor::new());
        let make = match backend {
            Backend::Pulse => Make::Pulse(key.clone()),
            _ => Make::Cpal(supported.sample_format()),
        };
        let Some(stream) = build(&device, make, attempt, Arc::clone(&health)) else { break };
        match stream.and_then(Running::started) {
            Ok(stream) => {
                let looker = match &stream {
                    Running::Pulse(stream) => Some(stream.looker()),
                    Running::Cpal(_) => None,
                };
                failover::watch(&device, direction, role, &health, looker);
                return Ok(Opened { name, key, backend, format: format_of(&supported), health, _stream: stream });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| unsupported(direction, &name, supported.sample_format()), |error| wrong(&error)))
}

/// To be called at the beginning of each data callback: at the first, gives the thread that it runs on real-time priority, where the
/// system allows it. It is the library's own thread: PulseAudio's client has one for all streams, which would wait behind every
/// busy program. The one thing that a callback does beside its ring, once.
fn begin(begun: &mut bool, rate: u32) {
    if !std::mem::replace(begun, true) {
        // At normal priority sound comes too, if nothing else is in a hurry.
        let _ = crate::realtime::promote(rate, rate as usize / 100);
    }
}

/// Calls a function that is generic over the sample type with the type that the format stands for; `None` if there is none.
macro_rules! with_sample_type {
    ($format:expr, $build:ident($($argument:expr),*)) => {
        match $format {
            cpal::SampleFormat::F32 => Some($build::<f32>($($argument),*)),
            cpal::SampleFormat::F64 => Some($build::<f64>($($argument),*)),
            cpal::SampleFormat::I8 => Some($build::<i8>($($argument),*)),
            cpal::SampleFormat::I16 => Some($build::<i16>($($argument),*)),
            cpal::SampleFormat::I24 => Some($build::<cpal::I24>($($argument),*)),
            cpal::SampleFormat::I32 => Some($build::<i32>($($argument),*)),
            cpal::SampleFormat::U8 => Some($build::<u8>($($argument),*)),
            cpal::SampleFormat::U16 => Some($build::<u16>($($argument),*)),
            cpal::SampleFormat::U32 => Some($build::<u32>($($argument),*)),
            _ => None,
        }
    };
}
use with_sample_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_when_it_is_clear_which_is_meant() {
        let names =
            [("Built-in Audio", "hw:0"), ("USB Headset", "hw:1"), ("USB Camera", "hw:2"), ("Twin", "a"), ("Twin", "b")];
        assert_eq!(choose(&names, "USB Camera", Direction::Output, 0), Some(2));
        assert_eq!(choose(&names, "headset", Direction::Output, 0), Some(1));
        assert_eq!(choose(&names, "hw:0", Direction::Output, 0), Some(0));
        assert_eq!(choose(&names, "usb", Direction::Output, 0), None, "two have it");
        assert_eq!(choose(&names, "Twin", Direction::Output, 0), None, "two are called so");
        assert_eq!(choose(&names, "b", Direction::Output, 0), Some(4));
        assert_eq!(choose(&names, "#4", Direction::Output, 3), Some(1));
        assert_eq!(choose(&names, "#2", Direction::Output, 3), None);
        assert_eq!(choose(&names, "bluetooth", Direction::Output, 0), None);
    }

    #[test]
    fn monitors_are_meant_only_where_they_are_named() {
        let names = [
            ("Monitor of Headset", "usb-headset.monitor"),
            ("Headset", "usb-headset"),
            ("Monitor of Speakers", "pci-speakers.monitor"),
            ("Monitor of Twin", "a.monitor"),
            ("Monitor of Twin", "b.monitor"),
        ];
        let choose = |wanted| choose(&names, wanted, Direction::Input, 0);
        for (wanted, found) in [
            ("headset", Some(1)),
            ("usb", Some(1)),
            ("Monitor of Headset", Some(0)),
            ("usb-headset.monitor", Some(0)),
            ("speakers", None),
            ("pci", None),
            ("speakers.monitor", Some(2)),
            ("monitor of sp", Some(2)),
            ("monitor", None),
            ("Monitor of Twin", None),
            ("b.monitor", Some(4)),
            ("#3", Some(3)),
        ] {
            assert_eq!(choose(wanted), found, "{wanted}");
        }
        // A loudspeaker may be called so.
        assert_eq!(super::choose(&[("Stage Monitor", "stage.monitor")], "stage", Direction::Output, 0), Some(0));
        assert!(is_monitor(Direction::Input, "a.monitor") && !is_monitor(Direction::Output, "a.monitor"));
        assert!(!is_monitor(Direction::Input, "monitor.mic") && !is_monitor(Direction::Input, "hw:CARD=0,DEV=0"));
    }

    #[test]
    fn devices_that_refuse_say_why_and_what_to_do() {
        for (kind, advice) in [
            (ErrorKind::UnsupportedConfig, "refuses its own default rate"),
            (ErrorKind::DeviceBusy, "another program holds it"),
            (ErrorKind::PermissionDenied, "group \"audio\""),
        ] {
            let said = refused(Direction::Input, "Headset", &cpal::Error::new(kind)).to_string();
            assert!(said.contains("input \"Headset\"") && said.contains(advice), "{said}");
        }
    }
}
