//! Everything in Parlo that reads bytes of strangers, as functions that take any bytes and panic if a promise is broken.
//!
//! Each of [`TARGETS`] is a fuzz target: `targets/` wraps it for `cargo fuzz`, and the tests of this crate run it over the
//! committed corpus and some thousand changes of it. The README says how to run both.

mod acceptors;
mod calls;
mod files;
mod input;
mod models;
mod mutate;
mod packets;
mod seeds;
mod sessions;

pub use mutate::Mutator;
pub use seeds::seeds;

/// A fuzz target: its name, what it does with bytes, and how many changes of its corpus the tests try.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its folder in `corpus/`, and its program in `targets/`.
    pub name: &'static str,
    /// Takes any bytes. Panics if a promise is broken.
    pub run: fn(&[u8]),
    /// About as many as take a second.
    pub tries: u32,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "media", run: packets::media, tries: 20_000 },
    Target { name: "control", run: packets::control, tries: 20_000 },
    Target { name: "offer", run: packets::offer, tries: 20_000 },
    Target { name: "key", run: packets::key, tries: 5_000 },
    Target { name: "session", run: sessions::session, tries: 1_000 },
    Target { name: "door", run: acceptors::acceptor, tries: 1_500 },
    Target { name: "call", run: calls::call, tries: 1_000 },
    Target { name: "file", run: files::file, tries: 10_000 },
    Target { name: "archive", run: files::archive, tries: 1_500 },
    Target { name: "payload", run: models::payload, tries: 3_000 },
    Target { name: "plain", run: models::plain, tries: 10_000 },
    Target { name: "entropy_model", run: models::entropy_model, tries: 1_000 },
    Target { name: "manifest", run: models::manifest, tries: 2_000 },
];

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target is called {name}")).run)(bytes);
}
