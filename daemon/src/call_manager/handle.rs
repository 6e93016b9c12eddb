//! The call manager, for those who ask it something: the control API.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parlo_api::{AudioChange, Call, CallChange, Dial, Presence, RefusalReason, Status};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::status::resident_mib;
use crate::{feeds::Feeds, recordings::Recordings};

/// Requests that wait at most; more are refused at once.
const WAITING: usize = 256;
/// Messages that a slow client may be behind.
const BEHIND: usize = 256;

/// Something to be done by the call manager.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Place a call. Answered with the call, which is then [`Calling`](parlo_api::CallState::Calling).
    Dial(Dial),
    /// Answer a call that rings here.
    Answer(u64),
    /// Refuse a call that rings here.
    Refuse(u64, RefusalReason),
    /// End a call, however far it has come.
    HangUp(u64),
    /// Change a call. Answered with the call.
    Change(u64, CallChange),
    /// Record a call. Answered with the call.
    Record(u64),
    /// Stop recording it. Answered with the call.
    StopRecording(u64),
    /// Change sound.
    Audio(AudioChange),
    /// Say whether calls are wanted.
    Presence(Presence),
    /// End the daemon: calls are hung up properly.
    ShutDown,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It was done.
    Done,
    /// It was done, and the call is so now.
    Call(Box<Call>),
}

/// What is wrong with a request, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// A value that cannot be.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Not as things are now.
    Conflict,
    /// It was tried and failed, or the call manager has ended.
    Failed,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// What kind of reason.
    pub kind: RefusedKind,
    /// One sentence for people.
    pub text: String,
}

impl Refused {
    /// A refusal of this kind.
    pub fn new(kind: RefusedKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Envelope {
    /// What to do.
    pub request: Request,
    /// Where to say what came of it.
    pub reply: oneshot::Sender<Result<Reply, Refused>>,
}

/// Asks the call manager and reads what it has published. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Envelope>,
    status: watch::Receiver<Arc<Status>>,
    notices: broadcast::Sender<Arc<str>>,
    live: broadcast::Sender<Arc<str>>,
    feeds: Arc<Feeds>,
    recordings: Arc<Recordings>,
    /// When the daemon began.
    began: Instant,
}

/// The call manager's own ends of its handles' channels. Tests of the control API hold them in the call manager's place.
#[derive(Debug)]
pub struct ManagerChannels {
    /// What is asked.
    pub requests: mpsc::Receiver<Envelope>,
    /// How things are. The event stream sends it whenever it changes.
    pub status: watch::Sender<Arc<Status>>,
    /// Whole messages, as JSON text, for every listener.
    pub notices: broadcast::Sender<Arc<str>>,
    /// Live messages, as JSON text, for those who asked for them. Nobody need make them while it has no receiver.
    pub live: broadcast::Sender<Arc<str>>,
    /// Live tokens of each call.
    pub feeds: Arc<Feeds>,
    /// Where the page is served, `ADDRESS:PORT`, if it is.
    pub page: Option<SocketAddr>,
}

impl Handle {
    /// A handle and what is behind it.
    pub fn new(status: Status, recordings: Arc<Recordings>) -> (Self, ManagerChannels) {
        let up = Duration::try_from_secs_f64(status.uptime_s).unwrap_or_default();
        let began = Instant::now().checked_sub(up).unwrap_or_else(Instant::now);
        let (ask, requests) = mpsc::channel(WAITING);
        let (tell, status) = watch::channel(Arc::new(status));
        let (notices, live) = (broadcast::Sender::new(BEHIND), broadcast::Sender::new(BEHIND));
        let feeds = Arc::new(Feeds::default());
        let channels = ManagerChannels {
            requests,
            status: tell,
            notices: notices.clone(),
            live: live.clone(),
            feeds: Arc::clone(&feeds),
            page: None,
        };
        (Self { requests: ask, status, notices, live, feeds, recordings, began }, channels)
    }

    /// Asks for something, and waits until it is done.
    ///
    /// # Errors
    /// If it is not done, with the reason.
    pub async fn ask(&self, request: Request) -> Result<Reply, Refused> {
        let (reply, answer) = oneshot::channel();
        let gone = || Refused::new(RefusedKind::Failed, "the daemon is ending");
        self.requests.try_send(Envelope { request, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::new(RefusedKind::Failed, "too many requests wait already"),
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// How things are now: as the call manager has published it last, with what changes while nothing happens as it is at this moment.
    pub fn status(&self) -> Status {
        let uptime_s = self.began.elapsed().as_secs_f64();
        Status { uptime_s, resident_mib: resident_mib(), ..Status::clone(&self.status.borrow()) }
    }

    /// How things are, for those who wait for changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Notices from now on, as JSON text of [`Message`](parlo_api::Message)s.
    pub fn notices(&self) -> broadcast::Receiver<Arc<str>> {
        self.notices.subscribe()
    }

    /// Live messages from now on, likewise.
    pub fn live(&self) -> broadcast::Receiver<Arc<str>> {
        self.live.subscribe()
    }

    /// Tells every listener something, as the call manager does.
    pub fn notify(&self, text: String) {
        if let Ok(json) = serde_json::to_string(&parlo_api::Message::Notice { call: None, text }) {
            // Nobody listening is no fault.
            let _ = self.notices.send(json.into());
        }
    }

    /// Live tokens of calls.
    pub fn feeds(&self) -> &Arc<Feeds> {
        &self.feeds
    }

    /// What was recorded.
    pub fn recordings(&self) -> &Arc<Recordings> {
        &self.recordings
    }
}
