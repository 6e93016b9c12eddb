//! Every route: what it asks of the call manager, what it answers, how it fails.

use parlo_api::{Audio, Call, Contact, Device, Presence, RefusalReason, Status};
use parlo_protocol::{identity::Identity, psk::Psk};
use parlod::call_manager::{Refused, RefusedKind, Request};

use crate::stand::{Stand, ask, call, status};

#[tokio::test]
async fn reading_answers_what_the_hub_has_published() {
    let stand = Stand::new();
    let told = stand.get("/api/v1/status").await.json::<Status>();
    // What goes on while the call manager publishes nothing is as it is now.
    assert!(told.uptime_s > status().uptime_s && told.resident_mib > 1.0, "{} {}", told.uptime_s, told.resident_mib);
    let (uptime_s, resident_mib) = (status().uptime_s, status().resident_mib);
    assert_eq!(Status { uptime_s, resident_mib, ..told }, status());
    assert_eq!(stand.get("/api/v1/calls").await.json::<Vec<Call>>(), [call(7)]);
    assert_eq!(stand.get("/api/v1/calls/7").await.json::<Call>(), call(7));
    assert_eq!(stand.get("/api/v1/audio").await.json::<Audio>(), status().audio);
    assert_eq!(stand.get("/api/v1/presence").await.json::<Presence>(), Presence::default());
    assert_eq!(stand.get("/api/v1/devices").await.json::<Vec<Device>>()[0].name, "Mic");
    for unknown in ["/api/v1/calls/8", "/api/v1/calls/x", "/api/v1/calls/-1", "/api/v1/nothing", "/..%2f", "/api"] {
        let answer = stand.get(unknown).await;
        assert_eq!(answer.status, 404, "{unknown}");
        assert!(!answer.error().is_empty());
    }
    assert!(stand.asked().is_empty(), "nothing of this bothers the call manager");
    // What changes is seen at once.
    stand.status.send_modify(|status| std::sync::Arc::make_mut(status).calls = vec![call(8)]);
    assert_eq!(stand.get("/api/v1/calls").await.json::<Vec<Call>>(), [call(8)]);
}

#[tokio::test]
async fn each_request_reaches_the_hub_as_it_was_meant() {
    let stand = Stand::new();
    for (method, path, body, status, request) in [
        ("POST", "/api/v1/calls/7/answer", "", 200, Request::Answer(7)),
        ("POST", "/api/v1/calls/7/refuse", "", 204, Request::Refuse(7, RefusalReason::Declined)),
        ("POST", "/api/v1/calls/7/refuse", "{\"reason\":\"busy\"}", 204, Request::Refuse(7, RefusalReason::Busy)),
        ("DELETE", "/api/v1/calls/7", "", 204, Request::HangUp(7)),
        ("POST", "/api/v1/calls/7/recording", "", 200, Request::Record(7)),
        ("DELETE", "/api/v1/calls/7/recording", "", 200, Request::StopRecording(7)),
        (
            "PUT",
            "/api/v1/presence",
            "{\"do_not_disturb\":true}",
            200,
            Request::Presence(Presence { do_not_disturb: true }),
        ),
        ("POST", "/api/v1/shutdown", "", 204, Request::ShutDown),
    ] {
        let answer = stand.ask(method, path, body).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.body.is_empty(), status == 204, "{path}");
        assert_eq!(stand.asked(), [request], "{path}");
    }
    let answer = stand.ask("POST", "/api/v1/calls", "{\"peer\":\"ada\",\"depth\":4}").await;
    assert_eq!((answer.status, answer.json::<Call>()), (201, call(7)));
    assert!(matches!(&stand.asked()[..], [Request::Dial(dial)] if dial.peer == "ada" && dial.depth == Some(4)));
    let answer = stand.ask("PATCH", "/api/v1/calls/7", "{\"held\":true,\"volume_db\":-6.5}").await;
    assert_eq!((answer.status, answer.json::<Call>()), (200, call(7)));
    let asked = stand.asked();
    assert!(matches!(&asked[..], [Request::Change(7, change)]
        if change.held == Some(true) && change.volume_db == Some(-6.5) && change.depth.is_none()));
    let answer = stand.ask("PATCH", "/api/v1/audio", "{\"muted\":true}").await;
    assert_eq!((answer.status, answer.json::<Audio>()), (200, status().audio));
    assert!(
        matches!(&stand.asked()[..], [Request::Audio(change)] if change.muted == Some(true) && change.sink.is_none())
    );
}

#[tokio::test]
async fn the_hubs_refusals_have_their_codes_and_sentences() {
    for (kind, code) in [
        (RefusedKind::Invalid, 400),
        (RefusedKind::NotFound, 404),
        (RefusedKind::Conflict, 409),
        (RefusedKind::Failed, 500),
    ] {
        let stand = Stand::with(move |_, _| Err(Refused::new(kind, "because \"of\" that")));
        for (method, path, body) in [
            ("POST", "/api/v1/calls", "{\"peer\":\"ada\"}"),
            ("POST", "/api/v1/calls/7/answer", ""),
            ("POST", "/api/v1/calls/7/refuse", ""),
            ("PATCH", "/api/v1/calls/7", "{}"),
            ("DELETE", "/api/v1/calls/7", ""),
            ("POST", "/api/v1/calls/7/recording", ""),
            ("DELETE", "/api/v1/calls/7/recording", ""),
            ("PATCH", "/api/v1/audio", "{}"),
            ("PUT", "/api/v1/presence", "{\"do_not_disturb\":true}"),
            ("POST", "/api/v1/shutdown", ""),
        ] {
            let answer = stand.ask(method, path, body).await;
            assert_eq!((answer.status, answer.error().as_str()), (code, "because \"of\" that"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn bodies_that_are_not_as_they_should_be_are_refused_and_reach_nobody() {
    let stand = Stand::new();
    for (method, path, body, word) in [
        ("POST", "/api/v1/calls", "{", "EOF"),
        ("POST", "/api/v1/calls", "[1", "line 1"),
        ("POST", "/api/v1/calls", "{}", "peer"),
        ("POST", "/api/v1/calls", "{\"peer\":3}", "string"),
        ("POST", "/api/v1/calls", "{\"peer\":\"a\",\"dept\":3}", "dept"),
        ("POST", "/api/v1/calls", "{\"peer\":\"a\"} x", "trailing"),
        ("POST", "/api/v1/calls", "{\"peer\":\"a\",\"depth\":-1}", "-1"),
        ("POST", "/api/v1/calls", "{\"peer\":\"a\",\"depth\":256}", "256"),
        ("PATCH", "/api/v1/calls/7", "{\"hold\":true}", "hold"),
        ("PATCH", "/api/v1/calls/7", "{\"volume_db\":1e999}", "number out of range"),
        ("POST", "/api/v1/calls/7/refuse", "{\"reason\":\"bored\"}", "bored"),
        ("PATCH", "/api/v1/audio", "{\"mute\":true}", "mute"),
        ("PUT", "/api/v1/presence", "{}", "do_not_disturb"),
        ("PUT", "/api/v1/contacts/ada", "{\"key\":\"parlo:\",\"keys\":1}", "keys"),
    ] {
        let answer = stand.ask(method, path, body).await;
        assert_eq!(answer.status, 400, "{path} {body}: {answer:?}");
        assert!(answer.error().contains(word), "{} should contain {word}", answer.error());
    }
    // What a web page's plain form could send.
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"]
    {
        let headers = [("host", "localhost"), ("content-type", kind)];
        let answer = ask(stand.unix().await, "POST", "/api/v1/calls", &headers, "{\"peer\":\"ada\"}").await;
        assert_eq!(answer.status, 415, "{kind}");
        assert!(answer.error().contains("application/json"));
        let answer = ask(stand.unix().await, "POST", "/api/v1/calls/7/refuse", &headers, "{\"reason\":\"busy\"}").await;
        assert_eq!(answer.status, 415, "{kind}");
    }
    assert_eq!(ask(stand.unix().await, "POST", "/api/v1/calls", &[("host", "x")], "").await.status, 415);
    let headers = [("host", "localhost"), ("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(ask(stand.unix().await, "PATCH", "/api/v1/audio", &headers, "{}").await.status, 200);
    assert_eq!(stand.asked().len(), 1, "only the last one is right");
    let long = format!("{{\"peer\":\"{}\"}}", "x".repeat(64 * 1024));
    let answer = stand.ask("POST", "/api/v1/calls", &long).await;
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("65536") && stand.asked().is_empty());
}

#[tokio::test]
async fn contacts_are_put_listed_and_removed() {
    let stand = Stand::new();
    let list = async || stand.get("/api/v1/contacts").await.json::<Vec<Contact>>();
    assert!(list().await.is_empty());
    let key = |n: u8| Identity::from_bytes([n; 32]).public();
    let entry = |n: u8, more: &str| format!("{{\"key\":\"{}\"{more}}}", key(n));
    let answer = stand.ask("PUT", "/api/v1/contacts/ada", &entry(1, ",\"address\":\"ada.example:7275\"")).await;
    let ada: Contact = answer.json();
    assert_eq!((ada.name.as_str(), ada.address.as_deref(), ada.auto_answer), ("ada", Some("ada.example:7275"), false));
    assert_eq!((ada.key.clone(), ada.fingerprint.clone()), (key(1).to_string(), key(1).fingerprint()));
    stand.ask("PUT", "/api/v1/contacts/ada", &entry(1, ",\"auto_answer\":true")).await;
    // A name of any language, as a browser writes it.
    stand.ask("PUT", "/api/v1/contacts/J%C3%BCrgen", &entry(2, "")).await;
    let all = list().await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], Contact { address: None, auto_answer: true, ..ada });
    assert_eq!(all[1].name, "Jürgen");

    for (name, body, code, word) in [
        ("a%20b", entry(3, ""), 400, "a b"),
        ("-a", entry(3, ""), 400, "-a"),
        ("a%0Ab", entry(3, ""), 400, "name"),
        ("bob", entry(3, ",\"address\":\"nowhere\""), 400, "nowhere"),
        ("bob", "{\"key\":\"parlo:123\"}".into(), 400, "parlo:123"),
        ("ada", entry(3, ""), 409, "ada is known already"),
    ] {
        let answer = stand.ask("PUT", &format!("/api/v1/contacts/{name}"), &body).await;
        assert_eq!(answer.status, code, "{name} {body}: {answer:?}");
        assert!(answer.error().contains(word), "{}", answer.error());
    }
    assert_eq!(list().await, all);
    // A secret is kept, and told to nobody.
    let psk = Psk::from_bytes([7; 32]).to_text();
    let shared = async || list().await.iter().map(|contact| contact.psk).collect::<Vec<_>>();
    let put = async |name: &str, psk: &str| {
        stand.ask("PUT", &format!("/api/v1/contacts/{name}/psk"), &format!("{{\"psk\":\"{psk}\"}}")).await
    };
    assert_eq!(put("ada", &psk).await.status, 204);
    assert_eq!(shared().await, [true, false]);
    let said = put("ada", &psk.replace("parlo-psk:", "parlo-psk:a")).await;
    assert_eq!((said.status, said.error().contains(&psk[20..30])), (400, false), "{said:?}");
    assert_eq!(put("eve", &psk).await.status, 404);
    let listed = stand.get("/api/v1/contacts").await;
    assert!(!format!("{listed:?}").contains("parlo-psk") && !listed.body.is_empty());
    assert_eq!(stand.ask("DELETE", "/api/v1/contacts/ada/psk", "").await.status, 204);
    assert_eq!(shared().await, [false, false]);
    assert_eq!(stand.ask("DELETE", "/api/v1/contacts/ada", "").await.status, 204);
    assert_eq!(stand.ask("DELETE", "/api/v1/contacts/ada", "").await.status, 404);
    assert_eq!(list().await.len(), 1);
}

#[tokio::test]
async fn recordings_are_rendered_by_side_and_names_cannot_leave_their_folder() {
    let stand = Stand::new();
    let get = async |path: &str| stand.get(&format!("/api/v1/recordings{path}")).await;
    assert_eq!(get("").await.json::<Vec<parlo_api::Recording>>(), []);
    for (query, side) in [("", "Both"), ("?side=said", "Said"), ("?side=heard", "Heard"), ("?side=both", "Both")] {
        let answer = get(&format!("/2026-11-21.ada.wav{query}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "audio/wav"));
        assert_eq!(answer.header("content-disposition"), "attachment; filename=\"2026-11-21.ada.wav\"");
        assert_eq!(answer.body, format!("2026-11-21.ada {side}"));
    }
    for query in ["?side=left", "?sides=said", "?side="] {
        assert_eq!(get(&format!("/a.wav{query}")).await.status, 400, "{query}");
    }
    for name in ["..%2F..%2Fetc%2Fpasswd", "%2e%2e", ".hidden", "a%00b", "a%22b", "a%0d%0ab", "é", "a%2fb"] {
        for path in [format!("/{name}.wav"), format!("/{name}.ptk")] {
            let answer = get(&path).await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
        }
        assert_eq!(stand.ask("DELETE", &format!("/api/v1/recordings/{name}"), "").await.status, 404, "{name}");
    }
    for name in ["/none", "/none.mp3", "/none.ptk"] {
        assert_eq!(get(name).await.status, 404, "{name}");
    }
    assert_eq!(stand.ask("DELETE", "/api/v1/recordings/none", "").await.status, 404);
}

#[tokio::test]
async fn a_part_of_a_recording_is_the_same_bytes_as_the_whole_has_there() {
    let stand = Stand::new();
    let path = "/api/v1/recordings/2026-11-21.ada.wav?side=said";
    let get = async |heads: &[(&str, &str)]| {
        let heads = [&[("host", "localhost")], heads].concat();
        crate::stand::ask(stand.unix().await, "GET", path, &heads, "").await
    };
    let whole = get(&[]).await;
    let (length, tag) = (whole.body.len(), whole.header("etag").to_owned());
    assert_eq!((whole.status, whole.header("accept-ranges"), whole.header("content-length")), (200, "bytes", "19"));
    assert!(length == 19 && tag.starts_with('"'));
    for (range, part) in [("bytes=0-3", 0..4), ("bytes=11-", 11..19), ("bytes=-5", 14..19), ("bytes=7-900", 7..19)] {
        let answer = get(&[("range", range)]).await;
        assert_eq!((answer.status, &answer.body[..]), (206, &whole.body[part.clone()]), "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {}-{}/19", part.start, part.end - 1));
        assert_eq!(answer.header("content-length"), part.len().to_string());
        assert_eq!(get(&[("range", range), ("if-range", &tag)]).await.status, 206);
        assert_eq!(get(&[("range", range), ("if-range", "\"other\"")]).await.body, whole.body);
    }
    let beyond = get(&[("range", "bytes=19-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */19"));
    for no_range in ["bytes=3-1", "bytes=0-1,3-4", "lines=1-2"] {
        assert_eq!(
            (get(&[("range", no_range)]).await.status, get(&[("range", no_range)]).await.body),
            (200, whole.body.clone())
        );
    }
}

#[tokio::test]
async fn who_does_not_take_what_is_played_keeps_nobody_else_from_playing() {
    use tokio::io::AsyncWriteExt as _;
    let stand = Stand::new();
    // Three that have asked and read nothing hold their places only until all of it is in their sockets; more come and go.
    for _ in 0..12 {
        let mut stream = stand.unix().await;
        stream.write_all(b"GET /api/v1/recordings/a.wav HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        drop(stream);
    }
    assert_eq!(stand.get("/api/v1/recordings/a.wav").await.status, 200);
}

#[tokio::test]
async fn a_hub_that_has_ended_is_told_as_that() {
    let stand = Stand::new();
    let (handle, backend) =
        parlod::call_manager::Handle::new(status(), std::sync::Arc::clone(stand.handle.recordings()));
    drop(backend);
    let folder = tempfile::tempdir().unwrap();
    let server = parlod::control::serve(
        crate::stand::endpoints(folder.path().join("parlo")),
        handle,
        crate::stand::extras(&folder),
    )
    .unwrap();
    let stream = tokio::net::UnixStream::connect(server.socket().unwrap()).await.unwrap();
    let answer = ask(stream, "POST", "/api/v1/shutdown", &[("host", "x")], "").await;
    assert_eq!(answer.status, 500);
    assert!(answer.error().contains("ending"), "{}", answer.error());
}
