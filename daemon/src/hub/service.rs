//! The hub with its control API: the daemon that is left running.

use std::sync::Arc;

use super::{
    handle::{Backend, Handle},
    interrupt::Signals,
    run::{Hub, Purpose, block_on},
    status,
};
use crate::{
    audio::Absence,
    call::{CallError, Engine, Event, Stop, resolve},
    media::{AudioEngine, MAX_CALLS, Settings},
    recordings::Recordings,
};

/// Events that wait at most until they are told; what comes while so many wait is left out.
const EVENTS: usize = 1024;

/// What the daemon does beside the control API.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// A peer to be called at once.
    pub call: Option<String>,
    /// Whether calls are waited for.
    pub listen: bool,
    /// It ends with the first call that ends.
    pub once: bool,
}

impl Service {
    /// A handle for the control API, and what [`run`](Self::run) needs to be behind it.
    pub fn handle(engine: &Engine, recordings: Arc<Recordings>) -> (Handle, Backend) {
        let settings = Settings::from_config(engine.config());
        let (nowhere, _) = crossbeam_channel::bounded(1);
        let audio_engine = AudioEngine::new(engine.stream_format(), settings.clone(), nowhere, Absence::Awaited);
        Handle::new(status::blank(engine, &audio_engine, &settings), recordings)
    }

    /// Runs until `stop`, SIGINT, SIGTERM or a client ends it. `backend` is the control API's, if there is one.
    ///
    /// # Errors
    /// If calls cannot be waited for, or, where it ends with its first call, that call failed.
    pub fn run(
        &self,
        engine: &Engine,
        backend: Option<(Backend, Arc<Recordings>)>,
        stop: &Stop,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), CallError> {
        let addresses = if self.listen { resolve(&engine.config().call.listen)? } else { Vec::new() };
        let (backend, recordings) = backend.unzip();
        std::thread::scope(|scope| {
            let (tell, told) = crossbeam_channel::bounded(EVENTS);
            // Whoever is told may write to a terminal that is stopped, or a disk that hangs.
            let teller = std::thread::Builder::new().name("parlo-events".into());
            teller.spawn_scoped(scope, move || told.iter().for_each(on_event))?;
            let mut observer = move |event| drop(tell.try_send(event));
            block_on(async {
                let signals = Signals::new(stop)?;
                let purpose = Purpose { calls: if self.once { 1 } else { MAX_CALLS }, once: self.once };
                let mut hub = Hub::new(engine.clone(), purpose, backend, recordings, &mut observer);
                if !addresses.is_empty() {
                    hub.listen(&addresses).await?;
                }
                if let Some(peer) = &self.call {
                    hub.call(peer);
                }
                hub.run(signals).await
            })
        })
    }
}
