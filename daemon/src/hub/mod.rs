//! All calls of this process: those that are placed and those that come, how they ring, are answered, held and ended; what clients
//! ask for, and what they are told.
//!
//! One loop on one thread (`run`) has all sockets; each call is a `Conversation` that goes from phase to phase (`steps`).
//! What may wait (resolvers, sound devices, models, disks) is done on other threads, which send what came of it.

mod aside;
mod conversation;
mod feeding;
mod figures;
mod foreground;
mod handle;
mod interrupt;
mod log_limit;
mod meeting;
mod policy;
mod requests;
mod run;
mod scribe;
mod service;
mod socket;
mod spectrum;
mod status;
mod steps;
mod trunk;
mod watch;

pub use handle::{Backend, Envelope, Handle, Refused, RefusedKind, Reply, Request};
pub use service::Service;
