//! In place of the NATS client, where this was built without it: it brings a third of all crates along, TLS among them.

use std::{convert::Infallible, sync::Arc};

pub use figures::Figures;

use crate::{call_manager::Handle, config::NatsConfig};

mod figures;

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
#[error(
    "[nats] url is set, and this parlod was built without NATS; build it with the feature \"nats\", which is there by default"
)]
pub struct NatsError;

/// Publishing, of which there is none.
#[derive(Debug)]
pub struct Nats {
    never: Infallible,
}

impl Nats {
    /// # Errors
    /// Always.
    pub fn start(_config: &NatsConfig, _handle: &Handle) -> Result<Self, NatsError> {
        Err(NatsError)
    }

    /// How it goes.
    pub fn figures(&self) -> &Arc<Figures> {
        match self.never {}
    }
}
