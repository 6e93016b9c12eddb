//! Errors in one sentence.

/// What an error says, and its causes, each once: many errors name their cause themselves.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let more = cause.to_string();
        if text.is_empty() {
            text = more;
        } else if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context, anyhow};

    use super::*;
    use crate::call::CallError;

    #[test]
    fn no_cause_is_said_twice_and_none_is_left_out() {
        let io = || io::Error::other("the disk is gone");
        for (error, expected) in [
            (anyhow!(io()), "the disk is gone"),
            (anyhow!(CallError::Network(io())), "the network failed: the disk is gone"),
            (anyhow!(io()).context("cannot write a.ptk"), "cannot write a.ptk: the disk is gone"),
            (anyhow!(CallError::Network(io())).context("no call"), "no call: the network failed: the disk is gone"),
            (anyhow!("cannot read x: the disk is gone"), "cannot read x: the disk is gone"),
        ] {
            assert_eq!(sentence(&error), expected);
        }
        let twice = Err::<(), _>(io()).context("first").context("second").unwrap_err();
        assert_eq!(sentence(&twice), "second: first: the disk is gone");
    }
}
