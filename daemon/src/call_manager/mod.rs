//! All calls of this process: those that are placed and those that come, how they ring, are answered, held and ended; what clients
//! ask for, and what they are told.
//!
//! One loop on one thread (`event_loop`) has all sockets; each call is a `CallSession` that goes from phase to phase (`transitions`).
//! What may wait (resolvers, sound devices, models, disks) is done on other threads, which send what came of it.

mod call_session;
mod event_loop;
mod feed_events;
mod figures;
mod frame_tap;
mod handle;
mod interrupt;
mod jobs;
mod log_limit;
mod policy;
mod relay_link;
mod requests;
mod service;
mod socket;
mod spectrum;
mod standalone;
mod status;
mod transitions;
mod udp_endpoint;
mod watchdog;

pub use handle::{Envelope, Handle, ManagerChannels, Refused, RefusedKind, Reply, Request};
pub use service::Service;
