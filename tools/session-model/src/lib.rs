//! An exhaustive search through what can happen between a caller, a listener and an attacker who has the whole network.
//!
//! What is explored is no model but the code itself: [`Session`](parlo_protocol::session::Session) and
//! [`Acceptor`](parlo_protocol::acceptor::Acceptor) are state machines without I/O, to which time and randomness are arguments. A
//! [`World`] puts one caller and one listener together, keeps every datagram that was ever sent, and lets an attacker deliver
//! any of them, in any order, as often as it likes, from the caller's address or its own, whole or damaged; time passes
//! between. The [search](search()) goes through all sequences of such steps up to a depth and a number of repeated, redirected and
//! damaged datagrams, breadth first, and looks at the [properties](Broken) after each.
//!
//! Only what is outside the session is modelled: the program that uses it (here [`World`], in the daemon `hub`), which hands
//! datagrams to who they are for, and takes calls. It has switches for mistakes ([`Mutant`]), each of which breaks a property:
//! so the search is known to find what it looks for.
//!
//! Two sequences that lead to the same state are followed once. A state is taken for the same if each session was changed by
//! the same datagrams in the same order, as much time has passed, and the same datagrams have been sent. Datagrams that
//! change nothing but a counter of junk are left out of that.
//!
//! What this does not show: attacks on the cryptography itself, which is Noise's (the attacker here has no keys, and forges
//! only by changing bytes), and anything that takes more steps, more peers or more calls than are looked at.

mod search;
mod world;

pub use search::{Found, Report, search};
pub use world::{Action, Broken, Mutant, Prefix, World};
