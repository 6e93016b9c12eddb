//! Token files (`.ptk`, docs/file.md): written, read by time, played, cut, joined and repaired.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//!                  ^^^^^^^^^^^^^^^^^^^^^^^^^
//! ```
//!
//! The bytes are files' here, not packets'; `parlo-protocol` has their format, and `parlo-model` the codec.
//!
//! * [`Writer`]: makes a file of one stream of whole frames.
//! * [`Archive`]: a file on anything that can be read and sought. It tells what the file says of itself and whether it is whole
//!   ([`FileState`]), and gives the frames of any stretch of time (milliseconds), with what became of each ([`TimedFrame`]).
//! * [`Coder`]: codes to payloads and back; it is all that needs the bundle.
//! * [`Sound`]: a file's samples, mono and 16 bits, as they were heard, half a minute at a time; [`Wav`]: the same as the bytes of a WAV file.
//! * [`cut`], [`join`], [`repair`]: other files made of it without decoding its sound. [`survey`] counts what is in it.
//!
//! What cannot be read, made or decoded is an [`ArchiveError`], a sentence that goes on from the file's name. `examples/encode.rs` encodes a WAV file
//! and decodes it again.
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
mod crc_correction;
mod edit;
mod error;
mod header;
mod reader;
mod repair;
mod sound;
mod survey;
mod writer;

pub use coder::{Coder, best_coding, coder};
pub use edit::{Made, cut, join};
pub use error::ArchiveError;
pub use header::{FileHeader, FileState, StreamName, TimedFrame};
pub use parlo_protocol::ptk::{Coding, MAX_BLOCK_FRAMES, Mark};
pub use reader::Archive;
pub use repair::{Loss, Repair, repair};
pub use sound::{CALL_STREAMS, Side, Sound, WAV_HEADER_BYTES, Wav};
pub use survey::{BookUse, StreamSurvey, Survey, SurveyFault, is_loss, overhead_pct, survey};
pub use writer::{Options, Writer};
