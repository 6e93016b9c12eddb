//! What the daemon says while it runs, on its error stream.
//!
//! Never in it: keys' secret halves, the token of the control API, codes, sound. Below "info" only Parlo's own parts speak,
//! whatever is asked for, because libraries may log what passes through them.

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
};

use parlo_guard::{plain_json, plain_up_to};
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, FilterFn, ParseError, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The variable that says what is logged, if the command line does not.
pub const VARIABLE: &str = "PARLO_LOG";

/// What is logged if nobody says.
const DEFAULT: &str = "info";

/// Begins to log to the error stream: at this level, or that of `$PARLO_LOG`, or "info"; as people read it, or as JSON, an
/// object for each line.
///
/// # Errors
/// If the level is none ("debug", or by part as "info,parlod::control=debug"), or something logs already.
pub fn begin(level: Option<&str>, json: bool) -> anyhow::Result<()> {
    let variable = std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty());
    let (level, place) = match (level, &variable) {
        (Some(level), _) => (level, "--log-level"),
        (None, Some(level)) => (level.as_str(), VARIABLE),
        (None, None) => (DEFAULT, VARIABLE),
    };
    // Not by way of `std::io::stderr`, which leads nowhere while ALSA looks for devices.
    let errors = crate::audio::device::errors();
    let colours = is_coloured(std::io::stderr().is_terminal(), &|name| std::env::var_os(name));
    let subscriber = subscriber(level, json, colours, move || errors.clone());
    let subscriber = subscriber.map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
    subscriber.try_init().map_err(|error| anyhow::anyhow!("cannot begin to log: {error}"))
}

/// Whether lines are coloured: on a terminal that can show that, unless the user wants none (<https://no-color.org>).
fn is_coloured(terminal: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let dumb = variable("TERM").is_some_and(|term| term == "dumb");
    terminal && !dumb && variable("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Why a text says no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{level}\" is no level to log at ({reason}); say error, warn, info, debug or trace, or by part, as in \
     info,parlod::control=debug"
)]
pub struct LevelError {
    level: String,
    reason: String,
}

/// What [`begin`] sets up, but writing elsewhere.
///
/// # Errors
/// If the level is none.
pub fn subscriber<W>(
    level: &str,
    json: bool,
    colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, LevelError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wrong = |reason: String| LevelError { level: level.to_owned(), reason };
    // A single word that is no level would pass as the name of a part.
    let bare = |part: &str| !part.contains(['=', ':', '[']);
    if level
        .split(',')
        .map(str::trim)
        .any(|part| bare(part) && (part.is_empty() || part.parse::<LevelFilter>().is_err()))
    {
        return Err(wrong("not a level".into()));
    }
    let renamed = level.split(',').map(|part| current_name(part.trim())).collect::<Vec<_>>().join(",");
    // Not `EnvFilter`: its filters by field bring an engine of regular expressions along.
    let filter: Targets = renamed.parse().map_err(|error: ParseError| wrong(error.to_string()))?;
    let writer = Plain { writer, json, colours };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).with_ansi(colours);
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    Ok(tracing_subscriber::registry().with(lines.with_filter(filter.and(FilterFn::new(told)))))
}

/// Parts of the program that had another name: filters that people have written keep what they mean.
const FORMER_NAMES: [(&str, &str); 2] = [("parlod::hub", "parlod::call_manager"), ("parlod::desk", "parlod::media")];

/// A filter's part (`parlod::hub=debug`, `parlod::hub::policy`) by the name that its module has now.
fn current_name(part: &str) -> String {
    let renamed = FORMER_NAMES.iter().find_map(|(former, now)| {
        let rest = part.strip_prefix(former)?;
        (rest.is_empty() || rest.starts_with([':', '='])).then(|| format!("{now}{rest}"))
    });
    renamed.unwrap_or_else(|| part.to_owned())
}

/// The longest line, characters: what peers and servers say is short.
const LONGEST: usize = 8_000;

/// Writes lines in which nothing that others wrote acts on a terminal or on how they are read.
#[derive(Debug)]
struct Plain<W> {
    writer: W,
    json: bool,
    colours: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Plain<W> {
    type Writer = PlainLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        PlainLine { writer: self.writer.make_writer(), json: self.json, colours: self.colours }
    }
}

/// Takes a line at once, as `tracing_subscriber` gives it.
struct PlainLine<W> {
    writer: W,
    json: bool,
    colours: bool,
}

impl<W: io::Write> io::Write for PlainLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        // One line, whatever was said: nobody makes another of it.
        let plain = |text: &str| plain_up_to(text, LONGEST);
        let mut shown = match (self.json, self.colours) {
            (true, _) => plain_json(text),
            // Its own colours; those of others it has written as text.
            (_, true) => text.split('\x1b').map(plain).collect::<Vec<_>>().join("\x1b"),
            _ => plain(text),
        };
        shown.push('\n');
        self.writer.write_all(shown.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Whether this may be logged at all. Of each attempt to reach its server the NATS client says something at info; what there is to be
/// said of that, [`crate::nats`] says.
fn told(what: &Metadata<'_>) -> bool {
    let most = if what.target().starts_with("async_nats") { Level::WARN } else { Level::INFO };
    *what.level() <= most || what.target().starts_with("parlo")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, json: bool, say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(level, json, false, move || writer.clone()).unwrap(), say);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    fn say() {
        tracing::info!(target: "hyper", "theirs at info");
        tracing::debug!(target: "hyper", "theirs at debug");
        tracing::debug!("ours at debug");
        tracing::warn!(call = 3, "ours at warn");
    }

    #[test]
    fn levels_hold_and_libraries_never_speak_below_info() {
        let all = logged("trace", false, say);
        assert!(
            all.contains("theirs at info") && all.contains("ours at debug") && all.contains("ours at warn"),
            "{all}"
        );
        assert!(!all.contains("theirs at debug"), "{all}");
        assert!(!logged("hyper=trace", false, say).contains("theirs at debug"));
        let few = logged("warn", false, say);
        assert!(few.contains("ours at warn") && few.lines().count() == 1, "{few}");
        assert!(logged("warn,parlod::logging=debug", false, say).contains("ours at debug"));
    }

    #[test]
    fn parts_are_known_by_their_former_names_too() {
        let of_calls = || tracing::debug!(target: "parlod::call_manager::policy", "of calls");
        for level in ["warn,parlod::hub=debug", "warn, parlod::hub::policy=debug", "warn,parlod::call_manager=debug"] {
            assert!(logged(level, false, of_calls).contains("of calls"), "{level}");
        }
        assert!(!logged("warn,parlod::hubris=debug", false, of_calls).contains("of calls"));
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let variables = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value))
        };
        assert!(is_coloured(true, &variables(&[("TERM", "xterm-256color")])));
        assert!(is_coloured(true, &variables(&[("NO_COLOR", "")])));
        assert!(!is_coloured(false, &variables(&[("TERM", "xterm-256color")])), "a file, a pipe, the journal");
        assert!(!is_coloured(true, &variables(&[("TERM", "dumb")])));
        assert!(!is_coloured(true, &variables(&[("TERM", "xterm"), ("NO_COLOR", "1")])));
        let plain = logged("info", false, say);
        assert!(!plain.contains('\x1b'), "{plain}");
    }

    #[test]
    fn what_others_wrote_neither_acts_on_a_terminal_nor_makes_a_line() {
        let theirs = "a\u{202e}b\x1b[2J\u{9b}31m\nforged: ok\r\x07";
        let say = || {
            tracing::warn!(peer = theirs, "{theirs} said: {}", "x".repeat(100_000));
            tracing::warn!(peer = %theirs, "the relay says {theirs}");
        };
        for (json, lines) in [(false, logged("info", false, say)), (true, logged("info", true, say))] {
            assert_eq!(lines.lines().count(), 2, "{lines}");
            let bad = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!lines.contains(bad), "{lines}");
            if json {
                let line: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
                assert_eq!(line["peer"], theirs);
            } else {
                assert!(lines.lines().all(|line| line.chars().count() <= LONGEST), "{}", lines.len());
            }
        }
    }

    #[test]
    fn json_is_an_object_for_each_line() {
        let lines = logged("info", true, say);
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                line["message"].is_string() && line["level"].is_string() && line["timestamp"].is_string(),
                "{line}"
            );
        }
        assert!(lines.contains("\"call\":3"), "{lines}");
    }

    #[test]
    fn what_is_no_level_is_refused_with_what_is() {
        for level in ["loud", "", "info,loud", "parlod=loud"] {
            let error = subscriber(level, false, false, io::stderr).map(drop).unwrap_err().to_string();
            assert!(error.contains("debug"), "{error}");
        }
    }
}
