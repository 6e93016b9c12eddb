//! Which call is meant when nobody says so.

use anyhow::bail;
use parlo_api::{Call, CallState, Client, Direction};

use crate::event_log::in_a_line;

/// What a call must be like for a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Waits here for an answer.
    RingsHere,
    /// Is not over.
    Alive,
    /// Stands.
    Active,
    /// Stands, and is not held.
    Open,
    /// Stands, and is held.
    Held,
    /// Is being recorded.
    Recorded,
    /// Stands, and is not recorded.
    Unrecorded,
}

impl Fit {
    pub(crate) fn fits(self, call: &Call) -> bool {
        let active = call.state == CallState::Active;
        match self {
            Self::RingsHere => call.state == CallState::Ringing && call.direction == Direction::Incoming,
            Self::Alive => call.state != CallState::Ended,
            Self::Active => active,
            Self::Open => active && !call.held,
            Self::Held => active && call.held,
            Self::Recorded => active && call.recording.is_some(),
            Self::Unrecorded => active && call.recording.is_none(),
        }
    }

    fn nobody(self) -> &'static str {
        match self {
            Self::RingsHere => "no call rings here",
            Self::Alive => "there is no call",
            Self::Active => "no call stands",
            Self::Open => "no call stands that is not held already",
            Self::Held => "no call is held",
            Self::Recorded => "no call is being recorded",
            Self::Unrecorded => "no call stands that is not recorded already",
        }
    }
}

/// The call that is meant: the one named, or the only one that fits.
pub(crate) async fn select_call(client: &Client, id: Option<u64>, fit: Fit) -> anyhow::Result<u64> {
    match id {
        // Whether it fits, the daemon knows best.
        Some(id) => Ok(id),
        None => only(&client.calls().await?, fit),
    }
}

fn only(calls: &[Call], fit: Fit) -> anyhow::Result<u64> {
    let fitting: Vec<&Call> = calls.iter().filter(|call| fit.fits(call)).collect();
    match fitting[..] {
        [call] => Ok(call.id),
        [] => bail!("{}; `parlo calls` shows what there is", fit.nobody()),
        _ => {
            let list: Vec<String> = fitting.iter().map(|call| in_a_line(call)).collect();
            bail!("several calls could be meant; say which by its number: {}", list.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use parlo_api::{CallState, Direction};
    use parlo_test_support::samples::{call, young};

    use super::{Fit, only};

    #[test]
    fn the_only_one_that_fits_is_meant() {
        let rings = young(2, Direction::Incoming, CallState::Ringing);
        let theirs = young(3, Direction::Outgoing, CallState::Ringing);
        let mut held = call(4, 61.0);
        (held.held, held.recording) = (true, Some("ada-1".into()));
        let over = young(5, Direction::Incoming, CallState::Ended);
        let all = [call(1, 5.0), rings, theirs, held, over];
        for (fit, id) in [(Fit::RingsHere, 2), (Fit::Open, 1), (Fit::Held, 4), (Fit::Recorded, 4), (Fit::Unrecorded, 1)]
        {
            assert_eq!(only(&all, fit).unwrap(), id, "{fit:?}");
            assert!(only(&[], fit).unwrap_err().to_string().contains("parlo calls"));
        }
        let said = only(&all, Fit::Active).unwrap_err().to_string();
        assert!(said.ends_with("1: ada (in a call, 00:05); 4: ada (held, 01:01)"), "{said}");
        assert!(only(&all, Fit::Alive).unwrap_err().to_string().contains("3: ada (ringing)"));
        assert_eq!(
            only(&all[4..], Fit::Alive).unwrap_err().to_string(),
            "there is no call; `parlo calls` shows what there is"
        );
    }
}
