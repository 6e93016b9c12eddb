//! Whole token files (`.ptk`, `docs/file.md`), of both versions, with the model that made them.
//!
//! An [`Archive`] is opened on anything that can be read and sought: it tells what the file says of itself, whether it is whole, and
//! gives the frames of any stretch of time, with what became of each. [`cut`], [`join`] and [`repair`] make other files of it without
//! touching the sound; [`survey`] counts what is in it; [`Sound`] plays it, a piece at a time. A [`Writer`] makes files of one stream of whole frames. A [`Coder`] turns codes
//! into payloads and back; it is all that needs the bundle.
//!
//! ```no_run
//! use parlo_archive::Archive;
//!
//! let mut archive = Archive::open(std::fs::File::open("talk.ptk")?)?;
//! let bundle = parlo_model::Bundle::open(&parlo_model::locate_bundle(None)?)?;
//! let mut coder = parlo_archive::coder(&bundle, archive.header().tokens.coding)?;
//! let mut frames = Vec::new();
//! archive.read(&mut coder, archive.header().streams[0].number, 1_500, 3_000, &mut frames)?;
//! for frame in frames {
//!     println!("{:.3} s: {:?} {:?}", frame.time_ms / 1000.0, frame.mark, frame.codes);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod coder;
mod copy;
mod edit;
mod error;
mod header;
mod mend;
mod reader;
mod repair;
mod sound;
mod survey;
mod writer;

pub use coder::{Coder, best_coding, coder};
pub use edit::{Made, cut, join};
pub use error::ArchiveError;
pub use header::{FileHeader, State, StreamName, TimedFrame};
pub use parlo_protocol::file::{Coding, Mark};
pub use reader::Archive;
pub use repair::{Loss, Repair, repair};
pub use sound::{CALL_STREAMS, Side, Sound, WAV_HEADER_BYTES, Wav};
pub use survey::{BookUse, StreamSurvey, Survey, is_loss, overhead_pct, survey};
pub use writer::{Options, Writer};
