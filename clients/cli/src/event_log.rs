//! What happens, as sentences: compares what the daemon tells with what it told before.

use std::collections::BTreeMap;

use parlo_api::{Audio, Call, CallState, Direction, Message, Status};

use crate::format::{clock, plain, state, summary, who};

/// Whose story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// One call's.
    Call(u64),
    /// All calls', sound's and the daemon's.
    Everything,
}

/// Tells.
#[derive(Debug)]
pub(crate) struct EventLog {
    of: Of,
    calls: BTreeMap<u64, Call>,
    rest: Option<(Audio, bool)>,
}

impl EventLog {
    pub(crate) fn new(of: Of) -> Self {
        Self { of, calls: BTreeMap::new(), rest: None }
    }

    /// The call that is told of, as it was last; none if it was not seen yet, or all are told of.
    pub(crate) fn call(&self) -> Option<&Call> {
        match self.of {
            Of::Call(id) => self.calls.get(&id),
            Of::Everything => None,
        }
    }

    /// The sentences that a message is worth.
    pub(crate) fn tell(&mut self, message: &Message) -> Vec<String> {
        match message {
            Message::Status(status) => self.status(status),
            Message::Notice { call, text } => match (self.of, call) {
                (Of::Call(id), Some(other)) if id != *other => vec![],
                (Of::Everything, Some(id)) => vec![format!("call {id}: {}", plain(text))],
                _ => vec![plain(text)],
            },
            Message::Missed { messages } => vec![format!("{messages} messages of the daemon were missed")],
            Message::Live(_) => vec![],
        }
    }

    fn status(&mut self, status: &Status) -> Vec<String> {
        let mut lines = Vec::new();
        let (of, first) = (self.of, self.rest.is_none());
        for call in status.calls.iter().filter(|call| of == Of::Everything || of == Of::Call(call.id)) {
            let before = self.calls.get(&call.id);
            // What was over before anybody listened is no news, except to whoever asked for that call.
            let stale = before.is_none() && call.state == CallState::Ended && of == Of::Everything && first;
            if !stale {
                let prefix = if of == Of::Everything { format!("call {}: ", call.id) } else { String::new() };
                lines.extend(news(before, call, of).into_iter().map(|line| prefix.clone() + &line));
            }
            self.calls.insert(call.id, call.clone());
        }
        // Of a call that the daemon has forgotten, nothing more will come.
        self.calls.retain(|id, _| of == Of::Call(*id) || status.calls.iter().any(|call| call.id == *id));
        if of == Of::Everything {
            lines.extend(self.rest_of(status));
        }
        self.rest = Some((status.audio.clone(), status.presence.do_not_disturb));
        lines
    }

    fn rest_of(&self, status: &Status) -> Vec<String> {
        let Some((before, disturbed)) = &self.rest else {
            let listening = status.listening.as_deref().unwrap_or("nowhere");
            return vec![format!("parlod {} waits for calls at {listening}", plain(&status.version))];
        };
        let audio = &status.audio;
        let mut lines = Vec::new();
        let mut switch = |before: bool, now: bool, on: &str, off: &str| {
            if before != now {
                lines.push(if now { on.to_owned() } else { off.to_owned() });
            }
        };
        switch(before.muted, audio.muted, "the microphone is off", "the microphone is on");
        switch(before.push_to_talk, audio.push_to_talk, "push to talk is on", "push to talk is off");
        switch(before.talking, audio.talking, "talk is pressed", "talk is let go");
        let (on, off) = ("callers are told that the line is busy", "callers are let through");
        switch(*disturbed, status.presence.do_not_disturb, on, off);
        for (what, before, now) in [
            ("microphone", &before.endpoints.source_name, &audio.endpoints.source_name),
            ("loudspeaker", &before.endpoints.sink_name, &audio.endpoints.sink_name),
        ] {
            if let Some(now) = now.as_ref().filter(|_| before != now) {
                lines.push(format!("the {what} is {}", plain(now)));
            }
        }
        lines
    }
}

fn news(before: Option<&Call>, call: &Call, of: Of) -> Vec<String> {
    let who = who(&call.peer);
    let mut lines = Vec::new();
    if before.is_none_or(|before| before.state != call.state) {
        lines.push(match (call.state, call.direction) {
            (CallState::Calling, _) => format!("calling {who} at {} ...", plain(&call.peer.address)),
            (CallState::Ringing, Direction::Outgoing) => format!("it rings at {who} ..."),
            (CallState::Ringing, Direction::Incoming) => {
                let id = call.id;
                format!("{who} calls from {}; `parlo answer {id}` or `parlo refuse {id}`", plain(&call.peer.address))
            }
            (CallState::Active, _) => {
                let fingerprint = call.peer.fingerprint.as_deref().filter(|_| call.peer.name.is_some());
                let key = fingerprint.map_or(String::new(), |key| format!(" ({})", plain(key)));
                let opus =
                    if call.codec.as_deref() == Some("opus") { "; no model is shared: Opus is spoken" } else { "" };
                let end = if of == Of::Everything { "" } else { "; Ctrl-C hangs up" };
                format!("in a call with {who}{key} at {}{opus}{end}", plain(&call.peer.address))
            }
            (CallState::Ended, _) => summary(call),
        });
    }
    let (mut held, mut theirs, mut conference, mut recording, mut recorded) = (false, false, false, None, false);
    if let Some(before) = before {
        (held, theirs, conference) = (before.held, before.held_by_peer, before.conference);
        (recording, recorded) = (before.recording.clone(), before.recorded_by_peer);
    }
    if call.state == CallState::Ended {
        return lines;
    }
    if held != call.held {
        lines.push(if call.held { "held".into() } else { "taken up again".into() });
    }
    if theirs != call.held_by_peer {
        lines.push(if call.held_by_peer { format!("{who} holds the call") } else { format!("{who} is back") });
    }
    if conference != call.conference {
        lines.push(if call.conference {
            "taken into the conference".into()
        } else {
            "taken out of the conference".into()
        });
    }
    if recording != call.recording {
        lines.push(match &call.recording {
            Some(name) => format!("recorded as {}", plain(name)),
            None => "no longer recorded".into(),
        });
    }
    if recorded != call.recorded_by_peer {
        let how = if call.recorded_by_peer { "records this call" } else { "records this call no longer" };
        lines.push(format!("{who} {how}"));
    }
    lines
}

/// A call in a line, for those who must choose one.
pub(crate) fn in_a_line(call: &Call) -> String {
    let elapsed = call.figures.as_ref().map_or(String::new(), |figures| format!(", {}", clock(figures.elapsed_s)));
    format!("{}: {} ({}{elapsed})", call.id, who(&call.peer), state(call))
}

#[cfg(test)]
#[path = "event_log_tests.rs"]
mod tests;
