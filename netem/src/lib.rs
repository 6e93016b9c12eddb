//! A bad network in a box: a path that loses, delays, reorders, duplicates, corrupts and throttles datagrams, the same way
//! every time for the same seed.
//!
//! * [`Path`] is one direction, without I/O: the time and datagrams go in, datagrams come out when they are due. Tests turn
//!   its clock by hand; one [`Path`] each way joins two peers.
//! * [`PathConfig`] says what is wrong with it. It reads from text, as in `loss=20%/3 delay=50ms jitter=20ms rate=8kbps`.
//! * `proxy` (with the feature of that name) puts paths between real UDP sockets, for any program.
//!
//! What happens to a datagram, in this order: it is lost if an outage is on; it waits in the queue of the bottleneck, or is
//! dropped there; it may be lost, corrupted or doubled; and it arrives after the delay, earlier or later by the jitter. So
//! what is lost at random has used the bottleneck all the same, as on a path whose own uplink is the narrowest part.

mod config;
mod dice;
mod jitter;
mod loss;
mod path;
#[cfg(feature = "proxy")]
pub mod proxy;
mod stats;
mod text;

pub use config::{Outage, PathConfig, Rate};
pub use jitter::Jitter;
pub use loss::Loss;
pub use path::Path;
pub use stats::PathStats;
pub use text::{ParseError, parse_chance, parse_duration};
