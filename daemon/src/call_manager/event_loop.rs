//! The loop: sockets, clocks, threads and requests on one side, calls on the other.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parlo_api::Presence;
use parlo_protocol::{
    acceptor::Acceptor,
    packet::Goodbye,
    session::{Destination, destination},
};
use tokio::sync::{Notify, mpsc};

use super::{
    call_session::{CallSession, End, Phase},
    figures,
    frame_tap::FrameTap,
    handle::{Envelope, ManagerChannels, Refused, RefusedKind},
    interrupt::Signals,
    jobs::JobThreads,
    log_limit::LogLimit,
    socket::{RECEIVE_BYTES, index, is_passing},
    transitions::JobResult,
    udp_endpoint::{UdpEndpoint, receive},
    watchdog::{BEAT, Watchdog},
};
use crate::{
    audio::{Absence, AudioError},
    call::{CallError, Engine, Event},
    feeds::Feeds,
    media::{AudioEngine, FrameEvent, Settings},
    realtime, sentence_of,
};

/// How often figures are brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// How often devices that are missing are looked for.
const DEVICE_CHECK_EVERY: Duration = Duration::from_secs(3);

/// How long what clients were told last may stay as it is: time goes on, and memory changes, while nothing happens.
const STAYS: Duration = Duration::from_secs(10);

/// Clients are told no more often: a peer may say something new in each packet.
const SPACING: Duration = Duration::from_millis(20);

/// How long ended calls are listed.
const LISTED: Duration = Duration::from_secs(60);

/// Frames that wait for the frame tap at most: eight calls' for five seconds.
const FRAME_EVENTS: usize = 4096;

/// What a call manager is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose {
    /// Calls at a time at most.
    pub(crate) calls: usize,
    /// It ends with the first call that ends.
    pub(crate) once: bool,
}

/// All calls of this process, and what they share. Runs on one thread.
pub(crate) struct CallManager<'o> {
    pub(super) engine: Engine,
    pub(super) audio_engine: Arc<AudioEngine>,
    pub(super) purpose: Purpose,
    pub(super) channels: Option<ManagerChannels>,
    pub(super) recordings: Option<Arc<crate::recordings::Recordings>>,
    pub(super) endpoints: Vec<UdpEndpoint>,
    pub(super) calls: Vec<CallSession>,
    pub(super) settings: Settings,
    pub(super) presence: Presence,
    pub(super) frame_tap: Option<FrameTap>,
    pub(super) done: mpsc::UnboundedSender<JobResult>,
    pub(super) observer: &'o mut (dyn FnMut(Event) + Send),
    /// Whether what is told to clients is out of date.
    pub(super) stale: bool,
    /// Whether another device is being opened.
    pub(super) replacing_devices: bool,
    /// Deadlines that were missed so far: of one more, clients are told at once.
    missed: u64,
    /// When talk is let go by itself.
    pub(super) talk_until: Option<Instant>,
    /// What is wrong with the devices that are set, if it is known that something is; and when that was looked at last.
    pub(super) trouble: Option<String>,
    pub(super) looking: Option<Instant>,
    /// Looks whether the loop goes round, while it does.
    pub(super) watch: Option<Watchdog>,
    /// When clients were last told how things are.
    pub(super) published: Option<Instant>,
    /// The first call that ended badly, when the call manager ends with a call.
    pub(super) failure: Option<CallError>,
    pub(super) last_id: u64,
    wake: Arc<Notify>,
    job_results: mpsc::UnboundedReceiver<JobResult>,
    ending: bool,
    ended_once: bool,
    /// What may wait is done there.
    pub(super) jobs: JobThreads,
    /// What was said last of the contacts' file.
    unread: Option<Arc<str>>,
    /// Lines about callers that are turned away, about sockets that fail, and about a system that gives nothing.
    pub(super) refusals: LogLimit,
    failures: LogLimit,
}

impl<'o> CallManager<'o> {
    /// A call manager without calls. `channels` are the control API's, if there is one.
    pub(crate) fn new(
        engine: Engine,
        purpose: Purpose,
        channels: Option<ManagerChannels>,
        recordings: Option<Arc<crate::recordings::Recordings>>,
        observer: &'o mut (dyn FnMut(Event) + Send),
    ) -> Self {
        let (done, job_results) = mpsc::unbounded_channel();
        let (tell, frame_events) = crossbeam_channel::bounded::<FrameEvent>(FRAME_EVENTS);
        let settings = Settings::from_config(engine.config());
        let wake = Arc::new(Notify::new());
        // A program for one call says what is missing; a daemon that is left running waits for it.
        let absence = if purpose.once { Absence::Refused } else { Absence::Awaited };
        let audio_engine = Arc::new(AudioEngine::new(engine.stream_format(), settings.clone(), tell, absence));
        let frame_tap = channels
            .as_ref()
            .and_then(|channels| FrameTap::start(&engine, &audio_engine, frame_events, channels, done.clone()).ok());
        Self {
            engine,
            audio_engine,
            purpose,
            channels,
            recordings,
            endpoints: Vec::new(),
            calls: Vec::new(),
            settings,
            presence: Presence::default(),
            frame_tap,
            done,
            observer,
            stale: true,
            replacing_devices: false,
            missed: 0,
            talk_until: None,
            trouble: None,
            looking: None,
            watch: None,
            published: None,
            failure: None,
            last_id: 0,
            wake,
            job_results,
            ending: false,
            ended_once: false,
            jobs: JobThreads::default(),
            unread: None,
            refusals: LogLimit::default(),
            failures: LogLimit::default(),
        }
    }

    /// Waits for calls at the first of these addresses that can be used, too. Devices that are missing are told of, and waited for.
    ///
    /// # Errors
    /// If none can be used; or if a file that is set as a device cannot; or if the call manager is for one call, and the devices that it needs
    /// are not there.
    pub(crate) async fn listen(&mut self, addresses: &[SocketAddr]) -> Result<(), CallError> {
        match self.audio_engine.check() {
            Ok(()) => {}
            // A file that cannot be read or written will not come by waiting.
            Err(error) if self.purpose.once || !error.is_of_device() => return Err(error.into()),
            Err(error) => self.on_devices_checked(Err(error)),
        }
        let relay = self.engine.relay()?;
        let mut opened = Err(CallError::Network(io::ErrorKind::AddrNotAvailable.into()));
        for &address in addresses {
            opened = UdpEndpoint::open(1, address, self.engine.identity(), relay).await;
            if opened.is_ok() {
                break;
            }
        }
        self.endpoints.push(opened?);
        self.tell_listening();
        Ok(())
    }

    /// The devices that are set are there, or not: a change is told.
    pub(super) fn on_devices_checked(&mut self, found: Result<(), AudioError>) {
        let trouble = found.err().map(|error| sentence_of(&error));
        if trouble == self.trouble {
            return;
        }
        let text = match &trouble {
            Some(trouble) => format!("{trouble}; until there is one, calls are silent in this direction"),
            None => "the sound devices that were missing are there now".to_owned(),
        };
        self.trouble = trouble;
        self.stale = true;
        self.notice(None, text);
    }

    /// While a device is missing, looks now and then whether it has come, on a thread that may wait.
    fn look_for_sound(&mut self, now: Instant) {
        if self.trouble.is_none() || self.looking.is_some_and(|since| now < since + DEVICE_CHECK_EVERY) {
            return;
        }
        self.looking = Some(now);
        let (audio_engine, done) = (Arc::clone(&self.audio_engine), self.done.clone());
        self.jobs.run(move || {
            // The call manager may have ended meanwhile.
            let _ = done.send(JobResult::DevicesChecked(audio_engine.check()));
        });
    }

    fn tell_listening(&mut self) {
        let listening = self.endpoints.iter().find(|endpoint| endpoint.acceptor.is_some());
        if let Some(Ok(address)) = listening.map(|endpoint| endpoint.socket.local_addr()) {
            (self.observer)(Event::Listening(address));
        }
    }

    /// Runs until `signals` or a request ends it; or the first call that ends does.
    ///
    /// # Errors
    /// If the system gives no thread, or, where the call manager ends with its first call, that call failed.
    pub(crate) async fn run(&mut self, mut signals: Signals<'_>) -> Result<(), CallError> {
        self.watch = Some(Watchdog::start(|line| tracing::error!("{line}"))?);
        self.run_loop(&mut signals).await;
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The loop. Neither it nor anything that it calls returns an error: what one caller, request, file or peer does is answered
    /// there, and is no reason to end for all others.
    async fn run_loop(&mut self, signals: &mut Signals<'_>) {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let mut turn = 0;
        let mut tick = Instant::now();
        loop {
            let now = Instant::now();
            if let Some(watch) = &mut self.watch {
                watch.beat(now);
            }
            if now >= tick {
                self.each_second(now);
                tick = now + TICK;
            }
            self.settle(now);
            if self.is_done() {
                return;
            }
            let due = self.endpoints.iter().filter_map(UdpEndpoint::poll_timeout);
            let due = due
                .chain(self.calls.iter().filter_map(CallSession::poll_timeout))
                .chain(self.talk_until)
                .chain(self.published.filter(|_| self.stale).map(|last| last + SPACING))
                .chain([tick, now + BEAT])
                .min();
            let due = due.unwrap_or(tick);
            tokio::select! {
                biased;
                () = signals.interrupt.end(), if !self.ending => self.shut_down(),
                () = signals.talk.pressed() => self.toggle_talk(),
                () = self.wake.notified() => self.send_captured(),
                () = tokio::time::sleep_until(due.into()) => self.on_timeout(),
                Some(done) = self.job_results.recv() => self.on_job_result(done).await,
                envelope = request(&mut self.channels) => self.answer_request(envelope),
                // Last: whoever floods a port must not keep speech from being sent.
                (at, received) = receive(&self.endpoints, &mut turn, &mut buffer) => self.on_received(at, received, &mut buffer),
            }
        }
    }

    pub(super) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Calls that are not over.
    pub(super) fn active(&self) -> usize {
        self.calls.iter().filter(|call| !call.is_over()).count()
    }

    fn is_done(&self) -> bool {
        (self.ending || self.ended_once) && self.active() == 0
    }

    /// Hangs up everything; then the loop ends.
    pub(super) fn shut_down(&mut self) {
        self.ending = true;
        for at in 0..self.calls.len() {
            self.end(at, End::Ours);
        }
    }

    /// Whether no new calls are begun.
    pub(super) fn is_ending(&self) -> bool {
        self.ending || self.ended_once
    }

    pub(super) fn endpoint(&mut self, id: u64) -> Option<&mut UdpEndpoint> {
        self.endpoints.iter_mut().find(|endpoint| endpoint.id == id)
    }

    pub(super) fn by_id(&self, id: u64) -> Option<usize> {
        self.calls.iter().position(|call| call.id == id)
    }

    fn each_second(&mut self, now: Instant) {
        let mut with_old_keys = Vec::new();
        for call in &mut self.calls {
            if call.phase == Phase::Active {
                if let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.id == call.endpoint) {
                    call.advance_numbers(endpoint, now, self.engine.frame(call.codec));
                }
                figures::update(call, &self.engine, &self.audio_engine, now);
                let is_overdue = call.figures.is_some_and(|figures| figures.rekey_overdue);
                if is_overdue && !call.told_of_keys {
                    with_old_keys.push(call.id);
                }
                call.told_of_keys = is_overdue;
                if let Some(progress) = super::status::progress(call, now) {
                    (self.observer)(progress);
                }
            }
        }
        for id in with_old_keys {
            let line = "the keys of this call are five minutes old, and are to be replaced every two: something on the way lets \
                        speech pass and keeps both sides from new keys. Speech is sealed as before; if you trust nobody there, \
                        hang up and call from another network";
            self.notice(Some(id), line.to_owned());
        }
        let before = self.calls.len();
        self.calls.retain(|call| !matches!(call.phase, Phase::Ended { since } if now - since > LISTED));
        let old = self.published.is_none_or(|last| now.saturating_duration_since(last) >= STAYS);
        self.stale |= self.active() > 0 || before != self.calls.len() || old;
        self.look_for_sound(now);
        self.look_for_contacts(now);
        self.jobs.retry();
    }

    /// Whether the file of contacts can be read: a change is told, once.
    fn look_for_contacts(&mut self, now: Instant) {
        let trouble = self.engine.contacts().current().trouble;
        if trouble == self.unread {
            return;
        }
        let line = || match &trouble {
            Some(trouble) => format!("{trouble}; until then your contacts are what could be read last"),
            None => "your contacts can be read again".to_owned(),
        };
        if let Some(line) = self.failures.pass(now, line) {
            self.unread = trouble;
            self.notice(None, line);
        }
    }

    /// Does what follows from whatever has just happened: sends, ends, frame_events.
    fn settle(&mut self, now: Instant) {
        for at in 0..self.calls.len() {
            self.watch_sound(at);
            self.transmit(at, now);
            self.finish(at, now);
        }
        for endpoint in &mut self.endpoints {
            endpoint.transmit();
        }
        // A socket of its own goes with its call.
        let calls = &self.calls;
        self.endpoints.retain(|endpoint| {
            endpoint.acceptor.is_some() || calls.iter().any(|call| call.endpoint == endpoint.id && !call.is_over())
        });
        let missed = self.audio_engine.figures().deadline_misses;
        self.stale |= missed != std::mem::replace(&mut self.missed, missed);
        if self.stale && self.published.is_none_or(|last| now.saturating_duration_since(last) >= SPACING) {
            self.stale = false;
            self.publish(now);
        }
    }

    fn transmit(&mut self, at: usize, now: Instant) {
        let call = &mut self.calls[at];
        let Some(endpoint) = self.endpoints.iter_mut().find(|endpoint| endpoint.id == call.endpoint) else { return };
        call.take_decoded();
        if call.transmit(endpoint)
            && let Some(relay_link) = &mut endpoint.relay_link
        {
            relay_link.spoke(now);
        }
    }

    /// Looks whether a call's sound has something to say, or has ended.
    fn watch_sound(&mut self, at: usize) {
        let call = &mut self.calls[at];
        if call.phase != Phase::Active {
            return;
        }
        call.tell_plan();
        let Some(audio) = &call.audio else { return };
        let notices: Vec<String> = audio.notices.try_iter().collect();
        let finished = audio.playback_finished();
        let (id, peer_left) = (call.id, call.peer_left);
        for notice in notices {
            self.notice(Some(id), notice);
        }
        if finished {
            // After the peer's goodbye this is the end of what was left; before, it is a failure that leaving finds.
            let end = match self.calls[at].goodbye.filter(|_| peer_left) {
                None => End::Ours,
                Some(Goodbye::Failed) => End::Failed(CallError::PeerFailed(self.calls[at].who())),
                Some(Goodbye::Replaced) => End::Failed(CallError::ReplacedThere(self.calls[at].who())),
                Some(_) => End::Theirs,
            };
            self.end(at, end);
        }
    }

    fn send_captured(&mut self) {
        for at in 0..self.calls.len() {
            let call = &mut self.calls[at];
            if call.phase != Phase::Active {
                continue;
            }
            let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.id == call.endpoint) else { continue };
            if !call.send_captured(endpoint) && !call.peer_left {
                self.end(at, End::Ours);
            }
        }
    }

    /// Does what is due at doors, relays and calls.
    fn on_timeout(&mut self) {
        let now = Instant::now();
        if self.talk_until.is_some_and(|until| now >= until) {
            self.talk(false);
        }
        for at in 0..self.endpoints.len() {
            let endpoint = &mut self.endpoints[at];
            endpoint.handle_timeout(now);
            if let Some(acceptor) = &mut endpoint.acceptor {
                acceptor.handle_timeout(now);
            }
            if let Some(relay_link) = &mut endpoint.relay_link
                && relay_link.poll_timeout().is_some_and(|due| now >= due)
            {
                let (id, met) = (endpoint.id, relay_link.tick(now));
                self.on_relay_event(id, met);
            }
        }
        for at in 0..self.calls.len() {
            self.call_due(at, now);
        }
    }

    /// Takes what came to a socket.
    fn on_received(&mut self, at: usize, received: io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let Some(endpoint) = self.endpoints.get_mut(at) else { return };
        let (id, now) = (endpoint.id, Instant::now());
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && endpoint.acceptor.is_none() => {
                return self.refused_by_system(id);
            }
            Err(error) if is_passing(&error) => return,
            Err(error) => {
                endpoint.rest(now);
                let line = || format!("the network gives an error: {error}; calls wait for it to pass");
                if let Some(line) = self.failures.pass(now, line) {
                    self.notice(None, line);
                }
                return;
            }
        };
        let Some(datagram) = buffer.get_mut(..length) else { return };
        if let Some(relay_link) = &mut endpoint.relay_link
            && relay_link.is_from_relay(from, datagram)
        {
            let met = relay_link.handle(now, from, datagram);
            return self.on_relay_event(id, met);
        }
        let alone = endpoint.acceptor.is_none();
        let here = |call: &CallSession| call.endpoint == id && call.call.is_some() && !call.is_over();
        let for_call = self.calls.iter().position(|session| {
            here(session)
                && session.call.as_ref().is_some_and(|call| match destination(datagram) {
                    Destination::Session(index) => index == call.index(),
                    Destination::CookieGate => call.is_repeat(from, datagram),
                    Destination::Stun | Destination::Nobody => false,
                })
        });
        // On a socket of its own, junk is counted with the call.
        let for_call = for_call.or_else(|| self.calls.iter().position(here).filter(|_| alone));
        match for_call {
            Some(at) => self.on_datagram(at, now, from, datagram),
            None => self.admit(id, now, from, datagram),
        }
    }

    /// A datagram for nobody's call: for the acceptor, as somebody new may call.
    fn admit(&mut self, endpoint: u64, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let index = match index() {
            Ok(index) => index,
            // Its sender tries again.
            Err(error) => {
                if let Some(line) = self.failures.pass(now, || error.to_string()) {
                    self.notice(None, line);
                }
                return;
            }
        };
        let used = self.calls.iter().any(|call| call.call.as_ref().is_some_and(|call| call.index() == index));
        let Some(acceptor) = self.endpoint(endpoint).and_then(|endpoint| endpoint.acceptor.as_mut()) else { return };
        if used {
            return;
        }
        if let Some(caller) = acceptor.handle(now, from, datagram, index) {
            return self.on_caller(endpoint, caller, now);
        }
        while let Some(confirmed) =
            self.endpoint(endpoint).and_then(|endpoint| endpoint.acceptor.as_mut()).and_then(Acceptor::poll_confirmed)
        {
            self.on_confirmed(endpoint, confirmed, now);
        }
    }

    /// Marks that a call has ended: the call manager may end with it.
    pub(super) fn call_is_over(&mut self) {
        self.ended_once |= self.purpose.once;
        if !self.is_ending() && self.active() == 0 {
            // Told anew, so that who started this knows that the next call can come.
            self.tell_listening();
        }
    }

    /// A sentence for the user.
    pub(super) fn notice(&mut self, call: Option<u64>, text: String) {
        if let Some(channels) = &self.channels
            && let Ok(json) = serde_json::to_string(&parlo_api::Message::Notice { call, text: text.clone() })
        {
            // Nobody listening is no fault.
            let _ = channels.notices.send(json.into());
        }
        (self.observer)(Event::Notice(text));
    }

    /// The feeds, if anybody can ask for them.
    pub(super) fn feeds(&self) -> Option<&Feeds> {
        self.channels.as_ref().map(|channels| &*channels.feeds)
    }

    /// A refusal in words, for requests.
    pub(super) fn no_such_call(id: u64) -> Refused {
        Refused::new(RefusedKind::NotFound, format!("there is no call {id}; `parlo calls` lists them"))
    }
}

/// The next request; never, if nobody can ask.
async fn request(channels: &mut Option<ManagerChannels>) -> Envelope {
    let Some(open) = channels else { return std::future::pending().await };
    match open.requests.recv().await {
        Some(envelope) => envelope,
        // All handles are gone: nobody will ask again.
        None => std::future::pending().await,
    }
}

/// Runs a call manager on this thread until it is done.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    // Packets are timed as sound is: where the codec threads may have priority, so may this one. It sleeps but for moments.
    let _ = realtime::promote(48_000, 480);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    // What still opens a device or asks a resolver is not waited for.
    runtime.shutdown_background();
    result
}
