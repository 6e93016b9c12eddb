//! What is told, and what is not.

use parlo_api::{CallState, Direction, Message, Status};
use parlo_test_support::samples::{call, status, young};

use super::{EventLog, Of};

fn message(status: Status) -> Message {
    Message::Status(Box::new(status))
}

#[test]
fn a_call_is_told_from_its_beginning_to_its_end() {
    let mut event_log = EventLog::new(Of::Call(2));
    let mut tell =
        |call| event_log.tell(&message(status(vec![young(1, Direction::Incoming, CallState::Ringing), call])));
    let mut stranger = young(2, Direction::Outgoing, CallState::Calling);
    stranger.peer.name = None;
    stranger.peer.fingerprint = None;
    assert_eq!(tell(stranger), ["calling 192.0.2.7:7275 at 192.0.2.7:7275 ..."]);
    assert_eq!(tell(young(2, Direction::Outgoing, CallState::Ringing)), ["it rings at ada ..."]);
    assert_eq!(tell(call(2, 0.0)), ["in a call with ada (tulip-3c1f) at 192.0.2.7:7275; Ctrl-C hangs up"]);
    assert!(tell(call(2, 1.0)).is_empty(), "figures alone are no news");
    let mut changed = call(2, 2.0);
    (changed.held, changed.held_by_peer, changed.conference) = (true, true, true);
    changed.recording = Some("ada-1".into());
    changed.recorded_by_peer = true;
    let expected =
        ["held", "ada holds the call", "taken into the conference", "recorded as ada-1", "ada records this call"];
    assert_eq!(tell(changed), expected);
    let expected = [
        "taken up again",
        "ada is back",
        "taken out of the conference",
        "no longer recorded",
        "ada records this call no longer",
    ];
    assert_eq!(tell(call(2, 3.0)), expected);
    let mut ended = call(2, 83.0);
    ended.state = CallState::Ended;
    ended.failure = Some("nothing was heard for 30 s".into());
    let said = tell(ended.clone());
    assert_eq!(
        said,
        [
            "the call with ada ended after 01:23: nothing was heard for 30 s; 4000 frames heard, 30 from coarse copies, 500 of \
          silence, 13 lost (4 of them late); at last 7.7 kbps on the wire, 126 ms from mouth to ear"
        ]
    );
    assert!(tell(ended).is_empty());
    assert_eq!(event_log.call().map(|call| call.state), Some(CallState::Ended));
}

#[test]
fn everything_is_told_with_the_calls_numbers() {
    let mut event_log = EventLog::new(Of::Everything);
    let old = young(1, Direction::Outgoing, CallState::Ended);
    assert_eq!(event_log.tell(&message(status(vec![old]))), ["parlod 0.1.0 waits for calls at 127.0.0.1:7275"]);
    let rings = young(2, Direction::Incoming, CallState::Ringing);
    let said = event_log.tell(&message(status(vec![rings])));
    assert_eq!(said, ["call 2: ada calls from 192.0.2.7:7275; `parlo answer 2` or `parlo refuse 2`"]);
    let mut changed = status(vec![]);
    changed.audio.muted = true;
    changed.presence.do_not_disturb = true;
    changed.audio.endpoints.sink_name = Some("Lounge".into());
    assert_eq!(
        event_log.tell(&message(changed)),
        ["the microphone is off", "callers are told that the line is busy", "the loudspeaker is Lounge"]
    );
    let notice = Message::Notice { call: Some(3), text: "a\x07b".into() };
    assert_eq!(event_log.tell(&notice), ["call 3: a\u{fffd}b"]);
    assert!(EventLog::new(Of::Call(2)).tell(&notice).is_empty(), "another call's");
    assert_eq!(event_log.tell(&Message::Missed { messages: 4 }), ["4 messages of the daemon were missed"]);
}

#[test]
fn a_call_that_failed_at_once_is_told_to_who_placed_it() {
    let mut failed = young(5, Direction::Outgoing, CallState::Ended);
    failed.failure = Some("nobody is there".into());
    let said = EventLog::new(Of::Call(5)).tell(&message(status(vec![failed])));
    assert_eq!(said, ["the call with ada ended: nobody is there"]);
}
