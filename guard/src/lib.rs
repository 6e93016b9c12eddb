//! What Parlo's programs ask of files, and of words, that somebody else wrote.
//!
//! * [`plain`]: text as it may be shown on a terminal, in a log or on a page.
//! * [`check_owner`]: whether anybody else could have written a file, or put another in its place.
//! * [`read_regular`]: a file whole, if it is a regular one of a bounded length; [`open_regular`]: the same, piece by piece.

#[cfg(unix)]
mod owner;
mod plain;
mod regular;

#[cfg(unix)]
pub use owner::{Keep, OwnerError, check_owner, know_users};
pub use plain::{MOST_SHOWN, plain, plain_json, plain_lines, plain_up_to};
pub use regular::{Links, RegularError, open_regular, read_regular};
