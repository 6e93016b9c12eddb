//! What a call is made with and made of: the model and the configuration ([`Engine`]), from frames to packets ([`Packetizer`]) and
//! back ([`Depacketizer`]), and from what came to sound ([`Player`]). The sound of all calls is the [`media`](crate::media)'s, their
//! network side the [call manager](crate::call_manager)'s.

pub mod channels;
mod codec;
mod depacketizer;
pub(crate) mod depacketizer_thread;
pub mod dtx;
mod engine;
mod error;
mod events;
mod frame_origin;
pub(crate) mod packetizer;
mod player;
mod resolve;
mod run_batcher;
mod timeline;

pub use codec::{CodecError, CodedFrame, FrameDecoder, FrameEncoder, OPUS_RATES, RUN_FRAMES};
pub use depacketizer::Depacketizer;
pub use engine::Engine;
pub(crate) use engine::{Found, resolve};
pub use error::{CallError, DEFAULT_PORT};
pub use events::{Event, Finished, Peer, Stop};
pub use frame_origin::FrameOrigin;
pub use packetizer::{EncodedFrame, Packetizer, PacketizerStats, PayloadCoder, Transmit, transmit};
pub use player::{Heard, Player, PlayerStats};
pub use resolve::resolve as addresses;
pub use run_batcher::{Due, RunBatcher};
pub use timeline::{Moment, Timeline};
