//! A server, the call manager's part played by the test, and a client.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request as HttpRequest, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use parlo_api::{
    Audio, Bitrates, Budget, Bundle, Call, CallFigures, CallSettings, CallState, Device, Direction, Endpoints as Ends,
    FrameCounts, Meters, Peer, Presence, SoundFigures, StageSwitches, Status,
};
use parlod::{
    call_manager::{Handle, ManagerChannels, Refused, Reply, Request},
    control::{Endpoints, Server, Services, serve},
    feeds::Feeds,
    keys::KnownPeers,
    recordings::{Plain, Recordings},
};
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{broadcast, watch},
};

/// Who listens to the API, and what it asked of the call manager.
pub(crate) struct Stand {
    pub(crate) folder: TempDir,
    pub(crate) server: Server,
    pub(crate) handle: Handle,
    pub(crate) asked: Arc<Mutex<Vec<Request>>>,
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) notices: broadcast::Sender<Arc<str>>,
    pub(crate) live: broadcast::Sender<Arc<str>>,
    pub(crate) feeds: Arc<Feeds>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert!(self.header("content-type").starts_with("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn error(&self) -> String {
        self.json::<parlo_api::Failure>().error
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Stand {
    /// With a call manager that does everything, and answers with the call of its status where a call is due.
    pub(crate) fn new() -> Self {
        Self::with(|request, status| match request {
            Request::Refuse(..) | Request::HangUp(_) | Request::Audio(_) | Request::Presence(_) | Request::ShutDown => {
                Ok(Reply::Done)
            }
            _ => Ok(Reply::Call(Box::new(status.calls[0].clone()))),
        })
    }

    /// With a call manager that answers so. Needs a tokio runtime.
    pub(crate) fn with(mut answer: impl FnMut(&Request, &Status) -> Result<Reply, Refused> + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recordings = Arc::new(Recordings::new(&folder.path().join("recordings")));
        let (handle, backend) = Handle::new(status(), recordings);
        let endpoints = endpoints(folder.path().join("parlo"));
        let extras = extras(&folder);
        let server = serve(endpoints, handle.clone(), extras).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, handle_for_status) = (Arc::clone(&asked), handle.clone());
        let ManagerChannels { mut requests, status, notices, live, feeds, .. } = backend;
        tokio::spawn(async move {
            while let Some(envelope) = requests.recv().await {
                log.lock().unwrap().push(envelope.request.clone());
                let reply = answer(&envelope.request, &handle_for_status.status());
                let _ = envelope.reply.send(reply);
            }
        });
        Self { folder, server, handle, asked, status, notices, live, feeds }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.server.socket().unwrap().to_owned()
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.tcp().unwrap().port()
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.server.token_file().unwrap()).unwrap().trim().to_owned()
    }

    pub(crate) async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.server.tcp().unwrap()).await.unwrap()
    }

    /// Over the Unix socket; a body is JSON.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut headers = vec![("host", "localhost")];
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        ask(self.unix().await, method, path, &headers, body).await
    }

    /// Over the Unix socket, without a body.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// What was asked of the call manager since the last time.
    pub(crate) fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Sends one request over a connection.
pub(crate) async fn ask<S>(stream: S, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = HttpRequest::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// A socket in this folder, and any free port.
pub(crate) fn endpoints(folder: PathBuf) -> Endpoints {
    let tcp = Some(([127, 0, 0, 1], 0).into());
    Endpoints { socket: Some(folder.join("control.sock")), tcp, token: folder.join("token") }
}

/// Contacts in a folder of their own, a device, and recordings whose sound is their name and side.
pub(crate) fn extras(folder: &TempDir) -> Services {
    Services {
        nats: None,
        known: KnownPeers::new(&folder.path().join("config")),
        render: Arc::new(|_, name, side| {
            let sound = std::io::Cursor::new(format!("{name} {side:?}").into_bytes());
            Ok(Box::new(Plain::new(sound, std::path::Path::new(name))?))
        }),
        devices: Arc::new(|| {
            Ok(vec![Device {
                index: 0,
                name: "Mic".into(),
                id: "mic".into(),
                direction: "input".into(),
                is_default: true,
                is_monitor: false,
                rate: 48_000,
                channels: 1,
            }])
        }),
    }
}

/// A daemon with one call, number 7.
pub(crate) fn status() -> Status {
    let level = -120.0;
    Status {
        version: "0.1.0".into(),
        uptime_s: 12.5,
        key: "parlo:k".into(),
        fingerprint: "7f3a-91c2".into(),
        listening: Some("127.0.0.1:7275".into()),
        page: None,
        presence: Presence { do_not_disturb: false },
        bundle: Bundle {
            name: "small".into(),
            id: "00".into(),
            tokens: "01".into(),
            sample_rate: 16_000,
            frame_ms: 20.0,
            algorithmic_delay_ms: 40.0,
            codebooks: vec![1024; 12],
        },
        others: Vec::new(),
        audio: Audio {
            endpoints: Ends { source: "default".into(), sink: "default".into(), ..Ends::default() },
            muted: false,
            push_to_talk: false,
            talking: false,
            input_gain_db: 0.0,
            output_gain_db: 0.0,
            side_tone_db: None,
            stages: StageSwitches {
                high_pass: true,
                echo_cancellation: true,
                noise_suppression: true,
                gain_control: true,
                silence: true,
            },
            meters: Meters {
                input_peak_dbfs: level,
                input_rms_dbfs: level,
                sent_rms_dbfs: level,
                output_peak_dbfs: level,
                output_rms_dbfs: level,
                echo_return_loss_enhancement_db: None,
                noise_reduction_db: None,
                gain_db: None,
                speech: false,
            },
            figures: SoundFigures {
                realtime: Some(true),
                capture_overruns: 3,
                playback_underruns: 4,
                deadline_misses: 5,
                server_late: 2,
                blocks: 600,
                capture_ring_ms: 7.0,
                playback_ring_ms: 8.0,
                capture_drift_ppm: 90.0,
                playback_drift_ppm: -100.0,
                capture_latency_ms: 11.0,
                playback_latency_ms: 12.0,
            },
            trouble: None,
        },
        calls: vec![call(7)],
        resident_mib: 64.0,
    }
}

pub(crate) fn call(id: u64) -> Call {
    Call {
        id,
        direction: Direction::Outgoing,
        state: CallState::Active,
        peer: Peer { name: Some("ada".into()), address: "192.0.2.1:7275".into(), ..Peer::default() },
        began_s: 1e9,
        held: false,
        held_by_peer: false,
        recorded_by_peer: false,
        conference: false,
        volume_db: 0.0,
        codec: Some("tokens".into()),
        tokens: Some("01".into()),
        settings: CallSettings { depth: 6, frames_per_packet: 2, adapt: true, latency_ms: 120, max_kbps: 0.0 },
        recording: None,
        figures: Some(CallFigures {
            sent: Bitrates { speech: 2.0, redundancy: 0.5, headers: 0.75, ip: 5.5, wire: 8.75 },
            loss_heard: 0.25,
            frames: FrameCounts { real: 100, coarse: 20, predicted: 3, faded: 1, silent: 50, late: 2 },
            budget: Budget { jitter_buffer: 40.0, total: 95.0, ..Budget::default() },
            ..CallFigures::default()
        }),
        failure: None,
    }
}
