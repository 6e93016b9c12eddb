//! The coders that the bench compares with, tested: a bench without a harness runs no tests of its own.

#[path = "../benches/entropy/baselines.rs"]
mod baselines;
