//! Relaying: two peers that cannot reach each other directly meet at a third machine, which carries their sealed datagrams
//! from one to the other, as they are, and cannot read them.
//!
//! Both peers hold the same [`Ticket`], 16 random bytes that name a *room* at the relay, and send a Join to it, over and
//! over ([`Join`] does that). Once both sit in the room, what one sends to the relay's address the other gets, but for a tag of
//! two bytes that [the sender appends](Join::tag) and the relay takes off. [`Relay`] is the other half. `docs/relay.md` has the
//! layout of what they say.
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
//! It cannot read or alter what peers say, speak for one of them, or take the seat of one who talks. Who can forge a member's
//! source address, but does not see what the relay sends there, has not the cookie by which the member's datagrams are tagged:
//! what it sends is dropped, and counts against nobody. (Members of before tags are not protected so.)
//!
//! # What the relay is safe from
//!
//! It keeps nothing about an address that has not proved, by a cookie sent to it, that it receives what is sent to it. It
//! never answers with more bytes than it was asked with. Rooms are limited, and bytes for each member; seats and joins for each
//! source and for the networks that it is in (IPv4 /24; IPv6 /64, /56, /48). When all rooms are in use, whoever comes from a
//! source that has few seats gets the room of somebody who waits alone and comes from one that has many; and if nobody waits
//! alone, that of two who both come from sources that have very many. Memory is set by the number of rooms.

mod cookie;
mod join;
mod pace;
mod packet;
mod server;
mod stats;
mod ticket;

pub use join::{Event, Join};
pub use packet::{JOIN_BYTES, Reason, RoomState, TAG_BYTES, is_from_relay};
pub use server::{Action, Relay, RelayConfig, Reply};
pub use stats::{Dropped, RelayStats};
pub use ticket::{Ticket, TicketError};
