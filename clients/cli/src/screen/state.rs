//! What the screen knows.

use std::collections::{BTreeMap, VecDeque};

use parlo_api::{AudioChange, Call, CallChange, CallState, Message, Meters, Status};

use super::track::{Peak, Track};
use crate::format::{plain, summary};

/// Notices that are remembered.
const NOTICES: usize = 8;

/// What the daemon is to be asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Answer a call.
    Answer(u64),
    /// Refuse it.
    Refuse(u64),
    /// End it.
    HangUp(u64),
    /// Change it.
    Change(u64, CallChange),
    /// Record it.
    Record(u64),
    /// Stop recording it.
    StopRecording(u64),
    /// Change sound.
    Audio(AudioChange),
}

/// The screen: everything that it shows.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    pub(super) status: Option<Box<Status>>,
    /// The call that this program placed or answered.
    pub(super) own: Option<u64>,
    /// Whether the daemon told of it yet: what it tells first may be from before the call.
    own_seen: bool,
    pub(super) selected: Option<u64>,
    pub(super) tracks: BTreeMap<u64, Track>,
    pub(super) meters: Option<Meters>,
    pub(super) input: Peak,
    pub(super) output: Peak,
    /// The daemon's clock, as the last live message had it, seconds.
    pub(super) at_s: f64,
    pub(super) notices: VecDeque<String>,
    pub(super) help: bool,
    /// Whether the terminal tells when keys are let go.
    pub(super) releases: bool,
    /// Whether colours may be used.
    pub(super) colours: bool,
    /// Calls that were asked to end.
    pub(super) ending: Vec<u64>,
    /// Whether this screen pressed talk.
    pub(super) pressed: bool,
    pub(super) left: bool,
}

impl Screen {
    /// A screen for the call that this program placed, or for all there are.
    pub(crate) fn new(own: Option<u64>, releases: bool, colours: bool) -> Self {
        Self { own, selected: own, releases, colours, ..Self::default() }
    }

    /// Takes in what the daemon told.
    pub(crate) fn message(&mut self, message: &Message) {
        match message {
            Message::Status(status) => self.update(status),
            Message::Live(live) => {
                self.at_s = live.at_s;
                self.meters = Some(live.meters);
                self.input.push(live.meters.input_peak_dbfs, live.at_s);
                self.output.push(live.meters.output_peak_dbfs, live.at_s);
                for voice in &live.calls {
                    // Only of calls that are known: a track that nobody shows would stay for ever.
                    if let Some(track) = self.tracks.get_mut(&voice.call) {
                        track.heard(voice.heard.iter().map(|frame| frame.mark));
                    }
                }
            }
            Message::Notice { call, text } => {
                let name = call.filter(|_| self.alive().count() > 1).and_then(|id| self.call(id));
                let prefix = name.map_or(String::new(), |call| format!("{}: ", crate::format::who(&call.peer)));
                self.notice(prefix + text);
            }
            Message::Missed { messages } => self.notice(format!("{messages} messages of the daemon were missed")),
        }
    }

    fn update(&mut self, status: &Status) {
        let ended_now = |call: &&Call| {
            let before = self.call(call.id).map(|call| call.state);
            call.state == CallState::Ended && before.is_some_and(|before| before != CallState::Ended)
        };
        let told: Vec<String> = status.calls.iter().filter(ended_now).map(summary).collect();
        self.meters = Some(status.audio.meters);
        self.status = Some(Box::new(status.clone()));
        self.own_seen |= self.own().is_some();
        self.tracks.retain(|id, _| status.calls.iter().any(|call| call.id == *id));
        for call in &status.calls {
            let track = self.tracks.entry(call.id).or_default();
            if let Some(figures) = call.figures.as_ref().filter(|_| call.state == CallState::Active) {
                track.second(figures.elapsed_s, figures.bits_per_frame);
            }
        }
        self.ending.retain(|id| status.calls.iter().any(|call| call.id == *id && call.state != CallState::Ended));
        told.into_iter().for_each(|told| self.notice(told));
        // Whoever is gone gives way to whoever is there.
        let selected_lives = self.alive().any(|call| Some(call.id) == self.selected);
        let first = self.alive().next().map(|call| call.id);
        if !selected_lives && first.is_some() {
            self.selected = first;
        }
    }

    /// Shows a sentence.
    pub(crate) fn notice(&mut self, text: impl AsRef<str>) {
        if self.notices.len() == NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(plain(text.as_ref()));
    }

    /// The call of this number.
    pub(super) fn call(&self, id: u64) -> Option<&Call> {
        self.status.as_ref()?.calls.iter().find(|call| call.id == id)
    }

    pub(super) fn call_mut(&mut self, id: u64) -> Option<&mut Call> {
        self.status.as_mut()?.calls.iter_mut().find(|call| call.id == id)
    }

    /// Calls that are not over.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Call> {
        self.status.iter().flat_map(|status| &status.calls).filter(|call| call.state != CallState::Ended)
    }

    /// The call that keys are for.
    pub(super) fn selected(&self) -> Option<&Call> {
        self.call(self.selected?)
    }

    /// The call that this program placed or answered, as it was last.
    pub(crate) fn own(&self) -> Option<&Call> {
        self.call(self.own?)
    }

    /// Whether there is nothing left to show: the user left, or the own call is over and no other stands.
    pub(crate) fn finished(&self) -> bool {
        let own_over = self.own_seen && self.own().is_none_or(|call| call.state == CallState::Ended);
        self.left || (own_over && self.alive().next().is_none())
    }

    /// What to do before going: talk that was pressed here is let go.
    pub(crate) fn leave(&mut self) -> Vec<Action> {
        self.left = true;
        if std::mem::take(&mut self.pressed) {
            return vec![Action::Audio(AudioChange { talking: Some(false), ..AudioChange::default() })];
        }
        vec![]
    }

    /// What to do when somebody ends this program from outside: nobody shall stay on an open microphone.
    pub(crate) fn terminate(&mut self) -> Vec<Action> {
        let mut actions = self.leave();
        let own = self.own.filter(|own| self.alive().any(|call| call.id == *own));
        self.ending.extend(own);
        actions.extend(own.map(Action::HangUp));
        actions
    }

    /// Whether a call was asked to end.
    pub(crate) fn is_ending(&self, id: u64) -> bool {
        self.ending.contains(&id)
    }
}
