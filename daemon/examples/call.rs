//! Calls a peer and sends it the speech of a sound file, as `parlo call --standalone` does; the call ends with the file.
//!
//! In one terminal, a peer that answers and writes what it hears:
//!
//!     cargo run --bin parlo -- listen 127.0.0.1:7275 --once --source none --sink file:heard.wav
//!
//! In another, the call:
//!
//!     cargo run --example call -- 127.0.0.1:7275 assets/speech.flac
//!
//! Any WAV, FLAC, MP3 or Ogg file will do. Ctrl-C hangs up. `cargo xtask setup` gets ONNX Runtime.

use std::time::Instant;

use anyhow::bail;
use parlod::{
    call::{Engine, Event, Stop},
    config::{Config, Endpoint},
};

fn main() -> anyhow::Result<()> {
    // SAFETY: the first statement of `main`: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, sound] = &arguments[..] else { bail!("name a peer (HOST:PORT, or a contact) and a sound file") };
    // All else is as `parlod --print-config` explains it; `CallOptions::resolve` would read the user's file.
    let mut config = Config::default();
    config.audio.source = Endpoint::File(sound.into());
    config.audio.sink = Endpoint::None;
    // Loads the model, and this user's key, by which the peer knows who calls.
    let engine = Engine::new(config, Instant::now(), false)?;
    // Returns when the call is over. `Stop::request` of a clone would end it from another thread.
    Ok(engine.call(peer, &Stop::default(), &mut tell)?)
}

fn tell(event: Event) {
    match event {
        Event::Calling(address) => println!("calling {address}"),
        Event::Ringing(address) => println!("it rings at {address}"),
        Event::Connected(peer) => println!("in a call with {} ({})", peer.address, peer.key.fingerprint()),
        Event::Notice(notice) => println!("{notice}"),
        Event::Progress { elapsed, wire_kbps, peer_loss, .. } => {
            println!(
                "{:3} s: {wire_kbps:.1} kbps with all headers, {:.1} % lost",
                elapsed.as_secs(),
                100.0 * peer_loss
            );
        }
        Event::Ended(finished) => {
            let report = &finished.report;
            println!("over: {:.1} s of speech, {} packets", report.media_seconds, report.sent.packets);
        }
        _ => {}
    }
}
