//! The library reports to its vendor unless it is kept from it before it is loaded: without that it is not loaded.

use std::{env, process::Command};

use parlo_model::{ModelError, Runtime};

/// In the child: loads the library as this process was started, and prints what came of it.
const CHILD: &str = "PARLO_TEST_LOAD";

#[test]
fn the_library_is_loaded_only_where_its_telemetry_is_off() {
    for (value, loads) in
        [(Some("1"), true), (None, false), (Some("0"), false), (Some(""), false), (Some("true"), false)]
    {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "a_process_as_it_was_started", "--nocapture"]).env(CHILD, "1");
        match value {
            Some(value) => child.env("ORT_DISABLE_TELEMETRY", value),
            None => child.env_remove("ORT_DISABLE_TELEMETRY"),
        };
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.contains("\nloaded /"), loads, "{value:?}: {said}");
        assert_eq!(said.contains("start the program with ORT_DISABLE_TELEMETRY=1"), !loads, "{value:?}: {said}");
    }
}

#[test]
fn a_process_as_it_was_started() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    match Runtime::load(None) {
        Ok(runtime) => println!("\nloaded {}", runtime.library().display()),
        Err(error @ ModelError::Telemetry) => println!("{error}"),
        Err(other) => panic!("{other}"),
    }
}
