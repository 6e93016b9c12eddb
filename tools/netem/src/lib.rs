//! A network path that loses, delays, reorders, duplicates, corrupts and throttles datagrams, the same way every time for the same seed.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                                                           ^^^^^^^
//! ```
//!
//! It is put in the network's place, for tests and `parlo impair`.
//!
//! * [`Path`]: one direction, without I/O: the time and datagrams go in, datagrams come out when they are due. Tests turn
//!   its clock by hand; one [`Path`] each way joins two peers. [`PathStats`] counts what became of them.
//! * [`PathConfig`]: what is wrong with it. It reads from text, as in `loss=20%/3 delay=50ms jitter=20ms rate=8kbps`; what cannot be read is a
//!   [`ParseError`].
//! * `proxy` (with the feature of that name): paths between real UDP sockets, for any program.
//!
//! What happens to a datagram, in this order: it is lost if an outage is on; it waits in the queue of the bottleneck, or is
//! dropped there; it may be lost, corrupted or doubled; and it arrives after the delay, earlier or later by the jitter. So
//! what is lost at random has used the bottleneck all the same, as on a path whose own uplink is the narrowest part.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use parlo_netem::{Path, PathConfig};
//!
//! let config: PathConfig = "seed=7 loss=20% delay=50ms".parse()?;
//! let (start, mut datagram) = (Instant::now(), Vec::new());
//! let mut path = Path::new(config, start);
//! (0..100).for_each(|number| path.send(start, &[number]));
//! assert!(!path.receive(start, &mut datagram), "nothing arrives at once");
//! while path.receive(start + Duration::from_millis(50), &mut datagram) {}
//! assert_eq!(path.stats().delivered + path.stats().lost, 100);
//! # Ok::<(), parlo_netem::ParseError>(())
//! ```

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
