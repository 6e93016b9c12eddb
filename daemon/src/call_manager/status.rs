//! The call manager, as clients are told of it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use parlo_api::{Audio, Bundle, Call, CallState, Endpoints, Peer, Presence, Status};
use parlo_protocol::offer::Codec;

use super::{
    call_session::{CallSession, Phase},
    event_loop::CallManager,
    watchdog::Watchdog,
};
use crate::{
    call::{Engine, Event},
    media::{AudioEngine, Settings},
};

impl CallManager<'_> {
    /// Tells clients how things are now.
    pub(super) fn publish(&mut self, now: Instant) {
        let Some(channels) = &self.channels else { return };
        let listening = self.endpoints.iter().find(|endpoint| endpoint.acceptor.is_some());
        let listening = listening.and_then(|endpoint| endpoint.socket.local_addr().ok());
        let status = Status {
            listening: listening.map(|address| address.to_string()),
            presence: self.presence,
            audio: Audio { trouble: self.trouble.clone(), ..audio(&self.audio_engine, &self.settings) },
            calls: self.calls.iter().map(|session| call(session, now)).collect(),
            resident_mib: self.watch.as_ref().map_or(0.0, Watchdog::resident_mib),
            page: channels.page.map(|address| address.to_string()),
            ..blank(&self.engine, &self.audio_engine, &self.settings)
        };
        channels.status.send_replace(Arc::new(status));
        self.published = Some(now);
    }
}

/// The status of a call manager that has not begun.
pub(crate) fn blank(engine: &Engine, audio_engine: &AudioEngine, settings: &Settings) -> Status {
    let key = engine.identity().public();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: engine.started().elapsed().as_secs_f64(),
        key: key.to_string(),
        fingerprint: key.fingerprint().to_string(),
        listening: None,
        page: None,
        presence: Presence::default(),
        bundle: bundle(engine.bundle()),
        others: engine.bundles().skip(1).map(bundle).collect(),
        audio: audio(audio_engine, settings),
        calls: Vec::new(),
        resident_mib: 0.0,
    }
}

fn bundle(bundle: &parlo_model::Bundle) -> Bundle {
    let sound = &bundle.manifest().audio;
    Bundle {
        name: bundle.manifest().name.clone(),
        id: bundle.id().to_string(),
        tokens: bundle.tokens().to_string(),
        sample_rate: sound.sample_rate,
        frame_ms: 1000.0 * sound.frame_duration().as_secs_f64(),
        algorithmic_delay_ms: 1000.0 * sound.delay().as_secs_f64(),
        codebooks: bundle.layout().sizes().to_vec(),
    }
}

fn audio(audio_engine: &AudioEngine, settings: &Settings) -> Audio {
    let names = audio_engine.names();
    Audio {
        endpoints: Endpoints {
            source: settings.source.to_string(),
            sink: settings.sink.to_string(),
            source_name: names.source,
            sink_name: names.sink,
        },
        muted: settings.muted,
        push_to_talk: settings.push_to_talk,
        talking: settings.talking,
        input_gain_db: settings.input_gain_db,
        output_gain_db: settings.output_gain_db,
        side_tone_db: settings.side_tone_db,
        stages: settings.stages,
        meters: audio_engine.meters(),
        figures: audio_engine.figures(),
        trouble: None,
    }
}

/// One call, as clients are told of it.
pub(super) fn call(session: &CallSession, now: Instant) -> Call {
    let peer = session.call.as_ref().map(parlo_protocol::call::Call::peer_presence);
    let mut figures = session.figures;
    if let Some(figures) = &mut figures
        && session.phase == Phase::Active
    {
        figures.elapsed_s = session.talking(now).as_secs_f64();
    }
    Call {
        id: session.id,
        direction: session.direction,
        state: match session.phase {
            Phase::Preparing | Phase::AtRelay { .. } | Phase::Handshake => CallState::Calling,
            Phase::Ringing { .. } => CallState::Ringing,
            Phase::OpeningAudio | Phase::Active => CallState::Active,
            // While its sound is being closed nobody knows yet whether that has failed.
            Phase::Closing if session.leaving => CallState::Active,
            Phase::Closing | Phase::Ended { .. } => CallState::Ended,
        },
        peer: Peer {
            name: session.name.clone(),
            key: session.key.map(|key| key.to_string()),
            fingerprint: session.key.map(|key| key.fingerprint().to_string()),
            address: session.address.map_or_else(|| session.asked.clone(), |address| address.to_string()),
        },
        began_s: session.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64(),
        held: session.held,
        held_by_peer: peer.is_some_and(|presence| presence.held),
        conference: session.conference,
        volume_db: session.volume_db,
        codec: session.codec.map(|codec| if codec == Codec::Opus { "opus" } else { "tokens" }.to_owned()),
        tokens: session.codec.and_then(|codec| match codec {
            Codec::Tokens(tokens) => Some(tokens.to_string()),
            Codec::Opus => None,
        }),
        settings: session.settings,
        recording: session.recording.clone(),
        recorded_by_peer: session.call.as_ref().is_some_and(parlo_protocol::call::Call::recorded_by_peer),
        figures,
        failure: session.failure.clone(),
    }
}

/// A call's figures, for those who watch from within this process.
pub(super) fn progress(session: &CallSession, now: Instant) -> Option<Event> {
    let (figures, audio) = (session.figures?, session.audio.as_ref()?);
    let live = &audio.shared.live;
    Some(Event::Progress {
        elapsed: session.talking(now),
        played: live.played.load(Relaxed),
        lost: live.lost.load(Relaxed),
        jitter_delay: Duration::from_millis(live.delay_ms.load(Relaxed)),
        wire_kbps: figures.sent.wire,
        peer_loss: figures.loss_sent,
        plan: [figures.depth, figures.frames_per_packet, figures.copies],
        bits_per_frame: figures.bits_per_frame,
    })
}

/// Resident memory of this process, MiB; 0 where the system does not tell.
pub(super) fn resident_mib() -> f64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return 0.0 };
    let pages: f64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    // SAFETY: `sysconf` with a name that POSIX defines has no preconditions (sysconf(3)).
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * page.max(0) as f64 / f64::from(1 << 20)
}
