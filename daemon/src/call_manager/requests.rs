//! What clients ask for.

use std::time::{Duration, Instant};

use parlo_api::{AudioChange, CallChange, CallSettings, Dial, Direction};
use parlo_protocol::{offer::Codec, packet::Presence};

use super::{
    call_session::{CallSession, End, Phase},
    event_loop::CallManager,
    handle::{Envelope, Refused, RefusedKind, Reply, Request},
    transitions::{JobResult, ReplySender, conflict},
};
use crate::{
    audio::AudioError,
    config::Endpoint,
    recordings::{Recorder, RecordingError},
    sentence_of,
};

impl CallManager<'_> {
    /// Does what is asked, and says what came of it, at once or when it is done.
    pub(super) fn answer_request(&mut self, envelope: Envelope) {
        let Envelope { request, reply } = envelope;
        self.stale = true;
        let result = match request {
            Request::Record(id) => return self.record(id, reply),
            Request::Audio(change) => return self.change_audio(&change, reply),
            Request::Dial(dial) => self.dial_asked(dial),
            Request::Answer(id) => self.ringing_here(id).map(|at| {
                self.answer(at);
                self.reply(at)
            }),
            Request::Refuse(id, reason) => self.ringing_here(id).map(|at| {
                self.refuse(at, reason);
                Reply::Done
            }),
            Request::HangUp(id) => self.going(id).map(|at| {
                self.end(at, End::Ours);
                Reply::Done
            }),
            Request::Change(id, change) => self.going(id).and_then(|at| self.change(at, &change)),
            Request::StopRecording(id) => self.going(id).and_then(|at| self.stop_recording(at)),
            Request::Presence(presence) => {
                self.presence = presence;
                Ok(Reply::Done)
            }
            Request::ShutDown => {
                self.shut_down();
                Ok(Reply::Done)
            }
        };
        // Who asks next shall see what was done.
        self.publish(Instant::now());
        // Whoever asked may have gone.
        let _ = reply.send(result);
    }

    fn reply(&self, at: usize) -> Reply {
        Reply::Call(Box::new(super::status::call(&self.calls[at], Instant::now())))
    }

    /// A call that is not over.
    fn going(&self, id: u64) -> Result<usize, Refused> {
        let at = self.by_id(id).ok_or_else(|| Self::no_such_call(id))?;
        if self.calls[at].is_ending() {
            return Err(conflict(format!("call {id} is over")));
        }
        Ok(at)
    }

    fn ringing_here(&self, id: u64) -> Result<usize, Refused> {
        let at = self.going(id)?;
        let call = &self.calls[at];
        let rings = matches!(call.phase, Phase::Handshake | Phase::Ringing { .. });
        if call.direction == Direction::Incoming && rings && !call.answered {
            return Ok(at);
        }
        Err(conflict(format!("call {id} does not ring here")))
    }

    fn dial_asked(&mut self, dial: Dial) -> Result<Reply, Refused> {
        if self.is_ending() {
            return Err(Refused::new(RefusedKind::Failed, "the daemon is ending"));
        }
        if self.active() >= self.purpose.calls {
            return Err(conflict(format!("there are {} calls already, which is the most", self.purpose.calls)));
        }
        let usual = self.engine.settings();
        let settings = CallSettings {
            depth: dial.depth.unwrap_or(usual.depth),
            frames_per_packet: dial.frames_per_packet.unwrap_or(usual.frames_per_packet),
            adapt: dial.adapt.unwrap_or(usual.adapt),
            latency_ms: dial.latency_ms.unwrap_or(usual.latency_ms),
            max_kbps: dial.max_kbps.unwrap_or(usual.max_kbps),
        };
        self.check(&settings, None)?;
        let config = &self.engine.config().call;
        let (relay, ticket) = match (dial.relay, dial.ticket) {
            (None, None) => (config.relay.clone(), config.ticket.clone()),
            (Some(relay), Some(ticket)) => (relay, ticket),
            _ => return Err(invalid("a relay takes a ticket, and a ticket a relay")),
        };
        if dial.peer.trim().is_empty() && relay.is_empty() {
            return Err(invalid("say whom to call: a contact's name, HOST:PORT or HOST"));
        }
        let call = CallSession::new(0, Direction::Outgoing, dial.peer, settings);
        let id = self.dial(call, relay, ticket);
        self.by_id(id).map(|at| self.reply(at)).ok_or_else(|| Self::no_such_call(id))
    }

    fn check(&self, settings: &CallSettings, codec: Option<Codec>) -> Result<(), Refused> {
        let most = self.engine.bundle_of(codec).layout().depth();
        if !(1..=most).contains(&usize::from(settings.depth)) {
            return Err(invalid(format!("depth is {}, but this model has 1 to {most} codebooks", settings.depth)));
        }
        if !(1..=12).contains(&settings.frames_per_packet) {
            return Err(invalid(format!(
                "frames_per_packet is {}, but a packet holds 1 to 12 frames",
                settings.frames_per_packet
            )));
        }
        if !(20..=240).contains(&settings.latency_ms) {
            return Err(invalid(format!(
                "latency_ms is {}, but a packet takes 20 to 240 ms to fill",
                settings.latency_ms
            )));
        }
        if !(settings.max_kbps == 0.0 || (1.0..=1000.0).contains(&settings.max_kbps)) {
            return Err(invalid(format!(
                "max_kbps is {}, but 1 to 1000 are possible, or 0 for no limit",
                settings.max_kbps
            )));
        }
        Ok(())
    }

    fn change(&mut self, at: usize, change: &CallChange) -> Result<Reply, Refused> {
        let call = &self.calls[at];
        let before = call.settings;
        let settings = CallSettings {
            depth: change.depth.unwrap_or(before.depth),
            frames_per_packet: change.frames_per_packet.unwrap_or(before.frames_per_packet),
            adapt: change.adapt.unwrap_or(before.adapt),
            latency_ms: change.latency_ms.unwrap_or(before.latency_ms),
            max_kbps: change.max_kbps.unwrap_or(before.max_kbps),
        };
        self.check(&settings, call.codec)?;
        if change.volume_db.is_some_and(|db| !(-60.0..=12.0).contains(&db)) {
            return Err(invalid("volume_db goes from -60 to 12"));
        }
        let now = Instant::now();
        let call = &mut self.calls[at];
        call.settings = settings;
        if settings != before
            && let Some(protocol) = call.call.as_mut().filter(|_| call.phase == Phase::Active)
        {
            protocol.set_limits(self.engine.limits(&settings, protocol.headers(), call.codec), settings.adapt);
        }
        if let Some(held) = change.held {
            call.held = held;
            if let Some(protocol) = call.call.as_mut().filter(|_| call.phase == Phase::Active) {
                protocol.set_presence(now, Presence { ringing: false, held });
            }
        }
        call.conference = change.conference.unwrap_or(call.conference);
        call.volume_db = change.volume_db.unwrap_or(call.volume_db);
        if let Some(audio) = &call.audio {
            audio.hold(call.held);
            audio.confer(call.conference);
            audio.set_volume(call.volume_db);
        }
        call.tell_plan();
        Ok(self.reply(at))
    }

    fn record(&mut self, id: u64, reply: ReplySender) {
        let Some(recordings) = self.recordings.clone().filter(|_| self.frame_tap.is_some()) else {
            let _ = reply.send(Err(conflict("this daemon keeps no recordings")));
            return;
        };
        let at = match self.going(id) {
            Ok(at) => at,
            Err(refused) => {
                let _ = reply.send(Err(refused));
                return;
            }
        };
        let call = &self.calls[at];
        let wrong = if call.phase != Phase::Active {
            Some("a call is recorded while both sides may speak")
        } else if call.codec == Some(Codec::Opus) {
            Some("this call is in Opus: recordings are of tokens")
        } else if call.recording.is_some() {
            Some("this call is being recorded already")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            let _ = reply.send(Err(conflict(wrong)));
            return;
        }
        let (who, codec) = (call.name.clone().unwrap_or_else(|| call.asked.clone()), call.codec);
        let (engine, done) = (self.engine.clone(), self.done.clone());
        // A slow disk must not hold up packets.
        self.jobs.run(move || {
            let result = recordings.begin(&who, engine.bundle_of(codec));
            let _ = done.send(JobResult::Recording { id, result, reply });
        });
    }

    /// A recording's file is there, or cannot be.
    pub(super) fn recording_began(&mut self, id: u64, result: Result<Recorder, RecordingError>, reply: ReplySender) {
        let result = match result {
            Err(error) => Err(Refused::new(RefusedKind::Failed, sentence_of(&error))),
            Ok(recorder) => match (self.going(id), &self.frame_tap) {
                (Ok(at), Some(frame_tap)) if self.calls[at].recording.is_none() => {
                    self.calls[at].recording = Some(recorder.name().to_owned());
                    frame_tap.record(id, recorder);
                    self.tell_recorded(at);
                    Ok(self.reply(at))
                }
                (Ok(_), _) => Err(conflict("this call is being recorded already")),
                (Err(refused), _) => Err(refused),
            },
        };
        self.publish(Instant::now());
        let _ = reply.send(result);
    }

    fn stop_recording(&mut self, at: usize) -> Result<Reply, Refused> {
        let call = &mut self.calls[at];
        if call.recording.take().is_none() {
            return Err(conflict(format!("call {} is not being recorded", call.id)));
        }
        if let Some(frame_tap) = &self.frame_tap {
            frame_tap.stop(call.id);
        }
        self.tell_recorded(at);
        Ok(self.reply(at))
    }

    /// Presses talk if it is let go, or the other way round.
    pub(super) fn toggle_talk(&mut self) {
        self.talk(!self.settings.talking);
    }

    /// Presses talk until it is let go, or lets it go.
    pub(super) fn talk(&mut self, on: bool) {
        (self.settings.talking, self.talk_until) = (on, None);
        self.audio_engine.adjust(&self.settings);
        self.stale = true;
    }

    fn change_audio(&mut self, change: &AudioChange, reply: ReplySender) {
        let mut settings = self.settings.clone();
        if let Err(refused) = apply(change, &mut settings) {
            let _ = reply.send(Err(refused));
            return;
        }
        let devices = settings.source != self.settings.source || settings.sink != self.settings.sink;
        if devices && self.replacing_devices {
            let _ = reply.send(Err(conflict("another device is being opened just now; try again")));
            return;
        }
        self.settings = settings;
        if change.talking.is_some() {
            let patience = change.talking_for_ms.filter(|_| self.settings.talking);
            self.talk_until = patience.map(|ms| Instant::now() + Duration::from_millis(ms.into()));
        }
        if devices {
            self.replacing_devices = true;
            let (audio_engine, done, settings) = (self.audio_engine.clone(), self.done.clone(), self.settings.clone());
            self.jobs.run(move || {
                let result = audio_engine.change(&settings);
                let _ = done.send(JobResult::DevicesReplaced { result, reply });
            });
            return;
        }
        self.audio_engine.adjust(&self.settings);
        self.publish(Instant::now());
        let _ = reply.send(Ok(Reply::Done));
    }

    /// Other devices are in use, or not.
    pub(super) fn on_devices_replaced(&mut self, result: Result<(), AudioError>, reply: ReplySender) {
        self.replacing_devices = false;
        // Whether something is still missing is found out anew.
        self.looking = None;
        let now = self.audio_engine.settings();
        (self.settings.source, self.settings.sink) = (now.source, now.sink);
        // What was switched meanwhile.
        self.audio_engine.adjust(&self.settings);
        self.publish(Instant::now());
        let _ = reply.send(result.map(|()| Reply::Done).map_err(|error| failed(&error)));
    }
}

fn apply(change: &AudioChange, settings: &mut crate::media::Settings) -> Result<(), Refused> {
    let place = |text: &Option<String>, field: &mut Endpoint| -> Result<(), Refused> {
        let Some(text) = text else { return Ok(()) };
        let endpoint: Endpoint = text.parse().map_err(invalid)?;
        if let Endpoint::File(_) = endpoint {
            // A page in a browser must not reach files by way of the microphone.
            return Err(invalid("files are not to be had here: say default, device:NAME or none"));
        }
        *field = endpoint;
        Ok(())
    };
    place(&change.source, &mut settings.source)?;
    place(&change.sink, &mut settings.sink)?;
    for (name, value, least, most) in [
        ("input_gain_db", change.input_gain_db, -60.0, 40.0),
        ("output_gain_db", change.output_gain_db, -60.0, 12.0),
        ("side_tone_db", change.side_tone_db, f32::NEG_INFINITY, 0.0),
    ] {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            return Err(invalid(format!(
                "{name} goes up to {most} dB{}",
                if least > -61.0 { " from -60" } else { "" }
            )));
        }
    }
    if change.talking_for_ms.is_some_and(|ms| !(100..=60_000).contains(&ms)) {
        return Err(invalid("talking_for_ms goes from 100 to 60000 ms"));
    }
    let set = |field: &mut bool, value: Option<bool>| *field = value.unwrap_or(*field);
    set(&mut settings.muted, change.muted);
    set(&mut settings.push_to_talk, change.push_to_talk);
    set(&mut settings.talking, change.talking);
    set(&mut settings.stages.high_pass, change.high_pass);
    set(&mut settings.stages.echo_cancellation, change.echo_cancellation);
    set(&mut settings.stages.noise_suppression, change.noise_suppression);
    set(&mut settings.stages.gain_control, change.gain_control);
    set(&mut settings.stages.silence, change.silence);
    settings.input_gain_db = change.input_gain_db.unwrap_or(settings.input_gain_db);
    settings.output_gain_db = change.output_gain_db.unwrap_or(settings.output_gain_db);
    if let Some(db) = change.side_tone_db {
        settings.side_tone_db = Some(db).filter(|&db| db > -60.0);
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> Refused {
    Refused::new(RefusedKind::Invalid, text)
}

fn failed(error: &AudioError) -> Refused {
    Refused::new(RefusedKind::Failed, sentence_of(error))
}
