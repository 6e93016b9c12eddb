//! Relaying: two peers that cannot reach each other directly meet at a third machine, which carries their sealed datagrams
//! from one to the other, as they are, and cannot read them.
//!
//! Both peers hold the same [`Ticket`], 16 random bytes that name a *room* at the relay, and send a Join to it, over and
//! over ([`Join`] does that). Once both sit in the room, what one sends to the relay's address the other gets, without a
//! byte more. [`Relay`] is the other half. `docs/relay.md` has the layout of what they say.
//!
//! # What a ticket is worth
//!
//! It is no key: peers prove to each other who they are inside their sealed datagrams, and the relay never sees into them.
//! Joins travel in the clear, so whoever sees a peer's datagrams knows its ticket too. Who knows it can:
//!
//! * take a seat before a peer does, or the seat of one that was silent for more than five seconds, and so keep it out
//!   for as long as the intruder keeps talking (peers notice: nobody answers them who can prove to be the other);
//! * get the sealed datagrams meant for that seat, unreadable, and see when and how long they are;
//! * send datagrams to the other member, who drops them as forged.
//!
//! It cannot read or alter what peers say, speak for one of them, or take the seat of one who talks. Who does not know the
//! ticket, and can forge a member's source address, can send datagrams in its name, which are dropped as forged where they
//! arrive, and use up that member's share of the room's bytes.
//!
//! # What the relay is safe from
//!
//! It keeps nothing about an address that has not proved, by a cookie sent to it, that it receives what is sent to it. It
//! never answers with more bytes than it was asked with. Rooms, seats for each source, joins for each source and bytes for
//! each member are limited; memory is set by the number of rooms.

mod cookie;
mod join;
mod pace;
mod packet;
mod server;
mod stats;
mod ticket;

pub use join::{Event, Join};
pub use packet::{JOIN_BYTES, Reason, State, is_from_relay};
pub use server::{Action, Relay, RelayConfig, Reply};
pub use stats::{Dropped, RelayStats};
pub use ticket::{Ticket, TicketError};
