//! The call manager with its control API: the daemon that is left running.

use std::sync::Arc;

use super::{
    event_loop::{CallManager, Purpose, block_on},
    handle::{Handle, ManagerChannels},
    interrupt::Signals,
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
    pub fn handle(engine: &Engine, recordings: Arc<Recordings>) -> (Handle, ManagerChannels) {
        let settings = Settings::from_config(engine.config());
        let (nowhere, _) = crossbeam_channel::bounded(1);
        let audio_engine = AudioEngine::new(engine.stream_format(), settings.clone(), nowhere, Absence::Awaited);
        Handle::new(status::blank(engine, &audio_engine, &settings), recordings)
    }

    /// Runs until `stop`, SIGINT, SIGTERM or a client ends it. `channels` are the control API's, if there is one.
    ///
    /// # Errors
    /// If calls cannot be waited for, or, where it ends with its first call, that call failed.
    pub fn run(
        &self,
        engine: &Engine,
        channels: Option<(ManagerChannels, Arc<Recordings>)>,
        stop: &Stop,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), CallError> {
        let addresses = if self.listen { resolve(&engine.config().call.listen)? } else { Vec::new() };
        let (channels, recordings) = channels.unzip();
        std::thread::scope(|scope| {
            let (tell, told) = crossbeam_channel::bounded(EVENTS);
            // Whoever is told may write to a terminal that is stopped, or a disk that hangs.
            let teller = std::thread::Builder::new().name("parlo-events".into());
            teller.spawn_scoped(scope, move || told.iter().for_each(on_event))?;
            let mut observer = move |event| drop(tell.try_send(event));
            block_on(async {
                let signals = Signals::new(stop)?;
                let purpose = Purpose { calls: if self.once { 1 } else { MAX_CALLS }, once: self.once };
                let mut manager = CallManager::new(engine.clone(), purpose, channels, recordings, &mut observer);
                if !addresses.is_empty() {
                    manager.listen(&addresses).await?;
                }
                if let Some(peer) = &self.call {
                    manager.call(peer);
                }
                manager.run(signals).await
            })
        })
    }
}
