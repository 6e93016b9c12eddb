//! Figures for Prometheus, made of what the call manager has published when they are asked for.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    extract::State,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use parlo_api::{Call, CallFigures, CallState, Status};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
        info::Info,
    },
    registry::Registry,
};

use super::{app::App, response::Problem};
use crate::{call_manager::Handle, feeds, nats};

/// Bounds of the histogram of requests, seconds.
const BOUNDS: [f64; 11] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

/// What requests are told apart by. The route is the pattern, not the address: there are few.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
    status: u16,
}

/// All figures.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Route, Histogram>,
    streams: Gauge<i64, AtomicI64>,
}

/// An open event stream, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Listening(Gauge<i64, AtomicI64>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(super) fn new(handle: Handle, nats: Option<Arc<nats::Figures>>) -> Self {
        let mut registry = Registry::with_prefix("parlo");
        let requests = Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram);
        let streams = Gauge::default();
        registry.register("build", "Which parlod this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("api_request_seconds", "How long requests to the control API took", requests.clone());
        registry.register("event_streams", "Open event streams (WebSockets)", streams.clone());
        registry.register_collector(Box::new(Published { handle, nats }));
        Self { registry, requests, streams }
    }

    /// Counts a request.
    pub(super) fn request(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        // Methods may be any word: only those that can be asked for are told apart.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") => known,
            _ => "other",
        };
        let route = Route { method: method.into(), route: route.into(), status: status.as_u16() };
        self.requests.get_or_create(&route).observe(took.as_secs_f64());
    }

    /// Counts an event stream, as long as what it returns lives.
    pub(super) fn listening(&self) -> Listening {
        self.streams.inc();
        Listening(self.streams.clone())
    }
}

/// Figures of calls, sound and memory, in the text format that Prometheus reads (OpenMetrics 1.0).
#[utoipa::path(get, path = "/metrics", tag = "daemon", responses(
    (status = 200, description = "The figures.", content_type = "application/openmetrics-text", body = String),
))]
pub(super) async fn scrape(State(app): State<App>) -> Result<Response, Problem> {
    let mut out = String::with_capacity(16 * 1024);
    text::encode(&mut out, &app.metrics.registry).map_err(|_| Problem::failed("the figures cannot be written"))?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], out).into_response())
}

/// What the call manager has published.
struct Published {
    handle: Handle,
    nats: Option<Arc<nats::Figures>>,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Published")
    }
}

impl Collector for Published {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.handle.status();
        let mut out = Out(&mut encoder);
        daemon(&mut out, &status)?;
        feeds(&mut out, self.handle.feeds().figures())?;
        if let Some(figures) = &self.nats {
            published(&mut out, figures)?;
        }
        sound(&mut out, &status)?;
        calls(&mut out, &status)
    }
}

/// Writes families of figures.
struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        let metric = self.0.encode_descriptor(name, help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        let metric = self.0.encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(metric)
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, String); N], f64)>,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn daemon(out: &mut Out<'_, '_>, status: &Status) -> fmt::Result {
    out.gauge("uptime_seconds", "Since the daemon began", status.uptime_s)?;
    out.gauge("resident_bytes", "Resident memory", status.resident_mib * 1024.0 * 1024.0)?;
    let busy = u8::from(status.presence.do_not_disturb).into();
    out.gauge("do_not_disturb", "Whether callers are told that the line is busy", busy)
}

fn feeds(out: &mut Out<'_, '_>, figures: &feeds::Figures) -> fmt::Result {
    out.gauge("feed_clients", "Clients of feeds", figures.clients.load(Relaxed) as f64)?;
    out.counter("feed_frames", "Frames sent to clients of feeds", figures.sent.load(Relaxed))?;
    out.counter("feed_missed_frames", "Frames that clients of feeds were too slow for", figures.missed.load(Relaxed))
}

fn published(out: &mut Out<'_, '_>, figures: &nats::Figures) -> fmt::Result {
    let connected = u8::from(figures.connected.load(Relaxed)).into();
    out.gauge("nats_connected", "Whether the NATS server is there", connected)?;
    out.counter("nats_frames", "Frames published to NATS", figures.published.load(Relaxed))?;
    let dropped = figures.dropped.load(Relaxed);
    out.counter("nats_dropped_frames", "Frames dropped because NATS did not take them", dropped)
}

fn sound(out: &mut Out<'_, '_>, status: &Status) -> fmt::Result {
    let figures = &status.audio.figures;
    if let Some(realtime) = figures.realtime {
        out.gauge("sound_realtime", "Whether both codec threads have real-time priority", u8::from(realtime).into())?;
    }
    out.counter("sound_blocks", "Blocks of 10 ms that were coded", figures.blocks)?;
    out.counter("sound_deadline_misses", "Blocks that our threads were too late with", figures.deadline_misses)?;
    out.counter("sound_server_late", "Times that the sound server was too late", figures.server_late)?;
    let side = |name: &str| [("side", name.to_owned())];
    let lost = [(side("capture"), figures.capture_overruns), (side("playback"), figures.playback_underruns)];
    out.counters("sound_xruns", "Times that captured sound was lost, and that the loudspeaker ran dry", lost)?;
    let pair = |capture: f64, playback: f64, unit: f64| {
        [(side("capture"), capture * unit), (side("playback"), playback * unit)]
    };
    let ring = pair(figures.capture_ring_ms, figures.playback_ring_ms, 1e-3);
    out.gauges("sound_ring_seconds", "Sound in the ring between device and codec thread", ring)?;
    let drift = pair(figures.capture_drift_ppm, figures.playback_drift_ppm, 1e-6);
    out.gauges("sound_drift_ratio", "How much faster the device's clock runs than the machine's", drift)?;
    let latency = pair(figures.capture_latency_ms, figures.playback_latency_ms, 1e-3);
    out.gauges("sound_latency_seconds", "Between device and codec, resampling counted", latency)
}

fn calls(out: &mut Out<'_, '_>, status: &Status) -> fmt::Result {
    let states = [
        ("calling", CallState::Calling),
        ("ringing", CallState::Ringing),
        ("active", CallState::Active),
        ("ended", CallState::Ended),
    ];
    let count = |state| status.calls.iter().filter(|call| call.state == state).count();
    let rows = states.map(|(name, state)| ([("state", name.to_owned())], count(state) as f64));
    out.gauges("calls", "Calls by how far they have come; ended ones are listed for a minute", rows)?;

    let all: Vec<_> =
        status.calls.iter().filter_map(|call| call.figures.as_ref().map(|figures| (call, figures))).collect();
    let now: Vec<_> = all.iter().copied().filter(|(call, _)| call.state != CallState::Ended).collect();
    out.counters(
        "call_frames",
        "Frames that were to be heard, by what they were made of",
        all.iter().flat_map(frames),
    )?;
    let late = all.iter().map(|(call, figures)| (of(call), figures.frames.late));
    out.counters("call_late_frames", "Frames that came after all, too late", late)?;
    out.gauges("call_sent_kbps", "Sent over the last second, by what it was", now.iter().flat_map(sent))?;
    let received = now.iter().map(|(call, figures)| (of(call), figures.received_kbps));
    out.gauges("call_received_kbps", "Received over the last second, every header counted", received)?;
    let loss = |(call, figures): &(&Call, &CallFigures)| {
        [(with(call, "way", "sent"), figures.loss_sent), (with(call, "way", "heard"), figures.loss_heard)]
    };
    out.gauges(
        "call_loss_ratio",
        "Packets sent that are lost, and frames heard that were lost",
        now.iter().flat_map(loss),
    )?;
    out.gauges("call_delay_seconds", "From mouth to ear, by stage", now.iter().flat_map(delay))?;
    let trip = now.iter().map(|(call, figures)| (of(call), figures.round_trip_ms * 1e-3));
    out.gauges("call_round_trip_seconds", "The handshake's round trip", trip)?;
    let age = now.iter().filter_map(|(call, figures)| Some((of(call), figures.key_age_s?)));
    out.gauges(
        "call_key_age_seconds",
        "How old the keys are; above 300 something on the way keeps both sides from new ones",
        age,
    )?;
    let depth = now.iter().map(|(call, figures)| (of(call), figures.depth.into()));
    out.gauges("call_depth", "Codebooks sent", depth)?;
    let bits = now.iter().filter_map(|(call, figures)| Some((of(call), figures.bits_per_frame?)));
    out.gauges("call_frame_bits", "Bits of a frame by the entropy model", bits)?;
    let codec = |(call, figures): &(&Call, &CallFigures)| {
        [
            (with(call, "step", "encode"), figures.encode_us_p99 as f64 * 1e-6),
            (with(call, "step", "decode"), figures.decode_us_p99 as f64 * 1e-6),
        ]
    };
    out.gauges("call_codec_seconds_p99", "Time that a frame takes, 99th percentile", now.iter().flat_map(codec))
}

/// Numbers of calls are never used again, so a call's counters never run backwards, and vanish with it.
fn of(call: &Call) -> [(&'static str, String); 1] {
    [("call", call.id.to_string())]
}

fn with(call: &Call, label: &'static str, value: &str) -> [(&'static str, String); 2] {
    [("call", call.id.to_string()), (label, value.to_owned())]
}

fn frames((call, figures): &(&Call, &CallFigures)) -> Vec<([(&'static str, String); 2], u64)> {
    let frames = &figures.frames;
    [
        ("real", frames.real),
        ("coarse", frames.coarse),
        ("predicted", frames.predicted),
        ("faded", frames.faded),
        ("silent", frames.silent),
    ]
    .map(|(kind, count)| (with(call, "kind", kind), count))
    .to_vec()
}

fn sent((call, figures): &(&Call, &CallFigures)) -> Vec<([(&'static str, String); 2], f64)> {
    let sent = &figures.sent;
    [
        ("speech", sent.speech),
        ("redundancy", sent.redundancy),
        ("headers", sent.headers),
        ("ip", sent.ip),
        ("wire", sent.wire),
    ]
    .map(|(part, kbps)| (with(call, "part", part), kbps))
    .to_vec()
}

fn delay((call, figures): &(&Call, &CallFigures)) -> Vec<([(&'static str, String); 2], f64)> {
    let budget = &figures.budget;
    [
        ("capture", budget.capture),
        ("frame", budget.frame),
        ("network", budget.network),
        ("jitter_buffer", budget.jitter_buffer),
        ("codec", budget.codec),
        ("device", budget.device),
        ("total", budget.total),
    ]
    .map(|(stage, ms)| (with(call, "stage", stage), ms * 1e-3))
    .to_vec()
}
