//! Samples in, samples out.
