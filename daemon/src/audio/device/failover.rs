//! What becomes of a stream whose device goes away, comes back, or is the default no more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cpal::{Device, Host, HostId, traits::DeviceTrait};
use crossbeam_channel::{Receiver, bounded};

use super::{
    super::{AudioError, EndFigures},
    Backend, DeviceChoice, Direction, Named, Opened, choose, default, host, named, quiet,
    stream_monitor::{Cause, StreamMonitor},
};
use crate::sentence_of;

/// Pause between two tries to open a device while there is none: looking for one takes time of a processor, and whoever waits for
/// minutes can wait for seconds more.
const RETRY: Duration = Duration::from_millis(250);
const LONG_RETRY: Duration = Duration::from_secs(2);
/// Tries with the short pause.
const QUICK_TRIES: u32 = 20;

/// How often it is looked whether a device is still there, and which is the default.
const WATCH: Duration = Duration::from_millis(400);

/// The same where looking is slow, and only the return of a device is waited for.
const SLOW_WATCH: Duration = Duration::from_secs(2);

/// What a stream is opened for.
#[derive(Debug, Clone)]
pub(super) enum Role {
    /// It is what was asked for.
    Chosen(DeviceChoice),
    /// It is the default, for want of the device that this finds.
    StandIn(String),
}

impl Role {
    pub(super) fn choice(&self) -> &DeviceChoice {
        match self {
            Self::Chosen(choice) => choice,
            Self::StandIn(_) => &DeviceChoice::Default,
        }
    }
}

/// A stream of either direction.
pub(super) trait DeviceStream: Sized + Send + 'static {
    const DIRECTION: Direction;

    fn open(backend: Backend, role: &Role) -> Result<Self, AudioError>;

    fn device(&self) -> &Opened;
}

/// The stream that is used now, and those that come after it.
pub(super) struct Standby<S> {
    state: StandbyState<S>,
    backend: Backend,
    /// What finds the device that was asked for by name; none if the default was asked for.
    chosen: Option<String>,
    /// Counts of streams before this one.
    before: EndFigures,
    trouble: Option<String>,
}

enum StandbyState<S> {
    Open {
        stream: S,
        next: Option<(Cause, Replacement<S>)>,
    },
    /// The device of this name went away; or there never was one, for this reason.
    Lost {
        was: Result<String, String>,
        replacement: Replacement<S>,
    },
}

impl<S: DeviceStream> Standby<S> {
    pub(super) fn open(backend: Backend, choice: &DeviceChoice) -> Result<Self, AudioError> {
        let stream = S::open(backend, &Role::Chosen(choice.clone()))?;
        let (backend, key) = (stream.device().backend, stream.device().key.clone());
        let chosen = matches!(choice, DeviceChoice::Named(_)).then_some(key);
        Ok(Self::begin(StandbyState::Open { stream, next: None }, backend, chosen))
    }

    /// The same where there may be no such device yet: the default stands in for one that was asked for by name, and for that
    /// silence, until there is one.
    pub(super) fn open_or_wait(backend: Backend, choice: &DeviceChoice) -> Self {
        let error = match Self::open(backend, choice) {
            Ok(standby) => return standby,
            Err(error) => sentence_of(&error),
        };
        let (role, name) = match choice {
            DeviceChoice::Default => (Role::Chosen(choice.clone()), None),
            DeviceChoice::Named(name) => (Role::StandIn(name.clone()), Some(name.clone())),
        };
        if name.is_some()
            && let Ok(stream) = S::open(backend, &role)
        {
            let trouble = format!("{error}; until it comes, \"{}\" is used", stream.device().name);
            let backend = stream.device().backend;
            return Self {
                trouble: Some(trouble),
                ..Self::begin(StandbyState::Open { stream, next: None }, backend, name)
            };
        }
        let trouble = format!("{error}; {} until there is one", silence(S::DIRECTION));
        let replacement = Replacement::find(move || S::open(backend, &role));
        let state = StandbyState::Lost { was: Err(error), replacement };
        Self { trouble: Some(trouble), ..Self::begin(state, backend, name) }
    }

    fn begin(state: StandbyState<S>, backend: Backend, chosen: Option<String>) -> Self {
        Self { state, backend, chosen, before: EndFigures::default(), trouble: None }
    }

    /// Why it did not begin with what was asked for, and what is heard instead.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    /// The stream, unless its device is gone and no other was found yet.
    pub(super) fn stream(&self) -> Option<&S> {
        match &self.state {
            StandbyState::Open { stream, .. } => Some(stream),
            StandbyState::Lost { .. } => None,
        }
    }

    /// The stream, to use.
    pub(super) fn stream_mut(&mut self) -> Option<&mut S> {
        match &mut self.state {
            StandbyState::Open { stream, .. } => Some(stream),
            StandbyState::Lost { .. } => None,
        }
    }

    /// The counts of all streams so far, and nothing else of the figures.
    pub(super) fn counts(&self) -> EndFigures {
        let Some(stream) = self.stream() else { return self.before };
        let health = &stream.device().health;
        EndFigures {
            xruns: self.before.xruns + health.xruns(),
            owner_late: self.before.owner_late + health.owner_late(),
            system_late: self.before.system_late + health.system_late(),
            ..EndFigures::default()
        }
    }

    /// Looks whether the stream is to be left for another. The old one goes on until the new one is open; then there is a sentence
    /// for the user. Does not wait, and does not allocate unless something changes.
    pub(super) fn follow(&mut self) -> Option<String> {
        let StandbyState::Open { stream, next } = &mut self.state else { return None };
        if next.is_none()
            && let Some(cause) = stream.device().health.cause()
        {
            let role = match (&self.chosen, cause) {
                (Some(key), Cause::Returned) => Role::Chosen(DeviceChoice::Named(key.clone())),
                (Some(key), Cause::DefaultMoved) => Role::StandIn(key.clone()),
                (None, _) => Role::Chosen(DeviceChoice::Default),
            };
            let backend = self.backend;
            *next = Some((cause, Replacement::find(move || S::open(backend, &role))));
        }
        let (cause, replacement) = next.as_ref()?;
        let (cause, found) = (*cause, replacement.found.try_recv().ok()?);
        let (thing, _) = words(S::DIRECTION);
        let notice = match cause {
            Cause::DefaultMoved => format!("the default {thing} is now \"{}\"", found.device().name),
            Cause::Returned => format!("the {thing} \"{}\" is back, and is used again", found.device().name),
        };
        self.replace(StandbyState::Open { stream: found, next: None });
        Some(notice)
    }

    /// Says that the stream has lost its device: the default is looked for.
    pub(super) fn lose(&mut self) {
        let Some(stream) = self.stream() else { return };
        let name = stream.device().name.clone();
        let backend = self.backend;
        let role = match &self.chosen {
            Some(key) => Role::StandIn(key.clone()),
            None => Role::Chosen(DeviceChoice::Default),
        };
        let replacement = Replacement::find(move || S::open(backend, &role));
        self.replace(StandbyState::Lost { was: Ok(name), replacement });
    }

    /// While the device is gone: waits for another; then a sentence for the user.
    pub(super) fn wait(&mut self, time: Duration) -> Option<String> {
        let StandbyState::Lost { was, replacement } = &self.state else { return None };
        let found = replacement.wait(time)?;
        let (thing, doing) = words(S::DIRECTION);
        let name = &found.device().name;
        let notice = match was {
            Ok(was) => format!("the {thing} \"{was}\" went away; now {doing} \"{name}\""),
            Err(_) => format!("there is a {thing} now; {doing} \"{name}\""),
        };
        // What comes after it is looked for where it was found.
        self.backend = found.device().backend;
        self.replace(StandbyState::Open { stream: found, next: None });
        Some(notice)
    }

    fn replace(&mut self, state: StandbyState<S>) {
        self.before = self.counts();
        let old = std::mem::replace(&mut self.state, state);
        // Closing a stream can wait for its server: not on this thread.
        std::thread::spawn(move || drop(old));
    }
}

/// What nobody hears without a device of this direction.
fn silence(direction: Direction) -> &'static str {
    match direction {
        Direction::Input => "others hear nothing of you",
        Direction::Output => "you hear nothing",
    }
}

fn words(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Input => ("microphone", "listening to"),
        Direction::Output => ("loudspeaker", "playing to"),
    }
}

/// Looks, on a thread of its own, whether the device is still there and still the right one, as long as anybody holds `health`.
/// PulseAudio moves a stream whose sink goes away to another one by itself, and cpal does not say so; but the user is to be told,
/// and the stream to have the new device's own rate. (ALSA's streams fail by themselves, its default does not change, and listing its
/// devices is slow: there only a device that was asked for is waited for.)
/// `looker` is called as often, to ask how late the device is.
pub(super) fn watch(
    device: &Device,
    direction: Direction,
    role: &Role,
    health: &Arc<StreamMonitor>,
    looker: Option<impl Fn() -> bool + Send + 'static>,
) {
    let Ok(id) = device.id() else { return };
    let is_pulse = id.host() == HostId::PulseAudio;
    if !is_pulse && !matches!(role, Role::StandIn(_)) {
        return;
    }
    let (backend, pause) = if is_pulse { (Backend::Pulse, WATCH) } else { (Backend::Alsa, SLOW_WATCH) };
    let role = role.clone();
    let health = Arc::downgrade(health);
    let look = move || loop {
        std::thread::sleep(pause);
        let Some(health) = health.upgrade() else { return };
        if let Some(looker) = &looker {
            // Where there is no answer the device is gone, or callbacks end and say so.
            looker();
        }
        match look(backend, direction, &role, &id) {
            Seen::There => {}
            Seen::Gone if !is_pulse => {}
            Seen::Gone => return health.lose(),
            Seen::Else(cause) => return health.leave(cause),
        }
    };
    // Without the thread the device is just not watched.
    let _ = std::thread::Builder::new().name("parlo-watch".into()).spawn(look);
}

enum Seen {
    There,
    Gone,
    Else(Cause),
}

fn look(backend: Backend, direction: Direction, role: &Role, id: &cpal::DeviceId) -> Seen {
    let Ok((host, _)) = host(backend, direction) else { return Seen::Gone };
    let all = quiet::about(&host, || named(&host, direction));
    if !all.iter().any(|found| found.device.id().is_ok_and(|found| found == *id)) {
        return Seen::Gone;
    }
    if let Role::StandIn(key) = role
        && is_among(&all, key, direction)
    {
        return Seen::Else(Cause::Returned);
    }
    let follows = matches!(role.choice(), DeviceChoice::Default);
    if follows && is_other_default(&host, direction, id) { Seen::Else(Cause::DefaultMoved) } else { Seen::There }
}

/// Whether what the user calls so is among the devices now.
fn is_among(devices: &[Named], key: &str, direction: Direction) -> bool {
    let names: Vec<(&str, &str)> = devices.iter().map(|found| (found.name.as_str(), found.id.as_str())).collect();
    // Numbers change with the devices.
    !key.starts_with('#') && choose(&names, key, direction, 0).is_some()
}

fn is_other_default(host: &Host, direction: Direction, id: &cpal::DeviceId) -> bool {
    default(host, direction).and_then(|device| device.id().ok()).is_some_and(|now| now != *id)
}

/// A thread that opens a device as soon as there is one: opening can wait for a server, and a codec thread must not.
struct Replacement<T> {
    found: Receiver<T>,
    /// Gone when nobody wants the device any more; the thread then ends.
    _wanted: Arc<()>,
}

impl<T: Send + 'static> Replacement<T> {
    fn find(open: impl Fn() -> Result<T, AudioError> + Send + 'static) -> Self {
        let (send, found) = bounded(1);
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        // Without the thread none is found, and the user is told of that by the silence.
        let _ = std::thread::Builder::new().name("parlo-replace".into()).spawn(move || {
            let mut tries = 0_u32;
            while still_wanted.strong_count() > 0 {
                if let Ok(stream) = open() {
                    let _ = send.send(stream);
                    return;
                }
                tries = tries.saturating_add(1);
                std::thread::sleep(if tries < QUICK_TRIES { RETRY } else { LONG_RETRY });
            }
        });
        Self { found, _wanted: wanted }
    }

    /// The device, if it is found in this time.
    fn wait(&self, time: Duration) -> Option<T> {
        let start = Instant::now();
        let found = self.found.recv_timeout(time).ok();
        if found.is_none() {
            // If the thread could not be had, the pause is still as long as it should be.
            std::thread::sleep(time.saturating_sub(start.elapsed()));
        }
        found
    }
}
