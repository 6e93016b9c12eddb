//! How many lines for the user strangers can cause.

use std::time::{Duration, Instant};

/// Lines at once.
const BURST: u32 = 4;
/// And then one in so long.
const EVERY: Duration = Duration::from_secs(10);

/// Lets some lines of one kind through, and counts the others.
#[derive(Debug)]
pub(super) struct LogLimit {
    /// Lines that may come now.
    left: u32,
    /// Since when this grows.
    since: Option<Instant>,
    left_out: u64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self { left: BURST, since: None, left_out: 0 }
    }
}

impl LogLimit {
    /// The line, with how many like it were left out before; none if it is left out too.
    pub(super) fn pass(&mut self, now: Instant, line: impl FnOnce() -> String) -> Option<String> {
        let since = *self.since.get_or_insert(now);
        let grown = (now.saturating_duration_since(since).as_secs() / EVERY.as_secs()) as u32;
        if grown > 0 {
            self.left = self.left.saturating_add(grown).min(BURST);
            self.since = Some(since + EVERY * grown);
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(match std::mem::take(&mut self.left_out) {
            0 => line(),
            more => format!("{} ({more} more like this came before it)", line()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_few_lines_and_the_next_one_says_how_many_it_was() {
        let start = Instant::now();
        let mut lines = LogLimit::default();
        let said: Vec<String> =
            (0..60_000_u64).filter_map(|n| lines.pass(start + Duration::from_millis(n), || n.to_string())).collect();
        assert_eq!(said.len(), 4 + 5, "{said:?}");
        assert_eq!(said[..4], ["0", "1", "2", "3"]);
        assert_eq!(said[4], "10000 (9996 more like this came before it)");
        // An hour later as at first.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter_map(|_| lines.pass(later, String::new)).count(), 4);
        assert!(lines.pass(later + EVERY, || "x".into()).unwrap().starts_with("x (5 more"));
    }
}
