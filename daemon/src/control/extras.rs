//! What some routes need beside the hub.

use std::{fmt, sync::Arc};

use parlo_control::Device;
use parlo_model::{Bundle, Runtime};

use crate::{
    audio::{
        AudioError,
        device::{self, Backend, Direction},
    },
    keys::KnownPeers,
    nats,
    recordings::{RecordingError, Recordings, Side, Source},
};

/// One side of the recording of a name as a WAV file, which is decoded as it is read. Takes long.
pub type Render = dyn Fn(&Recordings, &str, Side) -> Result<Box<dyn Source>, RecordingError> + Send + Sync;

/// Lists microphones and loudspeakers. May take long.
pub type Devices = dyn Fn() -> Result<Vec<Device>, AudioError> + Send + Sync;

/// What some routes need beside the hub. Cloning is cheap.
#[derive(Clone)]
pub struct Extras {
    /// The contacts.
    pub known: KnownPeers,
    /// How recordings are made audible.
    pub render: Arc<Render>,
    /// Which devices there are.
    pub devices: Arc<Devices>,
    /// How publishing to NATS goes, if anything is published.
    pub nats: Option<Arc<nats::Figures>>,
}

impl Extras {
    /// With the bundles that decode recordings, the preferred one and others, and the sound system that has the devices.
    pub fn new(known: KnownPeers, runtime: Runtime, bundle: Bundle, others: Vec<Bundle>, backend: Backend) -> Self {
        Self {
            known,
            render: Arc::new(move |recordings, name, side| {
                let wav = |bundle| recordings.wav(name, side, &runtime, bundle);
                let made = wav(&bundle);
                if !is_of_others(&made) {
                    return made;
                }
                others.iter().map(wav).find(|made| !is_of_others(made)).unwrap_or(made)
            }),
            devices: Arc::new(move || {
                let (_, devices) = device::list(backend)?;
                Ok(devices.into_iter().map(told).collect())
            }),
            nats: None,
        }
    }
}

/// Whether a recording is not for the bundle that was tried.
fn is_of_others<T>(made: &Result<T, RecordingError>) -> bool {
    matches!(made, Err(RecordingError::OtherModel { .. }))
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extras").field("known", &self.known).finish_non_exhaustive()
    }
}

fn told(device: device::DeviceInfo) -> Device {
    Device {
        index: device.index,
        name: device.name,
        id: device.id,
        direction: match device.direction {
            Direction::Input => "input".into(),
            Direction::Output => "output".into(),
        },
        is_default: device.is_default,
        is_monitor: device.is_monitor,
        rate: device.format.rate,
        channels: device.format.channels,
    }
}
