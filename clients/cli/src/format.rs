//! Words for what the daemon tells in numbers.

use std::io::IsTerminal;

use parlo_api::{Call, CallState, Direction, FrameCounts, Peer};

/// Whether a terminal is there that can draw: write over its lines, move its cursor. Editors' and printers' (`TERM=dumb`) cannot.
pub(crate) fn can_draw(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

pub(crate) use parlo_guard::plain;

/// Seconds as people read them: `01:23`, `1:02:03`.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes:02}:{seconds:02}") }
}

/// Bytes as people read them.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// How a peer is called: by its name, else its key's fingerprint, else its address.
pub(crate) fn who(peer: &Peer) -> String {
    match (&peer.name, &peer.fingerprint) {
        (Some(name), _) => plain(name),
        (None, Some(fingerprint)) => format!("a stranger ({})", plain(fingerprint)),
        (None, None) => plain(&peer.address),
    }
}

/// How far a call has come.
pub(crate) fn state(call: &Call) -> &'static str {
    match (call.state, call.direction) {
        (CallState::Calling, _) => "calling",
        (CallState::Ringing, Direction::Incoming) => "rings here",
        (CallState::Ringing, Direction::Outgoing) => "ringing",
        (CallState::Active, _) if call.held => "held",
        (CallState::Active, _) if call.held_by_peer => "held by the peer",
        (CallState::Active, _) => "in a call",
        (CallState::Ended, _) => "ended",
    }
}

/// Frames heard, by what they were made of.
pub(crate) fn frames(frames: &FrameCounts) -> String {
    let lost = frames.predicted.saturating_add(frames.faded);
    format!(
        "{} frames heard, {} from coarse copies, {} of silence, {lost} lost ({} of them late)",
        frames.real, frames.coarse, frames.silent, frames.late
    )
}

/// What is left to say of a call that is over.
pub(crate) fn summary(call: &Call) -> String {
    let who = who(&call.peer);
    let why = call.failure.as_deref().map_or(String::new(), |failure| format!(": {}", plain(failure)));
    match &call.figures {
        None => format!("the call with {who} ended{why}"),
        Some(figures) => format!(
            "the call with {who} ended after {}{why}; {}; at last {:.1} kbps on the wire, {:.0} ms from mouth to ear",
            clock(figures.elapsed_s),
            self::frames(&figures.frames),
            figures.sent.wire,
            figures.budget.total
        ),
    }
}

/// Columns, each as wide as its widest cell; the last one as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_words() {
        assert_eq!(clock(83.9), "01:23");
        assert_eq!(clock(3_723.0), "1:02:03");
        assert_eq!(clock(f64::NAN), "00:00");
        assert_eq!((bytes(999), bytes(23_400), bytes(5_000_000)), ("999 B".into(), "23.4 kB".into(), "5.0 MB".into()));
        assert_eq!(plain("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn tables_line_up() {
        let rows = [["ID", "WITH", "STATE"], ["1", "ada", ""], ["12", "ö", "held"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(String::from).to_vec()).collect();
        assert_eq!(table(&rows), "ID  WITH  STATE\n1   ada\n12  ö     held\n");
        assert_eq!(table(&[]), "");
    }
}
