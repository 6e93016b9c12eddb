//! The daemon that is left running: calls that are placed, that ring, are answered, held and ended; what the control API asks
//! for, and what it is told.

mod handle;

pub use handle::{Backend, Envelope, Handle, Refused, RefusedKind, Reply, Request};
