//! The coders that the bench compares with, tested: a bench without a harness runs no tests of its own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../benches/entropy/baselines.rs"]
mod baselines;
