//! What keys do.

use parlo_api::{Audio, AudioChange, CallChange, CallState, Direction};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{Action, Screen};

/// Keys and what they do, for the help.
pub(super) const KEYS: [(&str, &str); 13] = [
    ("m", "microphone off and on"),
    ("space", "talk, where push to talk is on"),
    ("p", "push to talk on and off"),
    ("h", "hold the call, take it up again"),
    ("+ -", "more or fewer codebooks: quality against bitrate"),
    ("r", "record, stop recording"),
    ("a  x", "answer, refuse who rings"),
    ("c", "let calls hear each other (conference)"),
    ("tab", "the next call"),
    ("q  ctrl-c", "hang up; once more: leave without waiting"),
    ("d", "leave; the call goes on (`parlo screen` comes back)"),
    ("?", "this help"),
    ("esc", "close it"),
];

impl Screen {
    /// Takes in a key, and says what the daemon is to be asked.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Vec<Action> {
        if key.code == KeyCode::Char(' ') {
            return self.space(key.kind).into_iter().collect();
        }
        let repeats = matches!(key.code, KeyCode::Char('+' | '-' | '='));
        match key.kind {
            KeyEventKind::Press => {}
            KeyEventKind::Repeat if repeats => {}
            // Holding m must not switch the microphone back and forth.
            KeyEventKind::Repeat | KeyEventKind::Release => return vec![],
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let action = match key.code {
            KeyCode::Char('c' | 'C') if control => return self.hang_up(),
            // Others with control or alt are none of ours.
            _ if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => None,
            KeyCode::Char('q' | 'Q') => return self.hang_up(),
            KeyCode::Char('d' | 'D') => return self.leave(),
            KeyCode::Char('?') => {
                self.help = !self.help;
                None
            }
            KeyCode::Esc => {
                self.help = false;
                None
            }
            KeyCode::Tab => self.next(1),
            KeyCode::BackTab => self.next(-1),
            KeyCode::Char('m' | 'M') => self.audio(|audio| {
                audio.muted = !audio.muted;
                AudioChange { muted: Some(audio.muted), ..AudioChange::default() }
            }),
            KeyCode::Char('p' | 'P') => self.audio(|audio| {
                audio.push_to_talk = !audio.push_to_talk;
                AudioChange { push_to_talk: Some(audio.push_to_talk), ..AudioChange::default() }
            }),
            KeyCode::Char('h' | 'H') => self.change(|call| {
                call.held = !call.held;
                CallChange { held: Some(call.held), ..CallChange::default() }
            }),
            KeyCode::Char('c' | 'C') => self.change(|call| {
                call.conference = !call.conference;
                CallChange { conference: Some(call.conference), ..CallChange::default() }
            }),
            KeyCode::Char('+' | '=') => self.depth(1),
            KeyCode::Char('-') => self.depth(-1),
            KeyCode::Char('r' | 'R') => self.record(),
            KeyCode::Char('a' | 'A') => self.ringing().map(Action::Answer),
            KeyCode::Char('x' | 'X') => self.ringing().map(Action::Refuse),
            _ => None,
        };
        action.into_iter().collect()
    }

    /// Talk: while the key is down where the terminal tells, else from one press to the next.
    fn space(&mut self, kind: KeyEventKind) -> Option<Action> {
        let audio = &mut self.status.as_mut()?.audio;
        if !audio.push_to_talk {
            if kind == KeyEventKind::Press {
                self.notice("push to talk is off: p switches it on, m switches the microphone off");
            }
            return None;
        }
        let talking = match kind {
            KeyEventKind::Press if self.releases => true,
            KeyEventKind::Release if self.releases => false,
            KeyEventKind::Press => !audio.talking,
            KeyEventKind::Repeat | KeyEventKind::Release => return None,
        };
        audio.talking = talking;
        self.pressed = talking;
        Some(Action::Audio(AudioChange { talking: Some(talking), ..AudioChange::default() }))
    }

    /// Hangs the selected call up; leaves if there is none, or if it was asked to end before.
    fn hang_up(&mut self) -> Vec<Action> {
        let id = self.selected().filter(|call| call.state != CallState::Ended).map(|call| call.id);
        match id {
            Some(id) if !self.ending.contains(&id) => {
                self.ending.push(id);
                self.notice("hanging up ...");
                vec![Action::HangUp(id)]
            }
            _ => self.leave(),
        }
    }

    /// Selects the call so many further on.
    fn next(&mut self, step: isize) -> Option<Action> {
        let ids: Vec<u64> = self.alive().map(|call| call.id).collect();
        let place = ids.iter().position(|id| Some(*id) == self.selected);
        let next = place.map_or(0, |place| place as isize + step).rem_euclid(ids.len().max(1) as isize);
        self.selected = ids.get(next as usize).copied().or(self.selected);
        None
    }

    fn audio(&mut self, change: impl FnOnce(&mut Audio) -> AudioChange) -> Option<Action> {
        // Shown at once, so that a second press means the opposite; what the daemon tells next is what counts.
        Some(Action::Audio(change(&mut self.status.as_mut()?.audio)))
    }

    fn change(&mut self, change: impl FnOnce(&mut parlo_api::Call) -> CallChange) -> Option<Action> {
        let id = self.selected?;
        let call = self.call_mut(id).filter(|call| call.state == CallState::Active)?;
        Some(Action::Change(id, change(call)))
    }

    fn depth(&mut self, step: i16) -> Option<Action> {
        let most = i16::try_from(self.status.as_ref()?.bundle.codebooks.len()).unwrap_or(i16::MAX).clamp(1, 255);
        let call = self.selected().filter(|call| call.state != CallState::Ended)?;
        let (id, before) = (call.id, call.settings.depth);
        let depth = u8::try_from((i16::from(before) + step).clamp(1, most)).unwrap_or(before);
        if depth == before {
            return None;
        }
        self.call_mut(id)?.settings.depth = depth;
        Some(Action::Change(id, CallChange { depth: Some(depth), ..CallChange::default() }))
    }

    fn record(&mut self) -> Option<Action> {
        let call = self.selected().filter(|call| call.state == CallState::Active)?;
        Some(if call.recording.is_some() { Action::StopRecording(call.id) } else { Action::Record(call.id) })
    }

    /// The call that rings here: the selected one, else the first.
    fn ringing(&self) -> Option<u64> {
        let rings = |call: &&parlo_api::Call| call.state == CallState::Ringing && call.direction == Direction::Incoming;
        self.selected().filter(rings).or_else(|| self.alive().find(rings)).map(|call| call.id)
    }
}
