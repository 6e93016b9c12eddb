//! How PulseAudio's client finds its server. (The library in `third_party/` is no member of the workspace: its own tests need more
//! than is kept there, and this part of it, which is ours, is tested here.)

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../third_party/pulseaudio/src/environment.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses the rest")]
mod environment;
