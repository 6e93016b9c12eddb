//! The terminal: taken for the screen, and given back as it was, whatever happens.

use std::{
    io::{self, Stdout, stdout},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ratatui::{
    Terminal as Drawing,
    backend::CrosstermBackend,
    crossterm::{
        event::{
            self, Event, KeyEvent, KeyboardEnhancementFlags, PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags,
        },
        execute, terminal,
    },
};
use tokio::sync::mpsc;

/// How often the thread that reads keys looks whether it shall end.
const STOP_CHECK_EVERY: Duration = Duration::from_millis(50);

/// What comes from the terminal.
#[derive(Debug)]
pub(super) enum Input {
    /// A key.
    Key(KeyEvent),
    /// It has another size now.
    Resized,
}

/// A terminal that shows the screen. Dropping it gives the terminal back.
pub(super) struct Terminal {
    pub(super) drawing: Drawing<CrosstermBackend<Stdout>>,
    /// Whether it tells when keys are let go.
    pub(super) releases: bool,
    end: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Takes the terminal, and says where its keys come from. A panic gives it back too.
    pub(super) fn enter() -> io::Result<(Self, mpsc::UnboundedReceiver<Input>)> {
        let drawing = ratatui::try_init()?;
        // Asks the terminal, so before anybody else reads from it. One that does not answer has no such thing.
        let releases = terminal::supports_keyboard_enhancement().unwrap_or(false);
        if releases {
            let _ = execute!(stdout(), PushKeyboardEnhancementFlags(flags()));
        }
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back(releases);
            before(info);
        }));
        let (send, keys) = mpsc::unbounded_channel();
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let reader = thread::Builder::new().name("keys".into()).spawn(move || read(&send, &ended))?;
        Ok((Self { drawing, releases, end, reader: Some(reader) }, keys))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        give_back(self.releases);
    }
}

/// Key releases are told only where every key is told as an escape code; the alternates say which character it stands for.
fn flags() -> KeyboardEnhancementFlags {
    KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES
        | KeyboardEnhancementFlags::REPORT_EVENT_TYPES
        | KeyboardEnhancementFlags::REPORT_ALTERNATE_KEYS
        | KeyboardEnhancementFlags::REPORT_ALL_KEYS_AS_ESCAPE_CODES
}

/// Gives the terminal back. A terminal that is gone needs nothing.
fn give_back(releases: bool) {
    if releases {
        let _ = execute!(stdout(), PopKeyboardEnhancementFlags);
    }
    let _ = ratatui::try_restore();
}

/// Reads keys until it shall end, or the terminal is gone: then the channel closes.
fn read(send: &mpsc::UnboundedSender<Input>, end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        let input = match event::poll(STOP_CHECK_EVERY)
            .and_then(|there| if there { event::read().map(Some) } else { Ok(None) })
        {
            Ok(Some(Event::Key(key))) => Input::Key(key),
            Ok(Some(Event::Resize(..))) => Input::Resized,
            Ok(_) => continue,
            Err(_) => return,
        };
        if send.send(input).is_err() {
            return;
        }
    }
}
