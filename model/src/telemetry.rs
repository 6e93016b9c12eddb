//! ONNX Runtime's telemetry, switched off.
//!
//! As published, the library looks up a host of its vendor's some seconds after it was loaded, sends it what happened over TLS,
//! and keeps a device number and a queue under `~/.cache`. Its interface can switch that off only once it has begun; this
//! environment variable keeps it from beginning.

use std::env;

/// The variable, and the value that switches telemetry off.
const SWITCH: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// Switches ONNX Runtime's telemetry off, for this process and those that it starts. [`Runtime::load`](crate::Runtime::load) refuses
/// to load the library in a process that has neither called this nor inherited the variable.
///
/// # Safety
/// No other thread may run yet: it might read the environment while it is written (see [`std::env::set_var`]). The first
/// statement of `main` is the place.
pub unsafe fn disable_telemetry() {
    let (name, value) = SWITCH;
    // SAFETY: by this function's own contract no other thread can read or write the environment meanwhile.
    unsafe { env::set_var(name, value) };
}

/// Whether the library would find it switched off. On Unix this asks `getenv`, as the library does.
pub(crate) fn is_disabled() -> bool {
    let (name, value) = SWITCH;
    env::var_os(name).is_some_and(|found| found == value)
}
