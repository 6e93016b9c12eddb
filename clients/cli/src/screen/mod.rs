//! The screen of calls in a terminal.
//!
//! `state` is what it knows: messages and keys go in, actions come out. `render` draws it. Both know nothing of terminals,
//! time or the daemon; `run` joins them to those.

mod bars;
mod keys;
mod plan;
mod render;
mod run;
mod state;
mod terminal;
mod track;

#[cfg(test)]
mod tests;

pub(crate) use run::run;
