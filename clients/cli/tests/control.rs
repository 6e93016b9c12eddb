//! The verbs that ask the daemon, against one that is played; how one is started; and the screen in a terminal.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use parlo_api::{CallState, Direction, FeedMessage, Message, Status};
use parlo_test_support::{played::Played, samples};
use tempfile::TempDir;

/// A user's folders, and the daemon that may run there.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("parlo/control.sock")
    }

    fn daemon(&self, status: Status) -> Played {
        Played::start(&self.socket(), status)
    }

    fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.path();
        for name in ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME"] {
            command.env(name, folder);
        }
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    fn parlo(&self, words: &str) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_parlo"));
        command.args(words.split_whitespace());
        command
    }

    fn works(&self, words: &str) -> String {
        let output = self.parlo(words).output().unwrap();
        assert!(output.status.success(), "{words}: {}", err(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one line that a command which must fail says.
    fn fails(&self, words: &str) -> String {
        let output = self.parlo(words).output().unwrap();
        let said = err(&output);
        assert!(!output.status.success(), "{words} should fail: {}", String::from_utf8_lossy(&output.stdout));
        assert!(said.starts_with("parlo: ") && said.lines().count() == 1, "{words}: one sentence: {said}");
        said
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

fn signal(name: &str, id: &str) {
    assert!(Command::new("kill").args([name, id.trim()]).status().unwrap().success());
}

#[test]
fn calls_are_shown_answered_changed_and_ended() {
    let home = Home::new();
    let rings = samples::young(2, Direction::Incoming, CallState::Ringing);
    let daemon = home.daemon(samples::status(vec![samples::call(1, 83.0), rings]));
    let shown = home.works("calls");
    assert!(shown.contains("1   ada   in a call   01:23  7.7 kbps  5.0 %") && shown.contains("rings here"), "{shown}");
    let json: Vec<parlo_api::Call> = serde_json::from_str(&home.works("calls --json")).unwrap();
    assert_eq!(json, daemon.status().calls);

    assert!(home.works("answer").contains("call 2 with ada"));
    let said = home.fails("hold");
    assert!(said.contains("several calls") && said.contains("1: ada (in a call, 01:23)"), "{said}");
    assert!(home.works("hold 2").contains("held"));
    assert!(home.works("resume").contains("call 2"), "the only one that is held");
    assert!(home.works("set 1 --depth 4 --max-kbps 9").contains("4 codebooks"));
    assert_eq!(home.works("conference").lines().count(), 2);
    assert!(home.works("record 1").contains("recorded as ada-1"));
    assert!(home.works("record --stop").contains("no longer recorded"));
    assert!(home.fails("answer").contains("no call rings here"));
    assert!(home.fails("hangup 9").contains("there is no call 9"), "in the daemon's own words");
    home.works("refuse 2 --reason busy");
    home.works("hangup");
    let ended = daemon.status().calls.iter().all(|call| call.state == CallState::Ended);
    assert!(ended && home.fails("hangup").contains("there is no call"));
    home.works("hangup --all");
    let asked = daemon.asked();
    for request in [
        r#"PATCH /api/v1/calls/2 {"held":true"#,
        r#"PATCH /api/v1/calls/1 {"held":null,"conference":null,"volume_db":null,"depth":4"#,
        r#"POST /api/v1/calls/2/refuse {"reason":"busy"}"#,
        "DELETE /api/v1/calls/1",
    ] {
        assert!(asked.iter().any(|asked| asked.starts_with(request)), "{request} is missing: {asked:?}");
    }
    assert!(!home.parlo("set 1").output().unwrap().status.success(), "nothing to set");
}

#[test]
fn sound_people_and_recordings_are_shown_and_changed() {
    let home = Home::new();
    let daemon = home.daemon(samples::status(vec![]));
    assert!(home.works("mute").contains("off") && daemon.status().audio.muted);
    assert!(home.works("unmute").contains("on") && !daemon.status().audio.muted);
    let shown = home.works("audio --input-gain-db -6 --echo-cancellation off --push-to-talk on");
    assert!(shown.contains("-6 dB gain") && shown.contains("off (push to talk)"), "{shown}");
    assert!(!daemon.status().audio.stages.echo_cancellation);
    home.works("talk on");
    assert!(daemon.status().audio.talking);
    assert!(home.works("disturb off").contains("busy") && daemon.status().presence.do_not_disturb);
    let shown = home.works("status");
    assert!(shown.contains("maple-77aa") && shown.contains("push to talk") && shown.contains("61 MiB"), "{shown}");
    let json: Status = serde_json::from_str(&home.works("status --json")).unwrap();
    assert_eq!(json, daemon.status());

    let contact = r#"{"name":"ada","address":"ada.example:1","key":"KEY","fingerprint":"tulip","auto_answer":true}"#;
    let key = home.works("id").lines().next().unwrap().to_owned();
    let contact = contact.replace("KEY", &key);
    daemon.answer("GET /api/v1/contacts", 200, "[]");
    daemon.answer("PUT /api/v1/contacts/ada", 200, contact.clone());
    let said = home.works(&format!("contacts add ada ada.example:1 {key} --auto-answer"));
    assert!(said.contains("ada is tulip, answered without asking"), "{said}");
    daemon.answer("GET /api/v1/contacts", 200, format!("[{contact}]"));
    assert!(home.works("peers").contains("ada  tulip  ada.example:1  answered without asking"));
    daemon.answer("GET /api/v1/contacts", 200, format!("[{}]", contact.replace(&key, "parlo:other")));
    let said = home.fails(&format!("contacts add ada - {key}"));
    assert!(said.contains("parlo contacts remove ada"), "a key is never replaced in silence: {said}");
    for (words, asked) in [("--new", "PUT"), ("--remove", "DELETE")] {
        daemon.answer(&format!("{asked} /api/v1/contacts/ada/psk"), 204, "");
        let said = home.works(&format!("contacts psk ada {words}"));
        assert_eq!(said.contains("parlo-psk:"), words == "--new", "{said}");
        let last = daemon.asked().last().unwrap().clone();
        assert!(last.starts_with(&format!("{asked} /api/v1/contacts/ada/psk")), "{last}");
        assert!(said.lines().next().is_some_and(|psk| words == "--remove" || last.contains(psk)), "{last} {said}");
    }
    assert!(home.fails("contacts psk ada --set parlo-psk:abc").contains("--set -"));
    home.works("contacts auto-answer ada off");
    assert!(daemon.asked().last().unwrap().ends_with(r#""auto_answer":false}"#));
    assert!(home.fails("contacts auto-answer eve on").contains("nobody is called eve"));

    daemon.answer("GET /api/v1/recordings", 200, "[]");
    assert!(home.works("recordings").contains("No recordings"));
    daemon.answer("GET /api/v1/recordings/ada-1.wav?side=said", 200, "sound");
    assert!(home.works("recordings --wav ada-1 talk.wav --side said").contains("5 B"));
    assert_eq!(fs::read(home.folder.path().join("talk.wav")).unwrap(), b"sound");
    daemon.answer("GET /api/v1/recordings/ada-1.ptk", 200, "tokens");
    assert_eq!(home.works("recordings --tokens ada-1 -"), "tokens");
    assert!(home.fails("recordings --tokens eve-1 eve.ptk").contains("no such request"));
    assert!(!home.folder.path().join("eve.ptk").exists(), "nothing is left behind");
}

#[test]
fn without_a_daemon_it_is_said() {
    let home = Home::new();
    for words in ["calls", "status", "hangup", "answer", "mute", "talk on", "daemon stop", "daemon status", "set -k 3"]
    {
        let said = home.fails(words);
        assert!(said.contains("no daemon runs") && said.contains("parlo daemon start"), "{words}: {said}");
    }
    assert!(home.works("contacts").contains("Nobody yet"), "people are known without one");
    assert!(!home.folder.path().join("parlo/parlod.log").exists(), "none was started for these");
    let socket = home.fails("calls --socket other.sock");
    assert!(socket.contains("other.sock"), "{socket}");
    assert!(home.fails("screen").contains("needs a terminal"));
}

#[test]
fn a_call_is_told_in_lines_where_there_is_no_terminal() {
    let home = Home::new();
    let daemon = home.daemon(samples::status(vec![]));
    let start = |words| home.parlo(words).stderr(Stdio::piped()).spawn().unwrap();
    let rest = |mut child: Child| {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.wait().unwrap().success(), said)
    };
    let child = start("call ada --depth 4 --fixed");
    daemon.wait_for("POST /api/v1/calls");
    let dialled = daemon.asked().pop().unwrap();
    assert!(dialled.contains(r#""peer":"ada","depth":4,"frames_per_packet":null,"adapt":false"#), "{dialled}");
    daemon.change(|status| status.calls[0].state = CallState::Ringing);
    daemon.change(|status| status.calls[0] = samples::call(1, 1.0));
    daemon.say(&Message::Notice { call: Some(1), text: "the microphone changed".into() });
    daemon.change(|status| {
        status.calls[0] = samples::call(1, 60.0);
        status.calls[0].state = CallState::Ended;
    });
    let (success, said) = rest(child);
    let lines: Vec<&str> = said.lines().collect();
    assert!(success && lines.len() == 5, "{said}");
    for (line, part) in lines.iter().zip([
        "calling ada at",
        "it rings at ada",
        "in a call with ada",
        "the microphone changed",
        "ended after 01:00; 4000 frames",
    ]) {
        assert!(line.contains(part), "{line} should contain {part}");
    }

    // A call that fails is a failure, said once.
    let child = start("call ada");
    wait_for("the second call", || daemon.status().calls.len() == 2);
    daemon.change(|status| {
        status.calls[1].state = CallState::Ended;
        status.calls[1].failure = Some("nobody answered".into());
    });
    let (success, said) = rest(child);
    assert!(!success && said.ends_with("parlo: the call with ada ended: nobody answered\n"), "{said}");

    // Ctrl-C hangs up, and waits until that is done.
    let child = start("call ada");
    wait_for("the third call", || daemon.status().calls.len() == 3);
    let mut child = child;
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("calling"), "{line}");
    signal("-INT", &child.id().to_string());
    assert!(child.wait().unwrap().success());
    assert_eq!(daemon.asked().last().unwrap(), "DELETE /api/v1/calls/3");
    assert_eq!(daemon.status().calls[2].state, CallState::Ended);

    // A daemon that is gone is a failure too.
    let child = start("call ada");
    wait_for("the fourth call", || daemon.status().calls.len() == 4);
    drop(daemon);
    let (success, said) = rest(child);
    assert!(!success && said.contains("daemon"), "{said}");
}

#[test]
fn events_are_watched_as_lines_and_as_json() {
    let home = Home::new();
    let daemon = home.daemon(samples::status(vec![samples::call(1, 2.0)]));
    let watch = |words, lines: usize| {
        let mut child = home.parlo(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = out.next().unwrap().unwrap();
        daemon.wait_for_listener();
        daemon.change(|status| status.audio.muted = !status.audio.muted);
        let mut said = vec![first];
        said.extend(out.by_ref().take(lines - 1).map(Result::unwrap));
        signal("-TERM", &child.id().to_string());
        assert!(child.wait().unwrap().success());
        said
    };
    let said = watch("watch", 3);
    assert!(said[0].starts_with("call 1: in a call with ada"), "{said:?}");
    assert_eq!(said[1..], ["parlod 0.1.0 waits for calls at 127.0.0.1:7275", "the microphone is off"]);
    let said = watch("watch --json --live", 2);
    for line in said {
        assert!(matches!(serde_json::from_str(&line).unwrap(), Message::Status(_)), "{line}");
    }
    assert!(daemon.asked().contains(&"EVENTS live=true".to_owned()));
}

#[test]
fn a_feed_is_printed_to_its_end_as_json_for_programs() {
    let home = Home::new();
    let daemon = home.daemon(samples::status(vec![samples::call(4, 2.0)]));
    daemon.feed(&samples::feed(4));
    for words in ["feed", "feed 4 --json"] {
        let output = home.parlo(words).output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        let messages: Vec<FeedMessage> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(messages, samples::feed(4), "{words}");
    }
    assert!(home.parlo("feed --side heard").output().unwrap().status.success());
    let asked: Vec<String> = daemon.asked().into_iter().filter(|asked| asked.starts_with("FEED")).collect();
    let path = |side| format!("FEED /api/v1/calls/4/feed?side={side}");
    assert_eq!(asked, [path("both"), path("both"), path("heard")]);
    // A daemon that ends in the middle is no end of a call.
    daemon.feed(&samples::feed(4)[..3]);
    let output = home.parlo("feed").output().unwrap();
    assert!(!output.status.success() && err(&output).contains("the daemon has ended"), "{}", err(&output));
    daemon.answer("GET /api/v1/calls/4/feed", 409, r#"{"error":"call 4 is in Opus: it has no tokens to feed"}"#);
    let output = home.parlo("feed 4").output().unwrap();
    assert!(!output.status.success() && err(&output).contains("in Opus"), "{}", err(&output));
}

#[test]
fn a_feed_needs_a_daemon_and_a_call() {
    let home = Home::new();
    let output = home.parlo("feed").output().unwrap();
    assert!(!output.status.success() && err(&output).contains("parlo daemon start"), "{}", err(&output));
    let _daemon = home.daemon(samples::status(vec![]));
    let output = home.parlo("feed").output().unwrap();
    assert!(!output.status.success() && err(&output).contains("there is no call"), "{}", err(&output));
}

/// `parlo` with a `parlod` of our own beside it.
fn installed(home: &Home, parlod: &str) -> PathBuf {
    let folder = home.folder.path().join("bin");
    fs::create_dir(&folder).unwrap();
    fs::hard_link(env!("CARGO_BIN_EXE_parlo"), folder.join("parlo")).unwrap();
    // Written by another process: a file that this one, which has threads that start programs, had open for writing could not
    // be run while one of them still held it.
    let mut write =
        Command::new("sh").args(["-c", "cat > parlod"]).current_dir(&folder).stdin(Stdio::piped()).spawn().unwrap();
    write.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{parlod}\n").as_bytes()).unwrap();
    assert!(write.wait().unwrap().success());
    fs::set_permissions(folder.join("parlod"), fs::Permissions::from_mode(0o755)).unwrap();
    folder.join("parlo")
}

#[test]
fn a_daemon_is_started_where_one_is_needed_and_stopped_again() {
    let home = Home::new();
    let parlo = installed(
        &home,
        r#"echo "$@" > "$HOME/words"; echo $$ > "$HOME/id.new"; mv "$HOME/id.new" "$HOME/id"
           until [ -e "$HOME/ready" ]; do sleep 0.02; done; echo "hello"; echo "listening on 127.0.0.1:7275"; exec sleep 60"#,
    );
    let id = home.folder.path().join("id");
    let run =
        home.program(&parlo).args(["disturb", "off"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the daemon", || id.exists());
    let daemon = home.daemon(samples::status(vec![]));
    let ready = home.folder.path().join("ready");
    fs::write(&ready, "").unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success() && daemon.status().presence.do_not_disturb, "{}", err(&output));
    assert!(err(&output).contains("started the daemon; its log is") && err(&output).lines().count() == 1);
    assert!(home.folder.path().join("parlo/parlod.log").exists());
    let number = fs::read_to_string(&id).unwrap();
    let about = fs::read_to_string(format!("/proc/{}/stat", number.trim())).unwrap();
    let session = about.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, number.trim(), "it has a session of its own");
    signal("-KILL", &number);

    assert!(home.works("daemon start").contains("runs already (version 0.1.0)"));
    assert!(home.fails("daemon open").contains("--tcp"));
    assert!(home.works("daemon stop").contains("has ended"));
    assert_eq!(daemon.asked().last().unwrap(), "POST /api/v1/shutdown");
    drop(daemon);

    fs::remove_file(&id).unwrap();
    fs::remove_file(&ready).unwrap();
    let start = ["daemon", "start", "--tcp", "127.0.0.1:7999"];
    let run = home.program(&parlo).args(start).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the daemon", || id.exists());
    fs::write(home.folder.path().join("parlo/token"), "secret\n").unwrap();
    let mut status = samples::status(vec![]);
    status.page = Some("127.0.0.1:7999".into());
    status.audio.trouble = Some("there is no sound input here".into());
    let _daemon = home.daemon(status);
    fs::write(&ready, "").unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success() && err(&output).contains("no sound input here"), "{}", err(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "http://127.0.0.1:7999/?token=secret\n");
    assert_eq!(fs::read_to_string(home.folder.path().join("words")).unwrap(), "--control-tcp 127.0.0.1:7999\n");
    signal("-KILL", &fs::read_to_string(&id).unwrap());

    assert_eq!(home.works("daemon open"), "http://127.0.0.1:7999/?token=secret\n");
    assert!(home.works("status").contains("no sound input here"));
}

#[test]
fn a_daemon_that_dies_says_why() {
    let home = Home::new();
    let parlo = installed(&home, "echo 'parlod: no model bundle found' >&2; exit 3");
    for _ in 0..2 {
        let output = home.program(&parlo).args(["call", "ada"]).output().unwrap();
        let said = err(&output);
        assert!(!output.status.success() && said.lines().count() == 1, "{said}");
        assert_eq!(said.matches("no model bundle found").count(), 1, "only what this one said: {said}");
        assert!(said.contains("parlod.log"), "{said}");
    }
}

/// Runs `parlo` in a terminal of 80 x 24, and writes its number into the file `id`.
fn in_terminal(home: &Home, words: &str) -> Child {
    let line = format!("stty rows 24 cols 80; echo $$ > id; exec {} {words}", env!("CARGO_BIN_EXE_parlo"));
    let mut script = home.program("script");
    script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("SHELL", "/bin/sh");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads what is shown until this is.
fn read_until(out: &mut impl Read, what: &str) -> Vec<u8> {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(what) {
        let mut part = [0; 4096];
        let length = out.read(&mut part).unwrap();
        assert!(length > 0, "{what} is missing: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..length]);
    }
    seen
}

/// The screen was taken, and given back before the last words.
fn given_back(shown: &str) -> bool {
    let (taken, back) = (shown.find("\x1b[?1049h"), shown.rfind("\x1b[?1049l"));
    taken.is_some() && taken < back && shown[back.unwrap()..].contains("\x1b[?25h")
}

#[test]
fn a_call_is_shown_on_a_screen_and_ended_from_it() {
    let home = Home::new();
    let daemon = home.daemon(samples::status(vec![]));
    let mut child = in_terminal(&home, "call ada");
    let mut keys = child.stdin.take().unwrap();
    daemon.wait_for("POST /api/v1/calls");
    daemon.change(|status| status.calls[0] = samples::call(1, 1.0));
    // Keys that come before the screen stands, or before it knows of a call, mean nothing.
    let mut out = child.stdout.take().unwrap();
    let mut seen = read_until(&mut out, "kbps");
    keys.write_all(b"m").unwrap();
    daemon.wait_for(r#"PATCH /api/v1/audio {"source":null,"sink":null,"muted":true"#);
    daemon.change(|status| status.calls[0] = samples::call(1, 2.0));
    keys.write_all(b"-").unwrap();
    daemon.wait_for("PATCH /api/v1/calls/1 ");
    assert_eq!(daemon.status().calls[0].settings.depth, 5);
    keys.write_all(b"\x03").unwrap();
    daemon.wait_for("DELETE /api/v1/calls/1");
    out.read_to_end(&mut seen).unwrap();
    let (success, shown) = (child.wait().unwrap().success(), String::from_utf8_lossy(&seen).into_owned());
    assert!(success && given_back(&shown), "{shown:?}");
    assert!(shown.contains("kbps") && shown.contains("MUTED") && shown.contains("tulip-3c1f"), "{shown:?}");
    assert!(shown.contains("the call with ada ended after 00:02"), "{shown:?}");
}

#[test]
fn a_screen_that_is_terminated_hangs_up_and_gives_the_terminal_back() {
    let home = Home::new();
    let daemon = home.daemon(samples::status(vec![]));
    let mut child = in_terminal(&home, "call ada");
    let _keys = child.stdin.take();
    daemon.wait_for("POST /api/v1/calls");
    daemon.change(|status| status.calls[0] = samples::call(1, 1.0));
    let mut out = child.stdout.take().unwrap();
    // The screen stands once it shows a figure.
    let mut seen = read_until(&mut out, "kbps");
    signal("-TERM", &fs::read_to_string(home.folder.path().join("id")).unwrap());
    out.read_to_end(&mut seen).unwrap();
    assert!(child.wait().unwrap().success());
    let shown = String::from_utf8_lossy(&seen).into_owned();
    assert!(given_back(&shown) && shown.contains("hung up"), "{shown:?}");
    assert_eq!(daemon.asked().last().unwrap(), "DELETE /api/v1/calls/1");
}

/// The answers and keys are as the kitty keyboard protocol has them (its sections "Detection of support" and "Event types").
#[test]
fn a_terminal_that_tells_of_releases_makes_space_a_key_to_hold() {
    let home = Home::new();
    let mut quiet = samples::status(vec![samples::call(1, 1.0)]);
    quiet.audio.push_to_talk = true;
    let daemon = home.daemon(quiet);
    let mut child = in_terminal(&home, "screen");
    let mut keys = child.stdin.take().unwrap();
    let mut out = child.stdout.take().unwrap();
    read_until(&mut out, "\x1b[?u");
    keys.write_all(b"\x1b[?0u\x1b[?62c").unwrap();
    // Keys mean something once the daemon's state is shown.
    read_until(&mut out, "kbps");
    let talks = |state: bool| wait_for("talk", || daemon.status().audio.talking == state);
    keys.write_all(b"\x1b[32;1:1u").unwrap();
    talks(true);
    keys.write_all(b"\x1b[32;1:2u\x1b[32;1:2u").unwrap();
    keys.write_all(b"\x1b[32;1:3u").unwrap();
    talks(false);
    keys.write_all(b"\x1b[32;1:1u").unwrap();
    talks(true);
    keys.write_all(b"\x1b[100;1:1u").unwrap();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(daemon.asked().iter().filter(|asked| asked.starts_with("PATCH")).count(), 4, "{:?}", daemon.asked());
    assert!(!daemon.status().audio.talking, "whoever leaves lets talk go");
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("\x1b[<1u") && rest.contains("\x1b[?1049l"), "{rest:?}");
    assert_eq!(daemon.status().calls[0].state, CallState::Active, "the call goes on");
}

#[test]
fn nobody_plays_a_daemon_where_there_is_none() {
    // What these tests stand on: a socket that is left behind is no daemon.
    let home = Home::new();
    fs::create_dir_all(home.socket().parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.socket()).unwrap());
    assert!(Path::new(&home.socket()).exists() && home.fails("calls").contains("no daemon runs"));
}
