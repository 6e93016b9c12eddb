//! What some routes need beside the call manager.

use std::{fmt, sync::Arc};

use parlo_api::Device;

use crate::{
    audio::{
        AudioError,
        device::{self, Backend, Direction},
    },
    keys::KnownPeers,
    nats,
    recordings::{Player, RecordingError, Recordings, Side, Source},
};

/// One side of the recording of a name as a WAV file, which is decoded as it is read. Takes long.
pub type Render = dyn Fn(&Recordings, &str, Side) -> Result<Box<dyn Source>, RecordingError> + Send + Sync;

/// Lists microphones and loudspeakers. May take long.
pub type Devices = dyn Fn() -> Result<Vec<Device>, AudioError> + Send + Sync;

/// What some routes need beside the call manager. Cloning is cheap.
#[derive(Clone)]
pub struct Services {
    /// The contacts.
    pub known: KnownPeers,
    /// How recordings are made audible.
    pub render: Arc<Render>,
    /// Which devices there are.
    pub devices: Arc<Devices>,
    /// How publishing to NATS goes, if anything is published.
    pub nats: Option<Arc<nats::Figures>>,
}

impl Services {
    /// With what decodes recordings, and the sound system that has the devices.
    pub fn new(known: KnownPeers, player: Player, backend: Backend) -> Self {
        Self {
            known,
            render: Arc::new(move |recordings, name, side| {
                Ok(Box::new(player.open(name, &recordings.tokens(name)?, side)?))
            }),
            devices: Arc::new(move || {
                let (_, devices) = device::list(backend)?;
                Ok(devices.into_iter().map(told).collect())
            }),
            nats: None,
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("known", &self.known).finish_non_exhaustive()
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
