//! What the API says of itself: its document, its figures, its log, its manual.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    process::Command,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::stand::{Stand, ask, call};

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// What is promised to clients.
const PROMISED: [(&str, &[&str]); 20] = [
    ("/", &["get"]),
    ("/metrics", &["get"]),
    ("/api/v1/status", &["get"]),
    ("/api/v1/presence", &["get", "put"]),
    ("/api/v1/shutdown", &["post"]),
    ("/api/v1/calls", &["get", "post"]),
    ("/api/v1/calls/{id}", &["get", "patch", "delete"]),
    ("/api/v1/calls/{id}/answer", &["post"]),
    ("/api/v1/calls/{id}/refuse", &["post"]),
    ("/api/v1/calls/{id}/recording", &["post", "delete"]),
    ("/api/v1/calls/{id}/feed", &["get"]),
    ("/api/v1/audio", &["get", "patch"]),
    ("/api/v1/devices", &["get"]),
    ("/api/v1/contacts", &["get"]),
    ("/api/v1/contacts/{name}", &["put", "delete"]),
    ("/api/v1/contacts/{name}/psk", &["put", "delete"]),
    ("/api/v1/recordings", &["get"]),
    ("/api/v1/recordings/{name}", &["get", "delete"]),
    ("/api/v1/events", &["get"]),
    ("/api/v1/openapi.json", &["get"]),
];

#[tokio::test]
async fn the_document_has_every_route_that_is_served_and_no_other() {
    let stand = Stand::new();
    let document: Value = stand.get("/api/v1/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let documented: BTreeMap<&str, BTreeSet<&str>> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| (path.as_str(), item.as_object().unwrap().keys().map(String::as_str).collect()))
        .collect();
    let promised = PROMISED.iter().map(|(path, methods)| (*path, methods.iter().copied().collect())).collect();
    assert_eq!(documented, promised);
    // Each method of each path is served if and only if it is in the document.
    for (path, methods) in &documented {
        let address = path.replace("{id}", "7").replace("{name}", "x");
        for method in METHODS {
            let status = stand.ask(&method.to_uppercase(), &address, "").await.status;
            assert_eq!(status == 405, !methods.contains(method), "{method} {path}: {status}");
        }
        for method in methods {
            let operation = &document["paths"][path][method];
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_schema_of_the_document_is_there() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let stand = Stand::new();
    let document: Value = stand.get("/api/v1/openapi.json").await.json();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for name in [
        "Audio",
        "AudioChange",
        "Bitrates",
        "Budget",
        "Bundle",
        "Call",
        "CallChange",
        "CallFigures",
        "CallSettings",
        "CallState",
        "Contact",
        "ContactEntry",
        "Device",
        "Dial",
        "Direction",
        "Endpoints",
        "Failure",
        "FeedFrame",
        "FeedMark",
        "FeedMessage",
        "FeedStart",
        "FeedStream",
        "FrameCounts",
        "HeardFrame",
        "Live",
        "Mark",
        "Message",
        "Meters",
        "Peer",
        "Presence",
        "PskEntry",
        "Recording",
        "Refusal",
        "RefusalReason",
        "SaidFrame",
        "SoundFigures",
        "StageSwitches",
        "Status",
        "Voice",
    ] {
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

#[tokio::test]
async fn the_figures_are_those_of_the_status() {
    let stand = Stand::new();
    stand.get("/api/v1/calls/7").await;
    stand.get("/nothing?token=x").await;
    let answer = stand.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let figure = |name: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    for (name, value) in [
        ("parlo_calls{state=\"active\"}", 1.0),
        ("parlo_calls{state=\"ringing\"}", 0.0),
        ("parlo_call_frames_total{call=\"7\",kind=\"real\"}", 100.0),
        ("parlo_call_frames_total{call=\"7\",kind=\"faded\"}", 1.0),
        ("parlo_call_sent_kbps{call=\"7\",part=\"wire\"}", 8.75),
        ("parlo_call_loss_ratio{call=\"7\",way=\"heard\"}", 0.25),
        ("parlo_call_delay_seconds{call=\"7\",stage=\"jitter_buffer\"}", 0.04),
        ("parlo_sound_deadline_misses_total", 5.0),
        ("parlo_sound_server_late_total", 2.0),
        ("parlo_sound_xruns_total{side=\"playback\"}", 4.0),
        ("parlo_sound_ring_seconds{side=\"capture\"}", 0.007),
        ("parlo_sound_drift_ratio{side=\"playback\"}", -0.0001),
        ("parlo_event_streams", 0.0),
        ("parlo_feed_clients", 0.0),
        (concat!("parlo_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ("parlo_api_request_seconds_count{method=\"GET\",route=\"/api/v1/calls/{id}\",status=\"200\"}", 1.0),
        ("parlo_api_request_seconds_count{method=\"GET\",route=\"page\",status=\"404\"}", 1.0),
    ] {
        let found = figure(name).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        assert!((found - value).abs() < 1e-9, "{name} is {found}");
    }
    // These go on while the call manager publishes nothing.
    assert!(figure("parlo_resident_bytes").is_some_and(|bytes| bytes > 1e6), "{text}");
    assert!(figure("parlo_uptime_seconds").is_some_and(|seconds| seconds >= 12.5), "{text}");
    assert!(text.ends_with("# EOF\n"));
    // A call that is gone takes its figures along, and an ended one has only what it came to.
    stand.status.send_modify(|status| {
        let ended = parlo_api::Call { state: parlo_api::CallState::Ended, ..call(8) };
        Arc::make_mut(status).calls = vec![ended];
    });
    let text = String::from_utf8(stand.get("/metrics").await.body.to_vec()).unwrap();
    assert!(!text.contains("call=\"7\"") && text.contains("parlo_call_frames_total{call=\"8\",kind=\"real\"} 100"));
    assert!(!text.contains("parlo_call_sent_kbps{call=\"8\"") && text.contains("parlo_calls{state=\"ended\"} 1.0"));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_every_request_and_never_the_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = parlod::logging::subscriber("trace", true, false, move || writer.clone()).unwrap();
    // For the whole process: the server's thread is another. What other tests log is welcome.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let stand = Stand::new();
    let (host, token) = (format!("127.0.0.1:{}", stand.port()), stand.token());
    let (bearer, cookie) = (format!("Bearer {token}"), format!("parlo_token={token}"));
    for (path, header) in [
        (format!("/?token={token}"), ("accept", "*/*")),
        ("/?log-test".into(), ("cookie", cookie.as_str())),
        ("/api/v1/log-test".into(), ("authorization", &bearer)),
        (format!("/api/v1/events?token={token}"), ("authorization", &bearer)),
        ("/api/v1/status".into(), ("authorization", &bearer[..40])),
    ] {
        ask(stand.tcp().await, "GET", &path, &[("host", &host), header], "").await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("/api/v1/log-test") && log.contains("\"status\":404"), "{log}");
    assert!(!log.contains(&token[..24]) && !log.contains("token="), "{log}");
}

#[tokio::test]
async fn the_manuals_examples_work() {
    let stand = Stand::new();
    std::fs::create_dir_all(stand.folder.path().join("config")).unwrap();
    let manual = include_str!("../../../docs/control.md");
    let examples = manual.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut run = 0;
    for example in examples {
        for line in example.lines().filter(|line| line.starts_with("curl ")) {
            // The scripted call manager's call, and this test's port; and no waiting for events that go on.
            let line = line.replace("7276", &stand.port().to_string());
            let line = format!("{line} --fail-with-body --silent --show-error --max-time 60");
            let folder = stand.folder.path().to_owned();
            let command = line.clone();
            let done = tokio::task::spawn_blocking(move || {
                Command::new("sh").args(["-c", &command]).env("XDG_RUNTIME_DIR", &folder).current_dir(&folder).output()
            });
            let done = done.await.unwrap().unwrap();
            assert!(done.status.success(), "{line}\n{done:?}");
            run += 1;
        }
    }
    assert!(run >= 10, "only {run} examples were found");
}
