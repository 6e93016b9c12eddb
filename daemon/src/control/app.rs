//! What all routes share, and what every request passes.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
};
use parlo_api::Call;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    auth::{self, Auth},
    events::Texts,
    metrics::Metrics,
    openapi, page, recordings,
    response::{MAX_BODY, Problem},
    services::Services,
};
use crate::call_manager::{self, Handle, Reply};

/// How long the call manager may take for what it is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a browser may do with the page: load what the daemon serves, talk to the daemon, log in, play recordings; and no other page
/// may show it in a frame.
const POLICY: &str = "default-src 'self'; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// What all routes share. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) handle: Handle,
    pub(super) extras: Services,
    pub(super) texts: Texts,
    pub(super) metrics: Arc<Metrics>,
    /// The OpenAPI document.
    pub(super) document: Arc<str>,
    /// So many recordings are played at once.
    pub(super) playing: Arc<Semaphore>,
    /// A piece of one is decoded at a time.
    pub(super) rendering: Arc<Mutex<()>>,
    /// Devices are listed one at a time.
    pub(super) listing: Arc<Semaphore>,
}

impl App {
    /// With the task that makes the texts for event streams.
    pub(super) fn new(
        handle: Handle,
        extras: Services,
        ended: watch::Receiver<()>,
    ) -> (Self, impl Future<Output = ()>) {
        let (texts, telling) = Texts::new(&handle, ended);
        let app = Self {
            metrics: Arc::new(Metrics::new(handle.clone(), extras.nats.clone())),
            document: openapi::text().into(),
            playing: Arc::new(Semaphore::new(recordings::MOST_PLAYING)),
            rendering: Arc::default(),
            listing: Arc::new(Semaphore::new(1)),
            handle,
            extras,
            texts,
        };
        (app, telling)
    }

    /// All routes: for whoever comes, or only for who passes the gate.
    pub(super) fn router(&self, gate: Option<Arc<Auth>>) -> Router {
        let (router, _) = openapi::routes().split_for_parts();
        let router = router
            .fallback(page::file)
            .method_not_allowed_fallback(wrong_method)
            .with_state(self.clone())
            .layer(DefaultBodyLimit::max(MAX_BODY));
        let router = match gate {
            Some(gate) => router.layer(middleware::from_fn_with_state(gate, auth::enter)),
            None => router,
        };
        router.layer(middleware::from_fn_with_state(self.clone(), observe))
    }

    /// Asks the call manager.
    pub(super) async fn ask(&self, request: call_manager::Request) -> Result<Reply, Problem> {
        match timeout(ANSWER_TIMEOUT, self.handle.ask(request)).await {
            Ok(reply) => Ok(reply?),
            Err(_) => Err(Problem::failed("the daemon is too busy to answer; try again")),
        }
    }

    /// Asks the call manager for something that is answered with a call.
    pub(super) async fn ask_for_call(&self, id: u64, request: call_manager::Request) -> Result<Call, Problem> {
        match self.ask(request).await? {
            Reply::Call(call) => Ok(*call),
            Reply::Done => self.call(id),
        }
    }

    /// A call, as it was published last.
    pub(super) fn call(&self, id: u64) -> Result<Call, Problem> {
        let status = self.handle.status();
        let call = status.calls.iter().find(|call| call.id == id);
        call.cloned().ok_or_else(|| Problem::not_found(format!("there is no call {id}")))
    }
}

/// Does what would hold up other requests on another thread.
pub(super) async fn aside<T: Send + 'static>(slow: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    // It fails only if `slow` panics, or the server ends.
    tokio::task::spawn_blocking(slow).await.map_err(|_| Problem::failed("this went wrong inside the daemon"))
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here; /api/v1/openapi.json says what can")
}

/// Measures and notes each request, and gives each answer what browsers are to hold to. What follows `?` is never noted: it
/// may be the token.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut answer = next.run(request).await;
    let (status, took) = (answer.status(), start.elapsed());
    tracing::debug!(%method, path, status = status.as_u16(), ms = took.as_secs_f64() * 1e3, "request");
    app.metrics.request(&method, route.as_ref().map_or("page", MatchedPath::as_str), status, took);
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}
