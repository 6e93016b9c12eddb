use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

/// How publishing goes. Counts are since the daemon began.
#[derive(Debug, Default)]
pub struct Figures {
    /// Whether the server is there.
    pub connected: AtomicBool,
    /// Frames given to the connection.
    pub published: AtomicU64,
    /// Frames dropped because the server did not take them.
    pub dropped: Arc<AtomicU64>,
}
