//! `parlo id` and `parlo contacts` (also called `parlo peers`), as people run them where no daemon runs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn parlo(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
    // No daemon runs there: the file itself is asked.
    command.env("XDG_CONFIG_HOME", config).env("XDG_RUNTIME_DIR", config).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_key_is_made_once_shown_and_noted_elsewhere() {
    let (ada, bob) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = said(&parlo(ada.path(), &["id"]));
    assert_eq!(said(&parlo(ada.path(), &["id"])), first);
    let key = first.lines().next().unwrap();
    assert!(key.starts_with("parlo:") && key.len() == 62, "{first}");
    let secret = fs::read_to_string(ada.path().join("parlo/identity")).unwrap();
    let digits = secret.split_whitespace().last().unwrap();
    assert!(digits.len() == 64 && !first.contains(digits));

    assert!(said(&parlo(bob.path(), &["peers"])).contains("Nobody yet"));
    said(&parlo(bob.path(), &["peers", "add", "ada", "ada.example:7275", key]));
    let list = said(&parlo(bob.path(), &["peers"]));
    assert!(said(&parlo(bob.path(), &["contacts", "--json"])).contains(key), "whole, for programs");
    let fingerprint = first.lines().nth(1).unwrap().split_whitespace().last().unwrap();
    assert!(list.contains("ada") && list.contains("ada.example:7275") && list.contains(fingerprint), "{list}");

    let bobs = said(&parlo(bob.path(), &["id"]));
    let other = bobs.lines().next().unwrap();
    let complaint = complained(&parlo(bob.path(), &["peers", "add", "ada", "-", other]));
    assert!(complaint.contains("parlo peers remove ada"), "{complaint}");
    let complaint = complained(&parlo(bob.path(), &["peers", "add", "eve", "-", &key.replace("parlo:", "parlo:a")]));
    assert!(complaint.contains("56"), "{complaint}");
    assert!(complained(&parlo(bob.path(), &["peers", "add", "a b", "-", key])).contains("cannot be a peer's name"));
    said(&parlo(bob.path(), &["peers", "remove", "ada"]));
    assert!(complained(&parlo(bob.path(), &["peers", "remove", "ada"])).contains("nobody is called ada"));
}

#[test]
fn no_place_for_keys_is_said() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
    let output = command.env_remove("HOME").env_remove("XDG_CONFIG_HOME").arg("id").output().unwrap();
    assert!(complained(&output).contains("HOME"));
}
