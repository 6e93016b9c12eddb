//! Calls of a program that a person, or a test, watches from within.

use super::service::Service;
use crate::call::{CallError, Engine, Event, Stop};

impl Engine {
    /// Calls `peer`, a name in the file of known peers, a `HOST:PORT` or a `HOST`, and stays until either side hangs up, the
    /// source ends, or `stop` is requested. SIGINT and SIGTERM hang up too.
    ///
    /// # Errors
    /// If the call cannot be placed, is refused, or breaks; of a call that stood, [`Event::Ended`] comes all the same.
    pub fn call(&self, peer: &str, stop: &Stop, on_event: &mut (dyn FnMut(Event) + Send)) -> Result<(), CallError> {
        Service { call: Some(peer.to_owned()), listen: false, once: true }.run(self, None, stop, on_event)
    }

    /// Waits at the configured address for calls, until `stop`, SIGINT or SIGTERM; only for the first if `once`. Calls are answered
    /// as the configuration says; others ring, and nobody can answer them here.
    ///
    /// # Errors
    /// If the address cannot be used, or, with `once`, the call broke.
    pub fn listen(&self, once: bool, stop: &Stop, on_event: &mut (dyn FnMut(Event) + Send)) -> Result<(), CallError> {
        Service { call: None, listen: true, once }.run(self, None, stop, on_event)
    }
}
