//! The control API on real sockets, with a scripted call manager behind it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod describes;
mod events;
mod feed;
mod life;
mod routes;
mod security;
mod stand;
