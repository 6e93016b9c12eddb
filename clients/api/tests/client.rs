//! The client against a server that is played, over a real socket.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use parlo_api::{
    AudioChange, CallChange, CallState, Client, ClientError, ContactEntry, Dial, Mark, Message, PskEntry,
    RefusalReason, client::Side,
};
use parlo_test_support::{played::Played, samples};
use tempfile::TempDir;

async fn played() -> (TempDir, Played, Client) {
    let folder = tempfile::tempdir().unwrap();
    let played = Played::start(&folder.path().join("parlo/control.sock"), samples::status(vec![samples::call(1, 9.0)]));
    let client = Client::connect(&played.socket).await.unwrap();
    (folder, played, client)
}

#[tokio::test]
async fn every_request_is_made_as_the_api_has_it() {
    let (_folder, played, client) = played().await;
    assert_eq!(client.status().await.unwrap(), played.status());
    assert_eq!(client.calls().await.unwrap(), played.status().calls);
    assert_eq!(client.call(1).await.unwrap(), samples::call(1, 9.0));
    assert_eq!(client.audio().await.unwrap(), played.status().audio);
    assert!(!client.presence().await.unwrap().do_not_disturb);

    let dialled = client.dial(&Dial { peer: "bob".into(), depth: Some(4), ..Dial::default() }).await.unwrap();
    assert_eq!((dialled.id, dialled.state), (2, CallState::Calling));
    assert_eq!(client.answer(2).await.unwrap().state, CallState::Active);
    client.refuse(2, RefusalReason::Busy).await.unwrap();
    client.hang_up(2).await.unwrap();
    assert!(client.change(1, &CallChange { held: Some(true), ..CallChange::default() }).await.unwrap().held);
    assert_eq!(client.record(1).await.unwrap().recording.as_deref(), Some("ada-1"));
    assert_eq!(client.stop_recording(1).await.unwrap().recording, None);
    assert!(client.change_audio(&AudioChange { muted: Some(true), ..AudioChange::default() }).await.unwrap().muted);
    assert!(client.set_presence(true).await.unwrap().do_not_disturb);

    played.answer("GET /api/v1/devices", 200, "[]");
    assert_eq!(client.devices().await.unwrap(), []);
    played.answer("GET /api/v1/contacts", 200, "[]");
    assert_eq!(client.contacts().await.unwrap(), []);
    let contact = r#"{"name":"a/ä","address":null,"key":"parlo:k","fingerprint":"f","auto_answer":true}"#;
    played.answer("PUT /api/v1/contacts/a%2F%C3%A4", 200, contact);
    let entry = ContactEntry { address: None, key: "parlo:k".into(), auto_answer: true };
    assert_eq!(client.put_contact("a/ä", &entry).await.unwrap().name, "a/ä");
    played.answer("DELETE /api/v1/contacts/a%2F%C3%A4", 204, "");
    client.remove_contact("a/ä").await.unwrap();
    played.answer("PUT /api/v1/contacts/a%2F%C3%A4/psk", 204, "");
    client.set_psk("a/ä", Some(&PskEntry { psk: "parlo-psk:x".into() })).await.unwrap();
    played.answer("DELETE /api/v1/contacts/a%2F%C3%A4/psk", 204, "");
    client.set_psk("a/ä", None).await.unwrap();
    played.answer("GET /api/v1/recordings", 200, "[]");
    assert_eq!(client.recordings().await.unwrap(), []);
    played.answer("DELETE /api/v1/recordings/ada-1", 204, "");
    client.remove_recording("ada-1").await.unwrap();
    client.shut_down().await.unwrap();

    let asked = played.asked();
    let expected = [
        r#"POST /api/v1/calls {"peer":"bob","depth":4"#,
        "POST /api/v1/calls/2/answer",
        r#"POST /api/v1/calls/2/refuse {"reason":"busy"}"#,
        "DELETE /api/v1/calls/2",
        r#"PATCH /api/v1/calls/1 {"held":true"#,
        "POST /api/v1/calls/1/recording",
        "DELETE /api/v1/calls/1/recording",
        "PATCH /api/v1/audio {",
        r#"PUT /api/v1/presence {"do_not_disturb":true}"#,
        r#"PUT /api/v1/contacts/a%2F%C3%A4 {"address":null,"key":"parlo:k","auto_answer":true}"#,
        "DELETE /api/v1/contacts/a%2F%C3%A4",
        r#"PUT /api/v1/contacts/a%2F%C3%A4/psk {"psk":"parlo-psk:x"}"#,
        "DELETE /api/v1/contacts/a%2F%C3%A4/psk",
        "DELETE /api/v1/recordings/ada-1",
        "POST /api/v1/shutdown",
    ];
    assert_eq!(asked.len(), expected.len(), "{asked:?}");
    for (asked, expected) in asked.iter().zip(expected) {
        assert!(asked.starts_with(expected), "{asked} should begin with {expected}");
    }
}

#[tokio::test]
async fn recordings_are_fetched_whole() {
    let (_folder, played, client) = played().await;
    let sound: Vec<u8> = (0..3_000_000_u32).map(|byte| byte as u8).collect();
    played.answer("GET /api/v1/recordings/ada%201.wav?side=heard", 200, sound.clone());
    let mut got = Vec::new();
    assert_eq!(client.recording_wav("ada 1", Side::Heard, &mut got).await.unwrap(), sound.len() as u64);
    assert!(got == sound);
    played.answer("GET /api/v1/recordings/ada%201.ptk", 200, "tokens");
    let mut got = Vec::new();
    assert_eq!(client.recording_tokens("ada 1", &mut got).await.unwrap(), 6);
    assert_eq!(got, b"tokens");

    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = client.recording_tokens("ada 1", &mut Full).await.unwrap_err();
    assert!(matches!(error, ClientError::Unwritable(_)), "{error}");
}

#[tokio::test]
async fn events_come_in_order_until_the_daemon_closes() {
    let (_folder, played, client) = played().await;
    let mut events = client.events(true).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), Message::Status(Box::new(played.status())));
    let notice = Message::Notice { call: Some(1), text: "a device changed".into() };
    let live = Message::Live(samples::live(1.0, 1, &[Mark::Real, Mark::Faded]));
    played.say(&notice);
    played.say(&live);
    played.say(&Message::Missed { messages: 3 });
    for expected in [notice, live, Message::Missed { messages: 3 }] {
        assert_eq!(events.next().await.unwrap().unwrap(), expected);
    }
    played.close_events();
    assert!(events.next().await.is_none());
    let mut calm = client.events(false).await.unwrap();
    calm.next().await.unwrap().unwrap();
    assert_eq!(played.asked(), ["EVENTS live=true", "EVENTS live=false"]);

    played.say_text(r#"{"type":"dance"}"#);
    let error = calm.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::OtherVersion { .. }), "{error}");
    drop(played);
    let error = calm.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Broken(_)), "{error}");
    assert!(calm.next().await.is_none());
}

#[tokio::test]
async fn errors_say_what_is_wrong() {
    let (folder, played, client) = played().await;
    let refused = client.answer(7).await.unwrap_err();
    assert!(refused.is_not_found());
    assert_eq!(refused.to_string(), "there is no call 7");
    played.answer("GET /api/v1/audio", 409, r#"{"error":"not now"}"#);
    let refused = client.audio().await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { status: 409, .. }) && refused.to_string() == "not now");

    played.answer("GET /api/v1/status", 200, r#"{"version":"9.0"}"#);
    let other = client.status().await.unwrap_err().to_string();
    assert!(other.contains("missing field") && other.contains("GET /api/v1/status"), "{other}");
    played.answer("GET /api/v1/presence", 404, "no such page");
    let other = client.presence().await.unwrap_err();
    assert!(matches!(other, ClientError::OtherVersion { .. }), "{other}");
    played.answer("GET /api/v1/events", 503, r#"{"error":"too many listeners"}"#);
    assert_eq!(client.events(false).await.unwrap_err().to_string(), "too many listeners");

    let socket = played.socket.clone();
    drop(played);
    let gone = client.status().await.unwrap_err();
    assert!(gone.is_no_daemon());
    let text = gone.to_string();
    assert!(text.contains(socket.to_str().unwrap()) && text.contains("parlo daemon start"), "{text}");
    // A socket that a killed daemon left behind is no daemon either.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(Client::connect(&socket).await.unwrap_err().is_no_daemon());
    // And something that is no socket.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Client::connect(&file).await.is_err());
}

#[tokio::test]
async fn whoever_hangs_up_in_the_middle_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rude.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{");
        }
    });
    // The first connection is only a look.
    let client = Client::connect(&socket).await.unwrap();
    assert!(matches!(client.status().await, Err(ClientError::Broken(_))));
    // Whoever answers a request for a WebSocket with a plain page does not speak this API.
    assert!(matches!(client.events(false).await, Err(ClientError::OtherVersion { .. })));
}

#[tokio::test]
async fn a_feed_comes_in_order_to_its_end_and_refusals_are_told() {
    let (_folder, played, client) = played().await;
    played.feed(&samples::feed(1));
    let mut feed = client.feed(1, Side::Heard).await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = feed.next().await {
        messages.push(message.unwrap());
    }
    assert_eq!(messages, samples::feed(1));
    assert_eq!(played.asked(), ["FEED /api/v1/calls/1/feed?side=heard"]);
    played.answer("GET /api/v1/calls/9/feed", 404, r#"{"error":"there is no call 9"}"#);
    assert!(client.feed(9, Side::Both).await.unwrap_err().is_not_found());
}

/// A daemon is asked only where nobody else could have put another.
#[tokio::test]
async fn a_socket_in_a_folder_of_others_is_not_used() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let (folder, played, client) = played().await;
    let parlo = folder.path().join("parlo");
    let mode = |mode| std::fs::set_permissions(&parlo, std::fs::Permissions::from_mode(mode)).unwrap();
    for open in [0o777, 0o720, 0o702, 0o1777] {
        mode(open);
        let said = client.status().await.unwrap_err().to_string();
        assert!(said.contains(&format!("chmod go-w {}", parlo.display())), "{said}");
    }
    mode(0o700);
    client.status().await.unwrap();
    if parlo.metadata().unwrap().uid() == 0 {
        // Whoever made the folder first.
        chown(&parlo, Some(65_534), None).unwrap();
        let said = client.status().await.unwrap_err();
        assert!(matches!(said, ClientError::Owner(_)) && said.to_string().contains("65534"), "{said}");
        chown(&parlo, Some(0), None).unwrap();
    }
    assert_eq!(client.status().await.unwrap(), played.status());
    assert!(Client::connect(&folder.path().join("none/control.sock")).await.unwrap_err().is_no_daemon());
}

#[tokio::test]
async fn another_users_program_at_the_socket_is_asked_nothing() {
    use std::{
        io::{BufRead as _, BufReader},
        os::unix::{
            fs::{MetadataExt as _, chown},
            process::CommandExt as _,
        },
        process::{Command, Stdio},
    };
    let place = tempfile::tempdir().unwrap();
    if place.path().metadata().unwrap().uid() != 0 {
        // Only root can be two users.
        return;
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    let folder = place.path().join("parlo");
    std::fs::create_dir(&folder).unwrap();
    chown(&folder, Some(65_534), None).unwrap();
    let socket = folder.join("control.sock");
    let listen = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint('ready', flush=True)\n\
                  c, _ = s.accept()\nprint(len(c.recv(100)), flush=True)";
    let mut theirs = Command::new("python3")
        .args(["-c", listen, socket.to_str().unwrap()])
        .uid(65_534)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(theirs.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    // By now the folder looks good.
    chown(&folder, Some(0), None).unwrap();
    let error = Client::connect(&socket).await.unwrap_err();
    assert!(matches!(error, ClientError::Stranger { user: 65_534, .. }), "{error}");
    assert_eq!(lines.next().unwrap().unwrap(), "0", "it is told nothing");
    theirs.wait().unwrap();
}
