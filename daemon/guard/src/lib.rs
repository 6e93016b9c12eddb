//! Checks of files and of text that somebody else wrote.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//! ```
//!
//! It is no step of this path: files with models, keys and settings pass it before they are used, and names of peers before they are shown.
//!
//! * [`plain`]: text as it may be shown on a terminal, in a log or on a page, of up to [`MOST_SHOWN`] characters; [`plain_lines`] and
//!   [`plain_json`]: the same for whole outputs.
//! * [`check_owner`], on Unix: whether anybody else could have written a file, or put another in its place. If so, its error says which command mends it.
//! * [`read_regular`]: a file whole, if it is a regular one of a bounded length (bytes), else a [`RegularError`]; [`open_regular`]: the same, piece by
//!   piece.
//!
//! ```
//! use parlo_guard::plain;
//!
//! // Shown as it is, it would clear the terminal.
//! assert_eq!(plain("ada\x1b[2J"), "ada\u{fffd}[2J");
//! ```

#[cfg(unix)]
mod owner;
mod plain_text;
mod regular_file;

#[cfg(unix)]
pub use owner::{Keep, OwnerError, check_owner, know_users};
pub use plain_text::{MOST_SHOWN, plain, plain_json, plain_lines, plain_up_to};
pub use regular_file::{Links, RegularError, open_regular, read_regular};
