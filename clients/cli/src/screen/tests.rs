//! The screen as it looks, and as it answers to keys.

use std::{env, fs, path::Path};

use parlo_api::{AudioChange, CallChange, CallState, Direction, Mark, Message, Status};
use parlo_test_support::samples::{call, live, status, young};
use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};

use super::{
    plan::{Part, plan},
    render::render,
    state::{Action, Screen},
    track::{Peak, Track},
};

fn press(screen: &mut Screen, key: char) -> Vec<Action> {
    screen.key(KeyEvent::from(KeyCode::Char(key)))
}

fn tell(screen: &mut Screen, status: Status) {
    screen.message(&Message::Status(Box::new(status)));
}

/// The screen's characters.
fn draw(screen: &Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(screen, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(row).collect()
}

/// Compares with what is kept in `snapshots/`. `PARLO_SNAPSHOTS=write` keeps what is there now.
fn compare(name: &str, drawn: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/screen/snapshots/{name}.txt"));
    if env::var_os("PARLO_SNAPSHOTS").is_some_and(|value| value == "write") {
        fs::write(&file, drawn).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept == drawn, "{} differs from what is drawn:\n{drawn}", file.display());
}

/// A call that stands, with a past.
fn standing() -> Screen {
    let mut screen = Screen::new(Some(1), false, true);
    for second in 1..=70_u32 {
        let mut call = call(1, f64::from(second));
        if let Some(figures) = &mut call.figures {
            figures.bits_per_frame = (second % 20 < 15).then(|| 30.0 + 20.0 * (f64::from(second) / 5.0).sin());
        }
        tell(&mut screen, status(vec![call]));
        for part in 0..12_u32 {
            let at_s = f64::from(second) + f64::from(part) / 12.0;
            let mark = match (second % 7, part) {
                (3, 0..3) => Mark::Coarse,
                (4, 2..6) => Mark::Predicted,
                (4, 6) => Mark::Faded,
                (6, _) => Mark::Silent,
                (5, 1) => Mark::Held,
                _ => Mark::Real,
            };
            screen.message(&Message::Live(live(at_s, 1, &[mark; 4])));
        }
    }
    screen
}

fn several() -> Screen {
    let mut rings = young(2, Direction::Incoming, CallState::Ringing);
    rings.peer.name = None;
    let mut held = call(3, 600.0);
    (held.held, held.peer.name) = (true, Some("grace".into()));
    let mut first = call(1, 3_700.0);
    (first.recording, first.conference) = (Some("ada-1".into()), true);
    let mut status = status(vec![first, rings, held]);
    (status.audio.push_to_talk, status.audio.talking) = (true, true);
    let mut screen = Screen::new(None, true, false);
    tell(&mut screen, status);
    screen.message(&Message::Notice { call: Some(3), text: "the peer changed its address".into() });
    screen.message(&Message::Notice { call: None, text: "the microphone is now Headset".into() });
    screen
}

#[test]
fn it_looks_as_it_is_kept() {
    let screen = standing();
    for (width, height) in [(40, 12), (60, 16), (80, 24), (120, 40)] {
        compare(&format!("standing-{width}x{height}"), &draw(&screen, width, height));
    }
    let mut screen = several();
    compare("several-80x24", &draw(&screen, 80, 24));
    compare("several-40x12", &draw(&screen, 40, 12));
    press(&mut screen, '?');
    compare("help-80x24", &draw(&screen, 80, 24));
    compare("empty-60x16", &draw(&Screen::new(None, false, true), 60, 16));
    let mut calling = Screen::new(Some(1), false, true);
    tell(&mut calling, status(vec![young(1, Direction::Outgoing, CallState::Calling)]));
    compare("calling-60x16", &draw(&calling, 60, 16));
}

#[test]
fn figures_are_on_it() {
    let drawn = draw(&standing(), 80, 24);
    for part in [
        "ada",
        "in a call",
        "01:10",
        "tulip-3c1f",
        "7.7 kbps",
        "speech 2.1",
        "IP 3.7",
        "126 ms",
        "jitter 20",
        "sent 2.1 %",
        "heard 5.0 %",
        "6 codes x 3 + a copy",
        "coarse copy",
        "q hang up",
    ] {
        assert!(drawn.contains(part), "{part} is missing:\n{drawn}");
    }
}

#[test]
fn every_size_can_be_drawn() {
    for screen in [&standing(), &several(), &Screen::default()] {
        for (width, height) in (1..50).flat_map(|width| (1..16).map(move |height| (width, height))) {
            draw(screen, width, height);
        }
    }
    for height in 0..60 {
        let rows: u16 = plan(height, true).iter().map(|(_, rows)| rows).sum();
        assert!(rows <= height);
    }
    assert_eq!(plan(1, true), [(Part::Title, 1)]);
    assert_eq!(plan(12, true).len(), 12, "twelve rows show everything");
}

#[test]
fn keys_ask_for_what_they_say() {
    let audio = |change| vec![Action::Audio(change)];
    let mut screen = standing();
    let muted = |muted| audio(AudioChange { muted: Some(muted), ..AudioChange::default() });
    assert_eq!(press(&mut screen, 'm'), muted(true));
    assert!(draw(&screen, 80, 24).contains("MUTED"));
    assert_eq!(press(&mut screen, 'm'), muted(false), "at once, without waiting for the daemon");
    let held = |held| vec![Action::Change(1, CallChange { held: Some(held), ..CallChange::default() })];
    assert_eq!(press(&mut screen, 'h'), held(true));
    assert_eq!(press(&mut screen, 'h'), held(false));
    let depth = |depth| vec![Action::Change(1, CallChange { depth: Some(depth), ..CallChange::default() })];
    assert_eq!(press(&mut screen, '-'), depth(5));
    assert_eq!(press(&mut screen, '+'), depth(6));
    (7..=12).for_each(|codes| assert_eq!(press(&mut screen, '+'), depth(codes)));
    assert_eq!(press(&mut screen, '+'), [], "the bundle has 12 codebooks");
    assert_eq!(press(&mut screen, 'r'), [Action::Record(1)]);
    let mut recorded = call(1, 80.0);
    recorded.recording = Some("ada-1".into());
    tell(&mut screen, status(vec![recorded]));
    assert_eq!(press(&mut screen, 'r'), [Action::StopRecording(1)]);
    assert_eq!(press(&mut screen, 'a'), [], "nobody rings");
    assert_eq!(press(&mut screen, 'z'), []);
    let controlled = KeyEvent::new(KeyCode::Char('m'), KeyModifiers::CONTROL);
    assert_eq!(screen.key(controlled), []);

    let mut screen = several();
    assert_eq!(press(&mut screen, 'a'), [Action::Answer(2)], "the one that rings, whichever is selected");
    assert_eq!(press(&mut screen, 'x'), [Action::Refuse(2)]);
    let selected = |screen: &mut Screen, code| {
        screen.key(KeyEvent::from(code));
        screen.selected
    };
    for id in [2, 3, 1, 2] {
        assert_eq!(selected(&mut screen, KeyCode::Tab), Some(id));
    }
    assert_eq!(selected(&mut screen, KeyCode::BackTab), Some(1));
    assert_eq!(selected(&mut screen, KeyCode::BackTab), Some(3));
}

#[test]
fn talk_follows_the_key_where_the_terminal_tells_of_it() {
    let space = |screen: &mut Screen, kind| screen.key(KeyEvent { kind, ..KeyEvent::from(KeyCode::Char(' ')) });
    let talking = |talking| [Action::Audio(AudioChange { talking: Some(talking), ..AudioChange::default() })];
    let mut quiet = status(vec![call(1, 1.0)]);
    quiet.audio.push_to_talk = true;
    let mut screen = Screen::new(Some(1), true, true);
    tell(&mut screen, quiet.clone());
    assert_eq!(space(&mut screen, KeyEventKind::Press), talking(true));
    assert_eq!(space(&mut screen, KeyEventKind::Press), talking(true), "a release that was not told is no matter");
    assert_eq!(space(&mut screen, KeyEventKind::Repeat), []);
    assert_eq!(space(&mut screen, KeyEventKind::Release), talking(false));

    let mut screen = Screen::new(Some(1), false, true);
    tell(&mut screen, quiet);
    assert_eq!(space(&mut screen, KeyEventKind::Press), talking(true));
    assert_eq!(space(&mut screen, KeyEventKind::Press), talking(false));
    assert_eq!(space(&mut screen, KeyEventKind::Press), talking(true));
    assert_eq!(press(&mut screen, 'd'), talking(false), "nobody leaves with talk pressed");
    assert!(screen.finished());

    let mut screen = standing();
    assert_eq!(space(&mut screen, KeyEventKind::Press), []);
    assert!(draw(&screen, 80, 24).contains("push to talk is off"));
}

#[test]
fn what_was_told_before_the_call_does_not_end_its_screen() {
    let mut screen = Screen::new(Some(2), false, true);
    let mut old = call(1, 90.0);
    old.state = CallState::Ended;
    tell(&mut screen, status(vec![old]));
    assert!(!screen.finished());
    tell(&mut screen, status(vec![young(2, Direction::Outgoing, CallState::Calling)]));
    assert!(!screen.finished() && screen.selected == Some(2));
    tell(&mut screen, status(vec![]));
    assert!(screen.finished(), "it was there, and is gone");
}

#[test]
fn hanging_up_waits_for_the_end_unless_asked_twice() {
    let mut screen = standing();
    assert_eq!(press(&mut screen, 'q'), [Action::HangUp(1)]);
    assert!(!screen.finished());
    assert!(draw(&screen, 80, 24).contains("hanging up"));
    let mut ended = call(1, 90.0);
    ended.state = CallState::Ended;
    tell(&mut screen, status(vec![ended.clone()]));
    assert!(screen.finished());

    let mut screen = standing();
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.key(interrupt), [Action::HangUp(1)]);
    assert_eq!(screen.key(interrupt), []);
    assert!(screen.finished());

    // The own call is over, another one stands: the screen stays with that.
    let mut screen = standing();
    tell(&mut screen, status(vec![ended, call(2, 5.0)]));
    assert!(!screen.finished());
    assert_eq!(screen.selected, Some(2));
    assert_eq!(press(&mut screen, 'q'), [Action::HangUp(2)]);

    let mut screen = standing();
    assert_eq!(screen.terminate(), [Action::HangUp(1)]);
    assert!(screen.finished());
    // Where only calls are shown, nobody's call is this program's to end.
    assert_eq!(several().terminate(), []);
}

#[test]
fn the_past_is_kept_by_columns_and_peaks_fall() {
    let mut track = Track::default();
    track.heard([Mark::Real, Mark::Coarse, Mark::Silent, Mark::Real].into_iter());
    assert!(track.columns.is_empty());
    track.heard([Mark::Held].into_iter());
    assert_eq!(track.columns, [Mark::Coarse], "the worst of five frames");
    track.heard((0..5_000).map(|_| Mark::Real));
    assert_eq!(track.columns.len(), 400);
    (0..3).for_each(|_| track.second(1.0, Some(41.6)));
    track.second(2.0, None);
    assert_eq!(track.bits, [42, 0]);

    let mut peak = Peak::default();
    peak.push(-20.0, 1.0);
    peak.push(-40.0, 1.5);
    assert_eq!(peak.at(2.5), -20.0);
    assert_eq!(peak.at(3.0), -30.0);
    peak.push(-25.0, 3.0);
    assert_eq!(peak.at(3.0), -25.0);
    assert_eq!(peak.at(1e9), -120.0);
}

#[test]
fn words_from_elsewhere_cannot_steer_the_terminal() {
    let mut stranger = call(1, 3.0);
    stranger.peer.name = Some("e\x1b[2Jve\nx".into());
    let mut screen = Screen::new(Some(1), false, true);
    tell(&mut screen, status(vec![stranger]));
    screen.message(&Message::Notice { call: None, text: "\x1b]0;gone\x07".into() });
    assert!(!draw(&screen, 80, 24).contains(['\x1b', '\x07']));
}

/// What may happen to a screen.
#[derive(Debug, Clone)]
enum Happening {
    Key(KeyEvent),
    Message(Box<Message>),
}

fn happening() -> impl Strategy<Value = Happening> {
    let code = prop_oneof![
        prop::sample::select(vec!['m', 'p', 'h', 'c', '+', '-', 'r', 'a', 'x', 'q', 'd', '?', ' '])
            .prop_map(KeyCode::Char),
        Just(KeyCode::Tab),
        Just(KeyCode::BackTab),
        Just(KeyCode::Esc),
        any::<char>().prop_map(KeyCode::Char),
    ];
    let kinds = prop::sample::select(vec![KeyEventKind::Press, KeyEventKind::Repeat, KeyEventKind::Release]);
    let key = (code, any::<u8>(), kinds).prop_map(|(code, modifiers, kind)| {
        let modifiers = KeyModifiers::from_bits_truncate(modifiers & 7);
        Happening::Key(KeyEvent { kind, ..KeyEvent::new(code, modifiers) })
    });
    let state = prop::sample::select(vec![CallState::Calling, CallState::Ringing, CallState::Active, CallState::Ended]);
    let direction = prop::sample::select(vec![Direction::Incoming, Direction::Outgoing]);
    let call = (0..4_u64, state, direction, any::<[f64; 4]>(), any::<u8>(), prop::option::of(".{0,70}")).prop_map(
        |(id, state, direction, values, depth, name)| {
            let mut call = call(id, values[0]);
            (call.state, call.direction, call.peer.name, call.settings.depth) = (state, direction, name, depth);
            match &mut call.figures {
                Some(figures) if depth % 5 > 0 => {
                    (figures.sent.speech, figures.sent.ip, figures.sent.wire) = (values[1], values[2], values[3]);
                    (figures.budget.frame, figures.budget.total) = (values[2], values[1]);
                    figures.bits_per_frame = (depth % 2 == 0).then_some(values[3]);
                    figures.loss_heard = values[0];
                }
                _ => call.figures = None,
            }
            call
        },
    );
    let message = prop_oneof![
        (prop::collection::vec(call, 0..9), any::<[bool; 3]>(), 0..300_usize).prop_map(
            |(calls, [talk, on, muted], books)| {
                let mut status = status(calls);
                (status.audio.push_to_talk, status.audio.talking, status.audio.muted) = (talk, on, muted);
                status.bundle.codebooks = vec![1024; books];
                Message::Status(Box::new(status))
            }
        ),
        (any::<f64>(), any::<[f32; 4]>(), 0..5_u64).prop_map(|(at_s, levels, id)| {
            let mut live = live(at_s, id, &[Mark::Real, Mark::Held, Mark::Faded]);
            (live.meters.input_peak_dbfs, live.meters.input_rms_dbfs) = (levels[0], levels[1]);
            (live.meters.output_peak_dbfs, live.meters.output_rms_dbfs) = (levels[2], levels[3]);
            Message::Live(live)
        }),
        (prop::option::of(0..4_u64), ".{0,200}").prop_map(|(call, text)| Message::Notice { call, text }),
        any::<u64>().prop_map(|messages| Message::Missed { messages }),
    ];
    prop_oneof![key, message.prop_map(|message| Happening::Message(Box::new(message)))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn nothing_that_happens_makes_it_panic(
        happenings in prop::collection::vec(happening(), 0..30),
        own in prop::option::of(0..4_u64),
        releases: bool,
        (width, height) in (1..130_u16, 1..45_u16),
    ) {
        let mut screen = Screen::new(own, releases, true);
        for happening in happenings {
            match happening {
                Happening::Key(key) => drop(screen.key(key)),
                Happening::Message(message) => screen.message(&message),
            }
            draw(&screen, width, height);
            // A key is only ever for a call that is there.
            if screen.alive().next().is_some() {
                prop_assert!(screen.selected().is_some());
            }
        }
    }
}
